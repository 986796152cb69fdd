//! The sequence: maps and masks, scales of a sample, then stack by stack image → image without the part → new stacks, and the
//! table with their new places.

use super::maps::{Parts, output_box};
use super::placing::{Placing, reaches_out};
use super::report::{self, Told};
use super::scales::{ImageSums, Scales};
use super::subtraction::Subtraction;
use crate::image_stacks::{Form, Rewriting, stamp};
use crate::items::for_each_item;
use crate::ranks::share_records;
use crate::{Ctx, StageError, particle_sets};
use rayon::prelude::*;
use std::collections::HashMap;
use vitreous_formats::table;
use vitreous_jobs::subtract_signal::SubtractSignal;
use vitreous_model::aberrations::Aberrations;
use vitreous_model::event::EventKind;
use vitreous_model::params::Validate;
use vitreous_model::particle::{Particle, ParticleSet};
use vitreous_model::report::Report;

/// Images from which usual scale and noise are found: their mean is good to a percent or better.
const SAMPLE: usize = 512;

/// The stage.
pub(super) fn run(ctx: &Ctx<'_>) -> Result<Report, StageError> {
    let params: SubtractSignal = ctx.params()?;
    params.validate()?;
    let set = table::particles::read(&ctx.input("particles")?.path)?;
    let output_box = output_box(&params, set.box_px)?;
    let parts = Parts::load(ctx, &params, &set)?;
    let centre_a = if params.recentre { parts.kept_centre_a(set.pixel_size_a) } else { [0.0; 3] };
    let placing = params.recentre.then_some(Placing { centre_a, pixel_size_a: set.pixel_size_a });
    let pixels = micrograph_pixels(ctx, &params, &set)?;
    let form = Form {
        box_px: output_box,
        pixel_size_a: set.pixel_size_a,
        float16: params.float16,
        images_per_stack: params.images_per_stack,
    };
    let mut rewriting = Rewriting::of_corrected(ctx, &set, form);
    leave_out_unfit(&mut rewriting, &set, pixels.as_ref());
    let projectors = parts.projectors(&params, &set);
    let mut subtraction =
        Subtraction { set: &set, projectors: &projectors, scales: None, placing, output_box };
    if params.fit_scale {
        subtraction.scales = scales(ctx, &rewriting, &subtraction)?;
    }
    let items = rewriting.items(ctx, &settings(ctx, &params));
    // how many images may be bad is judged over the whole set
    let outcomes = for_each_item(ctx, "stacks", &items, 1.0, |index| {
        rewriting.write(ctx, index, &|index, image| subtraction.apply(index, image))
    })?;
    if !ctx.is_root() {
        return Ok(Report::new(""));
    }
    let mut new = rewriting.collect(ctx, &outcomes, params.max_bad_fraction)?;
    for group in &mut new.optics {
        // the images were freed of the others
        group.aberrations = Aberrations { even: group.aberrations.even, ..Aberrations::default() };
    }
    let mut outside = 0;
    if let Some(placing) = placing {
        for particle in &mut new.particles {
            let moved_px = recentred(particle, &placing, pixels.as_ref());
            outside += usize::from(reaches_out(set.box_px as usize, output_box, moved_px));
        }
    }
    particle_sets::write(ctx, "particles", &new)?;
    parts.write_kept(ctx, output_box, centre_a, set.pixel_size_a)?;
    let told = Told { scales: subtraction.scales.as_ref(), band_px: projectors.band_px, centre_a, outside };
    Ok(report::report(ctx, &params, &parts, &set, &new, &told))
}

/// What makes all stacks be written anew when it changes, beside their images.
fn settings(ctx: &Ctx<'_>, params: &SubtractSignal) -> String {
    let inputs = ["particles", "volume", "mask"].into_iter().filter_map(|slot| ctx.optional_input(slot));
    let stamps: Vec<String> = inputs
        .flat_map(|input| std::iter::once(&input.path).chain(input.parts.values()))
        .map(|path| stamp(ctx, &path.to_string_lossy()))
        .collect();
    format!("{params:?} {stamps:?}")
}

