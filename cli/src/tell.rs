//! A job in words and as JSON.

use crate::board::Judged;
use serde::Serialize;
use serde_json::Value;
use vitreous_project::index::Summary;
use vitreous_project::{Progress, Reason, State};

/// A job as `status --json` and the last line of `run --wait --json` have it.
#[derive(Debug, Clone, Serialize)]
pub struct JobLine<'a> {
    /// `J3`.
    pub job: String,
    /// Where it stands.
    pub state: State,
    /// For a bad end: why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a Reason>,
    /// A remark for people.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub note: &'a str,
    /// Attempt, from 1; 0: none.
    pub attempt: u32,
    /// The rest of what a table shows.
    #[serde(flatten)]
    rest: Rest<'a>,
    /// Where it stands while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<&'a Progress>,
}

#[derive(Debug, Clone, Serialize)]
struct Rest<'a> {
    #[serde(rename = "type")]
    job_type: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    title: &'a str,
    lane: &'a str,
    folder: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_unix_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_unix_s: Option<f64>,
}

impl<'a> JobLine<'a> {
    /// Of a judged job.
    pub fn new(job: &'a Judged) -> Self {
        let summary = &job.summary;
        Self {
            job: summary.job.to_string(),
            state: job.status.state,
            reason: job.status.reason.as_ref(),
            note: &job.status.note,
            attempt: job.status.attempt,
            rest: Rest {
                job_type: &summary.job_type,
                title: &summary.title,
                lane: &summary.lane,
                folder: summary.job.folder(&summary.job_type),
                started_unix_s: summary.started_unix_s,
                ended_unix_s: summary.ended_unix_s,
            },
            progress: progress_of(job),
        }
    }

    /// As a JSON value.
    pub fn value(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }
}

fn progress_of(job: &Judged) -> Option<&Progress> {
    job.open.as_ref()?.evidence.progress.as_ref().filter(|_| job.status.state == State::Running)
}

/// `J3 correct-motion: running, align 12/20, 0.5/s, 16 s left`
pub fn one_line(job: &Judged) -> String {
    format!("{} {}: {}", job.summary.job, job.summary.job_type, standing(job))
}

/// State, reason, progress and remark.
pub fn standing(job: &Judged) -> String {
    let mut text = state(job);
    if let Some(progress) = progress_of(job) {
        if let Some(phase) = &progress.phase {
            text += &format!(", {phase}");
        }
        if progress.total > 0 {
            text += &format!(" {}/{}", progress.done, progress.total);
        }
        let rate = rate(progress);
        if !rate.is_empty() {
            text += &format!(", {rate}");
        }
    }
    if !job.status.note.is_empty() {
        let note = job.status.note.lines().next().unwrap_or_default();
        text += &if job.status.state == State::Waiting { format!(" {note}") } else { format!(": {note}") };
    }
    text
}

/// `failed (exit 1)`
pub fn state(job: &Judged) -> String {
    match &job.status.reason {
        Some(reason) if job.status.state.is_final() => format!("{} ({reason})", job.status.state),
        _ => job.status.state.to_string(),
    }
}

/// `0.5/s, 16 s left, resolution 4.2 Å`
pub fn rate(progress: &Progress) -> String {
    let mut parts = Vec::new();
    if let Some(rate) = progress.rate_per_s {
        parts.push(if rate >= 1.0 { format!("{rate:.1}/s") } else { format!("{:.1} s each", 1.0 / rate) });
    }
    if let Some(eta) = progress.eta_s.filter(|eta| *eta >= 1.0) {
        parts.push(format!("{} left", duration(eta)));
    }
    parts.extend(
        progress
            .figures
            .iter()
            .rev()
            .take(2)
            .map(|(name, value, unit)| format!("{name} {} {unit}", number(*value))),
    );
    parts.join(", ").trim_end().to_string()
}

/// A number for people: whole numbers whole, others to four significant digits.
pub fn number(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e9 {
        return format!("{value}");
    }
    let before = value.abs().log10().floor() as i32 + 1;
    if !(-3..=9).contains(&before) {
        return format!("{value:.3e}");
    }
    format!("{value:.*}", (4 - before).max(0) as usize)
}

/// `42 s`, `3 min 5 s`, `2 h 10 min`, `3 d 4 h`
pub fn duration(seconds: f64) -> String {
    let s = seconds.max(0.0).round() as u64;
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        3600..86_400 => format!("{} h {} min", s / 3600, s / 60 % 60),
        _ => format!("{} d {} h", s / 86_400, s / 3600 % 24),
    }
}

/// A time in words, in the reader's time zone.
pub fn time(unix_s: f64) -> String {
    let stamp = jiff::Timestamp::from_millisecond((unix_s * 1e3) as i64);
    stamp.map_or_else(
        |_| "?".into(),
        |stamp| stamp.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
    )
}

/// How long it has run; `None` if it has not begun.
pub fn run_time(summary: &Summary, state: State) -> Option<f64> {
    let started = summary.started_unix_s?;
    match summary.ended_unix_s {
        Some(ended) => Some(ended - started),
        None if state == State::Running => Some(vitreous_project::clock::unix_s() - started),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        for (seconds, text) in
            [(0.4, "0 s"), (65.0, "1 min 5 s"), (7200.0, "2 h 0 min"), (273_600.0, "3 d 4 h")]
        {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn numbers_read_well() {
        for (value, text) in
            [(16.0, "16"), (18.940231, "18.94"), (0.143_21, "0.1432"), (12345.6, "12346"), (1e-7, "1.000e-7")]
        {
            assert_eq!(number(value), text);
        }
        assert_eq!(number(f64::NAN), "NaN");
    }

    #[test]
    fn rates_read_well() {
        let progress = Progress {
            rate_per_s: Some(0.5),
            eta_s: Some(16.0),
            figures: vec![("resolution".into(), 4.2, "Å".into())],
            ..Progress::default()
        };
        assert_eq!(rate(&progress), "2.0 s each, 16 s left, resolution 4.200 Å");
        assert_eq!(rate(&Progress::default()), "");
    }
}
