//! Curves, points and bars on two axes.

use super::canvas::{Anchor, Canvas, coordinate, text_width_em};
use crate::number::{Tick, linear_ticks, nice_range, opened, resolution_ticks, short, time_ticks};
use vitreous_model::report::{Axis, Series, SeriesStyle};

/// Size of the drawing in user units; text is about 12.5 of them, readable when a phone shows the whole width.
const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 310.0;
/// The same with equal scales, which need height.
const SQUARE_HEIGHT: f64 = 440.0;
const FONT: f64 = 12.5;
/// Parts an axis is cut into, about.
const X_PARTS: f64 = 6.0;
const Y_PARTS: f64 = 5.0;
/// Curves named in the legend; more are counted.
const NAMED: usize = 8;
/// Least distance of resolution labels, user units.
const RESOLUTION_GAP: f64 = 31.0;
/// From this many points on, dots are small.
const MANY_POINTS: usize = 600;

/// What is drawn: the fields of `Figure::Plot`.
pub(super) struct Plot<'a> {
    pub id: &'a str,
    pub x: &'a Axis,
    pub y: &'a Axis,
    pub series: &'a [Series],
    pub levels: &'a [f64],
    pub x_is_resolution: bool,
    pub equal_axes: bool,
}

/// The rectangle between the axes and the data ranges it shows.
struct Frame {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
    x: [f64; 2],
    y: [f64; 2],
}

impl Frame {
    fn px(&self, x: f64) -> f64 {
        self.left + (x - self.x[0]) / (self.x[1] - self.x[0]) * self.width
    }

    fn py(&self, y: f64) -> f64 {
        self.top + (self.y[1] - y) / (self.y[1] - self.y[0]) * self.height
    }

    fn right(&self) -> f64 {
        self.left + self.width
    }

    fn bottom(&self) -> f64 {
        self.top + self.height
    }

    /// Widens the range of one axis until a unit is as long on both.
    fn equalize(&mut self) {
        let (per_x, per_y) = ((self.x[1] - self.x[0]) / self.width, (self.y[1] - self.y[0]) / self.height);
        let widen = |range: [f64; 2], factor: f64| {
            let (middle, half) = (0.5 * (range[0] + range[1]), 0.5 * (range[1] - range[0]) * factor);
            [middle - half, middle + half]
        };
        if per_x < per_y {
            self.x = widen(self.x, per_y / per_x);
        } else {
            self.y = widen(self.y, per_x / per_y);
        }
    }
}

