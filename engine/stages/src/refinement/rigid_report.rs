//! What a refinement reports.

use crate::Ctx;
use crate::map_figures;
use crate::refinement::Settings;
use crate::refinement::data::{Data, sphere_of};
use crate::refinement::maximisation::HalfMaps;
use crate::refinement::state::{IterationRecord, State};
use ndarray::Array3;
use serde_json::json;
use vitreous_compute::fsc::fsc_of_maps;
use vitreous_model::conventions::resolution_at;
use vitreous_model::half_set::HalfSet;
use vitreous_model::report::{Axis, Figure, Report, Series};

/// The report of a finished refinement.
pub fn report(
    ctx: &Ctx<'_>,
    data: &Data,
    settings: &Settings,
    state: &State,
    maps: &HalfMaps,
    combined: &Array3<f32>,
) -> Report {
    let geometry = &data.geometry;
    let (n, pixel_a) = (geometry.n, geometry.pixel_size_a);
    let resolution = |curve: &[f64], threshold| resolution_at(curve, threshold, n, pixel_a);
    let spherical = fsc_of_maps(maps.plain[0].view(), maps.plain[1].view(), Some(sphere_of(geometry).view()));
    let (at_0143, fell) = resolution(&maps.fsc.corrected, 0.143);
    let mut report =
        Report::new(format!("Refinement of {} particles, {}", data.usable.len(), settings.symmetry));
    report.number("resolution_fsc0143_A", "Resolution (FSC 0.143, corrected for the mask)", at_0143, "Å");
    report.number("resolution_fsc05_A", "Resolution (FSC 0.5)", resolution(&maps.fsc.corrected, 0.5).0, "Å");
    report.number(
        "resolution_masked_A",
        "Resolution within the mask, not corrected for it (FSC 0.143)",
        resolution(&maps.fsc.masked, 0.143).0,
        "Å",
    );
    report.number(
        "resolution_spherical_A",
        "Resolution within the sphere of the diameter (FSC 0.143)",
        resolution(&spherical, 0.143).0,
        "Å",
    );
    report.number(
        "resolution_unmasked_A",
        "Resolution without mask (FSC 0.143)",
        resolution(&maps.fsc.unmasked, 0.143).0,
        "Å",
    );
    report.number("particles", "Particles", data.usable.len() as f64, "");
    let halves = HalfSet::BOTH.map(|half| data.halves.iter().filter(|&&h| h == half).count() as f64);
    report.number("half1_particles", "Particles in half 1", halves[0], "");
    report.number("half2_particles", "Particles in half 2", halves[1], "");
    report.number("iterations", "Iterations", f64::from(state.iteration), "");
    if let Some(last) = state.history.last() {
        report.number("change_deg", "Median change of rotation in the last iteration", last.change_deg, "°");
        report.number("log_likelihood", "Mean log-likelihood per particle", last.log_likelihood, "nat");
    }
    report.number("shift_sigma_A", "Standard deviation of shifts along an axis", state.shift_sigma_a, "Å");
    report.number(
        "amplitude_spread",
        "Standard deviation of the amplitudes of micrographs or groups",
        spread(&state.amplitudes),
        "",
    );
    if !fell {
        report.notes.push(format!(
            "The FSC never falls under 0.143: the resolution given is the Nyquist limit, {at_0143:.2} Å."
        ));
    }
    if data.set.particles.iter().all(|particle| particle.ctf.is_none()) {
        report.notes.push("No particle has a CTF: none was corrected.".into());
    }
    if state.iteration >= settings.max_iterations {
        report.notes.push("Refinement ended at max_iterations and may not have converged.".into());
    }
    report.figures = figures(data, state, maps, &spherical, combined);
    report.skipped = ctx.skipped();
    report.data.insert("fsc".into(), fsc_table(data, maps, &spherical));
    report.data.insert("amplitudes".into(), amplitudes(data, state));
    report.data.insert("iterations".into(), history(state));
    if let Some(by_place) = &maps.by_place {
        report.data.insert("gains".into(), gains(data, &by_place.gains));
    }
    report
}

