//! What is told of a set whose images were written anew.

use crate::Ctx;
use crate::particle_sets::figures::{Sample, spectra};
use std::collections::HashSet;
use vitreous_model::particle::ParticleSet;
use vitreous_model::report::Report;

/// Numbers of the new set, and how much disk old and new stacks take; `old` and `new` share nothing but particles.
pub(crate) fn start(ctx: &Ctx<'_>, title: &str, old: &ParticleSet, new: &ParticleSet) -> Report {
    let mut report = Report::new(title);
    let left_out = old.particles.len() - new.particles.len();
    report.number("particles", "Particles", new.particles.len() as f64, "");
    report.number("left_out", "Left out, their images unreadable", left_out as f64, "");
    report.number("box_px", "Box", f64::from(new.box_px), "px");
    report.number("pixel_size_A", "Pixel size", new.pixel_size_a, "Å");
    let [(files, size), (new_files, new_size)] = [old, new].map(|set| on_disk(ctx, set));
    report.number("stacks", "Stacks", new_files as f64, "");
    report.number("size_MiB", "Size of the stacks", new_size, "MiB");
    report.number("old_stacks", "Stacks they were in before", files as f64, "");
    report.number("old_size_MiB", "Size of those", size, "MiB");
    report
}

/// Number and size in MiB of the stacks of a set that are there.
fn on_disk(ctx: &Ctx<'_>, set: &ParticleSet) -> (usize, f64) {
    let paths: HashSet<&str> = set.particles.iter().map(|particle| particle.stack_path.as_str()).collect();
    let sizes = paths.iter().filter_map(|path| std::fs::metadata(ctx.resolve(path)).ok());
    (paths.len(), sizes.map(|meta| meta.len() as f64).sum::<f64>() / f64::from(1 << 20))
}

/// Rows of the same particles before and after, and the spectra of both.
pub(crate) fn pictures(ctx: &Ctx<'_>, report: &mut Report, old: &ParticleSet, new: &ParticleSet) {
    // those that were left out have no picture in either row
    let kept: HashSet<u64> = new.particles.iter().map(|particle| particle.id).collect();
    let same = old.particles.iter().filter(|particle| kept.contains(&particle.id)).cloned().collect();
    let old = ParticleSet { particles: same, optics: Vec::new(), ..*old };
    let (before, after) = (Sample::of(ctx, &old), Sample::of(ctx, new));
    let title = format!("Spectra of {} images", after.len());
    report.figures.extend(before.row("before", "Before"));
    report.figures.extend(after.row("after", "After"));
    report.figures.extend(spectra("spectra", &title, &[("Before".into(), before), ("After".into(), after)]));
}
