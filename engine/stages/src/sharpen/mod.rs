//! `sharpen`: resolution of a pair of half maps within a mask, and their mean, sharpened and filtered.
//!
//! README.md has the method. No numerics here: `run` is the sequence.

mod report;
mod run;

use crate::{Ctx, Stage, StageError};
use vitreous_model::report::Report;

/// The stage.
pub struct Sharpen;

impl Stage for Sharpen {
    fn name(&self) -> &'static str {
        "sharpen"
    }

    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError> {
        run::run(ctx)
    }
}

#[cfg(test)]
mod tests;
