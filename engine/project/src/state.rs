//! The state of a job, derived from its records each time it is asked for.
//!
//! The order of evidence: the exit record; then what the scheduler (for the local lane: the process table) says; then
//! the engine's own last word in `events.jsonl`. A heartbeat is a hint, never a verdict.
//!
//! ```text
//! created → waiting → queued → running → done | failed(reason) | cancelled | lost
//! ```

use crate::attempt::{Cancel, Exit, Intent, Request, Requester, Submission};
use crate::error::ProjectError;
use crate::events::{self, Progress};
use crate::job::JobDir;
use crate::names::attempt_in;
use crate::process::Liveness;
use serde::{Deserialize, Serialize};
use std::fmt;
use vitreous_model::exit;

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It exists; nobody has asked for it to run.
    Created,
    /// It is to run: its inputs or a free slot are missing, or nobody has launched it yet.
    Waiting,
    /// It is with the scheduler.
    Queued,
    /// It runs.
    Running,
    /// It ended well; its outputs are whole.
    Done,
    /// It ended badly.
    Failed,
    /// It was told to stop.
    Cancelled,
    /// It is gone and left no word.
    Lost,
}

impl State {
    /// As in files and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Waiting => "waiting",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Lost => "lost",
        }
    }

    /// Nothing changes any more unless somebody asks for it.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled | Self::Lost)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Why a job ended as it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The engine ended with this code.
    Exit(i32),
    /// A signal killed it.
    Signal(i32),
    /// It needed more memory than it had.
    OutOfMemory,
    /// It ran into its time limit.
    Timeout,
    /// Its host failed.
    NodeFailure,
    /// Somebody more important needed the host.
    Preempted,
    /// An input was missing, broken or unfit.
    BadInput,
    /// Its parameters could not be used.
    BadParameters,
    /// It said that all went well but left no `outputs.json`.
    NoOutputs,
    /// The engine left a checkpoint and asked to be run again.
    Requeue,
    /// The launch was cut short; nothing had started.
    LaunchCutShort,
    /// The scheduler refused it.
    Refused,
    /// A job it depends on did not end well.
    Dependency(String),
    /// Another reason in the scheduler's words.
    Other(String),
}

impl Reason {
    /// The word by which retry policies know it.
    pub fn kind(&self) -> &str {
        match self {
            Self::Exit(_) => "exit",
            Self::Signal(_) => "signal",
            Self::OutOfMemory => "out-of-memory",
            Self::Timeout => "timeout",
            Self::NodeFailure => "node-failure",
            Self::Preempted => "preempted",
            Self::BadInput => "bad-input",
            Self::BadParameters => "bad-parameters",
            Self::NoOutputs => "no-outputs",
            Self::Requeue => "requeue",
            Self::LaunchCutShort => "launch-cut-short",
            Self::Refused => "refused",
            Self::Dependency(_) => "dependency",
            Self::Other(_) => "other",
        }
    }

    /// All words of [`Reason::kind`] that a retry policy may list, and `lost`.
    pub const KINDS: &'static [&'static str] = &[
        "exit",
        "signal",
        "out-of-memory",
        "timeout",
        "node-failure",
        "preempted",
        "bad-input",
        "bad-parameters",
        "no-outputs",
        "refused",
        "other",
        "lost",
    ];

    /// What an exit record says.
    pub fn of_exit(record: &Exit) -> Self {
        if record.out_of_memory {
            return Self::OutOfMemory;
        }
        match (record.signal, record.code) {
            (Some(signal), _) => Self::Signal(signal),
            (None, exit::USAGE) => Self::BadParameters,
            (None, exit::INPUT) => Self::BadInput,
            (None, exit::REQUEUE) => Self::Requeue,
            (None, code) => Self::Exit(code),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "exit {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Dependency(what) if !what.is_empty() => write!(f, "dependency: {what}"),
            Self::Other(words) => f.write_str(words),
            other => f.write_str(other.kind()),
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = |prefix: &str| text.strip_prefix(prefix).and_then(|n| n.trim().parse().ok());
        if let Some(code) = number("exit ") {
            return Ok(Self::Exit(code));
        }
        if let Some(signal) = number("signal ") {
            return Ok(Self::Signal(signal));
        }
        if let Some(what) = text.strip_prefix("dependency") {
            return Ok(Self::Dependency(what.trim_start_matches(": ").into()));
        }
        let plain = [
            Self::OutOfMemory,
            Self::Timeout,
            Self::NodeFailure,
            Self::Preempted,
            Self::BadInput,
            Self::BadParameters,
            Self::NoOutputs,
            Self::Requeue,
            Self::LaunchCutShort,
            Self::Refused,
        ];
        Ok(plain.into_iter().find(|reason| reason.kind() == text).unwrap_or(Self::Other(text)))
    }
}

