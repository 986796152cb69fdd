//! The state of a job, derived from its records each time it is asked for.
//!
//! The order of evidence: the exit record; then what the scheduler (for the local lane: the process table) says; then
//! the engine's own last word in `events.jsonl`. A heartbeat is a hint, never a verdict.
//!
//! ```text
//! created → waiting → queued → running → done | failed(reason) | cancelled | lost
//! ```

mod array;
mod evidence;
mod reason;
#[cfg(test)]
mod tests;

pub use evidence::{ElementEnd, Evidence};
pub use reason::Reason;

use crate::process::Liveness;
use crate::records::{Exit, Requester, Verdict};
use serde::{Deserialize, Serialize};
use std::fmt;

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

/// What the scheduler, or the process table, says of the newest attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Nobody has asked, or there was nobody to ask.
    NotAsked,
    /// It waits in the queue, for the reason given.
    Pending(String),
    /// It runs.
    Running,
    /// It ended; `None`: well. With the scheduler's own words.
    Ended(Option<Reason>, String),
    /// It is not known any more, and time enough has passed.
    Gone,
    /// It is not known any more, or has ended, but its record may still be on its way; in words.
    Awaited(String),
    /// It cannot be known from here, for the reason given.
    Unknown(String),
    /// The scheduler cannot be asked now, for the reason given; this is what it said last.
    Stale(Box<Seen>, String),
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
    /// The state that follows from all this. Pure, so that every case is a line of a test.
    pub fn derive(&self, seen: &Seen) -> Status {
        let status =
            |state, reason, note: &str| Status { state, reason, attempt: self.attempt, note: note.into() };
        if self.attempt == 0 {
            return status(State::Created, None, "");
        }
        if let Some(exit) = &self.exit {
            return self.exited(exit, seen);
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
            _ if intent.elements.is_some() && self.submission.is_some() => self.array(seen, begun),
            _ if self.verdict.is_some() => self.as_told(),
            // that it was not known any more is no verdict while nobody can be asked again
            Seen::Stale(last, why) if **last == Seen::Gone => status(begun, None, why),
            Seen::Stale(last, why) => Status { note: why.clone(), ..self.derive(last) },
            Seen::Awaited(why) => status(begun, None, why),
            Seen::Pending(why) => status(State::Queued, None, why),
            Seen::Running => status(State::Running, None, stopping),
            Seen::Unknown(why) => status(begun, None, why),
            Seen::Ended(reason, words) => self.told(reason.as_ref(), words),
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

    /// It left an exit record; where that does not say who ended it, the scheduler's word completes it.
    fn exited(&self, exit: &Exit, seen: &Seen) -> Status {
        let recorded = || self.ended_with(Reason::of_exit(exit), exit.code == 0);
        if !self.needs_scheduler() {
            return match &self.verdict {
                Some(Verdict { reason: Some(reason), words, .. }) if exit.code != 0 => {
                    self.ended_by(exit, reason, words)
                }
                _ => recorded(),
            };
        }
        match seen {
            Seen::Ended(Some(reason), words) => self.ended_by(exit, reason, words),
            Seen::Unknown(why) | Seen::Awaited(why) | Seen::Stale(_, why) => {
                let note = format!("ended ({}); its scheduler is to say why: {why}", Reason::of_exit(exit));
                Status { state: State::Running, reason: None, attempt: self.attempt, note }
            }
            _ => recorded(),
        }
    }

    /// The record says that it was ended, the scheduler by whom.
    fn ended_by(&self, exit: &Exit, reason: &Reason, words: &str) -> Status {
        let own = Reason::of_exit(exit);
        match reason {
            // it saved its work in time: whatever ended it, it goes on, unless a person ended it
            _ if own == Reason::Requeue && *reason != Reason::Cancelled => self.ended_with(own, false),
            Reason::Exit(_) | Reason::Signal(_) => self.ended_with(own, false),
            reason => self.told(Some(reason), words),
        }
    }

    /// What the scheduler said when it still knew the job.
    fn as_told(&self) -> Status {
        match &self.verdict {
            Some(verdict) if verdict.is_gone => self.gone(),
            Some(verdict) => self.told(verdict.reason.as_ref(), &verdict.words),
            None => self.gone(),
        }
    }

    /// The scheduler knows how it ended.
    fn told(&self, reason: Option<&Reason>, words: &str) -> Status {
        let mut status = match reason {
            None => self.ended_with(Reason::Exit(0), true),
            Some(Reason::Cancelled) => {
                let status = self.cancelled();
                let note = if self.cancel.is_some() { String::new() } else { "outside of vitreous".into() };
                Status { note, ..status }
            }
            Some(reason) => self.ended_with(reason.clone(), false),
        };
        if status.note.is_empty() && status.state != State::Done {
            status.note = words.into();
        }
        status
    }

    /// It left an exit record, or the scheduler knows how it ended.
    pub(super) fn ended_with(&self, reason: Reason, well: bool) -> Status {
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
        let is_cluster = self.intent.as_ref().is_some_and(|intent| intent.is_cluster);
        if !self.claimed && is_cluster && self.submission.is_some() {
            // perhaps somebody took it away: it is not started again unasked
            let note = "it left the queue without having started".into();
            return Status { state: State::Lost, reason: None, attempt, note };
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
