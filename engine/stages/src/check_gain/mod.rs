//! `check-gain`: which way round a gain reference belongs on the frames. The README of this folder says how.
//!
//! No numerics here: `vitreous_formats::gain::orientation` scores, [`average`] sums raw frames.

mod average;
mod report;
mod run;
#[cfg(test)]
mod tests;

use crate::{Ctx, Stage, StageError};
use vitreous_model::report::Report;

/// The stage.
pub struct CheckGain;

impl Stage for CheckGain {
    fn name(&self) -> &'static str {
        "check-gain"
    }

    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError> {
        run::run(ctx)
    }
}
