//! The page: one file that opens anywhere, with no script and nothing loaded from elsewhere. While movies come it asks
//! the browser to read it again now and then.

use super::numbers::{in_units, usual_interval_s};
use super::{Collection, Exposure, Job, Rejected, Shown, figures, numbers};
use crate::escape::escape;
use crate::html;
use crate::number::{date, grouped, time_of_day};
use crate::svg::{self, STYLE, Setting};
use crate::{ReportError, clean};
use std::collections::BTreeMap;
use std::fmt::Write;
use vitreous_model::report::{Figure, Skipped};

const PAGE_STYLE: &str = include_str!("../page.css");
const OWN_STYLE: &str = include_str!("collection.css");
/// Seconds after which a browser reads the page of a watched folder again.
const REREAD_S: u32 = 60;
/// No movie for so many times the usual interval, and for at least so many seconds, is worth a remark.
const SILENT_INTERVALS: f64 = 10.0;
const SILENT_S: f64 = 900.0;
/// Rows of the tables of exposures and of rejections.
const SHOWN_ROWS: usize = 1000;
/// Reasons that are counted in a line of their own.
const SHOWN_REASONS: usize = 12;

/// The page of a collection.
///
/// # Errors
/// [`ReportError::Figure`] for a picture that cannot be drawn.
pub fn render_html(collection: &Collection) -> Result<String, ReportError> {
    let title = escape(&collection.title());
    let reread = if collection.is_watched {
        format!("<meta http-equiv=\"refresh\" content=\"{REREAD_S}\">\n")
    } else {
        String::new()
    };
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n{reread}\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>\n{PAGE_STYLE}{STYLE}{OWN_STYLE}</style>\n</head>\n<body>\n<main class=\"collection\">\n<h1>{title}</h1>\n"
    );
    out += &standing(collection);
    let remarks = remarks(collection);
    if !remarks.is_empty() {
        let items: String = remarks.iter().map(|text| format!("<li>{}</li>\n", escape(text))).collect();
        let _ = write!(out, "<ul class=\"notes\">\n{items}</ul>\n");
    }
    out += &html::cards(&numbers(collection));
    out += &newest(collection)?;
    out += "<div class=\"figures\">\n";
    for figure in figures::all(collection) {
        out += &html::figure_html(&clean::cleaned_figure(&figure))?;
    }
    out += "</div>\n<h2>Jobs</h2>\n";
    out += &jobs(collection);
    out += &rejections(collection);
    out += &exposures(collection);
    let _ = write!(
        out,
        "<footer>Drawn by Vitreous {} {}. Movies and their figures stand at the time at which their files were last \
         written.</footer>\n</main>\n</body>\n</html>\n",
        moment(collection, collection.now_unix_s),
        escape(&collection.zone)
    );
    Ok(out)
}

/// `29 Nov 18:05:09`.
fn moment(collection: &Collection, unix_s: f64) -> String {
    let wall_s = collection.wall_s(unix_s);
    format!("{} {}", date(wall_s), time_of_day(wall_s, true))
}

/// Watched or not, from where, and when the last movie came.
fn standing(collection: &Collection) -> String {
    let (class, word) = if collection.is_watched { ("live", "watching") } else { ("over", "ended") };
    let last = match collection.last_movie_unix_s() {
        Some(at) => {
            let before = collection.now_unix_s - at;
            let ago =
                if before >= 0.0 { format!(", {} before this page", span(before)) } else { String::new() };
            format!("last movie {}{ago}", moment(collection, at))
        }
        None => "no movie yet".into(),
    };
    format!(
        "<p class=\"standing\"><b class=\"{class}\">{word}</b> <code>{}</code> · {last} · page of {} {}</p>\n",
        escape(&collection.source),
        moment(collection, collection.now_unix_s),
        escape(&collection.zone),
    )
}

/// `42 s`, `12 min`, `3.4 h`, `2.1 d`.
fn span(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.1} d", s / 86_400.0),
    }
}

/// What somebody should see first: jobs that came to grief, a microscope that has fallen silent.
pub(super) fn remarks(collection: &Collection) -> Vec<String> {
    let mut remarks: Vec<String> = collection
        .jobs
        .iter()
        .filter(|job| job.is_bad)
        .map(|job| {
            let note = if job.note.is_empty() { String::new() } else { format!(": {}", job.note) };
            format!(
                "{} {} {}{note} — `vitreous why {}` says more.",
                job.job, job.job_type, job.state, job.job
            )
        })
        .collect();
    if let (true, Some(last), Some(usual_s)) =
        (collection.is_watched, collection.last_movie_unix_s(), usual_interval_s(collection))
    {
        let silent_s = collection.now_unix_s - last;
        if silent_s > SILENT_S && silent_s > SILENT_INTERVALS * usual_s {
            remarks.push(format!(
                "No movie has come for {}; before that one came every {}.",
                span(silent_s),
                span(usual_s)
            ));
        }
    }
    remarks
}

