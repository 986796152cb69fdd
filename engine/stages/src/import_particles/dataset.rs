//! Particles of a CryoSPARC dataset, its passthrough files or its exported group.

use super::roots::Roots;
use crate::exposure_files::{find, table_path};
use crate::{Ctx, StageError};
use std::path::{Path, PathBuf};
use vitreous_formats::cryosparc::convert::{ImportOptions, particles_of};
use vitreous_formats::cryosparc::{CsError, CsPath, PARTICLE, group_files, read_joined};
use vitreous_formats::star::convert::{Fallback, Imported};
use vitreous_jobs::import_particles::ImportParticles;
use vitreous_jobs::import_picks::YOrigin;
use vitreous_model::particle::ParticleSet;

/// Reads and joins the files; paths become absolute or relative to the project.
///
/// # Errors
/// Files that cannot be read, do not belong together, or lack what is needed.
pub fn read(
    ctx: &Ctx<'_>,
    path: &Path,
    root: Option<&Path>,
    params: &ImportParticles,
    fallback: Fallback,
) -> Result<Imported<ParticleSet>, StageError> {
    let files = files(ctx, path, params)?;
    let (dataset, twice) = read_joined(&files).map_err(refused)?;
    let roots = Roots::new(path, root);
    let resolve = |path_in_file: CsPath<'_>| {
        let absolute = match (path_in_file.is_beside, path.parent()) {
            // of a group, and so beside its files
            (true, Some(folder)) => path_in_file.below(folder),
            _ => roots.absolute(path_in_file.path),
        };
        table_path(ctx, &absolute)
    };
    let mirrored = params.y_origin.map(|origin| origin == YOrigin::LastRow);
    let mut imported =
        particles_of(&dataset, &ImportOptions { resolve: &resolve, fallback, mirrored }).map_err(refused)?;
    imported.notes.extend(twice);
    if mirrored == Some(true) {
        imported.notes.push(
            "Positions are those of micrographs whose rows run the other way; poses are those of CryoSPARC's images. Do not \
             cut these particles out anew and keep their poses."
                .into(),
        );
    }
    Ok(imported)
}

/// The dataset and what has to be joined to it.
fn files(ctx: &Ctx<'_>, path: &Path, params: &ImportParticles) -> Result<Vec<PathBuf>, StageError> {
    if path.extension().is_some_and(|extension| extension == "csg") {
        return group_files(path, PARTICLE).map_err(refused);
    }
    let mut files = vec![path.to_path_buf()];
    if let Some(pattern) = &params.passthrough {
        files.extend(find(ctx, "passthrough", pattern, Some(path))?);
    }
    Ok(files)
}

fn refused(error: CsError) -> StageError {
    let hint = match &error {
        CsError::MissingField { .. } => {
            "give the passthrough files of the job with --passthrough, or its exported group (.csg)"
        }
        _ => "",
    };
    StageError::input(error.to_string(), hint)
}
