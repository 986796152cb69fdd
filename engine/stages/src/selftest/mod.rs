//! `selftest`: simulated movies to a map by the real stages, each held against what was put in. README.md says how.
//!
//! [`plan`] says which stages run with what, [`course`] runs them in folders of this job, [`checks`] compare what came out
//! with the truth, [`report`] shows it. No numerics of its own beyond these comparisons.

mod checks;
mod course;
mod exposures;
mod maps;
mod particles;
mod plan;
mod report;
mod run;
#[cfg(test)]
mod tests;

use crate::{Ctx, Stage, StageError};
use vitreous_model::report::Report;

/// The stage.
pub struct Selftest;

impl Stage for Selftest {
    fn name(&self) -> &'static str {
        "selftest"
    }

    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError> {
        run::run(ctx)
    }
}
