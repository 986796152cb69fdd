//! Known motion: drift of the whole frame and smooth local motion, both fast at first; and, if wanted, fine motion, which
//! changes over some hundred Å and wanders as it likes from frame to frame.
//!
//! A frame shows at `x` the point of the specimen that lay at `x - b(x, f)` in the first frame; `b` is analytic, so the
//! displacement `u` of a specimen point, `u(p) = b(p + u(p))`, is known to rounding error.

use super::random::{normal, uniform};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::f64::consts::{PI, TAU};

/// Waves that make up the local motion.
const WAVES: usize = 3;
/// Dose in which the fast part of the motion dies down, e/Å²: beam-induced motion is fastest in the first few e/Å².
const FAST_DOSE: f64 = 4.0;
/// Part of the drift in the fast phase.
const FAST_PART: f64 = 0.6;
/// Waves that make up the fine motion.
const FINE_WAVES: usize = 24;
/// Shortest and longest wave of the fine motion, in shorter frame edges: too short for a quadratic field over the frame.
const FINE_LENGTHS: [f64; 2] = [0.35, 0.9];
/// Random step of the drift from frame to frame, as a fraction of the whole.
const JITTER: f64 = 0.01;

/// One wave of local motion.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Wave {
    /// Phase per pixel along x and y, radians.
    phase_per_px: [f64; 2],
    /// Phase at the origin, radians.
    phase: f64,
    /// Amplitude along x and y, pixels.
    amplitude_px: [f64; 2],
}

/// The motion of a movie.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Motion {
    /// Drift of each frame from the first, pixels.
    drift_px: Vec<[f64; 2]>,
    waves: Vec<Wave>,
    /// Part of the local motion that has happened by each frame; 0 in the first.
    progress: Vec<f64>,
    /// Waves of the fine motion, each with its own course: amplitude by frame, 0 in the first.
    #[serde(default)]
    fine: Vec<(Wave, Vec<f64>)>,
}

/// How much motion to make.
#[derive(Debug, Clone, Copy)]
pub struct Amount {
    /// Drift over the exposure, pixels.
    pub drift_px: f64,
    /// Largest local motion, pixels.
    pub local_px: f64,
    /// Fine motion: root mean square over the frame, averaged over exposures, by the end, pixels.
    pub fine_px: f64,
    /// Frames.
    pub frames: usize,
    /// Dose per frame, e/Å².
    pub dose_per_frame: f64,
    /// Columns and rows.
    pub size: [usize; 2],
}

impl Amount {
    /// How far anything may move, pixels: the fine motion is a sum of many waves, of which hardly a place ever sees
    /// four times the usual.
    pub fn largest_px(&self) -> f64 {
        self.drift_px + self.local_px + 4.0 * self.fine_px
    }
}

impl Motion {
    /// Random motion; each movie moves by between half and all of the amount.
    pub fn random(rng: &mut ChaCha8Rng, amount: Amount) -> Self {
        let direction = uniform(rng, 0.0, TAU);
        let turn = uniform(rng, -0.5, 0.5);
        let length = amount.drift_px * uniform(rng, 0.5, 1.0);
        let fast = |frame: usize| 1.0 - (-(frame as f64) * amount.dose_per_frame / FAST_DOSE).exp();
        let last = (amount.frames.max(2) - 1) as f64;
        let mut jitter = [0.0; 2];
        let mut drift_px = Vec::with_capacity(amount.frames);
        for frame in 0..amount.frames {
            let t = frame as f64 / last;
            let way =
                length * (FAST_PART * fast(frame) / fast(amount.frames.max(2) - 1) + (1.0 - FAST_PART) * t);
            let angle = direction + turn * t;
            drift_px.push([way * angle.cos() + jitter[0], way * angle.sin() + jitter[1]]);
            jitter.iter_mut().for_each(|j| *j += JITTER * length * normal(rng));
        }
        // waves of at least 1.5 frames in length
        let wave = |rng: &mut ChaCha8Rng| Wave {
            phase_per_px: amount.size.map(|n| uniform(rng, -1.0, 1.0) * TAU / (1.5 * n as f64)),
            phase: uniform(rng, -PI, PI),
            amplitude_px: [normal(rng), normal(rng)],
        };
        let waves = (0..WAVES).map(|_| wave(rng)).collect();
        let progress = (0..amount.frames).map(|f| fast(f) * 0.7 + 0.3 * f as f64 / last).collect();
        let mut motion = Self { drift_px, waves, progress, fine: Vec::new() };
        motion.scale_local(amount.local_px * uniform(rng, 0.5, 1.0), amount.size);
        motion
    }

