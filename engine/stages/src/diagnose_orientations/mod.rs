//! `diagnose-orientations`: whether views are missing, and what that does to the map.
//!
//! README.md has the measures; the numerics are in `compute::orientations`.

mod report;
mod run;

use crate::{Ctx, Stage, StageError};
use vitreous_model::report::Report;

/// The stage.
pub struct DiagnoseOrientations;

impl Stage for DiagnoseOrientations {
    fn name(&self) -> &'static str {
        "diagnose-orientations"
    }

    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError> {
        run::run(ctx)
    }
}

#[cfg(test)]
mod tests;
