//! What one process uses of a cache.
//!
//! A lease is a file that its process keeps locked. Lines are only ever added (a file that was lost, or whose last line may be torn by
//! a full disk, is written anew under the next number): `hold KEY`, `copy KEY BYTES` (it is going to be
//! copied), `done KEY` (it was), `drop KEY`. A line cut short by a death is of a lease that counts no more.

use crate::folder::{CacheFolder, Guard, Identity, entries, entries_seen, is_same, name_of, remove};
use crate::inventory;
use crate::{CacheError, Limits};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
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
    /// By the path that was asked for: the copy that is held.
    pub(crate) copies: Mutex<HashMap<PathBuf, Copy>>,
}

/// A copy that is held.
#[derive(Debug, Clone)]
pub(crate) struct Copy {
    pub key: String,
    pub place: PathBuf,
    pub identity: Option<Identity>,
}

#[derive(Debug)]
struct State {
    /// The same for as long as the lease lives.
    id: String,
    /// Rises when the file has to be written anew.
    generation: u32,
    file: File,
    /// A line may be missing or cut short: the file is to be written anew.
    is_damaged: bool,
    uses: BTreeMap<String, Use>,
    /// Every key that was ever used.
    ever: BTreeSet<String>,
}

impl Lease {
    /// A lease on nothing yet.
    ///
    /// # Errors
    /// The cache cannot be locked, or the lease not be written.
    pub fn new(folder: CacheFolder, limits: Limits, holder: Holder) -> Result<Self, CacheError> {
        let holder = Holder { pid: std::process::id(), since_unix_s: clock::unix_s(), ..holder };
        // where there are no locks there is no cache
        drop(folder.lock()?);
        let state = Mutex::new(State::new(&folder, &holder)?);
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

    /// Begins to use copies, or plans them: under the lock, so that nobody removes them, or plans the same, meanwhile. See
    /// [`Lease::settle`] for what comes of it.
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
        copies.get(path).map(|copy| copy.place.clone())
    }

    /// Gives the copy of a file back.
    pub fn release(&self, path: &Path) {
        let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Copy { key, .. }) = copies.remove(path) else { return };
        // the same copy may be held under another name of the file
        if !copies.values().any(|other| other.key == key) {
            inventory::touch(&self.folder, &key);
            if let Err(error) = self.settle(&key, false) {
                log::debug!("{error}");
            }
        }
    }

    /// Says that the copy of a file cannot be read: nobody shall use it any more. A copy that is simply gone, or was made anew
    /// by somebody, is no more than that.
    pub fn reject(&self, path: &Path) {
        let copy = self.copies.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned();
        if let Some(Copy { key, identity: Some(identity), .. }) = copy
            && self.folder.files().join(&key).is_dir()
            && let Ok(guard) = self.folder.lock()
        {
            self.folder.discard_that(&guard, &key, identity);
        }
        self.release(path);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let (path, held) = {
            let state = self.state();
            let held = state.uses.iter().filter(|(_, now)| **now == Use::Held).map(|(key, _)| key.clone());
            (state.path(&self.folder), held.collect::<Vec<_>>())
        };
        // a copy that was in use for a week is not one that nobody used for a week
        held.iter().for_each(|key| inventory::touch(&self.folder, key));
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
        let leased = live(&self.folder, &guard)?;
        let own = std::mem::take(&mut self.state().ever);
        for key in own.iter().filter(|key| !leased.iter().any(|lease| lease.uses.contains_key(*key))) {
            self.folder.discard(&guard, key);
        }
        Ok(())
    }
}

impl State {
    /// A lease on nothing.
    fn new(folder: &CacheFolder, holder: &Holder) -> Result<Self, CacheError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let start = process::ProcessId::current().start_ticks;
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // processes of two containers may have the same number and start
        let nanos = (clock::unix_s().fract() * 1e9) as u32;
        let id = format!("{}-{start}-{nanos}-{count}", std::process::id());
        let uses = BTreeMap::new();
        let file = write_new(folder, &id, 1, holder, &uses)?;
        Ok(Self { id, generation: 1, file, is_damaged: false, uses, ever: BTreeSet::new() })
    }

    fn path(&self, folder: &CacheFolder) -> PathBuf {
        folder.leases().join(format!("{}.{}", self.id, self.generation))
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
        let path = self.path(folder);
        // somebody may have removed the cache: what is there from now on is to be leased anew
        if self.is_damaged || !is_same(&self.file, &path) {
            self.file = write_new(folder, &self.id, self.generation + 1, holder, &self.uses)?;
            self.generation += 1;
            self.is_damaged = false;
            // the new one says all that the old one should
            let _ = std::fs::remove_file(&path);
            return Ok(());
        }
        let written = self.file.write_all(lines.as_bytes()).map_err(CacheError::io("write", &path));
        self.is_damaged = written.is_err();
        written
    }
}

