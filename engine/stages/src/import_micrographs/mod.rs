//! `import-micrographs`: registers images that were aligned elsewhere; copies nothing.

mod listed;
mod report;
mod run;

#[cfg(test)]
mod listed_tests;
#[cfg(test)]
mod tests;

use crate::{Ctx, Stage, StageError};
use vitreous_model::report::Report;

/// The stage.
#[derive(Debug, Clone, Copy)]
pub struct ImportMicrographs;

impl Stage for ImportMicrographs {
    fn name(&self) -> &'static str {
        "import-micrographs"
    }

    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError> {
        run::run(ctx)
    }
}
