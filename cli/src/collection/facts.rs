//! What a job says of exposures: its newest report, and the records of attempts since.

use crate::failure::Outcome;
use serde::Deserialize;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use vitreous_model::item_record::{self, ItemFigures, ItemOutcome};
use vitreous_model::report::Skipped;
use vitreous_project::{Effective, JobDir, atomic};
use vitreous_report::collection::{Exposure, Rejected};

/// What a job has found by now.
#[derive(Debug, Default)]
pub struct Facts {
    /// By name of the exposure, in the order of the report; only what this job finds is filled in.
    pub exposures: Vec<Exposure>,
    /// Items that it left out or rejected, with the reason.
    pub left_out: Vec<Skipped>,
    /// The attempt that wrote the report; 0: none has.
    pub report_attempt: u32,
    /// The page that belongs to the report, relative to the job's folder.
    pub page: Option<PathBuf>,
}

/// What this program reads of `report.json`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ReportPart {
    exposures: Vec<Row>,
    /// `extract-particles` calls them so.
    micrographs: Vec<Row>,
    skipped: Vec<Skipped>,
}

/// One exposure in a report, whatever the job type.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Row {
    name: String,
    recorded_unix_s: Option<f64>,
    bytes: Option<u64>,
    #[serde(rename = "motion_total_A")]
    motion_total_a: Option<f64>,
    #[serde(rename = "motion_early_A")]
    motion_early_a: Option<f64>,
    #[serde(rename = "defocus_u_A")]
    defocus_u_a: Option<f64>,
    #[serde(rename = "defocus_v_A")]
    defocus_v_a: Option<f64>,
    #[serde(rename = "fit_resolution_A")]
    fit_resolution_a: Option<f64>,
    picks: Option<u64>,
    extracted: Option<u64>,
}

impl Row {
    fn exposure(self) -> Exposure {
        let (defocus_a, astigmatism_a) = of_defoci(self.defocus_u_a, self.defocus_v_a);
        Exposure {
            name: self.name,
            recorded_unix_s: self.recorded_unix_s,
            movie_bytes: self.bytes.unwrap_or(0),
            motion_total_a: self.motion_total_a,
            motion_early_a: self.motion_early_a,
            defocus_a,
            astigmatism_a,
            fit_resolution_a: self.fit_resolution_a,
            picks: self.picks,
            particles: self.extracted,
            rejected: None,
        }
    }
}

/// Mean defocus and astigmatism, Å.
fn of_defoci(u: Option<f64>, v: Option<f64>) -> (Option<f64>, Option<f64>) {
    match (u, v) {
        (Some(u), Some(v)) => (Some(0.5 * (u + v)), Some((u - v).abs())),
        _ => (None, None),
    }
}

impl Facts {
    /// Reads them.
    ///
    /// # Errors
    /// The job's folder cannot be listed. A report that cannot be read counts as none.
    pub fn read(job: &JobDir) -> Outcome<Self> {
        let mut facts = Self::default();
        let latest = job.latest_attempt()?.map_or(0, |attempt| attempt.number());
        // when an attempt is launched, the results of the one before are moved into that one's folder
        let folders = std::iter::once(job.path().to_path_buf())
            .chain((1..=latest).rev().map(|number| job.attempt(number).path().to_path_buf()));
        for folder in folders {
            if facts.take_report(job, &folder) {
                break;
            }
        }
        facts.take_records(job, latest);
        Ok(facts)
    }

    fn take_report(&mut self, job: &JobDir, folder: &Path) -> bool {
        let Ok(Some(part)) = atomic::read_json::<ReportPart>(&folder.join("report.json")) else {
            return false;
        };
        let effective = atomic::read_json::<Effective>(&folder.join("effective.json")).ok().flatten();
        self.report_attempt = effective.map_or(0, |effective| effective.attempt);
        self.exposures = part.exposures.into_iter().chain(part.micrographs).map(Row::exposure).collect();
        self.left_out = part.skipped;
        let page = folder.join("report.html");
        self.page = page.strip_prefix(job.path()).ok().filter(|_| page.is_file()).map(Path::to_path_buf);
        true
    }

