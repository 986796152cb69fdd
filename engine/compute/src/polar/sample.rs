//! Samples of an image's transform on the polar grid: the image is cropped in Fourier space to what the band needs,
//! masked softly inside its box, divided by the transform of the interpolation kernel, padded, transformed, and read off
//! by 4 × 4 taps of a Kaiser–Bessel kernel. The way back is the adjoint, with the area of each sample as its weight.

use super::grid::PolarGrid;
use crate::fourier::{HalfImage, next_5_smooth};
use crate::likelihood::band_end;
use ndarray::{Array2, s};
use num_complex::Complex32;
use std::f64::consts::PI;
use vitreous_model::conventions::centre;

/// Taps of the kernel per axis.
const WIDTH: usize = 4;

/// Least oversampling of the grid the kernel reads; with 4 taps the relative error is 1.3e-3.
const OVERSAMPLING: f64 = 1.5;

/// Fourier pixels kept beyond the band, for what the mask mixes in.
const CROP_MARGIN_PX: usize = 8;

/// Inner radius of the mask as a fraction of its outer one.
const MASK_INNER: f64 = 0.95;

/// The taps of one sample.
#[derive(Debug, Clone, Copy)]
struct Taps {
    /// Offset of the first tap in the unpacked grid.
    first: usize,
    x: [f32; WIDTH],
    y: [f32; WIDTH],
}

/// See the module.
#[derive(Debug, Clone)]
pub struct ImageSampler {
    box_px: usize,
    /// Edge of the cropped image.
    cropped: usize,
    /// Edge of the padded grid.
    padded: usize,
    /// Mask over kernel transform, `[cropped, cropped]`.
    window: Array2<f32>,
    /// Largest index on the padded grid.
    reach: usize,
    taps: Vec<Taps>,
}

impl ImageSampler {
    /// For the samples of `grid`, of a band that ends at `rmax`.
    pub fn new(grid: &PolarGrid, rmax: f64) -> Self {
        let box_px = grid.box_px;
        let wanted = 2 * (band_end(rmax) + CROP_MARGIN_PX);
        let cropped = if wanted >= box_px { box_px } else { next_even_smooth(wanted).min(box_px) };
        let padded = next_even_smooth((OVERSAMPLING * cropped as f64).ceil() as usize);
        let factor = padded as f64 / cropped as f64;
        let kernel = KaiserBessel::new(factor);
        let reach = (band_end(rmax) as f64 * factor).ceil() as usize + WIDTH;
        let width = 2 * reach + 1;
        let taps = grid
            .points()
            .map(|[qx, qy]| {
                let axis = |q: f64| {
                    let position = q * factor;
                    let first = (position - 0.5 * WIDTH as f64).ceil();
                    let weights: [f32; WIDTH] =
                        std::array::from_fn(|i| kernel.value(position - first - i as f64) as f32);
                    (first, weights)
                };
                let ((x0, x), (y0, y)) = (axis(qx), axis(qy));
                // rows start at -WIDTH: angles cover half a turn, so y is never below the kernel's reach
                let row = (y0 + WIDTH as f64) as usize;
                Taps { first: row * width + (x0 + reach as f64) as usize, x, y }
            })
            .collect();
        Self { box_px, cropped, padded, window: window(box_px, cropped, padded, &kernel), reach, taps }
    }

    /// The transform at all samples, in units of the box's unnormalised transform, of the image with the point
    /// `centre_px` (pixels from the centre of the box) moved to the centre.
    pub fn samples(
        &self,
        image: &HalfImage,
        centre_px: [f64; 2],
        unpacked: &mut Vec<Complex32>,
    ) -> Vec<Complex32> {
        let n = self.cropped;
        let mut cropped = image.resized(n, n);
        let scale = n as f64 / self.box_px as f64;
        if centre_px != [0.0, 0.0] {
            cropped.shift(-centre_px[0] * scale, -centre_px[1] * scale);
        }
        let pixels = cropped.into_box() * &self.window;
        let mut board = Array2::<f32>::zeros((self.padded, self.padded));
        let start = centre(self.padded) - centre(n);
        board.slice_mut(s![start..start + n, start..start + n]).assign(&pixels);
        let transform = HalfImage::of_box(board.view());
        self.unpack(&transform, (scale * scale).recip() as f32, unpacked);
        self.taps.iter().map(|taps| self.read(unpacked, taps)).collect()
    }

