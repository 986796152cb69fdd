//! What is kept of a corrected movie in the job's records: enough for the table and the report, so that a job that goes
//! on after a stop has no need to look at finished movies again.

use super::motion_field::MODES;
use serde::{Deserialize, Serialize};
use vitreous_compute::ops::motion_correlation::Pair;
use vitreous_model::exposure::{MicrographSource, MotionSummary};

/// A corrected movie.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// The sums on disk.
    pub micrograph: MicrographSource,
    /// Path lengths.
    pub motion: MotionSummary,
    /// Width and height of the movie's frames, pixels.
    pub frame_px: [usize; 2],
    /// Displacement by frame and axis as a function of the position ([`super::motion_field`]), Å.
    pub coefficients_a: Vec<[[f64; MODES]; 2]>,
    /// Log likelihood that the local field gains on patches left out; 0: none was used.
    pub local_gain: f64,
    /// Tracks of patches by themselves; only of movies that are shown.
    pub patches: Vec<PatchRecord>,
    /// Bad pixels, and how many of them the gain reference marks.
    pub bad_pixels: [usize; 2],
    /// Sums that the dose weighting took.
    pub terms: usize,
    /// Power of the sum without correction by frequency.
    pub spectrum_before: Spectrum,
    /// Power of the corrected sum without dose weighting.
    pub spectrum_after: Spectrum,
}

/// A patch by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PatchRecord {
    /// Centre, pixels of the movie.
    pub centre_px: Pair,
    /// Displacement by group of frames, Å.
    pub points_a: Vec<Pair>,
}

/// Rotational average of a power spectrum.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spectrum {
    /// Spatial frequency, 1/Å.
    pub frequency: Vec<f64>,
    /// Mean |F|² per pixel, counts².
    pub power: Vec<f64>,
}
