//! What `squeue` and `sacct` print.

use super::reasons;
use crate::cluster::{bytes, ended, exited, first_host, standings, task_numbers};
use crate::scheduler::{EndReason, Ended, JobId, Queue, Standing};
use std::collections::{BTreeMap, HashMap};

/// Rows of one job: those of numbered tasks, and that of the whole job, or of what is left of an array.
#[derive(Default)]
struct Rows {
    tasks: BTreeMap<u32, Queue>,
    whole: Option<Queue>,
}

impl Rows {
    fn standing(&self) -> Standing {
        match (&self.whole, self.tasks.is_empty()) {
            (None, true) => Standing::gone(),
            (Some(whole), true) => Standing::of(whole.clone()),
            (None, false) => Standing::of_tasks(self.tasks.clone()),
            (Some(rest), false) => {
                // Waiting tasks that were cancelled together have one row without numbers; 0 is no task's number
                let mut all = self.tasks.clone();
                all.insert(0, rest.clone());
                Standing { tasks: self.tasks.clone(), ..Standing::of_tasks(all) }
            }
        }
    }
}

/// `5`, `5_3`, `5_[2-4%2]`: the job and its tasks. Tasks shortened to `…` are told of by the job as a whole.
fn job_and_tasks(id: &str) -> (&str, Option<Vec<u32>>) {
    match id.split_once('_') {
        Some((job, tasks)) => (job, task_numbers(tasks.trim_matches(['[', ']']))),
        None => (id, None),
    }
}

/// Digits, and maybe a task behind them.
fn is_job(id: &str) -> bool {
    id.starts_with(|c: char| c.is_ascii_digit())
}

/// Rows of `squeue`; `None`: something else stands there.
pub fn of_squeue(ids: &[JobId], listing: &str) -> Option<Vec<Standing>> {
    let mut jobs: HashMap<&str, Rows> = HashMap::new();
    for line in listing.lines().filter(|line| !line.trim().is_empty() && !line.starts_with("CLUSTER:")) {
        let fields: Vec<&str> = line.splitn(7, '|').map(str::trim).collect();
        let [id, state, reason, exit, restarts, host, reasons] = fields[..] else { return None };
        if !is_job(id) {
            return None;
        }
        let code = WaitStatus::of_squeue(exit);
        let row = Row { state, reason, reasons, code, restarts: restarts.parse().unwrap_or(0), host };
        let queue = row.queue();
        let (job, tasks) = job_and_tasks(id);
        let rows = jobs.entry(job).or_default();
        match tasks {
            Some(tasks) => rows.tasks.extend(tasks.into_iter().map(|task| (task, queue.clone()))),
            None => rows.whole = Some(queue),
        }
    }
    Some(standings(ids, |id| jobs.get(id).map(Rows::standing)))
}

/// How a job's script ended.
#[derive(Clone, Copy, Default)]
struct WaitStatus {
    exit: i32,
    signal: i32,
}

impl WaitStatus {
    /// `squeue` prints what `wait(2)` gave: 1792 is exit code 7, 11 is SIGSEGV.
    fn of_squeue(text: &str) -> Self {
        match text.parse::<i32>() {
            Ok(raw) => Self { exit: raw >> 8 & 0xff, signal: raw & 0x7f },
            Err(_) => Self::of_sacct(text),
        }
    }

    /// `7:0`, `0:11`.
    fn of_sacct(text: &str) -> Self {
        let (exit, signal) = text.split_once(':').unwrap_or((text, "0"));
        Self { exit: exit.parse().unwrap_or(0), signal: signal.parse().unwrap_or(0) }
    }

    fn is_clean(self) -> bool {
        self.exit == 0 && self.signal == 0
    }
}

/// Not a signal of any process: slurmd could not start the script, most often for want of a folder for its output.
const NOT_STARTED: i32 = 53;

