//! The plots of a collection: everything over the time of recording.

use super::numbers::{course, median};
use super::{CTF, Collection, Exposure, MOTION};
use crate::number::{date, time_ticks};
use vitreous_model::report::{Axis, Figure, Series, SeriesStyle};

/// Points of a plot, at most about; of more, every n-th is drawn.
const MOST_POINTS: usize = 1500;
/// Points of a course, at most about.
const MOST_STEPS: usize = 400;
/// Bars of a plot of rates, at most about.
const MOST_BARS: f64 = 48.0;
/// Widths of these bars, seconds.
const BAR_STEPS_S: [f64; 13] = [
    60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 10_800.0, 21_600.0, 43_200.0, 86_400.0,
    604_800.0,
];
/// A running median is that of so many exposures, where there are enough.
const RUNNING: usize = 25;

/// Every plot that has something to show.
pub(super) fn all(collection: &Collection) -> Vec<Figure> {
    let Some(range) = range(collection) else { return Vec::new() };
    let plots = Plots { collection, range };
    let mut figures = vec![plots.progress(), plots.rates()];
    if collection.job_of(CTF).is_some() {
        let micrometres = |e: &Exposure| e.defocus_a.map(|a| a * 1e-4);
        figures.extend(plots.quantity("defocus", "Defocus", "Mean defocus", "µm", micrometres));
        let astigmatism = |e: &Exposure| e.astigmatism_a;
        figures.extend(plots.quantity("astigmatism", "Astigmatism", "Astigmatism", "Å", astigmatism));
        let fit = |e: &Exposure| e.fit_resolution_a;
        figures.extend(plots.quantity(
            "fit_resolution",
            "Fit resolution of the CTF",
            "Fit resolution",
            "Å",
            fit,
        ));
    }
    if collection.job_of(MOTION).is_some() {
        figures.extend(plots.motion());
    }
    if collection.picker().is_some() {
        let picks = |e: &Exposure| e.picks.map(|n| n as f64);
        figures.extend(plots.quantity("picks", "Picks per micrograph", "Picks", "", picks));
    }
    figures
}

/// First and last moment on the wall clock: of recording and of work. `None` if no time is known.
fn range(collection: &Collection) -> Option<[f64; 2]> {
    let recorded = collection.exposures.iter().filter_map(|exposure| exposure.recorded_unix_s);
    let (low, high) = recorded.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), t| (l.min(t), h.max(t)));
    if low > high {
        return None;
    }
    let margin = (0.01 * (high - low)).max(5.0);
    Some([collection.wall_s(low - margin), collection.wall_s(high + margin)])
}

struct Plots<'a> {
    collection: &'a Collection,
    /// Of recording, on the wall clock.
    range: [f64; 2],
}

