//! `extract-particles`: cuts particle images out of micrographs, downsampled, normalised, white on black. `wanted` says
//! where, `background` normalises.

pub(crate) mod background;
mod report;
mod run;
mod wanted;

#[cfg(test)]
mod again_tests;
#[cfg(test)]
mod tests;

use crate::{Ctx, Stage, StageError};
use vitreous_model::report::Report;

/// The stage.
#[derive(Debug, Clone, Copy)]
pub struct ExtractParticles;

impl Stage for ExtractParticles {
    fn name(&self) -> &'static str {
        "extract-particles"
    }

    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError> {
        run::run(ctx)
    }
}
