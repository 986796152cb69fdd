//! What `qacct` prints.

use crate::cluster::{bytes, ended, exited, standings};
use crate::scheduler::{EndReason, Ended, JobId, Queue, Standing};
use std::collections::{BTreeMap, HashMap};

/// One record: a run of a job, or of a task of an array.
#[derive(Default)]
struct Record<'a>(HashMap<&'a str, &'a str>);

impl<'a> Record<'a> {
    fn field(&self, name: &str) -> &'a str {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// Number at the beginning of a field: `137  (Killed)`, `100 : assumedly after job`, `5s`, `0.135s`.
    fn number(&self, name: &str) -> Option<f64> {
        let text = self.field(name);
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        text[..end].parse().ok()
    }

    /// A limit that was asked for: `category     -l h_rt=4,h_vmem=200M -pe smp 2`.
    fn limit(&self, name: &str) -> Option<&'a str> {
        let words = self.field("category").split([' ', ',']);
        words.filter_map(|word| word.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    fn limit_s(&self, name: &str) -> Option<f64> {
        let text = self.limit(name)?;
        text.parse().ok().or_else(|| crate::lane::parse_walltime(text).map(|seconds| seconds as f64))
    }

    /// A limit of memory, over all slots of the job, bytes.
    fn limit_bytes(&self, name: &str) -> Option<f64> {
        Some(bytes(self.limit(name)?)? * self.number("slots").unwrap_or(1.0).max(1.0))
    }

    fn is_above_time(&self) -> bool {
        let used = self.number("ru_wallclock").unwrap_or(0.0);
        ["h_rt", "s_rt"].iter().any(|name| self.limit_s(name).is_some_and(|limit| used >= limit))
    }

    /// Used as much memory as it may, or nearly: it is measured now and then.
    fn is_above_memory(&self) -> bool {
        const NEARLY: f64 = 0.95;
        let used = bytes(self.field("maxvmem")).unwrap_or(0.0);
        ["h_vmem", "s_vmem"]
            .iter()
            .any(|name| self.limit_bytes(name).is_some_and(|limit| used >= NEARLY * limit))
    }

    /// When it was put into the queue and when it ended, in an order that compares; records come unordered. The ranks of
    /// a parallel job may have records of their own, which end before that of its script.
    fn order(&self) -> Vec<u32> {
        let of = |name: &str| sortable(self.field(name));
        [of("qsub_time"), of("end_time")].concat()
    }

    fn queue(&self) -> Queue {
        let failed = self.number("failed").map_or(0, |code| code as i32);
        let Some(status) = self.number("exit_status").map(|code| code as i32) else {
            return Queue::Unknown("a record without exit_status".into());
        };
        let field = |name: &str| self.field(name).split_whitespace().collect::<Vec<_>>().join(" ");
        let words = match failed {
            0 => format!("exit_status {}", field("exit_status")),
            _ => format!("{}, exit_status {}", field("failed"), field("exit_status")),
        };
        let end = match failed {
            0 => exited(status, words),
            // it is in the queue again, or was deleted there without a record
            24 | 25 => return Queue::Gone,
            37 => {
                let is_memory = self.is_above_memory() && !self.is_above_time();
                let reason = if is_memory { EndReason::OutOfMemory } else { EndReason::TimeLimit };
                Ended { reason, ..exited(status, words) }
            }
            17 | 100 => Ended { reason: self.killed(status), ..exited(status, words) },
            // the daemon of the host did not live to see its end
            19 | 21 | 22 => ended(EndReason::NodeFailed, words),
            _ => ended(EndReason::LaunchFailed(words.clone()), words),
        };
        let host = self.field("hostname").to_string();
        let host = if host.eq_ignore_ascii_case("unknown") { String::new() } else { host };
        Queue::Ended(Ended { host, ..end })
    }

    /// Why a signal ended it, as far as the record tells.
    fn killed(&self, status: i32) -> EndReason {
        match status - 128 {
            // SIGKILL, SIGXCPU (s_vmem, s_cpu), SIGABRT and SIGSEGV where memory could not be had
            6 | 9 | 11 | 24 if self.is_above_memory() => EndReason::OutOfMemory,
            // SIGKILL, SIGUSR1 (s_rt), SIGUSR2 (a warning before h_rt)
            9 | 10 | 12 if self.is_above_time() => EndReason::TimeLimit,
            24 => EndReason::TimeLimit,
            _ => EndReason::Exited,
        }
    }
}

/// `Mon Nov 23 09:01:18 2026`, `11/23/2026 09:01:18.123`: year, month, day, hours, minutes, seconds; else nothing.
fn sortable(time: &str) -> Vec<u32> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let numbers = |text: &str| -> Option<Vec<u32>> {
        text.split([':', '/', '.']).map(|part| part.parse().ok()).collect()
    };
    let words: Vec<&str> = time.split_whitespace().collect();
    let read = || -> Option<Vec<u32>> {
        match words[..] {
            [_, month, day, clock, year] => {
                let month = MONTHS.iter().position(|name| *name == month)? as u32;
                Some([vec![year.parse().ok()?, month + 1, day.parse().ok()?], numbers(clock)?].concat())
            }
            [date, clock] => match numbers(date)?[..] {
                [month, day, year] => Some([vec![year, month, day], numbers(clock)?].concat()),
                _ => None,
            },
            _ => None,
        }
    };
    let mut parts = read().unwrap_or_default();
    parts.resize(6, 0);
    parts
}

/// Of each id its last run, task by task; `None`: what stands there is no record.
pub fn of_qacct(ids: &[JobId], listing: &str) -> Option<Vec<Standing>> {
    let mut runs: HashMap<&str, BTreeMap<Option<u32>, Record<'_>>> = HashMap::new();
    let mut blocks = listing.split("==============================================================");
    if !blocks.next().unwrap_or_default().trim().is_empty() {
        return None;
    }
    for block in blocks {
        let fields = block.lines().filter_map(|line| line.trim().split_once(char::is_whitespace));
        let record = Record(fields.map(|(name, value)| (name, value.trim())).collect());
        let id = record.field("jobnumber");
        if id.is_empty() {
            return None;
        }
        let task = record.field("taskid").parse().ok();
        let tasks = runs.entry(id).or_default();
        // a later line of the file wins where the times are the same
        if tasks.get(&task).is_none_or(|known| known.order() <= record.order()) {
            tasks.insert(task, record);
        }
    }
    Some(standings(ids, |id| {
        let tasks = runs.get(id)?;
        let of_task = |(task, record): (&Option<u32>, &Record<'_>)| Some(((*task)?, record.queue()));
        Some(match tasks.get(&None) {
            Some(record) => Standing::of(record.queue()),
            None => Standing::of_tasks(tasks.iter().filter_map(of_task).collect()),
        })
    }))
}
