//! One exposure on the microscope: its movie, its micrograph and what is known of them.

use crate::ctf::CtfParams;
use crate::units::{Kilovolt, Millimetre};
use serde::{Deserialize, Serialize};

/// Optics shared by a group of exposures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpticsGroup {
    /// 1-based number, as RELION counts.
    pub number: u32,
    /// Name.
    pub name: String,
    /// Acceleration voltage.
    pub voltage: Kilovolt,
    /// Spherical aberration.
    pub cs: Millimetre,
    /// Amplitude contrast as a fraction.
    pub amplitude_contrast: f64,
    /// Pixel size of the movie before any binning, Å.
    pub movie_pixel_size_a: f64,
}

/// Where the frames of a movie are and how they were recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MovieSource {
    /// The file; relative to the project directory or absolute.
    pub path: String,
    /// Frames in it.
    pub frames: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Pixel size, Å.
    pub pixel_size_a: f64,
    /// Dose per frame, e/Å²; 0: not known.
    pub dose_per_frame: f64,
    /// Dose before the first frame, e/Å².
    pub pre_exposure: f64,
    /// Gain reference (multiplied with each frame); empty: the movie is gain-corrected.
    pub gain_path: String,
    /// Quarter turns counter-clockwise that bring the gain onto the movie, applied first.
    pub gain_rotate: u32,
    /// Then mirror the gain: none, x (left-right) or y (up-down).
    pub gain_flip: GainFlip,
}

/// Mirror applied to a gain reference after its rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GainFlip {
    /// As it is.
    #[default]
    None,
    /// Left to right: x ↦ width-1-x.
    X,
    /// Upside down: y ↦ height-1-y.
    Y,
}

/// An image of the specimen, summed and aligned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MicrographSource {
    /// The file; relative to the project directory or absolute.
    pub path: String,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Pixel size, Å.
    pub pixel_size_a: f64,
    /// Sum without dose weighting, for CTF estimation; empty: `path` serves.
    pub unweighted_path: String,
    /// RELION's motion STAR file of this movie; empty if none.
    pub motion_star_path: String,
}

/// What motion correction found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MotionSummary {
    /// Path length of the global track, Å.
    pub total_a: f64,
    /// Part of it in the first 4 e/Å².
    pub early_a: f64,
    /// The rest.
    pub late_a: f64,
}

/// What CTF estimation found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CtfFit {
    /// The parameters.
    pub ctf: CtfParams,
    /// Resolution to which the fit holds, Å.
    pub fit_resolution_a: f64,
    /// Correlation coefficient of the spectrum over its background with the fitted CTF², over the range of the fit.
    pub score: f64,
}

/// One exposure. Absent parts are `None`; tables write them as NaN or empty strings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exposure {
    /// Name unique in the project: the file's stem, made unique on import.
    pub name: String,
    /// Number of its optics group, 1-based.
    pub optics_group: u32,
    /// The movie.
    pub movie: Option<MovieSource>,
    /// The micrograph.
    pub micrograph: Option<MicrographSource>,
    /// Result of motion correction.
    pub motion: Option<MotionSummary>,
    /// Result of CTF estimation.
    pub ctf: Option<CtfFit>,
}

/// The content of a `movies` or `micrographs` table.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ExposureSet {
    /// Optics groups, by number.
    pub optics: Vec<OpticsGroup>,
    /// Exposures in order of import.
    pub exposures: Vec<Exposure>,
}

impl ExposureSet {
    /// The optics of a group number.
    pub fn optics_of(&self, number: u32) -> Option<&OpticsGroup> {
        self.optics.iter().find(|group| group.number == number)
    }
}
