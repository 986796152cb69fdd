//! The records of one attempt to run a job.

use crate::atomic;
use crate::error::ProjectError;
use crate::events::{self, EventReader, EventWriter, Progress};
use crate::job::Effective;
use crate::process::ProcessId;
use crate::state::Reason;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use uuid::Uuid;
use vitreous_model::event::Event;
use vitreous_model::resources::Resources;

/// Who asked for an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Requester {
    /// A person or script: `run`, `retry`.
    User,
    /// The retry policy.
    Policy,
    /// The engine left a checkpoint and asked to go on.
    Requeue,
    /// A launch was cut short and nothing had started, or a job it was queued behind had to be run again.
    Recovery,
    /// A job whose outputs it takes, or the folder it watches, has more than when it ran.
    Growth,
}

/// `request-NN.json`: attempt NN is wanted. Created once; its existence is the claim to be launched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Version of the layout.
    pub schema: u32,
    /// Who asked.
    pub by: Requester,
    /// The user who asked: the job runs under this name, whoever makes the pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// When, for people.
    pub unix_s: f64,
    /// Why, in words; empty for a first run.
    #[serde(default)]
    pub why: String,
    /// Memory is multiplied by this.
    #[serde(default = "one")]
    pub mem_factor: f64,
    /// Wall time is multiplied by this.
    #[serde(default = "one")]
    pub time_factor: f64,
    /// Hosts on which it came to grief.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub avoid: Vec<String>,
    /// The environment the job needs (`PATH`, `LD_LIBRARY_PATH`), because cron has none.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
}

fn one() -> f64 {
    1.0
}

impl Request {
    /// A request as it is made now.
    pub fn new(by: Requester, why: impl Into<String>) -> Self {
        Self {
            schema: vitreous_model::SCHEMA,
            by,
            uid: Some(crate::process::uid()),
            unix_s: crate::clock::unix_s(),
            why: why.into(),
            mem_factor: 1.0,
            time_factor: 1.0,
            avoid: Vec::new(),
            environment: BTreeMap::new(),
        }
    }
}

/// `cancel-NN.json`: attempt NN is to stop, or must not start any more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cancel {
    /// Version of the layout.
    pub schema: u32,
    /// [`Requester::User`], or [`Requester::Recovery`] when it fences off a launch that was cut short.
    pub by: Requester,
    /// When, for people.
    pub unix_s: f64,
}

impl Cancel {
    /// A cancellation as it is made now.
    pub fn new(by: Requester) -> Self {
        Self { schema: vitreous_model::SCHEMA, by, unix_s: crate::clock::unix_s() }
    }
}

/// The elements of its items that an attempt does as an array.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Elements {
    /// Their numbers, from 1; task 1 of the array does the first of them.
    pub numbers: Vec<u32>,
    /// How many elements the items are divided into.
    pub of: u32,
}

/// `intent.json`: somebody is about to launch this attempt. Created once, before the launch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// Version of the layout.
    pub schema: u32,
    /// Identity of the attempt: in the job's environment as `VITREOUS_ATTEMPT` and in its scheduler's name or comment.
    pub uuid: Uuid,
    /// When, for people.
    pub unix_s: f64,
    /// The process that launches.
    pub author: ProcessId,
    /// The lane.
    pub lane: String,
    /// The lane's scheduler.
    pub scheduler: String,
    /// What is asked of the machine.
    pub resources: Resources,
    /// Where and how the scheduler is spoken to, in the words of the schedulers' crate.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub site: Value,
    /// A scheduler decides where it runs, and knows more about its end than its exit record.
    #[serde(default)]
    pub is_cluster: bool,
    /// It is an array.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elements: Option<Elements>,
    /// It was submitted behind jobs that were not done yet.
    #[serde(default)]
    pub is_chained: bool,
    /// How long absence is tolerated before it is a verdict, seconds.
    #[serde(default)]
    pub grace_s: f64,
    /// Least time between two questions to the scheduler, seconds.
    #[serde(default)]
    pub poll_s: f64,
    /// GPUs it was given, by their numbers on the host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpu_ids: Vec<u32>,
}

impl Intent {
    /// Of this process, now, for a plain job.
    pub fn new(uuid: Uuid, lane: &str, scheduler: &str) -> Self {
        Self {
            schema: vitreous_model::SCHEMA,
            uuid,
            unix_s: crate::clock::unix_s(),
            author: ProcessId::current(),
            lane: lane.into(),
            scheduler: scheduler.into(),
            resources: Resources::default(),
            site: Value::Null,
            is_cluster: false,
            elements: None,
            is_chained: false,
            grace_s: 0.0,
            poll_s: 0.0,
            gpu_ids: Vec::new(),
        }
    }
}