/// What the scheduler, or the process table, says of the newest attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Nobody has asked, or there was nobody to ask.
    NotAsked,
    /// It waits in the queue, for the reason given.
    Pending(String),
    /// It runs.
    Running,
    /// It ended; `None`: well.
    Ended(Option<Reason>),
    /// It is not known any more, and time enough has passed.
    Gone,
    /// It cannot be known from here, for the reason given.
    Unknown(String),
}

/// Everything the folder says about a job's newest attempt.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// Number of the newest request; 0: none.
    pub attempt: u32,
    /// That request; not read for a job that ended well.
    pub request: Option<Request>,
    /// Its cancellation.
    pub cancel: Option<Cancel>,
    /// Its intent.
    pub intent: Option<Intent>,
    /// Whether the process that wrote the intent still lives.
    pub author: Option<Liveness>,
    /// Its submission; not read for a job that has ended.
    pub submission: Option<Submission>,
    /// The scheduler did not take it, in its words.
    pub refused: Option<String>,
    /// Its script has begun.
    pub claimed: bool,
    /// Its exit record, if it is of this very attempt.
    pub exit: Option<Exit>,
    /// `outputs.json` is there.
    pub has_outputs: bool,
    /// A fence was put up before it had begun and taken down when it was seen to have begun.
    pub fence_withdrawn: bool,
    /// The engine's last word: state and message.
    pub ended: Option<(String, String)>,
    /// Where the engine stands.
    pub progress: Option<Progress>,
}

/// Where a job stands, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The state.
    pub state: State,
    /// For a bad end: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The attempt it speaks of; 0: none.
    pub attempt: u32,
    /// A remark for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

impl Evidence {
    /// Reads the records of the newest attempt: a listing and at most seven small files.
    ///
    /// # Errors
    /// [`ProjectError`] if a record is there and cannot be read.
    pub fn gather(job: &JobDir) -> Result<Self, ProjectError> {
        let names = job.names()?;
        let attempt = names.iter().filter_map(|name| attempt_in(name, "request")).max().unwrap_or(0);
        if attempt == 0 {
            return Ok(Self::default());
        }
        let dir = job.attempt(attempt);
        let mut evidence = Self { attempt, ..Self::default() };
        if names.iter().any(|name| attempt_in(name, "cancel") == Some(attempt)) {
            evidence.cancel = job.read_cancel(attempt)?;
        }
        if !names.iter().any(|name| attempt_in(name, "attempt") == Some(attempt)) {
            evidence.request = job.read_request(attempt)?;
            return Ok(evidence);
        }
        evidence.intent = dir.intent()?;
        evidence.claimed = dir.is_claimed();
        evidence.read_end(job)?;
        if evidence.exit.as_ref().is_some_and(|exit| exit.code == 0) {
            return Ok(evidence);
        }
        evidence.request = job.read_request(attempt)?;
        if let (Some(intent), None) = (&evidence.intent, &evidence.exit) {
            evidence.author = Some(intent.author.liveness());
            evidence.submission = dir.submission()?;
            if evidence.submission.is_none() {
                evidence.refused = dir.refusal()?.map(|refusal| refusal.message);
            }
        }
        Ok(evidence)
    }

