//! The sequence: halves, mask, band after band until every voxel has its resolution. Rank 0 does all of it.

use super::local_fsc::{Crossings, Pair, bands};
use super::report;
use crate::half_maps::Halves;
use crate::{Ctx, StageError};
use ndarray::Array3;
use vitreous_formats::mrc;
use vitreous_jobs::estimate_local_resolution::EstimateLocalResolution;
use vitreous_model::event::EventKind;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::params::Validate;
use vitreous_model::report::Report;

/// Name of the resolution map in the job's folder.
const FILE: &str = "local_resolution.mrc";
/// Fewest wavelengths that the box holds in the lowest band.
const FEWEST_WAVES: f64 = 3.0;
/// A voxel belongs to the structure if the mask is at least this there.
const INSIDE: f32 = 0.5;

/// What came out.
pub struct Measured {
    /// Å at every voxel, `[n, n, n]`; 0 outside the mask.
    pub resolution_a: Array3<f32>,
    /// The coarsest and the finest resolution that could be found, Å.
    pub limits_a: [f64; 2],
}

/// Does the job.
///
/// # Errors
/// Half maps or a mask that are missing, broken or do not fit; a mask that is empty; asked to stop; files that cannot be
/// written.
pub fn run(ctx: &Ctx<'_>) -> Result<Report, StageError> {
    let params: EstimateLocalResolution = ctx.params()?;
    params.validate()?;
    if !ctx.is_root() {
        return Ok(Report::new(""));
    }
    let halves = Halves::read(ctx.input("volume")?)?;
    let mask = mask_of(ctx, &params, &halves)?;
    let measured = measure(ctx, &params, &halves, &mask)?;
    let pixel_a = halves.pixel_a;
    for (slot, kind, file, map) in [
        ("local-resolution", Kind::LocalResolution, FILE, &measured.resolution_a),
        ("mask", Kind::Mask, "mask.mrc", &mask),
    ] {
        ctx.create_at_path(file, |path| mrc::write_volume(path, map, pixel_a).map_err(StageError::writing))?;
        ctx.output(Output {
            pixel_size_a: Some(pixel_a),
            box_px: Some(halves.n() as u32),
            ..Output::new(slot, kind, file, 1)
        });
    }
    Ok(report::report(&params, &measured, &halves, &mask))
}

/// The mask given, that of the volume, or one made from the halves.
fn mask_of(
    ctx: &Ctx<'_>,
    params: &EstimateLocalResolution,
    halves: &Halves,
) -> Result<Array3<f32>, StageError> {
    let of_volume = || ctx.optional_input("volume").and_then(|volume| volume.parts.get("mask"));
    let Some(path) = ctx.optional_input("mask").map(|input| &input.path).or_else(of_volume) else {
        return halves.automatic_mask(params.mask_level, params.mask_extend, params.mask_edge);
    };
    let mask = halves.mask(path)?;
    if mask.iter().any(|&value| value >= INSIDE) {
        return Ok(mask);
    }
    Err(StageError::input(
        format!("{}: no voxel of the mask is {INSIDE} or more, expected a mask from 0 to 1", path.display()),
        "give a mask of the structure (make-mask), or none",
    ))
}

fn measure(
    ctx: &Ctx<'_>,
    params: &EstimateLocalResolution,
    halves: &Halves,
    mask: &Array3<f32>,
) -> Result<Measured, StageError> {
    let edge_a = halves.n() as f64 * halves.pixel_a;
    let bands = bands(halves.n(), (edge_a / params.lowest_resolution).max(FEWEST_WAVES));
    ctx.say(EventKind::Phase { name: "bands".into(), total: bands.len() as u64 });
    let pair = Pair::new(&halves.maps, mask.view());
    let mut crossings = Crossings::new(params.threshold, &mask.mapv(|value| value >= INSIDE));
    for (done, &radius) in bands.iter().enumerate() {
        ctx.check_stop()?;
        if !crossings.add(radius, pair.fsc(radius, params.window)) {
            break;
        }
        ctx.say(EventKind::Progress { done: done as u64 + 1, total: bands.len() as u64 });
    }
    let limits = [bands[0], bands[bands.len() - 1]];
    let in_angstroms = |radius: f32| if radius > 0.0 { (edge_a / f64::from(radius)) as f32 } else { 0.0 };
    Ok(Measured {
        resolution_a: crossings.finish(limits[1]).mapv_into(in_angstroms),
        limits_a: limits.map(|radius| edge_a / radius),
    })
}