/// `submission.json`: the scheduler has taken it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Submission {
    /// Version of the layout.
    pub schema: u32,
    /// The attempt.
    pub uuid: Uuid,
    /// The scheduler's id, opaque.
    pub job_id: String,
    /// When, for people.
    pub unix_s: f64,
    /// Host where it was submitted.
    pub host: String,
    /// The user who submitted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The cluster's own name; empty: it has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cluster: String,
    /// The project's folder at that moment, absolute: a copy of the project elsewhere does not follow the job.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub project_dir: String,
    /// The command that submitted it.
    pub command: Vec<String>,
    /// Found again after its launch was cut short.
    #[serde(default)]
    pub recovered: bool,
}

/// `refused.json`: the scheduler did not take it; nothing has started and nothing will. Or `unclear.json`: its answer
/// does not say whether it took it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Refusal {
    /// Version of the layout.
    pub schema: u32,
    /// The attempt.
    pub uuid: Uuid,
    /// When, for people.
    pub unix_s: f64,
    /// What the scheduler said.
    pub message: String,
}

/// `ended.json`: what the scheduler said of a job that it knew to have ended, written down before it forgets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Version of the layout.
    pub schema: u32,
    /// The attempt.
    pub uuid: Uuid,
    /// When, for people.
    pub unix_s: f64,
    /// Why it ended; `None`: well.
    pub reason: Option<Reason>,
    /// In the scheduler's words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub words: String,
    /// Where it ran; empty: not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// It was not known any more, and nobody could say how it ended.
    #[serde(default)]
    pub is_gone: bool,
    /// Of an array: why elements ended that left no record.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub elements: BTreeMap<u32, Reason>,
}

/// `exit.json`: how the script ended, written by its trap. Absent after SIGKILL, which is normal.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Exit {
    /// Version of the layout.
    pub schema: u32,
    /// The attempt.
    pub uuid: Uuid,
    /// Number of the start within the attempt, from 1: a scheduler may start the same job again.
    #[serde(default)]
    pub run: u32,
    /// Exit code of the engine as the shell saw it.
    pub code: i32,
    /// The signal that killed the engine.
    #[serde(default)]
    pub signal: Option<i32>,
    /// The kernel killed a process of this job's group for memory.
    #[serde(default)]
    pub out_of_memory: bool,
    /// Its script ended it at its time limit.
    #[serde(default)]
    pub timeout: bool,
    /// The last signal the script was sent, `TERM` or `USR1`; empty: none.
    #[serde(default)]
    pub told: String,
    /// Where it ran.
    pub host: String,
    /// Start, seconds since 1970 on that host.
    pub start_unix_s: f64,
    /// End, seconds since 1970 on that host.
    pub end_unix_s: f64,
}

/// `usage-RANK.json`: what one rank used, written by the engine at its end.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// User and system time of the rank, seconds.
    pub cpu_seconds: f64,
    /// Largest resident size of the rank, MiB.
    pub max_rss_mib: f64,
}

/// The folder `attempt-NN`.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptDir {
    path: PathBuf,
    number: u32,
}

