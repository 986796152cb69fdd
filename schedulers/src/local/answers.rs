//! Reading what the shell snippets print.

use crate::scheduler::{Answer, JobId, Queue, QueueInfo, SchedulerError, Standing};
use std::collections::HashMap;
use uuid::Uuid;

/// The leader of a job's session. As an id: `HOST/BOOT/PID/START`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Host name.
    pub host: String,
    /// Boot of that host.
    pub boot_id: String,
    /// Process id; also the session's.
    pub pid: u32,
    /// Start, clock ticks since boot.
    pub start_ticks: u64,
}

impl Process {
    /// Reads an id.
    pub fn of_id(id: &JobId) -> Option<Self> {
        let mut parts = id.0.split('/');
        let process = Self {
            host: parts.next()?.into(),
            boot_id: parts.next()?.into(),
            pid: parts.next()?.parse().ok()?,
            start_ticks: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(process)
    }

    fn id(&self) -> JobId {
        JobId(format!("{}/{}/{}/{}", self.host, self.boot_id, self.pid, self.start_ticks))
    }
}

/// The fields of `/proc/PID/stat` after the command's name: the third one on.
struct Stat<'a>(Vec<&'a str>);

impl<'a> Stat<'a> {
    fn new(fields: impl Iterator<Item = &'a str>) -> Self {
        Self(fields.collect())
    }

    /// A zombie or dead: it only waits to be reaped, for ever where nobody does.
    fn has_ended(&self) -> bool {
        matches!(self.0.first(), Some(&"Z" | &"X"))
    }

    fn session(&self) -> Option<u32> {
        self.0.get(3)?.parse().ok()
    }

    fn start_ticks(&self) -> Option<u64> {
        self.0.get(19)?.parse().ok()
    }
}

/// `started HOST BOOT PID STAT…`
pub fn started(answer: &Answer) -> Result<JobId, SchedulerError> {
    if answer.code != 0 {
        let stderr = answer.stderr.trim().to_string();
        return Err(SchedulerError::Refused { scheduler: "local", code: answer.code, stderr });
    }
    let line = answer.stdout.lines().find(|line| line.starts_with("started "));
    line.and_then(|line| process(line.split_whitespace().skip(1)))
        .map(|(process, _)| process.id())
        .ok_or_else(|| SchedulerError::Unexpected {
            scheduler: "local",
            got: answer.stdout.trim().into(),
            expected: "`started HOST BOOT PID …`",
            stderr: answer.stderr.clone(),
        })
}

/// `HOST BOOT PID STAT…`
fn process<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<(Process, Stat<'a>)> {
    let (host, boot_id, pid) = (words.next()?, words.next()?, words.next()?.parse().ok()?);
    let stat = Stat::new(words);
    let start_ticks = stat.start_ticks()?;
    Some((Process { host: host.into(), boot_id: boot_id.into(), pid, start_ticks }, stat))
}

/// What one look at the process table showed.
struct Table<'a> {
    host: &'a str,
    boot_id: &'a str,
    leaders: HashMap<u32, Stat<'a>>,
    /// Sessions that have a live member besides a missing leader.
    sessions: Vec<u32>,
}

/// The answer, if it is whole: it ends with `end`.
fn table(text: &str) -> Option<Table<'_>> {
    let mut table = Table { host: "", boot_id: "", leaders: HashMap::new(), sessions: Vec::new() };
    let mut whole = false;
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("host") => (table.host, table.boot_id) = (words.next()?, words.next()?),
            Some("leader") => {
                table.leaders.insert(words.next()?.parse().ok()?, Stat::new(words));
            }
            Some("member") => {
                let session = words.next()?.parse().ok()?;
                let member = Stat::new(words.skip(1));
                if !member.has_ended() && member.session() == Some(session) {
                    table.sessions.push(session);
                }
            }
            Some("end") => whole = true,
            _ => {}
        }
    }
    (whole && !table.host.is_empty()).then_some(table)
}

/// The state of each id.
pub fn states(ids: &[JobId], answer: &Answer) -> Result<Vec<Standing>, SchedulerError> {
    let Some(table) = table(&answer.stdout) else {
        return Err(SchedulerError::Unreachable {
            scheduler: "local",
            code: answer.code,
            stderr: format!("the process table cannot be read: {}", answer.stderr.trim()),
        });
    };
    let state = |id: &JobId| {
        let Some(process) = Process::of_id(id) else {
            return Queue::Unknown(format!("`{id}` is no id of this lane"));
        };
        if process.host != table.host {
            return Queue::Unknown(format!("it was started on {}; look there", process.host));
        }
        if process.boot_id != table.boot_id {
            return Queue::Gone;
        }
        match table.leaders.get(&process.pid) {
            Some(stat) if stat.start_ticks() != Some(process.start_ticks) => Queue::Gone,
            Some(stat) if !stat.has_ended() => Queue::Running,
            _ if table.sessions.contains(&process.pid) => Queue::Running,
            _ => Queue::Gone,
        }
    };
    Ok(ids.iter().map(|id| Standing::of(state(id))).collect())
}

/// `host NAME CORES KIB`, `gpu N` lines, `end`.
pub fn host(answer: &Answer) -> Result<QueueInfo, SchedulerError> {
    let mut lines = answer.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let host = lines.clone().find_map(|words| match words[..] {
        ["host", name, cores, kib] => Some((name.to_string(), cores.parse().ok(), kib.parse::<u64>().ok())),
        _ => None,
    });
    let (Some((name, cores, kib)), true) = (host, lines.any(|words| words == ["end"])) else {
        return Err(SchedulerError::Unexpected {
            scheduler: "local",
            got: answer.stdout.trim().into(),
            expected: "`host NAME CORES KIB`, then `end`",
            stderr: answer.stderr.clone(),
        });
    };
    let gpus = answer.stdout.lines().filter(|line| line.starts_with("gpu ")).count() as u32;
    Ok(QueueInfo {
        name,
        is_default: true,
        is_open: true,
        nodes: Some(1),
        cores,
        mem_mib: kib.map(|kib| kib / 1024),
        gpus: Some(gpus),
        ..QueueInfo::default()
    })
}

/// `found TAG HOST BOOT PID STAT…`: the session's leader if it is there, else any member stands for the session.
pub fn found(answer: &Answer) -> Result<Vec<(Uuid, JobId)>, SchedulerError> {
    if answer.code != 0 || !answer.stdout.lines().any(|line| line == "end") {
        return Err(SchedulerError::Unexpected {
            scheduler: "local",
            got: answer.stdout.trim().into(),
            expected: "lines of `found TAG HOST BOOT PID …`, then `end`",
            stderr: answer.stderr.clone(),
        });
    }
    let mut jobs: Vec<(Uuid, JobId, bool)> = Vec::new();
    for line in answer.stdout.lines() {
        let mut words = line.split_whitespace();
        let (Some("found"), Some(Ok(tag))) = (words.next(), words.next().map(str::parse::<Uuid>)) else {
            continue;
        };
        let Some((mut process, stat)) = process(words) else { continue };
        // a process that is not in a session of its own yet is the launching shell's child before `setsid`
        let Some(session) = stat.session().filter(|_| !stat.has_ended()) else { continue };
        let is_leader = session == process.pid;
        process.pid = session;
        match jobs.iter_mut().find(|(known, _, _)| *known == tag) {
            Some(known) if is_leader && !known.2 => *known = (tag, process.id(), true),
            Some(_) => {}
            None => jobs.push((tag, process.id(), is_leader)),
        }
    }
    Ok(jobs.into_iter().map(|(tag, id, _)| (tag, id)).collect())
}
