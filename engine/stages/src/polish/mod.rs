//! `polish`: every particle's own motion from the movies and the map, and images summed along it with weights from the
//! data. The README of this folder says how.
//!
//! [`run`] is the sequence: the motion of every movie (`motion`: boxes from `frames`, what is expected from `reference`,
//! correlations in `patch`, the search in `tracks` with `lbfgs`), the weights over all (`weights`), the images of every
//! movie (`stacks`). Tracks pass through files (`track_file`).

mod frames;
mod lbfgs;
mod motion;
mod patch;
mod reference;
mod report;
mod run;
mod stacks;
mod track_file;
mod tracks;
mod weights;

use crate::{Ctx, Stage, StageError};
use vitreous_model::report::Report;

/// The stage.
pub struct Polish;

impl Stage for Polish {
    fn name(&self) -> &'static str {
        "polish"
    }

    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError> {
        run::run(ctx)
    }
}

#[cfg(test)]
mod tests;
