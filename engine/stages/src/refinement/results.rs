//! What comes of a refinement: maps at full size, the particles, the files.

use super::chunks::Chunks;
use super::data::Data;
use super::maximisation::{Accumulation, HalfMaps};
use super::state::State;
use super::{Engine, Settings};
use crate::{Ctx, StageError};
use ndarray::Array3;
use vitreous_formats::mrc::write_volume_to;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::particle::{ClassAssignment, ParticleSet};

/// Maps of one class from all frequencies at the final poses, on rank 0; `None` on others.
///
/// # Errors
/// Images that fail.
pub fn final_maps<D: Engine>(
    ctx: &Ctx<'_>,
    device: &D,
    data: &Data,
    settings: &Settings,
    chunks: &Chunks<'_>,
    state: &State,
    class: usize,
) -> Result<Option<HalfMaps>, StageError> {
    let mut accumulation =
        Accumulation::new(device, data, settings, state, data.geometry.n, class..class + 1)?;
    chunks.for_each(ctx, chunks.count(), |chunk, images| {
        let range = chunks.range(chunk);
        accumulation.add(range.clone(), images, &state.particles[range])
    })?;
    let grids = accumulation.collect(ctx)?.pop();
    let of_root = grids.filter(|_| ctx.is_root());
    Ok(of_root.map(|grids| HalfMaps::new(ctx, data, settings, grids, state.resolved)))
}

/// The particle set with the new poses; unfit particles are left out.
pub fn refined_set(data: &Data, state: &State) -> ParticleSet {
    let refined = |(which, &index): (usize, &usize)| {
        let mut particle = data.set.particles[index].clone();
        let found = &state.particles[which];
        particle.pose = Some(found.pose());
        particle.log_likelihood = found.log_likelihood;
        particle.half = Some(data.halves[which]);
        if let (true, Some(best)) = (state.classes.len() > 1, found.modes.first()) {
            particle.class = Some(ClassAssignment { number: best.class as u32 + 1, probability: best.share });
        }
        particle
    };
    ParticleSet { particles: data.usable.iter().enumerate().map(refined).collect(), ..data.set.clone() }
}

/// Writes a map, its halves and its mask, named with `suffix`, and returns them as an output for `slot`.
///
/// # Errors
/// Files that cannot be written.
pub fn write_volume(
    ctx: &Ctx<'_>,
    data: &Data,
    maps: &HalfMaps,
    combined: &Array3<f32>,
    slot: &str,
    suffix: &str,
) -> Result<Output, StageError> {
    let pixel_a = data.geometry.pixel_size_a;
    let [map, half1, half2, mask] =
        ["map", "half1", "half2", "mask"].map(|name| format!("{name}{suffix}.mrc"));
    let volumes = [(&map, combined), (&half1, &maps.plain[0]), (&half2, &maps.plain[1]), (&mask, &maps.mask)];
    for (name, volume) in volumes {
        let path = ctx.job_dir.join(name);
        ctx.create(name, |out| write_volume_to(out, &path, volume, pixel_a, [0.0; 3]))?;
    }
    let mut volume = sized(data, Output::new(slot, Kind::Volume, &map, 1));
    for (role, file) in [("half1", half1), ("half2", half2), ("mask", mask)] {
        volume.parts.insert(role.into(), file);
    }
    Ok(volume)
}

/// An output with the images' pixel size and box.
pub fn sized(data: &Data, output: Output) -> Output {
    Output { pixel_size_a: Some(data.geometry.pixel_size_a), box_px: Some(data.geometry.n as u32), ..output }
}
