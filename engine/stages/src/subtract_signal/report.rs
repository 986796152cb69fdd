//! What is told of a subtraction.

use super::maps::Parts;
use super::scales::Scales;
use crate::image_stacks::report as stacks;
use crate::{Ctx, map_figures};
use vitreous_jobs::subtract_signal::SubtractSignal;
use vitreous_model::particle::ParticleSet;
use vitreous_model::report::Report;

/// One image tells little of its scale if the error is more than this share of the usual one.
const SURE: f64 = 0.5;

/// What the sequence found.
pub(super) struct Told<'a> {
    /// Scales, if they were fitted.
    pub scales: Option<&'a Scales>,
    /// Where the band ends, Fourier pixels.
    pub band_px: f64,
    /// Centre of the kept part, Å from the centre of the box; zero without recentring.
    pub centre_a: [f64; 3],
    /// Images whose new box reaches beyond the old one.
    pub outside: usize,
}

/// The report.
pub(super) fn report(
    ctx: &Ctx<'_>,
    params: &SubtractSignal,
    parts: &Parts,
    set: &ParticleSet,
    new: &ParticleSet,
    told: &Told<'_>,
) -> Report {
    let title = format!("{} particles without a part of their map", new.particles.len());
    let mut report = stacks::start(ctx, &title, set, new);
    let pixel_a = set.pixel_size_a;
    report.number(
        "band_A",
        "Finest resolution of what was subtracted",
        f64::from(set.box_px) * pixel_a / told.band_px,
        "Å",
    );
    if let Some(resolution_a) = parts.resolution_a(pixel_a) {
        report.number("halves_A", "Resolution of the halves at FSC 0.143", resolution_a, "Å");
    }
    if let Some(scales) = told.scales {
        report.number("scale", "Usual scale of the map in the images", scales.mean, "");
        report.number("scale_sd", "Standard deviation of the particles' scales", scales.sd, "");
        report.number("scale_error", "Error of one particle's scale by its own image", scales.error, "");
        if scales.error > SURE * scales.mean {
            report.notes.push(
                "One image hardly tells its own scale, so that all were drawn to the usual one; that is as it should be for \
                 small or noisy particles."
                    .into(),
            );
        }
    }
    let share = |mask: &ndarray::Array3<f32>| f64::from(mask.mean().unwrap_or(0.0));
    report.number("subtracted_fraction", "Share of the box subtracted", share(&parts.subtracted), "");
    report.number("kept_fraction", "Share of the box kept", share(&parts.kept), "");
    if params.recentre {
        for (axis, value) in ["x", "y", "z"].into_iter().zip(told.centre_a) {
            let key = format!("centre_{axis}_A");
            report.number(&key, &format!("Centre of the kept part, {axis}"), value, "Å");
        }
        report.number("outside", "Boxes that reach beyond their image", told.outside as f64, "");
    }
    report.notes.extend(notes(parts, set, told));
    let map = &parts.map;
    let slices = |id: &str, title: &str, mask: &ndarray::Array3<f32>| {
        map_figures::slices(id, title, (map * mask).view(), pixel_a)
    };
    report.figures.push(slices("subtracted", "Central slices of the subtracted part", &parts.subtracted));
    report.figures.push(slices("kept", "Central slices of the kept part", &parts.kept));
    stacks::pictures(ctx, &mut report, set, new);
    report.skipped = ctx.skipped();
    report
}

/// What people should know of their inputs.
fn notes(parts: &Parts, set: &ParticleSet, told: &Told<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    let with_half = set.particles.iter().filter(|particle| particle.half.is_some()).count();
    if parts.halves.is_none() && with_half > 0 {
        notes.push(
            "The map has no half maps, so the same was subtracted from both half-sets: a later FSC of the halves may be too good. \
             Give a map of refine-homogeneous or reconstruct."
                .into(),
        );
    }
    if parts.halves.is_some() && with_half < set.particles.len() {
        notes.push(format!(
            "{} particles belong to no half-set; from them the map of all particles was subtracted.",
            set.particles.len() - with_half
        ));
    }
    if set.particles.iter().all(|particle| particle.ctf.is_none()) {
        notes.push("No particle has a CTF; the images were taken as they are.".into());
    }
    if told.outside > 0 {
        notes.push(format!(
            "{} boxes reach beyond their image, which was reflected at its border there. Extract particles in a larger box, or \
             give a smaller output_box.",
            told.outside
        ));
    }
    notes
}
