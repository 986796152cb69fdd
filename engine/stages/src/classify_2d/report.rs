//! What the job reports.

use super::checkpoint::IterationRecord;
use crate::class_figures::{by_size, montage};
use ndarray::Array2;
use serde_json::json;
use vitreous_model::class_average::{ClassAverage, ClassAverages};
use vitreous_model::particle::ParticleSet;
use vitreous_model::report::{Axis, Figure, Report, Series};

/// What happened.
pub struct Story<'a> {
    /// The classes.
    pub averages: &'a ClassAverages,
    /// Their images, by number.
    pub images: &'a [Array2<f32>],
    /// Every iteration.
    pub history: &'a [IterationRecord],
    /// Edge of the working box, Å.
    pub box_a: f64,
    /// Name of the job, for the command that selects.
    pub job: &'a str,
    /// The particles with their classes.
    pub set: &'a ParticleSet,
}

/// Numbers, curves and pictures.
pub fn report(story: &Story<'_>) -> Report {
    let mut report = Report::new("2-D classes");
    let classes = &story.averages.classes;
    let filled = classes.iter().filter(|class| class.particles > 0).count();
    report.number("particles", "particles classified", story.set.particles.len() as f64, "");
    report.number("classes", "classes with particles", filled as f64, "");
    let best = classes.iter().map(|class| class.resolution_a).fold(f64::INFINITY, f64::min);
    report.number("best_resolution_A", "best resolution of a class", best, "Å");
    let last = story.history.last();
    report.number(
        "changed",
        "particles that changed class at last",
        last.and_then(|r| r.changed).map_or(f64::NAN, |part| 100.0 * part),
        "%",
    );
    report.number("log_evidence", "mean log evidence", last.map_or(f64::NAN, |r| r.log_evidence), "nats");
    let mut detailed: Vec<&ClassAverage> = classes.iter().collect();
    detailed.sort_by(|a, b| b.detail.total_cmp(&a.detail));
    let chosen: Vec<String> = detailed.iter().take(3).map(|class| class.number.to_string()).collect();
    report.notes.push(format!(
        "To go on with some classes, name them, e.g. the three with the most detail: `vitreous run select-2d --particles {job}.particles --class-averages \
         {job}.class-averages --classes {}`; without `--classes` they are chosen by their quality.",
        chosen.join(","),
        job = story.job
    ));
    report.notes.push(
        "The resolution of a class is where the averages of two halves of its particles correlate to 0.5; both were \
         aligned to the same average, so it is optimistic, but classes can be compared by it."
            .into(),
    );
    report.figures = figures(story);
    report.data.insert("classes".into(), classes.iter().map(row).collect());
    report
}

fn row(class: &ClassAverage) -> serde_json::Value {
    let finite = |value: f64| value.is_finite().then_some(value);
    json!({"class": class.number, "particles": class.particles, "probability": finite(class.probability),
        "resolution_A": finite(class.resolution_a), "detail": class.detail})
}

fn figures(story: &Story<'_>) -> Vec<Figure> {
    let order = by_size(&story.averages.classes, story.images);
    let pixel_a = story.averages.pixel_size_a;
    let over = |of: &dyn Fn(&IterationRecord) -> f64, label: &str| {
        let x = (1..=story.history.len()).map(|i| i as f64).collect();
        Series::line(label, x, story.history.iter().map(of))
    };
    let plot = |id: &str, title: &str, y: Axis, series: Vec<Series>| Figure::Plot {
        id: id.into(),
        title: title.into(),
        x: Axis::new("iteration", ""),
        y,
        series,
        levels: Vec::new(),
        x_is_resolution: false,
        equal_axes: false,
    };
    let resolution = |record: &IterationRecord| story.box_a / record.rmax;
    let numbered: Vec<&ClassAverage> =
        order.iter().map(|(class, _)| *class).filter(|class| class.particles > 0).collect();
    let spread = Series::points(
        "classes",
        numbered.iter().map(|class| class.particles as f64).collect(),
        numbered.iter().map(|class| class.detail),
    );
    vec![
        montage("classes", "Class averages by size (number: particles)", &order, pixel_a),
        Figure::Plot {
            id: "quality".into(),
            title: "Detail of the classes over their size".into(),
            x: Axis::new("particles", ""),
            y: Axis::new("detail", "nats per particle"),
            series: vec![spread],
            levels: Vec::new(),
            x_is_resolution: false,
            equal_axes: false,
        },
        plot(
            "evidence",
            "Mean log evidence",
            Axis::new("log evidence", "nats"),
            vec![over(&|r| r.log_evidence, "particles of the iteration")],
        ),
        plot("band", "Resolution used", Axis::new("resolution", "Å"), vec![over(&resolution, "band")]),
        plot(
            "changed",
            "Particles that changed class",
            Axis::new("part", "%"),
            vec![over(&|r| 100.0 * r.changed.unwrap_or(f64::NAN), "changed")],
        ),
    ]
}
