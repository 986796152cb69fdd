//! `restack-particles`: the images of a set in stacks of its own. The README of this folder says how.

mod run;

#[cfg(test)]
mod tests;

use crate::{Ctx, Stage, StageError};
use vitreous_model::report::Report;

/// The stage.
pub struct RestackParticles;

impl Stage for RestackParticles {
    fn name(&self) -> &'static str {
        "restack-particles"
    }

    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError> {
        run::run(ctx)
    }
}
