//! How many copies there are, and where they look from.

use super::run::Expanded;
use crate::map_figures;
use vitreous_jobs::expand_symmetry::ExpandSymmetry;
use vitreous_model::half_set::HalfSet;
use vitreous_model::particle::ParticleSet;
use vitreous_model::report::Report;

/// The report.
pub(super) fn make(params: &ExpandSymmetry, before: &ParticleSet, expanded: &Expanded) -> Report {
    let (group, order) = (params.symmetry, params.symmetry.order());
    let after = &expanded.set.particles;
    let mut report =
        Report::new(format!("{} copies of {} particles in {group}", after.len(), after.len() / order));
    report.number("particles", "Copies", after.len() as f64, "");
    report.number("expanded", "Particles expanded", (after.len() / order) as f64, "");
    report.number("order", "Rotations of the point group", order as f64, "");
    for half in HalfSet::BOTH {
        let count = after.iter().filter(|particle| particle.half == Some(half)).count();
        let number = half.number();
        report.number(&format!("half{number}"), &format!("Copies in half-set {number}"), count as f64, "");
    }
    if expanded.poseless > 0 {
        report.number("poseless", "Left out, they have no pose", expanded.poseless as f64, "");
        report.notes.push(format!("{} particles have no pose and were left out.", expanded.poseless));
    }
    if expanded.halved > 0 {
        report.notes.push(format!(
            "{} particles had no half-set and were given one, so that no later job tears their copies apart.",
            expanded.halved
        ));
    }
    let views = |particles: &ParticleSet| {
        particles.particles.iter().filter_map(|particle| Some(particle.pose?.rotation)).collect::<Vec<_>>()
    };
    let given = views(before).into_iter();
    report.figures.push(map_figures::directions("before", "Viewing directions before", given));
    let made = views(&expanded.set).into_iter();
    report.figures.push(map_figures::directions("after", "Viewing directions of the copies", made));
    report
}
