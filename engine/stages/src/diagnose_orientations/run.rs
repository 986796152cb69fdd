//! Reads poses and halves; rank 0 does all of it.

use super::report::{self, Cones};
use crate::{Ctx, StageError, cubic_map};
use ndarray::Array3;
use std::path::Path;
use vitreous_compute::fourier::HalfVolume;
use vitreous_compute::fsc::fsc;
use vitreous_compute::orientations::{Sampling, cells, conical_fsc};
use vitreous_formats::table;
use vitreous_jobs::diagnose_orientations::DiagnoseOrientations;
use vitreous_model::event::EventKind;
use vitreous_model::params::Validate;
use vitreous_model::pose::Rotation;
use vitreous_model::report::Report;

/// Bands and sectors of the directions that halves are compared along: cells of about 15°, smaller than a cone.
pub const CONE_CELLS: (usize, usize) = (12, 24);

/// Does the job.
///
/// # Errors
/// Particles without poses, a volume without halves, maps that do not fit each other.
pub fn run(ctx: &Ctx<'_>) -> Result<Report, StageError> {
    let params: DiagnoseOrientations = ctx.params()?;
    params.validate()?;
    if !ctx.is_root() {
        return Ok(Report::new(""));
    }
    let input = ctx.input("particles")?;
    let set = table::particles::read(&input.path)?;
    let rotations: Vec<Rotation> =
        set.particles.iter().filter_map(|p| p.pose.map(|pose| pose.rotation)).collect();
    if rotations.is_empty() {
        return Err(StageError::input(
            format!("{}: no particle has a pose", input.path.display()),
            "give particles that a refinement made",
        ));
    }
    ctx.say(EventKind::Phase { name: "views".into(), total: 0 });
    let sampling = Sampling::of(rotations.iter().copied(), &params.symmetry.rotations());
    let cones = cones(ctx, &params)?;
    Ok(report::report(&params, &sampling, rotations.len(), set.particles.len(), cones.as_ref()))
}

/// The comparison of the volume's halves along all directions; `None` without a volume.
fn cones(ctx: &Ctx<'_>, params: &DiagnoseOrientations) -> Result<Option<Cones>, StageError> {
    let Some(volume) = ctx.optional_input("volume") else { return Ok(None) };
    let (Some(first), Some(second)) = (volume.parts.get("half1"), volume.parts.get("half2")) else {
        return Err(StageError::input(
            format!("the volume of {} has no half maps", volume.job),
            "give the volume of a refinement or of reconstruct",
        ));
    };
    ctx.say(EventKind::Phase { name: "conical FSC".into(), total: 0 });
    let (half, voxel_a) = cube(first)?;
    let mask = match ctx.optional_input("mask").map(|input| &input.path).or_else(|| volume.parts.get("mask"))
    {
        None => Array3::ones(half.dim()),
        Some(path) => same_box(path, &half)?,
    };
    let other = same_box(second, &half)?;
    let [a, b] = [&half, &other].map(|map| HalfVolume::of_box((map * &mask).view()));
    let (bands, sectors) = CONE_CELLS;
    // opposite directions are one
    let directions = &cells(bands, sectors)[..bands * sectors / 2];
    let whole = fsc(&a, &b);
    let mut curves = conical_fsc(&a, &b, directions, params.cone_half_angle.to_radians());
    // small shells have no coefficient in some cones: what holds for all directions holds for them
    for curve in &mut curves {
        curve.iter_mut().zip(&whole).filter(|(own, _)| own.is_nan()).for_each(|(own, all)| *own = *all);
    }
    let edge_a = half.dim().0 as f64 * volume.output.pixel_size_a.unwrap_or(voxel_a);
    Ok(Some(Cones { whole, curves, edge_a }))
}

/// A cubic map and its voxel size, Å.
fn cube(path: &Path) -> Result<(Array3<f32>, f64), StageError> {
    let volume = cubic_map::read(path)?;
    Ok((volume.data, volume.voxel_a))
}

/// A map on the box of another.
fn same_box(path: &Path, like: &Array3<f32>) -> Result<Array3<f32>, StageError> {
    let (map, _) = cube(path)?;
    if map.dim() == like.dim() {
        return Ok(map);
    }
    Err(StageError::input(
        format!("{}: a box of {}, the half map has {}", path.display(), map.dim().0, like.dim().0),
        "give maps of one box",
    ))
}
