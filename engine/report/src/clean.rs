//! JSON has no NaN, and a figure no place for one: what is not finite becomes a gap before a report is written or drawn.

use vitreous_model::report::{Axis, Cell, Figure, Mark, Report, Series};

/// Beyond this a coordinate would overflow when it is scaled; it is treated as not finite.
const LARGEST: f64 = 1e150;

fn usable(value: f64) -> bool {
    value.abs() < LARGEST
}

/// The same report with unusable numbers as `None`, gaps, or left out, and curves whose `x` and `y` are equally long.
pub(crate) fn cleaned(report: &Report) -> Report {
    let mut report = report.clone();
    for number in &mut report.numbers {
        number.value = number.value.filter(|v| v.is_finite());
    }
    for cell in report.tables.iter_mut().flat_map(|table| table.rows.iter_mut().flatten()) {
        if matches!(cell, Cell::Number(value) if !value.is_finite()) {
            *cell = Cell::Absent;
        }
    }
    report.figures.iter_mut().for_each(clean_figure);
    report
}

/// The same of a figure alone.
pub(crate) fn cleaned_figure(figure: &Figure) -> Figure {
    let mut figure = figure.clone();
    clean_figure(&mut figure);
    figure
}

fn clean_figure(figure: &mut Figure) {
    match figure {
        Figure::Plot { x, y, series, levels, .. } => {
            series.iter_mut().for_each(clean_series);
            levels.retain(|v| usable(*v));
            clean_axis(x);
            clean_axis(y);
        }
        Figure::Image { marks, pixel_size_a, .. } => {
            marks.iter_mut().for_each(clean_path);
            marks.retain(mark_is_usable);
            *pixel_size_a = pixel_size_a.filter(|v| usable(*v) && *v > 0.0);
        }
        Figure::Directions { counts, .. } => {
            counts.iter_mut().flatten().for_each(|v| *v = if usable(*v) { v.max(0.0) } else { 0.0 });
        }
    }
}

fn clean_axis(axis: &mut Axis) {
    axis.range = axis.range.filter(|[low, high]| usable(*low) && usable(*high) && low < high);
}

fn clean_series(series: &mut Series) {
    let length = series.x.len().min(series.y.len());
    series.x.truncate(length);
    series.y.truncate(length);
    let mut last = 0.0;
    for (x, y) in series.x.iter_mut().zip(&mut series.y) {
        *y = y.filter(|v| usable(*v) && usable(*x));
        if !usable(*x) {
            *x = last;
        }
        last = *x;
    }
}

fn clean_path(mark: &mut Mark) {
    if let Mark::Path { x, y } = mark {
        let kept: Vec<(f64, f64)> =
            x.iter().copied().zip(y.iter().copied()).filter(|(x, y)| usable(*x) && usable(*y)).collect();
        (*x, *y) = kept.into_iter().unzip();
    }
}

fn mark_is_usable(mark: &Mark) -> bool {
    match mark {
        Mark::Circle { x, y, radius } => [x, y, radius].into_iter().all(|v| usable(*v)) && *radius >= 0.0,
        Mark::Path { x, .. } => !x.is_empty(),
        Mark::Text { x, y, .. } => usable(*x) && usable(*y),
    }
}