/// Draws the plot.
pub(super) fn draw(plot: &Plot<'_>) -> Canvas {
    let height = if plot.equal_axes { SQUARE_HEIGHT } else { HEIGHT };
    let mut canvas = Canvas::new(WIDTH, height);
    let legend_bottom = draw_legend(&mut canvas, plot);
    let (x_range, y_range) = ranges(plot);
    let top = legend_bottom + 12.0;
    let mut frame =
        Frame { left: 0.0, top, width: WIDTH, height: height - top - 44.0, x: x_range, y: y_range };
    let widest = linear_ticks(y_range, Y_PARTS).iter().map(|t| text_width_em(&t.label)).fold(1.0, f64::max);
    frame.left = widest * FONT + if plot.y.label.is_empty() && plot.y.unit.is_empty() { 12.0 } else { 32.0 };
    frame.width = WIDTH - frame.left - 16.0;
    if plot.equal_axes {
        frame.equalize();
    }
    draw_axes(&mut canvas, plot, &frame);
    let clip = format!("clip-{}", plot.id);
    canvas.raw(&format!(r#"<clipPath id="{clip}">"#));
    canvas.rect("", [frame.left - 1.0, frame.top - 3.0], [frame.width + 2.0, frame.height + 4.0]);
    canvas.raw("</clipPath>");
    canvas.open_group(&format!(r#"clip-path="url(#{clip})""#));
    for level in plot.levels {
        canvas.line("level", [frame.left, frame.py(*level)], [frame.right(), frame.py(*level)]);
    }
    for (index, series) in plot.series.iter().enumerate() {
        draw_series(&mut canvas, &frame, series, index % 8);
    }
    canvas.close_group();
    for level in plot.levels.iter().filter(|v| (frame.y[0]..=frame.y[1]).contains(*v)) {
        let at = [frame.right() - 3.0, frame.py(*level) - 4.0];
        canvas.text(r#"class="tag""#, Anchor::End, at, &short(*level));
    }
    canvas
}

/// Data ranges, from the axes where they are fixed.
fn ranges(plot: &Plot<'_>) -> ([f64; 2], [f64; 2]) {
    let mut x = (f64::INFINITY, f64::NEG_INFINITY);
    let mut y = x;
    let grow = |range: &mut (f64, f64), v: f64| *range = (range.0.min(v), range.1.max(v));
    for series in plot.series {
        let margin = if series.style == SeriesStyle::Bars { 0.5 * bar_width(&series.x) } else { 0.0 };
        for (&at, value) in series.x.iter().zip(&series.y) {
            let Some(value) = *value else { continue };
            grow(&mut x, at - margin);
            grow(&mut x, at + margin);
            if plot.x.range.is_none_or(|[low, high]| at >= low && at <= high) {
                grow(&mut y, value);
            }
        }
        if series.style == SeriesStyle::Bars {
            grow(&mut y, 0.0);
        }
    }
    if x.0 <= x.1 {
        plot.levels.iter().for_each(|v| grow(&mut y, *v));
    }
    let points_only = plot.series.iter().all(|s| s.style == SeriesStyle::Points);
    let x = plot.x.range.unwrap_or_else(|| {
        if (points_only || plot.equal_axes) && !plot.x.is_time {
            return nice_range(x.0, x.1, X_PARTS);
        }
        let (low, high) = opened(x.0, x.1);
        [low, high]
    });
    (x, plot.y.range.unwrap_or_else(|| nice_range(y.0, y.1, Y_PARTS)))
}

/// The smallest distance of two bars.
fn bar_width(x: &[f64]) -> f64 {
    let mut sorted = x.to_vec();
    sorted.sort_by(f64::total_cmp);
    let gaps = sorted.windows(2).map(|pair| pair[1] - pair[0]).filter(|gap| *gap > 0.0);
    let least = gaps.fold(f64::INFINITY, f64::min);
    if least.is_finite() { least } else { 1.0 }
}

fn axis_title(label: &str, unit: &str) -> String {
    match (label.is_empty(), unit.is_empty()) {
        (_, true) => label.into(),
        (true, false) => unit.into(),
        (false, false) => format!("{label} ({unit})"),
    }
}

fn draw_axes(canvas: &mut Canvas, plot: &Plot<'_>, frame: &Frame) {
    let x_ticks: Vec<Tick> = if plot.x_is_resolution {
        resolution_ticks(frame.x, RESOLUTION_GAP * (frame.x[1] - frame.x[0]) / frame.width)
    } else if plot.x.is_time {
        fitting(time_ticks(frame.x, X_PARTS), frame.width)
    } else {
        fitting(linear_ticks(frame.x, X_PARTS), frame.width)
    };
    for tick in &x_ticks {
        let x = frame.px(tick.value);
        canvas.line("grid", [x, frame.top], [x, frame.bottom()]);
        canvas.text("", Anchor::Middle, [x, frame.bottom() + 17.0], &tick.label);
    }
    for tick in linear_ticks(frame.y, Y_PARTS) {
        let y = frame.py(tick.value);
        canvas.line("grid", [frame.left, y], [frame.right(), y]);
        canvas.text("", Anchor::End, [frame.left - 7.0, y + 4.3], &tick.label);
    }
    let corner = [[frame.left, frame.top], [frame.left, frame.bottom()], [frame.right(), frame.bottom()]];
    let corner = corner.map(|at| at.map(coordinate).join(" ")).join("L");
    canvas.path(r#"class="axis""#, &format!("M{corner}"));
    let unit = if plot.x_is_resolution { "Å" } else { &plot.x.unit };
    let middle = frame.left + 0.5 * frame.width;
    canvas.text(
        r#"class="label""#,
        Anchor::Middle,
        [middle, frame.bottom() + 37.0],
        &axis_title(&plot.x.label, unit),
    );
    let y = coordinate(frame.top + 0.5 * frame.height);
    let turned = format!(r#"class="label" transform="translate(14 {y}) rotate(-90)""#);
    canvas.text(&turned, Anchor::Middle, [0.0, 0.0], &axis_title(&plot.y.label, &plot.y.unit));
}

/// Every n-th tick, so that labels do not touch.
fn fitting(ticks: Vec<Tick>, width: f64) -> Vec<Tick> {
    let widest = ticks.iter().map(|t| text_width_em(&t.label)).fold(0.0, f64::max) * FONT + 12.0;
    let stride = (widest * ticks.len() as f64 / width.max(1.0)).ceil().max(1.0) as usize;
    ticks.into_iter().step_by(stride).collect()
}

fn draw_series(canvas: &mut Canvas, frame: &Frame, series: &Series, colour: usize) {
    match series.style {
        SeriesStyle::Line => draw_line(canvas, frame, series, colour),
        SeriesStyle::Points => {
            let radius = if series.x.len() > MANY_POINTS { 1.4 } else { 2.6 };
            canvas.open_group(&format!(r#"class="dots s{colour}""#));
            for (x, y) in series.x.iter().zip(&series.y) {
                if let Some(y) = y {
                    canvas.circle([frame.px(*x), frame.py(*y)], radius);
                }
            }
            canvas.close_group();
        }
        SeriesStyle::Bars => {
            let width = bar_width(&series.x);
            let zero = frame.py(0.0_f64.clamp(frame.y[0], frame.y[1]));
            canvas.open_group(&format!(r#"class="bars s{colour}""#));
            for (x, y) in series.x.iter().zip(&series.y) {
                let Some(y) = y else { continue };
                let (from, to) = (frame.px(x - 0.46 * width), frame.px(x + 0.46 * width));
                let (top, bottom) = (frame.py(*y).min(zero), frame.py(*y).max(zero));
                canvas.rect("", [from, top], [(to - from).max(0.5), bottom - top]);
            }
            canvas.close_group();
        }
    }
}

/// Joined pieces between gaps; a piece of one point is a dot. Points that fall on their predecessor are left out.
fn draw_line(canvas: &mut Canvas, frame: &Frame, series: &Series, colour: usize) {
    let mut d = String::new();
    let mut last: Option<[f64; 2]> = None;
    let mut piece = 0;
    for (x, y) in series.x.iter().zip(&series.y) {
        let Some(y) = y else {
            close_piece(&mut d, piece);
            (last, piece) = (None, 0);
            continue;
        };
        let at = [frame.px(*x), frame.py(*y)];
        if last.is_some_and(|p| (p[0] - at[0]).abs() < 0.05 && (p[1] - at[1]).abs() < 0.05) {
            continue;
        }
        d.push(if piece == 0 { 'M' } else { 'L' });
        d.push_str(&format!("{} {}", coordinate(at[0]), coordinate(at[1])));
        (last, piece) = (Some(at), piece + 1);
    }
    close_piece(&mut d, piece);
    if !d.is_empty() {
        canvas.path(&format!(r#"class="curve s{colour}""#), &d);
    }
}

/// A lone point becomes a stroke of no length, which round caps make a dot.
fn close_piece(d: &mut String, points: usize) {
    if points == 1 {
        d.push_str("h0");
    }
}

/// Names of the series in rows at the top; returns where they end.
fn draw_legend(canvas: &mut Canvas, plot: &Plot<'_>) -> f64 {
    let needed =
        plot.series.len() > 1 || plot.series.iter().any(|s| !s.label.is_empty() && s.label != plot.y.label);
    if !needed {
        return 0.0;
    }
    let mut at = [14.0, 16.0];
    for (index, series) in plot.series.iter().take(NAMED).enumerate().filter(|(_, s)| !s.label.is_empty()) {
        let width = 22.0 + text_width_em(&series.label) * FONT + 14.0;
        if at[0] > 14.0 && at[0] + width > WIDTH {
            at = [14.0, at[1] + 18.0];
        }
        let class = format!(r#"class="swatch s{index}" rx="2""#);
        match series.style {
            SeriesStyle::Line => canvas.rect(&class, [at[0], at[1] - 5.5], [16.0, 3.0]),
            SeriesStyle::Points => canvas.rect(&class, [at[0] + 5.0, at[1] - 7.5], [6.0, 6.0]),
            SeriesStyle::Bars => canvas.rect(&class, [at[0] + 3.0, at[1] - 9.5], [10.0, 10.0]),
        }
        canvas.text("", Anchor::Start, [at[0] + 22.0, at[1]], &series.label);
        at[0] += width;
    }
    if plot.series.len() > NAMED {
        canvas.text(r#"class="small""#, Anchor::Start, at, &format!("+ {} more", plot.series.len() - NAMED));
    }
    at[1] + 2.0
}
