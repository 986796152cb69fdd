//! Numbers and figures of a reconstruction.

use super::run::Reconstructed;
use super::trial::{Trial, lead};
use crate::map_figures;
use serde_json::json;
use vitreous_jobs::reconstruct::{EwaldTrial, Reconstruct};
use vitreous_model::conventions::resolution_at;
use vitreous_model::particle::ParticleSet;
use vitreous_model::report::Report;

/// The report.
pub fn report(result: &Reconstructed, set: &ParticleSet, params: &Reconstruct) -> Report {
    let (maps, counts) = (&result.maps, result.counts);
    let (n, pixel_a) = (set.box_px as usize, set.pixel_size_a);
    let mut report = Report::new("Reconstruction");
    let curve = &maps.fsc.corrected;
    for (key, label, threshold) in [
        ("resolution_fsc0143_A", "resolution at FSC 0.143", 0.143),
        ("resolution_fsc05_A", "resolution at FSC 0.5", 0.5),
    ] {
        let (resolution_a, fell) = resolution_at(curve, threshold, n, pixel_a);
        report.number(key, label, resolution_a, "Å");
        if !fell {
            report.notes.push(format!(
                "The FSC never falls under {threshold}: the resolution given is the Nyquist limit."
            ));
        }
    }
    report.number("particles", "particles", (counts[0] + counts[1]) as f64, "");
    report.number("particles_half1", "particles in half 1", counts[0] as f64, "");
    report.number("particles_half2", "particles in half 2", counts[1] as f64, "");
    let without_ctf = set.particles.iter().filter(|particle| particle.ctf.is_none()).count();
    if without_ctf > 0 {
        report.notes.push(format!(
            "{without_ctf} particles have no CTF and were taken as they are; estimate it for a correct map."
        ));
    }
    report.notes.push(format!("Symmetry {} was imposed on both halves.", params.symmetry));
    let curves: [(&str, &[f64]); 4] = [
        ("corrected", &maps.fsc.corrected),
        ("masked", &maps.fsc.masked),
        ("unmasked", &maps.fsc.unmasked),
        ("random phases", &maps.fsc.randomised),
    ];
    report.figures = vec![
        map_figures::fsc("fsc", "Fourier shell correlation of the halves", &curves, n, pixel_a),
        map_figures::slices("slices", "Central slices", maps.map.view(), pixel_a),
        map_figures::projections("projections", "Projections", maps.map.view(), pixel_a),
        map_figures::directions(
            "directions",
            "Viewing directions",
            set.particles.iter().filter_map(|particle| particle.pose).map(|pose| pose.rotation),
        ),
    ];
    report.data.insert("fsc".into(), json!(maps.fsc.corrected));
    if params.ewald != EwaldTrial::None {
        add_curvature(&mut report, result, set);
    }
    report
}

/// What was tried of the Ewald sphere, and what it tells.
fn add_curvature(report: &mut Report, result: &Reconstructed, set: &ParticleSet) {
    let (n, pixel_a) = (set.box_px as usize, set.pixel_size_a);
    let best = &result.trials[result.best];
    report.data.insert("curvature".into(), json!(best.name()));
    let [flat, forward, reversed] = result.trials.as_slice() else {
        report.notes.push(format!("Corrected for the curvature of the Ewald sphere, {}.", best.name()));
        return;
    };
    for (trial, key, label) in [
        (flat, "resolution_flat_A", "resolution with flat slices"),
        (forward, "resolution_forward_A", "resolution with forward curvature"),
        (reversed, "resolution_reversed_A", "resolution with reversed curvature"),
    ] {
        report.number(key, label, resolution_at(&trial.fsc, 0.143, n, pixel_a).0, "Å");
    }
    let sigmas = lead(forward, reversed, result.independent);
    report.number("curvature_lead", "lead of forward over reversed curvature", sigmas, "standard deviations");
    report.notes.push(verdict(best, sigmas));
    let curves = [flat, forward, reversed].map(|trial| (trial.name(), trial.fsc.as_slice()));
    let title = "Fourier shell correlation by the curvature of the Ewald sphere";
    report.figures.push(map_figures::fsc("curvature", title, &curves, n, pixel_a));
}

/// Leads below this, in standard deviations, decide nothing.
const LEAST_LEAD: f64 = 3.0;

/// In words: which was kept, and whether it tells the hand.
fn verdict(best: &Trial, forward_lead: f64) -> String {
    let kept = format!("Slices were tried flat and curved either way; those kept are {}.", best.name());
    if forward_lead.abs() < LEAST_LEAD {
        return format!(
            "{kept} Forward and reversed curvature differ by {:.1} standard deviations, too little to tell the hand.",
            forward_lead.abs()
        );
    }
    let (better, worse, side) = if forward_lead > 0.0 {
        ("Forward", "reversed", "source")
    } else {
        ("Reversed", "forward", "detector")
    };
    format!(
        "{kept} {better} curvature leads {worse} by {:.1} standard deviations: the map has the hand of the specimen if the \
         micrographs show it as seen from the {side}, else the other one.",
        forward_lead.abs()
    )
}
