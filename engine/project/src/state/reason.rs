//! Why a job ended as it did, in words that retry policies and people share.

use crate::records::Exit;
use serde::{Deserialize, Serialize};
use std::fmt;
use vitreous_model::exit;

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
    /// The scheduler could not start it, in its words.
    LaunchFailed(String),
    /// Somebody took it from the scheduler by hand.
    Cancelled,
    /// All tasks of its array are done; what they made is still to be collected.
    Uncollected,
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
            Self::LaunchFailed(_) => "launch-failed",
            Self::Cancelled => "cancelled",
            Self::Uncollected => "uncollected",
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
        "launch-failed",
        "other",
        "lost",
    ];

    /// What an exit record says.
    pub fn of_exit(record: &Exit) -> Self {
        match (record.signal, record.code) {
            _ if record.out_of_memory => Self::OutOfMemory,
            (None, exit::REQUEUE) => Self::Requeue,
            _ if record.timeout => Self::Timeout,
            (Some(signal), _) => Self::Signal(signal),
            (None, exit::USAGE) => Self::BadParameters,
            (None, exit::INPUT) => Self::BadInput,
            (None, exit::NOT_READY) => Self::Dependency("an input was not there when it started".into()),
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
            Self::LaunchFailed(words) if !words.is_empty() => write!(f, "launch-failed: {words}"),
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
        if let Some(words) = text.strip_prefix("launch-failed") {
            return Ok(Self::LaunchFailed(words.trim_start_matches(": ").into()));
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
            Self::Cancelled,
            Self::Uncollected,
        ];
        Ok(plain.into_iter().find(|reason| reason.kind() == text).unwrap_or(Self::Other(text)))
    }
}
