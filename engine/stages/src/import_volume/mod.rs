//! `import-volume`: a map made elsewhere, brought to the box and pixel size it is needed in.

mod group;
mod report;
mod run;

#[cfg(test)]
mod tests;

use crate::{Ctx, Stage, StageError};
use vitreous_model::report::Report;

/// The stage.
#[derive(Debug, Clone, Copy)]
pub struct ImportVolume;

impl Stage for ImportVolume {
    fn name(&self) -> &'static str {
        "import-volume"
    }

    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError> {
        run::run(ctx)
    }
}
