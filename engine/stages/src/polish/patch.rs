//! The correlation of a frame of a particle with what is expected of it, as a function of the displacement: sampled on a
//! small square grid straight from the Fourier coefficients, and interpolated by cubic splines.

use ndarray::ArrayView2;
use num_complex::Complex32;
use std::f64::consts::TAU;
use vitreous_compute::fourier::HalfImage;

/// Samples of the correlation per wavelength of its finest detail. At four the cubic spline is good to a hundredth.
const SAMPLES_PER_WAVE: f64 = 4.0;
/// Numbers that are added up side by side.
const SIDE: usize = 8;
/// Pole of the filter that makes samples into coefficients of cubic B-splines: √3 - 2.
const POLE: f32 = -0.267_949_2;

/// The grid of displacements, with what is needed to evaluate correlations on it.
pub struct PatchGrid {
    /// Samples from the middle to each edge.
    reach: usize,
    /// Distance of samples, Å.
    step_a: f64,
    /// Edge of the cropped transforms, and their columns in use, a multiple of [`SIDE`].
    small: usize,
    columns: usize,
    /// cos and sin of 2π q δ_j, `[reach + 1][frequencies]`.
    cos: Vec<f32>,
    sin: Vec<f32>,
}

/// Room for one evaluation.
#[derive(Default)]
pub struct PatchWork {
    /// Real and imaginary parts of the rows at ±ky.
    rows: [Vec<f32>; 4],
    /// By sample along y: sums over ky, `[reach + 1][4][columns]`.
    sums: Vec<f32>,
}

/// Factors of a displacement, along x and y: coefficient `(qx, qy)` is multiplied by `x[qx] y[qy]`.
pub struct Ramp {
    /// By column, from 0.
    pub x: Vec<Complex32>,
    /// By row in corner layout.
    pub y: Vec<Complex32>,
}

impl Ramp {
    /// What moves the content of an image of `n` pixels by minus `part` of its edge along x and y.
    pub fn back(n: usize, part: [f64; 2]) -> Self {
        let factor = |q: f64, part: f64| {
            let (sin, cos) = (TAU * q * part).sin_cos();
            Complex32::new(cos as f32, sin as f32)
        };
        let signed = |y: usize| vitreous_model::conventions::signed_frequency(y, n) as f64;
        Self {
            x: (0..=n / 2).map(|x| factor(x as f64, part[0])).collect(),
            y: (0..n).map(|y| factor(signed(y), part[1])).collect(),
        }
    }
}

impl PatchGrid {
    /// For transforms cropped to `small` pixels of boxes of `edge_a` Å, whose finest detail is `detail_a`; displacements
    /// up to `range_a` along x and y.
    pub fn new(small: usize, edge_a: f64, detail_a: f64, range_a: f64) -> Self {
        let step_a = detail_a / SAMPLES_PER_WAVE;
        let reach = (range_a / step_a).ceil().max(2.0) as usize;
        let columns = (small / 2).next_multiple_of(SIDE);
        let angle = |j: usize, q: usize| TAU * q as f64 * j as f64 * step_a / edge_a;
        let table = |value: fn(f64) -> f64| -> Vec<f32> {
            (0..=reach).flat_map(|j| (0..columns).map(move |q| value(angle(j, q)) as f32)).collect()
        };
        Self { reach, step_a, small, columns, cos: table(f64::cos), sin: table(f64::sin) }
    }

    /// Samples of a patch.
    pub fn len(&self) -> usize {
        (2 * self.reach + 1) * (2 * self.reach + 1)
    }

