//! `estimate-ctf`: defocus, astigmatism, phase shift and fit resolution of micrographs from their power spectra.
//!
//! [`spectrum`] has tiles transformed and their power sorted into polar cells
//! ([`vitreous_compute::ops::tile_spectra`]), [`rings`] takes the background off their mean, [`search`] looks everywhere,
//! [`fit`] climbs to the maximum of the [`likelihood`], [`surface`] finds tilt and curvature, [`curve`] judges how far the
//! fit holds, [`flags`] looks for ice and drift.

mod curve;
mod fit;
mod flags;
mod likelihood;
mod report;
mod ring_basis;
mod rings;
mod run;
mod search;
mod spectrum;
mod surface;
#[cfg(test)]
mod tests;

use crate::{Ctx, Stage, StageError};
use vitreous_model::report::Report;

/// The stage.
pub struct EstimateCtf;

impl Stage for EstimateCtf {
    fn name(&self) -> &'static str {
        "estimate-ctf"
    }

    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError> {
        run::run(ctx, ctx.device)
    }
}

/// Why a micrograph's CTF cannot be estimated.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
enum Unfit {
    #[error("it has {width} × {height} px, expected at least {least} px a side for tiles of the spectrum")]
    TooSmall { width: usize, height: usize, least: usize },
    #[error("all its pixels are equal, expected an image")]
    Flat,
    #[error(
        "between {min_resolution_a} and {max_resolution_a} Å its spectrum has {rings} rings, expected at least {least}; \
         widen min_resolution and max_resolution, or take larger tiles"
    )]
    FewRings { min_resolution_a: f64, max_resolution_a: f64, rings: usize, least: usize },
}

impl From<Unfit> for StageError {
    fn from(unfit: Unfit) -> Self {
        StageError::input(unfit.to_string(), "")
    }
}
