//! `import-relion-project`: movies, micrographs, picks and particles of a project of RELION, each by the import job of its
//! kind; images stay where they are.

mod find;
mod run;

#[cfg(test)]
mod tests;

use crate::{Ctx, Stage, StageError};
use vitreous_model::report::Report;

/// The stage.
pub struct ImportRelionProject;

impl Stage for ImportRelionProject {
    fn name(&self) -> &'static str {
        "import-relion-project"
    }

    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError> {
        run::run(ctx)
    }
}
