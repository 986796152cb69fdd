//! What a scheduler adapter is.

use crate::site::Site;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
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
    /// Environment it needs besides that of the process that runs it.
    pub env: BTreeMap<String, String>,
}

impl Cmd {
    /// A command without input.
    pub fn new<S: Into<String>>(program: &str, args: impl IntoIterator<Item = S>) -> Self {
        let args = args.into_iter().map(Into::into).collect();
        Self { program: program.into(), args, stdin: None, env: BTreeMap::new() }
    }

    /// `sh -c TEXT NAME ARGS…`: a few lines of POSIX shell; `NAME` is what the shell calls itself in messages.
    pub fn shell<S: Into<String>>(text: &str, name: &str, args: impl IntoIterator<Item = S>) -> Self {
        let head = ["-c".to_string(), text.to_string(), format!("vitreous-{name}")];
        Self::new("sh", head.into_iter().chain(args.into_iter().map(Into::into)))
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// The scheduler could not start it: no launch on the host, a folder that is not there, Grid Engine's `Eqw`; in its
    /// words.
    LaunchFailed(String),
    /// Another reason in the scheduler's words.
    Other(String),
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Its exit code, where known.
    pub exit: Option<i32>,
    /// The signal that killed it, where known.
    pub signal: Option<i32>,
    /// Why.
    pub reason: EndReason,
    /// The host it ran on, or the first of them; empty: not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// The scheduler's own words, for people: `TIMEOUT TimeLimit`, `100 : assumedly after job`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub words: String,
}

impl Ended {
    /// It ended by itself with code 0.
    pub fn is_well(&self) -> bool {
        self.reason == EndReason::Exited && self.exit == Some(0) && self.signal.is_none()
    }
}

/// Where a job, or one task of an array, stands with its scheduler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Queue {
    /// It waits, for the reason given in the scheduler's words; may be empty.
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
    /// The scheduler's word for it is new to us, or it cannot be asked from here: nothing may be concluded.
    Unknown(String),
}

/// What a scheduler says of one job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The job as a whole. Of an array: running if a task runs, else waiting if one waits, else ended.
    pub queue: Queue,
    /// The tasks of an array that it tells of one by one, by their numbers from 1. Tasks it does not list stand as
    /// [`Standing::queue`] says.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tasks: BTreeMap<u32, Queue>,
}

impl Standing {
    /// A job that the scheduler does not list.
    pub fn gone() -> Self {
        Self::of(Queue::Gone)
    }

    /// Of a job without tasks.
    pub fn of(queue: Queue) -> Self {
        Self { queue, tasks: BTreeMap::new() }
    }

    /// Of an array, from what is known of its tasks.
    pub fn of_tasks(tasks: BTreeMap<u32, Queue>) -> Self {
        // whatever is still out speaks for the whole
        let rank = |queue: &Queue| match queue {
            Queue::Running => 0,
            Queue::Pending(_) => 1,
            Queue::Requeued => 2,
            Queue::Held(_) => 3,
            Queue::Unknown(_) => 4,
            // a bad end says more than a good one
            Queue::Ended(ended) if !ended.is_well() => 5,
            Queue::Ended(_) => 6,
            Queue::Gone => 7,
        };
        let queue = tasks.values().min_by_key(|queue| rank(queue)).cloned().unwrap_or(Queue::Gone);
        Self { queue, tasks }
    }
}

/// An array of like tasks, numbered from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Array {
    /// How many. At least 1.
    pub tasks: u32,
    /// At most so many at once; 0: no limit.
    pub at_once: u32,
}

/// A script about to be submitted, and everything about its submission that a site's template must not be able to
/// forget: it goes on the command line, not into the script.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Script {
    /// The rendered script, absolute.
    pub path: String,
    /// Folder the command runs in and the job starts in, absolute.
    pub folder: String,
    /// Name in the queue.
    pub name: String,
    /// Identity of the attempt, by which the job can be found again.
    pub tag: Uuid,
    /// File for its standard output, absolute; appended to.
    pub stdout: String,
    /// File for its standard error, absolute; appended to.
    pub stderr: String,
    /// What it asks for.
    pub resources: Resources,
    /// Jobs that must have ended well before it starts.
    pub after: Vec<JobId>,
    /// Its tasks, if it is an array.
    pub array: Option<Array>,
    /// Hosts it must not run on.
    pub avoid: BTreeSet<String>,
}

/// How firmly a job is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// SIGTERM: it may save its work.
    Ask,
    /// SIGKILL to everything of it.
    Kill,
}