/// Mean gain in the mask by band.
fn gains(data: &Data, gains: &[(f64, f64)]) -> serde_json::Value {
    let edge_a = data.geometry.edge_a();
    gains.iter().map(|(radius, gain)| json!({"resolution_A": edge_a / radius, "gain": gain})).collect()
}

/// Standard deviation about 1.
fn spread(amplitudes: &[f64]) -> f64 {
    let sum: f64 = amplitudes.iter().map(|a| (a - 1.0).powi(2)).sum();
    (sum / amplitudes.len().max(1) as f64).sqrt()
}

/// Amplitudes by micrograph or group, of both halves.
fn amplitudes(data: &Data, state: &State) -> serde_json::Value {
    let count = data.amplitude_names.len();
    let row = |(index, name): (usize, &String)| json!({"name": name, "half1": state.amplitudes[index], "half2": state.amplitudes[count + index]});
    data.amplitude_names.iter().enumerate().map(row).collect()
}

fn figures(
    data: &Data,
    state: &State,
    maps: &HalfMaps,
    spherical: &[f64],
    combined: &Array3<f32>,
) -> Vec<Figure> {
    let (n, pixel_a) = (data.geometry.n, data.geometry.pixel_size_a);
    let fsc = &maps.fsc;
    let curves: [(&str, &[f64]); 5] = [
        ("corrected", &fsc.corrected),
        ("masked", &fsc.masked),
        ("within the sphere", spherical),
        ("unmasked", &fsc.unmasked),
        ("phases randomised", &fsc.randomised),
    ];
    let rotations = state.particles.iter().map(|particle| particle.pose().rotation);
    vec![
        map_figures::fsc("fsc", "Correlation of the half maps", &curves, n, pixel_a),
        map_figures::slices("slices", "Central slices of the map", combined.view(), pixel_a),
        map_figures::projections("projections", "Projections of the map", combined.view(), pixel_a),
        map_figures::slices("mask", "Central slices of the mask", maps.mask.view(), pixel_a),
        map_figures::directions("directions", "Viewing directions", rotations),
        course(state),
    ]
}

fn course(state: &State) -> Figure {
    let x: Vec<f64> = (1..=state.history.len()).map(|i| i as f64).collect();
    Figure::Plot {
        id: "course".into(),
        title: "Course of the refinement".into(),
        x: Axis::new("iteration", ""),
        y: Axis::new("resolution, median change of rotation", "Å, °"),
        series: vec![
            Series::line("resolution (Å)", x.clone(), state.history.iter().map(|r| r.resolution_a)),
            Series::line("change of rotation (°)", x, state.history.iter().map(|r| r.change_deg)),
        ],
        levels: Vec::new(),
        x_is_resolution: false,
        equal_axes: false,
    }
}

/// The curves, one row per shell.
fn fsc_table(data: &Data, maps: &HalfMaps, spherical: &[f64]) -> serde_json::Value {
    let edge_a = data.geometry.edge_a();
    let row = |shell: usize| {
        json!({
            "frequency_per_A": shell as f64 / edge_a,
            "corrected": maps.fsc.corrected[shell],
            "masked": maps.fsc.masked[shell],
            "spherical": spherical[shell],
            "unmasked": maps.fsc.unmasked[shell],
            "randomised": maps.fsc.randomised[shell],
        })
    };
    (0..maps.fsc.corrected.len()).map(row).collect()
}

fn history(state: &State) -> serde_json::Value {
    let row = |(index, r): (usize, &IterationRecord)| {
        json!({
            "iteration": index + 1,
            "resolution_A": finite(r.resolution_a),
            "box_px": r.box_px,
            "band_px": r.band_px,
            "change_deg": finite(r.change_deg),
            "log_likelihood_nat": finite(r.log_likelihood),
            "jumped_fraction": finite(r.jumped),
        })
    };
    state.history.iter().enumerate().map(row).collect()
}

/// JSON has no NaN.
fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}