    /// Copies the part of a half transform that the taps read into a full plane: `qx = -reach ..= reach` along a row,
    /// `qy = -WIDTH ..= reach` over rows.
    fn unpack(&self, transform: &HalfImage, scale: f32, plane: &mut Vec<Complex32>) {
        let (n, reach) = (self.padded, self.reach);
        let width = 2 * reach + 1;
        plane.clear();
        plane.resize(width * (reach + 1 + WIDTH), Complex32::ZERO);
        let data = transform.data();
        for (row, line) in plane.chunks_exact_mut(width).enumerate() {
            let qy = row as isize - WIDTH as isize;
            let up = qy.rem_euclid(n as isize) as usize;
            let down = (-qy).rem_euclid(n as isize) as usize;
            for (x, value) in line.iter_mut().enumerate() {
                let qx = x as isize - reach as isize;
                let column = qx.unsigned_abs();
                if column > n / 2 {
                    continue;
                }
                let found = if qx >= 0 { data[[up, column]] } else { data[[down, column]].conj() };
                *value = found * scale;
            }
        }
    }

    /// The image on the box, masked like those sampled, whose transform has the given samples and nothing at DC: the
    /// integral over the plane as a sum over samples with their areas `r π / count`. It is exact but for a constant, and
    /// for content near the edge of the box, for which rings a pixel apart are just too few.
    ///
    /// # Panics
    /// If there are more samples than the sampler was made for, or fewer than the grid's.
    pub fn image_of(&self, grid: &PolarGrid, samples: &[Complex32]) -> Array2<f32> {
        let width = 2 * self.reach + 1;
        let mut plane = vec![Complex32::ZERO; width * (self.reach + 1 + WIDTH)];
        for ring in &grid.rings {
            let area = (ring.radius * PI / ring.count as f64) as f32;
            for at in ring.first..ring.first + ring.count {
                self.spread(samples[at] * area, &self.taps[at], &mut plane);
            }
        }
        let mut transform = self.packed(&plane);
        let scale = (self.padded as f64 / self.box_px as f64).powi(2) as f32;
        transform.data_mut().mapv_inplace(|value| value * scale);
        let board = transform.into_box();
        let (n, start) = (self.cropped, centre(self.padded) - centre(self.cropped));
        let pixels = board.slice(s![start..start + n, start..start + n]).to_owned() * &self.window;
        if n == self.box_px {
            return pixels;
        }
        HalfImage::of_box(pixels.view()).resized(self.box_px, self.box_px).into_box()
    }

    /// Adds a sample to the plane of [`ImageSampler::unpack`] with its taps.
    fn spread(&self, value: Complex32, taps: &Taps, plane: &mut [Complex32]) {
        let width = 2 * self.reach + 1;
        for (row, wy) in taps.y.iter().enumerate() {
            let line = &mut plane[taps.first + row * width..][..WIDTH];
            line.iter_mut().zip(&taps.x).for_each(|(cell, wx)| *cell += value * (wx * wy));
        }
    }

    /// The half transform to which each value of the plane and its Friedel mate are added.
    fn packed(&self, plane: &[Complex32]) -> HalfImage {
        let (n, reach) = (self.padded, self.reach);
        let width = 2 * reach + 1;
        let mut transform = HalfImage::zeros_box(n);
        let mut data = transform.data_mut();
        for (row, line) in plane.chunks_exact(width).enumerate() {
            let qy = row as isize - WIDTH as isize;
            let up = qy.rem_euclid(n as isize) as usize;
            let down = (-qy).rem_euclid(n as isize) as usize;
            for (x, &value) in line.iter().enumerate() {
                let qx = x as isize - reach as isize;
                let column = qx.unsigned_abs();
                if column > n / 2 {
                    continue;
                }
                if qx >= 0 {
                    data[[up, column]] += value;
                }
                if qx <= 0 {
                    data[[down, column]] += value.conj();
                }
            }
        }
        transform
    }

