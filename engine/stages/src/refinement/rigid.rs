//! The whole job of those that refine one rigid structure: refinement, outputs, report.

use super::chunks::Chunks;
use super::data::Data;
use super::{Engine, Settings, course, results, rigid_report};
use crate::{Ctx, StageError};
use vitreous_formats::table::particles;
use vitreous_jobs::refine_homogeneous::RefineHomogeneous;
use vitreous_jobs::refinement::Regularisation;
use vitreous_model::event::EventKind;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::report::Report;

/// What the parameters of a refinement of the whole structure ask for.
pub fn settings(params: &RefineHomogeneous, regularisation: Regularisation) -> Settings {
    Settings {
        symmetry: params.symmetry,
        classes: 1,
        initial_lowpass_a: params.initial_lowpass,
        finest_a: None,
        diameter_a: params.diameter,
        max_iterations: params.max_iterations,
        search: params.search,
        angular_step_deg: params.angular_step,
        shift_range_a: params.shift_range,
        masking: params.masking,
        locality: None,
        regularisation,
        amplitudes: params.amplitudes,
        modes: params.modes as usize,
        padding: params.padding,
        curvature: params.ewald.curvature(),
        join_halves_below_a: params.join_halves_below,
        keep_half_sets: params.keep_half_sets,
        seed: params.seed,
        image_cache_gib: params.image_cache,
        max_bad_fraction: params.max_bad_fraction,
    }
}

/// Does the job on this rank.
///
/// # Errors
/// Unfit inputs, images that fail, files that cannot be written, a request to stop.
pub fn run<D: Engine>(ctx: &Ctx<'_>, device: &D, settings: &Settings) -> Result<Report, StageError> {
    let data = Data::load(ctx, settings)?;
    let chunks = Chunks::new(&data, settings.image_cache_gib, ctx.comm);
    let state = course::run(ctx, device, &data, settings, &chunks)?;
    ctx.say(EventKind::Phase { name: "final maps".into(), total: data.usable.len() as u64 });
    let Some(maps) = results::final_maps(ctx, device, &data, settings, &chunks, &state, 0)? else {
        return Ok(Report::new(""));
    };
    let combined = maps.combined();
    let set = results::refined_set(&data, &state);
    ctx.output(results::write_volume(ctx, &data, &maps, &combined, "volume", "")?);
    ctx.create_at_path("particles.h5", |path| particles::write(path, &set))?;
    let count = set.particles.len() as u64;
    ctx.output(results::sized(&data, Output::new("particles", Kind::Particles, "particles.h5", count)));
    ctx.output(results::sized(&data, Output::new("mask", Kind::Mask, "mask.mrc", 1)));
    Ok(rigid_report::report(ctx, &data, settings, &state, &maps, &combined))
}