/// Leaves out the particles whose signal cannot be told.
fn leave_out_unfit(rewriting: &mut Rewriting<'_>, set: &ParticleSet, pixels: Option<&HashMap<String, f64>>) {
    // without any CTF the images are taken as they are; a mixture is a mistake
    let any_ctf = set.particles.iter().any(|particle| particle.ctf.is_some());
    for (index, particle) in set.particles.iter().enumerate() {
        let unknown =
            particle.pick.as_ref().filter(|pick| pixels.is_some_and(|of| !of.contains_key(&pick.exposure)));
        if particle.pose.is_none() {
            rewriting.leave_out(index, "it has no pose; refine the particles first");
        } else if any_ctf && particle.ctf.is_none() {
            rewriting.leave_out(index, "its CTF was never estimated");
        } else if let Some(pick) = unknown {
            rewriting.leave_out(index, format!("its micrograph {} is not among those given", pick.exposure));
        }
    }
}

/// Pixel sizes of the micrographs by name, Å; `None` where places on micrographs do not change or are not known.
///
/// # Errors
/// They change, and no micrographs were given, or their table cannot be read.
fn micrograph_pixels(
    ctx: &Ctx<'_>,
    params: &SubtractSignal,
    set: &ParticleSet,
) -> Result<Option<HashMap<String, f64>>, StageError> {
    let Some(pick) = set.particles.iter().find_map(|particle| particle.pick.as_ref()) else {
        return Ok(None);
    };
    if !params.recentre {
        return Ok(None);
    }
    let Some(input) = ctx.optional_input("micrographs") else {
        return Err(StageError::input(
            format!(
                "particles lie on micrographs (the first on {}), and their new places need the micrographs' pixel size",
                pick.exposure
            ),
            "give the micrographs that the particles were extracted from: --micrographs J3",
        ));
    };
    let exposures = table::exposures::read(&input.path)?.exposures.into_iter();
    Ok(Some(exposures.filter_map(|e| Some((e.name, e.micrograph?.pixel_size_a))).collect()))
}

/// Gives a particle its pose and place in its new box; returns by how many pixels of its image that moved.
fn recentred(particle: &mut Particle, placing: &Placing, pixels: Option<&HashMap<String, f64>>) -> [i64; 2] {
    let Some(pose) = particle.pose else { return [0, 0] };
    let placed = placing.of(pose);
    particle.pose = Some(placed.pose);
    let pixel_a = particle.pick.as_ref().and_then(|pick| pixels?.get(&pick.exposure));
    if let (Some(pick), Some(pixel_a)) = (&mut particle.pick, pixel_a) {
        let [x, y] = placed.moved_px.map(|px| px as f64 * placing.pixel_size_a / pixel_a);
        pick.x_px += x;
        pick.y_px += y;
    }
    placed.moved_px
}

/// The scales of the set from a sample spread over it; the same on every rank. `None` for an empty set.
///
/// # Errors
/// The images do not resemble the map.
fn scales(
    ctx: &Ctx<'_>,
    rewriting: &Rewriting<'_>,
    subtraction: &Subtraction<'_>,
) -> Result<Option<Scales>, StageError> {
    let fit: Vec<usize> =
        (0..subtraction.set.particles.len()).filter(|&index| rewriting.is_fit(index)).collect();
    let step = fit.len().div_ceil(SAMPLE).max(1);
    let sample = fit.into_iter().step_by(step);
    let mine: Vec<usize> = sample.skip(ctx.comm.rank()).step_by(ctx.comm.size()).collect();
    ctx.say(EventKind::Phase { name: "scales".into(), total: 0 });
    let sums = |&index: &usize| Some(subtraction.sums(index, rewriting.read(index).ok()?.view()));
    let mine: Vec<ImageSums> = mine.par_iter().filter_map(sums).collect();
    let mut all = share_records(ctx, &mine)?;
    all.sort_by_key(|sums| sums.index);
    let scales = Scales::of(&all);
    if scales.is_none() && !all.is_empty() {
        return Err(StageError::input(
            format!(
                "the images do not resemble the map: over {} of them its fitted scale is not positive",
                all.len()
            ),
            "give the map that the poses of these particles belong to, of the same hand and contrast",
        ));
    }
    Ok(scales)
}
