//! How many particles the sets share, and how far paired places lie apart.

use super::pairs::Common;
use crate::distribution::{Bins, median};
use vitreous_jobs::intersect_particles::IntersectParticles;
use vitreous_model::report::{Axis, Figure, Report};

/// The report; `unplaced` particles of either set have no known place.
pub(super) fn make(params: &IntersectParticles, common: &Common, unplaced: [usize; 2]) -> Report {
    let count = |flags: &[bool]| flags.iter().filter(|flag| **flag).count();
    let (both, of_second) = (count(&common.first), count(&common.second));
    let (first, second) = (common.first.len(), common.second.len());
    let mut report = Report::new(format!("{both} of {first} particles are in both sets"));
    report.number("particles", "In both sets", both as f64, "");
    report.number("only_first", "Only in the first", (first - both) as f64, "");
    report.number("only_second", "Only in the second", (second - of_second) as f64, "");
    report.number("first", "First set", first as f64, "");
    report.number("second", "Second set", second as f64, "");
    if both != of_second {
        report.notes.push(format!(
            "{both} particles of the first set are {of_second} of the second: a set has images several times."
        ));
    }
    for (name, count) in ["first", "second"].into_iter().zip(unplaced) {
        if count > 0 {
            report.notes.push(format!(
                "{count} particles of the {name} set do not say where they lie, or lie on micrographs that were not \
                 given: they are taken for particles that only this set has."
            ));
        }
    }
    if let Some(most_a) = params.max_distance {
        report.number("max_distance_A", "Largest distance", most_a, "Å");
        report.number("distance_A", "Median distance of a pair", median(common.distances_a.clone()), "Å");
        report.figures.extend(distances(&common.distances_a, most_a));
    }
    report
}

fn distances(distances_a: &[f64], most_a: f64) -> Option<Figure> {
    let bins = Bins::over(distances_a.iter().copied(), 1e-3 * most_a)?;
    Some(Figure::Plot {
        id: "distances".into(),
        title: "How far the two places of a particle lie apart".into(),
        x: Axis::new("Distance", "Å"),
        y: Axis::new("Particles", ""),
        series: vec![bins.counts("Pairs", distances_a.iter().copied())],
        levels: vec![],
        x_is_resolution: false,
        equal_axes: false,
    })
}
