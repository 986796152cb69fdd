//! What one process uses of a cache.
//!
//! A lease is a file that its process keeps locked. Lines are only ever added: `hold KEY`, `copy KEY BYTES` (it is going to be
//! copied), `done KEY` (it was), `drop KEY`. A line cut short by a death is of a lease that counts no more.

use crate::folder::{CacheFolder, Guard, entries, is_same, name_of, remove};
use crate::{CacheError, Limits};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use vitreous_project::{clock, process};

/// Who holds a lease: for people.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Holder {
    /// The job, e.g. `J7`.
    pub job: String,
    /// Root of its project.
    pub project: PathBuf,
    /// Rank of the process in its job.
    pub rank: usize,
    /// The process.
    #[serde(default)]
    pub pid: u32,
    /// Since when, seconds since 1970.
    #[serde(default)]
    pub since_unix_s: f64,
}

/// What a process does with a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// It reads it.
    Held,
    /// It is going to copy it, or does so: so many bytes.
    Copying(u64),
}

/// What one process uses of a cache, from when it is made until it is dropped or its process ends.
#[derive(Debug)]
pub struct Lease {
    folder: CacheFolder,
    limits: Limits,
    holder: Holder,
    state: Mutex<State>,
    /// By the path that was asked for: key and place of the copy that is held.
    pub(crate) copies: Mutex<HashMap<PathBuf, (String, PathBuf)>>,
}

#[derive(Debug)]
struct State {
    id: String,
    file: File,
    uses: BTreeMap<String, Use>,
    /// Every key that was ever used.
    ever: BTreeSet<String>,
}

impl Lease {
    /// A lease on nothing yet.
    ///
    /// # Errors
    /// As [`CacheFolder::lock`] has them.
    pub fn new(folder: CacheFolder, limits: Limits, holder: Holder) -> Result<Self, CacheError> {
        let holder = Holder { pid: std::process::id(), since_unix_s: clock::unix_s(), ..holder };
        // where there are no locks there is no cache
        drop(folder.lock()?);
        let state = Mutex::new(State::new(&folder, &holder, BTreeMap::new())?);
        Ok(Self { folder, limits, holder, state, copies: Mutex::default() })
    }

    /// The cache.
    pub fn folder(&self) -> &CacheFolder {
        &self.folder
    }

    /// How much may be kept.
    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Name of the lease.
    pub(crate) fn id(&self) -> String {
        self.state().id.clone()
    }

