//! `reconstruct`: half maps and a filtered map from particles whose poses are known.
//!
//! README.md has the method. No numerics here: `run` is the sequence, `accumulate` goes through the particles, `trial` tells which
//! curvature of the Ewald sphere fits.

mod accumulate;
mod report;
mod run;
mod trial;

pub(crate) use accumulate::half_of;

use crate::{Ctx, Stage, StageError};
use vitreous_model::report::Report;

/// The stage.
pub struct Reconstruct;

impl Stage for Reconstruct {
    fn name(&self) -> &'static str {
        "reconstruct"
    }

    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError> {
        run::run(ctx, ctx.device)
    }
}

#[cfg(test)]
mod tests;
