//! Movies: RELION's `data_movies`, in.

use super::*;
use crate::star::reader::StarFile;
use std::path::Path;
use vitreous_model::exposure::{Exposure, ExposureSet, GainFlip, MovieSource};

/// Reads movies of RELION ≥ 3.1, as its import writes them. `resolve` turns a path of the file into one of ours;
/// `fallback` stands in for what the optics groups do not say. Frames, width, height and doses are 0, since RELION's
/// table lacks them. Names are the files' stems.
///
/// # Errors
/// A file that is no STAR file or lacks a needed block or column.
pub fn read_movies(
    path: &Path,
    resolve: &dyn Fn(&str) -> String,
    fallback: &Fallback,
) -> Result<Imported<ExposureSet>, StarError> {
    let file = StarFile::read(path)?;
    let groups = optics::read(&file, fallback)?;
    let missing = |block: &str, needed_for| StarError::MissingBlock {
        path: path.into(),
        block: block.into(),
        found: file.block_names(),
        needed_for,
    };
    let optics_table = file.table("optics").ok_or_else(|| missing("optics", "voltage, Cs and pixel size"))?;
    let table = file.table("movies").ok_or_else(|| missing("movies", "the list of movies"))?;
    let mut ignored = ignored_columns(&table);
    ignored.extend(ignored_columns(&optics_table));
    let name = Cell::need(&table, MOVIE_NAME, "finding the movies")?;
    let group = Cell::need(&table, OPTICS_NUMBER, "the link from rows to optics groups")?;
    let pre_exposure = Cell::find(&table, PRE_EXPOSURE);
    let mut exposures = Vec::with_capacity(table.len());
    let mut rows = table.rows();
    while let Some(row) = rows.next() {
        let number: u32 = row.integer(group.column)?;
        let optics = groups.iter().find(|g| g.group.number == number);
        let optics = optics.ok_or_else(|| row.bad(group.column, "the number of a group in data_optics"))?;
        let movie = MovieSource {
            path: resolve(name.text(&row)),
            frames: 0,
            width: 0,
            height: 0,
            pixel_size_a: optics.group.movie_pixel_size_a,
            dose_per_frame: 0.0,
            pre_exposure: pre_exposure.map_or(Ok(0.0), |cell| cell.value(&row))?,
            gain_path: String::new(),
            gain_rotate: 0,
            gain_flip: GainFlip::None,
            defects_path: String::new(),
            eer: None,
        };
        exposures.push(Exposure {
            name: exposure_name(name.text(&row)),
            optics_group: number,
            movie: Some(movie),
            micrograph: None,
            motion: None,
            ctf: None,
        });
    }
    let optics = groups.into_iter().map(|g| g.group).collect();
    Ok(Imported::new(ExposureSet { optics, exposures }, ignored))
}
