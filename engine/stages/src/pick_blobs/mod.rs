//! `pick-blobs`: particles as blobs of a given diameter.
//!
//! [`score`] turns a micrograph into a map of how much each place looks like one of the [`shapes`], [`crate::picking`]
//! finds the particles in it and says where not to look.

mod report;
mod run;
mod score;
mod shapes;
#[cfg(test)]
mod tests;

use crate::{Ctx, Stage, StageError};
use vitreous_model::report::Report;

/// The stage.
pub struct PickBlobs;

impl Stage for PickBlobs {
    fn name(&self) -> &'static str {
        "pick-blobs"
    }

    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError> {
        run::run(ctx)
    }
}
