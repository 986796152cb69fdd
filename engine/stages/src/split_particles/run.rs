//! One table in, several out. Rank 0 does it alone: it takes seconds.

use super::{parts, report};
use crate::{Ctx, StageError, particle_sets};
use vitreous_formats::table;
use vitreous_jobs::split_particles::SplitParticles;
use vitreous_model::params::Validate;
use vitreous_model::report::Report;

/// The stage.
pub(super) fn run(ctx: &Ctx<'_>) -> Result<Report, StageError> {
    let params: SplitParticles = ctx.params()?;
    params.validate()?;
    if !ctx.is_root() {
        return Ok(Report::new(""));
    }
    let set = table::particles::read(&ctx.input("particles")?.path)?;
    let parts = parts::of(&set.particles, &params)?;
    for (index, part) in parts.iter().enumerate() {
        let slot = format!("particles_{}", index + 1);
        particle_sets::write(ctx, &slot, &particle_sets::part(&set, &part.members))?;
    }
    Ok(report::make(&set, &parts))
}
