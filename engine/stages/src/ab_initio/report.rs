//! What the job reports.

use super::checkpoint::Course;
use super::images::WorkingImages;
use super::schedule::{LOCKED_EFFECTIVE_POSES, Schedule};
use super::start::agreed_radius;
use crate::map_figures;
use ndarray::Array3;
use serde_json::json;
use vitreous_jobs::ab_initio::AbInitio;
use vitreous_model::particle::{Particle, ParticleSet};
use vitreous_model::report::{Axis, Figure, Report, Series};
use vitreous_model::symmetry::PointGroup;

/// FSC at which halves of a converged map agree at [`CONVERGED_BAND`].
const CONVERGED_FSC: f64 = 0.5;
/// Where the halves of a converged map agree to at least, as a multiple of the first band. Of starts of
/// beta-galactosidase (121 particles) wrong ones agreed to 1.01 to 1.34 times it, right ones to 1.04 to 1.57.
const CONVERGED_BAND: f64 = 1.4;
/// Likewise as a multiple of the band that halves begin with, which they share.
const BEYOND_START: f64 = 1.15;
/// A map that correlates less with itself turned does not have the symmetry asked for.
const LEAST_SYMMETRY: f64 = 0.5;

/// What happened.
pub struct Story<'a> {
    /// Every start.
    pub starts: &'a [Course],
    /// The one whose map was kept.
    pub best: usize,
    /// The plan.
    pub schedule: &'a Schedule,
    /// The point group was imposed from the first mini-batch on.
    pub from_start: bool,
    /// The classes in the order of the maps.
    pub order: &'a [usize],
    /// The maps on the particles' box.
    pub maps: &'a [Array3<f32>],
    /// The particles.
    pub set: &'a ParticleSet,
    /// The images used.
    pub images: &'a WorkingImages,
}

/// The largest class of a start.
fn largest(course: &Course) -> usize {
    (0..course.shares.len()).max_by(|&a, &b| course.shares[a].total_cmp(&course.shares[b])).unwrap_or(0)
}

/// Where the halves of the largest class agree to, Fourier pixels.
fn agreed(course: &Course, threshold: f64) -> f64 {
    course.fsc.get(largest(course)).map_or(0.0, |fsc| agreed_radius(fsc, threshold))
}

/// The band maps are given out in, Fourier pixels: what the halves of some class agree on, no more than asked for.
pub fn agreed_band(course: &Course, schedule: &Schedule) -> f64 {
    let agreed = course.fsc.iter().map(|fsc| agreed_radius(fsc, 0.143)).fold(0.0, f64::max);
    (agreed + 1.0).clamp(schedule.first_rmax, schedule.last_rmax)
}

/// Where the halves of the largest class agree to (FSC 0.143), Å.
pub fn resolution(course: &Course, schedule: &Schedule, pixel_size_a: f64) -> f64 {
    schedule.box_px as f64 * pixel_size_a / agreed(course, 0.143).clamp(1.0, schedule.last_rmax)
}

/// Mean over classes, by their share, of the mean FSC of the halves over the band.
pub fn quality(course: &Course, schedule: &Schedule) -> f64 {
    let shells = 1..=(schedule.last_rmax.floor() as usize);
    let mean = |fsc: &Vec<f64>| {
        let sum: f64 = shells.clone().filter_map(|shell| fsc.get(shell)).map(|value| value.max(0.0)).sum();
        sum / shells.clone().count() as f64
    };
    course.fsc.iter().zip(&course.shares).map(|(fsc, share)| mean(fsc) * share).sum()
}

/// Whether the halves agree on more than what they began with, and particles know their poses: halves that both hold a
/// mixture of the two hands agree as well, but leave many poses likely (apoferritin: 28 to 30, right maps 7 to 8).
pub fn has_converged(course: &Course, schedule: &Schedule) -> bool {
    let wanted = (CONVERGED_BAND * schedule.first_rmax).max(BEYOND_START * schedule.halves_rmax);
    let wanted = wanted.min(schedule.last_rmax);
    let locked = course.effective_poses.last().is_some_and(|&likely| likely < LOCKED_EFFECTIVE_POSES);
    locked && agreed(course, CONVERGED_FSC) >= wanted
}

