//! Samples of an image's transform on the polar grid: the image is cropped in Fourier space to what the band needs,
//! masked softly inside its box, divided by the transform of the interpolation kernel, padded, transformed, and read off
//! by 4 × 4 taps of a Kaiser–Bessel kernel.

use super::polar::PolarGrid;
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
fn bessel_i0(x: f64) -> f64 {
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
}
