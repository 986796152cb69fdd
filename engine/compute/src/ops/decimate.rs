//! Family `decimate`: small copies of a movie's frames, gain applied, low-passed and sampled at every `b`-th pixel.
//!
//! Averages over blocks would be simpler, but what they fold down from beyond the new Nyquist frequency moves the wrong
//! way when the specimen moves, and pulls displacements towards whole blocks. A Kaiser-Bessel filter of two blocks
//! on either side folds next to nothing into frequencies up to [`USABLE`].
//!
//! # Contract
//! - Input: a frame as it was read, multiplied with the gain reference; bad pixels as they are.
//! - Output: `[height / b, width / b]`, whole blocks only. Pixel `(r, c)` is `Σ_j t[j] line(c b + first + j)`, `line(x) =
//!   Σ_j t[j] frame(r b + first + j, x)`, with the taps `t` and `first` of [`DecimationFilter`]; beyond its edges the frame is
//!   continued with its outermost pixels. Counts per pixel of the movie times the gain: the taps sum to 1.
//! - Order: sums along y in the order of the taps. Along x the whole runs of [`LANES`] taps in partial sums, one for every
//!   lane, these added in order; then the rest of the taps in order by themselves, added last.
//! - Determinism: single precision in this order without contraction, so the result is bitwise the same on any device.
//! - Allowed error against double precision: NMSE 1e-12, largest error 2e-6 of the largest value.

use crate::device::Device;
use crate::movie::detector::Detector;
use crate::movie::frame::RawFrame;
use crate::movie::kernel::bessel_i0;
use ndarray::Array2;

/// Partial sums of a sum along x.
pub const LANES: usize = 8;

/// Half width of the filter in blocks.
const REACH: usize = 2;

/// Shape of the filter: folded amplitudes are under 3 % of the true ones up to 0.35 and under 12 % up to [`USABLE`].
const BETA: f64 = 6.5;

/// Frequencies that can be used, cycles per small pixel.
pub const USABLE: f64 = 0.42;

/// The filter for one block size.
#[derive(Debug, Clone)]
pub struct DecimationFilter {
    block: usize,
    /// Weights of successive pixels; the first lies at `first` relative to the first pixel of the block.
    taps: Vec<f32>,
    first: isize,
}

impl DecimationFilter {
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

    /// Pixels of a block.
    pub fn block(&self) -> usize {
        self.block
    }

    /// Weights of successive pixels.
    pub fn taps(&self) -> &[f32] {
        &self.taps
    }

    /// Where the first of them lies relative to the first pixel of the block, not beyond it.
    pub fn first(&self) -> isize {
        self.first
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

/// The family.
pub trait Decimate: Device {
    /// What all frames of a movie have in common, on the device.
    type Decimator: Send + Sync;

    /// For frames of a detector and blocks of `block` pixels.
    fn decimator(&self, detector: &Detector, block: usize) -> Self::Decimator;

    /// The small copy of a frame.
    ///
    /// # Panics
    /// If the frame is not of the detector's size.
    fn decimate(&self, with: &Self::Decimator, frame: &RawFrame) -> Array2<f32>;
}