fn newest(collection: &Collection) -> Result<String, ReportError> {
    let mut cards = String::new();
    for Shown { index, pictures } in &collection.newest {
        let Some(exposure) = collection.exposures.get(*index) else { continue };
        cards += "<article>\n<div class=\"pair\">\n";
        for picture in pictures {
            let picture = clean::cleaned_figure(picture);
            let _ = writeln!(cards, "<div>{}</div>", drawn(&picture)?);
        }
        let _ = write!(cards, "</div>\n{}</article>\n", caption(collection, exposure));
    }
    if cards.is_empty() {
        return Ok(String::new());
    }
    Ok(format!("<h2>Newest micrographs</h2>\n<div class=\"newest\">\n{cards}</div>\n"))
}

fn drawn(picture: &Figure) -> Result<String, ReportError> {
    svg::figure_svg(picture, Setting::Page)
}

/// Name, time and figures of an exposure.
fn caption(collection: &Collection, exposure: &Exposure) -> String {
    let mut parts = Vec::new();
    if let Some(at) = exposure.recorded_unix_s {
        parts.push(time_of_day(collection.wall_s(at), true));
    }
    let mut add = |value: Option<f64>, text: &dyn Fn(f64) -> String| parts.extend(value.map(text));
    add(exposure.defocus_a, &|a| format!("{:.2} µm", a * 1e-4));
    add(exposure.astigmatism_a, &|a| format!("astig. {a:.0} Å"));
    add(exposure.fit_resolution_a, &|a| format!("fit {a:.1} Å"));
    add(exposure.motion_total_a, &|a| format!("motion {a:.0} Å"));
    add(exposure.picks.map(|n| n as f64), &|n| format!("{n:.0} picks"));
    let rejected = exposure.rejected.as_ref().map_or(String::new(), |Rejected { by, reason }| {
        format!("<p class=\"rejected\">{}: {}</p>\n", escape(by), escape(reason))
    });
    format!(
        "<h3>{}</h3>\n<p>{}</p>\n{rejected}",
        escape(&exposure.name),
        parts.iter().map(|part| escape(part)).collect::<Vec<_>>().join(" · ")
    )
}

fn jobs(collection: &Collection) -> String {
    let mut rows = String::new();
    for job in &collection.jobs {
        rows += &job_row(collection, job);
    }
    format!(
        "<div class=\"scroll\"><table class=\"jobs\">\n<tr><th>Job</th><th>Type</th><th>State</th>\
         <th class=\"n\">Done</th><th></th><th class=\"n\">Left out</th><th class=\"n\">Attempt</th>\
         <th>Last item</th><th class=\"n\">Disk</th></tr>\n{rows}</table></div>\n"
    )
}

fn job_row(collection: &Collection, job: &Job) -> String {
    let name = match job.page.as_str() {
        "" => escape(&job.job),
        page => format!("<a href=\"{}\">{}</a>", escape(page), escape(&job.job)),
    };
    let title = if job.title.is_empty() { String::new() } else { format!(" <i>{}</i>", escape(&job.title)) };
    let class = if job.is_bad { "bad".into() } else { escape(&job.state) };
    let note = if job.note.is_empty() { String::new() } else { format!(" {}", escape(&job.note)) };
    let all = collection.movies().max(1);
    let percent = (100.0 * (job.done + job.left_out) as f64 / all as f64).min(100.0);
    let last = job.finished.last().map_or("–".into(), |(at, _)| moment(collection, *at));
    let (bytes, is_estimate) = job.bytes;
    let (size, unit) = in_units(bytes);
    let about = if is_estimate { "≈ " } else { "" };
    format!(
        "<tr><td>{name}</td><td>{}{title}</td><td><b class=\"{class}\">{}</b>{note}</td><td class=\"n\">{}</td>\
         <td><span class=\"bar\"><i style=\"width:{percent:.1}%\"></i></span></td><td class=\"n\">{}</td>\
         <td class=\"n\">{}</td><td>{last}</td><td class=\"n\">{about}{} {unit}</td></tr>\n",
        escape(&job.job_type),
        escape(&job.state),
        job.done,
        job.left_out,
        job.attempt,
        grouped(size)
    )
}

