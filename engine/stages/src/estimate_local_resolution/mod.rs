//! `estimate-local-resolution`: the resolution at each voxel of a map, by the FSC of its halves in windows.
//!
//! README.md has the method. `local_fsc` holds the numerics, as pure functions; `run` is the sequence.

mod local_fsc;
mod report;
mod run;

use crate::{Ctx, Stage, StageError};
use vitreous_model::report::Report;

/// The stage.
pub struct EstimateLocalResolution;

impl Stage for EstimateLocalResolution {
    fn name(&self) -> &'static str {
        "estimate-local-resolution"
    }

    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError> {
        run::run(ctx)
    }
}

#[cfg(test)]
mod tests;
