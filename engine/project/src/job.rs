//! A job's folder and the files in it that are not of one attempt.

use crate::attempt::AttemptDir;
use crate::error::ProjectError;
use crate::names::{InputRef, JobNumber, attempt_in};
use crate::records::{Cancel, Request};
use crate::{atomic, fingerprint};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use uuid::Uuid;
use vitreous_model::SCHEMA;
use vitreous_model::outputs::{Output, Outputs};
use vitreous_model::resources::Resources;

/// What the user wants other than the job type's own formula says; absent: the formula's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResourceOverrides {
    /// MPI ranks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ranks: Option<u32>,
    /// Hosts that the ranks are spread over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<u32>,
    /// Threads of each rank.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
    /// GPUs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpus: Option<u32>,
    /// Memory, MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_mib: Option<u64>,
    /// Wall time, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub walltime_s: Option<u64>,
}

impl ResourceOverrides {
    /// `resources` with these values in place of its own.
    pub fn apply(&self, resources: Resources) -> Resources {
        Resources {
            ranks: self.ranks.unwrap_or(resources.ranks),
            nodes: self.nodes.unwrap_or(resources.nodes),
            threads: self.threads.unwrap_or(resources.threads),
            gpus: self.gpus.unwrap_or(resources.gpus),
            mem_mib: self.mem_mib.unwrap_or(resources.mem_mib),
            walltime_s: self.walltime_s.unwrap_or(resources.walltime_s),
            ..resources
        }
    }

    /// Nothing is overridden.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// When a failed job is run again by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryPolicy {
    /// At most so many times after a request by a person.
    pub times: u32,
    /// For these reasons, by the names of [`crate::Reason::kind`].
    pub reasons: Vec<String>,
    /// After `out-of-memory`, memory is multiplied by this.
    pub mem_factor: f64,
    /// After `timeout`, wall time is multiplied by this.
    pub time_factor: f64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        let reasons = ["out-of-memory", "timeout", "node-failure", "preempted", "signal", "lost"];
        Self { times: 0, reasons: reasons.map(String::from).to_vec(), mem_factor: 1.5, time_factor: 2.0 }
    }
}

impl RetryPolicy {
    /// The default reasons, so many times.
    pub fn times(times: u32) -> Self {
        Self { times, ..Self::default() }
    }
}

/// `job.yaml`: what was asked for. Written once and never changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobSpec {
    /// Version of the layout.
    pub schema: u32,
    /// Its number.
    pub job: JobNumber,
    /// Job type, e.g. `correct-motion`.
    #[serde(rename = "type")]
    pub job_type: String,
    /// Identity, kept when the project moves.
    pub uuid: Uuid,
    /// A word for people; a pipeline's key.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// When it was made, for people.
    pub created_unix_s: f64,
    /// Which outputs of which jobs go into which slot.
    #[serde(default)]
    pub inputs: BTreeMap<String, Vec<InputRef>>,
    /// Parameters as given; what is not given has the job type's default.
    #[serde(default)]
    pub params: Map<String, Value>,
    /// Lane it runs in.
    pub lane: String,
    /// Resources the user insists on.
    #[serde(default, skip_serializing_if = "ResourceOverrides::is_empty")]
    pub resources: ResourceOverrides,
    /// Values for the site's own variables in the lane's template.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vars: BTreeMap<String, Value>,
    /// When to run again.
    #[serde(default)]
    pub retry: RetryPolicy,
    /// Of type, effective parameters, the files that parameters name, and the parents' fingerprints: equal
    /// fingerprints promise equal results. Empty: not computed.
    #[serde(default)]
    pub fingerprint: String,
}

/// `effective.json`: everything that shaped the result, written by the engine before the first item.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Effective {
    /// Version of the layout.
    pub schema: u32,
    /// The job.
    pub job: JobNumber,
    /// Job type.
    #[serde(rename = "type")]
    pub job_type: String,
    /// The job's identity.
    pub uuid: Uuid,
    /// Which attempt wrote this.
    pub attempt: u32,
    /// All parameters after defaults.
    pub params: Value,
    /// Input slot → references and fingerprints of the parents' `outputs.json` at that moment.
    pub inputs: BTreeMap<String, Vec<InputRecord>>,
    /// Program → version, e.g. `vitreous-engine` → `0.1.0`.
    pub versions: BTreeMap<String, String>,
    /// Host of rank 0.
    pub host: String,
    /// The device of rank 0 in words.
    pub device: String,
    /// What every rank computes on; empty in records of before this was written down.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<RankDevice>,
    /// MPI ranks.
    pub ranks: u32,
    /// Threads of each rank.
    pub threads: u32,
    /// How the engine was called.
    pub command_line: Vec<String>,
    /// When, for people.
    pub started_unix_s: f64,
}