/// One row, whoever printed it.
struct Row<'a> {
    state: &'a str,
    reason: &'a str,
    /// `(ReqNodeNotAvail, UnavailableNodes:n2)`, or a list of hosts.
    reasons: &'a str,
    code: WaitStatus,
    restarts: u32,
    host: &'a str,
}

impl Row<'_> {
    fn queue(&self) -> Queue {
        // `CANCELLED by 1001`; sacct without --parsable shortens words to `CANCELLED+`
        let word = self.state.split([' ', '+']).next().unwrap_or_default();
        match word {
            "PENDING" if self.reason == "DependencyNeverSatisfied" => {
                Queue::Ended(self.ended(EndReason::Dependency))
            }
            "PENDING" if reasons::is_hold(self.reason) => Queue::Held(self.pending()),
            "PENDING" => Queue::Pending(self.pending()),
            "RUNNING" | "CONFIGURING" | "COMPLETING" | "SUSPENDED" | "STOPPED" | "SIGNALING"
            | "STAGE_OUT" | "RESIZING" | "EXPEDITING" | "POWER_UP_NODE" => Queue::Running,
            "REQUEUED" | "REQUEUE_FED" => Queue::Requeued,
            "REQUEUE_HOLD" | "SPECIAL_EXIT" | "RESV_DEL_HOLD" => Queue::Held(self.words()),
            "COMPLETED" => Queue::Ended(self.ended(EndReason::Exited)),
            "FAILED" => Queue::Ended(self.ended(self.failure())),
            "TIMEOUT" | "DEADLINE" => Queue::Ended(self.ended(EndReason::TimeLimit)),
            "OUT_OF_MEMORY" => Queue::Ended(self.ended(EndReason::OutOfMemory)),
            "NODE_FAIL" | "BOOT_FAIL" => Queue::Ended(self.ended(EndReason::NodeFailed)),
            "PREEMPTED" => Queue::Ended(self.ended(EndReason::Preempted)),
            "CANCELLED" if self.reason == "DependencyNeverSatisfied" => {
                Queue::Ended(self.ended(EndReason::Dependency))
            }
            "CANCELLED" => Queue::Ended(self.ended(EndReason::Cancelled)),
            "LAUNCH_FAILED" | "RECONFIG_FAIL" => {
                Queue::Ended(self.ended(EndReason::LaunchFailed(self.words())))
            }
            "REVOKED" => {
                let words = format!("{}: another cluster of the federation took it", self.words());
                Queue::Ended(self.ended(EndReason::Other(words)))
            }
            _ => Queue::Unknown(self.words()),
        }
    }

    /// Why a FAILED job failed.
    fn failure(&self) -> EndReason {
        let is_unstarted = self.code.signal == NOT_STARTED
            || self.reason == "BadConstraints"
            || (self.reason == "JobLaunchFailure" && self.code.is_clean());
        if is_unstarted {
            return EndReason::LaunchFailed(self.words());
        }
        match self.reason {
            "OutOfMemory" => EndReason::OutOfMemory,
            "TimeLimit" => EndReason::TimeLimit,
            "NodeDown" | "NodeFailure" => EndReason::NodeFailed,
            // FAILED with neither code nor signal is not a good end
            reason if self.code.is_clean() => EndReason::Other(format!("FAILED {reason}")),
            _ => EndReason::Exited,
        }
    }

    fn ended(&self, reason: EndReason) -> Ended {
        let WaitStatus { exit, signal } = self.code;
        let is_started = signal != NOT_STARTED && !matches!(reason, EndReason::LaunchFailed(_));
        let by_script = exited(exit, "").signal;
        let has_exit = is_started && signal == 0 && (exit != 0 || reason == EndReason::Exited);
        Ended {
            exit: has_exit.then_some(exit),
            signal: if signal == 0 { by_script } else { Some(signal) }.filter(|_| is_started),
            host: first_host(self.host),
            ..ended(reason, self.words())
        }
    }

    /// `FAILED NonZeroExitCode 7:0`.
    fn words(&self) -> String {
        let mut words = self.state.to_string();
        if !["None", "", "(null)"].contains(&self.reason) {
            words += &format!(" {}", self.reason);
        }
        if !self.code.is_clean() {
            words += &format!(" {}:{}", self.code.exit, self.code.signal);
        }
        words
    }

    /// Why it waits: the longest words there are, explained.
    fn pending(&self) -> String {
        let listed = self.reasons.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
        let text = listed.filter(|listed| !listed.is_empty()).unwrap_or(self.reason);
        let text = reasons::explain(text);
        match self.restarts {
            0 => text,
            restarts => format!("{text}; started {restarts} times before"),
        }
    }
}

