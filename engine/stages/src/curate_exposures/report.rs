//! How many passed, what the others failed, and the distribution of every quantity with its thresholds.

use super::quantity::{QUANTITIES, Quantity};
use super::run::{EXCLUDED, Judged, UNREADABLE};
use crate::distribution::{Bins, median};
use serde_json::json;
use vitreous_jobs::curate_exposures::CurateExposures;
use vitreous_model::exposure::ExposureSet;
use vitreous_model::report::{Axis, Figure, Report, Series, Skipped};

/// The report of all exposures.
pub(super) fn make(
    set: &ExposureSet,
    judged: &[Judged],
    params: &CurateExposures,
    skipped: Vec<Skipped>,
) -> Report {
    let passed = judged.iter().filter(|judged| judged.reasons.is_empty()).count();
    let mut report = Report::new(format!("{passed} of {} exposures pass", judged.len()));
    report.number("exposures", "Exposures", judged.len() as f64, "");
    report.number("passed", "Passed", passed as f64, "");
    report.number("rejected", "Rejected", (judged.len() - passed) as f64, "");
    for (key, label) in criteria(params) {
        let failed = judged.iter().filter(|judged| judged.reasons.iter().any(|(k, _)| *k == key)).count();
        report.number(&format!("failed_{key}"), &format!("Rejected by {label}"), failed as f64, "");
    }
    report.notes = notes(judged, params);
    for quantity in QUANTITIES {
        let values: Vec<f64> = set
            .exposures
            .iter()
            .zip(judged)
            .map(|(exposure, judged)| quantity.of(exposure, judged).unwrap_or(f64::NAN))
            .collect();
        report.figures.extend(distribution(quantity, &values, judged, params));
    }
    let records = set.exposures.iter().zip(judged).map(|(exposure, judged)| {
        let mut record = json!({"name": exposure.name, "passed": judged.reasons.is_empty()});
        for quantity in QUANTITIES {
            if let Some(value) = quantity.of(exposure, judged) {
                record[quantity.key] = value.into();
            }
        }
        record
    });
    report.data.insert("exposures".into(), records.collect());
    report.skipped = skipped;
    report
}

/// Keys and names of all that was asked for; an exposure may fail several.
fn criteria(params: &CurateExposures) -> Vec<(&'static str, &'static str)> {
    let mut criteria: Vec<_> =
        QUANTITIES.iter().filter(|q| q.is_asked(params)).map(|q| (q.key, q.label)).collect();
    if params.exclude.is_some() {
        criteria.push((EXCLUDED, "the list of exclusions"));
    }
    if params.reads_pixels() {
        criteria.push((UNREADABLE, "being unreadable"));
    }
    criteria
}

fn notes(judged: &[Judged], params: &CurateExposures) -> Vec<String> {
    let mut notes = Vec::new();
    if criteria(params).is_empty() {
        notes.push(
            "No threshold was given: everything passes. The distributions show where to set them.".into(),
        );
    } else if !judged.is_empty() && judged.iter().all(|judged| !judged.reasons.is_empty()) {
        notes.push("Nothing passes: see in the distributions which threshold is too strict.".into());
    }
    if judged.iter().any(|judged| judged.reasons.len() > 1) {
        notes.push("An exposure may be rejected by several thresholds and is counted for each.".into());
    }
    notes
}

/// All values and those that pass, with the thresholds as upright lines; `None` where no exposure has a value.
fn distribution(
    quantity: &Quantity,
    values: &[f64],
    judged: &[Judged],
    params: &CurateExposures,
) -> Option<Figure> {
    let limits = quantity.limits(params).into_iter().flatten();
    // so narrow that no threshold is hidden in a bar of equal values
    let least =
        values.iter().copied().filter(|v| v.is_finite()).fold(1e-6, |l, v| f64::max(l, 1e-3 * v.abs()));
    let bins = Bins::over(values.iter().copied(), least)?;
    let kept = values.iter().zip(judged).filter(|(_, judged)| judged.reasons.is_empty()).map(|(v, _)| *v);
    let all = bins.counts("All", values.iter().copied());
    let top = all.y.iter().flatten().copied().fold(0.0, f64::max);
    let mut series = vec![all, bins.counts("Passed", kept)];
    series.extend(limits.map(|limit| Series::line("Threshold", vec![limit, limit], [0.0, top])));
    let known: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    let count = known.len();
    let mut name = quantity.label.to_string();
    name[..1].make_ascii_uppercase();
    Some(Figure::Plot {
        id: quantity.key.to_lowercase(),
        title: format!("{name} of {count} exposures, median {:.4} {}", median(known), quantity.unit)
            .trim_end()
            .to_string(),
        x: Axis::new(&name, quantity.unit),
        y: Axis::new("Exposures", ""),
        series,
        levels: vec![],
        x_is_resolution: false,
        equal_axes: false,
    })
}