/// Numbers, curves and pictures.
pub fn report(params: &AbInitio, story: &Story<'_>) -> Report {
    let best = &story.starts[story.best];
    let schedule = story.schedule;
    let box_a = story.images.box_px as f64 * story.images.pixel_size_a;
    let mut report = Report::new("Ab-initio map");
    let resolution = resolution(best, schedule, story.images.pixel_size_a);
    report.number("resolution_A", "halves agree to (FSC 0.143)", resolution, "Å");
    report.number("halves_fsc05_A", "halves agree to (FSC 0.5)", box_a / agreed(best, 0.5).max(1.0), "Å");
    report.number("band_A", "resolution used", box_a / agreed_band(best, schedule), "Å");
    let converged = has_converged(best, schedule);
    report.number("converged", "converged (1: yes)", f64::from(u8::from(converged)), "");
    let likely = best.effective_poses.last().copied().unwrap_or(f64::NAN);
    report.number("effective_poses", "likely poses per particle", likely, "");
    report.number("quality", "mean FSC of the halves", quality(best, schedule), "");
    if let Some(score) = best.held_out_score {
        report.number("held_out_score", "held-out log evidence per particle", score, "nats");
    }
    report.number("particles_used", "particles used", story.images.training.len() as f64, "");
    if let Some(&correlation) = best.axes.get(story.order[0]) {
        report.number(
            "symmetry_correlation",
            &format!("correlation under {}", params.symmetry),
            correlation,
            "",
        );
    }
    if story.order.len() > 1 {
        class_numbers(&mut report, story, best);
    }
    report.notes = notes(params, story, best);
    report.figures = figures(story);
    let starts = story.starts.iter().enumerate().map(|(number, start)| {
        let finished = !start.fsc.is_empty();
        json!({"start": number + 1, "held_out_score_nats": start.held_out_score, "finished": finished,
            "converged": finished && has_converged(start, schedule), "quality": quality(start, schedule),
            "batches": start.rmax.len()})
    });
    report.data.insert("starts".into(), starts.collect());
    report
}

fn class_numbers(report: &mut Report, story: &Story<'_>, best: &Course) {
    let box_a = story.images.box_px as f64 * story.images.pixel_size_a;
    for (place, &class) in story.order.iter().enumerate() {
        let number = place as u32 + 1;
        let of_class = |particle: &&Particle| particle.class.is_some_and(|class| class.number == number);
        let count = story.set.particles.iter().filter(of_class).count();
        report.number(
            &format!("class_{number}_particles"),
            &format!("class {number}: particles"),
            count as f64,
            "",
        );
        let radius = agreed_radius(&best.fsc[class], 0.143).clamp(1.0, story.schedule.last_rmax);
        let label = format!("class {number}: halves agree to (FSC 0.143)");
        report.number(&format!("class_{number}_resolution_A"), &label, box_a / radius, "Å");
    }
}

fn notes(params: &AbInitio, story: &Story<'_>, best: &Course) -> Vec<String> {
    let mut notes = Vec::new();
    if !has_converged(best, story.schedule) {
        notes.push(
            "The map has not converged: maps of two halves of the particles do not agree beyond the resolution they \
             were started at, or too many poses of a particle stay likely. Do not build on it. Try another seed or more starts, more particles, more batches, or \
             leave out particles that are none."
                .into(),
        );
    }
    let correlation = best.axes.get(story.order[0]).copied();
    if let Some(correlation) = correlation.filter(|&correlation| correlation < LEAST_SYMMETRY) {
        notes.push(format!(
            "The map made without symmetry correlates only to {correlation:.2} with itself under {}: check the point \
             group before it is used.",
            params.symmetry
        ));
    }
    if story.from_start && params.symmetry != PointGroup::C1 {
        notes.push(format!(
            "{} was imposed from the first mini-batch on, so the map cannot show whether it is right; `impose: map` can.",
            params.symmetry
        ));
    }
    notes.push("The hand of an ab-initio map is arbitrary; `flip_hand` gives the other one.".into());
    notes
}

fn figures(story: &Story<'_>) -> Vec<Figure> {
    let voxel_a = story.set.pixel_size_a;
    let box_a = story.images.box_px as f64 * story.images.pixel_size_a;
    let course = |of: &dyn Fn(&Course) -> Vec<f64>| -> Vec<Series> {
        let line = |(number, start): (usize, &Course)| {
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
    let likely = |start: &Course| {
        let skip_first = |(i, &n): (usize, &f64)| if i == 0 { f64::NAN } else { n };
        start.effective_poses.iter().enumerate().map(skip_first).collect()
    };
    let resolution = |start: &Course| start.rmax.iter().map(|rmax| box_a / rmax).collect();
    let best = &story.starts[story.best];
    let halves: Vec<(String, &[f64])> = story
        .order
        .iter()
        .enumerate()
        .filter_map(|(place, &class)| Some((format!("class {}", place + 1), best.fsc.get(class)?.as_slice())))
        .collect();
    let halves: Vec<(&str, &[f64])> = halves.iter().map(|(label, fsc)| (label.as_str(), *fsc)).collect();
    let mut figures: Vec<Figure> = Vec::new();
    for (place, map) in story.maps.iter().enumerate() {
        let (id, of) = match (story.maps.len(), place) {
            (1, _) => (String::new(), String::new()),
            _ => (format!("-{}", place + 1), format!(" of class {}", place + 1)),
        };
        let title = format!("Central slices{of} across z, y and x");
        figures.push(map_figures::slices(&format!("slices{id}"), &title, map.view(), voxel_a));
        let title = format!("Projections{of} along z, y and x");
        figures.push(map_figures::projections(&format!("projections{id}"), &title, map.view(), voxel_a));
    }
    figures.extend([
        map_figures::fsc(
            "halves",
            "Agreement of halves",
            &halves,
            story.images.box_px,
            story.images.pixel_size_a,
        ),
        plot("band", "Resolution used", Axis::new("resolution", "Å"), course(&resolution)),
        plot("likely-poses", "Likely poses per particle", Axis::new("effective number", ""), course(&likely)),
    ]);
    figures
}
