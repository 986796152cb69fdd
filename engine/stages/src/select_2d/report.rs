//! What the job reports.

use super::choose::Decision;
use crate::class_figures::{by_size, montage};
use ndarray::Array2;
use serde_json::json;
use vitreous_model::class_average::{ClassAverage, ClassAverages};
use vitreous_model::report::Report;

/// What happened.
pub struct Story<'a> {
    /// All classes.
    pub averages: &'a ClassAverages,
    /// Their images, in the same order.
    pub images: &'a [Array2<f32>],
    /// What was decided, in the same order.
    pub decisions: &'a [Decision],
    /// Detail that classes were compared with.
    pub usual_detail: f64,
    /// Particles kept.
    pub kept: usize,
    /// Particles in all.
    pub total: usize,
    /// Job the particles come from, for the command that selects otherwise.
    pub job: &'a str,
}

/// Numbers, the classes kept and those left out.
pub fn report(story: &Story<'_>) -> Report {
    let mut report = Report::new("Selected 2-D classes");
    let kept = story.decisions.iter().filter(|decision| decision.reason.is_none()).count();
    report.number("kept", "particles kept", story.kept as f64, "");
    report.number("rejected", "particles left out", (story.total - story.kept) as f64, "");
    report.number("classes_kept", "classes kept", kept as f64, "");
    report.number("usual_detail", "detail of good classes", story.usual_detail, "nats");
    let numbers: Vec<String> = story
        .decisions
        .iter()
        .filter(|decision| decision.reason.is_none())
        .map(|decision| decision.number.to_string())
        .collect();
    report.notes.push(format!(
        "To change the choice: `vitreous run select-2d --particles {job}.particles --class-averages \
         {job}.class-averages --classes {}`.",
        numbers.join(","),
        job = story.job
    ));
    for (id, title, wanted) in
        [("kept", "Classes kept (number: particles)", true), ("left-out", "Classes left out", false)]
    {
        let of_kind: Vec<(&ClassAverage, &Array2<f32>)> = by_size(&story.averages.classes, story.images)
            .into_iter()
            .filter(|(class, _)| {
                let decision = story.decisions.iter().find(|decision| decision.number == class.number);
                class.particles > 0 && decision.is_some_and(|decision| decision.reason.is_none()) == wanted
            })
            .collect();
        if !of_kind.is_empty() {
            report.figures.push(montage(id, title, &of_kind, story.averages.pixel_size_a));
        }
    }
    let rows = story.averages.classes.iter().zip(story.decisions);
    report.data.insert("classes".into(), rows.map(|(class, decision)| row(class, decision)).collect());
    report
}

fn row(class: &ClassAverage, decision: &Decision) -> serde_json::Value {
    json!({"class": class.number, "particles": class.particles, "detail": class.detail,
        "resolution_A": class.resolution_a.is_finite().then_some(class.resolution_a),
        "kept": decision.reason.is_none(), "reason": decision.reason})
}
