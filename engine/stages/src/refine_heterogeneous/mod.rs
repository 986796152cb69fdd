//! `refine-heterogeneous`: see README.md in this folder.

mod report;
mod run;

#[cfg(test)]
mod tests;

use crate::{Ctx, Stage, StageError};
use vitreous_model::report::Report;

/// The stage.
pub struct RefineHeterogeneous;

impl Stage for RefineHeterogeneous {
    fn name(&self) -> &'static str {
        "refine-heterogeneous"
    }

    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError> {
        run::run(ctx, ctx.device)
    }
}
