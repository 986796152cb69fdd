//! `correct-motion`: from movies to micrographs. The README of this folder says how.
//!
//! No numerics here: [`run`] goes through the movies, [`correct`] is the order of steps for one, the other files are its
//! parts: a first pass over the frames (`survey`, `hot_pixels`), the motion (`global`, `patches`, `pattern`, `local`,
//! `field_fit`, `smoothing`, `splines`, `motion_field`), a second pass (`warp`) and the sums (`dose_weights`, `compose`). The
//! heavy parts are operation families of `vitreous-compute` (`decimate`, `motion_correlation`, `warp`). How a movie is opened
//! and read (`source`, `movie`, `hot_pixels`, `survey`) other stages share.

mod compose;
mod correct;
mod dose_weights;
mod field_fit;
mod global;
mod hot_pixels;
mod local;
mod motion_field;
pub(crate) mod movie;
mod patches;
mod pattern;
mod record;
mod report;
mod run;
mod smoothing;
pub(crate) mod source;
mod spectrum;
mod splines;
pub(crate) mod survey;
mod warp;

use crate::{Ctx, Stage, StageError};
use vitreous_model::report::Report;

/// The stage.
pub struct CorrectMotion;

impl Stage for CorrectMotion {
    fn name(&self) -> &'static str {
        "correct-motion"
    }

    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError> {
        run::run(ctx, ctx.device)
    }
}

#[cfg(test)]
mod simulated;
#[cfg(test)]
mod stage_tests;
#[cfg(test)]
mod tests;
