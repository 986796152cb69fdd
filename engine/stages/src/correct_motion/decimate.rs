//! Small copies of frames: low-passed and sampled at every `b`-th pixel.
//!
//! Averages over blocks would be simpler, but what they fold down from beyond the new Nyquist frequency moves the wrong
//! way when the specimen moves, and pulls displacements towards whole blocks. A Kaiser-Bessel filter of [`REACH`] blocks
//! on either side folds next to nothing into frequencies up to [`USABLE`].

use super::simd;
use ndarray::Array2;
use vitreous_compute::movie::kernel::bessel_i0;

/// Half width of the filter in blocks.
const REACH: usize = 2;

/// Shape of the filter: folded amplitudes are under 3 % of the true ones up to 0.35 and under 12 % up to [`USABLE`].
const BETA: f64 = 6.5;

/// Frequencies that can be used, cycles per small pixel.
pub const USABLE: f64 = 0.42;

/// The filter for one block size.
#[derive(Debug, Clone)]
pub struct Decimator {
    block: usize,
    /// Weights of successive pixels; the first lies at `first` relative to the first pixel of the block.
    taps: Vec<f32>,
    first: isize,
}

impl Decimator {
    /// For blocks of `block` pixels; 1 leaves images as they are.
    pub fn new(block: usize) -> Self {
        if block <= 1 {
            return Self { block: 1, taps: vec![1.0], first: 0 };
        }
        let half_width = (REACH * block) as f64;
        let middle = (block as f64 - 1.0) / 2.0;
        let first = (middle - half_width).floor() as isize + 1;
        let last = (middle + half_width).ceil() as isize - 1;
        let value = |at: isize| {
            let r = (at as f64 - middle) / half_width;
            bessel_i0(BETA * (1.0 - r * r).max(0.0).sqrt())
        };
        let sum: f64 = (first..=last).map(value).sum();
        Self { block, taps: (first..=last).map(|at| (value(at) / sum) as f32).collect(), first }
    }

    /// Size of the small copy of an image of `width × height`: whole blocks only, `(rows, columns)`.
    pub fn shape(&self, width: usize, height: usize) -> (usize, usize) {
        (height / self.block, width / self.block)
    }

    /// The small copy of an image whose rows `fill(y, row)` writes one by one, in order. Beyond its edges the image is
    /// continued with its outermost pixels.
    pub fn apply(&self, width: usize, height: usize, mut fill: impl FnMut(usize, &mut [f32])) -> Array2<f32> {
        let (rows, columns) = self.shape(width, height);
        let mut out = Array2::zeros((rows, columns));
        let count = self.taps.len();
        let last = self.first + count as isize - 1;
        // the last rows of the image, as many as the filter is high
        let mut recent = vec![0.0f32; count * width];
        let mut starts = vec![0; count];
        let before = self.first.min(0).unsigned_abs();
        let after = (last.max(0) as usize).max(self.block);
        let mut padded = vec![0.0f32; before + width + after];
        let mut finished = 0;
        for y in 0..height {
            fill(y, &mut recent[y % count * width..][..width]);
            while finished < rows
                && (y as isize >= (finished * self.block) as isize + last || y + 1 == height)
            {
                for (tap, start) in starts.iter_mut().enumerate() {
                    // an outermost row stands for those beyond it as well
                    let at = (finished * self.block) as isize + self.first + tap as isize;
                    *start = at.clamp(0, height as isize - 1) as usize % count * width;
                }
                simd::combine_rows(&recent, &starts, &self.taps, &mut padded[before..before + width]);
                let (left, right) = (padded[before], padded[before + width - 1]);
                padded[..before].fill(left);
                padded[before + width..].fill(right);
                let start = (before as isize + self.first) as usize;
                let target = out.row_mut(finished);
                let target = target.into_slice().expect("rows of a new array should be contiguous");
                simd::decimate_row(&padded[start..], &self.taps, self.block, target);
                finished += 1;
            }
        }
        out
    }

    /// Adds to a small image what one pixel of `value` at `(x, y)` of the image adds to it, edges apart.
    pub fn add_pixel(&self, small: &mut Array2<f32>, (x, y): (usize, usize), value: f32) {
        let (rows, columns) = small.dim();
        let weights = |at: usize, count: usize| -> Vec<(usize, f32)> {
            let near = at / self.block;
            (near.saturating_sub(REACH + 1)..(near + REACH + 2).min(count))
                .filter_map(|index| {
                    let tap = at as isize - (index * self.block) as isize - self.first;
                    let weight = usize::try_from(tap).ok().and_then(|i| self.taps.get(i))?;
                    Some((index, *weight))
                })
                .collect()
        };
        let along_x = weights(x, columns);
        for (row, wy) in weights(y, rows) {
            for (column, wx) in &along_x {
                small[[row, *column]] += value * wy * wx;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::TAU;

    fn decimated(
        block: usize,
        width: usize,
        height: usize,
        image: impl Fn(usize, usize) -> f32,
    ) -> Array2<f32> {
        let fill = |y: usize, row: &mut [f32]| row.iter_mut().enumerate().for_each(|(x, v)| *v = image(x, y));
        Decimator::new(block).apply(width, height, fill)
    }

    #[test]
    fn a_constant_stays_and_a_ramp_keeps_its_place() {
        for block in [1, 2, 3, 4, 5, 7] {
            let flat = decimated(block, 43, 30, |_, _| 3.0);
            assert_eq!(flat.dim(), (30 / block, 43 / block));
            assert!(flat.iter().all(|v| (v - 3.0).abs() < 1e-4), "{block}");
            let ramp = decimated(block, 80, 80, |x, y| x as f32 + 10.0 * y as f32);
            let middle = 40 / block;
            let centre = middle as f32 * block as f32 + (block as f32 - 1.0) / 2.0;
            assert!(
                (ramp[[middle, middle]] - 11.0 * centre).abs() < 1e-2,
                "{block}: {}",
                ramp[[middle, middle]]
            );
        }
    }

    #[test]
    fn waves_beyond_the_new_nyquist_are_suppressed() {
        let block = 4;
        // frequency f folds down to 1 - f (cycles per small pixel)
        for (folded, bound) in [(0.1, 0.003), (0.35, 0.03), (USABLE, 0.12)] {
            let amplitude = |f: f64| {
                let image =
                    decimated(block, 400, 64, |x, _| (TAU * f * x as f64 / block as f64).cos() as f32);
                image.row(8).iter().skip(10).take(80).fold(0.0f32, |a, v| a.max(v.abs()))
            };
            let ratio = amplitude(1.0 - folded) / amplitude(folded);
            assert!(ratio <= bound, "{folded}: {ratio}");
        }
    }

    #[test]
    fn a_single_pixel_can_be_taken_out_again() {
        let (x0, y0) = (33, 18);
        let mut small = decimated(4, 80, 60, |x, y| if (x, y) == (x0, y0) { 100.0 } else { 0.0 });
        assert!(small.iter().any(|v| *v > 1.0));
        Decimator::new(4).add_pixel(&mut small, (x0, y0), -100.0);
        assert!(small.iter().all(|v| v.abs() < 1e-4));
    }
}
