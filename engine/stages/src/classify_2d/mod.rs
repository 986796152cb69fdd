//! `classify-2d`: particle images sorted into classes of like views, and their averages.
//!
//! README.md has the method. No numerics here: `run` is the sequence, the other files are its parts.

mod averages;
mod checkpoint;
mod images;
mod report;
mod run;
mod schedule;
mod step;

use crate::{Ctx, Stage, StageError};
use vitreous_model::report::Report;

/// The stage.
pub struct Classify2d;

impl Stage for Classify2d {
    fn name(&self) -> &'static str {
        "classify-2d"
    }

    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError> {
        run::run(ctx, ctx.device)
    }
}

#[cfg(test)]
mod tests;