    fn read(&self, plane: &[Complex32], taps: &Taps) -> Complex32 {
        let width = 2 * self.reach + 1;
        let mut sum = [0f32; 2];
        for (row, wy) in taps.y.iter().enumerate() {
            let line = &plane[taps.first + row * width..][..WIDTH];
            let mut partial = [0f32; 2];
            for (value, wx) in line.iter().zip(&taps.x) {
                partial[0] += wx * value.re;
                partial[1] += wx * value.im;
            }
            sum[0] += wy * partial[0];
            sum[1] += wy * partial[1];
        }
        Complex32::new(sum[0], sum[1])
    }
}

/// The smallest even number from `n` on without prime factors above 5.
fn next_even_smooth(n: usize) -> usize {
    2 * next_5_smooth(n.div_ceil(2))
}

/// Circular mask of radius `N/2 - 1` pixels of the box, divided by the transform of the kernel along both axes.
fn window(box_px: usize, cropped: usize, padded: usize, kernel: &KaiserBessel) -> Array2<f32> {
    let c = centre(cropped) as f64;
    let outer = 0.5 * cropped as f64 * (1.0 - 2.0 / box_px as f64);
    let inner = MASK_INNER * outer;
    let along: Vec<f64> = (0..cropped).map(|i| kernel.transform((i as f64 - c) / padded as f64)).collect();
    Array2::from_shape_fn((cropped, cropped), |(y, x)| {
        let r = (y as f64 - c).hypot(x as f64 - c);
        let edge = ((outer - r) / (outer - inner)).clamp(0.0, 1.0);
        ((0.5 - 0.5 * (PI * edge).cos()) / (along[y] * along[x])) as f32
    })
}

/// The Kaiser–Bessel kernel `I0(β sqrt(1 - (2u/w)²)) / I0(β)` of width w = 4, with Beatty's β for an oversampling.
///
/// Reference: Beatty, Nishimura & Pauly 2005, IEEE Trans. Med. Imaging 24, 799, eq. 5.
#[derive(Debug, Clone, Copy)]
pub struct KaiserBessel {
    beta: f64,
}

impl KaiserBessel {
    /// For a grid oversampled by `factor`.
    pub fn new(factor: f64) -> Self {
        let w = WIDTH as f64;
        Self { beta: PI * ((w / factor).powi(2) * (factor - 0.5).powi(2) - 0.8).max(0.1).sqrt() }
    }

    /// The kernel at `u` grid units from its centre.
    pub fn value(&self, u: f64) -> f64 {
        let x = 2.0 * u / WIDTH as f64;
        if x.abs() > 1.0 { 0.0 } else { bessel_i0(self.beta * (1.0 - x * x).sqrt()) / bessel_i0(self.beta) }
    }

    /// Its continuous Fourier transform at `x` cycles per grid unit: `w sinh(z)/(z I0(β))`, `z² = β² - (π w x)²`.
    pub fn transform(&self, x: f64) -> f64 {
        let w = WIDTH as f64;
        let z2 = self.beta * self.beta - (PI * w * x).powi(2);
        let quotient = if z2 > 1e-12 {
            z2.sqrt().sinh() / z2.sqrt()
        } else if z2 < -1e-12 {
            (-z2).sqrt().sin() / (-z2).sqrt()
        } else {
            1.0
        };
        w * quotient / bessel_i0(self.beta)
    }
}

