//! `refine-homogeneous`: see README.md in this folder.

#[cfg(test)]
mod tests;

use crate::refinement::rigid;
use crate::{Ctx, Stage, StageError};
use vitreous_jobs::refinement::Regularisation;
use vitreous_model::params::Validate;
use vitreous_model::report::Report;

/// The stage.
pub struct RefineHomogeneous;

impl Stage for RefineHomogeneous {
    fn name(&self) -> &'static str {
        "refine-homogeneous"
    }

    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError> {
        let params: vitreous_jobs::refine_homogeneous::RefineHomogeneous = ctx.params()?;
        params.validate()?;
        rigid::run(ctx, ctx.device, &rigid::settings(&params, Regularisation::ByShell))
    }
}