/// A queue or partition, as [`Scheduler::discover`] found it. What is not known is absent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct QueueInfo {
    /// Its name.
    pub name: String,
    /// Jobs go there unless they say otherwise.
    pub is_default: bool,
    /// Jobs are taken.
    pub is_open: bool,
    /// Longest wall time, seconds.
    pub walltime_s: Option<u64>,
    /// Hosts.
    pub nodes: Option<u32>,
    /// Cores of the largest host.
    pub cores: Option<u32>,
    /// Memory of the largest host, MiB.
    pub mem_mib: Option<u64>,
    /// GPUs of the largest host.
    pub gpus: Option<u32>,
    /// A lane's `gpu_option` by which GPUs are asked for there: `gres:a100`, `gpu`, `ngpus`.
    pub gpu_resource: Option<String>,
    /// Grid Engine's parallel environments that can be used there.
    pub parallel_environments: Vec<String>,
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
    /// It cannot be reached now: its server is down, or the queue is full for the moment. The same may work later.
    #[error("{scheduler} cannot be reached (exit code {code}): {stderr}")]
    Unreachable {
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

/// One scheduler. Pure: commands are built and answers are read here, but nothing is run. Commands name programs without
/// a folder; [`Site::command`] completes them with the lane's command folder, environment and submit host.
pub trait Scheduler: Sync {
    /// Name in lane files.
    fn name(&self) -> &'static str;
    /// Its built-in script template.
    fn template(&self) -> &'static str;
    /// Environment variables that its commands need and cron lacks, e.g. `SLURM_CONF`.
    fn variables(&self) -> &'static [&'static str];
    /// Submits a script.
    fn submit(&self, site: &Site, script: &Script) -> Cmd;
    /// The id in the answer to [`Scheduler::submit`].
    ///
    /// # Errors
    /// It was refused, the scheduler cannot be reached, or the answer holds no id. Only after
    /// [`SchedulerError::Refused`] and [`SchedulerError::Unreachable`] is it certain that no job exists; where the
    /// scheduler keeps a job that it refused, the adapter says so by [`SchedulerError::Unexpected`].
    fn parse_submit(&self, answer: &Answer) -> Result<JobId, SchedulerError>;
    /// Asks for the state of jobs, all in one command however many there are.
    fn status(&self, site: &Site, ids: &[JobId]) -> Cmd;
    /// Reads the answer to [`Scheduler::status`]: one entry for each id asked for, in that order. A job that the
    /// scheduler does not list is [`Queue::Gone`], which is no verdict: it may have ended, or not be listed yet.
    ///
    /// # Errors
    /// The answer cannot be read, or the scheduler is down: nothing may be concluded about any job.
    fn parse_status(&self, ids: &[JobId], answer: &Answer) -> Result<Vec<Standing>, SchedulerError>;
    /// Asks for the end of jobs that have left the queue, where that is another command (`sacct`, `qacct`).
    fn post_mortem(&self, site: &Site, ids: &[JobId]) -> Option<Cmd>;
    /// Reads the answer to [`Scheduler::post_mortem`], as [`Scheduler::parse_status`]. What the accounting does not
    /// know, or not yet, is [`Queue::Gone`]; where there is no accounting at all, everything is.
    ///
    /// # Errors
    /// The answer cannot be read.
    fn parse_post_mortem(&self, ids: &[JobId], answer: &Answer) -> Result<Vec<Standing>, SchedulerError>;
    /// Looks for the jobs of attempts whose launch was cut short.
    fn find_by_tag(&self, site: &Site, tags: &[Uuid]) -> Option<Cmd>;
    /// Reads the answer to [`Scheduler::find_by_tag`]: the jobs that carry one of `tags`.
    ///
    /// # Errors
    /// The answer cannot be read: nothing may be concluded.
    fn parse_find(&self, tags: &[Uuid], answer: &Answer) -> Result<Vec<(Uuid, JobId)>, SchedulerError>;
    /// Tries a script without running it.
    fn test_only(&self, site: &Site, script: &Script) -> Option<Cmd>;
    /// Reads the answer to [`Scheduler::test_only`]: what it said when it would take the script.
    ///
    /// # Errors
    /// It would not; with its words.
    fn parse_test_only(&self, answer: &Answer) -> Result<String, SchedulerError> {
        match answer.code {
            0 => Ok(answer.stderr.trim().to_string()),
            code => {
                let stderr = answer.stderr.trim().to_string();
                Err(SchedulerError::Refused { scheduler: self.name(), code, stderr })
            }
        }
    }
    /// Stops jobs.
    fn cancel(&self, site: &Site, ids: &[JobId], how: Stop) -> Cmd;
    /// Asks which cluster this is.
    fn identify(&self, site: &Site) -> Option<Cmd>;
    /// The cluster's name in the answer to [`Scheduler::identify`]; `None`: it does not say.
    fn parse_identify(&self, answer: &Answer) -> Option<String>;
    /// Asks what queues and limits there are, for setting up lanes.
    fn discover(&self, site: &Site) -> Option<Cmd>;
    /// Reads the answer to [`Scheduler::discover`].
    ///
    /// # Errors
    /// It cannot be read, or the scheduler is down.
    fn parse_discover(&self, answer: &Answer) -> Result<Vec<QueueInfo>, SchedulerError>;
    /// A shell word that is the job's own id inside the script: `$SLURM_JOB_ID`. Of an array: the whole array's.
    fn job_id_var(&self) -> &'static str;
    /// A shell word that is a task's number inside the script: `$SLURM_ARRAY_TASK_ID`.
    fn task_id_var(&self) -> &'static str {
        ""
    }
    /// The reason for a job's end that the scheduler's daemon on the node wrote into the job's own standard error, where
    /// its answers do not hold it (Slurm's OverMemoryKill is `FAILED` by signal 9 for all of its commands).
    fn reason_in_stderr(&self, _stderr: &str) -> Option<EndReason> {
        None
    }
    /// Shell words that put the running job back into the queue from inside it; empty where the script cannot, or only
    /// by its exit code.
    fn requeue(&self) -> &'static str {
        ""
    }
    /// Ending with code 99 makes the scheduler run the same job again.
    fn reruns_on_99(&self) -> bool {
        false
    }
    /// Its template makes it send the script USR1 ahead of the time limit; otherwise the script has a timer of its own.
    fn signals_before_limit(&self) -> bool {
        false
    }
    /// Jobs get the wall time that they ask for; otherwise the site decides, and the lane's `limits.walltime` says how
    /// long that is.
    fn grants_walltime(&self) -> bool {
        true
    }
    /// It makes a job wait for others ([`Script::after`]).
    fn can_wait_for_jobs(&self) -> bool {
        true
    }
    /// Jobs are processes of hosts that we choose ourselves (`local`, `ssh`): we count their cores, memory and GPUs,
    /// and tell each job what it has.
    fn places_jobs(&self) -> bool {
        false
    }
}