    /// What is used.
    #[cfg(test)]
    pub(crate) fn uses(&self) -> BTreeMap<String, Use> {
        self.state().uses.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is used: `None` for what is no longer. To begin to use a copy or to plan one needs the lock on the cache,
    /// which is what `_under` is for; see [`Lease::settle`] for the rest.
    pub(crate) fn claim(&self, _under: &Guard, changes: &[(String, Use)]) -> Result<(), CacheError> {
        let changes: Vec<_> = changes.iter().map(|(key, now)| (key.clone(), Some(*now))).collect();
        self.state().write(&self.folder, &self.holder, &changes)
    }

    /// Says that planned copies are made (`true`: they are held now), or that nothing is used any more of them. Who reads the lease
    /// before knows less of what is free, which does no harm: this needs no lock.
    pub(crate) fn settle(&self, key: &str, is_held: bool) -> Result<(), CacheError> {
        let now = is_held.then_some(Use::Held);
        self.state().write(&self.folder, &self.holder, &[(key.to_string(), now)])
    }

    /// The copy of a file, if this lease holds one.
    pub fn copy_of(&self, path: &Path) -> Option<PathBuf> {
        let copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        copies.get(path).map(|(_, copy)| copy.clone())
    }

    /// Gives the copy of a file back.
    pub fn release(&self, path: &Path) {
        let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((key, _)) = copies.remove(path) else { return };
        // the same copy may be held under another name of the file
        if !copies.values().any(|(other, _)| *other == key)
            && let Err(error) = self.settle(&key, false)
        {
            log::debug!("{error}");
        }
    }

    /// Says that the copy of a file cannot be read: nobody shall use it any more. A copy that is simply gone is no more than that.
    pub fn reject(&self, path: &Path) {
        let key = {
            let copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
            copies.get(path).map(|(key, _)| key.clone())
        };
        if let (Some(key), Ok(guard)) = (key, self.folder.lock())
            && self.folder.files().join(&key).is_dir()
        {
            self.folder.discard(&guard, &key);
        }
        self.release(path);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let path = self.folder.leases().join(self.id());
        if let Err(error) = std::fs::remove_file(&path) {
            log::debug!("lease {} stays: {error}", path.display());
        }
        if !self.limits.keep
            && let Err(error) = self.remove_used()
        {
            log::debug!("copies stay: {error}");
        }
    }
}

impl Lease {
    /// Removes the copies that this lease used and no other does. Those of other lanes may stay for their next jobs.
    fn remove_used(&self) -> Result<(), CacheError> {
        let guard = self.folder.lock()?;
        let leased = live(&self.folder, &guard);
        let own = std::mem::take(&mut self.state().ever);
        for key in own.iter().filter(|key| !leased.iter().any(|lease| lease.uses.contains_key(*key))) {
            self.folder.discard(&guard, key);
        }
        Ok(())
    }
}

impl State {
    /// A lease file, locked before anybody can see it.
    fn new(folder: &CacheFolder, holder: &Holder, uses: BTreeMap<String, Use>) -> Result<Self, CacheError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let start = process::ProcessId::current().start_ticks;
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}-{start}-{count}", std::process::id());
        let (hidden, path) = (folder.leases().join(format!(".{id}")), folder.leases().join(&id));
        let file = OpenOptions::new().create(true).append(true).open(&hidden);
        let mut file = file.map_err(CacheError::io("create", &hidden))?;
        file.try_lock().map_err(|error| CacheError::io("lock", &hidden)(error.into()))?;
        let mut head = serde_json::to_string(holder).unwrap_or_default();
        head.push('\n');
        let text = head + &uses.iter().map(|(key, now)| line(key, Some(*now), None)).collect::<String>();
        file.write_all(text.as_bytes()).map_err(CacheError::io("write", &hidden))?;
        std::fs::rename(&hidden, &path).map_err(CacheError::io("create", &path))?;
        Ok(Self { id, file, ever: uses.keys().cloned().collect(), uses })
    }

    fn write(
        &mut self,
        folder: &CacheFolder,
        holder: &Holder,
        changes: &[(String, Option<Use>)],
    ) -> Result<(), CacheError> {
        let mut lines = String::new();
        for (key, now) in changes {
            self.ever.insert(key.clone());
            let before = match now {
                Some(now) => self.uses.insert(key.clone(), *now),
                None => self.uses.remove(key),
            };
            if before != *now {
                lines += &line(key, *now, before);
            }
        }
        let path = folder.leases().join(&self.id);
        if !is_same(&self.file, &path) {
            // somebody removed the cache: what is there from now on may be leased anew
            let ever = std::mem::take(&mut self.ever);
            *self = Self::new(folder, holder, std::mem::take(&mut self.uses))?;
            self.ever.extend(ever);
            return Ok(());
        }
        self.file.write_all(lines.as_bytes()).map_err(CacheError::io("write", &path))
    }
}

fn line(key: &str, now: Option<Use>, before: Option<Use>) -> String {
    match (now, before) {
        (Some(Use::Held), Some(Use::Copying(_))) => format!("done {key}\n"),
        (Some(Use::Held), _) => format!("hold {key}\n"),
        (Some(Use::Copying(bytes)), _) => format!("copy {key} {bytes}\n"),
        (None, _) => format!("drop {key}\n"),
    }
}

/// What a live process, another or this one, uses of a cache.
#[derive(Debug, Clone)]
pub(crate) struct Leased {
    /// Name of the lease.
    pub id: String,
    /// Whose.
    pub holder: Holder,
    /// Of what.
    pub uses: BTreeMap<String, Use>,
    /// Bytes of the lease: it grows with everything that is done.
    pub length: usize,
}

impl Leased {
    /// Bytes that are going to be copied, or are being.
    pub fn planned_bytes(&self) -> u64 {
        let planned = |now: &Use| if let Use::Copying(bytes) = now { *bytes } else { 0 };
        self.uses.values().map(planned).sum()
    }
}

