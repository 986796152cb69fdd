//! What each set has contributed, and whether their images are alike.

use super::union::{Named, Union};
use crate::Ctx;
use crate::particle_sets::figures::{Sample, spectra};
use serde_json::json;
use vitreous_model::particle::Particle;
use vitreous_model::report::Report;

/// Sets whose images are shown: more curves in one plot nobody tells apart.
const SHOWN_SETS: usize = 8;

/// Some images of the sets, by name.
pub(super) fn samples(ctx: &Ctx<'_>, sets: &[Named]) -> Vec<(String, Sample)> {
    let shown = sets.iter().take(SHOWN_SETS);
    shown.map(|named| (named.name.clone(), Sample::of(ctx, &named.set))).collect()
}

/// The report; `sizes` are names and numbers of particles of the sets.
pub(super) fn make(sizes: &[(String, usize)], union: &Union, samples: &[(String, Sample)]) -> Report {
    let particles = &union.set.particles;
    let known: usize = union.known.iter().sum();
    let mut report = Report::new(format!("{} particles of {} sets", particles.len(), sizes.len()));
    report.number("particles", "Particles", particles.len() as f64, "");
    report.number("duplicates", "Images that were in several sets, taken once", known as f64, "");
    report.number("sets", "Sets", sizes.len() as f64, "");
    report.number("optics_groups", "Optics groups", union.set.optics.len() as f64, "");
    report.number(
        "merged_groups",
        "Optics groups equal to one of another set",
        union.merged_groups as f64,
        "",
    );
    report.number("renumbered", "Particles with a new number", union.renumbered as f64, "");
    report.number("box_px", "Box", f64::from(union.set.box_px), "px");
    report.number("pixel_size_A", "Pixel size", union.set.pixel_size_a, "Å");
    for ((name, size), known) in sizes.iter().zip(&union.known).filter(|(_, known)| **known > 0) {
        report.notes.push(format!(
            "{name}: {known} of its {size} images were in the sets before it, or twice in it."
        ));
    }
    report.notes.extend(partly(particles, "a pose", |p| p.pose.is_some()));
    report.notes.extend(partly(particles, "a CTF", |p| p.ctf.is_some()));
    report.notes.extend(partly(particles, "a half-set", |p| p.half.is_some()));
    report.notes.extend(partly(particles, "a class", |p| p.class.is_some()));
    if particles.iter().any(|particle| particle.pick.is_some()) {
        report.notes.push(
            "One particle may still have images in several sets, if it was extracted several times: \
             remove-duplicates finds those."
                .into(),
        );
    }
    let title = "Spectra of the sets: where they differ, images are scaled differently, or noisier";
    report.figures.extend(spectra("spectra", title, samples));
    for (index, (name, sample)) in samples.iter().enumerate() {
        report
            .figures
            .extend(sample.row(&format!("particles-{}", index + 1), &format!("Particles of {name}")));
    }
    let rows = sizes
        .iter()
        .zip(&union.known)
        .map(|((name, size), known)| json!({"set": name, "particles": size, "known_before": known}));
    report.data.insert("sets".into(), rows.collect());
    report
}

/// A remark where some particles have something and others have not.
fn partly(particles: &[Particle], what: &str, has: fn(&Particle) -> bool) -> Option<String> {
    let count = particles.iter().filter(|particle| has(particle)).count();
    let mixed = count > 0 && count < particles.len();
    mixed.then(|| format!("Only {count} of {} particles have {what}.", particles.len()))
}
