//! What was filtered how far: numbers and slices.

use super::run::Filtered;
use crate::map_figures;
use serde_json::json;
use vitreous_model::report::Report;

/// The report.
pub fn report(filtered: &Filtered) -> Report {
    let mut report = Report::new("Locally filtered map");
    let range =
        [filtered.levels_a.first(), filtered.levels_a.last()].map(|level| level.copied().unwrap_or(f64::NAN));
    report.number("finest_A", "finest filter", range[0], "Å");
    report.number("coarsest_A", "coarsest filter", range[1], "Å");
    report.number("outside_A", "filter of the solvent", filtered.outside_a, "Å");
    report.number("filters", "filters", filtered.levels_a.len() as f64, "");
    let pixel_a = filtered.pixel_a;
    for (id, title, map) in [
        ("slices", "Central slices", &filtered.after),
        ("before", "The same of the map as it was", &filtered.before),
        (
            "resolution",
            "Resolution at which each place was filtered, black the finest",
            &filtered.resolution_a,
        ),
    ] {
        report.figures.push(map_figures::slices(id, title, map.view(), pixel_a));
    }
    report.figures.push(map_figures::projections(
        "projections",
        "Projections",
        filtered.after.view(),
        pixel_a,
    ));
    report.data.insert("levels_A".into(), json!(filtered.levels_a));
    report
}