/// What a rank computes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RankDevice {
    /// The rank.
    pub rank: u32,
    /// Its host.
    pub host: String,
    /// The device in words.
    pub device: String,
    /// The GPU that is its own among those granted, as the scheduler names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
    /// Ranks that share it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared_by: Option<u32>,
    /// Why it does not compute on the GPU that is its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_used: Option<String>,
}

/// An input as the engine found it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputRecord {
    /// Which output.
    pub from: InputRef,
    /// [`JobDir::outputs_fingerprint`] of the parent: another one now means that this job is stale.
    pub outputs_fingerprint: String,
}

/// A parent's output, found.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedInput {
    /// Input slot of this job.
    pub slot: String,
    /// Where it comes from.
    pub from: InputRef,
    /// The parent's folder: what `output.path` is relative to.
    pub dir: PathBuf,
    /// What the parent says of it.
    pub output: Output,
    /// [`JobDir::outputs_fingerprint`] of the parent.
    pub outputs_fingerprint: String,
}

impl ResolvedInput {
    /// The main file.
    pub fn path(&self) -> PathBuf {
        self.dir.join(&self.output.path)
    }

    /// A further file by role.
    pub fn part(&self, role: &str) -> Option<PathBuf> {
        self.output.parts.get(role).map(|file| self.dir.join(file))
    }

    /// For [`Effective::inputs`].
    pub fn record(&self) -> InputRecord {
        InputRecord { from: self.from.clone(), outputs_fingerprint: self.outputs_fingerprint.clone() }
    }
}

/// A job's folder with its `job.yaml` read.
#[derive(Debug, Clone, PartialEq)]
pub struct JobDir {
    path: PathBuf,
    spec: JobSpec,
}

impl JobDir {
    /// Opens the folder `J0002-correct-motion`.
    ///
    /// # Errors
    /// [`ProjectError::NoJob`] without a `job.yaml`; else as [`atomic::read_yaml`].
    pub fn open(path: &Path) -> Result<Self, ProjectError> {
        let path = std::path::absolute(path).map_err(ProjectError::io("find", path))?;
        match atomic::read_yaml::<JobSpec>(&path.join("job.yaml"))? {
            Some(spec) => Ok(Self { path, spec }),
            None => Err(ProjectError::NoJob {
                job: path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
                project: path.parent().unwrap_or(&path).into(),
            }),
        }
    }

