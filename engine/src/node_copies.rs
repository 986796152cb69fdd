//! The node's cache as stages see it: opened when the first stage asks for it, and no reason to fail.

use crate::failure;
use crate::speaker;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use vitreous_cache::{CacheError, CacheFolder, Fetched, Holder, Lease, Limits, Watch, size_text};
use vitreous_compute::comm::Comm;
use vitreous_model::node_cache::CacheSettings;
use vitreous_project::{NodeCacheUse, process};
use vitreous_stages::node_copies::{NoCopies, NodeCopies};

/// The environment variable with the lane's scratch folder.
const SCRATCH: &str = "VITREOUS_SCRATCH";

const GIB: f64 = (1 << 30) as f64;

/// What the script says of the lane's cache: the same for all ranks, as rank 0 was told. A launcher may not hand the
/// environment on to other nodes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Told {
    scratch: Option<PathBuf>,
    settings: CacheSettings,
    /// What is wrong with the settings.
    trouble: String,
}

impl Told {
    /// By this process's environment at rank 0. Every rank calls it.
    pub fn by(comm: &dyn Comm, variable: &dyn Fn(&str) -> Option<String>) -> Self {
        let mut bytes = serde_json::to_vec(&Self::here(variable)).unwrap_or_default();
        comm.broadcast(0, &mut bytes);
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    fn here(variable: &dyn Fn(&str) -> Option<String>) -> Self {
        let scratch = variable(SCRATCH).filter(|path| !path.is_empty()).map(PathBuf::from);
        let text = variable(CacheSettings::VARIABLE).filter(|text| !text.trim().is_empty());
        let read = text.map(|text| {
            let read = serde_json::from_str::<CacheSettings>(&text).map_err(|error| error.to_string());
            let checked = read.and_then(|settings| settings.validate().map(|()| settings));
            checked.map_err(|error| format!("{} is `{text}`: {error}", CacheSettings::VARIABLE))
        });
        match read.transpose() {
            Ok(settings) => Self { scratch, settings: settings.unwrap_or_default(), trouble: String::new() },
            Err(trouble) => Self { scratch, settings: CacheSettings::default(), trouble },
        }
    }

    /// The lane's scratch folder, if it has one.
    pub fn scratch_dir(&self) -> Option<PathBuf> {
        self.scratch.clone()
    }

    fn limits(&self) -> Limits {
        let bytes = |gib: f64| (gib * GIB) as u64;
        Limits {
            quota_bytes: self.settings.quota_gib.map(bytes),
            reserve_bytes: bytes(self.settings.reserve_gib),
            keep: self.settings.keep,
        }
    }
}

/// The copies of one process.
pub struct JobCopies {
    told: Told,
    holder: Holder,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    lease: Option<Arc<Lease>>,
    /// Why there will be none.
    trouble: String,
    use_: NodeCacheUse,
    /// Why files are read directly, the first of these reasons.
    why_direct: String,
}

/// The copies of this process; what it used of them is told by the second.
pub fn of_job(told: Told, holder: Holder) -> (Arc<dyn NodeCopies>, Option<Arc<JobCopies>>) {
    if told.scratch.is_none() || !told.settings.enabled {
        return (Arc::new(NoCopies), None);
    }
    let state = State { trouble: told.trouble.clone(), ..State::default() };
    let copies = Arc::new(JobCopies { told, holder, state: Mutex::new(state) });
    (copies.clone(), Some(copies))
}

impl JobCopies {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lease, taken now if it is the first time; `None` if there can be none, or if there is no cache yet and none is to
    /// be made.
    fn lease(&self, make: bool) -> Option<Arc<Lease>> {
        let mut state = self.state();
        if state.lease.is_none() && state.trouble.is_empty() {
            match self.open(make) {
                Ok(lease) => state.lease = lease.map(Arc::new),
                Err(error) => self.give_up(&mut state, &error),
            }
        }
        state.lease.clone()
    }

    fn open(&self, make: bool) -> Result<Option<Lease>, CacheError> {
        let scratch = self.told.scratch.clone().unwrap_or_default();
        let folder = if make { Some(CacheFolder::open(&scratch)?) } else { CacheFolder::existing(&scratch)? };
        let Some(folder) = folder else { return Ok(None) };
        if self.told.settings.quota_gib.is_none() && is_in_memory(folder.path()) {
            let why = "is kept in memory; copies there take the job's own: set `cache: {quota_gib: N}` in the lane if that is \
                       wanted, or another `scratch`";
            return Err(CacheError::Unfit { path: scratch, why: why.into() });
        }
        Lease::new(folder, self.told.limits(), self.holder.clone()).map(Some)
    }

