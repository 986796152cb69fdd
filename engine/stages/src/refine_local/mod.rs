//! `refine-local`: see README.md in this folder.

mod run;

#[cfg(test)]
mod tests;

use crate::{Ctx, Stage, StageError};
use vitreous_model::report::Report;

/// The stage.
pub struct RefineLocal;

impl Stage for RefineLocal {
    fn name(&self) -> &'static str {
        "refine-local"
    }

    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError> {
        run::run(ctx, ctx.device)
    }
}
