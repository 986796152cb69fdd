//! `split-particles`: one particle set in parts. The README of this folder says how.

mod parts;
mod report;
mod run;

#[cfg(test)]
mod tests;

use crate::{Ctx, Stage, StageError};
use vitreous_model::report::Report;

/// The stage.
pub struct SplitParticles;

impl Stage for SplitParticles {
    fn name(&self) -> &'static str {
        "split-particles"
    }

    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError> {
        run::run(ctx)
    }
}
