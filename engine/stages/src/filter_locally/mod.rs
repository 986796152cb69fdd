//! `filter-locally`: each place of a map low-passed at its own resolution.
//!
//! README.md has the method. `bank` holds the numerics, as pure functions; `run` is the sequence.

mod bank;
mod report;
mod run;

use crate::{Ctx, Stage, StageError};
use vitreous_model::report::Report;

/// The stage.
pub struct FilterLocally;

impl Stage for FilterLocally {
    fn name(&self) -> &'static str {
        "filter-locally"
    }

    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError> {
        run::run(ctx)
    }
}

#[cfg(test)]
mod tests;