    /// Says so once, and does without from now on.
    fn give_up(&self, state: &mut State, error: &CacheError) {
        state.trouble = failure::chain(error);
        let (host, rank) = (process::host(), self.holder.rank);
        speaker::to_log(&format!("rank {rank} on {host}: no cache: {}", state.trouble));
    }

    /// What was used, if anything was asked for.
    pub fn used(&self) -> Option<NodeCacheUse> {
        let state = self.state();
        let told = &state.use_;
        let is_used =
            told.found_files + told.copied_files + told.direct_files > 0 || !state.trouble.is_empty();
        let folder = state.lease.as_ref().map(|lease| lease.folder().path().to_path_buf());
        let trouble = if state.trouble.is_empty() { &state.why_direct } else { &state.trouble };
        is_used.then(|| NodeCacheUse {
            host: process::host().into(),
            folder: folder.unwrap_or_default(),
            trouble: trouble.clone(),
            ..told.clone()
        })
    }
}

impl State {
    fn add(&mut self, fetched: &Fetched) {
        let sum = &mut self.use_;
        sum.found_files += fetched.found.files;
        sum.found_bytes += fetched.found.bytes;
        sum.copied_files += fetched.copied.files;
        sum.copied_bytes += fetched.copied.bytes;
        sum.evicted_files += fetched.evicted.files;
        sum.evicted_bytes += fetched.evicted.bytes;
        sum.direct_files += fetched.direct.len();
        sum.direct_bytes += fetched.direct.iter().map(|file| file.bytes).sum::<u64>();
        if let (Some(first), true) = (fetched.direct.first(), self.why_direct.is_empty()) {
            self.why_direct.clone_from(&first.reason);
        }
    }

    /// In one sentence.
    fn text(&self) -> String {
        if !self.trouble.is_empty() {
            return format!("images are read where they lie, there is no cache: {}", self.trouble);
        }
        let told = &self.use_;
        let mut text = format!(
            "copies on {}: {} of {} files found ({}), {} made ({})",
            process::host(),
            told.found_files,
            told.found_files + told.copied_files + told.direct_files,
            size_text(told.found_bytes),
            told.copied_files,
            size_text(told.copied_bytes)
        );
        if told.evicted_files > 0 {
            text += &format!(", {} older removed ({})", told.evicted_files, size_text(told.evicted_bytes));
        }
        if told.direct_files > 0 {
            let (files, size) = (told.direct_files, size_text(told.direct_bytes));
            text += &format!("; {files} ({size}) are read where they lie: {}", self.why_direct);
        }
        text
    }
}

impl NodeCopies for JobCopies {
    fn fetch(&self, files: &[PathBuf], stop: &dyn Fn() -> bool, progress: &dyn Fn(u64, u64)) -> String {
        if files.is_empty() {
            return String::new();
        }
        let fetched = self.lease(true).map(|lease| lease.fetch(files, Watch { stop, progress }));
        let mut state = self.state();
        match fetched {
            Some(Ok(fetched)) => {
                let is_first = state.use_.direct_files == 0 && !fetched.direct.is_empty();
                state.add(&fetched);
                if is_first && self.holder.rank > 0 {
                    speaker::to_log(&format!("rank {}: {}", self.holder.rank, state.text()));
                }
            }
            Some(Err(error)) => {
                state.lease = None;
                self.give_up(&mut state, &error);
            }
            None => {}
        }
        state.text()
    }

    fn find(&self, files: &[PathBuf]) {
        let Some(lease) = self.lease(false) else { return };
        match lease.find(files) {
            Ok(found) => self.state().add(&Fetched { found, ..Fetched::default() }),
            Err(error) => log::debug!("{error}"),
        }
    }

    fn copy_of(&self, file: &Path) -> Option<PathBuf> {
        let lease = self.state().lease.clone();
        lease?.copy_of(file)
    }

    fn release(&self, file: &Path) {
        let lease = self.state().lease.clone();
        if let Some(lease) = lease {
            lease.release(file);
        }
    }

