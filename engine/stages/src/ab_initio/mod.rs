//! `ab-initio`: a first map from particles alone, by stochastic expectation-maximisation with frequency marching.
//!
//! README.md has the method. No numerics here: `run` is the sequence, the other files are its parts.

mod batch;
mod checkpoint;
mod classes;
mod images;
mod map_state;
mod report;
mod run;
mod schedule;
mod start;

use crate::{Ctx, Stage, StageError};
use vitreous_model::report::Report;

/// The stage.
pub struct AbInitio;

impl Stage for AbInitio {
    fn name(&self) -> &'static str {
        "ab-initio"
    }

    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError> {
        run::run(ctx, ctx.device)
    }
}

#[cfg(test)]
mod tests;
