//! What one iteration hands to the next. It is also the checkpoint.

use super::schedule::Progress;
use ndarray::Array3;
use vitreous_model::pose::{Pose, Rotation};

/// What is known of one particle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ParticleState {
    /// Its pose.
    pub pose: Pose,
    /// Another pose nearly as good.
    pub other: Pose,
    /// Share of the evidence that the other pose has; 0 where there is none.
    pub other_share: f64,
    /// logL of it, nats.
    pub log_likelihood: f64,
    /// Turn since the iteration before, up to symmetry, degrees.
    pub change_deg: f64,
    /// Whether it left the neighbourhood of the pose before.
    pub jumped: bool,
}

impl ParticleState {
    /// Before the first iteration.
    pub fn unknown() -> Self {
        Self {
            pose: Pose::default(),
            other: Pose::default(),
            other_share: 0.0,
            log_likelihood: f64::NAN,
            change_deg: f64::NAN,
            jumped: false,
        }
    }

    /// Numbers of a particle in exchanges and checkpoints.
    pub const NUMBERS: usize = 16;

    /// As numbers.
    pub fn to_numbers(self) -> [f64; Self::NUMBERS] {
        let of = |Pose { rotation: Rotation { w, x, y, z }, shift_a: [sx, sy] }: Pose| [w, x, y, z, sx, sy];
        let ([a, b, c, d, e, f], [g, h, i, j, k, l]) = (of(self.pose), of(self.other));
        let jumped = f64::from(u8::from(self.jumped));
        [a, b, c, d, e, f, g, h, i, j, k, l, self.other_share, self.log_likelihood, self.change_deg, jumped]
    }

    /// From numbers, bit by bit what they were.
    pub fn from_numbers(numbers: &[f64; Self::NUMBERS]) -> Self {
        let [w, x, y, z, sx, sy, rest @ ..] = *numbers;
        let pose = Pose { rotation: Rotation { w, x, y, z }, shift_a: [sx, sy] };
        let [w, x, y, z, sx, sy, other_share, log_likelihood, change_deg, jumped] = rest;
        let other = Pose { rotation: Rotation { w, x, y, z }, shift_a: [sx, sy] };
        Self { pose, other, other_share, log_likelihood, change_deg, jumped: jumped != 0.0 }
    }

    /// The poses with which it enters the map, and their shares.
    pub fn modes(&self) -> impl Iterator<Item = (Pose, f64)> + use<> {
        let share = self.other_share;
        let other = (share > 0.0).then_some((self.other, share));
        [(self.pose, 1.0 - share)].into_iter().chain(other)
    }
}

/// Key figures of an iteration, for the report.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IterationRecord {
    /// Working box, pixels.
    pub box_px: f64,
    /// Resolution at FSC 0.143, Å.
    pub resolution_a: f64,
    /// Radius of the last band, Fourier pixels.
    pub band_px: f64,
    /// Median turn, degrees.
    pub change_deg: f64,
    /// Mean logL, nats.
    pub log_likelihood: f64,
    /// Share of particles that left the neighbourhood of their last pose.
    pub jumped: f64,
}

/// The state after an iteration.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// Iterations done.
    pub iteration: u32,
    /// Whether refinement has ended.
    pub ended: bool,
    /// Whether the next iteration searches, and does not only refine the last poses.
    pub search: bool,
    /// Radius at FSC 0.143, Fourier pixels.
    pub resolved: f64,
    /// Radius at FSC 0.5, Fourier pixels.
    pub well_resolved: f64,
    /// Standard deviation of shifts along an axis, Å.
    pub shift_sigma_a: f64,
    /// Progress.
    pub progress: Progress,
    /// Usable particles, in order.
    pub particles: Vec<ParticleState>,
    /// Noise variance s2 by shell of the box, per half and optics group: `[half · groups + group]`.
    pub noise: Vec<Vec<f64>>,
    /// Amplitude of the particles relative to the reference, per half and group: `[half · groups + group]`.
    pub amplitudes: Vec<f64>,
    /// Regularised maps of the halves, not masked. Their transforms have the values of the images' whatever their box.
    pub maps: [Array3<f32>; 2],
    /// Mask on the same box.
    pub mask: Array3<f32>,
    /// FSC of the last iteration by shell, corrected for the mask.
    pub fsc: Vec<f64>,
    /// All iterations.
    pub history: Vec<IterationRecord>,
}
