//! What `inspect-picks` shows: distributions with thresholds, kept and rejected picks on micrographs, and the command
//! that applies what is proposed.

use super::run::{Inspected, Place};
use super::thresholds::Reason;
use crate::Ctx;
use crate::distribution::{Bins, median};
use crate::picking::figures::{Circle, SHOWN_EDGE, Scale, micrograph_with_marks};
use ndarray::Array2;
use serde_json::{Value, json};
use vitreous_jobs::inspect_picks::InspectPicks;
use vitreous_model::report::{Axis, Figure, Report, Series};

/// Points of a plot, at most: more hide each other.
const MOST_POINTS: usize = 3000;

/// A micrograph to be shown.
pub(super) struct Shown<'a> {
    /// Tells the figure from others.
    pub number: usize,
    /// `[height, width]`.
    pub pixels: &'a Array2<f32>,
    pub pixel_size_a: f64,
    pub place: &'a Place<'a>,
}

/// The report, with the pictures of [`image_of`].
pub(super) fn make(
    ctx: &Ctx<'_>,
    inspected: &Inspected<'_>,
    params: &InspectPicks,
    images: Vec<Figure>,
) -> Report {
    let (all, kept) = (inspected.set.picks.len(), count(&inspected.verdicts, None));
    let mut report = Report::new(format!("{kept} of {all} picks are kept"));
    report.number("picks", "Picks", all as f64, "");
    report.number("kept", "Kept", kept as f64, "");
    report.number("rejected", "Rejected", (all - kept) as f64, "");
    for reason in Reason::ALL {
        let rejected = count(&inspected.verdicts, Some(reason));
        if rejected > 0 || is_asked(params, reason) {
            let label = format!("Rejected: {}", reason.label());
            report.number(&format!("rejected_{}", reason.key()), &label, rejected as f64, "");
        }
    }
    report.number("exposures", "Micrographs with picks", inspected.places.len() as f64, "");
    report.number("diameter_A", "Diameter of the surroundings", inspected.diameter_a, "Å");
    propose(ctx, inspected, params, &mut report);
    report.figures = images;
    let limits = inspected.proposal.as_ref().map_or(params, |(proposed, _)| proposed);
    report.figures.extend(distributions(inspected, limits));
    report.figures.extend(score_over_power(inspected, limits));
    report.figures.extend(per_micrograph(inspected));
    let record = |place: &Place<'_>| {
        let kept = place.rows.iter().filter(|&&row| inspected.verdicts[row].is_none()).count();
        json!({"name": place.exposure.name, "picks": place.rows.len(), "kept": kept})
    };
    report.data.insert("exposures".into(), inspected.places.iter().map(record).collect());
    report.skipped = ctx.skipped();
    report
}

/// How many have this verdict.
fn count(verdicts: &[Option<Reason>], wanted: Option<Reason>) -> usize {
    verdicts.iter().filter(|verdict| **verdict == wanted).count()
}

/// Whether a threshold was given that rejects for this reason.
fn is_asked(params: &InspectPicks, reason: Reason) -> bool {
    let params = serde_json::to_value(params).expect("parameters should have a JSON form");
    !params.get(reason.key()).unwrap_or(&Value::Null).is_null()
}

/// The command that applies what is proposed, or why nothing is.
fn propose(ctx: &Ctx<'_>, inspected: &Inspected<'_>, params: &InspectPicks, report: &mut Report) {
    if params.has_thresholds() {
        if count(&inspected.verdicts, None) == 0 && !inspected.verdicts.is_empty() {
            report
                .notes
                .push("Nothing is kept: see in the distributions which threshold is too strict.".into());
        }
        return;
    }
    let Some((proposed, verdicts)) = &inspected.proposal else {
        report.notes.push(
            "No threshold was given, and none can be proposed: there are too few picks, or they are all alike."
                .into(),
        );
        return;
    };
    let command = command(ctx, proposed);
    let (would, all) = (count(verdicts, None), verdicts.len());
    report.notes.push(format!(
        "No threshold was given, so all picks are kept. The pictures and distributions show proposed ones, which would \
         keep {would} of {all}. To apply them: {command}"
    ));
    report.data.insert("command".into(), command.into());
    report.data.insert("would_keep".into(), would.into());
}

/// What to type to run this job again with `params`.
fn command(ctx: &Ctx<'_>, params: &InspectPicks) -> String {
    let mut words = vec!["vitreous run inspect-picks".to_string()];
    for slot in ["picks", "micrographs"] {
        if let Some(input) = ctx.optional_input(slot) {
            words.push(format!("--{slot} {}.{}", input.job, input.output.slot));
        }
    }
    let given = serde_json::to_value(params).expect("parameters should have a JSON form");
    let default = serde_json::to_value(InspectPicks::default()).expect("parameters should have a JSON form");
    let changed =
        given.as_object().into_iter().flatten().filter(|(key, value)| default.get(key) != Some(value));
    words.extend(changed.map(|(key, value)| format!("--{} {value}", key.replace('_', "-"))));
    words.join(" ")
}

