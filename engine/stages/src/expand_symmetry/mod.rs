//! `expand-symmetry`: each particle once for every rotation of a point group. Poses are replicated, never images.
//!
//! README.md has the method. `copies` holds the numerics, as pure functions; `run` is the sequence.

mod copies;
mod report;
mod run;

use crate::{Ctx, Stage, StageError};
use vitreous_model::report::Report;

/// The stage.
pub struct ExpandSymmetry;

impl Stage for ExpandSymmetry {
    fn name(&self) -> &'static str {
        "expand-symmetry"
    }

    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError> {
        run::run(ctx)
    }
}

#[cfg(test)]
mod tests;
