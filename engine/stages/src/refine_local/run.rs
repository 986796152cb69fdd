//! From the job's parameters to the engine's settings.

use crate::refinement::{Engine, Locality, Settings, rigid};
use crate::{Ctx, StageError};
use vitreous_jobs::refine_local::RefineLocal;
use vitreous_jobs::refinement::{Masking, Search};
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::report::Report;

/// Step of a search over directions that is never made; a turn of half of it counts as a jump.
const STEP_DEG: f64 = 7.5;

fn settings(params: &RefineLocal) -> Result<Settings, BadParam> {
    let locality = Locality {
        rotation_sigma_rad: params.rotation_prior.to_radians(),
        shift_sigma_a: params.shift_prior,
        fulcrum_a: params.fulcrum_a()?,
    };
    Ok(Settings {
        symmetry: params.symmetry,
        classes: 1,
        initial_lowpass_a: params.initial_lowpass,
        finest_a: None,
        diameter_a: params.diameter,
        max_iterations: params.max_iterations,
        search: Search::Local,
        angular_step_deg: STEP_DEG,
        shift_range_a: params.shift_prior,
        masking: Masking::Sphere,
        locality: Some(locality),
        regularisation: params.regularisation,
        amplitudes: params.amplitudes,
        modes: 1,
        padding: params.padding,
        curvature: params.ewald.curvature(),
        join_halves_below_a: params.join_halves_below,
        keep_half_sets: params.keep_half_sets,
        seed: params.seed,
        image_cache_gib: params.image_cache,
        max_bad_fraction: params.max_bad_fraction,
    })
}

pub(super) fn run<D: Engine>(ctx: &Ctx<'_>, device: &D) -> Result<Report, StageError> {
    let params: RefineLocal = ctx.params()?;
    params.validate()?;
    // asked for before particles are read, which takes its time
    ctx.input("mask")?;
    rigid::run(ctx, device, &settings(&params)?)
}
