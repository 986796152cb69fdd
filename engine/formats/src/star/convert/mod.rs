//! RELION's labels and what they are here: the only place that knows RELION's units, signs and origins.
//!
//! [`RULES`] is the whole dictionary; every conversion in the files below takes its factor from it. Ours are those of
//! [`vitreous_model::conventions`]. Read are RELION ≥ 3.1 (optics groups) and ≤ 3.0 (one table, origins in pixels,
//! pixel size as detector pixel over magnification); written is 3.1.
//!
//! Columns without a rule are not dropped silently: each import lists them in [`Imported::ignored`].

mod aberrations;
mod coordinates;
mod micrographs;
mod motion;
mod movies;
mod optics;
mod particles;

#[cfg(test)]
mod tests;

use super::StarError;
use super::reader::{Row, TableView};
pub use coordinates::{
    CoordinateFile, coordinate_blocks, names_micrographs, read_coordinate_files, read_coordinates,
};
pub use micrographs::{micrograph_blocks, read_micrographs};
pub use motion::{
    KnownMotion, LocalTrack, MovieMotion, MovieRecord, motion_blocks, read_motion, read_movie_record,
};
pub use movies::read_movies;
pub use optics::Fallback;
pub use particles::{particle_blocks, read_particles};
use std::collections::BTreeMap;

/// One label of RELION: which field of ours it is, and by what factor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// RELION's label without underscore.
    pub label: &'static str,
    /// Our field.
    pub field: &'static str,
    /// Ours = RELION's × factor (for text and names 1).
    pub factor: f64,
    /// Where this was seen.
    pub source: &'static str,
}

impl Rule {
    /// RELION's number as ours.
    pub fn ours(&self, theirs: f64) -> f64 {
        theirs * self.factor
    }

    /// Our number as RELION's.
    pub fn theirs(&self, ours: f64) -> f64 {
        ours / self.factor
    }
}

macro_rules! rules {
    ($($name:ident = $label:literal, $field:literal, $factor:expr, $source:expr;)+) => {
        $(pub(super) const $name: Rule =
            Rule { label: $label, field: $field, factor: $factor, source: $source };)+
        /// Every label that is converted.
        pub const RULES: &[Rule] = &[$($name),+];
    };
}

const LABELS: &str = "RELION 5.0.1 src/metadata_label.h";
const MOTIONCORR: &str = "relion_run_motioncorr 3.1.3 on a movie whose content moves by +1 px a frame";
const OBS_MODEL: &str =
    "RELION src/jaz/single_particle/obs_model.cpp: P(M k) exp(i Σ odd Z), less the tilt's phase";

