//! The motion of the parts of a frame: one smooth field fitted to the correlations of all patches at once.
//!
//! No patch is tracked by itself. Each patch and frame gives the slope and curvature of its correlation at the present
//! estimate, that is, a displacement with its information (inverse variance); the field is fitted to all of them
//! together, and the patches are measured again at the new estimate (Gauss-Newton on the sum of all correlations).
//! A patch without signal has no information and no say; noise is averaged before anything non-linear happens to it.

use super::field_fit::{Choice, FieldFit, Observation};
use super::global::RINGS;
use super::motion_field::{MODES, modes};
use super::patches::{PatchGrid, PatchStack};
use super::pattern;
use super::smoothing::smooth_track;
use super::splines::TimeBasis;
use vitreous_compute::movie::band::Band;
use vitreous_compute::movie::ring_power::{RingPower, ring_weights};
use vitreous_compute::ops::motion_correlation::{Measure, MotionCorrelation, Pair, Wanted};

/// One round of measuring and fitting.
#[derive(Debug, Clone, Copy)]
struct Round {
    /// With the B-factor that is safe against fixed patterns and catches large motion; else with the final one.
    safe: bool,
    /// Choose the stiffness of the field anew.
    choose: bool,
}

const ROUNDS: [Round; 5] = [
    Round { safe: true, choose: true },
    Round { safe: true, choose: false },
    Round { safe: false, choose: true },
    Round { safe: false, choose: false },
    Round { safe: false, choose: true },
];

/// Rings on either side over which the spectrum of the signal is averaged.
const RING_REACH: usize = 2;

/// Residuals beyond so many standard deviations count less (Huber).
const HUBER: f64 = 3.0;

/// Accelerations are allowed to be so much larger at the start of the exposure than later.
const EARLY_JERK: f64 = 4.0;

/// Dose over which they fall to 1/e of that, e/Å².
const EARLY_JERK_DOSE: f64 = 4.0;

/// What is known of the frames besides the patches.
#[derive(Debug, Clone)]
pub struct Frames<'a> {
    /// Dose at the middle of each frame, e/Å² (or any rising number), see [`TimeBasis::new`].
    pub times: &'a [f64],
    /// Width and height of the movie's frame, binned pixels (need not be whole).
    pub size: Pair,
    /// Displacement of each whole frame, binned pixels: the start.
    pub displacements: &'a [Pair],
    /// B-factor of the final rounds, square pixels of the binned frame.
    pub b_factor: f64,
    /// B-factor of the first rounds, at least, square pixels of the binned frame.
    pub safe_b_factor: f64,
    /// Whether parts may move differently.
    pub local: bool,
}

/// The motion that was found, in binned pixels.
#[derive(Debug, Clone)]
pub struct Motion {
    /// Displacement of the whole of each frame (the mean over patches).
    pub whole: Vec<Pair>,
    /// Coefficients of [`modes`] of the local displacements as splines over time: `[axis][mode][spline]`.
    pub local: [Vec<Vec<f64>>; 2],
    /// The splines.
    pub basis: TimeBasis,
    /// What each patch by itself would say: `[patch][frame]`, the field plus the last residual displacement.
    pub patch_tracks: Vec<Vec<Pair>>,
    /// Standard deviation of each patch's residuals as noise predicts it, `[patch]`, root mean square over frames.
    pub patch_noise: Vec<f64>,
    /// By how much the local field predicts patches that were left out better than no local field does, in units of log
    /// likelihood; 0 if the local field was given up.
    pub gain: f64,
}

impl Motion {
    /// Coefficients of [`modes`] at time `t`, the constant mode being the local field's own (not the whole's).
    pub fn local_at(&self, t: f64) -> [[f64; MODES]; 2] {
        let splines = self.basis.at(t);
        [0, 1].map(|axis| {
            std::array::from_fn(|mode| self.local[axis][mode].iter().zip(&splines).map(|(c, b)| c * b).sum())
        })
    }
}

