//! What is told of a deposition.

use super::history::History;
use super::maps::Maps;
use super::run::Found;
use super::table::{self, Row};
use crate::map_figures;
use ndarray::Array3;
use serde_json::json;
use vitreous_compute::fsc::fsc_of_maps;
use vitreous_model::report::Report;

/// The primary map and the mean of the halves are of one structure where their lowest shells correlate by this.
const SAME_STRUCTURE: f64 = 0.5;
/// Shells over which that is asked.
const LOW_SHELLS: std::ops::RangeInclusive<usize> = 2..=6;

/// The report.
pub(super) fn report(
    maps: &Maps,
    found: &Found,
    rows: &[Row],
    history: &History,
    files: &[String],
) -> Report {
    let mut report = Report::new("Deposition");
    report.number("resolution_fsc0143_A", "Resolution at FSC 0.143", found.resolution_a, "Å");
    report.number("box_px", "Box", found.n as f64, "px");
    report.number("voxel_size_A", "Voxel size", found.voxel_a, "Å");
    report.number("files", "Files", files.len() as f64, "");
    report.number("jobs", "Jobs in the methods text", history.jobs.len() as f64, "");
    let unknown: Vec<&str> = rows.iter().filter(|row| row.value.is_none()).map(|row| row.item).collect();
    report.number("unknown", "Items that no record tells", unknown.len() as f64, "");
    if !unknown.is_empty() {
        report.notes.push(format!("To be filled in by hand: {}.", unknown.join(", ")));
    }
    if !found.fell {
        report
            .notes
            .push("The FSC never falls under 0.143: the resolution given is the Nyquist limit.".into());
    }
    for job in history.jobs.iter().filter(|job| !job.missing.is_empty()) {
        report.notes.push(format!("The records of {} are not whole: {}.", job.job, job.missing));
    }
    if found.maker.is_none() {
        report.notes.push(
            "No job of this project made the map from particles: symmetry, particles and algorithm are not known.".into(),
        );
    }
    report.notes.extend(other_structure(maps));
    let curves: [(&str, &[f64]); 3] = [
        ("corrected", &found.fsc.corrected),
        ("masked", &found.fsc.masked),
        ("unmasked", &found.fsc.unmasked),
    ];
    let title = "Fourier shell correlation of the halves";
    report.figures.push(map_figures::fsc("fsc", title, &curves, found.n, found.voxel_a));
    let primary = &maps.named[0].volume.data;
    report.figures.push(map_figures::slices("slices", "Central slices", primary.view(), found.voxel_a));
    let mask = maps.of("_msk_1.map");
    report.figures.push(map_figures::slices(
        "mask",
        "Central slices of the mask",
        mask.view(),
        found.voxel_a,
    ));
    let written = maps.named.iter().zip(files);
    let written = written.map(|(named, file)| json!({"file": file, "what": named.what}));
    report.data.insert("maps".into(), written.collect());
    report.data.insert("table".into(), table::records(rows));
    report
}

/// A warning where the primary map is not that of the halves: turned, mirrored, or another one.
fn other_structure(maps: &Maps) -> Option<String> {
    let mean: Array3<f32> = (maps.of("_half_map_1.map") + maps.of("_half_map_2.map")) * 0.5;
    let curve = fsc_of_maps(maps.named[0].volume.data.view(), mean.view(), None);
    let low: Vec<f64> = LOW_SHELLS.filter_map(|shell| curve.get(shell).copied()).collect();
    let fits = low.iter().sum::<f64>() / low.len().max(1) as f64;
    (fits < SAME_STRUCTURE).then(|| {
        format!(
            "The primary map and the half maps correlate by {fits:.2} only at low resolution: is one of them turned or mirrored? \
             Half maps have to be those of the primary map."
        )
    })
}
