//! What one iteration hands to the next. It is also the checkpoint.

use super::schedule::Progress;
use ndarray::Array3;
use vitreous_model::pose::{Pose, Rotation};

/// A pose with which a particle may enter a map.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mode {
    /// The class whose map it is, from 0.
    pub class: usize,
    /// The pose.
    pub pose: Pose,
    /// Share of the evidence that it has.
    pub share: f64,
}

/// What is known of one particle.
#[derive(Debug, Clone, PartialEq)]
pub struct ParticleState {
    /// Its poses: of a single class the one of the highest logL and perhaps another one nearly as good, of several the best of
    /// each class, the one with the largest share first. Empty before anything is known.
    pub modes: Vec<Mode>,
    /// logL of the first, nats.
    pub log_likelihood: f64,
    /// Turn since the iteration before, up to symmetry, degrees.
    pub change_deg: f64,
    /// Whether it left the neighbourhood of the pose before.
    pub jumped: bool,
    /// Whether it left its class.
    pub moved: bool,
}

impl ParticleState {
    /// Before the first iteration.
    pub fn unknown() -> Self {
        Self {
            modes: Vec::new(),
            log_likelihood: f64::NAN,
            change_deg: f64::NAN,
            jumped: false,
            moved: false,
        }
    }

    /// Known by `pose` alone.
    pub fn at(pose: Pose) -> Self {
        Self { modes: vec![Mode { class: 0, pose, share: 1.0 }], ..Self::unknown() }
    }

    /// Its best pose.
    pub fn pose(&self) -> Pose {
        self.modes.first().map_or_else(Pose::default, |mode| mode.pose)
    }

    /// Its most probable class, from 0.
    pub fn class(&self) -> usize {
        self.modes.first().map_or(0, |mode| mode.class)
    }

    /// Its best pose in a class, if it has one there.
    pub fn in_class(&self, class: usize) -> Option<&Mode> {
        self.modes.iter().find(|mode| mode.class == class)
    }

    /// Appends it as numbers, the first being how many modes follow.
    pub fn write(&self, numbers: &mut Vec<f64>) {
        numbers.push(self.modes.len() as f64);
        for Mode { class, pose: Pose { rotation: Rotation { w, x, y, z }, shift_a: [sx, sy] }, share } in
            &self.modes
        {
            numbers.extend([*class as f64, *w, *x, *y, *z, *sx, *sy, *share]);
        }
        let flags = f64::from(u8::from(self.jumped) | u8::from(self.moved) << 1);
        numbers.extend([self.log_likelihood, self.change_deg, flags]);
    }

    /// Takes the next one, bit by bit what it was, off the front of `numbers`; `None` if they end before.
    pub fn read(numbers: &mut &[f64]) -> Option<Self> {
        let (&count, rest) = numbers.split_first()?;
        let count = count as usize;
        let (modes, rest) = rest.split_at_checked(count.checked_mul(8)?)?;
        let (&[log_likelihood, change_deg, flags], rest) = rest.split_first_chunk::<3>()?;
        let mode = |&[class, w, x, y, z, sx, sy, share]: &[f64; 8]| Mode {
            class: class as usize,
            pose: Pose { rotation: Rotation { w, x, y, z }, shift_a: [sx, sy] },
            share,
        };
        *numbers = rest;
        Some(Self {
            modes: modes.as_chunks().0.iter().map(mode).collect(),
            log_likelihood,
            change_deg,
            jumped: flags as u8 & 1 != 0,
            moved: flags as u8 & 2 != 0,
        })
    }
}

/// Key figures of an iteration, for the report.
#[derive(Debug, Clone, PartialEq)]
pub struct IterationRecord {
    /// Working box, pixels.
    pub box_px: f64,
    /// Resolution at FSC 0.143, Å; of several classes the best.
    pub resolution_a: f64,
    /// Radius of the last band, Fourier pixels.
    pub band_px: f64,
    /// Median turn, degrees.
    pub change_deg: f64,
    /// Mean logL, nats.
    pub log_likelihood: f64,
    /// Share of particles that left the neighbourhood of their last pose.
    pub jumped: f64,
    /// Share of particles that left their class.
    pub moved: f64,
    /// Share of the particles that each class has.
    pub shares: Vec<f64>,
}

/// What is known of one class.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassState {
    /// Regularised maps of the halves, not masked. Their transforms have the values of the images' whatever their box.
    pub maps: [Array3<f32>; 2],
    /// Mask on the same box.
    pub mask: Array3<f32>,
    /// FSC of the last iteration by shell, corrected for the mask.
    pub fsc: Vec<f64>,
}

/// The state after an iteration.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// Iterations done.
    pub iteration: u32,
    /// Iterations done since there are several classes.
    pub classified: u32,
    /// How many times an empty class was filled again.
    pub refills: u32,
    /// Whether refinement has ended.
    pub ended: bool,
    /// Whether the next iteration searches, and does not only refine the last poses.
    pub search: bool,
    /// Radius at FSC 0.143, Fourier pixels; of several classes the largest.
    pub resolved: f64,
    /// Radius at FSC 0.5, Fourier pixels; of several classes the largest.
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
    /// The classes, or the one map that is still to be split into them.
    pub classes: Vec<ClassState>,
    /// All iterations.
    pub history: Vec<IterationRecord>,
}
