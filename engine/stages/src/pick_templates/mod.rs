//! `pick-templates`: particles by their likeness to projections of a map or to class averages.
//!
//! [`bank`] makes the templates, [`correlate`] tells how much every place of a micrograph looks like the best of them,
//! [`crate::picking`] finds the particles in that and says where not to look.

mod bank;
mod correlate;
mod report;
mod run;
#[cfg(test)]
mod tests;

use crate::{Ctx, Stage, StageError};
use vitreous_model::report::Report;

/// The stage.
pub struct PickTemplates;

impl Stage for PickTemplates {
    fn name(&self) -> &'static str {
        "pick-templates"
    }

    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError> {
        run::run(ctx, ctx.device)
    }
}