/// Modified Bessel function I0 by its power series (every term positive, so it is accurate to rounding).
pub(crate) fn bessel_i0(x: f64) -> f64 {
    let quarter = 0.25 * x * x;
    let (mut sum, mut term) = (1.0, 1.0);
    for k in 1..200 {
        term *= quarter / f64::from(k * k);
        sum += term;
        if term < 1e-17 * sum {
            break;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_has_its_known_transform() {
        // golden values of the conventions: width 4, oversampling 1.25
        let kernel = KaiserBessel::new(1.25);
        for (x, want) in [(0.0, 1.858876), (0.1, 1.686393), (0.3, 0.732662)] {
            assert!((kernel.transform(x) - want).abs() < 1e-5, "{x}: {}", kernel.transform(x));
        }
    }

    #[test]
    fn samples_are_those_of_the_masked_image() {
        let n = 48;
        let grid = PolarGrid::new(n, 10.0, 24.0, 0.0);
        let sampler = ImageSampler::new(&grid, 10.0);
        // a few blobs inside the mask, centred on (1.5, -2) pixels
        let blobs = [(0.0, 0.0, 1.0), (6.0, -3.0, 0.7), (-4.5, 5.0, -0.4)];
        let (cx, cy, sigma) = (1.5, -2.0, 1.6f64);
        let image = Array2::from_shape_fn((n, n), |(y, x)| {
            let (y, x) = (y as f64 - 24.0 - cy, x as f64 - 24.0 - cx);
            let blob = |&(bx, by, a): &(f64, f64, f64)| {
                a * (-((x - bx).powi(2) + (y - by).powi(2)) / (2.0 * sigma * sigma)).exp()
            };
            blobs.iter().map(blob).sum::<f64>() as f32
        });
        let half = HalfImage::of_box(image.view());
        let samples = sampler.samples(&half, [cx, cy], &mut Vec::new());
        let scale = 2.0 * PI * sigma * sigma;
        let mut worst = 0f64;
        for ([qx, qy], got) in grid.points().zip(samples) {
            let (mut re, mut im) = (0.0, 0.0);
            for (bx, by, a) in blobs {
                let (s, c) = (-2.0 * PI * (qx * bx + qy * by) / n as f64).sin_cos();
                let damping = (-2.0 * (PI * sigma / n as f64).powi(2) * (qx * qx + qy * qy)).exp();
                re += a * scale * damping * c;
                im += a * scale * damping * s;
            }
            worst = worst.max((f64::from(got.re) - re).hypot(f64::from(got.im) - im));
        }
        // the kernel's relative error, of the sum of all blobs
        let total = scale * blobs.iter().map(|b| b.2.abs()).sum::<f64>();
        assert!(worst <= 3e-3 * total, "{worst} of {total}");
    }

    #[test]
    fn an_image_comes_back_from_its_samples() {
        let n = 64;
        for rmax in [14.0, 27.0] {
            // blobs without power beyond the band
            let sigma = 0.75 * n as f64 / rmax;
            let blobs = [(0.0, 0.0, 1.0), (9.0, -6.0, 0.7), (-11.0, 3.5, -1.1)];
            let image = Array2::from_shape_fn((n, n), |(y, x)| {
                let blob = |&(bx, by, a): &(f64, f64, f64)| {
                    let d2 = (x as f64 - 32.0 - bx).powi(2) + (y as f64 - 32.0 - by).powi(2);
                    a * (-d2 / (2.0 * sigma * sigma)).exp()
                };
                blobs.iter().map(blob).sum::<f64>() as f32
            });
            let grid = PolarGrid::new(n, rmax, 40.0, 0.0);
            let sampler = ImageSampler::new(&grid, rmax);
            let samples = sampler.samples(&HalfImage::of_box(image.view()), [0.0; 2], &mut Vec::new());
            let back = sampler.image_of(&grid, &samples);
            // compared where the mask is 1, without the constant that DC would give
            let inside = |y: usize, x: usize| (y as f64 - 32.0).hypot(x as f64 - 32.0) < 26.0;
            let cells: Vec<(f64, f64)> = image
                .indexed_iter()
                .filter(|&((y, x), _)| inside(y, x))
                .map(|((y, x), &want)| (f64::from(want), f64::from(back[[y, x]])))
                .collect();
            let count = cells.len() as f64;
            let mean = cells.iter().map(|(want, got)| want - got).sum::<f64>() / count;
            let error = cells.iter().map(|(want, got)| (want - got - mean).powi(2)).sum::<f64>();
            let power = cells.iter().map(|(want, _)| want * want).sum::<f64>();
            assert!(error < 1e-4 * power, "{rmax}: {error} of {power}");
        }
    }
}
