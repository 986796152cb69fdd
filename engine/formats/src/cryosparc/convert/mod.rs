//! What CryoSPARC means by its fields and what they are here ([`vitreous_model::conventions`]): the only place that knows.
//!
//! [`RULES`] is the dictionary. The rows of Patch Motion's sums run the other way than those of RELION, MotionCor and this
//! program (pyem, issues 81 and 133), so fractions of y need to be told from which stored row they count: the first, if
//! the micrograph at hand is CryoSPARC's own, or the last.

mod export;
mod export_exposures;
mod exposures;
mod particles;
mod volumes;

#[cfg(test)]
mod exposure_tests;
#[cfg(test)]
mod tests;

use super::{CsError, CsPath, Dataset};
pub use export::{ExportOptions, Exported, particle_fields};
pub use export_exposures::exposure_fields;
pub use exposures::exposures_of;
pub use particles::{ImportOptions, particles_of};
use std::path::Path;
pub use volumes::{VolumeOut, VolumeSlot, volume_fields, volume_of};

/// One field of CryoSPARC: what it is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Its name.
    pub field: &'static str,
    /// Ours, and how it is converted.
    pub ours: &'static str,
    /// Where this was seen.
    pub source: &'static str,
}

const TOOLS: &str = "cryosparc-tools 5.0.3";
const PYEM: &str = "pyem metadata/cryosparc2.py";

macro_rules! rules {
    ($($field:literal, $ours:literal, $source:expr;)+) => {
        /// Every field that is converted; imports list the others.
        pub const RULES: &[Rule] = &[$(Rule { field: $field, ours: $ours, source: $source }),+];
    };
}

rules! {
    "uid", "Particle.id", TOOLS;
    "blob/path", "Particle.stack_path; `>` marks paths relative to the file's folder", TOOLS;
    "blob/idx", "Particle.stack_index, from 0", TOOLS;
    "blob/shape", "ParticleSet.box_px (rows, columns)", TOOLS;
    "blob/psize_A", "ParticleSet.pixel_size_a", TOOLS;
    "blob/sign", "must be +1 for particles that are white on disk; -1 is remarked upon", TOOLS;
    "ctf/exp_group_id", "OpticsGroup.number - 1", PYEM;
    "ctf/accel_kv", "OpticsGroup.voltage (kV)", TOOLS;
    "ctf/cs_mm", "OpticsGroup.cs (mm)", TOOLS;
    "ctf/amp_contrast", "OpticsGroup.amplitude_contrast", TOOLS;
    "ctf/df1_A", "CtfParams.defocus_u_a", PYEM;
    "ctf/df2_A", "CtfParams.defocus_v_a", PYEM;
    "ctf/df_angle_rad", "CtfParams.astigmatism_angle, radians", PYEM;
    "ctf/phase_shift_rad", "CtfParams.phase_shift, radians", PYEM;
    "alignments3D/pose", "Pose.rotation as a rotation vector, radians", "pyem geom/convert.py expmap is exp([v]x) transposed, RELION's matrix is ours transposed: no transpose is left";
    "alignments3D/shift", "-Pose.shift_a / alignments3D/psize_A (the sign of rlnOrigin)", PYEM;
    "alignments3D/psize_A", "pixel size of alignments3D/shift, Å", PYEM;
    "alignments3D/split", "Particle.half, 0 and 1 for the halves 1 and 2", PYEM;
    "alignments3D/class", "Particle.class.number - 1", PYEM;
    "alignments3D/class_posterior", "Particle.class.probability", TOOLS;
    "alignments2D/pose", "psi of Pose.rotation, radians, where there is no alignments3D", PYEM;
    "alignments2D/shift", "as that of alignments3D, where there is none", PYEM;
    "alignments2D/psize_A", "pixel size of alignments2D/shift, Å", PYEM;
    "alignments2D/split", "as that of alignments3D, where there is none", PYEM;
    "alignments2D/class", "as that of alignments3D, where there is none", PYEM;
    "alignments2D/class_posterior", "as that of alignments3D, where there is none", TOOLS;
    "location/micrograph_path", "Pick.exposure: the stem of the file's name", TOOLS;
    "location/micrograph_shape", "rows and columns, for the fractions", TOOLS;
    "location/center_x_frac", "Pick.x_px / columns", TOOLS;
    "location/center_y_frac", "Pick.y_px / rows, or 1 minus that (CsPick::position_px)", "pyem, issues 81 and 133";
    "location/micrograph_psize_A", "OpticsGroup.movie_pixel_size_a, for want of the movie's", TOOLS;
    "pick_stats/ncc_score", "Pick.score", TOOLS;
    "micrograph_blob/path", "MicrographSource.path; its stem is Exposure.name", TOOLS;
    "micrograph_blob/shape", "MicrographSource.height, width", TOOLS;
    "micrograph_blob/psize_A", "MicrographSource.pixel_size_a", TOOLS;
    "micrograph_blob/idx", "0: a file of one image", TOOLS;
    "micrograph_blob/format", "told by the file itself", TOOLS;
    "micrograph_blob_non_dw/path", "MicrographSource.unweighted_path, or path where there is no other", TOOLS;
    "micrograph_blob_non_dw/shape", "that of micrograph_blob", TOOLS;
    "micrograph_blob_non_dw/psize_A", "that of micrograph_blob", TOOLS;
    "micrograph_blob_non_dw/idx", "0: a file of one image", TOOLS;
    "micrograph_blob_non_dw/format", "told by the file itself", TOOLS;
    "mscope_params/accel_kv", "OpticsGroup.voltage (kV) of an exposure", TOOLS;
    "mscope_params/cs_mm", "OpticsGroup.cs (mm) of an exposure", TOOLS;
    "mscope_params/exp_group_id", "OpticsGroup.number - 1 of an exposure", TOOLS;
    "mscope_params/neg_stain", "remarked upon if not 0", TOOLS;
    "movie_blob/psize_A", "OpticsGroup.movie_pixel_size_a of an exposure", TOOLS;
    "ctf/ctf_fit_to_A", "CtfFit.fit_resolution_a", TOOLS;
    "ctf/cross_corr_ctffind4", "CtfFit.score", TOOLS;
    "ctf_stats/ctf_fit_to_A", "CtfFit.fit_resolution_a, before that of ctf", TOOLS;
    "ctf_stats/cross_corr", "CtfFit.score, before that of ctf", TOOLS;
}