    /// Writes the spline coefficients of `C(δ) = Σ w Re[conj(R) X exp(2πi q·δ)]` into `out`, rows along y. `image` is X with
    /// `ramp` applied, `reference` is R, `weight` (`[small, small/2 + 1]`) is w; `ends` says how many coefficients of each
    /// row count. Returns C(0).
    pub fn correlate(
        &self,
        (reference, image): (&HalfImage, &HalfImage),
        ramp: &Ramp,
        weight: ArrayView2<'_, f32>,
        ends: &[usize],
        work: &mut PatchWork,
        out: &mut [f32],
    ) -> f32 {
        let (columns, half) = (self.columns, self.small / 2);
        work.rows.iter_mut().for_each(|row| {
            row.clear();
            row.resize(columns, 0.0);
        });
        work.sums.clear();
        work.sums.resize((self.reach + 1) * 4 * columns, 0.0);
        for ky in 0..half {
            let (up, down) = (ky, (self.small - ky) % self.small);
            let [pr, pi, mr, mi] = &mut work.rows;
            let end = ends[up].min(columns).min(half);
            if end == 0 {
                continue;
            }
            for (y, re, im) in [(up, pr, pi), (down, mr, mi)] {
                let (g, f, w) = (reference.data().row(y), image.data().row(y), weight.row(y));
                let (g, f, w) = (g.as_slice(), f.as_slice(), w.to_slice());
                let (Some(g), Some(f), Some(w)) = (g, f, w) else { continue };
                let turn = ramp.y[y];
                for x in 0..end {
                    let value = g[x].conj() * f[x] * (ramp.x[x] * turn) * w[x];
                    (re[x], im[x]) = (value.re, value.im);
                }
                re[end..].fill(0.0);
                im[end..].fill(0.0);
            }
            self.add_row(ky, work);
        }
        self.finish(&work.sums, out);
        let middle = out[out.len() / 2];
        self.to_splines(out);
        middle
    }

    /// Adds the rows at ±ky to the sums: even parts with cosines, odd parts with sines.
    fn add_row(&self, ky: usize, work: &mut PatchWork) {
        let columns = self.columns;
        let [pr, pi, mr, mi] = &mut work.rows;
        if ky == 0 {
            // there is only one such row
            mr.fill(0.0);
            mi.fill(0.0);
        }
        for x in 0..columns {
            let (a, b, c, d) = (pr[x], pi[x], mr[x], mi[x]);
            (pr[x], pi[x], mr[x], mi[x]) = (a + c, b + d, a - c, b - d);
        }
        for j in 0..=self.reach {
            let (cos, sin) = (self.cos[j * columns + ky], self.sin[j * columns + ky]);
            let sums = &mut work.sums[j * 4 * columns..(j + 1) * 4 * columns];
            let (even_re, rest) = sums.split_at_mut(columns);
            let (even_im, rest) = rest.split_at_mut(columns);
            let (odd_re, odd_im) = rest.split_at_mut(columns);
            let add = |sums: &mut [f32], row: &[f32], factor: f32| {
                sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value * factor);
            };
            add(even_re, pr, cos);
            add(even_im, pi, cos);
            add(odd_re, mr, sin);
            add(odd_im, mi, sin);
        }
    }

    /// Sums over kx.
    fn finish(&self, sums: &[f32], out: &mut [f32]) {
        let (columns, reach, width) = (self.columns, self.reach, 2 * self.reach + 1);
        let (mut re, mut im) = (vec![0.0f32; columns], vec![0.0f32; columns]);
        for row in 0..width {
            // Σ Z exp(iφ) = Σ even cos + i Σ odd sin
            let (j, sign) = if row < reach { (reach - row, -1.0f32) } else { (row - reach, 1.0) };
            let part = |k: usize| &sums[(j * 4 + k) * columns..][..columns];
            let parts = part(0).iter().zip(part(1)).zip(part(2).iter().zip(part(3)));
            for (x, ((a, b), (c, d))) in parts.enumerate() {
                re[x] = a - sign * d;
                im[x] = b + sign * c;
            }
            for i in 0..=reach {
                let cos = dot(&re, &self.cos[i * columns..][..columns]);
                let sin = dot(&im, &self.sin[i * columns..][..columns]);
                out[row * width + reach + i] = cos - sin;
                out[row * width + reach - i] = cos + sin;
            }
        }
    }

    fn to_splines(&self, patch: &mut [f32]) {
        let width = 2 * self.reach + 1;
        for row in patch.chunks_exact_mut(width) {
            prefilter(row, 1);
        }
        for x in 0..width {
            prefilter(&mut patch[x..], width);
        }
    }

    /// Value and gradient (per Å) of a patch at a displacement in Å; beyond the grid it goes on as at the edge.
    pub fn value(&self, patch: &[f32], at_a: [f64; 2]) -> (f64, [f64; 2]) {
        let width = 2 * self.reach + 1;
        let last = (width - 1) as f64;
        let weights = |a: f64| {
            let u = (a / self.step_a + self.reach as f64).clamp(0.0, last);
            let inside = (a / self.step_a + self.reach as f64) == u;
            let low = u.floor().min(last - 1.0);
            let t = u - low;
            let s = 1.0 - t;
            let value = [
                s * s * s,
                4.0 - 6.0 * t * t + 3.0 * t * t * t,
                4.0 - 6.0 * s * s + 3.0 * s * s * s,
                t * t * t,
            ]
            .map(|w| w / 6.0);
            let slope = [-0.5 * s * s, 1.5 * t * t - 2.0 * t, 2.0 * s - 1.5 * s * s, 0.5 * t * t];
            let slope = slope.map(|w| if inside { w / self.step_a } else { 0.0 });
            let at: [usize; 4] = std::array::from_fn(|i| mirrored(low as isize + i as isize - 1, width));
            (at, value, slope)
        };
        let ((ax, vx, sx), (ay, vy, sy)) = (weights(at_a[0]), weights(at_a[1]));
        let (mut value, mut dx, mut dy) = (0.0, 0.0, 0.0);
        for j in 0..4 {
            let row = &patch[ay[j] * width..(ay[j] + 1) * width];
            let (mut line, mut slope) = (0.0, 0.0);
            for i in 0..4 {
                let c = f64::from(row[ax[i]]);
                line += c * vx[i];
                slope += c * sx[i];
            }
            value += vy[j] * line;
            dx += vy[j] * slope;
            dy += sy[j] * line;
        }
        (value, [dx, dy])
    }
}

