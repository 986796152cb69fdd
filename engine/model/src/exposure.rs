//! One exposure on the microscope: its movie, its micrograph and what is known of them.

use crate::aberrations::Aberrations;
use crate::ctf::{CtfParams, DefocusSurface};
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
    /// Further errors of the lenses.
    #[serde(default, skip_serializing_if = "Aberrations::is_none")]
    pub aberrations: Aberrations,
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
    /// Defect map of the camera; empty: none but the pixels that the gain marks.
    pub defects_path: String,
    /// How electron events become frames; `None`: the file holds frames.
    pub eer: Option<EerRendering>,
}

/// How the electron events of an EER file are made into the frames of a movie. [`MovieSource`] counts, measures and
/// doses these frames, not those of the camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EerRendering {
    /// Pixels of a frame along each edge of a physical pixel: 1, 2 or 4.
    pub upsampling: u32,
    /// Camera frames summed into one frame of the movie, at least 1; an incomplete last group is dropped.
    pub grouping: u32,
}

/// Mirror applied to a gain reference after its rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
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

impl GainFlip {
    /// As in parameters and tables: none, x or y.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::X => "x",
            Self::Y => "y",
        }
    }
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
    /// The parameters, in the middle of the micrograph.
    pub ctf: CtfParams,
    /// Resolution to which the fit holds, Å.
    pub fit_resolution_a: f64,
    /// Correlation coefficient of the spectrum over its background with the fitted CTF², over the range of the fit.
    pub score: f64,
    /// How the defocus changes over the micrograph.
    pub surface: DefocusSurface,
    /// Standard error of the mean defocus, Å; `None`: not known.
    pub defocus_error_a: Option<f64>,
    /// By how much the strongest ring of ice (near 3.7 Å) stands above its surroundings, as a fraction; `None`: not known.
    pub ice_ring: Option<f64>,
    /// Length of a drift within the exposure that the spectrum shows, Å; 0: none stands out; `None`: not known.
    pub drift_a: Option<f64>,
}

impl CtfFit {
    /// A CTF that is the same everywhere, with nothing else known.
    pub fn new(ctf: CtfParams, fit_resolution_a: f64, score: f64) -> Self {
        Self {
            ctf,
            fit_resolution_a,
            score,
            surface: DefocusSurface::default(),
            defocus_error_a: None,
            ice_ring: None,
            drift_a: None,
        }
    }

    /// The CTF at `(x, y)` Å from the micrograph's middle.
    pub fn at(&self, x_a: f64, y_a: f64) -> CtfParams {
        let offset_a = self.surface.offset_a(x_a, y_a);
        CtfParams {
            defocus_u_a: self.ctf.defocus_u_a + offset_a,
            defocus_v_a: self.ctf.defocus_v_a + offset_a,
            ..self.ctf
        }
    }
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

impl Exposure {
    /// The CTF at a place of the micrograph, in its pixels; `None` if none was estimated. Where the micrograph's size is not
    /// known, that of its middle.
    pub fn ctf_at(&self, x_px: f64, y_px: f64) -> Option<CtfParams> {
        let fit = self.ctf.as_ref()?;
        let Some(micrograph) = &self.micrograph else { return Some(fit.ctf) };
        let from_middle = |at: f64, size: u32| (at - 0.5 * (f64::from(size) - 1.0)) * micrograph.pixel_size_a;
        Some(fit.at(from_middle(x_px, micrograph.width), from_middle(y_px, micrograph.height)))
    }
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