    /// Reads again what a job leaves at its end. To be called after it was seen to be gone: a process that ended
    /// between the first reading and the look at the process table has left its record by now.
    ///
    /// # Errors
    /// As [`Evidence::gather`].
    pub fn read_end(&mut self, job: &JobDir) -> Result<(), ProjectError> {
        let dir = job.attempt(self.attempt);
        let uuid = self.intent.as_ref().map(|intent| intent.uuid);
        // a record of another attempt, e.g. in a folder copied by hand, is no evidence
        self.exit = dir.exit()?.filter(|exit| uuid.is_none_or(|uuid| uuid == exit.uuid));
        self.has_outputs = job.file("outputs.json").is_file();
        self.fence_withdrawn = self.exit.is_some() && dir.file("cancel-withdrawn.json").is_file();
        if self.exit.as_ref().is_none_or(|exit| exit.code != 0) && (self.claimed || self.exit.is_some()) {
            let last = dir.last_events()?;
            self.ended = events::ended(&last);
            self.progress = (!last.is_empty()).then(|| events::progress(&last));
        }
        Ok(())
    }

    /// The scheduler must be asked: the attempt was launched, perhaps, and has left no exit record.
    pub fn needs_scheduler(&self) -> bool {
        self.intent.is_some() && self.exit.is_none() && self.refused.is_none()
    }

    /// A launch that its author did not live to finish.
    pub fn launch_cut_short(&self) -> bool {
        self.needs_scheduler() && self.submission.is_none() && self.author == Some(Liveness::Dead)
    }

    /// The state that follows from all this. Pure, so that every case is a line of a test.
    pub fn derive(&self, seen: &Seen) -> Status {
        let status =
            |state, reason, note: &str| Status { state, reason, attempt: self.attempt, note: note.into() };
        if self.attempt == 0 {
            return status(State::Created, None, "");
        }
        if let Some(exit) = &self.exit {
            return self.ended_with(Reason::of_exit(exit), exit.code == 0);
        }
        let Some(intent) = &self.intent else {
            return match &self.cancel {
                Some(_) => self.cancelled(),
                None => status(State::Waiting, None, ""),
            };
        };
        if let Some(message) = &self.refused {
            return status(State::Failed, Some(Reason::Refused), message);
        }
        let stopping = if self.cancel.is_some() { "told to stop" } else { "" };
        let begun = if self.claimed { State::Running } else { State::Queued };
        match seen {
            Seen::Pending(why) => status(State::Queued, None, why),
            Seen::Running => status(State::Running, None, stopping),
            Seen::Unknown(why) => status(begun, None, why),
            Seen::Ended(reason) => match reason {
                Some(reason) => self.ended_with(reason.clone(), false),
                None => self.ended_with(Reason::Exit(0), true),
            },
            Seen::Gone
                if self.submission.is_none() && self.author == Some(Liveness::Alive) && !self.claimed =>
            {
                status(State::Queued, None, "being launched")
            }
            Seen::Gone => self.gone(),
            Seen::NotAsked if self.author == Some(Liveness::Unknown) && self.submission.is_none() => {
                status(begun, None, &format!("being launched from {}", intent.author.host))
            }
            Seen::NotAsked => status(begun, None, stopping),
        }
    }

