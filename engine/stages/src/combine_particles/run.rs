//! Sets in, their union out. Rank 0 does it alone: it takes seconds.

use super::report;
use super::union::{self, Named};
use crate::{Ctx, StageError, particle_sets};
use vitreous_formats::table;
use vitreous_jobs::combine_particles::CombineParticles;
use vitreous_model::report::Report;

/// The stage.
pub(super) fn run(ctx: &Ctx<'_>) -> Result<Report, StageError> {
    let params: CombineParticles = ctx.params()?;
    let inputs = ctx.inputs.get("particles").map_or(&[][..], Vec::as_slice);
    if inputs.len() < 2 {
        return Err(StageError::input(
            format!("{} particle set is given, and there is nothing to combine it with", inputs.len()),
            "name several jobs: --particles J1 --particles J2",
        ));
    }
    if !ctx.is_root() {
        return Ok(Report::new(""));
    }
    let mut sets = Vec::with_capacity(inputs.len());
    for input in inputs {
        let name = match input.output.slot.as_str() {
            "particles" => input.job.clone(),
            slot => format!("{}.{slot}", input.job),
        };
        sets.push(Named { name, set: table::particles::read(&input.path)? });
    }
    let samples = report::samples(ctx, &sets);
    let sizes: Vec<(String, usize)> =
        sets.iter().map(|named| (named.name.clone(), named.set.particles.len())).collect();
    let union = union::of(sets, params.merge_optics, &|path| ctx.resolve(path))?;
    particle_sets::write(ctx, "particles", &union.set)?;
    Ok(report::make(&sizes, &union, &samples))
}
