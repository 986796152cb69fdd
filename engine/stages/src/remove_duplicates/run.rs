//! Particles in, without duplicates out. Every rank reads them (that is quick), rank 0 writes.

use super::report;
use crate::picking::places::{Pixels, best_of_each, merits};
use crate::{Ctx, StageError, particle_sets};
use vitreous_formats::table;
use vitreous_jobs::remove_duplicates::RemoveDuplicates;
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::report::Report;

/// The stage.
pub(super) fn run(ctx: &Ctx<'_>) -> Result<Report, StageError> {
    let params: RemoveDuplicates = ctx.params()?;
    params.validate()?;
    let distance_a = params.min_distance.ok_or_else(|| BadParam::new("min_distance", "", "is required"))?;
    let pixels = Pixels::of(ctx, params.micrograph_pixel_size)?;
    let set = table::particles::read(&ctx.input("particles")?.path)?;
    if !ctx.is_root() {
        return Ok(Report::new(""));
    }
    let places = pixels.places_of(&set)?;
    let stays = best_of_each(&places, &merits(set.particles.iter()), distance_a);
    let report = report::make(&places, &stays, distance_a);
    let kept: Vec<usize> = (0..stays.len()).filter(|&index| stays[index]).collect();
    particle_sets::write(ctx, "particles", &particle_sets::part(&set, &kept))?;
    Ok(report)
}
