//! What became of the map: numbers, slices, projections.

use super::run::Done;
use crate::map_figures;
use ndarray::Array3;
use serde_json::json;
use vitreous_jobs::import_volume::ImportVolume;
use vitreous_model::report::Report;

/// A larger fraction of cut-off variance is remarked upon.
const CUT_OFF_TOLD: f64 = 0.01;

/// The report of rank 0.
pub fn make(params: &ImportVolume, done: &Done, map: &Array3<f32>) -> Report {
    let mut report = Report::new("Map");
    let pixel_size_a = done.grid.pixel_size_a;
    let count = map.len().max(1) as f64;
    let mean = map.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
    let variance = map.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / count;
    let (low, high) =
        map.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), v| (low.min(*v), high.max(*v)));
    report.number("box_px", "Box", done.grid.box_px as f64, "px");
    report.number("pixel_size_A", "Pixel size", pixel_size_a, "Å");
    report.number("extent_A", "Edge of the box", done.grid.box_px as f64 * pixel_size_a, "Å");
    if let Some(low_pass_a) = params.low_pass {
        report.number("low_pass_A", "Low-pass filter", low_pass_a, "Å");
    }
    report.number("density_mean", "Mean density", mean, "");
    report.number("density_deviation", "Standard deviation", variance.sqrt(), "");
    report.number("density_min", "Lowest density", f64::from(low), "");
    report.number("density_max", "Highest density", f64::from(high), "");
    report.notes = notes(params, done);
    if low == high {
        report.notes.push(format!("The map is flat: every voxel is {low}."));
    }
    report.figures.push(map_figures::slices(
        "slices",
        "Central slices across z, y and x",
        map.view(),
        pixel_size_a,
    ));
    let title = "Projections along z, y and x";
    report.figures.push(map_figures::projections("projections", title, map.view(), pixel_size_a));
    report
        .data
        .insert("file".into(), json!({"voxels_xyz": done.file_px, "voxel_edges_xyz_A": done.file_voxel_a}));
    report
}

fn notes(params: &ImportVolume, done: &Done) -> Vec<String> {
    let mut notes = Vec::new();
    let (grid, [nx, ny, nz], [x_a, y_a, z_a]) = (done.grid, done.file_px, done.file_voxel_a);
    if done.is_pixel_size_doubtful {
        notes.push(
            "The file says 1 Å per voxel, which programs write when they do not know it: check, and give --pixel-size."
                .into(),
        );
    }
    if x_a != y_a || y_a != z_a {
        notes.push(format!("The file's voxels of {x_a:.4} × {y_a:.4} × {z_a:.4} Å are no cubes; the map was resampled to cubes."));
    }
    let is_same_box = done.file_px == [grid.box_px; 3];
    let is_same_voxel = (x_a / grid.pixel_size_a - 1.0).abs() < 1e-5;
    if !(is_same_box && is_same_voxel) {
        notes.push(format!(
            "The file's {nx} × {ny} × {nz} voxels of {x_a:.4} Å were brought into {0} × {0} × {0} of {1:.4} Å; outside the \
             file's box the density is {2:.4}, the mean of its faces.",
            grid.box_px, grid.pixel_size_a, done.border
        ));
    }
    if done.cut_off > CUT_OFF_TOLD {
        notes.push(format!(
            "{:.0} % of the map's variance lies outside the new box: the box may cut the particle off.",
            100.0 * done.cut_off
        ));
    }
    let finest_a = 2.0 * grid.pixel_size_a.max(x_a).max(y_a).max(z_a);
    if params.low_pass.is_some_and(|low_pass_a| low_pass_a <= finest_a) {
        notes.push(format!(
            "The map holds nothing finer than {finest_a:.2} Å anyway: the low-pass filter does little."
        ));
    }
    if params.flip_hand {
        notes.push("The map was mirrored (x to -x).".into());
    }
    notes
}
