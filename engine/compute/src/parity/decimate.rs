//! Cases of [`crate::ops::decimate`]: small copies against their definition in double precision.

use super::warp::frame_of;
use super::{Outcome, largest_relative, nmse};
use crate::movie::detector::Detector;
use crate::movie::frame::RawFrame;
use crate::ops::decimate::{Decimate, DecimationFilter};
use ndarray::Array2;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Columns, rows, pixels of a block: nothing, less than a block, single pixels, edges that are no whole blocks, primes, blocks
/// whose taps are whole lanes and blocks whose are not, a frame smaller than the filter, several blocks of threads.
const CASES: [(usize, usize, usize); 10] = [
    (0, 0, 4),
    (3, 9, 4),
    (1, 1, 1),
    (37, 23, 1),
    (16, 12, 2),
    (31, 37, 3),
    (70, 41, 4),
    (7, 5, 5),
    (53, 47, 7),
    (150, 44, 4),
];

/// A sum of some hundred products of one sign, rounded each: relative errors of a few 1e-7, squared.
const NMSE_BOUND: f64 = 1e-12;
/// The same for the worst pixel.
const LARGEST_BOUND: f64 = 2e-6;

/// Seeded frames of all forms, and a detector that has a gain reference with every second case.
fn frames_of(index: usize, [width, height]: [usize; 2]) -> (Detector, Vec<RawFrame>) {
    let mut rng = ChaCha8Rng::seed_from_u64(index as u64);
    let gain =
        index.is_multiple_of(2).then(|| (0..width * height).map(|_| rng.random_range(0.8..1.2)).collect());
    let frames = (0..3).map(|turn| frame_of(turn, [width, height], &mut rng)).collect();
    (Detector { width, height, gain }, frames)
}

/// Runs all cases on a device.
pub fn run<D: Decimate>(device: &D) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for (index, (width, height, block)) in CASES.into_iter().enumerate() {
        let (detector, frames) = frames_of(index, [width, height]);
        let decimator = device.decimator(&detector, block);
        for (form, frame) in ["counts", "bytes", "floats"].into_iter().zip(&frames) {
            let (got, want) = (device.decimate(&decimator, frame), oracle(&detector, block, frame));
            let same_size = got.dim() == want.dim();
            let pairs = || got.iter().zip(&want).map(|(&got, &want)| (f64::from(got), want));
            let case = format!("{form} of {width} x {height} in blocks of {block}");
            let or_infinite = |error: f64| if same_size { error } else { f64::INFINITY };
            let (nmse, largest) = (or_infinite(nmse(pairs())), or_infinite(largest_relative(pairs())));
            outcomes.push(Outcome { case: case.clone(), measure: "NMSE", error: nmse, bound: NMSE_BOUND });
            outcomes.push(Outcome { case, measure: "largest error", error: largest, bound: LARGEST_BOUND });
        }
    }
    outcomes
}

/// Bits of all small copies.
pub fn checksum<D: Decimate>(device: &D) -> Vec<u32> {
    let mut bits = Vec::new();
    for (index, (width, height, block)) in CASES.into_iter().enumerate() {
        let (detector, frames) = frames_of(index, [width, height]);
        let decimator = device.decimator(&detector, block);
        for frame in &frames {
            bits.extend(device.decimate(&decimator, frame).iter().map(|value| value.to_bits()));
        }
    }
    bits
}

/// The definition, pixel by pixel.
fn oracle(detector: &Detector, block: usize, frame: &RawFrame) -> Array2<f64> {
    let filter = DecimationFilter::new(block);
    let (width, height) = (detector.width, detector.height);
    let pixel = |x: isize, y: isize| {
        let x = x.clamp(0, width as isize - 1) as usize;
        let index = y.clamp(0, height as isize - 1) as usize * width + x;
        let gain = detector.gain.as_ref().map_or(1.0, |gain| f64::from(gain[index]));
        f64::from(frame.value(index)) * gain
    };
    Array2::from_shape_fn((height / block, width / block), |(row, column)| {
        let from = |at: usize| (at * block) as isize + filter.first();
        let mut sum = 0.0;
        for (y, along_y) in (from(row)..).zip(filter.taps()) {
            for (x, along_x) in (from(column)..).zip(filter.taps()) {
                sum += f64::from(*along_y) * f64::from(*along_x) * pixel(x, y);
            }
        }
        sum
    })
}
