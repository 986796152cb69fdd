//! Particles of parameter files of cisTEM and Frealign.

use super::roots::Roots;
use crate::exposure_files::table_path;
use crate::{Ctx, StageError};
use std::path::Path;
use vitreous_formats::frealign::{self, ImportOptions, ParError};
use vitreous_formats::star::convert::{Fallback, Imported};
use vitreous_jobs::import_particles::ImportParticles;
use vitreous_model::particle::ParticleSet;

/// Reads the file; paths become absolute or relative to the project.
///
/// # Errors
/// A file that cannot be read or lacks what is needed.
pub fn read(
    ctx: &Ctx<'_>,
    path: &Path,
    root: Option<&Path>,
    params: &ImportParticles,
    fallback: Fallback,
) -> Result<Imported<ParticleSet>, StageError> {
    let parameters = frealign::read(path).map_err(refused)?;
    let stack = params.stack.as_ref().map(|stack| table_path(ctx, &ctx.resolve(&stack.to_string_lossy())));
    let roots = Roots::new(path, root);
    let resolve = |named: &str| table_path(ctx, &roots.absolute(named));
    let options = ImportOptions { stack: stack.as_deref(), resolve: &resolve, fallback };
    frealign::particles_of(path, &parameters, &options).map_err(refused)
}

fn refused(error: ParError) -> StageError {
    let hint = match &error {
        ParError::Unfit { hint, .. } => *hint,
        _ => "give the .par file of a refinement, or cisTEM's STAR file of one",
    };
    StageError::input(error.to_string(), hint)
}
