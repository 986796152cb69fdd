//! `refine-homogeneous`: see README.md in this folder.

mod report;
mod run;

#[cfg(test)]
mod tests;

use crate::{Ctx, Stage, StageError};
use vitreous_model::report::Report;

/// The stage.
pub struct RefineHomogeneous;

impl Stage for RefineHomogeneous {
    fn name(&self) -> &'static str {
        "refine-homogeneous"
    }

    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError> {
        run::run(ctx, ctx.device)
    }
}
