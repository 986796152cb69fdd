//! Cases of [`crate::ops::warp`]: the sums against their definition in double precision, calls of whole groups, and refusals.

use super::{Outcome, largest_relative, nmse};
use crate::fourier::ImageStack;
use crate::movie::detector::{Defect, Defects, Detector};
use crate::movie::field::{FrameMotion, MODES};
use crate::movie::frame::RawFrame;
use crate::movie::kernel::Kernel;
use crate::ops::warp::{MovedFrame, TILE, Warp, WarpError, WarpPlan};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;

/// A case: columns and rows of the frames and of the sums, frames, terms, largest displacement in pixels, seed.
type Case = ([usize; 2], [usize; 2], usize, usize, f64, u64);

/// Nothing, one pixel, less than a tile, primes, sums larger than the frames along either axis, several bands and a group that is
/// not full, motion beyond the frame, and no frames.
const CASES: [Case; 9] = [
    ([0, 0], [0, 0], 2, 2, 1.0, 1),
    ([1, 1], [1, 1], 2, 1, 0.5, 2),
    ([7, 5], [7, 5], 1, 2, 2.0, 3),
    ([37, 23], [37, 23], 5, 3, 4.0, 4),
    ([31, 18], [36, 20], 4, 2, 3.0, 5),
    ([33, 40], [33, 48], 3, 1, 3.0, 6),
    ([50, 67], [54, 67], 6, 2, 5.0, 7),
    ([40, 33], [40, 33], 2, 1, 90.0, 8),
    ([16, 16], [16, 16], 0, 2, 1.0, 9),
];

/// Sums of some ten products, rounded each: relative errors of a few 1e-7, squared.
const NMSE_BOUND: f64 = 1e-12;
/// The same for the worst pixel, where up to six frames of either sign of weight add.
const LARGEST_BOUND: f64 = 3e-6;

/// Frames with their motion and weights.
pub struct Movie {
    /// What they have in common.
    pub plan: WarpPlan,
    frames: Vec<RawFrame>,
    motion: Vec<FrameMotion>,
    /// `[frame][term]`.
    weights: Vec<Vec<f32>>,
}

impl Movie {
    /// Seeded counts, some of them large, in half bytes, in bytes and in floats by turns; a gain reference with every second
    /// seed, and bad pixels.
    fn noise(([width, height], size, frames, terms, largest, seed): Case) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let pixels = width * height;
        let gain = (seed % 2 == 0).then(|| (0..pixels).map(|_| rng.random_range(0.8..1.2)).collect());
        let defects = defects(pixels, &mut rng);
        let raw = (0..frames).map(|frame| frame_of(frame, [width, height], &mut rng)).collect();
        let mut coefficient = |scale: f64| rng.random_range(-scale..scale);
        let motion = (0..frames)
            .map(|_| [0, 1].map(|_| std::array::from_fn(|mode| coefficient(largest / (1.0 + mode as f64)))))
            .collect();
        let weights =
            (0..frames).map(|_| (0..terms).map(|_| rng.random_range(-1.0..1.0)).collect()).collect();
        let detector = Detector { width, height, gain };
        let plan = WarpPlan { detector, defects: Arc::new(defects), size, terms };
        Self { plan, frames: raw, motion, weights }
    }

    /// The frames as a device takes them.
    pub fn frames(&self) -> Vec<MovedFrame<'_>> {
        let frame = |number: usize| MovedFrame {
            raw: &self.frames[number],
            number,
            motion: &self.motion[number],
            weights: &self.weights[number],
        };
        (0..self.frames.len()).map(frame).collect()
    }
}

/// One pixel in thirty is bad; of these one in five has nothing to stand in for it.
fn defects(pixels: usize, rng: &mut ChaCha8Rng) -> Defects {
    let bad: Vec<bool> = (0..pixels).map(|_| rng.random_range(0..30) == 0).collect();
    let good: Vec<usize> = (0..pixels).filter(|&i| !bad[i]).collect();
    let choices = |rng: &mut ChaCha8Rng| match good.len() {
        0 => Vec::new(),
        n if rng.random_range(0..5) > 0 => (0..3).map(|_| good[rng.random_range(0..n)]).collect(),
        _ => Vec::new(),
    };
    let pixels = (0..pixels)
        .filter(|&index| bad[index])
        .map(|index| Defect { index, choices: choices(rng) })
        .collect();
    Defects { pixels, in_gain: 0 }
}

