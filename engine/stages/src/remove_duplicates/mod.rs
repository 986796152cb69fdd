//! `remove-duplicates`: of particles that alignment has brought to one place, only the best. The README of this folder
//! says how.

mod report;
mod run;

#[cfg(test)]
mod tests;

use crate::{Ctx, Stage, StageError};
use vitreous_model::report::Report;

/// The stage.
pub struct RemoveDuplicates;

impl Stage for RemoveDuplicates {
    fn name(&self) -> &'static str {
        "remove-duplicates"
    }

    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError> {
        run::run(ctx)
    }
}
