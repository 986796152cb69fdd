//! Quartiles, histogram and slices of local resolution.

use super::run::Measured;
use crate::distribution::Bins;
use crate::half_maps::Halves;
use crate::map_figures;
use ndarray::Array3;
use serde_json::json;
use vitreous_jobs::estimate_local_resolution::EstimateLocalResolution;
use vitreous_model::report::{Axis, Figure, Report};

/// A larger share of voxels at the coarsest or the finest resolution that could be found is remarked upon.
const MANY: f64 = 0.05;
/// Narrowest bars of the histogram, Å.
const LEAST_BAR_A: f64 = 0.02;

/// The report.
pub fn report(
    params: &EstimateLocalResolution,
    measured: &Measured,
    halves: &Halves,
    mask: &Array3<f32>,
) -> Report {
    let mut report = Report::new("Local resolution");
    let mut values: Vec<f64> =
        measured.resolution_a.iter().filter(|value| **value > 0.0).map(|&value| f64::from(value)).collect();
    values.sort_by(f64::total_cmp);
    for (key, label, part) in [
        ("median_A", "half of the structure is finer than", 0.5),
        ("finest_quarter_A", "a quarter is finer than", 0.25),
        ("coarsest_quarter_A", "a quarter is coarser than", 0.75),
        ("finest_twentieth_A", "a twentieth is finer than", 0.05),
        ("coarsest_twentieth_A", "a twentieth is coarser than", 0.95),
    ] {
        report.number(key, label, quantile(&values, part), "Å");
    }
    report.number("threshold", "FSC at the resolution", params.threshold, "");
    let fraction = values.len() as f64 / mask.len().max(1) as f64;
    report.number("mask_fraction", "share of the box that was measured", fraction, "");
    report.notes = notes(&values, measured.limits_a);
    report.figures.push(histogram(&values));
    let pixel_a = halves.pixel_a;
    let shown = measured.resolution_a.mapv(|value| if value > 0.0 { value } else { f32::NAN });
    let title = "Central slices of the local resolution, black the finest and outside";
    report.figures.push(map_figures::slices("local_resolution", title, shown.view(), pixel_a));
    let mean = halves.mean();
    report.figures.push(map_figures::slices(
        "map",
        "The same of the mean of the halves",
        mean.view(),
        pixel_a,
    ));
    report.figures.push(map_figures::slices("mask", "The same of the mask", mask.view(), pixel_a));
    report.data.insert("limits_A".into(), json!(measured.limits_a));
    report
}

/// The value below which `part` of the sorted values lies; NaN of none.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let at = (sorted.len().saturating_sub(1) as f64 * part).round() as usize;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

fn notes(values: &[f64], [coarsest_a, finest_a]: [f64; 2]) -> Vec<String> {
    // resolutions were kept as floats
    const SAME: f64 = 1.0 - 1e-5;
    let share = |is_counted: &dyn Fn(f64) -> bool| {
        values.iter().filter(|value| is_counted(**value)).count() as f64 / values.len().max(1) as f64
    };
    let mut notes = Vec::new();
    let coarse = share(&|value| value >= SAME * coarsest_a);
    if coarse > MANY {
        notes.push(format!(
            "{:.0} % of the structure is no finer than {coarsest_a:.1} Å, the lowest resolution looked at: the mask may \
             reach into the solvent, or raise --lowest-resolution.",
            100.0 * coarse
        ));
    }
    let fine = share(&|value| value * SAME <= finest_a);
    if fine > MANY {
        notes.push(format!(
            "{:.0} % of the structure is at {finest_a:.2} Å, the finest that this pixel size lets one tell: it may be finer.",
            100.0 * fine
        ));
    }
    notes
}

fn histogram(values: &[f64]) -> Figure {
    let bins = Bins::over(values.iter().copied(), LEAST_BAR_A);
    Figure::Plot {
        id: "histogram".into(),
        title: "Voxels of the structure by their resolution".into(),
        x: Axis::new("local resolution", "Å"),
        y: Axis::new("voxels", ""),
        series: bins.map(|bins| bins.counts("voxels", values.iter().copied())).into_iter().collect(),
        levels: Vec::new(),
        x_is_resolution: false,
        equal_axes: false,
    }
}
