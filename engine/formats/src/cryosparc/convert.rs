//! What CryoSPARC means by its fields → ours ([`vitreous_model::conventions`]).
//!
//! | theirs | ours | source |
//! |---|---|---|
//! | `location/center_x_frac` · `location/micrograph_shape[1]` | `Pick.x_px` | cryosparc-tools; shape is rows, columns |
//! | `location/center_y_frac` · `location/micrograph_shape[0]` | `Pick.y_px`, if row 0 of the micrograph at hand is that of CryoSPARC's | the same |
//! | the same, counted from the other edge | `Pick.y_px` of a micrograph that was summed by another program (RELION, MotionCor) | Patch Motion's sums are mirrored in y against theirs (pyem, issues 81 and 133) |
//! | `pick_stats/ncc_score` | `Pick.score` | cryosparc-tools |

use super::{CsError, Dataset};
use std::path::Path;

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
}

/// Reads positions of particles.
///
/// # Errors
/// A file that is no dataset, or lacks the fields of positions.
pub fn read_picks(path: &Path) -> Result<Vec<CsPick>, CsError> {
    const NEEDED_FOR: &str = "the positions of particles";
    let dataset = Dataset::read(path)?;
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
        micrograph: micrograph.trim_start_matches('>').to_string(),
        fraction: [x[i], y[i]],
        size_px: [columns[i], rows[i]],
        score: scores[i],
    };
    Ok(micrographs.into_iter().enumerate().map(pick).collect())
}
