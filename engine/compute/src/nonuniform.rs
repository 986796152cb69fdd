//! Regularisation of two half maps by place and frequency, each half validated by the other.
//!
//! A Wiener filter by shell knows one signal-to-noise ratio for the whole map; a map whose parts differ in order (a protein in
//! a micelle) has several. Non-uniform regularisation (Punjani, Zhang & Fleet 2020, Nat. Methods 17:1214) picks for each
//! voxel the low-pass filter under which one half predicts the other best. Here each voxel has a gain for each of some bands,
//! so that nothing is cut where it can be weighed: the gain `w` that minimises the error of the prediction in a window about x,
//!
//! `E(w) = ⟨(w a - b)² + (w b - a)²⟩`, which is at its least for `w(x) = 2⟨a b⟩ / (⟨a²⟩ + ⟨b²⟩)`,
//!
//! with a and b the halves within the band. It is the FSC of band and window, that is the Wiener filter of a half there; both
//! halves get the same gain. The mean of both has half the noise, so its gain is `2w / (1 + w)`.
//!
//! The halves are masked first, so that noise from outside is not carried in by the band-passes. Windows are tents whose full
//! width at half maximum is three wavelengths of the band.

use crate::fourier::HalfVolume;
use ndarray::{Array3, ArrayView3, ArrayViewMut2, Axis, Zip};
use rayon::prelude::*;
use std::f64::consts::PI;

/// Bands are this factor of frequency apart; each reaches to its neighbours' centres.
const FACTOR: f64 = 1.2;

/// Full width at half maximum of the window along an axis, wavelengths of the band. Some 200 coefficients of a band then
/// have a say in a gain, which errs by 0.07 where there is no signal.
const WINDOW_WAVELENGTHS: f64 = 3.0;

/// The band's gain in the whole mask counts for as much as this part of a window that lies inside the mask.
const PRIOR: f64 = 0.1;

/// Gains under this are taken for 0: noise alone reaches that by chance.
const LEAST_GAIN: f32 = 0.1;

/// By how much the last centre may miss the radius it stands for, relatively.
const ROUNDING: f64 = 1e-9;

/// Where the mean gain in the mask is below this, the map ends.
const NOTHING_LEFT: f64 = 0.01;

/// A band belongs to the resolution reached if gains are at least [`REACHED_GAIN`] in this part of the mask.
const REACHED_PART: f64 = 0.1;
/// Half of the amplitude, as FSC 0.5 of the halves.
const REACHED_GAIN: f32 = 0.5;

/// What becomes of two half maps.
#[derive(Debug, Clone, PartialEq)]
pub struct Regularised {
    /// The halves, masked, `[n, n, n]` each.
    pub halves: [Array3<f32>; 2],
    /// The map of both.
    pub combined: Array3<f32>,
    /// The Fourier radius up to which gains are at least a half in at least a tenth of the mask.
    pub reached: f64,
    /// Of each band its centre, Fourier pixels, and the mean of its gain over the mask.
    pub gains: Vec<(f64, f64)>,
}

