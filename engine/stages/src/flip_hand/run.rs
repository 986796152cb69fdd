//! The sequence: every map mirrored, every pose turned into that of the mirror image. Rank 0 does all of it.

use crate::{Ctx, Input, StageError, cubic_map, map_figures};
use std::path::Path;
use vitreous_compute::map_alignment::rigid::mirrored;
use vitreous_formats::mrc::{self, Volume};
use vitreous_formats::table;
use vitreous_jobs::flip_hand::FlipHand;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::report::Report;

/// Name of the map in the job's folder.
const MAP: &str = "map.mrc";

/// Does the job.
///
/// # Errors
/// A file that cannot be read or written, or a map that is no cube.
pub fn run(ctx: &Ctx<'_>) -> Result<Report, StageError> {
    let params: FlipHand = ctx.params()?;
    let mut report = Report::new("Mirror image");
    if !ctx.is_root() {
        return Ok(report);
    }
    let input = ctx.input("volume")?;
    let map = flip(ctx, &input.path, MAP)?;
    let mut output =
        Output { path: MAP.into(), slot: "volume".into(), parts: Default::default(), ..input.output.clone() };
    if params.with_parts {
        for (role, path) in &input.parts {
            let file = format!("map_{role}.mrc");
            flip(ctx, path, &file)?;
            output.parts.insert(role.clone(), file);
        }
    }
    report.number("maps", "maps mirrored", 1.0 + output.parts.len() as f64, "");
    report.figures.push(map_figures::slices("slices", "Central slices", map.data.view(), map.voxel_a));
    report.figures.push(map_figures::projections("projections", "Projections", map.data.view(), map.voxel_a));
    ctx.output(output);
    if let Some(particles) = ctx.inputs.get("particles").and_then(|inputs| inputs.first()) {
        report.number("poses", "poses turned", flip_poses(ctx, particles)? as f64, "");
    }
    Ok(report)
}

fn flip(ctx: &Ctx<'_>, path: &Path, file: &str) -> Result<Volume, StageError> {
    let mut volume = cubic_map::read(path)?;
    volume.data = mirrored(volume.data.view());
    ctx.create_at_path(file, |path| mrc::write_volume(path, &volume.data, volume.voxel_a))?;
    Ok(volume)
}

/// Writes the particles with the poses of the mirror image; returns how many had one.
fn flip_poses(ctx: &Ctx<'_>, input: &Input) -> Result<usize, StageError> {
    const FILE: &str = "particles.h5";
    let mut set = table::particles::read(&input.path)?;
    let mut turned = 0;
    for pose in set.particles.iter_mut().filter_map(|particle| particle.pose.as_mut()) {
        pose.rotation = pose.rotation.of_mirrored_map();
        turned += 1;
    }
    ctx.create_at_path(FILE, |path| table::particles::write(path, &set))?;
    let mut output = Output::new("particles", Kind::Particles, FILE, set.particles.len() as u64);
    output.pixel_size_a = Some(set.pixel_size_a);
    output.box_px = Some(set.box_px);
    ctx.output(output);
    Ok(turned)
}
