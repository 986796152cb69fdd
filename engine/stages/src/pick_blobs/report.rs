//! What `pick-blobs` shows: picks on micrographs, their number and their scores.

use super::run::{Found, Lengths, Picked};
use crate::picking::figures::{Circle, Scale, count_figure, histogram, micrograph_with_circles, plot};
use crate::picking::report_of;
use ndarray::Array2;
use serde_json::json;
use vitreous_model::exposure::Exposure;
use vitreous_model::report::{Axis, Figure, Report, Series, Skipped};

/// Part of a micrograph that looks like contamination and is worth a note.
const MUCH_MASKED: f64 = 0.3;
/// Points of a plot, at most: more hide each other.
const MOST_POINTS: usize = 3000;

/// The report, with the pictures of [`image_of`].
pub(super) fn make(
    done: &[(&Exposure, Picked)],
    images: Vec<Figure>,
    lengths: &Lengths,
    skipped: Vec<Skipped>,
) -> Report {
    let counts: Vec<usize> = done.iter().map(|(_, picked)| picked.found.len()).collect();
    let mut report = report_of(&counts);
    report.number("diameter_A", "Smallest diameter", lengths.diameter_a, "Å");
    report.number("max_diameter_A", "Largest diameter", lengths.max_diameter_a, "Å");
    report.number("exposures", "Micrographs", done.len() as f64, "");
    let left_out: usize = done.iter().map(|(_, picked)| picked.left_out).sum();
    report.number("left_out", "Left out by local mean and standard deviation", left_out as f64, "");
    report.number("skipped", "Skipped", skipped.len() as f64, "");
    let masked = done.iter().filter(|(_, picked)| picked.masked_fraction > MUCH_MASKED);
    report.notes.extend(masked.map(|(exposure, picked)| {
        let percent = 100.0 * picked.masked_fraction;
        format!("{}: {percent:.0} % of the area looks like contamination or carbon.", exposure.name)
    }));
    if counts.iter().all(|count| *count == 0) {
        report.notes.push(
            "No particles were found: look at the pictures, then at diameter, threshold and white_particles."
                .into(),
        );
    }
    report.figures = images;
    let found: Vec<&Found> = done.iter().flat_map(|(_, picked)| &picked.found).collect();
    let scores = found.iter().map(|found| found.score).collect();
    report.figures.extend(histogram("scores", "Scores of the picks", Axis::new("Score", "sd"), scores));
    let diameters = found.iter().map(|found| found.diameter_a).collect();
    let axis = Axis::new("Diameter", "Å");
    report.figures.extend(histogram("diameters", "Diameters that answer most", axis, diameters));
    report.figures.extend(power_figure(&found));
    if done.len() > 1 {
        report.figures.push(count_figure(done.iter().map(|(_, picked)| picked.found.len())));
    }
    let record = |(exposure, picked): &(&Exposure, Picked)| {
        let (picks, masked) = (picked.found.len(), picked.masked_fraction);
        json!({
            "name": exposure.name, "picks": picks, "masked_fraction": masked, "left_out": picked.left_out
        })
    };
    report.data.insert("exposures".into(), done.iter().map(record).collect());
    report.skipped = skipped;
    report
}

/// A micrograph with a circle of its own diameter at every pick, `edge` pixels along its longer edge. `index` tells the figure
/// from others.
pub(super) fn image_of(
    index: usize,
    pixels: &Array2<f32>,
    pixel_size_a: f64,
    exposure: &Exposure,
    picked: &Picked,
    lengths: &Lengths,
    edge: usize,
) -> Figure {
    let circles: Vec<Circle> = picked
        .found
        .iter()
        .map(|f| Circle { x_px: f.x_px, y_px: f.y_px, diameter_a: f.diameter_a })
        .collect();
    let title = format!("{} picks on {}", picked.found.len(), exposure.name);
    let scale =
        Scale { pixel_size_a, diameter_a: lengths.diameter_a, max_diameter_a: lengths.max_diameter_a };
    micrograph_with_circles(&format!("picks_{index}"), title, pixels, scale, &circles, edge)
}

/// Score over local standard deviation: particles are a cloud, what lies beside it is none.
fn power_figure(found: &[&Found]) -> Option<Figure> {
    let shown = || found.iter().step_by(found.len().div_ceil(MOST_POINTS).max(1));
    let points = Series::points("", shown().map(|f| f.around.local_sd).collect(), shown().map(|f| f.score));
    let x = Axis::new("Local standard deviation over the usual", "");
    (found.len() > 1).then(|| plot("power", "Score and surroundings", x, Axis::new("Score", "sd"), points))
}