/// Masks and regularises the halves, `[n, n, n]` each, inside `mask` (0 to 1, the same shape). Frequencies up to the radius `whole`
/// (Fourier pixels, positive), where the halves are told to agree, are one band.
///
/// # Panics
/// When shapes differ.
pub fn regularised(halves: [ArrayView3<'_, f32>; 2], mask: ArrayView3<'_, f32>, whole: f64) -> Regularised {
    let n = mask.dim().0;
    assert!(halves.iter().all(|half| half.dim() == mask.dim()), "halves and mask should have one box");
    let transforms = halves.map(|half| HalfVolume::of_box((&half * &mask).view()));
    let radii = centres(whole.max(1.0), 0.5 * n as f64);
    let zeros = || Array3::<f32>::zeros(mask.dim());
    let mut out =
        Regularised { halves: [zeros(), zeros()], combined: zeros(), reached: 0.0, gains: Vec::new() };
    let inside = mask.iter().filter(|&&m| m > 0.5).count().max(1) as f64;
    let mut goes_on = true;
    for which in 0..radii.len() {
        // by r², a whole number
        let shares: Vec<f64> = (0..=n * n).map(|r2| share((r2 as f64).sqrt(), which, &radii)).collect();
        let bands = transforms.each_ref().map(|transform| {
            let mut band = transform.clone();
            band.weigh(|r| shares[(r * r + 0.5) as usize]);
            band.into_box()
        });
        let width = (WINDOW_WAVELENGTHS * n as f64 / radii[which]).min(n as f64);
        let gain = gains(&bands, mask, width);
        let [first, second] = &mut out.halves;
        Zip::from(first).and(&bands[0]).and(&gain).par_for_each(|out, &v, &w| *out += w * v);
        Zip::from(second).and(&bands[1]).and(&gain).par_for_each(|out, &v, &w| *out += w * v);
        Zip::from(&mut out.combined)
            .and(&bands[0])
            .and(&bands[1])
            .and(&gain)
            .par_for_each(|out, &a, &b, &w| *out += w / (1.0 + w) * (a + b));
        let (mut sum, mut high) = (0.0, 0usize);
        for (&w, _) in gain.iter().zip(mask).filter(|(_, m)| **m > 0.5) {
            sum += f64::from(w);
            high += usize::from(w >= REACHED_GAIN);
        }
        out.gains.push((radii[which], sum / inside));
        if sum < NOTHING_LEFT * inside {
            // what follows is finer still
            break;
        }
        goes_on &= high as f64 >= REACHED_PART * inside;
        if goes_on {
            out.reached = radii[which];
        }
    }
    out
}

/// Centres of bands from `whole` to `last`, a constant factor apart.
fn centres(whole: f64, last: f64) -> Vec<f64> {
    let steps = ((last / whole).ln() / FACTOR.ln()).round().max(1.0) as usize;
    let factor = (last / whole).max(1.0).powf(1.0 / steps as f64);
    (0..=steps).map(|step| whole * factor.powi(step as i32)).collect()
}

/// The part of band `which` in radius `r`: a raised cosine over ln r that is 1 at the band's centre and 0 from those of its
/// neighbours on, so that bands add up to 1. The first band goes down to 0; beyond the last centre there is nothing.
fn share(r: f64, which: usize, radii: &[f64]) -> f64 {
    let centre = radii[which];
    let neighbour = if r < centre { which.checked_sub(1) } else { Some(which + 1) };
    match neighbour.map(|at| radii.get(at)) {
        None => 1.0,
        Some(None) => f64::from(u8::from(r <= centre * (1.0 + ROUNDING))),
        Some(Some(other)) => {
            let t = ((r / centre).ln() / (other / centre).ln()).clamp(0.0, 1.0);
            0.5 * (1.0 + (PI * t).cos())
        }
    }
}

/// Gains of a band at each voxel; `width` is that of the window, voxels.
fn gains(bands: &[Array3<f32>; 2], mask: ArrayView3<'_, f32>, width: f64) -> Array3<f32> {
    let [a, b] = bands;
    let mut cross = Array3::<f32>::zeros(mask.dim());
    let mut power = cross.clone();
    Zip::from(&mut cross).and(&mut power).and(a).and(b).par_for_each(|cross, power, &a, &b| {
        *cross = a * b;
        *power = 0.5 * (a * a + b * b);
    });
    let total = |volume: &Array3<f32>| volume.iter().map(|&v| f64::from(v)).sum::<f64>();
    let weight = mask.iter().map(|&m| f64::from(m * m)).sum::<f64>().max(1.0);
    let prior = [total(&cross), total(&power)].map(|sum| (PRIOR * sum / weight) as f32);
    tent_mean(&mut cross, width);
    tent_mean(&mut power, width);
    Zip::from(&mut cross).and(&power).par_for_each(|cross, &power| {
        let power = power + prior[1];
        let gain = if power > 0.0 { (*cross + prior[0]) / power } else { 0.0 };
        *cross = if gain >= LEAST_GAIN { gain.min(1.0) } else { 0.0 };
    });
    cross
}

/// Mean under a tent of full width at half maximum `width` voxels along each axis (two boxes); nothing lies beyond the edge.
fn tent_mean(volume: &mut Array3<f32>, width: f64) {
    let reach = ((width - 1.0) / 2.0).round().max(0.0) as usize;
    if reach == 0 {
        return;
    }
    for axis in 0..3 {
        // planes that hold the axis, and x
        let across = if axis == 0 { 1 } else { 0 };
        let planes: Vec<ArrayViewMut2<'_, f32>> = volume.axis_iter_mut(Axis(across)).collect();
        planes.into_par_iter().for_each_init(Lines::default, |lines, mut plane| {
            // rows follow each other along z or y; here along x
            if axis == 2 {
                plane.swap_axes(0, 1);
            }
            lines.tent(plane, reach);
        });
    }
}

/// Columns that are summed at once, so that a block of them stays in the cache.
const COLUMNS: usize = 64;

/// Some columns of a plane, row by row, and room for their means.
#[derive(Default)]
struct Lines {
    values: Vec<f64>,
    means: Vec<f64>,
}

impl Lines {
    /// Means under a tent along the columns of a plane.
    fn tent(&mut self, mut plane: ArrayViewMut2<'_, f32>, reach: usize) {
        for mut block in plane.axis_chunks_iter_mut(Axis(1), COLUMNS) {
            let columns = block.ncols();
            self.values.clear();
            self.values.extend(block.iter().map(|&v| f64::from(v)));
            self.means.resize(self.values.len(), 0.0);
            box_mean(&self.values, &mut self.means, columns, reach);
            box_mean(&self.means, &mut self.values, columns, reach);
            block.iter_mut().zip(&self.values).for_each(|(out, &v)| *out = v as f32);
        }
    }
}

/// Means of the `2 reach + 1` rows about each of `values`, which has `columns` numbers a row.
fn box_mean(values: &[f64], means: &mut [f64], columns: usize, reach: usize) {
    let row = |at: usize| values.get(at * columns..(at + 1) * columns);
    let part = 1.0 / (2 * reach + 1) as f64;
    let mut sums = vec![0.0; columns];
    let add = |sums: &mut [f64], row: &[f64]| sums.iter_mut().zip(row).for_each(|(sum, v)| *sum += v);
    (0..reach).filter_map(row).for_each(|row| add(&mut sums, row));
    for (at, means) in means.chunks_exact_mut(columns).enumerate() {
        if let Some(next) = row(at + reach) {
            add(&mut sums, next);
        }
        if let Some(last) = at.checked_sub(reach + 1).and_then(row) {
            sums.iter_mut().zip(last).for_each(|(sum, v)| *sum -= v);
        }
        means.iter_mut().zip(&sums).for_each(|(mean, sum)| *mean = sum * part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use rand_distr::StandardNormal;

    const N: usize = 48;

    fn noise(seed: u64) -> Array3<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        Array3::from_shape_fn((N, N, N), |_| rng.sample::<f32, _>(StandardNormal))
    }

    fn low_passed(map: &Array3<f32>, radius: f64) -> Array3<f32> {
        let mut half = HalfVolume::of_box(map.view());
        half.weigh(|r| f64::from(u8::from(r < radius)));
        half.into_box()
    }

    #[test]
    fn bands_add_up() {
        let radii = centres(3.0, 24.0);
        for r in [0.0, 1.0, 3.0, 4.4, 10.0, 23.9, 24.0] {
            let sum: f64 = (0..radii.len()).map(|which| share(r, which, &radii)).sum();
            assert!((sum - 1.0).abs() < 1e-12, "{r}: {sum}");
        }
        assert_eq!(centres(30.0, 24.0), [30.0, 30.0], "no shells are left");
    }

    #[test]
    fn a_running_mean_is_the_mean() {
        let line: Vec<f64> = (0..10).map(|i| f64::from(i * i)).collect();
        // beside it a column that is twice as large
        let values: Vec<f64> = line.iter().flat_map(|v| [*v, 2.0 * v]).collect();
        for reach in [2, 20] {
            let mut means = vec![f64::NAN; 20];
            box_mean(&values, &mut means, 2, reach);
            for at in 0..10usize {
                let window = at.saturating_sub(reach)..(at + reach + 1).min(10);
                let expected = line[window].iter().sum::<f64>() / (2 * reach + 1) as f64;
                assert!(
                    (means[2 * at] - expected).abs() < 1e-12
                        && (means[2 * at + 1] - 2.0 * expected).abs() < 1e-12
                );
            }
        }
    }

    #[test]
    fn a_point_becomes_a_tent_along_every_axis() {
        let mut volume = Array3::zeros((9, 9, 9));
        volume[[4, 4, 4]] = 27f32;
        // boxes of three: 1/9, 2/9, 3/9, 2/9, 1/9
        tent_mean(&mut volume, 3.0);
        let tent = |at: usize| 3.0 - (at as f32 - 4.0).abs();
        for ((z, y, x), &found) in volume.indexed_iter() {
            let expected = 27.0 * [z, y, x].map(|at| tent(at).max(0.0) / 9.0).iter().product::<f32>();
            assert!((found - expected).abs() < 1e-6, "{z} {y} {x}: {found}");
        }
    }

    #[test]
    fn equal_halves_are_kept_and_noise_is_not() {
        let map = low_passed(&noise(1), 23.0);
        let mask = Array3::ones((N, N, N));
        let kept = regularised([map.view(), map.view()], mask.view(), 3.0);
        let off = (&kept.halves[0] - &map).mapv(f32::abs).fold(0.0, |a: f32, &b| a.max(b));
        assert!(off < 1e-4, "{off}");
        assert!((&kept.combined - &map).iter().all(|v| v.abs() < 1e-4));
        assert!(kept.reached >= 20.0, "{}", kept.reached);
        let (a, b) = (noise(2), noise(3));
        let lost = regularised([a.view(), b.view()], mask.view(), 3.0);
        let power = |map: &Array3<f32>| map.iter().map(|v| v * v).sum::<f32>();
        let left = power(&lost.halves[0]) / power(&a);
        assert!(left < 0.01, "{left}");
        assert_eq!(lost.reached, 0.0);
    }

    /// Signal to Nyquist on one side, to a third of it on the other; the filter by place has to beat any filter by shell.
    #[test]
    fn each_side_gets_the_filter_it_needs() {
        let fine = low_passed(&noise(4), 23.0);
        let coarse = low_passed(&fine, 8.0);
        let left = |x: usize| x < N / 2;
        let signal = Array3::from_shape_fn((N, N, N), |at| if left(at.2) { fine[at] } else { coarse[at] });
        let halves = [5, 6].map(|seed| &signal + &noise(seed) * 0.7);
        let mask = Array3::ones((N, N, N));
        let found = regularised([halves[0].view(), halves[1].view()], mask.view(), 2.0);
        let error = |map: &Array3<f32>| {
            let d = map - &signal;
            d.iter().map(|v| f64::from(v * v)).sum::<f64>() / d.len() as f64
        };
        // the best by shell: the gain Σ Re(h s*) / Σ |h|², which nobody can know
        let mut by_shell = HalfVolume::of_box(halves[0].view());
        let truth = HalfVolume::of_box(signal.view());
        let mut sums = vec![[0.0f64; 2]; N];
        for ((z, y, x), value) in by_shell.data().indexed_iter() {
            let q = [z, y].map(|i| vitreous_model::conventions::signed_frequency(i, N) as f64);
            let shell = (q[0] * q[0] + q[1] * q[1] + (x * x) as f64).sqrt().round() as usize;
            sums[shell][0] += f64::from((value * truth.data()[[z, y, x]].conj()).re);
            sums[shell][1] += f64::from(value.norm_sqr());
        }
        by_shell.weigh(|r| {
            let [cross, power] = sums[r.round() as usize];
            cross / power
        });
        let [by_place, by_shell] = [error(&found.halves[0]), error(&by_shell.into_box())];
        assert!(by_place < 0.85 * by_shell, "{by_place} against {by_shell}");
        let combined = error(&found.combined);
        assert!(combined < 0.8 * by_place, "{combined}");
        // the same gains in both
        assert!((error(&found.halves[1]) / by_place - 1.0).abs() < 0.05);
    }

    #[test]
    fn what_is_outside_the_mask_has_no_say() {
        let signal = low_passed(&noise(7), 12.0);
        let mask = Array3::from_shape_fn((N, N, N), |at| f32::from(u8::from(at.2 < N / 2)));
        let with = |seed: u64, outside: f32| {
            let noise = noise(seed);
            let strength = |x: usize| if x < N / 2 { 0.3 } else { outside };
            Array3::from_shape_fn((N, N, N), |at| signal[at] + strength(at.2) * noise[at])
        };
        let quiet = regularised([with(8, 0.3).view(), with(9, 0.3).view()], mask.view(), 2.0);
        let loud = regularised([with(8, 3.0).view(), with(9, 3.0).view()], mask.view(), 2.0);
        let gain = |found: &Regularised| found.gains.iter().map(|(_, w)| *w).collect::<Vec<f64>>();
        for (a, b) in gain(&quiet).into_iter().zip(gain(&loud)) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
    }
}
