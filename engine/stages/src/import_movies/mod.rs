//! `import-movies`: registers movies and their gain reference; copies nothing.

mod beam_shift;
mod eer;
mod groups;
mod metadata;
mod report;
mod run;
mod select;
mod watch;

#[cfg(test)]
mod metadata_tests;
#[cfg(test)]
mod tests;

use crate::{Ctx, Stage, StageError};
use vitreous_model::report::Report;

/// The stage.
#[derive(Debug, Clone, Copy)]
pub struct ImportMovies;

impl Stage for ImportMovies {
    fn name(&self) -> &'static str {
        "import-movies"
    }

    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError> {
        run::run(ctx)
    }
}