impl Plots<'_> {
    fn axis(&self, range: [f64; 2]) -> Axis {
        // where no tick bears a date, the axis says which day it is
        let has_date = time_ticks(range, 6.0).iter().any(|tick| tick.label.contains(char::is_alphabetic));
        let label = if has_date { "time".into() } else { format!("time on {}", date(range[0])) };
        Axis { range: Some(range), ..Axis::time(&label, &self.collection.zone) }
    }

    fn plot(&self, id: &str, title: String, x: Axis, y: Axis, series: Vec<Series>) -> Figure {
        Figure::Plot {
            id: id.into(),
            title,
            x,
            y,
            series,
            levels: Vec::new(),
            x_is_resolution: false,
            equal_axes: false,
        }
    }

    /// Times of recording on the wall clock, in order.
    fn recorded(&self) -> Vec<f64> {
        let times = self.collection.exposures.iter().filter_map(|e| e.recorded_unix_s);
        let mut times: Vec<f64> = times.map(|at| self.collection.wall_s(at)).collect();
        times.sort_by(f64::total_cmp);
        times
    }

    /// From the first movie to the last event of recording or preprocessing.
    fn whole_range(&self) -> [f64; 2] {
        let mut range = self.range;
        for job in &self.collection.jobs {
            for at in job.finished.last().iter().map(|(at, _)| self.collection.wall_s(*at)) {
                range[1] = range[1].max(at + 5.0);
            }
        }
        range
    }

    /// How many movies were recorded, and how many each kind of job had done, by and by.
    fn progress(&self) -> Figure {
        let range = self.whole_range();
        let recorded: Vec<(f64, f64)> =
            self.recorded().into_iter().enumerate().map(|(i, at)| (at, (i + 1) as f64)).collect();
        let most = recorded.len() as f64;
        let mut series = vec![steps("recorded", recorded, range)];
        let jobs = [
            ("motion corrected", self.collection.job_of(MOTION)),
            ("CTF estimated", self.collection.job_of(CTF)),
            ("picked", self.collection.picker()),
        ];
        for (label, job) in jobs {
            let course = job.map(|job| course(self.collection, job)).unwrap_or_default();
            if !course.is_empty() {
                // an item that was done twice, because its movie changed, is one
                let course = course.into_iter().map(|(at, count)| (at, count.min(most))).collect();
                series.push(steps(label, course, range));
            }
        }
        let y = Axis { range: Some([0.0, most * 1.04]), ..Axis::new("Movies", "") };
        self.plot("progress", "Movies recorded and done".into(), self.axis(range), y, series)
    }

    /// Movies an hour, recorded and preprocessed.
    fn rates(&self) -> Figure {
        let range = self.whole_range();
        let wanted = (range[1] - range[0]) / MOST_BARS;
        let width = BAR_STEPS_S.into_iter().find(|step| *step >= wanted).unwrap_or(wanted);
        let recorded = self.recorded().into_iter().map(|at| (at, 1.0));
        let mut bars = per_hour("recorded", recorded, range, width);
        bars.style = SeriesStyle::Bars;
        let mut series = vec![bars];
        if let Some(job) = self.collection.last_of_preprocessing() {
            let finished = job.finished.iter().map(|(at, n)| (self.collection.wall_s(*at), *n as f64));
            series.push(per_hour("preprocessed", finished, range, width));
        }
        let title = format!("Movies per hour, in steps of {}", duration(width));
        let most = series.iter().flat_map(|s| s.y.iter().flatten()).fold(1.0f64, |a, b| a.max(*b));
        let y = Axis { range: Some([0.0, 1.05 * most]), ..Axis::new("Movies", "1/h") };
        self.plot("rates", title, self.axis(range), y, series)
    }

    /// A quantity of exposures over their time: those kept, their running median, those rejected.
    fn quantity(
        &self,
        id: &str,
        title: &str,
        label: &str,
        unit: &str,
        value: impl Fn(&Exposure) -> Option<f64>,
    ) -> Option<Figure> {
        let points = |is_rejected: bool| {
            let chosen = self.collection.exposures.iter().filter(|e| e.rejected.is_some() == is_rejected);
            let known = chosen.filter_map(|e| {
                let (at, value) = (e.recorded_unix_s?, value(e)?);
                value.is_finite().then(|| (self.collection.wall_s(at), value))
            });
            known.collect::<Vec<(f64, f64)>>()
        };
        let (kept, rejected) = (points(false), points(true));
        if kept.is_empty() && rejected.is_empty() {
            return None;
        }
        let middle = median(kept.iter().map(|(_, value)| *value).collect());
        let title = match middle {
            Some(middle) => format!("{title}, median {} {unit}", crate::number::short(middle)),
            None => title.into(),
        };
        let mut series = vec![dots("kept", &kept)];
        if kept.len() > RUNNING {
            series.push(running_median(&kept));
        }
        if !rejected.is_empty() {
            if series.len() == 1 {
                series.push(Series::line("", Vec::new(), []));
            }
            series.push(dots("rejected", &rejected));
        }
        if series.len() == 1 {
            series[0].label = String::new();
        }
        let y = Axis::new(label, unit);
        Some(self.plot(id, title.trim_end().into(), self.axis(self.range), y, series))
    }

    /// Path lengths, all and early.
    fn motion(&self) -> Option<Figure> {
        let of = |value: fn(&Exposure) -> Option<f64>| {
            let exposures = self.collection.exposures.iter();
            let known =
                exposures.filter_map(|e| Some((self.collection.wall_s(e.recorded_unix_s?), value(e)?)));
            known.collect::<Vec<(f64, f64)>>()
        };
        let (total, early) = (of(|e| e.motion_total_a), of(|e| e.motion_early_a));
        if total.is_empty() {
            return None;
        }
        let most = total.iter().map(|(_, value)| *value).fold(0.0, f64::max).max(1e-3);
        let y = Axis { range: Some([0.0, 1.05 * most]), ..Axis::new("Path length", "Å") };
        let series = vec![dots("whole exposure", &total), dots("first 4 e/Å²", &early)];
        let middle = median(total.iter().map(|(_, value)| *value).collect()).unwrap_or(f64::NAN);
        let title = format!("Motion of the whole frame, median {} Å", crate::number::short(middle));
        Some(self.plot("motion", title, self.axis(self.range), y, series))
    }
}

