//! Files of every kind → positions and the names of their micrographs.

use crate::StageError;
use std::path::{Path, PathBuf};
use vitreous_formats::box_file::{ParticleBox, read_boxes};
use vitreous_formats::cbox::read_cbox;
use vitreous_formats::cryosparc::{CsPick, read_picks};
use vitreous_formats::star::StarError;
use vitreous_formats::star::convert::{names_micrographs, read_coordinate_files, read_coordinates};

/// Folders above a list of coordinate files that are tried as the root of its paths.
const LEVELS: usize = 6;

/// A position as a file has it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Given {
    /// The micrograph's name or path there, or the file's own.
    pub micrograph: String,
    /// Where on it.
    pub place: Place,
    /// Score; NaN: none.
    pub score: f64,
}

/// How a position is told.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Place {
    /// Column and row in pixels from the first stored pixel.
    Pixels([f64; 2]),
    /// As fractions, with the edges that CryoSPARC's micrograph has.
    Fraction(CsPick),
}

/// Reads a file of any kind, going by the end of its name.
///
/// # Errors
/// A kind that is not known, or a file that is broken.
pub(super) fn read(path: &Path) -> Result<Vec<Given>, StageError> {
    let kind = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
    let broken = |error: &dyn std::fmt::Display| StageError::input(error.to_string(), "");
    let own_name = || path.to_string_lossy().into_owned();
    let of_boxes = |boxes: Vec<ParticleBox>| {
        let given = |b: ParticleBox| Given {
            micrograph: own_name(),
            place: Place::Pixels(b.centre_px),
            score: b.score,
        };
        boxes.into_iter().map(given).collect()
    };
    match kind.as_str() {
        "star" => read_star(path).map_err(|error| broken(&error)),
        "box" => read_boxes(path).map(of_boxes).map_err(|error| broken(&error)),
        "cbox" => read_cbox(path).map(of_boxes).map_err(|error| broken(&error)),
        "cs" => {
            let picks = read_picks(path).map_err(|error| broken(&error))?;
            let given = |pick: CsPick| Given {
                micrograph: pick.micrograph.clone(),
                score: pick.score,
                place: Place::Fraction(pick),
            };
            Ok(picks.into_iter().map(given).collect())
        }
        _ => Err(StageError::input(
            format!("{}: not a known kind of picks", path.display()),
            "give files that end in .star, .box, .cbox or .cs",
        )),
    }
}

/// Coordinates of one micrograph, of many, or a list of files with them.
fn read_star(path: &Path) -> Result<Vec<Given>, StarError> {
    if let Some(files) = read_coordinate_files(path)? {
        let mut all = Vec::new();
        for file in files {
            all.extend(positions(&beside(path, &file.path), Some(&file.micrograph))?);
        }
        return Ok(all);
    }
    if names_micrographs(path)? {
        return positions(path, None);
    }
    positions(path, Some(&path.to_string_lossy()))
}

fn positions(path: &Path, micrograph: Option<&str>) -> Result<Vec<Given>, StarError> {
    let picks = read_coordinates(path, micrograph)?.value;
    let given = picks.into_iter().map(|pick| Given {
        micrograph: pick.exposure,
        place: Place::Pixels([pick.x_px, pick.y_px]),
        score: pick.score,
    });
    Ok(given.collect())
}

/// A path as named in a file: below the nearest of its folders where it is, RELION's project among them.
fn beside(file: &Path, named: &str) -> PathBuf {
    let folders = file.ancestors().skip(1).take(LEVELS);
    let found = folders.map(|folder| folder.join(named)).find(|path| path.exists());
    found.unwrap_or_else(|| file.parent().unwrap_or(file).join(named))
}