    /// A job whose `job.yaml` is known already.
    pub(crate) fn with_spec(path: PathBuf, spec: JobSpec) -> Self {
        Self { path, spec }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// What was asked for.
    pub fn spec(&self) -> &JobSpec {
        &self.spec
    }

    /// Its number.
    pub fn number(&self) -> JobNumber {
        self.spec.job
    }

    /// The project it lies in.
    pub fn project_root(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    /// The folder of attempt `number`, whether it exists or not.
    pub fn attempt(&self, number: u32) -> AttemptDir {
        AttemptDir::new(&self.path, number)
    }

    /// The newest attempt that has a folder.
    ///
    /// # Errors
    /// [`ProjectError::Io`].
    pub fn latest_attempt(&self) -> Result<Option<AttemptDir>, ProjectError> {
        let newest = self.names()?.iter().filter_map(|name| attempt_in(name, "attempt")).max();
        Ok(newest.map(|number| self.attempt(number)))
    }

    /// Names of all entries of the folder.
    ///
    /// # Errors
    /// [`ProjectError::Io`].
    pub fn names(&self) -> Result<Vec<String>, ProjectError> {
        let entries = std::fs::read_dir(&self.path).map_err(ProjectError::io("list", &self.path))?;
        Ok(entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
    }

    /// Asks for attempt `number`; `false` if somebody has already.
    ///
    /// # Errors
    /// [`ProjectError::Io`].
    pub fn request(&self, number: u32, request: &Request) -> Result<bool, ProjectError> {
        atomic::create_new_json(&self.file(&format!("request-{number:02}.json")), request)
    }

    /// `request-NN.json`.
    ///
    /// # Errors
    /// As [`atomic::read_json`].
    pub fn read_request(&self, number: u32) -> Result<Option<Request>, ProjectError> {
        atomic::read_json(&self.file(&format!("request-{number:02}.json")))
    }

    /// Asks attempt `number` to stop or not to start; `false` if somebody has already.
    ///
    /// # Errors
    /// [`ProjectError::Io`].
    pub fn cancel(&self, number: u32, cancel: &Cancel) -> Result<bool, ProjectError> {
        atomic::create_new_json(&self.file(&format!("cancel-{number:02}.json")), cancel)
    }

    /// `cancel-NN.json`.
    ///
    /// # Errors
    /// As [`atomic::read_json`].
    pub fn read_cancel(&self, number: u32) -> Result<Option<Cancel>, ProjectError> {
        atomic::read_json(&self.file(&format!("cancel-{number:02}.json")))
    }

    /// Takes a cancellation back: it moves into the attempt's folder.
    ///
    /// # Errors
    /// [`ProjectError::Io`].
    pub fn withdraw_cancel(&self, number: u32) -> Result<(), ProjectError> {
        let from = self.file(&format!("cancel-{number:02}.json"));
        let to = self.attempt(number).file("cancel-withdrawn.json");
        std::fs::rename(&from, to).map_err(ProjectError::io("move", from))
    }

    /// Puts results of an older attempt aside, into that attempt's folder, so that they are not taken for new ones.
    ///
    /// # Errors
    /// [`ProjectError::Io`].
    pub fn set_results_aside(&self, before_attempt: u32) -> Result<(), ProjectError> {
        let older = self.attempt(before_attempt.saturating_sub(1));
        if !older.path().is_dir() {
            return Ok(());
        }
        for name in ["outputs.json", "effective.json", "report.json", "report.html"] {
            let from = self.file(name);
            match std::fs::rename(&from, older.file(name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(ProjectError::io("move", from)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// `outputs.json`; `None` before the job is done.
    ///
    /// # Errors
    /// As [`atomic::read_json`].
    pub fn outputs(&self) -> Result<Option<Outputs>, ProjectError> {
        atomic::read_json(&self.file("outputs.json"))
    }

    /// For the engine, as its last file: the job's results are whole.
    ///
    /// # Errors
    /// [`ProjectError::Io`].
    pub fn write_outputs(&self, outputs: Vec<Output>) -> Result<(), ProjectError> {
        atomic::write_json(&self.file("outputs.json"), &Outputs { schema: SCHEMA, outputs })
    }

    /// Changes when the results change: of `outputs.json` and of the attempt that made them. Empty without results.
    ///
    /// # Errors
    /// As [`atomic::read_json`].
    pub fn outputs_fingerprint(&self) -> Result<String, ProjectError> {
        let Some(outputs) = atomic::read_json::<Value>(&self.file("outputs.json"))? else {
            return Ok(String::new());
        };
        let attempt = self.effective()?.map_or(0, |effective| effective.attempt);
        let mut sum = fingerprint::Fingerprint::default();
        Ok(sum.bytes(self.spec.uuid.as_bytes()).bytes(&attempt.to_le_bytes()).value(&outputs).hex())
    }

    /// `effective.json`.
    ///
    /// # Errors
    /// As [`atomic::read_json`].
    pub fn effective(&self) -> Result<Option<Effective>, ProjectError> {
        atomic::read_json(&self.file("effective.json"))
    }

    /// For the engine, before the first item.
    ///
    /// # Errors
    /// [`ProjectError::Io`].
    pub fn write_effective(&self, effective: &Effective) -> Result<(), ProjectError> {
        atomic::write_json(&self.file("effective.json"), effective)
    }

    /// The folder of another job of the same project.
    ///
    /// # Errors
    /// [`ProjectError::NoJob`].
    pub fn sibling(&self, number: JobNumber) -> Result<Self, ProjectError> {
        crate::project::find_job(self.project_root(), number)
    }

    /// Finds every input in its parent's `outputs.json`.
    ///
    /// # Errors
    /// [`ProjectError::NoInput`] if a parent has not finished or has no such output.
    pub fn resolve_inputs(&self) -> Result<Vec<ResolvedInput>, ProjectError> {
        let mut found = Vec::new();
        for (slot, from) in
            self.spec.inputs.iter().flat_map(|(slot, refs)| refs.iter().map(move |r| (slot, r)))
        {
            let missing = |why: String| ProjectError::NoInput { input: from.to_string(), why };
            let parent = self.sibling(from.job)?;
            let outputs = parent
                .outputs()?
                .ok_or_else(|| missing(format!("{} has not written its outputs yet", from.job)))?;
            let offered: Vec<&str> = outputs.outputs.iter().map(|output| output.slot.as_str()).collect();
            let why = format!("{} offers {}", from.job, offered.join(", "));
            let output =
                outputs.outputs.iter().find(|output| output.slot == from.slot).ok_or_else(|| missing(why))?;
            found.push(ResolvedInput {
                slot: slot.clone(),
                from: from.clone(),
                dir: parent.path.clone(),
                output: output.clone(),
                outputs_fingerprint: parent.outputs_fingerprint()?,
            });
        }
        Ok(found)
    }
}