    fn reject(&self, file: &Path, why: &str) {
        let lease = self.state().lease.clone();
        if let Some(lease) = lease {
            lease.reject(file);
        }
        let mut state = self.state();
        state.use_.lost_files += 1;
        // one line is enough when a whole cache is gone
        if state.use_.lost_files == 1 {
            let (host, rank) = (process::host(), self.holder.rank);
            speaker::to_log(&format!(
                "rank {rank} on {host}: a copy cannot be read any more, and the file is read where it lies: {why}"
            ));
        }
    }

    fn takes_movies(&self) -> bool {
        self.told.settings.movies
    }

    fn told(&self) -> String {
        if self.used().is_some() { self.state().text() } else { String::new() }
    }
}

/// Whether a folder is on a file system that is kept in memory.
fn is_in_memory(folder: &Path) -> bool {
    const TMPFS: u64 = 0x0102_1994;
    const RAMFS: u64 = 0x8584_58f6;
    rustix::fs::statfs(folder).is_ok_and(|found| matches!(found.f_type as u64, TMPFS | RAMFS))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests make their own input")]
mod tests {
    use super::*;
    use vitreous_compute::comm::Threads;

    fn told(scratch: &Path, settings: &str) -> Told {
        Told::here(&|name| match name {
            SCRATCH => Some(scratch.display().to_string()),
            _ => Some(settings.into()),
        })
    }

    fn copies(told: Told) -> Arc<JobCopies> {
        of_job(told, Holder { job: "J7".into(), ..Holder::default() }).1.expect("should be enabled")
    }

    fn fetch(copies: &JobCopies, files: &[PathBuf]) -> String {
        copies.fetch(files, &|| false, &|_, _| {})
    }

    #[test]
    fn all_ranks_do_as_the_first_was_told() {
        let all = Threads::run(3, |comm| {
            Told::by(comm, &|name| (comm.rank() == 0 && name == SCRATCH).then(|| "/local/me".into()))
        });
        assert!(all.iter().all(|told| told.scratch == Some("/local/me".into())), "{all:?}");
    }

    #[test]
    fn what_became_of_the_files_is_said_in_a_sentence() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let files: Vec<PathBuf> = (0..3).map(|i| folder.path().join(format!("{i}.mrcs"))).collect();
        files.iter().for_each(|file| std::fs::write(file, vec![1; 3 << 20]).expect("should write"));
        let within = told(folder.path(), r#"{"quota_gib": 0.0065, "reserve_gib": 0}"#);
        let one = copies(within.clone());
        assert_eq!(one.used(), None);
        let text = fetch(&one, &files[..1]);
        assert!(text.contains("0 of 1 files found") && text.contains("1 made"), "{text}");
        let two = copies(within);
        two.find(&files);
        let text = fetch(&two, &files);
        assert!(
            text.contains("1 of 3 files found") && text.contains("1 made (3.0 MiB); 1 (3.0 MiB) are read"),
            "{text}"
        );
        assert!(text.contains("quota"), "{text}");
        let used = two.used().expect("was used");
        assert_eq!((used.found_files, used.copied_files, used.direct_files), (1, 1, 1));
        assert!(used.trouble.contains("quota") && used.folder.starts_with(folder.path()));
    }

    #[test]
    fn without_a_usable_folder_it_is_said_and_done_without() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let file = folder.path().join("a.mrcs");
        std::fs::write(&file, b"x").expect("should write");
        for (scratch, settings, why) in [
            (folder.path().join("no/such"), r#"{"quota_gib": 1}"#, "no/such"),
            (folder.path().to_path_buf(), r#"{"quota": 1}"#, "unknown field"),
            (folder.path().to_path_buf(), r#"{"quota_gib": -1}"#, "no size"),
        ] {
            let copies = copies(told(&scratch, settings));
            let text = fetch(&copies, std::slice::from_ref(&file));
            assert!(text.contains("there is no cache") && text.contains(why), "{text}");
            assert_eq!(copies.copy_of(&file), None);
            assert!(copies.used().expect("asked for").trouble.contains(why));
        }
        assert!(of_job(told(folder.path(), r#"{"enabled": false}"#), Holder::default()).1.is_none());
        assert!(of_job(Told::default(), Holder::default()).1.is_none());
    }

    #[test]
    fn a_job_that_only_looks_makes_no_cache() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let copies = copies(told(folder.path(), r#"{"quota_gib": 1}"#));
        copies.find(&[folder.path().join("a.mrcs")]);
        assert!(!CacheFolder::path_under(folder.path()).exists());
    }
}
