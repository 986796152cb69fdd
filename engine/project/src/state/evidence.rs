//! What the folder of a job says about its newest attempt.

use super::array;
use crate::error::ProjectError;
use crate::events::{self, Progress};
use crate::job::JobDir;
use crate::names::attempt_in;
use crate::process::Liveness;
use crate::records::{Cancel, Elements, Exit, Intent, Request, Submission, Verdict};
use vitreous_model::exit;

/// How an element of an array ended.
#[derive(Debug, Clone, PartialEq)]
pub struct ElementEnd {
    /// Its number, from 1.
    pub element: u32,
    /// Its exit record.
    pub exit: Exit,
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
    /// The scheduler's answer did not say whether it took it.
    pub unclear: Option<String>,
    /// What the scheduler said of its end.
    pub verdict: Option<Verdict>,
    /// Of an array: how its elements ended that have left a record, in the order of their numbers.
    pub element_ends: Vec<ElementEnd>,
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
        evidence.claimed = dir.is_claimed(evidence.elements());
        evidence.read_end(job)?;
        if evidence.exit.as_ref().is_some_and(|exit| exit.code == 0) {
            return Ok(evidence);
        }
        evidence.request = job.read_request(attempt)?;
        let Some(intent) = &evidence.intent else { return Ok(evidence) };
        evidence.author = Some(intent.author.liveness());
        evidence.submission = dir.submission()?;
        if evidence.submission.is_none() {
            evidence.refused = dir.refusal()?.map(|refusal| refusal.message);
            evidence.unclear = dir.unclear()?.map(|refusal| refusal.message);
        } else if intent.is_cluster {
            evidence.verdict = dir.verdict()?.filter(|verdict| verdict.uuid == intent.uuid);
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
        self.element_ends = array::read_ends(&dir, self.intent.as_ref())?;
        self.has_outputs = job.file("outputs.json").is_file();
        self.fence_withdrawn = self.exit.is_some() && dir.file("cancel-withdrawn.json").is_file();
        if self.exit.as_ref().is_none_or(|exit| exit.code != 0) && (self.claimed || self.exit.is_some()) {
            let last = dir.last_events()?;
            self.ended = events::ended(&last);
            self.progress = match last.is_empty() {
                // of an array: what its elements say
                true => dir.progress()?,
                false => Some(events::progress(&last)),
            };
        }
        Ok(())
    }

    /// The elements of an array; `None`: it is none.
    pub fn elements(&self) -> Option<&Elements> {
        self.intent.as_ref()?.elements.as_ref()
    }

    /// The scheduler must be asked: the attempt was launched, perhaps, and has left no exit record, or one that does not
    /// say who wanted it to end.
    pub fn needs_scheduler(&self) -> bool {
        let is_open = self.exit.as_ref().is_none_or(|_| self.wants_reason());
        self.intent.is_some() && is_open && self.refused.is_none() && self.verdict.is_none()
    }

    /// It was ended from outside, and its scheduler may know why: memory, time, preemption, a person.
    fn wants_reason(&self) -> bool {
        let is_cluster = self.intent.as_ref().is_some_and(|intent| intent.is_cluster);
        let Some(exit) = self.exit.as_ref().filter(|_| is_cluster && self.cancel.is_none()) else {
            return false;
        };
        let saved_when_told = exit.code == exit::REQUEUE && exit.told == "TERM";
        (exit.signal.is_some() && !exit.out_of_memory && !exit.timeout) || saved_when_told
    }

    /// A launch that its author did not live to finish, or whose outcome nobody could tell.
    pub fn launch_cut_short(&self) -> bool {
        let is_open = self.author == Some(Liveness::Dead) || self.unclear.is_some();
        self.needs_scheduler() && self.submission.is_none() && is_open
    }
}
