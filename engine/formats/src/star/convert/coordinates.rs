//! Coordinates: RELION's files of picks, one per micrograph or one for all.

use super::*;
use crate::star::reader::StarFile;
use crate::star::writer::{BlockOut, TableOut, number};
use std::path::Path;
use vitreous_model::particle::Pick;

/// A file of coordinates that another one names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoordinateFile {
    /// The micrograph, as named there.
    pub micrograph: String,
    /// The file, as named there: relative to RELION's project.
    pub path: String,
}

/// The files that a list of coordinate files (RELION 4's `autopick.star`) names; `None`: it is no such list.
///
/// # Errors
/// A file that is no STAR file, or a list without micrographs.
pub fn read_coordinate_files(path: &Path) -> Result<Option<Vec<CoordinateFile>>, StarError> {
    let file = StarFile::read(path)?;
    let mut tables = file.blocks().iter().filter_map(|block| file.table(block.name()));
    let Some(table) = tables.find(|table| table.find(COORDINATE_FILE.label).is_some()) else {
        return Ok(None);
    };
    const NEEDED_FOR: &str = "the list of coordinate files";
    let files = Cell::need(&table, COORDINATE_FILE, NEEDED_FOR)?;
    let micrographs = Cell::need(&table, MICROGRAPH_NAME, NEEDED_FOR)?;
    let mut listed = Vec::with_capacity(table.len());
    let mut rows = table.rows();
    while let Some(row) = rows.next() {
        let (micrograph, path) = (micrographs.text(&row).to_string(), files.text(&row).to_string());
        listed.push(CoordinateFile { micrograph, path });
    }
    Ok(Some(listed))
}

/// Whether the rows of a file of coordinates say which micrograph they are on.
///
/// # Errors
/// A file that is no STAR file.
pub fn names_micrographs(path: &Path) -> Result<bool, StarError> {
    let file = StarFile::read(path)?;
    let mut tables = file.blocks().iter().filter_map(|block| file.table(block.name()));
    Ok(tables.any(|t| t.find(COORDINATE_X.label).is_some() && t.find(MICROGRAPH_NAME.label).is_some()))
}

/// Reads picks. A file of one micrograph has no micrograph column: `exposure` names it then.
///
/// # Errors
/// A file that is no STAR file, has no table with coordinates, or names no micrograph anywhere.
pub fn read_coordinates(path: &Path, exposure: Option<&str>) -> Result<Imported<Vec<Pick>>, StarError> {
    let file = StarFile::read(path)?;
    let tables = || file.blocks().iter().filter_map(|block| file.table(block.name()));
    let table = tables().find(|t| t.find(COORDINATE_X.label).is_some()).or_else(|| tables().next());
    let table = table.ok_or_else(|| StarError::MissingBlock {
        path: path.into(),
        block: String::new(),
        found: file.block_names(),
        needed_for: "a table of coordinates",
    })?;
    const FOR_POSITION: &str = "the particles' positions";
    let x = Cell::need(&table, COORDINATE_X, FOR_POSITION)?;
    let y = Cell::need(&table, COORDINATE_Y, FOR_POSITION)?;
    let score = Cell::find(&table, PICK_SCORE);
    let micrograph = match exposure {
        Some(_) => None,
        None => Some(Cell::need(&table, MICROGRAPH_NAME, "the micrograph of each position")?),
    };
    let mut picks = Vec::with_capacity(table.len());
    let mut rows = table.rows();
    while let Some(row) = rows.next() {
        let named = micrograph.map(|cell| exposure_name(cell.text(&row)));
        picks.push(Pick {
            exposure: named.or(exposure.map(String::from)).unwrap_or_default(),
            x_px: x.value(&row)?,
            y_px: y.value(&row)?,
            score: score.map_or(Ok(f64::NAN), |cell| cell.value(&row))?,
        });
    }
    let mut ignored = ignored_columns(&table);
    if Cell::find(&table, CLASS).is_some() {
        // of a pick it is the number of a template, which is not taken over
        ignored.push(format!("data_{}/_{}", table.block(), CLASS.label));
    }
    Ok(Imported::new(picks, ignored))
}

/// The block of a coordinate file of one micrograph. Scores that are not finite are written as 0.
pub fn coordinate_blocks<'a>(picks: impl Iterator<Item = &'a Pick>) -> Vec<BlockOut> {
    let mut table = TableOut::new("", &[COORDINATE_X.label, COORDINATE_Y.label, PICK_SCORE.label]);
    for pick in picks {
        let score = if pick.score.is_finite() { pick.score } else { 0.0 };
        table.cells.extend([
            number(COORDINATE_X.theirs(pick.x_px)),
            number(COORDINATE_Y.theirs(pick.y_px)),
            number(PICK_SCORE.theirs(score)),
        ]);
    }
    vec![BlockOut::Table(table)]
}