    /// It left an exit record, or the scheduler knows how it ended.
    fn ended_with(&self, reason: Reason, well: bool) -> Status {
        let attempt = self.attempt;
        let message = self.ended.as_ref().map(|(_, message)| message.clone()).unwrap_or_default();
        if well && self.has_outputs {
            return Status { state: State::Done, reason: None, attempt, note: String::new() };
        }
        if self.cancel.is_some() {
            return self.cancelled();
        }
        if self.fence_withdrawn && self.progress.is_none() {
            // it stopped at the fence before that was taken down
            let note = "its launch was cut short and fenced off".into();
            return Status { state: State::Lost, reason: Some(Reason::LaunchCutShort), attempt, note };
        }
        if well {
            return Status { state: State::Failed, reason: Some(Reason::NoOutputs), attempt, note: message };
        }
        Status { state: State::Failed, reason: Some(reason), attempt, note: message }
    }

    /// No exit record, and nobody knows it any more: the engine's last word counts.
    fn gone(&self) -> Status {
        let attempt = self.attempt;
        match &self.ended {
            Some((state, _)) if state == "done" && self.has_outputs => {
                let note = "its script was killed after the engine had finished".into();
                return Status { state: State::Done, reason: None, attempt, note };
            }
            _ if self.cancel.is_some() => return self.cancelled(),
            Some((state, message)) if state == "failed" => {
                return Status {
                    state: State::Failed,
                    reason: Some(Reason::Exit(1)),
                    attempt,
                    note: message.clone(),
                };
            }
            Some((state, _)) if state == "requeue" => {
                let note = String::new();
                return Status { state: State::Failed, reason: Some(Reason::Requeue), attempt, note };
            }
            _ => {}
        }
        if !self.claimed {
            let note = "its launch was cut short; nothing has started".into();
            return Status { state: State::Lost, reason: Some(Reason::LaunchCutShort), attempt, note };
        }
        let note = "its processes are gone and left no exit record (killed, or the machine went down)".into();
        Status { state: State::Lost, reason: None, attempt, note }
    }

