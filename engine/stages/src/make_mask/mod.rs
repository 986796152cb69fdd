//! `make-mask`: a soft mask round what a map shows.
//!
//! README.md has the method. No numerics here: `run` is the sequence.

mod report;
mod run;

use crate::{Ctx, Stage, StageError};
use vitreous_model::report::Report;

/// The stage.
pub struct MakeMask;

impl Stage for MakeMask {
    fn name(&self) -> &'static str {
        "make-mask"
    }

    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError> {
        run::run(ctx)
    }
}

#[cfg(test)]
mod tests;
