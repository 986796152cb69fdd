//! Maps that have to be cubes.

use crate::StageError;
use std::path::Path;
use vitreous_formats::mrc::{Volume, read_volume};

/// Reads a map.
///
/// # Errors
/// A file that cannot be read; a map that is no cube.
pub(crate) fn read(path: &Path) -> Result<Volume, StageError> {
    let volume = read_volume(path)?;
    let (nz, ny, nx) = volume.data.dim();
    if nz == ny && ny == nx {
        return Ok(volume);
    }
    Err(StageError::input(
        format!("{}: found {nx} × {ny} × {nz} voxels, expected a cube", path.display()),
        "bring the map into a cubic box with import-volume",
    ))
}
