//! What `qstat -f` prints.

use crate::cluster::{ended, exited, explained, standings};
use crate::scheduler::{EndReason, Ended, JobId, Queue, Standing};
use std::collections::{BTreeMap, HashMap};

/// Comments of waiting jobs, by their beginnings.
const COMMENTS: &[(&str, &str)] = &[
    ("Can Never Run", "no host can ever give what it asks for: it will never start"),
    ("Not Running: Insufficient amount of", "it is waiting for that to become free"),
    ("Not Running: Job would conflict with reservation", "a reservation comes first"),
    ("Not Running: User has reached", "your own limit"),
    ("Not Running: Server per-user limit", "your own limit"),
    ("Not Running: Queue per-user limit", "your own limit in this queue"),
    ("Not Running: Queue not started", "the queue is closed"),
    ("Not Running: No available resources on nodes", "it is waiting for hosts to become free"),
    ("Job held by", "released with qrls"),
];

/// Attributes of one job.
type Attributes<'a> = HashMap<&'a str, String>;

/// `Job Id: …` and the attributes below it, long lines put together again: a line that goes on begins with a tab. Of
/// anything else in the text nothing is kept.
pub fn blocks<'a>(listing: &'a str, head: &str) -> Vec<(&'a str, Attributes<'a>)> {
    let mut blocks: Vec<(&str, Attributes<'_>)> = Vec::new();
    let mut last: Option<&str> = None;
    for line in listing.lines() {
        if let Some(name) = line.strip_prefix(head) {
            blocks.push((name.trim(), HashMap::new()));
            last = None;
            continue;
        }
        let Some((_, attributes)) = blocks.last_mut() else { continue };
        let named = line.trim_start().split_once(" = ").filter(|(name, _)| is_name(name));
        match named {
            Some((name, value)) if line.starts_with([' ', '\t']) => {
                attributes.insert(name, value.trim_end().to_string());
                last = Some(name);
            }
            _ => {
                let goes_on =
                    line.strip_prefix('\t').and_then(|rest| Some((rest, attributes.get_mut(last?)?)));
                match goes_on {
                    Some((rest, value)) => *value += rest.trim_end(),
                    None => last = None,
                }
            }
        }
    }
    blocks
}

/// A name of an attribute: `Resource_List.walltime`.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.".contains(c))
}

/// `3[2].server` is task 2 of `3[].server`.
fn array_and_task(id: &str) -> Option<(String, u32)> {
    let (number, rest) = id.split_once('[')?;
    let (task, server) = rest.split_once(']')?;
    Some((format!("{number}[]{server}"), task.parse().ok()?))
}

/// The number before the server's name, which may be given in short: `3[]` of `3[].pbs1.site.org`.
fn number(id: &str) -> &str {
    id.split('.').next().unwrap_or(id)
}

/// Of each id what is listed; `None`: a job has no state.
pub fn of_qstat(ids: &[JobId], listing: &str) -> Option<Vec<Standing>> {
    let mut jobs: HashMap<String, Queue> = HashMap::new();
    let mut tasks: HashMap<String, BTreeMap<u32, Queue>> = HashMap::new();
    for (id, attributes) in blocks(listing, "Job Id:") {
        let queue = Job(&attributes).queue(id.contains("[]"))?;
        match array_and_task(id) {
            Some((array, task)) => {
                tasks.entry(number(&array).into()).or_default().insert(task, queue);
            }
            None => {
                jobs.insert(number(id).into(), queue);
            }
        }
    }
    Some(standings(ids, |id| match tasks.get(number(id)) {
        Some(tasks) => Some(Standing::of_tasks(tasks.clone())),
        None => jobs.get(number(id)).cloned().map(Standing::of),
    }))
}

/// Negative exit codes are the server's: OpenPBS's `job.h`, and where they differ Torque's.
fn of_server(code: i32, is_torque: bool) -> EndReason {
    match (code, is_torque) {
        (-27 | -26, _) | (-10, true) => EndReason::OutOfMemory,
        (-29 | -28, _) | (-11 | -12, true) => EndReason::TimeLimit,
        (-25 | -24, _) => EndReason::Other(format!("killed for the cores it used (Exit_status {code})")),
        (-6..=-4 | -11 | -14, _) => EndReason::NodeFailed,
        _ => EndReason::LaunchFailed(format!("Exit_status {code}: it could not be started on its host")),
    }
}

