//! Two tables in, three out. Rank 0 does it alone: it takes seconds.

use super::pairs::{self, Common};
use super::report;
use crate::picking::places::{Pixels, Place};
use crate::{Ctx, StageError, particle_sets};
use vitreous_formats::table;
use vitreous_jobs::intersect_particles::{IntersectParticles, SameBy};
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::particle::ParticleSet;
use vitreous_model::report::Report;

/// The stage.
pub(super) fn run(ctx: &Ctx<'_>) -> Result<Report, StageError> {
    let params: IntersectParticles = ctx.params()?;
    params.validate()?;
    if !ctx.is_root() {
        return Ok(Report::new(""));
    }
    let first = table::particles::read(&ctx.input("particles")?.path)?;
    let second = table::particles::read(&ctx.input("other")?.path)?;
    let (common, unplaced) = match params.by {
        SameBy::Image => {
            (pairs::by_image(&first.particles, &second.particles, &|path| ctx.resolve(path)), [0; 2])
        }
        SameBy::Place => by_place(ctx, &params, [&first, &second])?,
    };
    let pick = |set: &ParticleSet, flags: &[bool], wanted: bool| {
        let indices: Vec<usize> = (0..flags.len()).filter(|&index| flags[index] == wanted).collect();
        particle_sets::part(set, &indices)
    };
    particle_sets::write(ctx, "particles", &pick(&first, &common.first, true))?;
    particle_sets::write(ctx, "only_first", &pick(&first, &common.first, false))?;
    particle_sets::write(ctx, "only_second", &pick(&second, &common.second, false))?;
    Ok(report::make(&params, &common, unplaced))
}

/// Compares places; with the numbers of particles of either set that have none.
fn by_place(
    ctx: &Ctx<'_>,
    params: &IntersectParticles,
    sets: [&ParticleSet; 2],
) -> Result<(Common, [usize; 2]), StageError> {
    let most_a = params.max_distance.ok_or_else(|| BadParam::new("max_distance", "", "is required"))?;
    let pixels = Pixels::of(ctx, params.micrograph_pixel_size)?;
    let [first, second] = sets.map(|set| pixels.places_of(set));
    let (first, second): (Vec<Place<'_>>, Vec<Place<'_>>) = (first?, second?);
    let unplaced = [&first, &second].map(|places| places.iter().filter(|place| place.is_none()).count());
    Ok((pairs::by_place(&first, &second, most_a), unplaced))
}
