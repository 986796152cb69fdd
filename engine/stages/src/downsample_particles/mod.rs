//! `downsample-particles`: smaller images of the same particles. The README of this folder says how.

mod crop;
mod run;

#[cfg(test)]
mod tests;

use crate::{Ctx, Stage, StageError};
use vitreous_model::report::Report;

/// The stage.
pub struct DownsampleParticles;

impl Stage for DownsampleParticles {
    fn name(&self) -> &'static str {
        "downsample-particles"
    }

    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError> {
        run::run(ctx)
    }
}
