//! `refine-ctf`: defocus of each particle, astigmatism of each micrograph, aberrations and magnification of each optics
//! group, by the likelihood of the particles' images given a map.
//!
//! README.md has the formulas. `lattice` lists the coefficients that are compared, `compare` brings an image and a slice
//! of the map together, `defocus`, `phases` and `magnification` are the fits, as pure functions; `reference` prepares
//! the map, `pass` goes through the particles, `update` applies what was found, `run` is the sequence.

mod compare;
mod defocus;
mod lattice;
mod magnification;
mod pass;
mod phases;
mod reference;
mod report;
mod run;
mod update;

use crate::{Ctx, Stage, StageError};
use vitreous_model::report::Report;

/// The stage.
pub struct RefineCtf;

impl Stage for RefineCtf {
    fn name(&self) -> &'static str {
        "refine-ctf"
    }

    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError> {
        run::run(ctx)
    }
}

#[cfg(test)]
mod tests;
