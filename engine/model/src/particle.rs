//! Particles: where they were picked, where their images are, and what is known of each.

use crate::ctf::CtfParams;
use crate::exposure::OpticsGroup;
use crate::half_set::HalfSet;
use crate::pose::Pose;
use serde::{Deserialize, Serialize};

/// A position on a micrograph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pick {
    /// Name of the exposure.
    pub exposure: String,
    /// Column of the particle's centre in pixels of the micrograph; the first stored pixel's centre is 0.
    pub x_px: f64,
    /// Row likewise; row 0 is the first stored row of the MRC file.
    pub y_px: f64,
    /// Score of the picker, larger is better; NaN if none.
    pub score: f64,
}

/// The content of a `picks` table.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PickSet {
    /// Diameter that was looked for, Å.
    pub diameter_a: f64,
    /// Positions, by exposure in the order of the micrograph table.
    pub picks: Vec<Pick>,
}

/// One particle image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Particle {
    /// Number unique in the set and kept by later jobs.
    pub id: u64,
    /// Image stack; relative to the project directory or absolute.
    pub stack_path: String,
    /// Image in the stack, from 0.
    pub stack_index: u32,
    /// Number of the optics group, 1-based.
    pub optics_group: u32,
    /// Where it was picked; `None` for particles of unknown origin.
    pub pick: Option<Pick>,
    /// Its CTF; `None` if never estimated (then no correction is possible).
    pub ctf: Option<CtfParams>,
    /// Its pose; `None` before any alignment.
    pub pose: Option<Pose>,
    /// Its half of a gold-standard refinement.
    pub half: Option<HalfSet>,
    /// Log-likelihood of the best pose in nats; NaN if none.
    pub log_likelihood: f64,
}

/// The content of a `particles` table.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ParticleSet {
    /// Optics groups, by number.
    pub optics: Vec<OpticsGroup>,
    /// Box edge of every image, pixels.
    pub box_px: u32,
    /// Pixel size of every image, Å.
    pub pixel_size_a: f64,
    /// The particles.
    pub particles: Vec<Particle>,
}
