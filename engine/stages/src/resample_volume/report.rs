//! The new grid, and what a calibration found.

use super::magnification::Calibration;
use super::run::Resampled;
use crate::map_figures;
use vitreous_model::report::{Axis, Figure, Report, Series};

/// A larger share of cut-off power is remarked upon.
const CUT_OFF_TOLD: f64 = 0.01;
/// Maps of one structure correlate better than this, even where one is noisy.
const POOR: f64 = 0.2;

/// The report.
pub(super) fn report(resampled: &Resampled) -> Report {
    let mut report = Report::new("Resampled map");
    let (n, voxel_a) = (resampled.map.dim().0, resampled.voxel_a);
    let (old_n, old_a) = resampled.before;
    report.number("box_px", "box", n as f64, "px");
    report.number("pixel_size_A", "pixel size", voxel_a, "Å");
    report.number("old_box_px", "box before", old_n as f64, "px");
    report.number("old_pixel_size_A", "pixel size stated before", old_a, "Å");
    if resampled.cut_off > CUT_OFF_TOLD {
        report.notes.push(format!(
            "{:.0} % of the map's power lies outside the new box: it may cut the particle off.",
            100.0 * resampled.cut_off
        ));
    }
    if let Some(calibration) = &resampled.calibration {
        tell(&mut report, calibration, old_a);
    }
    report.figures.push(map_figures::slices("slices", "Central slices", resampled.map.view(), voxel_a));
    report.figures.push(map_figures::projections(
        "projections",
        "Projections",
        resampled.map.view(),
        voxel_a,
    ));
    report
}

fn tell(report: &mut Report, calibration: &Calibration, old_a: f64) {
    report.number("calibrated_A", "true pixel size of the map", old_a * calibration.factor, "Å");
    report.number("calibrated_error_A", "standard error of that", old_a * calibration.error, "Å");
    report.number("error_percent", "it is larger than stated by", 100.0 * (calibration.factor - 1.0), "%");
    report.number("correlation", "correlation with the reference", calibration.correlation, "");
    if calibration.correlation < POOR {
        report.notes.push(format!(
            "The map correlates with the reference by {:.2} only: they may not show the same, or not in one hand.",
            calibration.correlation
        ));
    }
    report.notes.push(
        "Particles keep the pixel size they have: state the true one where their movies or images are imported.".into(),
    );
    let (x, y): (Vec<f64>, Vec<f64>) =
        calibration.scan.iter().map(|&(factor, value)| (old_a * factor, value)).unzip();
    report.figures.push(Figure::Plot {
        id: "scan".into(),
        title: "How well the map fits the reference, over the pixel size".into(),
        x: Axis::new("pixel size", "Å"),
        y: Axis::new("log-likelihood over the best", ""),
        series: vec![Series::line("first scan", x, y)],
        levels: Vec::new(),
        x_is_resolution: false,
        equal_axes: false,
    });
}