/// What the accounting has of one job or task, its steps included.
struct Account<'a> {
    state: &'a str,
    code: WaitStatus,
    host: &'a str,
    /// Memory of one node, bytes.
    limit: Option<f64>,
    /// Most that a task of any step used, bytes.
    used: f64,
    has_step_out_of_memory: bool,
}

impl Account<'_> {
    /// Its end; what is still out for the accounting is not known to it yet.
    fn queue(&self) -> Queue {
        let row =
            Row { state: self.state, reason: "", reasons: "", code: self.code, restarts: 0, host: self.host };
        match row.queue() {
            Queue::Ended(end) if end.reason == EndReason::Exited && !end.is_well() => {
                let is_killed = end.signal == Some(9) && self.limit.is_some_and(|limit| self.used >= limit);
                if !self.has_step_out_of_memory && !is_killed {
                    return Queue::Ended(end);
                }
                let words = format!("{}, used {:.0} MiB", end.words, self.used / 1_048_576.0);
                Queue::Ended(Ended { reason: EndReason::OutOfMemory, words, ..end })
            }
            Queue::Ended(end) => Queue::Ended(end),
            Queue::Unknown(words) => Queue::Unknown(words),
            _ => Queue::Gone,
        }
    }
}

/// `200M`, older `200Mn`; `200Mc` is of a core and says nothing of a node.
fn memory_of_node(text: &str) -> Option<f64> {
    if text.ends_with('c') {
        return None;
    }
    bytes(text.trim_end_matches('n')).filter(|limit| *limit > 0.0)
}

/// Rows of `sacct`, each job before its steps; of several runs the last counts.
pub fn of_sacct(ids: &[JobId], listing: &str) -> Option<Vec<Standing>> {
    let mut accounts: BTreeMap<&str, Account<'_>> = BTreeMap::new();
    for line in listing.lines().filter(|line| !line.trim().is_empty()) {
        let fields: Vec<&str> = line.split('|').collect();
        let [id, state, exit, nodes, limit, used] = fields[..] else { return None };
        if !is_job(id) {
            return None;
        }
        if let Some((job, _step)) = id.split_once('.') {
            let Some(account) = accounts.get_mut(job) else { continue };
            account.used = account.used.max(bytes(used).unwrap_or(0.0));
            account.has_step_out_of_memory |= state.starts_with("OUT_OF_ME");
            continue;
        }
        let code = WaitStatus::of_sacct(exit);
        let limit = memory_of_node(limit);
        let account = Account { state, code, host: nodes, limit, used: 0.0, has_step_out_of_memory: false };
        accounts.insert(id, account);
    }
    let mut jobs: HashMap<&str, Rows> = HashMap::new();
    for (id, account) in &accounts {
        let (job, tasks) = job_and_tasks(id);
        let rows = jobs.entry(job).or_default();
        match tasks {
            Some(tasks) => rows.tasks.extend(tasks.into_iter().map(|task| (task, account.queue()))),
            None => rows.whole = Some(account.queue()),
        }
    }
    Some(standings(ids, |id| jobs.get(id).map(Rows::standing)))
}
