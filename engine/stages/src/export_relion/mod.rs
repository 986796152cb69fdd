//! `export-relion`: particles, micrographs and coordinates as STAR files; images stay where they are.

mod run;

#[cfg(test)]
mod relion_tests;
#[cfg(test)]
mod tests;

use crate::{Ctx, Stage, StageError};
use vitreous_model::report::Report;

/// The stage.
pub struct ExportRelion;

impl Stage for ExportRelion {
    fn name(&self) -> &'static str {
        "export-relion"
    }

    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError> {
        run::run(ctx)
    }
}