/// Rejected exposures by reason, and one by one.
fn rejections(collection: &Collection) -> String {
    let rejected: Vec<(&str, &Rejected)> = collection
        .exposures
        .iter()
        .rev()
        .filter_map(|exposure| Some((exposure.name.as_str(), exposure.rejected.as_ref()?)))
        .collect();
    let count = rejected.len() + collection.left_out.len();
    if count == 0 {
        return String::new();
    }
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for (_, Rejected { by, reason }) in &rejected {
        *kinds.entry(format!("{by}: {}", kind_of(reason))).or_default() += 1;
    }
    for Skipped { reason, .. } in &collection.left_out {
        *kinds.entry(format!("{} import-movies: {}", collection.import, kind_of(reason))).or_default() += 1;
    }
    let mut kinds: Vec<(String, usize)> = kinds.into_iter().collect();
    kinds.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let counted = |(kind, count): &(String, usize)| {
        format!("<tr><td class=\"n\">{count}</td><td>{}</td></tr>\n", escape(kind))
    };
    let counts: String = kinds.iter().take(SHOWN_REASONS).map(counted).collect();
    let row = |item: &str, by: &str, reason: &str| {
        format!("<tr><td>{}</td><td>{}</td><td>{}</td></tr>\n", escape(item), escape(by), escape(reason))
    };
    let ours = rejected.iter().map(|(name, r)| row(name, &r.by, &r.reason));
    let others = collection.left_out.iter().map(|s| row(&s.item, &collection.import, &s.reason));
    let rows: String = ours.chain(others).take(SHOWN_ROWS).collect();
    format!(
        "<h2>Rejected: {count} of {}</h2>\n<table class=\"kinds\">\n{counts}</table>\n<details>\n\
         <summary>One by one, the newest first</summary>\n<div class=\"scroll\"><table>\n\
         <tr><th>Exposure</th><th>By</th><th>Reason</th></tr>\n{rows}</table></div>\n{}</details>\n",
        collection.movies().max(count as u64),
        left_out(count)
    )
}

/// A reason without its numbers and what stands before a colon, so that equal ones can be counted.
pub(super) fn kind_of(reason: &str) -> String {
    let is_path = |text: &str| text.contains('/');
    let reason = match reason.split_once(": ") {
        Some((before, after)) if is_path(before) => after,
        _ => reason,
    };
    let first = reason.split("; ").next().unwrap_or(reason);
    let words = first.split_whitespace().map(|word| {
        let is_number = word.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '−');
        if is_number { "…" } else { word }
    });
    words.collect::<Vec<_>>().join(" ")
}

fn left_out(rows: usize) -> String {
    match rows.saturating_sub(SHOWN_ROWS) {
        0 => String::new(),
        more => format!("<p>… and {more} more in the jobs' reports</p>\n"),
    }
}

/// All exposures with their figures, the newest first.
fn exposures(collection: &Collection) -> String {
    if collection.exposures.is_empty() {
        return String::new();
    }
    let number = |value: Option<f64>, decimals: usize| {
        format!("<td class=\"n\">{}</td>", value.map_or("–".into(), |v| format!("{v:.decimals$}")))
    };
    let count = |value: Option<u64>| number(value.map(|n| n as f64), 0);
    let row = |e: &Exposure| {
        let at = e.recorded_unix_s.map_or("–".into(), |at| moment(collection, at));
        let verdict = match &e.rejected {
            Some(Rejected { by, .. }) => {
                format!("<span class=\"rejected\">rejected by {}</span>", escape(by))
            }
            None if collection.is_through(e) => "kept".into(),
            None => "to be done".into(),
        };
        format!(
            "<tr><td>{}</td><td>{at}</td>{}{}{}{}{}{}{}<td>{verdict}</td></tr>\n",
            escape(&e.name),
            number(e.motion_total_a, 1),
            number(e.motion_early_a, 1),
            number(e.defocus_a, 0),
            number(e.astigmatism_a, 0),
            number(e.fit_resolution_a, 2),
            count(e.picks),
            count(e.particles),
        )
    };
    let rows: String = collection.exposures.iter().rev().take(SHOWN_ROWS).map(row).collect();
    let heads =
        ["Motion, Å", "first 4 e/Å², Å", "Defocus, Å", "Astigmatism, Å", "Fit, Å", "Picks", "Particles"];
    let heads: String = heads.iter().map(|head| format!("<th class=\"n\">{head}</th>")).collect();
    format!(
        "<details>\n<summary>Exposures: {}</summary>\n<div class=\"scroll\"><table>\n\
         <tr><th>Exposure</th><th>Recorded</th>{heads}<th></th></tr>\n{rows}</table></div>\n{}</details>\n",
        collection.exposures.len(),
        left_out(collection.exposures.len())
    )
}
