//! `flip-hand`: the mirror image of a map, and of the poses that go with it.
//!
//! README.md has the method. No numerics here: `run` is the sequence.

mod run;

use crate::{Ctx, Stage, StageError};
use vitreous_model::report::Report;

/// The stage.
pub struct FlipHand;

impl Stage for FlipHand {
    fn name(&self) -> &'static str {
        "flip-hand"
    }

    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError> {
        run::run(ctx)
    }
}

#[cfg(test)]
mod tests;
