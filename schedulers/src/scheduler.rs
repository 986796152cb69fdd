//! What a scheduler adapter is.

use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;
use vitreous_model::resources::Resources;

/// A scheduler's name of a job: `123`, `123.pbs01`, `123_4`. Opaque: never a number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub String);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A command to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cmd {
    /// Program, found by PATH.
    pub program: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// What it reads from standard input.
    pub stdin: Option<String>,
}

impl Cmd {
    /// A command without input.
    pub fn new<S: Into<String>>(program: &str, args: impl IntoIterator<Item = S>) -> Self {
        Self { program: program.into(), args: args.into_iter().map(Into::into).collect(), stdin: None }
    }

    /// Program and arguments.
    pub fn words(&self) -> Vec<String> {
        std::iter::once(self.program.clone()).chain(self.args.iter().cloned()).collect()
    }
}

/// What a command answered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// Exit code; 128 and the signal's number if one killed it.
    pub code: i32,
    /// Standard output, undecodable bytes replaced.
    pub stdout: String,
    /// Standard error, undecodable bytes replaced.
    pub stderr: String,
}

/// Why a job ended, in the words that all schedulers share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndReason {
    /// By itself, with its exit code.
    Exited,
    /// It needed more memory than it had.
    OutOfMemory,
    /// It ran into its time limit.
    TimeLimit,
    /// Its host failed.
    NodeFailed,
    /// Somebody more important needed the host.
    Preempted,
    /// Somebody cancelled it.
    Cancelled,
    /// A job it depends on did not end well.
    Dependency,
    /// Another reason in the scheduler's words.
    Other(String),
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code, where known.
    pub exit: Option<i32>,
    /// The signal that killed it, where known.
    pub signal: Option<i32>,
    /// Why.
    pub reason: EndReason,
}

/// Where a job stands with its scheduler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Queue {
    /// It waits, for the reason given.
    Pending(String),
    /// It waits until somebody releases it, for the reason given.
    Held(String),
    /// It runs.
    Running,
    /// It was put back into the queue.
    Requeued,
    /// It ended.
    Ended(Ended),
    /// The scheduler does not know it (any more).
    Gone,
    /// The scheduler's word for it is new to us, or it cannot be asked from here.
    Unknown(String),
}

/// A script about to be submitted.
#[derive(Debug, Clone, PartialEq)]
pub struct Script {
    /// The rendered script, absolute.
    pub path: String,
    /// Name in the queue.
    pub name: String,
    /// Identity of the attempt, by which the job can be found again.
    pub tag: Uuid,
    /// File for its standard output, absolute.
    pub stdout: String,
    /// File for its standard error, absolute.
    pub stderr: String,
    /// What it asks for.
    pub resources: Resources,
}

/// How firmly a job is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// SIGTERM: it may save its work.
    Ask,
    /// SIGKILL to everything of it.
    Kill,
}

/// An answer that does not say what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchedulerError {
    /// The scheduler refused a job.
    #[error("{scheduler} refused the job (exit code {code}): {stderr}")]
    Refused {
        /// Which scheduler.
        scheduler: &'static str,
        /// Exit code of its command.
        code: i32,
        /// What it said, verbatim.
        stderr: String,
    },
    /// Its output is not what its manual promises.
    #[error("{scheduler} answered `{got}`, expected {expected}{}", shown_stderr(stderr))]
    Unexpected {
        /// Which scheduler.
        scheduler: &'static str,
        /// What it printed.
        got: String,
        /// What it should look like.
        expected: &'static str,
        /// What it said besides, verbatim.
        stderr: String,
    },
}

fn shown_stderr(stderr: &str) -> String {
    if stderr.trim().is_empty() { String::new() } else { format!("; it also said: {}", stderr.trim()) }
}

/// One scheduler. Pure: commands are built and answers are read here, but nothing is run.
pub trait Scheduler: Sync {
    /// Name in lane files.
    fn name(&self) -> &'static str;
    /// Its built-in script template.
    fn template(&self) -> &'static str;
    /// Submits a script.
    fn submit(&self, script: &Script) -> Cmd;
    /// The id in the answer to [`Scheduler::submit`].
    ///
    /// # Errors
    /// It was refused, or the answer holds no id.
    fn parse_submit(&self, answer: &Answer) -> Result<JobId, SchedulerError>;
    /// Asks for the state of jobs, all in one command.
    fn status(&self, ids: &[JobId]) -> Cmd;
    /// Reads the answer to [`Scheduler::status`]: one entry for each id asked for. An answer that cannot be read
    /// leaves states [`Queue::Unknown`], never [`Queue::Gone`].
    fn parse_status(&self, ids: &[JobId], answer: &Answer) -> Vec<(JobId, Queue)>;
    /// Asks for the end of jobs that have left the queue, where that is another command (`sacct`, `qacct`).
    fn post_mortem(&self, ids: &[JobId]) -> Option<Cmd>;
    /// Looks for the jobs of attempts whose launch was cut short.
    fn find_by_tag(&self, tags: &[Uuid]) -> Option<Cmd>;
    /// Reads the answer to [`Scheduler::find_by_tag`].
    ///
    /// # Errors
    /// The answer cannot be read: nothing may be concluded.
    fn parse_find(&self, answer: &Answer) -> Result<Vec<(Uuid, JobId)>, SchedulerError>;
    /// Tries a script without running it.
    fn test_only(&self, script: &Script) -> Option<Cmd>;
    /// Stops jobs.
    fn cancel(&self, ids: &[JobId], how: Stop) -> Cmd;
    /// Asks what queues and limits there are, for setting up lanes.
    fn discover(&self) -> Option<Cmd>;
    /// The submission option that makes a job wait for others; empty where there is none.
    fn dependency(&self, ids: &[JobId]) -> String;
    /// The submission option that makes an array of so many tasks, so many at once; empty where there is none.
    fn array(&self, tasks: u32, at_once: u32) -> String;
    /// A shell word that is the job's own id inside the script: `$SLURM_JOB_ID`.
    fn job_id_var(&self) -> &'static str;
    /// Jobs are processes of the host that submits: they can be launched and judged only there, and share its cores.
    fn is_local(&self) -> bool {
        false
    }
}
