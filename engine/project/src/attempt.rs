//! The folder of one attempt to run a job, and the records in it.

use crate::atomic;
use crate::error::ProjectError;
use crate::events::{self, EventReader, EventWriter, Progress};
use crate::job::Effective;
use crate::records::{Elements, Exit, Intent, NodeCacheUse, Refusal, Submission, Usage, Verdict};
use rustix::fs::FlockOperation;
use rustix::io::{Errno, FdFlags};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use uuid::Uuid;
use vitreous_model::event::Event;

/// The file that is locked while a submission is under way.
const SUBMITTING: &str = "submitting";

/// The folder `attempt-NN`.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptDir {
    path: PathBuf,
    number: u32,
}

impl AttemptDir {
    /// The folder of attempt `number` of the job in `job_dir`, whether it exists or not.
    pub fn new(job_dir: &Path, number: u32) -> Self {
        Self { path: job_dir.join(format!("attempt-{number:02}")), number }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its number, from 1.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes the folder if it is not there.
    ///
    /// # Errors
    /// [`ProjectError::Io`].
    pub fn create(&self) -> Result<(), ProjectError> {
        match std::fs::create_dir(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(ProjectError::io("create", &self.path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Writes `intent.json`; `false` if somebody else has: then the attempt is theirs to launch.
    ///
    /// # Errors
    /// [`ProjectError::Io`].
    pub fn write_intent(&self, intent: &Intent) -> Result<bool, ProjectError> {
        atomic::create_new_json(&self.file("intent.json"), intent)
    }

    /// `intent.json`.
    ///
    /// # Errors
    /// As [`atomic::read_json`].
    pub fn intent(&self) -> Result<Option<Intent>, ProjectError> {
        atomic::read_json(&self.file("intent.json"))
    }

    /// Writes `submission.json`.
    ///
    /// # Errors
    /// [`ProjectError::Io`].
    pub fn write_submission(&self, submission: &Submission) -> Result<(), ProjectError> {
        atomic::write_json(&self.file("submission.json"), submission)
    }

    /// `submission.json`.
    ///
    /// # Errors
    /// As [`atomic::read_json`].
    pub fn submission(&self) -> Result<Option<Submission>, ProjectError> {
        atomic::read_json(&self.file("submission.json"))
    }

    /// Writes `refused.json`.
    ///
    /// # Errors
    /// [`ProjectError::Io`].
    pub fn write_refusal(&self, refusal: &Refusal) -> Result<(), ProjectError> {
        atomic::write_json(&self.file("refused.json"), refusal)
    }

    /// `refused.json`.
    ///
    /// # Errors
    /// As [`atomic::read_json`].
    pub fn refusal(&self) -> Result<Option<Refusal>, ProjectError> {
        atomic::read_json(&self.file("refused.json"))
    }

    /// Writes `unclear.json`.
    ///
    /// # Errors
    /// [`ProjectError::Io`].
    pub fn write_unclear(&self, refusal: &Refusal) -> Result<(), ProjectError> {
        atomic::write_json(&self.file("unclear.json"), refusal)
    }

    /// `unclear.json`.
    ///
    /// # Errors
    /// As [`atomic::read_json`].
    pub fn unclear(&self) -> Result<Option<Refusal>, ProjectError> {
        atomic::read_json(&self.file("unclear.json"))
    }

    /// How long ago the intent was written, by the file server's clock, ns; 0: there is none.
    pub fn intent_age_ns(&self, now_ns: i64) -> i64 {
        let modified = std::fs::metadata(self.file("intent.json")).ok();
        modified.map_or(0, |meta| now_ns - (meta.mtime() * 1_000_000_000 + meta.mtime_nsec()))
    }

    /// Marks that a submission is under way, for as long as the returned file or any process that is started meanwhile
    /// lives: a command that outlives its killed caller may still submit. Where the file system has no locks, nothing is
    /// marked.
    ///
    /// # Errors
    /// [`ProjectError::Io`].
    pub fn begin_submission(&self) -> Result<File, ProjectError> {
        let path = self.file(SUBMITTING);
        let opened = File::options().create(true).write(true).truncate(false).open(&path);
        let file = opened.map_err(ProjectError::io("create", &path))?;
        let locked = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive);
        // commands inherit the file, and with it the lock
        let inherited = locked.and_then(|()| rustix::io::fcntl_setfd(&file, FdFlags::empty()));
        if let Err(error) = inherited {
            log::debug!("{}: {error}", path.display());
        }
        Ok(file)
    }

    /// Whether a submission is under way, as far as this host can see.
    pub fn is_being_submitted(&self) -> bool {
        let Ok(file) = File::open(self.file(SUBMITTING)) else { return false };
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)
    }

    /// Takes the intent back, because it is certain that nothing was submitted: the attempt can be launched anew.
    ///
    /// # Errors
    /// [`ProjectError::Io`].
    pub fn withdraw_intent(&self, uuid: Uuid) -> Result<(), ProjectError> {
        let from = self.file("intent.json");
        let to = self.file(&format!("intent-withdrawn-{uuid}.json"));
        std::fs::rename(&from, to).map_err(ProjectError::io("move", from))
    }

    /// Writes `ended.json`.
    ///
    /// # Errors
    /// [`ProjectError::Io`].
    pub fn write_verdict(&self, verdict: &Verdict) -> Result<(), ProjectError> {
        atomic::write_json(&self.file("ended.json"), verdict)
    }

    /// `ended.json`.
    ///
    /// # Errors
    /// As [`atomic::read_json`].
    pub fn verdict(&self) -> Result<Option<Verdict>, ProjectError> {
        atomic::read_json(&self.file("ended.json"))
    }

    /// `exit.json`; of an array: written by the task that collected what all did.
    ///
    /// # Errors
    /// As [`atomic::read_json`].
    pub fn exit(&self) -> Result<Option<Exit>, ProjectError> {
        self.exit_of("exit.json", "claim")
    }

    /// `exit-E.json`: how an element of an array ended.
    ///
    /// # Errors
    /// As [`atomic::read_json`].
    pub fn element_exit(&self, element: u32) -> Result<Option<Exit>, ProjectError> {
        self.exit_of(&format!("exit-{element}.json"), &format!("claim-{element}"))
    }

    /// A record, unless its job has been started again since: a late record of a start that was given up for lost does
    /// not count.
    fn exit_of(&self, record: &str, claim: &str) -> Result<Option<Exit>, ProjectError> {
        let exit: Option<Exit> = atomic::read_json(&self.file(record))?;
        Ok(exit.filter(|exit| !self.file(&format!("{claim}/run-{}", exit.run + 1)).is_dir() || exit.run == 0))
    }

    /// Whether the script has begun to run; of an array: any of its tasks.
    pub fn is_claimed(&self, elements: Option<&Elements>) -> bool {
        match elements {
            None => self.file("claim/owner").is_file(),
            Some(elements) => {
                elements.numbers.iter().any(|element| self.file(&format!("claim-{element}/owner")).is_file())
            }
        }
    }

    /// The scheduler's id that the running script knows of itself.
    pub fn claimed_by(&self, elements: Option<&Elements>) -> Option<String> {
        let claims: Vec<String> = match elements {
            None => vec!["claim/owner".into()],
            Some(elements) => elements.numbers.iter().map(|e| format!("claim-{e}/owner")).collect(),
        };
        let owner = claims.iter().find_map(|claim| atomic::read(&self.file(claim)).ok().flatten())?;
        Some(owner.trim().to_string()).filter(|owner| !owner.is_empty())
    }

    /// Writes what rank `rank` used, of slice `slice` if the job is done in slices: `usage-RANK.json` or
    /// `usage-SLICE-RANK.json`.
    ///
    /// # Errors
    /// [`ProjectError::Io`].
    pub fn write_usage(&self, slice: Option<u32>, rank: usize, usage: Usage) -> Result<(), ProjectError> {
        atomic::write_json(&self.file(&name_of_rank("usage", slice, rank)), &usage)
    }

    /// Writes what a rank had of its node's cache: `node-cache-RANK.json` or `node-cache-SLICE-RANK.json`.
    ///
    /// # Errors
    /// [`ProjectError::Io`].
    pub fn write_node_cache(
        &self,
        slice: Option<u32>,
        rank: usize,
        used: &NodeCacheUse,
    ) -> Result<(), ProjectError> {
        atomic::write_json(&self.file(&name_of_rank("node-cache", slice, rank)), used)
    }

    /// What the ranks of all slices had of their nodes' caches; nothing of those that have not said.
    pub fn node_caches(&self) -> Vec<NodeCacheUse> {
        let names = self.names().into_iter().filter(|name| slice_of("node-cache", name).is_some());
        names.filter_map(|name| atomic::read_json(&self.file(&name)).ok().flatten()).collect()
    }

    /// What the attempt used; `None` if no rank has said. CPU seconds are those of all ranks of all slices together;
    /// the resident size is that of the largest slice, its ranks summed, because memory is granted to each slice.
    pub fn usage(&self) -> Option<Usage> {
        let mut by_slice: BTreeMap<Option<u32>, Usage> = BTreeMap::new();
        for name in self.names() {
            let Some(slice) = slice_of("usage", &name) else { continue };
            let Ok(Some(one)) = atomic::read_json::<Usage>(&self.file(&name)) else { continue };
            let sum = by_slice.entry(slice).or_default();
            sum.cpu_seconds += one.cpu_seconds;
            sum.max_rss_mib += one.max_rss_mib;
        }
        by_slice.into_values().reduce(|a, b| Usage {
            cpu_seconds: a.cpu_seconds + b.cpu_seconds,
            max_rss_mib: a.max_rss_mib.max(b.max_rss_mib),
        })
    }

    /// Names of all entries; none if there is no folder.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.path).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// Writes `effective-SLICE.json`: what was effective in one slice. The job's own `effective.json` comes from the run
    /// that collects.
    ///
    /// # Errors
    /// [`ProjectError::Io`].
    pub fn write_slice_effective(&self, slice: u32, effective: &Effective) -> Result<(), ProjectError> {
        atomic::write_json(&self.file(&format!("effective-{slice}.json")), effective)
    }

    /// The slices that have begun, in order.
    pub fn slices(&self) -> Vec<u32> {
        let number = |name: &String| name.strip_prefix("events-")?.strip_suffix(".jsonl")?.parse().ok();
        let mut slices: Vec<u32> = self.names().iter().filter_map(number).collect();
        slices.sort_unstable();
        slices
    }

    /// How far the attempt is. Of a job done in slices it is the sum over the slices that have begun, until the run that
    /// collects begins, which then counts alone. `None` before the first event.
    ///
    /// # Errors
    /// [`ProjectError::Io`].
    pub fn progress(&self) -> Result<Option<Progress>, ProjectError> {
        let own = self.last_events()?;
        if !own.is_empty() {
            return Ok(Some(events::progress(&own)));
        }
        let mut slices = Vec::new();
        for slice in self.slices() {
            slices.push(events::tail(&self.slice_events_path(slice))?);
        }
        Ok(events::progress_of_slices(&slices))
    }

    /// `events-SLICE.jsonl`.
    pub fn slice_events_path(&self, slice: u32) -> PathBuf {
        self.file(&format!("events-{slice}.jsonl"))
    }

    /// `events.jsonl`.
    pub fn events_path(&self) -> PathBuf {
        self.file("events.jsonl")
    }

    /// For the engine: appends to `events.jsonl`, or to the slice's own file.
    ///
    /// # Errors
    /// [`ProjectError::Io`].
    pub fn event_writer(&self, slice: Option<u32>) -> Result<EventWriter, ProjectError> {
        EventWriter::open(&slice.map_or_else(|| self.events_path(), |slice| self.slice_events_path(slice)))
    }

    /// For `logs -f`: reads `events.jsonl` bit by bit.
    pub fn event_reader(&self) -> EventReader {
        EventReader::new(&self.events_path())
    }

    /// The last events (64 KiB of them).
    ///
    /// # Errors
    /// [`ProjectError::Io`].
    pub fn last_events(&self) -> Result<Vec<Event>, ProjectError> {
        events::tail(&self.events_path())
    }
}

/// `KIND-RANK.json`, or `KIND-SLICE-RANK.json`: what one rank wrote.
fn name_of_rank(kind: &str, slice: Option<u32>, rank: usize) -> String {
    match slice {
        Some(slice) => format!("{kind}-{slice}-{rank}.json"),
        None => format!("{kind}-{rank}.json"),
    }
}

/// The slice that `KIND-SLICE-RANK.json` belongs to, no slice for `KIND-RANK.json`; `None` for other files.
fn slice_of(kind: &str, name: &str) -> Option<Option<u32>> {
    let numbers = name.strip_prefix(kind)?.strip_prefix('-')?.strip_suffix(".json")?;
    let (slice, rank) = match numbers.split_once('-') {
        Some((slice, rank)) => (Some(slice.parse().ok()?), rank),
        None => (None, numbers),
    };
    rank.parse::<u32>().ok().map(|_| slice)
}

#[cfg(test)]
mod tests;
