//! `align-maps`: a map laid on another, and the poses that go with it.
//!
//! README.md has the method. `poses` holds the numerics, as a pure function; `run` is the sequence.

mod poses;
mod report;
mod run;

use crate::{Ctx, Stage, StageError};
use vitreous_model::report::Report;

/// The stage.
pub struct AlignMaps;

impl Stage for AlignMaps {
    fn name(&self) -> &'static str {
        "align-maps"
    }

    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError> {
        run::run(ctx)
    }
}

#[cfg(test)]
mod tests;
