//! `subtract-signal`: particle images without the projection of a part of their map. The README of this folder says how.

mod maps;
mod placing;
mod report;
mod run;
mod scales;
mod subtraction;

#[cfg(test)]
mod tests;

use crate::{Ctx, Stage, StageError};
use vitreous_model::report::Report;

/// The stage.
pub struct SubtractSignal;

impl Stage for SubtractSignal {
    fn name(&self) -> &'static str {
        "subtract-signal"
    }

    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError> {
        run::run(ctx)
    }
}
