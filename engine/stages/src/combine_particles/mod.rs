//! `combine-particles`: several particle sets as one, each image once. The README of this folder says how.

mod report;
mod run;
mod union;

#[cfg(test)]
mod tests;

use crate::{Ctx, Stage, StageError};
use vitreous_model::report::Report;

/// The stage.
pub struct CombineParticles;

impl Stage for CombineParticles {
    fn name(&self) -> &'static str {
        "combine-particles"
    }

    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError> {
        run::run(ctx)
    }
}
