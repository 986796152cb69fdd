//! How many duplicates there were, and how far apart neighbours are.

use crate::distribution::Bins;
use crate::picking::places::Place;
use std::collections::BTreeMap;
use vitreous_model::report::{Axis, Figure, Report, Series};

/// Neighbours farther apart than so many least distances are of no interest.
const FAR: f64 = 6.0;

/// The report.
pub(super) fn make(places: &[Place<'_>], stays: &[bool], distance_a: f64) -> Report {
    let kept = stays.iter().filter(|stays| **stays).count();
    let mut report = Report::new(format!("{kept} of {} particles are kept", stays.len()));
    report.number("particles", "Particles", kept as f64, "");
    report.number("duplicates", "Duplicates left out", (stays.len() - kept) as f64, "");
    report.number("min_distance_A", "Least distance", distance_a, "Å");
    let unknown = places.iter().filter(|place| place.is_none()).count();
    if unknown > 0 {
        report.number("unplaced", "Kept, their places unknown", unknown as f64, "");
        report.notes.push(format!(
            "{unknown} particles do not say where they lie, or lie on micrographs that were not given: they are kept."
        ));
    }
    report.figures.extend(neighbours(places, stays, distance_a));
    report
}

/// Distances to the nearest neighbour, of all and of those that are kept.
fn neighbours(places: &[Place<'_>], stays: &[bool], distance_a: f64) -> Option<Figure> {
    let all = nearest(places.iter().copied().flatten(), FAR * distance_a);
    let kept = places.iter().zip(stays).filter(|(_, stays)| **stays).map(|(place, _)| *place);
    let kept = nearest(kept.flatten(), FAR * distance_a);
    let bins = Bins::over(all.iter().copied(), 1e-3 * distance_a)?;
    let bars = bins.counts("All", all);
    let top = bars.y.iter().flatten().copied().fold(0.0, f64::max);
    let limit = Series::line("Least distance", vec![distance_a, distance_a], [0.0, top]);
    Some(Figure::Plot {
        id: "neighbours".into(),
        title: "Distance to the nearest neighbour".into(),
        x: Axis::new("Distance", "Å"),
        y: Axis::new("Particles", ""),
        series: vec![bars, bins.counts("Kept", kept), limit],
        levels: vec![],
        x_is_resolution: false,
        equal_axes: false,
    })
}

/// The distance of every place to the nearest other one of its micrograph, Å, if that is nearer than `far_a`.
fn nearest<'a>(places: impl Iterator<Item = (&'a str, [f64; 2])>, far_a: f64) -> Vec<f64> {
    let mut by_micrograph: BTreeMap<&str, Vec<[f64; 2]>> = BTreeMap::new();
    places.for_each(|(micrograph, at)| by_micrograph.entry(micrograph).or_default().push(at));
    let mut distances = Vec::new();
    for mut here in by_micrograph.into_values() {
        // by x, so that only those nearby have to be looked at
        here.sort_by(|a, b| a[0].total_cmp(&b[0]).then(a[1].total_cmp(&b[1])));
        let close = |from: [f64; 2], to: &[f64; 2]| to[0] - from[0] < far_a;
        let mut least = vec![f64::INFINITY; here.len()];
        for i in 0..here.len() {
            for j in (i + 1..here.len()).take_while(|&j| close(here[i], &here[j])) {
                let distance = (here[i][0] - here[j][0]).hypot(here[i][1] - here[j][1]);
                least[i] = least[i].min(distance);
                least[j] = least[j].min(distance);
            }
        }
        distances.extend(least.into_iter().filter(|distance| *distance < far_a));
    }
    distances
}
