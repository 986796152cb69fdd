//! The report: the verdict, every check, the time of every step, the machines, and pictures.

use super::checks::Check;
use super::course::Course;
use super::plan::Step;
use crate::machine::{self, Seen};
use serde_json::json;
use vitreous_model::report::{Cell, Figure, Report, Table};

/// What a user sends to those who help.
pub(super) const TO_SEND: &str = "report.html of this job and what `vitreous logs` prints of it";

/// Everything that the report is made of.
pub(super) struct Story<'a> {
    pub steps: &'a [Step],
    pub course: &'a Course,
    pub checks: &'a [Check],
    pub machines: &'a [Seen],
    pub versions: &'a [(String, String)],
    pub figures: Vec<Figure>,
}

impl Story<'_> {
    fn failed(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| !check.passes())
    }

    /// What is wrong, in one sentence; `None` if all is well.
    pub fn complaint(&self) -> Option<String> {
        if let Some(broken) = &self.course.broken {
            return Some(format!("self-test: {} failed: {}", broken.job_type, broken.message));
        }
        let first = self.failed().next()?;
        let (failed, all) = (self.failed().count(), self.checks.len());
        Some(format!("self-test: {failed} of {all} checks failed; the first: {}", first.text()))
    }

    /// The report.
    pub fn report(self) -> Report {
        let failed = self.failed().count();
        let mut report = Report::new(match (&self.course.broken, failed) {
            (Some(broken), _) => format!("Self-test FAILED: {} did not finish", broken.job_type),
            (None, 0) => "Self-test passed".into(),
            (None, _) => format!("Self-test FAILED: {failed} of {} checks", self.checks.len()),
        });
        report.number("checks", "Checks", self.checks.len() as f64, "");
        report.number("checks_failed", "Checks that failed", failed as f64, "");
        let seconds: f64 = self.course.finished.values().map(|done| done.seconds).sum();
        report.number("steps_done", "Steps done", self.course.finished.len() as f64, "");
        report.number("seconds_s", "Time of all steps", seconds, "s");
        if let Some(broken) = &self.course.broken {
            report.notes.push(format!("{} failed: {}", broken.job_type, broken.message));
            if !broken.hint.is_empty() {
                report.notes.push(broken.hint.clone());
            }
        }
        report.notes.extend(self.failed().map(|check| format!("FAILED: {}", check.text())));
        if !report.notes.is_empty() {
            report.notes.push(format!("To ask for help, send {TO_SEND}. They name this machine's hosts."));
        }
        for (name, version) in self.versions {
            report.notes.push(format!("{name} {version}"));
        }
        report.tables = vec![self.check_table(), self.step_table(), machine::table(self.machines)];
        report.figures = self.figures;
        report.data.insert("checks".into(), self.checks.iter().map(record).collect());
        report
    }

    fn check_table(&self) -> Table {
        let columns =
            [("step", ""), ("what", ""), ("found", ""), ("expected", ""), ("unit", ""), ("verdict", "")];
        let mut table = Table::new("What was found, and what is expected", &columns);
        for check in self.checks {
            table.rows.push(vec![
                check.job_type.into(),
                check.what.as_str().into(),
                check.found.map_or(Cell::Absent, Cell::Number),
                check.expected.text().into(),
                check.unit.into(),
                if check.passes() { "ok" } else { "FAILED" }.into(),
            ]);
        }
        table
    }

    fn step_table(&self) -> Table {
        let columns = [("step", ""), ("result", ""), ("time", "s"), ("items left out", "")];
        let mut table = Table::new("Steps", &columns);
        let mut is_broken = false;
        for step in self.steps {
            let row = match self.course.finished.get(step.folder) {
                Some(done) => vec![
                    step.job_type.into(),
                    done.report.title.as_str().into(),
                    done.seconds.into(),
                    (done.report.skipped.len() as f64).into(),
                ],
                None => {
                    let text = if is_broken || self.course.broken.is_none() { "not begun" } else { "FAILED" };
                    is_broken = true;
                    vec![step.job_type.into(), text.into(), Cell::Absent, Cell::Absent]
                }
            };
            table.rows.push(row);
        }
        table
    }
}

fn record(check: &Check) -> serde_json::Value {
    json!({
        "step": check.job_type,
        "what": check.what,
        "found": check.found,
        "expected": check.expected.text(),
        "unit": check.unit,
        "ok": check.passes(),
    })
}
