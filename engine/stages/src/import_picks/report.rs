//! How many picks on how many micrographs, and pictures that show whether they lie on particles.

use super::run::Sorted;
use crate::distribution::Bins;
use crate::{Ctx, exposure_files};
use serde_json::json;
use vitreous_formats::open_image;
use vitreous_model::exposure::{Exposure, ExposureSet};
use vitreous_model::particle::Pick;
use vitreous_model::report::{Axis, Figure, Mark, Raster, Report};

/// Micrographs shown: those with the most picks.
const SHOWN: usize = 3;

/// The report of rank 0. A picture that cannot be made is left out.
pub(super) fn make(ctx: &Ctx<'_>, set: &ExposureSet, sorted: &Sorted, diameter_a: f64) -> Report {
    let total: usize = sorted.picks.values().map(Vec::len).sum();
    let mut report = Report::new(format!("{total} picks on {} micrographs", sorted.picks.len()));
    report.number("picks", "Picks", total as f64, "");
    report.number("exposures", "Micrographs with picks", sorted.picks.len() as f64, "");
    let without = set.exposures.len() - sorted.picks.len();
    report.number("exposures_without", "Micrographs without", without as f64, "");
    report.number("diameter_A", "Diameter", diameter_a, "Å");
    report.number("outside", "Left out: outside", sorted.outside.values().sum::<usize>() as f64, "");
    report.number(
        "unknown",
        "Left out: micrograph unknown",
        sorted.unknown.values().sum::<usize>() as f64,
        "",
    );
    report.number("weak", "Left out: score", sorted.weak as f64, "");
    let mut most: Vec<_> = sorted.picks.iter().collect();
    most.sort_by_key(|(index, picks)| (std::cmp::Reverse(picks.len()), **index));
    for (number, (index, picks)) in most.into_iter().take(SHOWN).enumerate() {
        report.figures.extend(picture(ctx, number, &set.exposures[*index], picks, diameter_a));
    }
    let scores = || sorted.picks.values().flatten().map(|pick| pick.score);
    report.figures.extend(Bins::over(scores(), 1e-6).map(|bins| Figure::Plot {
        id: "scores".into(),
        title: "Scores of the picks".into(),
        x: Axis::new("Score", ""),
        y: Axis::new("Picks", ""),
        series: vec![bins.counts("", scores())],
        levels: vec![],
        x_is_resolution: false,
        equal_axes: false,
    }));
    let records = sorted
        .picks
        .iter()
        .map(|(index, picks)| json!({"name": set.exposures[*index].name, "picks": picks.len()}));
    report.data.insert("exposures".into(), records.collect());
    report.skipped = ctx.skipped();
    report
}

/// A small micrograph with a circle of the diameter at every pick.
fn picture(
    ctx: &Ctx<'_>,
    number: usize,
    exposure: &Exposure,
    picks: &[Pick],
    diameter_a: f64,
) -> Option<Figure> {
    let source = exposure.micrograph.as_ref()?;
    let file = open_image(&ctx.resolve(&source.path)).ok()?;
    let (image, step) = exposure_files::thumbnail(file.as_ref(), 1).ok()?;
    let shown_a = source.pixel_size_a * step as f64;
    let to_raster = |px: f64| (px + 0.5) / step as f64;
    let radius = 0.5 * diameter_a / shown_a;
    let values: Vec<f32> = image.iter().copied().collect();
    Some(Figure::Image {
        id: format!("picks_{number}"),
        title: format!("{} picks on {}", picks.len(), exposure.name),
        raster: Raster::from_quantiles(&values, image.ncols(), 0.003, 0.997),
        marks: picks
            .iter()
            .map(|pick| Mark::Circle { x: to_raster(pick.x_px), y: to_raster(pick.y_px), radius })
            .collect(),
        pixel_size_a: Some(shown_a),
    })
}
