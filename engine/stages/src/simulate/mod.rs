//! `simulate`: movies or particle images of an atomic model, with everything that was put in written beside them.
//!
//! [`specimen`] is the molecule, [`potential`] its projections and map, [`exposure`] a movie, [`camera`] and [`motion`]
//! what happens to it, [`stacks`] particle images. Every random number depends on the seed and on what it is for
//! ([`random`]), so threads, ranks and resuming change nothing.

mod camera;
mod exposure;
mod micelle;
mod motion;
mod movies;
mod particles;
mod placement;
mod potential;
mod random;
mod report;
mod run;
mod scattering;
mod specimen;
mod stacks;
#[cfg(test)]
mod tests;

use crate::{Ctx, Stage, StageError};
use vitreous_model::report::Report;

/// The stage.
pub struct Simulate;

impl Stage for Simulate {
    fn name(&self) -> &'static str {
        "simulate"
    }

    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError> {
        run::run(ctx)
    }
}