/// A frame in the form of its turn.
pub(super) fn frame_of(turn: usize, [width, height]: [usize; 2], rng: &mut ChaCha8Rng) -> RawFrame {
    let pixels = width * height;
    match turn % 3 {
        0 => {
            let mut bytes: Vec<u8> = (0..pixels).map(|_| rng.random_range(0..9)).collect();
            // rarer than one in 64, or the frame would not be held in half bytes
            bytes.iter_mut().skip(3).step_by(150).for_each(|value| *value = rng.random_range(15..=255));
            RawFrame::of_bytes(&bytes, width)
        }
        1 => RawFrame::Bytes((0..pixels).map(|_| rng.random_range(0..=255)).collect()),
        _ => RawFrame::Floats((0..pixels).map(|_| rng.random_range(-3.0..20.0)).collect()),
    }
}

/// The sums of all frames in one call.
fn sums_of<D: Warp>(device: &D, movie: &Movie, call: usize) -> ImageStack {
    let mut sums = device.warped_sums(movie.plan.clone()).expect("sizes should agree");
    for frames in movie.frames().chunks(call) {
        device.add_warped(&mut sums, frames).expect("frames that fit should be added");
    }
    device.collect_warped(sums).expect("sums should come back")
}

/// Runs all cases on a device.
pub fn run<D: Warp>(device: &D) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for case in CASES {
        definition(device, case, &mut outcomes);
    }
    calls(device, &mut outcomes);
    refusals(device, &mut outcomes);
    outcomes
}

/// Bits of the sums of some cases.
pub fn checksum<D: Warp>(device: &D) -> Vec<u32> {
    let bits = |case| {
        let movie = Movie::noise(case);
        let sums = sums_of(device, &movie, usize::MAX);
        (0..movie.plan.terms).flat_map(|term| sums.image(term).mapv(f32::to_bits).into_iter()).collect()
    };
    CASES[2..8].iter().flat_map(|&case| -> Vec<u32> { bits(case) }).collect()
}

fn definition<D: Warp>(device: &D, case: Case, outcomes: &mut Vec<Outcome>) {
    let movie = Movie::noise(case);
    let sums = sums_of(device, &movie, usize::MAX);
    let want = oracle(&movie);
    let mut pairs = Vec::new();
    for (term, want) in want.iter().enumerate() {
        let got = sums.image(term);
        pairs.extend(got.iter().zip(want).map(|(&got, &want)| (f64::from(got), want)));
    }
    let ([width, height], size, frames, terms, ..) = case;
    let case = format!("{frames} frames of {width} x {height}, {terms} sums of {} x {}", size[0], size[1]);
    let (nmse, largest) = (nmse(pairs.iter().copied()), largest_relative(pairs.iter().copied()));
    outcomes.push(Outcome { case: case.clone(), measure: "NMSE", error: nmse, bound: NMSE_BOUND });
    outcomes.push(Outcome { case, measure: "largest error", error: largest, bound: LARGEST_BOUND });
}

/// The definition, pixel by pixel: `[term]`, each row by row.
fn oracle(movie: &Movie) -> Vec<Vec<f64>> {
    let [columns, rows] = movie.plan.size;
    let kernel = Kernel::default();
    let mut sums = vec![vec![0.0; columns * rows]; movie.plan.terms];
    for frame in movie.frames() {
        let image = continued(&movie.plan, &frame);
        let at = |x: isize, y: isize| {
            image[y.rem_euclid(rows as isize) as usize * columns + x.rem_euclid(columns as isize) as usize]
        };
        let corner = |i: usize| i / TILE * TILE;
        let shift = |x: usize, y: usize, axis: usize| {
            let middle = |i: usize| corner(i) as f64 + 7.5;
            let unit = |v: f64, n: usize| (2.0 * v - (n as f64 - 1.0)) / n as f64;
            let detector = &movie.plan.detector;
            let (u, v) = (unit(middle(x), detector.width), unit(middle(y), detector.height));
            let values: [f64; MODES] = [1.0, u, v, u * u, v * v, u * v];
            let sum: f64 = (0..MODES).map(|mode| frame.motion[axis][mode] * values[mode]).sum();
            let most = [detector.width, detector.height][axis] as f64;
            sum.clamp(-most, most)
        };
        for (y, x) in (0..rows).flat_map(|y| (0..columns).map(move |x| (y, x))) {
            let line = |column: isize| {
                let in_tile = column.rem_euclid(columns as isize) as usize;
                let (row, taps) = kernel.at(corner(y) as f64 + shift(in_tile, y, 1));
                let first = row + (y - corner(y)) as isize;
                taps.iter().zip(first..).map(|(tap, row)| f64::from(*tap) * at(column, row)).sum::<f64>()
            };
            let (column, taps) = kernel.at(corner(x) as f64 + shift(x, y, 0));
            let first = column + (x - corner(x)) as isize;
            let value: f64 =
                taps.iter().zip(first..).map(|(tap, column)| f64::from(*tap) * line(column)).sum();
            for (sum, weight) in sums.iter_mut().zip(frame.weights) {
                sum[y * columns + x] += f64::from(*weight) * value;
            }
        }
    }
    sums
}