    /// Adds fine motion: each wave goes a way of its own, fast at first, with random steps on top.
    pub fn add_fine(&mut self, rng: &mut ChaCha8Rng, amount: Amount) {
        let frames = self.frames();
        let shorter = amount.size[0].min(amount.size[1]) as f64;
        // (way² + steps²) amplitude² / 2 of each axis, two axes, all waves
        let amplitude_px = amount.fine_px / (2.0 * FINE_WAVES as f64).sqrt();
        let fast = |frame: usize| 1.0 - (-(frame as f64) * amount.dose_per_frame / FAST_DOSE).exp();
        for _ in 0..FINE_WAVES {
            let length = shorter * uniform(rng, FINE_LENGTHS[0], FINE_LENGTHS[1]);
            let (sin, cos) = uniform(rng, 0.0, TAU).sin_cos();
            let wave = Wave {
                phase_per_px: [cos, sin].map(|part| part * TAU / length),
                phase: uniform(rng, -PI, PI),
                amplitude_px: [normal(rng), normal(rng)].map(|part| part * amplitude_px),
            };
            let (mut way, mut course) = (0.0, Vec::with_capacity(frames));
            for frame in 0..frames {
                course.push(way + fast(frame));
                way += normal(rng) / (frames.max(2) as f64).sqrt();
            }
            self.fine.push((wave, course));
        }
    }

    /// Scales the waves so that the largest local motion of the last frame is `largest_px`.
    fn scale_local(&mut self, largest_px: f64, size: [usize; 2]) {
        let last = self.progress.len().saturating_sub(1);
        let mut found: f64 = 0.0;
        for i in 0..=16 {
            for j in 0..=16 {
                let at = [i as f64 / 16.0 * size[0] as f64, j as f64 / 16.0 * size[1] as f64];
                let local = self.local_at(last, at);
                found = found.max(local[0].hypot(local[1]));
            }
        }
        let factor = if found > 0.0 { largest_px / found } else { 0.0 };
        self.waves.iter_mut().for_each(|wave| wave.amplitude_px.iter_mut().for_each(|a| *a *= factor));
    }

    /// Frames.
    pub fn frames(&self) -> usize {
        self.drift_px.len()
    }

    /// Drift of a frame, pixels.
    pub fn drift(&self, frame: usize) -> [f64; 2] {
        self.drift_px[frame]
    }

    /// All waves with their progress by a frame.
    fn moving(&self, frame: usize) -> impl Iterator<Item = (&Wave, f64)> {
        let local = self.waves.iter().map(move |wave| (wave, self.progress[frame]));
        local.chain(self.fine.iter().map(move |(wave, course)| (wave, course[frame])))
    }

    fn local_at(&self, frame: usize, at: [f64; 2]) -> [f64; 2] {
        let mut sum = [0.0; 2];
        for (wave, progress) in self.moving(frame) {
            let phase = wave.phase + wave.phase_per_px[0] * at[0] + wave.phase_per_px[1] * at[1];
            let value = progress * phase.cos();
            (0..2).for_each(|axis| sum[axis] += value * wave.amplitude_px[axis]);
        }
        sum
    }

    /// `b(x, f)`, pixels, at a position in the frame.
    pub fn backward(&self, frame: usize, at: [f64; 2]) -> [f64; 2] {
        let local = self.local_at(frame, at);
        [0, 1].map(|axis| self.drift_px[frame][axis] + local[axis])
    }

    /// Displacement in pixels of the specimen point that lies at `point` in the first frame.
    pub fn displacement(&self, frame: usize, point: [f64; 2]) -> [f64; 2] {
        let mut u = self.backward(frame, point);
        // the map contracts by the field's gradient, some hundredths, each time
        for _ in 0..12 {
            u = self.backward(frame, [point[0] + u[0], point[1] + u[1]]);
        }
        u
    }

    /// Calls `use_row` with `b` at every pixel of a row: x then y components, `width` each.
    pub fn row(&self, frame: usize, y: usize, x: &RowPhases, out: &mut [[f64; 2]]) {
        out.fill(self.drift_px[frame]);
        for ((wave, progress), table) in self.moving(frame).zip(&x.0) {
            // cos(a + b) = cos a cos b - sin a sin b, with a along x tabulated
            let (sin, cos) = (wave.phase + wave.phase_per_px[1] * y as f64).sin_cos();
            let [ax, ay] = wave.amplitude_px.map(|a| a * progress);
            for (b, (cos_x, sin_x)) in out.iter_mut().zip(table) {
                let value = cos_x * cos - sin_x * sin;
                b[0] += ax * value;
                b[1] += ay * value;
            }
        }
    }

    /// Cosine and sine of every wave along a row, for [`Motion::row`].
    pub fn row_phases(&self, width: usize) -> RowPhases {
        let table = |wave: &Wave| {
            let pair = |x: usize| {
                let (sin, cos) = (wave.phase_per_px[0] * x as f64).sin_cos();
                (cos, sin)
            };
            (0..width).map(pair).collect()
        };
        RowPhases(self.waves.iter().chain(self.fine.iter().map(|(wave, _)| wave)).map(table).collect())
    }
}

/// Cosine and sine of every wave along x.
pub struct RowPhases(Vec<Vec<(f64, f64)>>);
