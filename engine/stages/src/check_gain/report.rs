//! What the check found: the flags, the scores, and pictures in which the pattern goes away.

use super::run::{Found, Oriented};
use crate::{map_figures, thumbnail};
use ndarray::{Array2, s};
use serde_json::json;
use std::path::Path;
use vitreous_formats::gain::orient;
use vitreous_model::exposure::GainFlip;
use vitreous_model::report::{Axis, Figure, Report, Series};

/// Edge of the piece in the middle of the frame that is shown pixel by pixel.
const PIECE_PX: usize = 160;
/// What the pictures show, in their order.
const PANELS: &str = "mean raw frame, gain in this orientation, their product";

/// The report. `mean` is the mean raw frame, `factor` the gain in the orientation of its file, `used` the orientations with
/// which the movies were imported.
pub(super) fn make(
    found: &Found,
    used: &[(u32, GainFlip)],
    mean: &Array2<f32>,
    factor: &Array2<f32>,
    pixel_size_a: f64,
    gain: &Path,
) -> Report {
    let best = found.best();
    let mut report = Report::new(format!("The gain fits with {}", best.flags()));
    report.number("gain_rotate", "Quarter turns, counter-clockwise", f64::from(best.turns), "× 90°");
    report.number("correlation", "Correlation in this orientation", best.correlation, "");
    let second = found.ranked.get(1).map_or(f64::NAN, |second| second.correlation);
    report.number("correlation_second", "in the second best", second, "");
    report.number("margin_sd", "Lead, in standard deviations of chance", found.margin, "");
    report.number("frames", "Raw frames averaged", found.frames as f64, "");
    report.number("movies", "of so many movies", found.movies as f64, "");
    report.number("mean_count", "Counts per pixel and frame", found.mean_count, "");
    report.notes = notes(&best, used, gain);
    let oriented = orient(factor.clone(), best.turns, best.flip);
    let corrected = mean * &oriented;
    let panels = [mean, &oriented, &corrected];
    let piece = |image: &&Array2<f32>| {
        let (height, width) = image.dim();
        let (rows, columns) = (PIECE_PX.min(height), PIECE_PX.min(width));
        let (top, left) = ((height - rows) / 2, (width - columns) / 2);
        image.slice(s![top..top + rows, left..left + columns]).to_owned()
    };
    let bin = thumbnail::bin_for(mean.dim(), thumbnail::EDGE);
    let whole: Vec<Array2<f32>> = panels.iter().map(|image| thumbnail::squares(image, bin)).collect();
    let pieces: Vec<Array2<f32>> = panels.iter().map(piece).collect();
    let scale = pixel_size_a * bin as f64;
    report.figures.push(map_figures::montage("whole", &format!("Whole: {PANELS}"), &whole, 3, scale));
    let title = format!("The middle, pixel by pixel: {PANELS}");
    report.figures.push(map_figures::montage("middle", &title, &pieces, 3, pixel_size_a));
    report.figures.push(scores(&found.ranked));
    let rows = found
        .ranked
        .iter()
        .map(|o| json!({"gain_rotate": o.turns, "gain_flip": o.flip.name(), "correlation": o.correlation}));
    report.data.insert("orientations".into(), rows.collect());
    report
}

fn notes(best: &Oriented, used: &[(u32, GainFlip)], gain: &Path) -> Vec<String> {
    let mut notes = Vec::new();
    let flags = best.flags();
    let wrong = used.iter().find(|(turns, flip)| !is_same(best, *turns, *flip));
    match (used.first(), wrong) {
        (_, Some((turns, flip))) => notes.push(format!(
            "The movies were imported with gain_rotate {turns} and gain_flip {}, which is WRONG for {}: import them with \
             {flags}, or run the next job on this one, whose table has it right.",
            flip.name(),
            gain.display()
        )),
        (Some(_), None) => notes.push("The movies were imported with this orientation: it is right.".into()),
        (None, None) => notes.push(format!(
            "The movies were imported without {}: import them with --gain and {flags}, or run the next job on this one.",
            gain.display()
        )),
    }
    notes.push(
        "Turns are counter-clockwise as seen with row 0 at the bottom, the mirror comes after them. In the product, the \
         pattern of the camera is gone where the orientation is right."
            .into(),
    );
    notes
}

/// Two ways to say one orientation: a mirror left to right is half a turn and a mirror upside down.
fn is_same(best: &Oriented, turns: u32, flip: GainFlip) -> bool {
    let as_y = |turns: u32, flip: GainFlip| match flip {
        GainFlip::X => ((turns + 2) % 4, GainFlip::Y),
        other => (turns % 4, other),
    };
    as_y(best.turns, best.flip) == as_y(turns, flip)
}

/// The correlations by turn, with and without mirror.
fn scores(ranked: &[Oriented]) -> Figure {
    let of = |label: &str, is_mirrored: bool| {
        let those = ranked.iter().filter(|o| (o.flip != GainFlip::None) == is_mirrored);
        let (x, y): (Vec<f64>, Vec<f64>) = those.map(|o| (f64::from(o.turns), o.correlation)).unzip();
        Series::points(label, x, y)
    };
    Figure::Plot {
        id: "scores".into(),
        title: "Correlation of the frames' pattern with the one that the gain removes".into(),
        x: Axis { range: Some([-0.3, 3.3]), ..Axis::new("gain_rotate", "× 90°") },
        y: Axis::new("Correlation", ""),
        series: vec![of("not mirrored", false), of("mirrored (y)", true)],
        levels: vec![0.0],
        x_is_resolution: false,
        equal_axes: false,
    }
}
