//! `import-particles`: particles from files of RELION, CryoSPARC, cisTEM or Frealign; images stay where they are.

mod dataset;
mod parameters;
mod places;
mod report;
mod roots;
mod run;

#[cfg(test)]
mod source_tests;
#[cfg(test)]
mod tests;

use crate::{Ctx, Stage, StageError};
use vitreous_model::report::Report;

/// The stage.
pub struct ImportParticles;

impl Stage for ImportParticles {
    fn name(&self) -> &'static str {
        "import-particles"
    }

    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError> {
        run::run(ctx)
    }
}
