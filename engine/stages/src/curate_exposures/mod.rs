//! `curate-exposures`: exposures are kept or rejected by thresholds on their figures. The README of this folder says how.

mod quantity;
mod report;
mod run;

#[cfg(test)]
mod tests;

use crate::{Ctx, Stage, StageError};
use vitreous_model::report::Report;

/// The stage.
pub struct CurateExposures;

impl Stage for CurateExposures {
    fn name(&self) -> &'static str {
        "curate-exposures"
    }

    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError> {
        run::run(ctx)
    }
}
