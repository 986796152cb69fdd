//! Numbers and figures of a reconstruction.

use super::run::Maps;
use crate::map_figures;
use serde_json::json;
use vitreous_jobs::reconstruct::Reconstruct;
use vitreous_model::conventions::resolution_at;
use vitreous_model::particle::ParticleSet;
use vitreous_model::report::Report;

/// The report.
pub fn report(maps: &Maps, set: &ParticleSet, counts: [usize; 2], params: &Reconstruct) -> Report {
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
    report
}
