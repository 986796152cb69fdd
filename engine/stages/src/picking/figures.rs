//! What pickers show: picks on micrographs, and how their scores and numbers are distributed.

use super::contamination::box_mean;
use crate::thumbnail;
use ndarray::Array2;
use vitreous_model::report::{Axis, Figure, Mark, Raster, Series, SeriesStyle};

/// Longer edge of a micrograph in the report, pixels.
pub(crate) const SHOWN_EDGE: usize = 1000;
/// Slow changes of the background are taken off the picture: the mean over squares of so many largest diameters.
const FLATTENED_DIAMETERS: f64 = 5.0;
/// Bars of a histogram.
const BARS: usize = 30;
/// Details of a shown micrograph finer than this part of the smallest diameter are smoothed away.
const SMOOTHED_DIAMETERS: f64 = 0.14;

/// A pick as it is drawn; places in pixels of the micrograph.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Circle {
    pub x_px: f64,
    pub y_px: f64,
    pub diameter_a: f64,
}

/// How large things are on a micrograph.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scale {
    /// Pixel size of the micrograph, Å.
    pub pixel_size_a: f64,
    /// Smallest diameter, Å.
    pub diameter_a: f64,
    /// Largest diameter, Å.
    pub max_diameter_a: f64,
}

/// A micrograph `[height, width]`, binned, smoothed over a seventh of the diameter and flattened over
/// [`FLATTENED_DIAMETERS`], with circles. Its longer edge has at most `edge` pixels.
pub(crate) fn micrograph_with_circles(
    id: &str,
    title: String,
    pixels: &Array2<f32>,
    scale: Scale,
    circles: &[Circle],
    edge: usize,
) -> Figure {
    micrograph_with_marks(id, title, pixels, scale, circles, &[], edge)
}

/// The same, with crosses of half the size of the circles that stand for them.
pub(crate) fn micrograph_with_marks(
    id: &str,
    title: String,
    pixels: &Array2<f32>,
    scale: Scale,
    circles: &[Circle],
    crosses: &[Circle],
    edge: usize,
) -> Figure {
    let bin = thumbnail::bin_for(pixels.dim(), edge);
    let shown_a = scale.pixel_size_a * bin as f64;
    let image = thumbnail::squares(pixels, bin);
    let broad = box_mean(&image, (FLATTENED_DIAMETERS * scale.max_diameter_a / shown_a) as usize);
    let reach = (0.5 * SMOOTHED_DIAMETERS * scale.diameter_a / shown_a).round() as usize;
    let image = box_mean(&image, 2 * reach + 1) - broad;
    let to_raster = |px: f64| (px + 0.5) / bin as f64;
    let mark = |circle: &Circle| Mark::Circle {
        x: to_raster(circle.x_px),
        y: to_raster(circle.y_px),
        radius: 0.5 * circle.diameter_a / shown_a,
    };
    let strokes = |cross: &Circle| {
        let (x, y) = (to_raster(cross.x_px), to_raster(cross.y_px));
        let arm = 0.25 * cross.diameter_a / shown_a * std::f64::consts::FRAC_1_SQRT_2;
        [arm, -arm].map(|rise| Mark::Path { x: vec![x - arm, x + arm], y: vec![y - rise, y + rise] })
    };
    let values: Vec<f32> = image.iter().copied().collect();
    Figure::Image {
        id: id.into(),
        title,
        raster: Raster::from_quantiles(&values, image.ncols(), 0.003, 0.997),
        marks: circles.iter().map(mark).chain(crosses.iter().flat_map(strokes)).collect(),
        pixel_size_a: Some(shown_a),
    }
}

/// Bars of equal width between the smallest and the largest value; none for values that are all the same.
pub(crate) fn histogram(id: &str, title: &str, x: Axis, values: Vec<f64>) -> Option<Figure> {
    let (low, high) =
        values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
    if values.len() < 2 || low >= high {
        return None;
    }
    let width = (high - low) / BARS as f64;
    let mut counts = vec![0.0; BARS];
    values.iter().for_each(|v| counts[(((v - low) / width) as usize).min(BARS - 1)] += 1.0);
    let centres = (0..BARS).map(|i| low + (i as f64 + 0.5) * width).collect();
    let bars = Series { style: SeriesStyle::Bars, ..Series::line("", centres, counts) };
    Some(plot(id, title, x, Axis::new("Picks", ""), bars))
}

/// The number of picks of every micrograph, in their order.
pub(crate) fn count_figure(counts: impl ExactSizeIterator<Item = usize>) -> Figure {
    let index = (1..=counts.len()).map(|i| i as f64).collect();
    let points = Series::points("", index, counts.map(|count| count as f64));
    plot(
        "counts",
        "Picks in order of acquisition",
        Axis::new("Micrograph", ""),
        Axis::new("Picks", ""),
        points,
    )
}

/// A plot of one series.
pub(crate) fn plot(id: &str, title: &str, x: Axis, y: Axis, series: Series) -> Figure {
    Figure::Plot {
        id: id.into(),
        title: title.into(),
        x,
        y,
        series: vec![series],
        levels: vec![],
        x_is_resolution: false,
        equal_axes: false,
    }
}