/// A lease file, locked before anybody can see it.
fn write_new(
    folder: &CacheFolder,
    id: &str,
    generation: u32,
    holder: &Holder,
    uses: &BTreeMap<String, Use>,
) -> Result<File, CacheError> {
    let name = format!("{id}.{generation}");
    let (hidden, path) = (folder.leases().join(format!(".{name}")), folder.leases().join(&name));
    let file = OpenOptions::new().create(true).append(true).open(&hidden);
    let mut file = file.map_err(CacheError::io("create", &hidden))?;
    let mut text = serde_json::to_string(holder).unwrap_or_default() + "\n";
    text.extend(uses.iter().map(|(key, now)| line(key, Some(*now), None)));
    let made = file
        .try_lock()
        .map_err(std::io::Error::from)
        .and_then(|()| file.write_all(text.as_bytes()))
        .and_then(|()| std::fs::rename(&hidden, &path));
    match made {
        Ok(()) => Ok(file),
        Err(error) => {
            let _ = std::fs::remove_file(&hidden);
            Err(CacheError::io("create", &path)(error))
        }
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

/// Lists are taken anew so often when a lease goes while they are read.
const LISTS: usize = 100;

/// The leases of all live processes. Those of dead ones are removed, with what they left half copied.
///
/// # Errors
/// A lease that cannot be read now: its owner may live, so nothing may be concluded.
pub(crate) fn live(folder: &CacheFolder, _under: &Guard) -> Result<Vec<Leased>, CacheError> {
    let mut listed = None;
    for _ in 0..LISTS {
        listed = list(folder)?;
        if listed.is_some() {
            break;
        }
    }
    let leases = folder.leases();
    let live =
        listed.ok_or_else(|| CacheError::io("list", &leases)(std::io::ErrorKind::ResourceBusy.into()))?;
    for path in entries_seen(&folder.copying()) {
        let name = name_of(&path);
        if !live.iter().any(|lease| name.starts_with(&format!("{}-", lease.id))) {
            remove(&path);
        }
    }
    Ok(live)
}

/// The leases; `None` if one went meanwhile: it may have been written anew, under a name that was not listed.
fn list(folder: &CacheFolder) -> Result<Option<Vec<Leased>>, CacheError> {
    let mut live = Vec::new();
    for path in entries(&folder.leases())? {
        let name = name_of(&path);
        // one that is being made is not seen yet
        if name.starts_with('.') {
            continue;
        }
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(CacheError::io("open", &path))?,
        };
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                let id = name.split('.').next().unwrap_or(&name).to_string();
                live.push(read(file, &path, id)?);
            }
            Err(TryLockError::Error(error)) => return Err(CacheError::io("lock", &path)(error)),
            Ok(()) => {
                let _ = std::fs::remove_file(&path);
            }
        }
    }
    Ok(Some(live))
}

/// What a lease says.
fn read(mut file: File, path: &Path, id: String) -> Result<Leased, CacheError> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(CacheError::io("read", path))?;
    let text = String::from_utf8_lossy(&bytes);
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
            "drop" => uses.remove(key),
            _ => None,
        };
    }
    Ok(Leased { id, holder, uses, length: bytes.len() })
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests make their own input")]
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
        let seen = live(&folder, &guard).expect("should read");
        assert_eq!(seen.len(), 2);
        let first = seen.iter().find(|lease| lease.holder.job == "J1").expect("should be there");
        assert_eq!(first.uses, BTreeMap::from([change("b", Use::Held), change("c", Use::Copying(5))]));
        assert_eq!((first.planned_bytes(), first.holder.pid), (5, std::process::id()));
        assert_eq!(one.uses(), first.uses);
        drop((one, two));
        assert!(live(&folder, &guard).expect("should read").is_empty());
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
        assert_eq!(live(&folder, &guard).expect("should read").len(), 1);
        assert!(!half.exists() && own.exists() && !folder.leases().join("1-2-3").exists());
    }

    #[test]
    fn a_cache_that_was_removed_is_leased_anew() {
        let (_scratch, folder) = folder();
        let one = lease(&folder, "J1");
        std::fs::remove_dir_all(folder.path()).expect("should remove");
        let guard = folder.lock().expect("should lock");
        one.claim(&guard, &[("a".into(), Use::Held)]).expect("should write");
        let seen = live(&folder, &guard).expect("should read");
        assert_eq!((seen.len(), seen[0].uses.len()), (1, 1));
    }

    #[test]
    fn a_line_cut_short_is_left_out() {
        let (scratch, _) = folder();
        let path = scratch.path().join("lease");
        std::fs::write(&path, "{\"job\":\"J1\",\"project\":\"/p\",\"rank\":2}\nhold a\ncopy b 70")
            .expect("should write");
        let found = read(File::open(&path).expect("should open"), &path, "x".into()).expect("should read");
        assert_eq!((found.uses.len(), found.holder.rank), (1, 2));
    }
}
