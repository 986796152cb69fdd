//! Numbers and figures of a sharpening.

use super::run::Sharpened;
use crate::half_maps::Halves;
use crate::map_figures;
use ndarray::{Array3, Axis as Dimension};
use serde_json::json;
use vitreous_compute::sharpen::Guinier;
use vitreous_model::conventions::resolution_at;
use vitreous_model::report::{Axis, Figure, Report, Series};

/// Mean FSC with random phases about the resolution, from which on a mask is called too tight.
const TIGHT: f64 = 0.15;
/// Shells on either side of the resolution over which that mean is taken.
const NEAR: usize = 2;

/// The report.
pub fn report(result: &Sharpened, halves: &Halves) -> Report {
    let (n, pixel_a) = (result.map.dim().0, halves.pixel_a);
    let mut report = Report::new("Sharpened map");
    report.notes.clone_from(&result.notes);
    report.number("resolution_fsc0143_A", "resolution at FSC 0.143", result.resolution.0, "Å");
    let (at_half, _) = resolution_at(&result.fsc.corrected, 0.5, n, pixel_a);
    report.number("resolution_fsc05_A", "resolution at FSC 0.5", at_half, "Å");
    let (unmasked, _) = resolution_at(&result.fsc.unmasked, 0.143, n, pixel_a);
    report.number("resolution_unmasked_A", "resolution without mask", unmasked, "Å");
    let (masked, _) = resolution_at(&result.fsc.masked, 0.143, n, pixel_a);
    report.number("resolution_masked_A", "resolution in the mask, not corrected for it", masked, "Å");
    report.number("bfactor_A2", "B-factor applied", result.b_factor_a2, "Å²");
    if let Some(guinier) = &result.guinier {
        report.number("bfactor_fitted_A2", "B-factor of the Guinier plot", guinier.b_factor_a2, "Å²");
    }
    let covered = f64::from(result.mask.mean().unwrap_or(0.0));
    report.number("mask_fraction", "share of the box inside the mask", covered, "");
    if !result.resolution.1 {
        report
            .notes
            .push("The FSC never falls under 0.143: the resolution given is the Nyquist limit.".into());
    }
    report.notes.extend(tight_mask(result, n, pixel_a));
    report.notes.extend(sharp_mask(&result.mask));
    let curves: [(&str, &[f64]); 4] = [
        ("corrected", &result.fsc.corrected),
        ("masked", &result.fsc.masked),
        ("unmasked", &result.fsc.unmasked),
        ("random phases", &result.fsc.randomised),
    ];
    report.figures.push(map_figures::fsc(
        "fsc",
        "Fourier shell correlation of the halves",
        &curves,
        n,
        pixel_a,
    ));
    report.figures.extend(result.guinier.as_ref().map(guinier_plot));
    report.figures.push(map_figures::slices("slices", "Central slices", result.map.view(), pixel_a));
    report.figures.push(map_figures::slices(
        "mask",
        "Central slices of the mask",
        result.mask.view(),
        pixel_a,
    ));
    report.figures.push(map_figures::projections("projections", "Projections", result.map.view(), pixel_a));
    report.data.insert("fsc".into(), json!(result.fsc.corrected));
    report
}

/// A warning where maps with random phases still agree within the mask at the resolution found.
fn tight_mask(result: &Sharpened, n: usize, pixel_a: f64) -> Option<String> {
    let (resolution_a, _) = result.resolution;
    let shell = (n as f64 * pixel_a / resolution_a).round() as usize;
    let randomised = &result.fsc.randomised;
    let near = shell.saturating_sub(NEAR)..(shell + NEAR + 1).min(randomised.len());
    let mean = randomised[near.clone()].iter().sum::<f64>() / near.len().max(1) as f64;
    (mean > TIGHT).then(|| {
        format!(
            "The mask is too tight: by itself it correlates the halves, by {mean:.2} at {resolution_a:.2} Å. That is corrected \
             for, but the less there is to correct the better: give a mask that reaches farther and has a wider edge \
             (make-mask --extend --edge)."
        )
    })
}

/// A warning where the mask mostly jumps from one voxel to the next. One that was cut along the map's own noise correlates
/// the halves in a way that random phases do not show.
fn sharp_mask(mask: &Array3<f32>) -> Option<String> {
    let (mut steps, mut jumps) = (0usize, 0usize);
    for axis in 0..3 {
        for lane in mask.lanes(Dimension(axis)) {
            for (here, next) in lane.iter().zip(lane.iter().skip(1)) {
                let step = (next - here).abs();
                steps += usize::from(step > 0.0);
                jumps += usize::from(step > 0.5);
            }
        }
    }
    (2 * jumps > steps).then(|| {
        "The mask has a sharp edge: the resolution within it may be too good, even corrected. Give one with a soft edge \
         (make-mask --edge)."
            .into()
    })
}

fn guinier_plot(guinier: &Guinier) -> Figure {
    let x: Vec<f64> = guinier.points.iter().map(|p| p.0).collect();
    let fitted: Vec<f64> = guinier.points.iter().filter(|p| p.2).map(|p| p.0).collect();
    let line =
        fitted.iter().map(|u2| guinier.intercept + 0.25 * guinier.b_factor_a2 * u2).collect::<Vec<_>>();
    Figure::Plot {
        id: "guinier".into(),
        title: "Guinier plot".into(),
        x: Axis::new("squared spatial frequency", "1/Å²"),
        y: Axis::new("ln amplitude", ""),
        series: vec![
            Series::line("map", x, guinier.points.iter().map(|p| p.1)),
            Series::line("fit", fitted, line),
        ],
        levels: Vec::new(),
        x_is_resolution: false,
        equal_axes: false,
    }
}
