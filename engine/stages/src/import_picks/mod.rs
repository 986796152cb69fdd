//! `import-picks`: positions of particles from another program. The README of this folder says how.

mod read;
mod report;
mod run;

#[cfg(test)]
mod tests;

use crate::{Ctx, Stage, StageError};
use vitreous_model::report::Report;

/// The stage.
pub struct ImportPicks;

impl Stage for ImportPicks {
    fn name(&self) -> &'static str {
        "import-picks"
    }

    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError> {
        run::run(ctx)
    }
}
