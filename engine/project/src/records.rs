//! The records of one attempt to run a job: what was asked, launched, told and left.

use crate::process::ProcessId;
use crate::state::Reason;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use uuid::Uuid;
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

/// `node-cache-RANK.json`: what one rank had of its node's cache, written by the engine at its end.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct NodeCacheUse {
    /// The node.
    pub host: String,
    /// The cache there; empty if there was none.
    pub folder: PathBuf,
    /// Copies that were there, or that other processes made meanwhile.
    pub found_files: usize,
    /// Their bytes.
    pub found_bytes: u64,
    /// Copies made.
    pub copied_files: usize,
    /// Their bytes.
    pub copied_bytes: u64,
    /// Copies of others removed to make room.
    pub evicted_files: usize,
    /// Their bytes.
    pub evicted_bytes: u64,
    /// Files that were read where they lie.
    pub direct_files: usize,
    /// Their bytes.
    pub direct_bytes: u64,
    /// Copies that could not be read any more.
    pub lost_files: usize,
    /// Why there was no cache, or why files were read where they lie; else empty.
    pub trouble: String,
}

impl NodeCacheUse {
    /// Adds what another rank of the same job had of the same node's cache.
    pub fn add(&mut self, other: &Self) {
        if self.folder.as_os_str().is_empty() {
            self.folder.clone_from(&other.folder);
        }
        if self.trouble.is_empty() {
            self.trouble.clone_from(&other.trouble);
        }
        self.host.clone_from(&other.host);
        self.found_files += other.found_files;
        self.found_bytes += other.found_bytes;
        self.copied_files += other.copied_files;
        self.copied_bytes += other.copied_bytes;
        self.evicted_files += other.evicted_files;
        self.evicted_bytes += other.evicted_bytes;
        self.direct_files += other.direct_files;
        self.direct_bytes += other.direct_bytes;
        self.lost_files += other.lost_files;
    }
}