rules! {
    OPTICS_NAME = "rlnOpticsGroupName", "OpticsGroup.name", 1.0, LABELS;
    OPTICS_NUMBER = "rlnOpticsGroup", "OpticsGroup.number", 1.0, LABELS;
    VOLTAGE = "rlnVoltage", "OpticsGroup.voltage (kV)", 1.0, LABELS;
    CS = "rlnSphericalAberration", "OpticsGroup.cs (mm)", 1.0, LABELS;
    AMPLITUDE = "rlnAmplitudeContrast", "OpticsGroup.amplitude_contrast", 1.0, LABELS;
    MOVIE_PIXEL = "rlnMicrographOriginalPixelSize", "OpticsGroup.movie_pixel_size_a", 1.0, LABELS;
    MICROGRAPH_PIXEL = "rlnMicrographPixelSize", "MicrographSource.pixel_size_a", 1.0, LABELS;
    IMAGE_PIXEL = "rlnImagePixelSize", "ParticleSet.pixel_size_a", 1.0, LABELS;
    IMAGE_SIZE = "rlnImageSize", "ParticleSet.box_px", 1.0, LABELS;
    DETECTOR_PIXEL = "rlnDetectorPixelSize", "pixel size × magnification (µm)", 1e4, "RELION ≤ 3.0: Å = 1e4 µm / magnification";
    MAGNIFICATION = "rlnMagnification", "detector pixel / pixel size", 1.0, "RELION ≤ 3.0";
    IMAGE_NAME = "rlnImageName", "Particle.stack_path, stack_index + 1", 1.0, "RELION: 000001@stack, counted from 1";
    MICROGRAPH_NAME = "rlnMicrographName", "MicrographSource.path; its stem is Exposure.name", 1.0, LABELS;
    UNWEIGHTED_NAME = "rlnMicrographNameNoDW", "MicrographSource.unweighted_path", 1.0, LABELS;
    MOVIE_NAME = "rlnMicrographMovieName", "MovieSource.path; its stem is Exposure.name", 1.0, LABELS;
    PRE_EXPOSURE = "rlnMicrographPreExposure", "MovieSource.pre_exposure (e/Å²)", 1.0, LABELS;
    COORDINATE_X = "rlnCoordinateX", "Pick.x_px", 1.0, "RELION: pixels from the first stored pixel";
    COORDINATE_Y = "rlnCoordinateY", "Pick.y_px", 1.0, "RELION: pixels from the first stored row";
    COORDINATE_FILE = "rlnMicrographCoordinates", "STAR file of a micrograph's picks", 1.0, "RELION 4: autopick.star lists them";
    PICK_SCORE = "rlnAutopickFigureOfMerit", "Pick.score", 1.0, LABELS;
    DEFOCUS_U = "rlnDefocusU", "CtfParams.defocus_u_a", 1.0, "RELION src/ctf.cpp: Å, underfocus positive";
    DEFOCUS_V = "rlnDefocusV", "CtfParams.defocus_v_a", 1.0, "RELION src/ctf.cpp";
    DEFOCUS_ANGLE = "rlnDefocusAngle", "CtfParams.astigmatism_angle (°)", 1.0, "RELION src/ctf.cpp: from x to U";
    PHASE_SHIFT = "rlnPhaseShift", "CtfParams.phase_shift (°)", 1.0, "RELION src/ctf.cpp";
    ASTIGMATISM = "rlnCtfAstigmatism", "defocus_u_a - defocus_v_a (written only)", 1.0, LABELS;
    CTF_RESOLUTION = "rlnCtfMaxResolution", "CtfFit.fit_resolution_a", 1.0, LABELS;
    CTF_SCORE = "rlnCtfFigureOfMerit", "CtfFit.score", 1.0, LABELS;
    ANGLE_ROT = "rlnAngleRot", "Pose.rotation = Rz(rot) Ry(tilt) Rz(psi)", 1.0, "RELION src/euler.cpp, transposed";
    ANGLE_TILT = "rlnAngleTilt", "Pose.rotation", 1.0, "RELION src/euler.cpp, transposed";
    ANGLE_PSI = "rlnAnglePsi", "Pose.rotation", 1.0, "RELION src/euler.cpp, transposed";
    ORIGIN_X_A = "rlnOriginXAngst", "Pose.shift_a[0]", -1.0, "RELION ≥ 3.1: what brings the particle back";
    ORIGIN_Y_A = "rlnOriginYAngst", "Pose.shift_a[1]", -1.0, "RELION ≥ 3.1";
    ORIGIN_X_PX = "rlnOriginX", "Pose.shift_a[0] / pixel size", -1.0, "RELION ≤ 3.0: in pixels";
    ORIGIN_Y_PX = "rlnOriginY", "Pose.shift_a[1] / pixel size", -1.0, "RELION ≤ 3.0: in pixels";
    SUBSET = "rlnRandomSubset", "Particle.half", 1.0, "RELION: 1, 2, 0 for none";
    CLASS = "rlnClassNumber", "Particle.class.number", 1.0, "RELION: from 1, 0 for none";
    LIKELIHOOD = "rlnLogLikeliContribution", "Particle.log_likelihood (nat)", 1.0, LABELS;
    TILT_X = "rlnBeamTiltX", "Aberrations.beam_tilt_mrad[0]", 1.0, OBS_MODEL;
    TILT_Y = "rlnBeamTiltY", "Aberrations.beam_tilt_mrad[1]", 1.0, OBS_MODEL;
    ODD = "rlnOddZernike", "Aberrations.odd (rad)", 1.0, OBS_MODEL;
    EVEN = "rlnEvenZernike", "Aberrations.even (rad)", 1.0, OBS_MODEL;
    MAG_00 = "rlnMagMat00", "Aberrations.magnification[0][0]", 1.0, OBS_MODEL;
    MAG_01 = "rlnMagMat01", "Aberrations.magnification[0][1]", 1.0, OBS_MODEL;
    MAG_10 = "rlnMagMat10", "Aberrations.magnification[1][0]", 1.0, OBS_MODEL;
    MAG_11 = "rlnMagMat11", "Aberrations.magnification[1][1]", 1.0, OBS_MODEL;
    METADATA = "rlnMicrographMetadata", "MicrographSource.motion_star_path", 1.0, MOTIONCORR;
    MOTION_TOTAL = "rlnAccumMotionTotal", "MotionSummary.total_a", 1.0, "RELION: Å";
    MOTION_EARLY = "rlnAccumMotionEarly", "MotionSummary.early_a", 1.0, "RELION: Å, first 4 e/Å²";
    MOTION_LATE = "rlnAccumMotionLate", "MotionSummary.late_a", 1.0, "RELION: Å";
    FRAME_SHIFT_X = "rlnMicrographShiftX", "displacement of the content / movie pixel", -1.0, MOTIONCORR;
    FRAME_SHIFT_Y = "rlnMicrographShiftY", "displacement of the content / movie pixel", -1.0, MOTIONCORR;
}

