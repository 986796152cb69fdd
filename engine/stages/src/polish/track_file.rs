//! The tracks of a movie's particles as a STAR file: `tracks/NAME.star`.

use super::motion::Tracks;
use crate::{Ctx, StageError};
use std::path::Path;
use vitreous_formats::star::writer::{self, BlockOut, TableOut, number};
use vitreous_formats::star::{StarError, StarFile};

const BLOCK: &str = "tracks";
const COLUMNS: [&str; 4] = [
    "vitreousParticleId",
    "rlnMicrographFrameNumber",
    "vitreousDisplacementXAngst",
    "vitreousDisplacementYAngst",
];

/// Its name in the job's folder.
pub fn name(exposure: &str) -> String {
    format!("tracks/{exposure}.star")
}

/// Writes the displacements of particles from their places in the first frame, Å; frames are counted from 1, those of the
/// file that `first` (from 0) says.
///
/// # Errors
/// A file that cannot be written.
pub fn write(
    ctx: &Ctx<'_>,
    exposure: &str,
    ids: &[u64],
    first: usize,
    tracks: &Tracks,
) -> Result<(), StageError> {
    let mut table = TableOut::new(BLOCK, &COLUMNS);
    for (id, track) in ids.iter().zip(tracks) {
        for (frame, [x, y]) in track.iter().enumerate() {
            table.cells.extend([id.to_string(), (first + frame + 1).to_string(), number(*x), number(*y)]);
        }
    }
    let file = name(exposure);
    let path = ctx.job_dir.join(&file);
    ctx.create(&file, |out| -> Result<(), StageError> {
        writer::write(out, &path, &[BlockOut::Table(table)])
            .map_err(|error| StageError::io(&path, std::io::Error::other(error)))
    })?;
    Ok(())
}

/// Reads the tracks of `particles` particles of `frames` frames each.
///
/// # Errors
/// A file that cannot be read, or holds another number of rows.
pub fn read(path: &Path, particles: usize, frames: usize) -> Result<Tracks, StageError> {
    let unfit = |error: StarError| StageError::input(error.to_string(), "run the job anew");
    let file = StarFile::read(path).map_err(unfit)?;
    let table = file.table(BLOCK).filter(|table| table.len() == particles * frames).ok_or_else(|| {
        let what = format!(
            "{}: expected a block data_{BLOCK} of {particles} particles in {frames} frames each",
            path.display()
        );
        StageError::input(what, "run the job anew")
    })?;
    let columns =
        [table.need(COLUMNS[2], "tracks").map_err(unfit)?, table.need(COLUMNS[3], "tracks").map_err(unfit)?];
    let mut tracks: Tracks = Vec::with_capacity(particles);
    let mut rows = table.rows();
    while let Some(row) = rows.next() {
        if tracks.last().is_none_or(|track| track.len() == frames) {
            tracks.push(Vec::with_capacity(frames));
        }
        let at = [row.f64(columns[0]).map_err(unfit)?, row.f64(columns[1]).map_err(unfit)?];
        tracks.last_mut().expect("a track was pushed").push(at);
    }
    Ok(tracks)
}