    /// Adds what attempts since the report have found; of two records of one item the later counts.
    fn take_records(&mut self, job: &JobDir, latest: u32) {
        if self.report_attempt >= latest {
            return;
        }
        let mut places: HashMap<String, usize> =
            self.exposures.iter().enumerate().map(|(i, exposure)| (exposure.name.clone(), i)).collect();
        for path in logs_since(job, self.report_attempt) {
            // records are the engine's own affair: what cannot be read is shown once there is a report
            for record in item_record::parse(&std::fs::read(&path).unwrap_or_default()) {
                self.left_out.retain(|left_out| left_out.item != record.item);
                match record.outcome {
                    ItemOutcome::Skipped(reason) => self.left_out.push(Skipped { item: record.item, reason }),
                    ItemOutcome::Done(figures) => {
                        let reasons: Vec<&str> =
                            figures.reasons.iter().flatten().map(|(_, why)| why.as_str()).collect();
                        if !reasons.is_empty() {
                            let reason = reasons.join("; ");
                            self.left_out.push(Skipped { item: record.item.clone(), reason });
                        }
                        let exposure = of_record(record.item.clone(), &figures);
                        match places.get(&record.item) {
                            Some(&place) => self.exposures[place] = exposure,
                            None => {
                                places.insert(record.item, self.exposures.len());
                                self.exposures.push(exposure);
                            }
                        }
                    }
                }
            }
        }
    }
}

fn of_record(name: String, figures: &ItemFigures) -> Exposure {
    let motion = figures.motion.as_ref();
    let ctf = figures.ctf.as_ref();
    let (defocus_a, astigmatism_a) = of_defoci(ctf.map(|c| c.defocus_u_a), ctf.map(|c| c.defocus_v_a));
    Exposure {
        name,
        motion_total_a: motion.map(|motion| motion.total_a),
        motion_early_a: motion.map(|motion| motion.early_a),
        defocus_a,
        astigmatism_a,
        fit_resolution_a: figures.fit_resolution_a,
        picks: figures.found.as_ref().map(item_record::Counted::count),
        particles: figures.kept.as_ref().map(item_record::Counted::count),
        ..Exposure::default()
    }
}

/// Logs of items of attempts after `attempt`, `WHAT-aNN-….jsonl`, in the order of attempts.
fn logs_since(job: &JobDir, attempt: u32) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(job.file("records")).into_iter().flatten().flatten();
    let mut logs: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let stem = name.strip_suffix(".jsonl")?;
            let number = stem.split('-').find_map(|part| part.strip_prefix('a')?.parse::<u32>().ok())?;
            (number > attempt).then(|| (number, entry.path()))
        })
        .collect();
    logs.sort();
    logs.into_iter().map(|(_, path)| path).collect()
}

/// Fills what `found` knows into `exposure`.
pub fn merge(exposure: &mut Exposure, found: &Exposure) {
    let take = |to: &mut Option<f64>, from: Option<f64>| *to = from.or(*to);
    take(&mut exposure.recorded_unix_s, found.recorded_unix_s);
    take(&mut exposure.motion_total_a, found.motion_total_a);
    take(&mut exposure.motion_early_a, found.motion_early_a);
    take(&mut exposure.defocus_a, found.defocus_a);
    take(&mut exposure.astigmatism_a, found.astigmatism_a);
    take(&mut exposure.fit_resolution_a, found.fit_resolution_a);
    exposure.movie_bytes = exposure.movie_bytes.max(found.movie_bytes);
    exposure.picks = found.picks.or(exposure.picks);
    exposure.particles = found.particles.or(exposure.particles);
}

/// Notes that a job left an exposure out; the first to do so counts.
pub fn reject(exposure: &mut Exposure, by: &str, reason: &str) {
    exposure.rejected.get_or_insert_with(|| Rejected { by: by.into(), reason: reason.into() });
}
