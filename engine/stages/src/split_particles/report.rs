//! How large the parts are, and what is in them.

use super::parts::Part;
use serde_json::json;
use std::collections::HashSet;
use vitreous_model::particle::ParticleSet;
use vitreous_model::report::{Axis, Figure, Report, Series, SeriesStyle};

/// The report.
pub(super) fn make(set: &ParticleSet, parts: &[Part]) -> Report {
    let mut report = Report::new(format!("{} particles in {} parts", set.particles.len(), parts.len()));
    report.number("particles", "Particles", set.particles.len() as f64, "");
    for (index, part) in parts.iter().enumerate() {
        let key = format!("particles_{}", index + 1);
        report.number(
            &key,
            &format!("particles_{}: {}", index + 1, part.label),
            part.members.len() as f64,
            "",
        );
    }
    for (index, part) in parts.iter().enumerate().filter(|(_, part)| part.members.is_empty()) {
        report.notes.push(format!("particles_{} ({}) is empty.", index + 1, part.label));
    }
    report.figures.push(sizes(parts));
    let rows = parts.iter().enumerate().map(|(index, part)| {
        json!({
            "output": format!("particles_{}", index + 1), "is": part.label, "particles": part.members.len(),
            "exposures": exposures(set, part),
        })
    });
    report.data.insert("parts".into(), rows.collect());
    report
}

/// Exposures that particles of a part were picked on.
fn exposures(set: &ParticleSet, part: &Part) -> usize {
    let picks = part.members.iter().filter_map(|&index| set.particles[index].pick.as_ref());
    picks.map(|pick| pick.exposure.as_str()).collect::<HashSet<_>>().len()
}

fn sizes(parts: &[Part]) -> Figure {
    let numbers = (1..=parts.len()).map(|part| part as f64).collect();
    let counts = parts.iter().map(|part| part.members.len() as f64);
    Figure::Plot {
        id: "parts".into(),
        title: "Sizes of the parts".into(),
        x: Axis::new("part", ""),
        y: Axis::new("particles", ""),
        series: vec![Series { style: SeriesStyle::Bars, ..Series::line("particles", numbers, counts) }],
        levels: Vec::new(),
        x_is_resolution: false,
        equal_axes: false,
    }
}
