//! Exposures in; those that passed and the others out.

use super::quantity::QUANTITIES;
use super::report;
use crate::items::{Item, Outcome, for_each_item};
use crate::{Ctx, StageError, micrograph};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use vitreous_formats::table;
use vitreous_jobs::curate_exposures::CurateExposures;
use vitreous_model::exposure::{Exposure, ExposureSet};
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::params::Validate;
use vitreous_model::report::Report;

/// Key of the reason of an exposure whose micrograph cannot be read.
pub(super) const UNREADABLE: &str = "unreadable";
/// Key of the reason of an exposure in the list of `exclude`.
pub(super) const EXCLUDED: &str = "exclude";

/// What was found of an exposure.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Judged {
    /// Mean of its pixels, if they were to be read.
    pub mean: Option<f64>,
    /// Why it is rejected, with the key of the quantity (or `exclude`, `unreadable`); empty: it passes.
    pub reasons: Vec<(String, String)>,
}

/// The stage.
pub(super) fn run(ctx: &Ctx<'_>) -> Result<Report, StageError> {
    let params: CurateExposures = ctx.params()?;
    params.validate()?;
    let set = micrograph::read_set(ctx)?;
    check_known(&set, &params)?;
    let excluded = read_names(ctx, &params)?;
    check_excluded(&set, &excluded)?;
    let items: Vec<Item> = set.exposures.iter().map(|e| item(ctx, &params, &excluded, e)).collect();
    // what cannot be read is rejected with that reason, so nothing is ever left out
    let outcomes = for_each_item(ctx, "exposures", &items, 1.0, |index| {
        judge(ctx, &params, &excluded, &set.exposures[index])
    })?;
    if !ctx.is_root() {
        return Ok(Report::new(""));
    }
    let judged: Vec<Judged> = outcomes.into_iter().map(as_judged).collect();
    list_rejected(ctx, &set, &judged);
    let report = report::make(&set, &judged, &params, ctx.skipped());
    write(ctx, set, &judged)?;
    Ok(report)
}

fn as_judged(outcome: Outcome<Judged>) -> Judged {
    match outcome {
        Outcome::Done(judged) => judged,
        Outcome::Skipped(reason) => Judged { mean: None, reasons: vec![(UNREADABLE.into(), reason)] },
    }
}

/// Lists what is rejected with all its reasons; what could not be read is listed already.
fn list_rejected(ctx: &Ctx<'_>, set: &ExposureSet, judged: &[Judged]) {
    for (exposure, judged) in set.exposures.iter().zip(judged) {
        if judged.reasons.iter().any(|(key, _)| key != UNREADABLE) {
            let why = judged.reasons.iter().map(|(_, why)| why.as_str()).collect::<Vec<_>>().join("; ");
            ctx.skip(&exposure.name, why);
        }
    }
}

/// A threshold on what no exposure has is a mistake in the order of jobs, not a verdict on all of them.
fn check_known(set: &ExposureSet, params: &CurateExposures) -> Result<(), StageError> {
    if set.exposures.is_empty() {
        return Ok(());
    }
    let nothing = Judged::default();
    for quantity in QUANTITIES.iter().filter(|q| q.is_asked(params) && q.key != "mean") {
        if set.exposures.iter().all(|exposure| quantity.of(exposure, &nothing).is_none()) {
            return Err(StageError::input(
                format!("there is a threshold on the {}, which no exposure has", quantity.label),
                format!("give --micrographs the output of {}, or leave the threshold out", quantity.made_by),
            ));
        }
    }
    Ok(())
}

/// Names of `exclude`: one a line; empty lines and what follows `#` do not count.
fn read_names(ctx: &Ctx<'_>, params: &CurateExposures) -> Result<BTreeSet<String>, StageError> {
    let Some(path) = &params.exclude else { return Ok(BTreeSet::new()) };
    let path = ctx.project_dir.join(path);
    let text = std::fs::read_to_string(&path).map_err(|error| {
        let what = format!("exclude: {}: {error}", path.display());
        StageError::input(what, "give a text file with one name of an exposure a line")
    })?;
    let names = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    Ok(names.filter(|name| !name.is_empty()).map(Into::into).collect())
}

/// A list of which nothing is found is a list of something else.
fn check_excluded(set: &ExposureSet, excluded: &BTreeSet<String>) -> Result<(), StageError> {
    let is_known = |name: &String| set.exposures.iter().any(|exposure| exposure.name == *name);
    let (Some(first), Some(exposure)) = (excluded.first(), set.exposures.first()) else { return Ok(()) };
    if excluded.iter().any(is_known) {
        return Ok(());
    }
    Err(StageError::input(
        format!("exclude: none of its {} name(s) is an exposure's; the first is `{first}`", excluded.len()),
        format!("write names as in tables and reports, e.g. `{}`", exposure.name),
    ))
}

/// Name of an exposure's item, and all that its verdict depends on.
fn item(ctx: &Ctx<'_>, params: &CurateExposures, excluded: &BTreeSet<String>, exposure: &Exposure) -> Item {
    let (motion, ctf) = (&exposure.motion, &exposure.ctf);
    let is_excluded = excluded.contains(&exposure.name);
    let mut fingerprint = format!("{params:?} {is_excluded} {motion:?} {ctf:?}");
    if params.reads_pixels() {
        let file = exposure.micrograph.as_ref();
        let length = file.and_then(|m| std::fs::metadata(ctx.resolve(&m.path)).ok()).map(|m| m.len());
        fingerprint += &format!(" {file:?} {length:?}");
    }
    Item { name: exposure.name.clone(), fingerprint }
}

fn judge(
    ctx: &Ctx<'_>,
    params: &CurateExposures,
    excluded: &BTreeSet<String>,
    exposure: &Exposure,
) -> Result<Judged, StageError> {
    let mean = match (&exposure.micrograph, params.reads_pixels()) {
        (Some(source), true) => {
            micrograph::read_pixels(&ctx.resolve(&source.path), source)?.mapv(f64::from).mean()
        }
        _ => None,
    };
    let mut reasons = Vec::new();
    if excluded.contains(&exposure.name) {
        reasons.push((EXCLUDED.to_string(), "it stands in the list of exposures to exclude".to_string()));
    }
    let failed = QUANTITIES.iter().filter_map(|q| Some((q.key.into(), q.complaint(exposure, mean, params)?)));
    reasons.extend(failed);
    Ok(Judged { mean, reasons })
}

/// Writes both tables.
fn write(ctx: &Ctx<'_>, set: ExposureSet, judged: &[Judged]) -> Result<(), StageError> {
    const REJECTED: &str = "rejected.h5";
    let (mut kept, mut rejected) = (Vec::new(), Vec::new());
    for (exposure, judged) in set.exposures.into_iter().zip(judged) {
        if judged.reasons.is_empty() {
            kept.push(exposure);
        } else {
            rejected.push(exposure);
        }
    }
    let kept = ExposureSet { optics: set.optics.clone(), exposures: kept };
    let rejected = ExposureSet { optics: set.optics, exposures: rejected };
    micrograph::write_set(ctx, &kept)?;
    ctx.create_at_path(REJECTED, |path| table::exposures::write(path, Kind::Micrographs, &rejected))?;
    let given = &ctx.input("micrographs")?.output;
    let fresh = Output::new("rejected", Kind::Micrographs, REJECTED, rejected.exposures.len() as u64);
    ctx.output(Output { pixel_size_a: given.pixel_size_a, frame_px: given.frame_px, ..fresh });
    Ok(())
}
