//! `export-cryosparc`: particles, micrographs and maps as datasets and groups of CryoSPARC; images stay where they are.

mod paths;
mod run;

#[cfg(test)]
mod exchange_tests;
#[cfg(test)]
mod tests;

use crate::{Ctx, Stage, StageError};
use vitreous_model::report::Report;

/// The stage.
pub struct ExportCryosparc;

impl Stage for ExportCryosparc {
    fn name(&self) -> &'static str {
        "export-cryosparc"
    }

    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError> {
        run::run(ctx)
    }
}