/// The corrected frame, continued to the size of the sums.
fn continued(plan: &WarpPlan, frame: &MovedFrame<'_>) -> Vec<f64> {
    let Detector { width, height, ref gain } = plan.detector;
    let pixel =
        |i: usize| f64::from(frame.raw.value(i)) * gain.as_ref().map_or(1.0, |gain| f64::from(gain[i]));
    let mut values: Vec<f64> = (0..width * height).map(pixel).collect();
    for defect in &plan.defects.pixels {
        values[defect.index] = Defects::replacement(defect, frame.number).map_or(0.0, pixel);
    }
    let [columns, rows] = plan.size;
    let part =
        |i: usize, length: usize, period: usize| (i + 1 - length) as f64 / (period + 1 - length) as f64;
    let mut out = vec![0.0; columns * rows];
    for y in 0..rows {
        let row = |x: usize| match y < height {
            true => values[y * width + x],
            false => {
                let last = values[(height - 1) * width + x];
                last + part(y, height, rows) * (values[x] - last)
            }
        };
        for x in 0..columns {
            out[y * columns + x] = match x < width {
                true => row(x),
                false => row(width - 1) + part(x, width, columns) * (row(0) - row(width - 1)),
            };
        }
    }
    out
}

/// Calls of whole groups give the bits of one call.
fn calls<D: Warp>(device: &D, outcomes: &mut Vec<Outcome>) {
    let movie = Movie::noise(([29, 20], [30, 20], 9, 2, 3.0, 20));
    let (one, several) = (sums_of(device, &movie, usize::MAX), sums_of(device, &movie, 4));
    let differ = |term: usize| {
        one.image(term).iter().zip(several.image(term)).filter(|(a, b)| a.to_bits() != b.to_bits()).count()
    };
    outcomes.push(Outcome {
        case: "nine frames in calls of four".into(),
        measure: "pixels that differ from one call",
        error: (differ(0) + differ(1)) as f64,
        bound: 0.0,
    });
}

/// What does not fit is refused and adds nothing.
fn refusals<D: Warp>(device: &D, outcomes: &mut Vec<Outcome>) {
    let movie = Movie::noise(([12, 9], [12, 10], 2, 2, 1.0, 30));
    let smaller = WarpPlan { size: [12, 8], ..movie.plan.clone() };
    let gain: Vec<f32> = vec![1.0; 5];
    let detector = Detector { gain: Some(gain.into()), ..movie.plan.detector.clone() };
    let other_gain = WarpPlan { detector, ..movie.plan.clone() };
    let nothing = Detector { width: 0, height: 0, gain: None };
    let empty = WarpPlan { detector: nothing, ..movie.plan.clone() };
    for (case, plan) in
        [("sums smaller than a frame", smaller), ("another gain", other_gain), ("frames of no pixels", empty)]
    {
        let accepted = !matches!(device.warped_sums(plan), Err(WarpError::Shape { .. }));
        push_refusal(case, accepted, outcomes);
    }
    let short = RawFrame::Bytes(vec![1; 100]);
    let no_motion = [[f64::NAN; MODES]; 2];
    let frames = movie.frames();
    for (case, frame) in [
        ("a frame of another size", MovedFrame { raw: &short, ..frames[1] }),
        ("too few weights", MovedFrame { weights: &[1.0], ..frames[1] }),
        ("a motion that is not a number", MovedFrame { motion: &no_motion, ..frames[1] }),
    ] {
        let mut sums = device.warped_sums(movie.plan.clone()).expect("sizes should agree");
        let refused = device.add_warped(&mut sums, &[frames[0], frame]).is_err();
        let untouched = device.collect_warped(sums).is_ok_and(|sums| sums.image(0).iter().all(|v| *v == 0.0));
        push_refusal(case, !(refused && untouched), outcomes);
    }
}

fn push_refusal(case: &str, accepted: bool, outcomes: &mut Vec<Outcome>) {
    outcomes.push(Outcome {
        case: case.into(),
        measure: "not refused, or partly added",
        error: f64::from(u8::from(accepted)),
        bound: 0.0,
    });
}
