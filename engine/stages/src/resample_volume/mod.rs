//! `resample-volume`: a map in another box and pixel size, or with its pixel size calibrated against another map.
//!
//! README.md has the method. `magnification` holds the numerics, as pure functions; `run` is the sequence.

mod magnification;
mod report;
mod run;

use crate::{Ctx, Stage, StageError};
use vitreous_model::report::Report;

/// The stage.
pub struct ResampleVolume;

impl Stage for ResampleVolume {
    fn name(&self) -> &'static str {
        "resample-volume"
    }

    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError> {
        run::run(ctx)
    }
}

#[cfg(test)]
mod tests;
