//! What `pick-templates` shows: the templates, picks on micrographs, their scores and numbers.

use super::run::{Picked, Plan};
use crate::map_figures;
use crate::picking::figures::{Circle, Scale, count_figure, histogram, micrograph_with_circles};
use crate::picking::report_of;
use ndarray::Array2;
use serde_json::json;
use vitreous_compute::ops::template_correlation::TemplateCorrelation;
use vitreous_model::exposure::Exposure;
use vitreous_model::report::{Axis, Figure, Report, Skipped};

/// Templates that are shown, and in a row.
const SHOWN: usize = 60;
const SHOWN_IN_A_ROW: usize = 12;

/// The report, with the pictures of [`image_of`].
pub(super) fn make<D: TemplateCorrelation>(
    done: &[(&Exposure, Picked)],
    images: Vec<Figure>,
    plan: &Plan<'_, D>,
    skipped: Vec<Skipped>,
) -> Report {
    let counts: Vec<usize> = done.iter().map(|(_, picked)| picked.found.len()).collect();
    let mut report = report_of(&counts);
    report.number("templates", "Templates", plan.bank.views.len() as f64, "");
    let angles = plan.bank.entries.len() / plan.bank.views.len().max(1);
    report.number("angles", "Angles in the plane", angles as f64, "");
    report.number("working_pixel_A", "Working pixel size", plan.working_pixel_a(), "Å");
    report.number("exposures", "Micrographs", done.len() as f64, "");
    report.number("skipped", "Skipped", skipped.len() as f64, "");
    if plan.params.ctf && done.iter().any(|(_, picked)| !picked.has_ctf) {
        report.notes.push(
            "Micrographs without CTF were searched with the templates as they are: run estimate-ctf first."
                .into(),
        );
    }
    if counts.iter().all(|count| *count == 0) {
        report.notes.push(
            "No particles were found: look at the templates and the pictures, then at threshold and \
             white_particles."
                .into(),
        );
    }
    let step = plan.bank.views.len().div_ceil(SHOWN).max(1);
    let shown: Vec<Array2<f32>> = plan.bank.views.iter().step_by(step).cloned().collect();
    let title = format!("{} of {} templates", shown.len(), plan.bank.views.len());
    report.figures.push(map_figures::montage(
        "templates",
        &title,
        &shown,
        SHOWN_IN_A_ROW,
        plan.working_pixel_a(),
    ));
    report.figures.extend(images);
    let found = || done.iter().flat_map(|(_, picked)| &picked.found);
    let scores = found().map(|found| found.score).collect();
    report.figures.extend(histogram("scores", "Scores of the picks", Axis::new("Score", "sd"), scores));
    let best = found().map(|found| f64::from(found.template)).collect();
    report.figures.extend(histogram("best", "Which template fits best", Axis::new("Template", ""), best));
    if done.len() > 1 {
        report.figures.push(count_figure(done.iter().map(|(_, picked)| picked.found.len())));
    }
    let record = |(exposure, picked): &(&Exposure, Picked)| {
        let (picks, masked) = (picked.found.len(), picked.masked_fraction);
        json!({"name": exposure.name, "picks": picks, "masked_fraction": masked, "ctf": picked.has_ctf})
    };
    report.data.insert("exposures".into(), done.iter().map(record).collect());
    report.skipped = skipped;
    report
}

/// A micrograph with a circle at every pick, `edge` pixels along its longer edge. `index` tells the figure from others.
pub(super) fn image_of<D: TemplateCorrelation>(
    index: usize,
    pixels: &Array2<f32>,
    plan: &Plan<'_, D>,
    exposure: &Exposure,
    picked: &Picked,
    edge: usize,
) -> Figure {
    let diameter_a = plan.diameter_a;
    let circle = |f: &super::run::Found| Circle { x_px: f.x_px, y_px: f.y_px, diameter_a };
    let circles: Vec<Circle> = picked.found.iter().map(circle).collect();
    let title = format!("{} picks on {}", picked.found.len(), exposure.name);
    let scale = Scale { pixel_size_a: plan.micrograph_pixel_a, diameter_a, max_diameter_a: diameter_a };
    micrograph_with_circles(&format!("picks_{index}"), title, pixels, scale, &circles, edge)
}