/// The leases of all live processes. Those of dead ones are removed, with what they left half copied.
pub(crate) fn live(folder: &CacheFolder, _under: &Guard) -> Vec<Leased> {
    let mut live = Vec::new();
    for path in entries(&folder.leases()) {
        let id = name_of(&path);
        // one that is being made is not seen yet
        if id.starts_with('.') {
            continue;
        }
        let Ok(file) = File::open(&path) else { continue };
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => live.push(read(&path, id)),
            // locks worked a moment ago: nobody is declared dead for an error
            Err(TryLockError::Error(error)) => {
                log::debug!("{}: {error}", path.display());
                live.push(read(&path, id));
            }
            Ok(()) => {
                let _ = std::fs::remove_file(&path);
            }
        }
    }
    for path in entries(&folder.copying()) {
        let name = name_of(&path);
        if !live.iter().any(|lease| name.starts_with(&format!("{}-", lease.id))) {
            remove(&path);
        }
    }
    live
}

fn read(path: &Path, id: String) -> Leased {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let length = text.len();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let mut lines = whole.lines();
    let holder = lines.next().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
    let mut uses = BTreeMap::new();
    for line in lines {
        let mut words = line.split(' ');
        let (Some(verb), Some(key)) = (words.next(), words.next()) else { continue };
        let bytes = words.next().and_then(|bytes| bytes.parse().ok()).unwrap_or(0);
        match verb {
            "hold" | "done" => uses.insert(key.to_string(), Use::Held),
            "copy" => uses.insert(key.to_string(), Use::Copying(bytes)),
            _ => uses.remove(key),
        };
    }
    Leased { id, holder, uses, length }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, CacheFolder) {
        let scratch = tempfile::tempdir().expect("temporary folder");
        let folder = CacheFolder::open(scratch.path()).expect("should open");
        (scratch, folder)
    }

    fn lease(folder: &CacheFolder, job: &str) -> Lease {
        let holder = Holder { job: job.into(), ..Holder::default() };
        Lease::new(folder.clone(), Limits::default(), holder).expect("should lease")
    }

    #[test]
    fn others_see_what_is_used_until_the_lease_ends() {
        let (_scratch, folder) = folder();
        let (one, two) = (lease(&folder, "J1"), lease(&folder, "J2"));
        let guard = folder.lock().expect("should lock");
        let change = |key: &str, now| (key.to_string(), now);
        one.claim(
            &guard,
            &[change("a", Use::Held), change("b", Use::Copying(70)), change("c", Use::Copying(5))],
        )
        .expect("should write");
        one.settle("b", true).expect("should write");
        one.settle("a", false).expect("should write");
        let seen = live(&folder, &guard);
        assert_eq!(seen.len(), 2);
        let first = seen.iter().find(|lease| lease.holder.job == "J1").expect("should be there");
        assert_eq!(first.uses, BTreeMap::from([change("b", Use::Held), change("c", Use::Copying(5))]));
        assert_eq!((first.planned_bytes(), first.holder.pid), (5, std::process::id()));
        assert_eq!(one.uses(), first.uses);
        drop((one, two));
        assert!(live(&folder, &guard).is_empty());
    }

    #[test]
    fn a_dead_lease_counts_no_more_and_its_half_copies_go() {
        let (_scratch, folder) = folder();
        let one = lease(&folder, "J1");
        let half = folder.copying().join("1-2-3-key");
        let own = folder.copying().join(format!("{}-key", one.id()));
        [&half, &own].iter().for_each(|path| std::fs::create_dir(path).expect("should create"));
        // nobody locks it
        std::fs::write(folder.leases().join("1-2-3"), "{}\nhold a\ncopy key 7\n").expect("should write");
        let guard = folder.lock().expect("should lock");
        assert_eq!(live(&folder, &guard).len(), 1);
        assert!(!half.exists() && own.exists() && !folder.leases().join("1-2-3").exists());
    }

    #[test]
    fn a_cache_that_was_removed_is_leased_anew() {
        let (_scratch, folder) = folder();
        let one = lease(&folder, "J1");
        std::fs::remove_dir_all(folder.path()).expect("should remove");
        let guard = folder.lock().expect("should lock");
        one.claim(&guard, &[("a".into(), Use::Held)]).expect("should write");
        let seen = live(&folder, &guard);
        assert_eq!((seen.len(), seen[0].uses.len()), (1, 1));
    }

    #[test]
    fn a_line_cut_short_is_left_out() {
        let (scratch, _) = folder();
        let path = scratch.path().join("lease");
        std::fs::write(&path, "{\"job\":\"J1\",\"project\":\"/p\",\"rank\":2}\nhold a\ncopy b 70")
            .expect("should write");
        let found = read(&path, "x".into());
        assert_eq!((found.uses.len(), found.holder.rank), (1, 2));
    }
}
