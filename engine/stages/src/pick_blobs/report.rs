//! What `pick-blobs` shows: picks on micrographs, their number and their scores.

use super::contamination::box_mean;
use super::run::{Found, Lengths, Picked};
use ndarray::Array2;
use serde_json::json;
use vitreous_model::exposure::Exposure;
use vitreous_model::report::{Axis, Figure, Mark, Raster, Report, Series, SeriesStyle, Skipped};

/// Longer edge of a shown micrograph, pixels.
const SHOWN_EDGE: usize = 1000;
/// Slow changes of the background are taken off the picture: the mean over squares of so many largest diameters.
const FLATTENED_DIAMETERS: f64 = 5.0;
/// Part of a micrograph that looks like contamination and is worth a note.
const MUCH_MASKED: f64 = 0.3;
/// Bars of the histogram of scores.
const BARS: usize = 30;

/// Indices of the micrographs that are shown: the first, that with the fewest and that with the most picks.
pub(super) fn choose(done: &[(&Exposure, Picked)], most: usize) -> Vec<usize> {
    let picks = |index: &usize| done[*index].1.found.len();
    let rest = || 1..done.len();
    let mut chosen: Vec<usize> = (0..done.len().min(1)).collect();
    for candidate in [rest().min_by_key(picks), rest().max_by_key(picks)].into_iter().flatten() {
        if !chosen.contains(&candidate) {
            chosen.push(candidate);
        }
    }
    chosen.truncate(most);
    chosen
}

/// The report, with the pictures of [`image_of`].
pub(super) fn make(
    done: &[(&Exposure, Picked)],
    images: Vec<Figure>,
    lengths: &Lengths,
    skipped: Vec<Skipped>,
) -> Report {
    let total: usize = done.iter().map(|(_, picked)| picked.found.len()).sum();
    let mut report = Report::new(match done.len() {
        1 => format!("{total} particles on 1 micrograph"),
        n => format!("{total} particles on {n} micrographs"),
    });
    report.number("picks", "Picks", total as f64, "");
    let per_micrograph = if done.is_empty() { f64::NAN } else { total as f64 / done.len() as f64 };
    report.number("picks_per_micrograph", "Picks per micrograph", per_micrograph, "");
    report.number("diameter_A", "Smallest diameter", lengths.diameter_a, "Å");
    report.number("max_diameter_A", "Largest diameter", lengths.max_diameter_a, "Å");
    report.number("exposures", "Micrographs", done.len() as f64, "");
    report.number("skipped", "Skipped", skipped.len() as f64, "");
    let masked = done.iter().filter(|(_, picked)| picked.masked_fraction > MUCH_MASKED);
    report.notes.extend(masked.map(|(exposure, picked)| {
        let percent = 100.0 * picked.masked_fraction;
        format!("{}: {percent:.0} % of the area looks like contamination or carbon.", exposure.name)
    }));
    if total == 0 {
        report.notes.push(
            "No particles were found: look at the pictures, then at diameter, threshold and white_particles."
                .into(),
        );
    }
    report.figures = images;
    let found = || done.iter().flat_map(|(_, picked)| &picked.found);
    report.figures.extend(score_figure(found()));
    if done.len() > 1 {
        report.figures.push(count_figure(done));
    }
    let record = |(exposure, picked): &(&Exposure, Picked)| {
        let (picks, masked) = (picked.found.len(), picked.masked_fraction);
        json!({"name": exposure.name, "picks": picks, "masked_fraction": masked})
    };
    report.data.insert("exposures".into(), done.iter().map(record).collect());
    report.skipped = skipped;
    report
}

/// A micrograph, smoothed to a seventh of the diameter and flattened over [`FLATTENED_DIAMETERS`], with a circle of the smallest diameter at every pick.
/// `index` tells the figure from others.
pub(super) fn image_of(
    index: usize,
    pixels: &Array2<f32>,
    pixel_size_a: f64,
    exposure: &Exposure,
    picked: &Picked,
    lengths: &Lengths,
) -> Figure {
    let (height, width) = pixels.dim();
    let bin = height.max(width).div_ceil(SHOWN_EDGE);
    let shown_a = pixel_size_a * bin as f64;
    let image = Array2::from_shape_fn((height / bin, width / bin), |(y, x)| {
        pixels.slice(ndarray::s![y * bin..(y + 1) * bin, x * bin..(x + 1) * bin]).sum()
    });
    let broad = box_mean(&image, (FLATTENED_DIAMETERS * lengths.max_diameter_a / shown_a) as usize);
    let image = box_mean(&image, (0.07 * lengths.diameter_a / shown_a).round() as usize * 2 + 1) - broad;
    let to_raster = |px: f64| (px + 0.5) / bin as f64;
    let radius = 0.5 * lengths.diameter_a / shown_a;
    let mark = |found: &Found| Mark::Circle { x: to_raster(found.x_px), y: to_raster(found.y_px), radius };
    let values: Vec<f32> = image.iter().copied().collect();
    Figure::Image {
        id: format!("picks_{index}"),
        title: format!("{} picks on {}", picked.found.len(), exposure.name),
        raster: Raster::from_quantiles(&values, image.ncols(), 0.003, 0.997),
        marks: picked.found.iter().map(mark).collect(),
        pixel_size_a: Some(shown_a),
    }
}

fn score_figure<'a>(found: impl Iterator<Item = &'a Found>) -> Option<Figure> {
    let scores: Vec<f64> = found.map(|found| found.score).collect();
    let (low, high) =
        scores.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
    if scores.len() < 2 || low >= high {
        return None;
    }
    let width = (high - low) / BARS as f64;
    let mut counts = vec![0.0; BARS];
    scores.iter().for_each(|v| counts[(((v - low) / width) as usize).min(BARS - 1)] += 1.0);
    let centres = (0..BARS).map(|i| low + (i as f64 + 0.5) * width).collect();
    Some(Figure::Plot {
        id: "scores".into(),
        title: "Scores of the picks".into(),
        x: Axis::new("Score", "sd"),
        y: Axis::new("Picks", ""),
        series: vec![Series { style: SeriesStyle::Bars, ..Series::line("", centres, counts) }],
        levels: vec![],
        x_is_resolution: false,
        equal_axes: false,
    })
}

fn count_figure(done: &[(&Exposure, Picked)]) -> Figure {
    let index = (1..=done.len()).map(|i| i as f64).collect();
    Figure::Plot {
        id: "counts".into(),
        title: "Picks in order of acquisition".into(),
        x: Axis::new("Micrograph", ""),
        y: Axis::new("Picks", ""),
        series: vec![Series::points("", index, done.iter().map(|(_, picked)| picked.found.len() as f64))],
        levels: vec![],
        x_is_resolution: false,
        equal_axes: false,
    }
}