/// Finds the motion from the patches' spectra.
pub fn track<D: MotionCorrelation>(
    device: &D,
    grid: &PatchGrid,
    band: &Band,
    mut stacks: Vec<PatchStack>,
    frames: &Frames<'_>,
) -> Motion {
    let basis = TimeBasis::new(frames.times);
    let unit = |v: f64, size: f64| 2.0 * v / size - 1.0;
    let [nx, ny] = frames.size;
    let patch_modes: Vec<[f64; MODES]> =
        stacks.iter().map(|stack| modes(unit(stack.centre[0], nx), unit(stack.centre[1], ny))).collect();
    let mut solver = Solver {
        spread: relative_spread(frames.times),
        splines: frames.times.iter().map(|&t| basis.at(t)).collect(),
        fit: FieldFit::new(&patch_modes, grid.shape, basis.len()),
        choice: None,
        local_field: vec![vec![[0.0; 2]; frames.times.len()]; stacks.len()],
        motion: Motion {
            whole: frames.displacements.to_vec(),
            local: [0, 1].map(|_| vec![vec![0.0; basis.len()]; MODES]),
            patch_tracks: Vec::new(),
            patch_noise: Vec::new(),
            gain: 0.0,
            basis,
        },
        patch_modes,
    };
    let ring = band.rings(RINGS);
    let spectra = stacks.iter_mut().map(|stack| std::mem::take(&mut stack.spectra)).collect();
    let patches = Patches { device, stacks: device.motion_stacks(band, RINGS, spectra), places: &stacks };
    let at_start = |_: usize, frame: usize| frames.displacements[frame];
    let (_, power) = patches.measure(Wanted::AllPower, at_start);
    let of_frames = power.of_frames.clone();
    // shifts do not change the frames' own power
    let complete = |power: RingPower| RingPower { of_frames: of_frames.clone(), ..power };
    let mut by_ring = ring_weights_of(&power);
    let mut trusted: Option<Vec<f64>> = None;
    for round in ROUNDS {
        let b = if round.safe { frames.safe_b_factor.max(frames.b_factor) } else { frames.b_factor };
        if !round.safe && trusted.is_none() {
            let present = |patch: usize, frame: usize| solver.at(patch, frame);
            let (_, aligned) = patches.measure(Wanted::Power, present);
            let (_, unaligned) = patches.measure(Wanted::Power, |_, _| [0.0; 2]);
            let (aligned, unaligned) = (complete(aligned), complete(unaligned));
            trusted = Some(pattern::trust(band, &ring, &solver.motion.whole, &aligned, &unaligned));
            by_ring = ring_weights_of(&aligned);
        }
        if let Some(trusted) = &trusted {
            by_ring.iter_mut().zip(trusted).for_each(|(weight, trust)| *weight *= trust);
        }
        let weights = ring_weights(band, &by_ring, |s| (-2.0 * b * s * s).exp());
        let (measures, power) =
            patches.measure(Wanted::Measures(&weights), |patch, frame| solver.at(patch, frame));
        solver.step(&measures, frames.local, round.choose);
        by_ring = ring_weights_of(&complete(power));
    }
    solver.motion
}

/// Optimal weights by ring; whitening alone where no signal is seen.
fn ring_weights_of(power: &RingPower) -> Vec<f64> {
    let weights = power.optimal_weights(RING_REACH);
    if weights.iter().any(|w| *w > 0.0) { weights } else { power.whitening() }
}

/// Prior spread of accelerations by frame, 1 late in the exposure.
fn relative_spread(times: &[f64]) -> Vec<f64> {
    let start = times.first().copied().unwrap_or(0.0);
    times.iter().map(|t| 1.0 + EARLY_JERK * (-(t - start) / EARLY_JERK_DOSE).exp()).collect()
}

/// The patches of a movie on a device.
struct Patches<'a, D: MotionCorrelation> {
    device: &'a D,
    stacks: D::Stacks,
    places: &'a [PatchStack],
}

impl<D: MotionCorrelation> Patches<'_, D> {
    /// Measures every patch and frame at the displacement `at(patch, frame)`.
    fn measure(
        &self,
        wanted: Wanted<'_>,
        at: impl Fn(usize, usize) -> Pair,
    ) -> (Vec<Vec<Measure>>, RingPower) {
        let in_window = |(patch, place): (usize, &PatchStack)| -> Vec<Pair> {
            let relative = |(frame, offset): (usize, &Pair)| {
                let total = at(patch, frame);
                [total[0] - offset[0], total[1] - offset[1]]
            };
            place.offsets.iter().enumerate().map(relative).collect()
        };
        let displacements: Vec<Vec<Pair>> = self.places.iter().enumerate().map(in_window).collect();
        self.device.measure_stacks(&self.stacks, &displacements, wanted)
    }
}

struct Solver {
    spread: Vec<f64>,
    /// Values of the splines at each frame.
    splines: Vec<Vec<f64>>,
    fit: FieldFit,
    choice: Option<Choice>,
    /// Local displacement of each patch in each frame.
    local_field: Vec<Vec<Pair>>,
    patch_modes: Vec<[f64; MODES]>,
    motion: Motion,
}

impl Solver {
    /// Present displacement of a patch in a frame.
    fn at(&self, patch: usize, frame: usize) -> Pair {
        let (whole, local) = (self.motion.whole[frame], self.local_field[patch][frame]);
        [whole[0] + local[0], whole[1] + local[1]]
    }