/// Scores, local standard deviations and means, all and kept, with thresholds.
fn distributions(inspected: &Inspected<'_>, limits: &InspectPicks) -> Vec<Figure> {
    let scores = inspected.set.picks.iter().map(|pick| pick.score).collect();
    let sds = inspected.around.iter().map(|around| around.local_sd).collect();
    let means = inspected.around.iter().map(|around| around.local_mean).collect();
    let off = limits.max_local_mean;
    [
        ("scores", "Score", "", scores, [limits.min_score, limits.max_score]),
        (
            "local_sd",
            "Local standard deviation over the usual",
            "",
            sds,
            [limits.min_local_sd, limits.max_local_sd],
        ),
        ("local_mean", "Local mean above the level", "sd", means, [off.map(|off| -off), off]),
    ]
    .into_iter()
    .filter_map(|(id, name, unit, values, limits): (_, _, _, Vec<f64>, _)| {
        let bins = Bins::over(values.iter().copied(), 1e-6)?;
        let kept = values.iter().zip(inspected.shown()).filter(|(_, v)| v.is_none()).map(|(value, _)| *value);
        let all = bins.counts("All", values.iter().copied());
        let top = all.y.iter().flatten().copied().fold(0.0, f64::max);
        let mut series = vec![all, bins.counts(kept_label(inspected), kept)];
        let lines = limits.into_iter().flatten();
        series.extend(lines.map(|limit| Series::line("Threshold", vec![limit, limit], [0.0, top])));
        let known: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        let title = format!("{name} of {} picks, median {:.4} {unit}", known.len(), median(known));
        Some(plot(id, title.trim_end(), Axis::new(name, unit), Axis::new("Picks", ""), series))
    })
    .collect()
}

fn kept_label(inspected: &Inspected<'_>) -> &'static str {
    if inspected.proposal.is_some() { "Would be kept" } else { "Kept" }
}

/// Score over local standard deviation: particles are a cloud, what lies beside it is none.
fn score_over_power(inspected: &Inspected<'_>, limits: &InspectPicks) -> Option<Figure> {
    let rows: Vec<usize> = (0..inspected.around.len())
        .filter(|&row| {
            inspected.around[row].local_sd.is_finite() && inspected.set.picks[row].score.is_finite()
        })
        .collect();
    let step = rows.len().div_ceil(MOST_POINTS).max(1);
    let points = |label: &str, is_kept: bool| {
        let here = || {
            let shown = rows.iter().step_by(step);
            shown.filter(|&&row| inspected.shown()[row].is_none() == is_kept)
        };
        let sds = here().map(|&row| inspected.around[row].local_sd).collect();
        Series::points(label, sds, here().map(|&row| inspected.set.picks[row].score))
    };
    let mut series = vec![points(kept_label(inspected), true), points("Rejected", false)];
    if rows.len() < 2 {
        return None;
    }
    let sd = |row: &usize| inspected.around[*row].local_sd;
    let score = |row: &usize| inspected.set.picks[*row].score;
    let [sds, scores] = [range(rows.iter().map(sd)), range(rows.iter().map(score))];
    let upright = |at: f64| Series::line("Threshold", vec![at, at], scores);
    let level = |at: f64| Series::line("Threshold", sds.to_vec(), [at, at]);
    series.extend([limits.min_local_sd, limits.max_local_sd].into_iter().flatten().map(upright));
    series.extend([limits.min_score, limits.max_score].into_iter().flatten().map(level));
    series.retain(|series| !series.x.is_empty());
    let x = Axis::new("Local standard deviation over the usual", "");
    Some(plot("power", "Score and surroundings", x, Axis::new("Score", ""), series))
}

/// Smallest and largest.
fn range(values: impl Iterator<Item = f64>) -> [f64; 2] {
    values.fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], v| [low.min(v), high.max(v)])
}

/// How many micrographs have how many picks, before and after.
fn per_micrograph(inspected: &Inspected<'_>) -> Option<Figure> {
    if inspected.places.len() < 2 {
        return None;
    }
    let kept =
        |place: &Place<'_>| place.rows.iter().filter(|&&row| inspected.shown()[row].is_none()).count() as f64;
    let all = || inspected.places.iter().map(|place| place.rows.len() as f64);
    let kept = || inspected.places.iter().map(kept);
    let bins = Bins::over(all().chain(kept()), 1.0)?;
    let series = vec![bins.counts("All", all()), bins.counts(kept_label(inspected), kept())];
    let title = "Picks per micrograph";
    Some(plot("per_micrograph", title, Axis::new("Picks", ""), Axis::new("Micrographs", ""), series))
}

fn plot(id: &str, title: &str, x: Axis, y: Axis, series: Vec<Series>) -> Figure {
    Figure::Plot {
        id: id.into(),
        title: title.into(),
        x,
        y,
        series,
        levels: vec![],
        x_is_resolution: false,
        equal_axes: false,
    }
}

/// A micrograph with a circle at every pick that is kept, a cross at every other.
pub(super) fn image_of(shown: &Shown<'_>, inspected: &Inspected<'_>) -> Figure {
    let diameter_a = inspected.set.diameter_a;
    let circle = |&row: &usize| {
        let pick = &inspected.set.picks[row];
        Circle { x_px: pick.x_px, y_px: pick.y_px, diameter_a }
    };
    let rows = || shown.place.rows.iter();
    let is_kept = |row: &&usize| inspected.shown()[**row].is_none();
    let kept: Vec<Circle> = rows().filter(is_kept).map(circle).collect();
    let rejected: Vec<Circle> = rows().filter(|row| !is_kept(row)).map(circle).collect();
    let verb = if inspected.proposal.is_some() { "would be kept" } else { "kept" };
    let title = format!(
        "{} picks {verb} (circles), {} rejected (crosses) on {}",
        kept.len(),
        rejected.len(),
        shown.place.exposure.name
    );
    let scale = Scale {
        pixel_size_a: shown.pixel_size_a,
        diameter_a: inspected.diameter_a,
        max_diameter_a: inspected.diameter_a,
    };
    let id = format!("picks_{}", shown.number);
    micrograph_with_marks(&id, title, shown.pixels, scale, &kept, &rejected, SHOWN_EDGE)
}