/// What positions are asked for, in messages.
const NEEDED_FOR: &str = "the positions of particles";

/// A position on a micrograph.
#[derive(Debug, Clone, PartialEq)]
pub struct CsPick {
    /// Path of the micrograph as CryoSPARC has it.
    pub micrograph: String,
    /// Column and row, as fractions of the micrograph's edges, counted from CryoSPARC's first pixel.
    pub fraction: [f64; 2],
    /// Columns and rows of CryoSPARC's micrograph.
    pub size_px: [f64; 2],
    /// Score of the picker; NaN: none.
    pub score: f64,
}

impl CsPick {
    /// Column and row in a micrograph of `size_px` columns and rows. `mirrored`: its rows run the other way than those of
    /// CryoSPARC's.
    pub fn position_px(&self, size_px: [f64; 2], mirrored: bool) -> [f64; 2] {
        let [x, y] = self.fraction;
        [x * size_px[0], if mirrored { 1.0 - y } else { y } * size_px[1]]
    }

    /// The reverse: the fractions of a position.
    pub fn fraction_of(place_px: [f64; 2], size_px: [f64; 2], mirrored: bool) -> [f64; 2] {
        let [x, y] = [place_px[0] / size_px[0], place_px[1] / size_px[1]];
        [x, if mirrored { 1.0 - y } else { y }]
    }
}

/// Reads positions of particles.
///
/// # Errors
/// A file that is no dataset, or lacks the fields of positions.
pub fn read_picks(path: &Path) -> Result<Vec<CsPick>, CsError> {
    picks_of(&Dataset::read(path)?)
}

/// The positions of a dataset.
///
/// # Errors
/// A dataset that lacks the fields of positions.
pub fn picks_of(dataset: &Dataset) -> Result<Vec<CsPick>, CsError> {
    let number = |field, index| dataset.numbers(field, index, NEEDED_FOR);
    let micrographs = dataset.texts("location/micrograph_path", NEEDED_FOR)?;
    let (x, y) = (number("location/center_x_frac", 0)?, number("location/center_y_frac", 0)?);
    let rows = number("location/micrograph_shape", 0)?;
    let columns = number("location/micrograph_shape", 1)?;
    let scores = match dataset.has("pick_stats/ncc_score") {
        true => number("pick_stats/ncc_score", 0)?,
        false => vec![f64::NAN; dataset.len()],
    };
    let pick = |(i, micrograph): (usize, String)| CsPick {
        // exported groups mark paths relative to themselves
        micrograph: CsPath::of(&micrograph).path.trim_start_matches('>').to_string(),
        fraction: [x[i], y[i]],
        size_px: [columns[i], rows[i]],
        score: scores[i],
    };
    Ok(micrographs.into_iter().enumerate().map(pick).collect())
}
