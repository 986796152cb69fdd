//! `events.jsonl`: what the engine says while it runs, one JSON object a line.

use serde::{Deserialize, Serialize};

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum EventKind {
    /// The engine runs: host, process and what it was granted.
    Started {
        /// Host name of rank 0.
        host: String,
        /// Process id of rank 0.
        pid: u32,
        /// MPI ranks.
        ranks: u32,
        /// Threads per rank.
        threads: u32,
        /// The device in words.
        device: String,
    },
    /// A phase of the job began, with so many items to do (0: not known).
    Phase {
        /// Name of the phase.
        name: String,
        /// Items to do.
        total: u64,
    },
    /// Items of the current phase that are done, including those found done on resume.
    Progress {
        /// Items done.
        done: u64,
        /// Items in all.
        total: u64,
    },
    /// A current figure: resolution, defocus, drift …
    Figure {
        /// What it is.
        name: String,
        /// Value.
        value: f64,
        /// Unit, empty if none.
        unit: String,
    },
    /// A line for people.
    Message {
        /// The text.
        text: String,
    },
    /// An item was left out.
    Skipped {
        /// Which one.
        item: String,
        /// Why.
        reason: String,
    },
    /// State was saved; work up to here is not lost.
    Checkpoint,
    /// Still alive.
    Heartbeat,
    /// The stage ended: `done`, `requeue` or `failed`.
    Ended {
        /// How.
        state: String,
        /// The error's text, if any.
        message: String,
    },
}

/// One line of `events.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Rising number within the attempt; a reader times progress by it, never by the clock of another host.
    pub seq: u64,
    /// Seconds since 1970 on the engine's host; for people.
    pub unix_s: f64,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}