fn mirrored(i: isize, n: usize) -> usize {
    let last = n as isize - 1;
    (if i < 0 {
        -i
    } else if i > last {
        2 * last - i
    } else {
        i
    }) as usize
}

/// Sum of products, [`SIDE`] at a time, in a fixed order.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; SIDE];
    for (a, b) in a.chunks_exact(SIDE).zip(b.chunks_exact(SIDE)) {
        for i in 0..SIDE {
            sums[i] += a[i] * b[i];
        }
    }
    sums.iter().sum()
}

/// Samples `stride` apart into coefficients of cubic B-splines, mirrored at the ends (Unser et al. 1993).
fn prefilter(values: &mut [f32], stride: usize) {
    let n = values.len().div_ceil(stride);
    let at = |i: usize| i * stride;
    // the mirrored past; POLE^12 is 1e-7
    let mut first = values[0];
    let mut power = POLE;
    for i in 1..=12 {
        let folded = i % (2 * (n - 1));
        first += power * values[at(folded.min(2 * (n - 1) - folded))];
        power *= POLE;
    }
    values[0] = first;
    for i in 1..n {
        values[at(i)] += POLE * values[at(i - 1)];
    }
    let end = POLE / (POLE * POLE - 1.0) * (values[at(n - 1)] + POLE * values[at(n - 2)]);
    values[at(n - 1)] = end;
    for i in (0..n - 1).rev() {
        values[at(i)] = POLE * (values[at(i + 1)] - values[at(i)]);
    }
    (0..n).for_each(|i| values[at(i)] *= 6.0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;
    use vitreous_compute::fourier::radius_of;
    use vitreous_model::conventions::signed_frequency;

    /// Two half images of noise, their weight and row ends, up to radius 11 of a box of 26.
    fn case() -> (HalfImage, HalfImage, Array2<f32>, Vec<usize>) {
        let n = 26;
        let noise = |seed: usize| {
            let scatter = |i: usize| ((i * 7919 + seed) % 1009) as f32 / 504.5 - 1.0;
            let data = Array2::from_shape_fn((n, n / 2 + 1), |(y, x)| {
                Complex32::new(scatter(y * 101 + x * 13), scatter(y * 57 + x * 211 + 5))
            });
            HalfImage::from_data(n, data).unwrap()
        };
        let weight = Array2::from_shape_fn((n, n / 2 + 1), |(y, x)| {
            (if x == 0 { 0.5 } else { 1.0 }) / (1.0 + radius_of(y, x, n, n) as f32)
        });
        let ends = (0..n)
            .map(|y| {
                let rest = 121.0 - (signed_frequency(y, n) as f64).powi(2);
                if rest < 0.0 { 0 } else { rest.sqrt() as usize + 1 }
            })
            .collect();
        (noise(3), noise(77), weight, ends)
    }

    #[test]
    fn a_patch_is_the_sum_it_stands_for() {
        let (reference, image, weight, ends) = case();
        let (n, edge_a) = (26, 52.0);
        let grid = PatchGrid::new(n, edge_a, edge_a / 11.0, 7.0);
        let part = [0.013, -0.021];
        let ramp = Ramp::back(n, part);
        let mut out = vec![0.0; grid.len()];
        let mut work = PatchWork::default();
        // twice: nothing may be left of the first
        grid.correlate((&reference, &image), &ramp, weight.view(), &ends, &mut work, &mut out);
        let middle = grid.correlate((&reference, &image), &ramp, weight.view(), &ends, &mut work, &mut out);
        let oracle = |at_a: [f64; 2]| {
            let mut sum = 0.0;
            for (y, &end) in ends.iter().enumerate() {
                for x in 0..end {
                    let q = [x as f64, signed_frequency(y, n) as f64];
                    let phase: f64 = (0..2).map(|i| TAU * q[i] * (part[i] + at_a[i] / edge_a)).sum();
                    let z = reference.data()[[y, x]].conj() * image.data()[[y, x]];
                    let (sin, cos) = phase.sin_cos();
                    sum += f64::from(weight[[y, x]]) * (f64::from(z.re) * cos - f64::from(z.im) * sin);
                }
            }
            sum
        };
        assert!((f64::from(middle) - oracle([0.0; 2])).abs() < 1e-3);
        let largest = (-5..=5).map(|i| oracle([f64::from(i), 0.5]).abs()).fold(0.0, f64::max);
        for at in [[0.0, 0.0], [2.3, -1.7], [-5.11, 4.2], [grid.step_a, -3.0 * grid.step_a]] {
            let (value, slope) = grid.value(&out, at);
            assert!((value - oracle(at)).abs() < 0.03 * largest, "{at:?}: {value} {}", oracle(at));
            for axis in 0..2 {
                let shifted = |d: f64| std::array::from_fn(|i| at[i] + if i == axis { d } else { 0.0 });
                let expected =
                    (grid.value(&out, shifted(1e-4)).0 - grid.value(&out, shifted(-1e-4)).0) / 2e-4;
                assert!((slope[axis] - expected).abs() < 1e-3 * largest, "{at:?}");
            }
        }
        // beyond the edge it is flat
        assert_eq!(grid.value(&out, [100.0, 0.0]).1[0], 0.0);
    }

    #[test]
    fn splines_go_through_their_samples() {
        let grid = PatchGrid::new(16, 32.0, 4.0, 3.0);
        let width = 2 * grid.reach + 1;
        let samples: Vec<f32> = (0..grid.len()).map(|i| ((i * 37) % 11) as f32).collect();
        let mut patch = samples.clone();
        grid.to_splines(&mut patch);
        for (i, sample) in samples.iter().enumerate() {
            let at = [i % width, i / width].map(|k| (k as f64 - grid.reach as f64) * grid.step_a);
            assert!((grid.value(&patch, at).0 - f64::from(*sample)).abs() < 1e-4, "{i}");
        }
    }
}