/// One job's attributes.
struct Job<'a>(&'a Attributes<'a>);

impl Job<'_> {
    fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    fn host(&self) -> String {
        // `pbs1/0*2+pbs2/0`
        self.text("exec_host").split(['/', '+']).next().unwrap_or_default().to_string()
    }

    fn exit_status(&self) -> Option<i32> {
        // Torque writes it in small letters
        ["Exit_status", "exit_status"].iter().find_map(|name| self.text(name).parse().ok())
    }

    fn queue(&self, is_array: bool) -> Option<Queue> {
        let state = self.0.get("job_state")?;
        Some(match state.as_str() {
            "R" | "E" | "S" | "U" | "B" => Queue::Running,
            "Q" | "T" | "W" => Queue::Pending(self.pending(state)),
            "H" if self.0.contains_key("depend") => {
                Queue::Pending(format!("H (waits for {})", self.text("depend")))
            }
            "H" => Queue::Held(self.pending(state)),
            "F" | "C" | "X" => Queue::Ended(self.ended(state, is_array)),
            "M" => Queue::Unknown("M (moved to another server)".into()),
            other => Queue::Unknown(other.to_string()),
        })
    }

    fn pending(&self, state: &str) -> String {
        let comment = self.text("comment");
        let text = match (comment.is_empty(), state) {
            (false, _) => explained(comment, COMMENTS),
            (true, "W") => "W (waits for its start time, or for files)".into(),
            (true, "T") => "T (on its way to a host or server)".into(),
            (true, "H") => "H (held; released with qrls)".into(),
            (true, _) => "Q (the scheduler has not looked at it yet)".into(),
        };
        match self.text("run_count").parse::<u32>() {
            Ok(runs) if runs > 0 => format!("{text}; started {runs} times before"),
            _ => text,
        }
    }

    /// `F/93 Exit_status -29: Job run at … and failed`.
    fn words(&self, state: &str) -> String {
        let mut words = state.to_string();
        if !self.text("substate").is_empty() {
            words += &format!("/{}", self.text("substate"));
        }
        if let Some(code) = self.exit_status() {
            words += &format!(" Exit_status {code}");
        }
        if !self.text("comment").is_empty() {
            words += &format!(": {}", self.text("comment"));
        }
        words
    }

    fn ended(&self, state: &str, is_array: bool) -> Ended {
        /// Exit codes above this are 256 and a signal.
        const SIGNAL: i32 = 256;
        let words = self.words(state);
        let is_deleted = self.text("substate") == "91";
        let end = match self.exit_status() {
            // deleted before it ran
            None if is_deleted => ended(EndReason::Cancelled, words),
            // 92 is "finished", also for a job that never ran: what it depends on did not end well
            None if self.0.contains_key("depend") || self.host().is_empty() => {
                ended(EndReason::Dependency, words)
            }
            None => ended(EndReason::Other(words.clone()), words),
            // of an array only the tasks' own codes count
            Some(0) if is_array && self.text("substate") == "93" => {
                ended(EndReason::Other(words.clone()), words)
            }
            Some(code) if code >= SIGNAL => {
                let reason = if is_deleted { EndReason::Cancelled } else { EndReason::Exited };
                Ended { signal: Some(code - SIGNAL), ..ended(reason, words) }
            }
            Some(code) if code < 0 => ended(of_server(code, state == "C"), words),
            Some(code) if is_deleted => Ended { reason: EndReason::Cancelled, ..exited(code, words) },
            Some(code) => exited(code, words),
        };
        Ended { host: self.host(), ..end }
    }
}

/// `=>> PBS: job killed: mem 2097152kb exceeded limit 1048576kb` at the end of a job's standard error.
pub fn in_stderr(stderr: &str) -> Option<EndReason> {
    let line = stderr.lines().rev().find(|line| line.contains("PBS: job killed"))?;
    match line {
        line if line.contains("walltime") || line.contains("cput") => Some(EndReason::TimeLimit),
        line if line.contains("mem ") => Some(EndReason::OutOfMemory),
        _ => None,
    }
}