    fn cancelled(&self) -> Status {
        let attempt = self.attempt;
        match &self.cancel {
            Some(cancel) if cancel.by == Requester::Recovery => {
                let note = "its launch was cut short and fenced off".into();
                Status { state: State::Lost, reason: Some(Reason::LaunchCutShort), attempt, note }
            }
            _ => Status { state: State::Cancelled, reason: None, attempt, note: String::new() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::ProcessId;
    use uuid::Uuid;

    fn launched() -> Evidence {
        let intent = Intent {
            schema: 1,
            uuid: Uuid::nil(),
            unix_s: 0.0,
            author: ProcessId::current(),
            lane: "local".into(),
            scheduler: "local".into(),
            resources: Default::default(),
        };
        let submission = Submission {
            schema: 1,
            uuid: Uuid::nil(),
            job_id: "1".into(),
            unix_s: 0.0,
            host: "h".into(),
            command: vec![],
            recovered: false,
        };
        Evidence {
            attempt: 1,
            request: Some(Request::new(Requester::User, "")),
            intent: Some(intent),
            author: Some(Liveness::Dead),
            submission: Some(submission),
            claimed: true,
            ..Evidence::default()
        }
    }

    fn exit(code: i32) -> Option<Exit> {
        let signal = (code > 128).then_some(code - 128);
        Some(Exit {
            schema: 1,
            uuid: Uuid::nil(),
            code,
            signal,
            out_of_memory: false,
            host: "h".into(),
            start_unix_s: 0.0,
            end_unix_s: 1.0,
        })
    }

    fn shown(evidence: &Evidence, seen: &Seen) -> String {
        let status = evidence.derive(seen);
        match status.reason {
            Some(reason) => format!("{} ({reason})", status.state),
            None => status.state.to_string(),
        }
    }

    #[test]
    fn every_combination_of_evidence_has_its_state() {
        let cancel = |by| Some(Cancel { schema: 1, by, unix_s: 0.0 });
        let said = |state: &str| Some((state.to_string(), String::new()));
        let e = launched;
        let waiting = || Evidence { intent: None, submission: None, claimed: false, ..launched() };
        let unclaimed = || Evidence { submission: None, claimed: false, ..launched() };
        let cases = [
            (Evidence::default(), Seen::NotAsked, "created"),
            (waiting(), Seen::NotAsked, "waiting"),
            (Evidence { cancel: cancel(Requester::User), ..waiting() }, Seen::NotAsked, "cancelled"),
            (Evidence { claimed: false, ..e() }, Seen::Pending("Priority".into()), "queued"),
            (e(), Seen::Running, "running"),
            (e(), Seen::Unknown("on another host".into()), "running"),
            (e(), Seen::Gone, "lost"),
            (Evidence { exit: exit(0), has_outputs: true, ..e() }, Seen::Running, "done"),
            (Evidence { exit: exit(0), ..e() }, Seen::Gone, "failed (no-outputs)"),
            (Evidence { exit: exit(1), ..e() }, Seen::Gone, "failed (exit 1)"),
            (Evidence { exit: exit(2), ..e() }, Seen::Gone, "failed (bad-parameters)"),
            (Evidence { exit: exit(3), ..e() }, Seen::Gone, "failed (bad-input)"),
            (Evidence { exit: exit(99), ..e() }, Seen::Gone, "failed (requeue)"),
            (Evidence { exit: exit(137), ..e() }, Seen::Gone, "failed (signal 9)"),
            (Evidence { exit: exit(143), cancel: cancel(Requester::User), ..e() }, Seen::Gone, "cancelled"),
            (Evidence { exit: exit(99), cancel: cancel(Requester::User), ..e() }, Seen::Gone, "cancelled"),
            (
                Evidence { exit: exit(0), has_outputs: true, cancel: cancel(Requester::User), ..e() },
                Seen::Gone,
                "done",
            ),
            (Evidence { ended: said("done"), has_outputs: true, ..e() }, Seen::Gone, "done"),
            (Evidence { ended: said("done"), ..e() }, Seen::Gone, "lost"),
            (Evidence { ended: said("failed"), ..e() }, Seen::Gone, "failed (exit 1)"),
            (Evidence { ended: said("requeue"), ..e() }, Seen::Gone, "failed (requeue)"),
            (Evidence { cancel: cancel(Requester::User), ..e() }, Seen::Gone, "cancelled"),
            (
                Evidence { refused: Some("bad queue".into()), ..unclaimed() },
                Seen::NotAsked,
                "failed (refused)",
            ),
            (e(), Seen::Ended(Some(Reason::Timeout)), "failed (timeout)"),
            (Evidence { has_outputs: true, ..e() }, Seen::Ended(None), "done"),
            (unclaimed(), Seen::Gone, "lost (launch-cut-short)"),
            (Evidence { author: Some(Liveness::Alive), ..unclaimed() }, Seen::Gone, "queued"),
            (Evidence { author: Some(Liveness::Unknown), ..unclaimed() }, Seen::NotAsked, "queued"),
            (
                Evidence { cancel: cancel(Requester::Recovery), ..unclaimed() },
                Seen::Gone,
                "lost (launch-cut-short)",
            ),
        ];
        for (evidence, seen, expected) in cases {
            assert_eq!(shown(&evidence, &seen), expected, "{evidence:?} {seen:?}");
        }
    }

    #[test]
    fn memory_kill_is_told_from_other_kills() {
        let record = Exit { out_of_memory: true, ..exit(137).unwrap() };
        assert_eq!(Reason::of_exit(&record), Reason::OutOfMemory);
    }

    #[test]
    fn reasons_read_back_as_written() {
        for reason in [
            Reason::Exit(7),
            Reason::Signal(9),
            Reason::OutOfMemory,
            Reason::Dependency("J2 failed".into()),
            Reason::Refused,
            Reason::Other("BadConstraints".into()),
        ] {
            let text = serde_json::to_string(&reason).unwrap();
            assert_eq!(serde_json::from_str::<Reason>(&text).unwrap(), reason, "{text}");
        }
    }
}
