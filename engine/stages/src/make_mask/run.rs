//! The sequence: read the map, mask it, write the mask. Rank 0 does all of it; it takes seconds.

use super::report;
use crate::{Ctx, StageError, cubic_map};
use ndarray::Array3;
use vitreous_compute::mask::{AutoMask, Level, Masked, USUAL_LEVEL, auto_mask};
use vitreous_formats::mrc;
use vitreous_jobs::make_mask::MakeMask;
use vitreous_model::event::EventKind;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::report::Report;

/// Name of the mask in the job's folder.
const FILE: &str = "mask.mrc";

/// Does the job.
///
/// # Errors
/// A map that is broken, no cube, or nowhere above the level; a file that cannot be written.
pub fn run(ctx: &Ctx<'_>) -> Result<Report, StageError> {
    let params: MakeMask = ctx.params()?;
    if !ctx.is_root() {
        return Ok(Report::new("Mask"));
    }
    let input = ctx.input("volume")?;
    let volume = cubic_map::read(&input.path)?;
    let voxel_a = input.output.pixel_size_a.unwrap_or(volume.voxel_a);
    ctx.say(EventKind::Phase { name: "mask".into(), total: 0 });
    let mut masked = auto_mask(volume.data.view(), &settings(&params, volume.data.dim().0, voxel_a))
        .map_err(|error| {
            StageError::input(
                format!("{}: {error}", input.path.display()),
                "give another --level or --low-pass",
            )
        })?;
    if params.invert {
        masked.mask.mapv_inplace(|value| 1.0 - value);
    }
    write(ctx, &masked.mask, voxel_a)?;
    Ok(report::report(&volume.data, &masked, &params, voxel_a))
}

fn settings(params: &MakeMask, box_px: usize, voxel_a: f64) -> AutoMask {
    AutoMask {
        low_pass_radius: if params.low_pass > 0.0 {
            box_px as f64 * voxel_a / params.low_pass
        } else {
            f64::INFINITY
        },
        level: params.level.map_or(Level::OfHigh(USUAL_LEVEL), Level::Density),
        least_part: params.least_part,
        extend_px: params.extend / voxel_a,
        edge_px: params.edge / voxel_a,
    }
}

fn write(ctx: &Ctx<'_>, mask: &Array3<f32>, voxel_a: f64) -> Result<(), StageError> {
    ctx.create_at_path(FILE, |path| mrc::write_volume(path, mask, voxel_a))?;
    let mut output = Output::new("mask", Kind::Mask, FILE, 1);
    output.pixel_size_a = Some(voxel_a);
    output.box_px = Some(mask.dim().0 as u32);
    ctx.output(output);
    Ok(())
}

/// Voxels of the structure itself, without extension and edge.
pub(super) fn structure_voxels(masked: &Masked) -> usize {
    masked.parts[..masked.kept].iter().sum()
}
