//! `inspect-picks`: which picks of a set to keep. [`thresholds`] says why one is left out, [`propose`] where thresholds
//! may lie. The README of this folder says how.

mod propose;
mod report;
mod run;
mod thresholds;

#[cfg(test)]
mod tests;

use crate::{Ctx, Stage, StageError};
use vitreous_model::report::Report;

/// The stage.
pub struct InspectPicks;

impl Stage for InspectPicks {
    fn name(&self) -> &'static str {
        "inspect-picks"
    }

    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError> {
        run::run(ctx)
    }
}
