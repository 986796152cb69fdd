//! What the job reports.

use super::checkpoint::Finished;
use super::images::WorkingImages;
use super::run::has_symmetry;
use super::schedule::{CONVERGED_EFFECTIVE_POSES, Schedule};
use crate::map_figures;
use ndarray::Array3;
use serde_json::json;
use vitreous_jobs::ab_initio::AbInitio;
use vitreous_model::particle::ParticleSet;
use vitreous_model::report::{Axis, Figure, Report, Series};

/// What happened.
pub struct Story<'a> {
    /// Every start.
    pub starts: &'a [Finished],
    /// The one whose map was kept.
    pub best: usize,
    /// The plan.
    pub schedule: &'a Schedule,
    /// Correlation of the map with itself under the point group; `None` for C1.
    pub axes: Option<f64>,
    /// The map on the particles' box.
    pub map: &'a Array3<f32>,
    /// The particles.
    pub set: &'a ParticleSet,
    /// The images used.
    pub images: &'a WorkingImages,
}

/// Numbers, curves and pictures.
pub fn report(params: &AbInitio, story: &Story<'_>) -> Report {
    let best = &story.starts[story.best];
    let box_a = story.images.box_px as f64 * story.images.pixel_size_a;
    let rmax = best.course.rmax.last().copied().unwrap_or(story.schedule.last_rmax);
    let mut report = Report::new("Ab-initio map");
    report.number("band_A", "resolution used", box_a / rmax, "Å");
    report.number("converged", "converged (1: yes)", f64::from(u8::from(best.converged)), "");
    let likely = best.course.effective_poses.last().copied().unwrap_or(f64::NAN);
    report.number("effective_poses", "likely poses per particle", likely, "");
    report.number("held_out_score", "held-out log evidence per particle", best.held_out_score, "nats");
    report.number("particles_used", "particles used", story.images.training.len() as f64, "");
    if let Some(correlation) = story.axes {
        report.number(
            "symmetry_correlation",
            &format!("correlation under {}", params.symmetry),
            correlation,
            "",
        );
    }
    report.notes = notes(params, story, best);
    report.figures = figures(story);
    let starts = story.starts.iter().enumerate().map(|(number, start)| {
        json!({"start": number + 1, "held_out_score_nats": start.held_out_score, "converged": start.converged,
            "batches": start.course.rmax.len()})
    });
    report.data.insert("starts".into(), starts.collect());
    report
}

fn notes(params: &AbInitio, story: &Story<'_>, best: &Finished) -> Vec<String> {
    let mut notes = Vec::new();
    if !best.converged {
        notes.push(format!(
            "The map has not converged: on average more than {CONVERGED_EFFECTIVE_POSES} poses per particle stayed \
             likely. Use more particles, more batches, or a coarser final_resolution."
        ));
    }
    if let Some(correlation) = story.axes.filter(|&correlation| !has_symmetry(correlation)) {
        notes.push(format!(
            "The map made without symmetry correlates only to {correlation:.2} with itself under {}: check the point \
             group before it is used.",
            params.symmetry
        ));
    }
    notes.push("The hand of an ab-initio map is arbitrary.".into());
    notes
}

fn figures(story: &Story<'_>) -> Vec<Figure> {
    let voxel_a = story.set.pixel_size_a;
    let box_a = story.images.box_px as f64 * story.images.pixel_size_a;
    let course = |of: &dyn Fn(&Finished) -> Vec<f64>| -> Vec<Series> {
        let line = |(number, start): (usize, &Finished)| {
            let values = of(start);
            let x = (0..values.len()).map(|batch| batch as f64).collect();
            Series::line(&format!("start {}", number + 1), x, values)
        };
        story.starts.iter().enumerate().map(line).collect()
    };
    let plot = |id: &str, title: &str, y: Axis, series: Vec<Series>| Figure::Plot {
        id: id.into(),
        title: title.into(),
        x: Axis::new("mini-batch", ""),
        y,
        series,
        levels: Vec::new(),
        x_is_resolution: false,
        equal_axes: false,
    };
    // the first batch has random poses: there is no number of likely ones
    let likely = |start: &Finished| {
        let skip_first = |(i, &n): (usize, &f64)| if i == 0 { f64::NAN } else { n };
        start.course.effective_poses.iter().enumerate().map(skip_first).collect()
    };
    let resolution = |start: &Finished| start.course.rmax.iter().map(|rmax| box_a / rmax).collect();
    vec![
        map_figures::slices("slices", "Central slices across z, y and x", story.map.view(), voxel_a),
        map_figures::projections("projections", "Projections along z, y and x", story.map.view(), voxel_a),
        plot("band", "Resolution used", Axis::new("resolution", "Å"), course(&resolution)),
        plot("likely-poses", "Likely poses per particle", Axis::new("effective number", ""), course(&likely)),
    ]
}
