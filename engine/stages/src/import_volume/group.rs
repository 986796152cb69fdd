//! The map that a dataset or group of CryoSPARC names.

use crate::exposure_files::star::StarPaths;
use crate::{Ctx, StageError};
use std::path::{Path, PathBuf};
use vitreous_formats::cryosparc::convert::{VolumeSlot, volume_of};
use vitreous_formats::cryosparc::{CsError, CsPath, VOLUME, group_files, read_joined};
use vitreous_jobs::import_volume::{GroupMap, ImportVolume};

/// Whether a file is a dataset or group, by its name.
pub(super) fn is_dataset(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "cs" || end == "csg")
}

/// File of the map and its pixel size, Å, as the dataset has it.
///
/// # Errors
/// A dataset or group that cannot be read or does not name the map.
pub(super) fn map_of(
    ctx: &Ctx<'_>,
    params: &ImportVolume,
    path: &Path,
) -> Result<(PathBuf, Option<f64>), StageError> {
    let is_group = path.extension().is_some_and(|end| end == "csg");
    let files = if is_group { group_files(path, VOLUME).map_err(refused)? } else { vec![path.to_path_buf()] };
    let (dataset, _) = read_joined(&files).map_err(refused)?;
    let slot = match params.group_map {
        GroupMap::Map => VolumeSlot::MAP,
        GroupMap::Sharp => VolumeSlot::SHARP,
        GroupMap::HalfA => VolumeSlot::HALF_A,
        GroupMap::HalfB => VolumeSlot::HALF_B,
    };
    let (named, pixel_size_a) = volume_of(&dataset, slot).map_err(refused)?;
    let named = CsPath::of(&named);
    let file = match (named.is_beside, path.parent()) {
        (true, Some(folder)) => named.below(folder),
        _ => ctx.resolve(&StarPaths::new(ctx, path, params.root.as_deref()).resolve(named.path)),
    };
    Ok((file, pixel_size_a))
}

fn refused(error: CsError) -> StageError {
    StageError::input(error.to_string(), "choose with --group-map, or name the file of the map itself")
}