fn dots(label: &str, points: &[(f64, f64)]) -> Series {
    let stride = points.len().div_ceil(MOST_POINTS).max(1);
    let (x, y): (Vec<f64>, Vec<f64>) = points.iter().step_by(stride).copied().unzip();
    Series::points(label, x, y)
}

/// The median of [`RUNNING`] neighbours in time.
fn running_median(points: &[(f64, f64)]) -> Series {
    let mut sorted = points.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let stride = sorted.len().div_ceil(MOST_STEPS).max(1);
    let windows = sorted.windows(RUNNING).step_by(stride);
    let (x, y): (Vec<f64>, Vec<f64>) = windows
        .map(|window| {
            let middle = median(window.iter().map(|(_, value)| *value).collect());
            (window[RUNNING / 2].0, middle.unwrap_or(f64::NAN))
        })
        .unzip();
    Series::line("running median", x, y)
}

/// A count that grows in steps, up to the end of the range.
fn steps(label: &str, course: Vec<(f64, f64)>, range: [f64; 2]) -> Series {
    let stride = course.len().div_ceil(MOST_STEPS).max(1);
    let last = course.len().saturating_sub(1);
    let (mut x, mut y) = (Vec::new(), Vec::new());
    let mut before = 0.0;
    for (_, (at, count)) in course.iter().enumerate().filter(|(i, _)| i % stride == 0 || *i == last) {
        x.extend([*at, *at]);
        y.extend([before, *count]);
        before = *count;
    }
    x.push(range[1]);
    y.push(before);
    Series::line(label, x, y)
}

/// Events (time, number) an hour, in bars of a width; the last bar counts the time that has passed of it.
fn per_hour(label: &str, events: impl Iterator<Item = (f64, f64)>, range: [f64; 2], width: f64) -> Series {
    let first = (range[0] / width).floor();
    let bars = ((range[1] / width).floor() - first) as usize + 1;
    let mut counts = vec![0.0; bars];
    for (at, count) in events {
        let bar = ((at / width).floor() - first).max(0.0) as usize;
        counts[bar.min(bars - 1)] += count;
    }
    let begin = |bar: usize| (first + bar as f64) * width;
    let seconds = |bar: usize| {
        let (from, to) = (begin(bar).max(range[0]), (begin(bar) + width).min(range[1]));
        (to - from).max(0.2 * width)
    };
    let x = (0..bars).map(|bar| begin(bar) + 0.5 * width).collect();
    Series::line(label, x, (0..bars).map(|bar| counts[bar] * 3600.0 / seconds(bar)))
}

/// `10 min`.
fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 3600.0 => format!("{:.0} min", s / 60.0),
        s if s < 86_400.0 => format!("{:.0} h", s / 3600.0),
        s => format!("{:.0} d", s / 86_400.0),
    }
}