impl AttemptDir {
    /// The folder of attempt `number` of the job in `job_dir`, whether it exists or not.
    pub fn new(job_dir: &Path, number: u32) -> Self {
        Self { path: job_dir.join(format!("attempt-{number:02}")), number }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its number, from 1.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes the folder if it is not there.
    ///
    /// # Errors
    /// [`ProjectError::Io`].
    pub fn create(&self) -> Result<(), ProjectError> {
        match std::fs::create_dir(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(ProjectError::io("create", &self.path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Writes `intent.json`; `false` if somebody else has: then the attempt is theirs to launch.
    ///
    /// # Errors
    /// [`ProjectError::Io`].
    pub fn write_intent(&self, intent: &Intent) -> Result<bool, ProjectError> {
        atomic::create_new_json(&self.file("intent.json"), intent)
    }

    /// `intent.json`.
    ///
    /// # Errors
    /// As [`atomic::read_json`].
    pub fn intent(&self) -> Result<Option<Intent>, ProjectError> {
        atomic::read_json(&self.file("intent.json"))
    }

    /// Writes `submission.json`.
    ///
    /// # Errors
    /// [`ProjectError::Io`].
    pub fn write_submission(&self, submission: &Submission) -> Result<(), ProjectError> {
        atomic::write_json(&self.file("submission.json"), submission)
    }

    /// `submission.json`.
    ///
    /// # Errors
    /// As [`atomic::read_json`].
    pub fn submission(&self) -> Result<Option<Submission>, ProjectError> {
        atomic::read_json(&self.file("submission.json"))
    }

    /// Writes `refused.json`.
    ///
    /// # Errors
    /// [`ProjectError::Io`].
    pub fn write_refusal(&self, refusal: &Refusal) -> Result<(), ProjectError> {
        atomic::write_json(&self.file("refused.json"), refusal)
    }

    /// `refused.json`.
    ///
    /// # Errors
    /// As [`atomic::read_json`].
    pub fn refusal(&self) -> Result<Option<Refusal>, ProjectError> {
        atomic::read_json(&self.file("refused.json"))
    }

    /// Writes `unclear.json`.
    ///
    /// # Errors
    /// [`ProjectError::Io`].
    pub fn write_unclear(&self, refusal: &Refusal) -> Result<(), ProjectError> {
        atomic::write_json(&self.file("unclear.json"), refusal)
    }

    /// `unclear.json`.
    ///
    /// # Errors
    /// As [`atomic::read_json`].
    pub fn unclear(&self) -> Result<Option<Refusal>, ProjectError> {
        atomic::read_json(&self.file("unclear.json"))
    }

    /// How long ago the intent was written, by the file server's clock, ns; 0: there is none.
    pub fn intent_age_ns(&self, now_ns: i64) -> i64 {
        let modified = std::fs::metadata(self.file("intent.json")).ok();
        modified.map_or(0, |meta| now_ns - (meta.mtime() * 1_000_000_000 + meta.mtime_nsec()))
    }

    /// Takes the intent back, because it is certain that nothing was submitted: the attempt can be launched anew.
    ///
    /// # Errors
    /// [`ProjectError::Io`].
    pub fn withdraw_intent(&self, uuid: Uuid) -> Result<(), ProjectError> {
        let from = self.file("intent.json");
        let to = self.file(&format!("intent-withdrawn-{uuid}.json"));
        std::fs::rename(&from, to).map_err(ProjectError::io("move", from))
    }

    /// Writes `ended.json`.
    ///
    /// # Errors
    /// [`ProjectError::Io`].
    pub fn write_verdict(&self, verdict: &Verdict) -> Result<(), ProjectError> {
        atomic::write_json(&self.file("ended.json"), verdict)
    }

    /// `ended.json`.
    ///
    /// # Errors
    /// As [`atomic::read_json`].
    pub fn verdict(&self) -> Result<Option<Verdict>, ProjectError> {
        atomic::read_json(&self.file("ended.json"))
    }

    /// `exit.json`; of an array: written by the task that collected what all did.
    ///
    /// # Errors
    /// As [`atomic::read_json`].
    pub fn exit(&self) -> Result<Option<Exit>, ProjectError> {
        self.exit_of("exit.json", "claim")
    }

    /// `exit-E.json`: how an element of an array ended.
    ///
    /// # Errors
    /// As [`atomic::read_json`].
    pub fn element_exit(&self, element: u32) -> Result<Option<Exit>, ProjectError> {
        self.exit_of(&format!("exit-{element}.json"), &format!("claim-{element}"))
    }

    /// A record, unless its job has been started again since: a late record of a start that was given up for lost does
    /// not count.
    fn exit_of(&self, record: &str, claim: &str) -> Result<Option<Exit>, ProjectError> {
        let exit: Option<Exit> = atomic::read_json(&self.file(record))?;
        Ok(exit.filter(|exit| !self.file(&format!("{claim}/run-{}", exit.run + 1)).is_dir() || exit.run == 0))
    }

    /// Whether the script has begun to run; of an array: any of its tasks.
    pub fn is_claimed(&self, elements: Option<&Elements>) -> bool {
        match elements {
            None => self.file("claim/owner").is_file(),
            Some(elements) => {
                elements.numbers.iter().any(|element| self.file(&format!("claim-{element}/owner")).is_file())
            }
        }
    }

    /// The scheduler's id that the running script knows of itself.
    pub fn claimed_by(&self, elements: Option<&Elements>) -> Option<String> {
        let claims: Vec<String> = match elements {
            None => vec!["claim/owner".into()],
            Some(elements) => elements.numbers.iter().map(|e| format!("claim-{e}/owner")).collect(),
        };
        let owner = claims.iter().find_map(|claim| atomic::read(&self.file(claim)).ok().flatten())?;
        Some(owner.trim().to_string()).filter(|owner| !owner.is_empty())
    }

    /// Writes what rank `rank` used, of slice `slice` if the job is done in slices: `usage-RANK.json` or
    /// `usage-SLICE-RANK.json`.
    ///
    /// # Errors
    /// [`ProjectError::Io`].
    pub fn write_usage(&self, slice: Option<u32>, rank: usize, usage: Usage) -> Result<(), ProjectError> {
        let name = match slice {
            Some(slice) => format!("usage-{slice}-{rank}.json"),
            None => format!("usage-{rank}.json"),
        };
        atomic::write_json(&self.file(&name), &usage)
    }

    /// What the attempt used; `None` if no rank has said. CPU seconds are those of all ranks of all slices together;
    /// the resident size is that of the largest slice, its ranks summed, because memory is granted to each slice.
    pub fn usage(&self) -> Option<Usage> {
        let mut by_slice: BTreeMap<Option<u32>, Usage> = BTreeMap::new();
        for name in self.names() {
            let Some(slice) = slice_of_usage(&name) else { continue };
            let Ok(Some(one)) = atomic::read_json::<Usage>(&self.file(&name)) else { continue };
            let sum = by_slice.entry(slice).or_default();
            sum.cpu_seconds += one.cpu_seconds;
            sum.max_rss_mib += one.max_rss_mib;
        }
        by_slice.into_values().reduce(|a, b| Usage {
            cpu_seconds: a.cpu_seconds + b.cpu_seconds,
            max_rss_mib: a.max_rss_mib.max(b.max_rss_mib),
        })
    }

    /// Names of all entries; none if there is no folder.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.path).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// Writes `effective-SLICE.json`: what was effective in one slice. The job's own `effective.json` comes from the run
    /// that collects.
    ///
    /// # Errors
    /// [`ProjectError::Io`].
    pub fn write_slice_effective(&self, slice: u32, effective: &Effective) -> Result<(), ProjectError> {
        atomic::write_json(&self.file(&format!("effective-{slice}.json")), effective)
    }

    /// The slices that have begun, in order.
    pub fn slices(&self) -> Vec<u32> {
        let number = |name: &String| name.strip_prefix("events-")?.strip_suffix(".jsonl")?.parse().ok();
        let mut slices: Vec<u32> = self.names().iter().filter_map(number).collect();
        slices.sort_unstable();
        slices
    }

    /// How far the attempt is. Of a job done in slices it is the sum over the slices that have begun, until the run that
    /// collects begins, which then counts alone. `None` before the first event.
    ///
    /// # Errors
    /// [`ProjectError::Io`].
    pub fn progress(&self) -> Result<Option<Progress>, ProjectError> {
        let own = self.last_events()?;
        if !own.is_empty() {
            return Ok(Some(events::progress(&own)));
        }
        let mut slices = Vec::new();
        for slice in self.slices() {
            slices.push(events::tail(&self.slice_events_path(slice))?);
        }
        Ok(events::progress_of_slices(&slices))
    }

    /// `events-SLICE.jsonl`.
    pub fn slice_events_path(&self, slice: u32) -> PathBuf {
        self.file(&format!("events-{slice}.jsonl"))
    }

    /// `events.jsonl`.
    pub fn events_path(&self) -> PathBuf {
        self.file("events.jsonl")
    }

    /// For the engine: appends to `events.jsonl`, or to the slice's own file.
    ///
    /// # Errors
    /// [`ProjectError::Io`].
    pub fn event_writer(&self, slice: Option<u32>) -> Result<EventWriter, ProjectError> {
        EventWriter::open(&slice.map_or_else(|| self.events_path(), |slice| self.slice_events_path(slice)))
    }

    /// For `logs -f`: reads `events.jsonl` bit by bit.
    pub fn event_reader(&self) -> EventReader {
        EventReader::new(&self.events_path())
    }

    /// The last events (64 KiB of them).
    ///
    /// # Errors
    /// [`ProjectError::Io`].
    pub fn last_events(&self) -> Result<Vec<Event>, ProjectError> {
        events::tail(&self.events_path())
    }
}

/// The slice that `usage-SLICE-RANK.json` belongs to, no slice for `usage-RANK.json`; `None` for other files.
fn slice_of_usage(name: &str) -> Option<Option<u32>> {
    let numbers = name.strip_prefix("usage-")?.strip_suffix(".json")?;
    let (slice, rank) = match numbers.split_once('-') {
        Some((slice, rank)) => (Some(slice.parse().ok()?), rank),
        None => (None, numbers),
    };
    rank.parse::<u32>().ok().map(|_| slice)
}

#[cfg(test)]
mod tests;