    /// One Gauss-Newton step: first the whole frames, then the local field on what is left.
    fn step(&mut self, measures: &[Vec<Measure>], local: bool, choose: bool) {
        let mut residuals: Vec<Vec<[Observation; 2]>> =
            measures.iter().map(|patch| observations(patch)).collect();
        for axis in 0..2 {
            let moved = self.move_whole(&residuals, axis);
            for patch in &mut residuals {
                patch.iter_mut().zip(&moved).for_each(|(frame, d)| frame[axis].value -= d);
            }
        }
        self.record_tracks(&residuals);
        if local && self.patch_modes.len() > 1 {
            let mut targets = residuals;
            for (patch, field) in targets.iter_mut().zip(&self.local_field) {
                for (frame, at) in patch.iter_mut().zip(field) {
                    (0..2).for_each(|axis| frame[axis].value += at[axis]);
                }
            }
            let choice = match self.choice.take().filter(|_| !choose) {
                Some(choice) => choice,
                None => self.fit.choose(&targets, &self.splines),
            };
            self.motion.local = self.fit.fit(&targets, &self.splines, &choice);
            self.motion.gain = choice.gain;
            self.choice = Some(choice);
        }
        self.update_field();
    }

    /// Moves the whole frames along one axis and returns by how much.
    fn move_whole(&mut self, residuals: &[Vec<[Observation; 2]>], axis: usize) -> Vec<f64> {
        let frames = self.motion.whole.len();
        let (mut values, mut information) = (vec![0.0; frames], vec![0.0; frames]);
        for frame in 0..frames {
            let of = |patch: &Vec<[Observation; 2]>| patch[frame][axis];
            information[frame] = residuals.iter().map(|p| of(p).information).sum();
            let pull: f64 = residuals.iter().map(|p| of(p).information * of(p).value).sum();
            let step = if information[frame] > 0.0 { pull / information[frame] } else { 0.0 };
            values[frame] = self.motion.whole[frame][axis] + step;
        }
        let smooth = smooth_track(&values, &information, &self.spread);
        let mean = smooth.iter().sum::<f64>() / frames.max(1) as f64;
        let mut moved = Vec::with_capacity(frames);
        for (whole, smooth) in self.motion.whole.iter_mut().zip(smooth) {
            moved.push(smooth - mean - whole[axis]);
            whole[axis] = smooth - mean;
        }
        moved
    }

    fn record_tracks(&mut self, residuals: &[Vec<[Observation; 2]>]) {
        let tracks = residuals.iter().enumerate().map(|(patch, frames)| {
            let point = |(frame, residual): (usize, &[Observation; 2])| {
                let at = self.at(patch, frame);
                [at[0] + residual[0].value, at[1] + residual[1].value]
            };
            frames.iter().enumerate().map(point).collect()
        });
        self.motion.patch_tracks = tracks.collect();
        let noise = residuals.iter().map(|frames| {
            let all: Vec<f64> = frames.iter().flatten().map(|o| o.information).collect();
            let known: Vec<f64> = all.into_iter().filter(|a| *a > 0.0).map(|a| 1.0 / a).collect();
            if known.is_empty() {
                f64::INFINITY
            } else {
                (known.iter().sum::<f64>() / known.len() as f64).sqrt()
            }
        });
        self.motion.patch_noise = noise.collect();
    }

    fn update_field(&mut self) {
        for (patch, patch_modes) in self.patch_modes.iter().enumerate() {
            for (frame, splines) in self.splines.iter().enumerate() {
                for axis in 0..2 {
                    let by_mode = self.motion.local[axis].iter().zip(patch_modes);
                    self.local_field[patch][frame][axis] = by_mode
                        .map(|(c, m)| m * c.iter().zip(splines).map(|(c, b)| c * b).sum::<f64>())
                        .sum();
                }
            }
        }
    }
}

/// Residual displacement of every frame of a patch, with its information.
///
/// The step to the peak is slope over curvature; its variance is that of the slope over the curvature squared. The
/// curvature of one frame is itself noisy, so its mean over neighbouring frames serves; where that is not positive there
/// is no peak and no information. Steps that are improbable under the noise lose weight.
fn observations(measures: &[Measure]) -> Vec<[Observation; 2]> {
    let reach = (measures.len() / 8).max(2);
    (0..measures.len())
        .map(|frame| {
            let near = &measures[frame.saturating_sub(reach)..(frame + reach + 1).min(measures.len())];
            [0, 1].map(|axis| {
                let curvature = near.iter().map(|m| m.curvature[axis]).sum::<f64>() / near.len() as f64;
                let variance = measures[frame].slope_variance[axis];
                if curvature.is_nan() || curvature <= 0.0 || variance <= 0.0 {
                    return Observation::default();
                }
                let value = measures[frame].slope[axis] / curvature;
                let information = curvature * curvature / variance;
                let deviation = value.abs() * information.sqrt();
                let trust = if deviation > HUBER { HUBER / deviation } else { 1.0 };
                Observation { value, information: information * trust }
            })
        })
        .collect()
}
