//! The jobs behind a map, and what may be asked of them.

use serde_json::Value;
use vitreous_model::lineage::Ancestor;

/// Job types that make a map from particles.
const MAKERS: [&str; 2] = ["reconstruct", "ab-initio"];

/// The jobs behind a deposition, by number.
pub(super) struct History {
    /// Every job that the inputs rest on.
    pub jobs: Vec<Ancestor>,
}

impl History {
    /// A job by name.
    pub fn job(&self, name: &str) -> Option<&Ancestor> {
        self.jobs.iter().find(|job| job.job == name)
    }

    /// The job that made a map from particles: `start`, or the one whose volume it has changed.
    pub fn maker(&self, start: &str) -> Option<&Ancestor> {
        let mut job = self.job(start)?;
        // each job rests on earlier ones; the count keeps broken records from going round
        for _ in 0..self.jobs.len() {
            if is_maker(&job.job_type) {
                return Some(job);
            }
            let (before, _) = job.inputs.get("volume")?.first()?;
            job = self.job(before)?;
        }
        None
    }

    /// The last job of a type.
    pub fn last(&self, job_type: &str) -> Option<&Ancestor> {
        self.jobs.iter().rev().find(|job| job.job_type == job_type)
    }

    /// The last job that tells a key figure, with it.
    pub fn last_number(&self, types: &[&str], key: &str) -> Option<(&Ancestor, f64)> {
        let of_types = self.jobs.iter().rev().filter(|job| types.contains(&job.job_type.as_str()));
        of_types.filter_map(|job| Some((job, job.number(key)?))).next()
    }

    /// Versions of the engine that did the work, without repetition.
    pub fn engines(&self) -> Vec<&str> {
        let mut versions: Vec<&str> = Vec::new();
        for version in self.jobs.iter().filter_map(|job| job.versions.get(ENGINE)) {
            if !versions.contains(&version.as_str()) {
                versions.push(version);
            }
        }
        versions
    }
}

/// The program's name among a job's versions.
pub(super) const ENGINE: &str = "vitreous-engine";

/// Whether a job of this type makes a map from particles.
fn is_maker(job_type: &str) -> bool {
    MAKERS.contains(&job_type) || (job_type.starts_with("refine-") && job_type != "refine-ctf")
}

/// A parameter as text; text without quotes.
pub(super) fn param(job: &Ancestor, key: &str) -> Option<String> {
    match job.param(key)? {
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// A number without needless digits: four significant ones, whole numbers with thousands apart.
pub(super) fn short(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        return thousands(value as i64);
    }
    let before = value.abs().log10().floor() as i32;
    let decimals = (3 - before).clamp(0, 8) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text }
}

/// `12345` as `12,345`.
fn thousands(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if value < 0 { format!("-{out}") } else { out }
}
