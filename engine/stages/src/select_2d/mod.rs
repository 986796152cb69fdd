//! `select-2d`: the particles of good 2-D classes.
//!
//! README.md has the rules. `choose` applies them, `run` reads and writes.

mod choose;
mod report;
mod run;

use crate::{Ctx, Stage, StageError};
use vitreous_model::report::Report;

/// The stage.
pub struct Select2d;

impl Stage for Select2d {
    fn name(&self) -> &'static str {
        "select-2d"
    }

    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError> {
        run::run(ctx)
    }
}

#[cfg(test)]
mod tests;
