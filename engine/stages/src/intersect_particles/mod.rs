//! `intersect-particles`: what two particle sets have in common, and what only one has. The README of this folder says how.

mod pairs;
mod report;
mod run;

#[cfg(test)]
mod tests;

use crate::{Ctx, Stage, StageError};
use vitreous_model::report::Report;

/// The stage.
pub struct IntersectParticles;

impl Stage for IntersectParticles {
    fn name(&self) -> &'static str {
        "intersect-particles"
    }

    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError> {
        run::run(ctx)
    }
}
