//! `pick-blobs`: particles as blobs of a given diameter.
//!
//! [`score`] turns a micrograph into a map of how much each place looks like a blob, [`peaks`] finds the particles in
//! it, [`contamination`] says where not to look.

mod contamination;
mod peaks;
mod report;
mod run;
mod score;
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

/// Why particles cannot be picked on a micrograph.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
enum Unfit {
    #[error(
        "it has {width} × {height} px, expected at least {least} px a side for particles of {diameter_a} Å"
    )]
    TooSmall { width: usize, height: usize, least: usize, diameter_a: f64 },
    #[error("more than half of its pixels are equal, expected an image")]
    Flat,
}
