//! `export-deposition`: what the EMDB asks for. The README of this folder says what is written.

mod history;
mod maps;
mod methods;
mod report;
mod run;
mod table;

#[cfg(test)]
mod tests;

use crate::{Ctx, Stage, StageError};
use vitreous_model::report::Report;

/// The stage.
pub struct ExportDeposition;

impl Stage for ExportDeposition {
    fn name(&self) -> &'static str {
        "export-deposition"
    }

    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError> {
        run::run(ctx)
    }
}