/// What was read, and what was left.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported<T> {
    /// The content.
    pub value: T,
    /// Columns for which there is no rule, as `data_block/_column`.
    pub ignored: Vec<String>,
    /// What was assumed, in sentences for the report.
    pub notes: Vec<String>,
    /// Of particles: the path of each micrograph as the file has it, by the name of its exposure.
    pub micrographs: BTreeMap<String, String>,
}

impl<T> Imported<T> {
    /// Without notes and micrographs.
    pub fn new(value: T, ignored: Vec<String>) -> Self {
        Self { value, ignored, notes: Vec::new(), micrographs: BTreeMap::new() }
    }
}

/// Labels that repeat what a stack's header or other columns say; to leave them is no loss.
const REDUNDANT: &[&str] = &["rlnImageDimensionality", "rlnGroupNumber", "rlnGroupName", "rlnCtfImage"];

/// The columns of a table that no rule names.
fn ignored_columns(table: &TableView<'_>) -> Vec<String> {
    // aberrations are read from optics groups only
    let is_lost = |label: &str| table.block() != "optics" && aberrations::is_label(label);
    let known = |label: &str| {
        REDUNDANT.contains(&label) || RULES.iter().any(|rule| rule.label == label) && !is_lost(label)
    };
    let unknown = table.columns().iter().filter(|label| !known(label));
    unknown.map(|label| format!("data_{}/_{label}", table.block())).collect()
}

/// A column that may be missing, with the factor of its rule.
#[derive(Clone, Copy)]
struct Cell {
    column: usize,
    rule: Rule,
}

impl Cell {
    fn find(table: &TableView<'_>, rule: Rule) -> Option<Self> {
        table.find(rule.label).map(|column| Self { column, rule })
    }

    fn need(table: &TableView<'_>, rule: Rule, needed_for: &'static str) -> Result<Self, StarError> {
        Ok(Self { column: table.need(rule.label, needed_for)?, rule })
    }

    /// The finite number of this row, as ours.
    fn value(&self, row: &Row<'_, '_>) -> Result<f64, StarError> {
        let theirs = row.f64(self.column)?;
        if theirs.is_finite() {
            Ok(self.rule.ours(theirs))
        } else {
            Err(row.bad(self.column, "a finite number"))
        }
    }

    fn text<'a>(&self, row: &Row<'_, 'a>) -> &'a str {
        row.cells[self.column]
    }
}

/// The name of an exposure: its file's stem, without folders.
pub fn exposure_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| if stem.is_empty() { file } else { stem });
    stem.to_string()
}
