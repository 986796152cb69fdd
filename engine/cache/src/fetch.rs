//! Copies of the files that a job is going to read again and again.

use crate::CacheError;
use crate::copy::{self, Course, NotCopied};
use crate::folder;
use crate::inventory::{self, Entry};
use crate::lease::{Copy, Lease};
use crate::original::Original;
use crate::plan::{self, Awaited, Plan, Wanted};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Files that a process copies at a time: one stream does not fill the line to a parallel file system.
const STREAMS: usize = 4;

/// A process that is going to copy what others wait for, and does nothing for so long, is not waited for.
const STALLED: Duration = if cfg!(test) { Duration::from_millis(400) } else { Duration::from_secs(60) };

/// Times a set is planned anew, for files whose copier died or whose copy was found wrong.
const ROUNDS: usize = 4;

/// Whoever waits for others looks under the lock at least so often whether they get on.
const LOOK_EVERY: Duration = if cfg!(test) { Duration::from_millis(50) } else { Duration::from_secs(2) };

/// Why a file is read where it lies when there was no more time.
const STOPPED: &str = "the job was asked to stop";

/// Between looks at what others copy, and at how far this process is.
const PAUSE: Duration = Duration::from_millis(100);

/// What a fetch asks and tells while it works.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// True once the job was asked to stop.
    pub stop: &'a dyn Fn() -> bool,
    /// Told of the bytes copied by this process so far, and of those it has to copy in all.
    pub progress: &'a dyn Fn(u64, u64),
}

/// Files and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Files.
    pub files: usize,
    /// Bytes.
    pub bytes: u64,
}

impl Tally {
    fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }
}

/// A file that has to be read where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Direct {
    /// As it was asked for.
    pub path: PathBuf,
    /// Bytes; 0 if that is not known.
    pub bytes: u64,
    /// Why, in a few words.
    pub reason: String,
}

/// What came of a fetch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Copies that were there, or that other processes made meanwhile.
    pub found: Tally,
    /// Copies made.
    pub copied: Tally,
    /// Copies removed to make room.
    pub evicted: Tally,
    /// Files to be read where they lie.
    pub direct: Vec<Direct>,
}

impl Lease {
    /// Brings copies of `paths` to this node, as far as there is room, and holds them until they are released or the lease ends.
    /// Returns when each is held or is not to be had: [`Lease::copy_of`] knows. Errors of single files are no errors of this.
    ///
    /// # Errors
    /// The cache as a whole cannot be used.
    pub fn fetch(&self, paths: &[PathBuf], watch: Watch<'_>) -> Result<Fetched, CacheError> {
        let mut fetched = Fetched::default();
        let mut wanted = self.wanted(paths, &mut fetched);
        let mut is_planned = false;
        for _ in 0..ROUNDS {
            if wanted.is_empty() || (watch.stop)() {
                break;
            }
            let plan = match plan::make(self, wanted.clone(), true) {
                Ok(plan) => plan,
                // what is held stays held; the rest is read where it lies
                Err(error) if is_planned => {
                    let why = error.text();
                    fetched.direct.extend(wanted.iter().map(|wanted| wanted.direct(&why)));
                    return Ok(fetched);
                }
                Err(error) => return Err(error),
            };
            is_planned = true;
            wanted = self.round(plan, watch, &mut fetched);
        }
        for left in wanted {
            fetched.direct.push(left.direct("its copy could not be had in several tries"));
        }
        Ok(fetched)
    }

    /// The files of paths that are not held yet, each once, whatever it is called.
    fn wanted(&self, paths: &[PathBuf], fetched: &mut Fetched) -> Vec<Wanted> {
        let mut wanted: Vec<Wanted> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        for path in paths.iter().filter(|path| self.copy_of(path).is_none()) {
            match Original::of(path) {
                Ok(original) => {
                    let key = original.key();
                    let place = *places.entry(key.clone()).or_insert(wanted.len());
                    if place == wanted.len() {
                        wanted.push(Wanted { paths: Vec::new(), original, key });
                    }
                    wanted[place].paths.push(path.clone());
                }
                Err(error) => {
                    fetched.direct.push(Direct { path: path.clone(), bytes: 0, reason: error.to_string() });
                }
            }
        }
        wanted
    }

    /// Does what was planned; what has to be planned anew.
    fn round(&self, plan: Plan, watch: Watch<'_>, fetched: &mut Fetched) -> Vec<Wanted> {
        fetched.evicted.files += plan.evicted.0;
        fetched.evicted.bytes += plan.evicted.1;
        for wanted in &plan.found {
            self.keep(wanted);
            fetched.found.add(wanted.original.size);
        }
        fetched.direct.extend(plan.direct.iter().map(|(wanted, why)| wanted.direct(why)));
        // first what others may wait for
        for (wanted, outcome) in self.copy_all(&plan.to_copy, watch) {
            match outcome {
                Ok(()) => {
                    self.keep(wanted);
                    fetched.copied.add(wanted.original.size);
                }
                Err(NotCopied::Because(why)) => fetched.direct.push(wanted.direct(&why)),
                Err(NotCopied::Abandoned) => fetched.direct.push(wanted.direct(STOPPED)),
            }
        }
        let mut again = self.verify_all(&plan.doubtful, watch, fetched);
        again.extend(self.wait(plan.awaited, watch, fetched));
        again
    }

    /// Copies files, some at a time. Each is settled by its worker as soon as it is made, so that nobody waits for the others.
    fn copy_all<'a>(
        &self,
        files: &'a [Wanted],
        watch: Watch<'_>,
    ) -> Vec<(&'a Wanted, Result<(), NotCopied>)> {
        let (id, course) = (self.id(), Course::default());
        let total: u64 = files.iter().map(|wanted| wanted.original.size).sum();
        let copy = |wanted: &'a Wanted| {
            let reserve_bytes = self.limits().reserve_bytes;
            let outcome = copy::copy(self.folder(), &id, &wanted.original, reserve_bytes, &course);
            if let Err(error) = self.settle(&wanted.key, outcome.is_ok()) {
                log::debug!("{error}");
            }
            (wanted, outcome)
        };
        let tell = || (watch.progress)(course.copied_bytes.load(Ordering::Relaxed), total);
        let outcomes = in_workers(files, copy, || {
            if (watch.stop)() {
                course.is_abandoned.store(true, Ordering::Relaxed);
            }
            tell();
        });
        if total > 0 {
            tell();
        }
        outcomes
    }

    /// Verifies copies of before the node's last start; those that are wrong are removed and to be planned anew.
    fn verify_all(
        &self,
        doubtful: &[(Wanted, Entry)],
        watch: Watch<'_>,
        fetched: &mut Fetched,
    ) -> Vec<Wanted> {
        let is_stopped = AtomicBool::new(false);
        let verify = |(wanted, entry): &(Wanted, Entry)| {
            // another process may have done it meanwhile
            let now = inventory::entry(self.folder(), &wanted.key).ok().flatten();
            let now = now.filter(|now| now.identity == entry.identity && now.is_whole());
            let Some(Entry { record: Some(record), .. }) = &now else { return Some(false) };
            if now.as_ref().is_some_and(plan::is_of_this_start) {
                return Some(true);
            }
            let place = plan::place(self, wanted);
            let is_right = copy::is_right(&place, record, &|| is_stopped.load(Ordering::Relaxed));
            if is_right == Some(true) {
                copy::vouch(&place, record);
            }
            is_right
        };
        let verdicts = in_workers(
            doubtful,
            |pair| (pair, verify(pair)),
            || {
                is_stopped.store((watch.stop)(), Ordering::Relaxed);
            },
        );
        let mut again = Vec::new();
        for ((wanted, entry), verdict) in verdicts {
            if verdict == Some(true) {
                self.keep(wanted);
                fetched.found.add(wanted.original.size);
                continue;
            }
            if verdict == Some(false)
                && let Ok(guard) = self.folder().lock()
            {
                self.folder().discard_that(&guard, &wanted.key, entry.identity);
            }
            if let Err(error) = self.settle(&wanted.key, false) {
                log::debug!("{error}");
            }
            match verdict {
                None => fetched.direct.push(wanted.direct(STOPPED)),
                _ => again.push(wanted.clone()),
            }
        }
        again
    }

    /// Waits for files that others are going to copy; those that they leave are to be planned anew.
    fn wait(
        &self,
        mut awaited: Vec<(Wanted, String)>,
        watch: Watch<'_>,
        fetched: &mut Fetched,
    ) -> Vec<Wanted> {
        let mut left = Vec::new();
        let mut courses: HashMap<String, (u64, Instant)> = HashMap::new();
        let mut looked: Option<Instant> = None;
        while !awaited.is_empty() && !(watch.stop)() {
            // the lock is for when there is something to take, and to see now and then whether the others get on
            let is_due = looked.is_none_or(|at| at.elapsed() > LOOK_EVERY);
            if !is_due && !plan::any_is_there(self, &awaited) {
                std::thread::sleep(PAUSE);
                continue;
            }
            let found = match plan::look_after(self, &awaited) {
                Ok(found) => found,
                Err(error) => {
                    let why = error.text();
                    fetched.direct.extend(awaited.iter().map(|(wanted, _)| wanted.direct(&why)));
                    return left;
                }
            };
            looked = Some(Instant::now());
            let mut still = Vec::new();
            for ((wanted, id), found) in awaited.into_iter().zip(found) {
                match found {
                    Awaited::Held => {
                        self.keep(&wanted);
                        fetched.found.add(wanted.original.size);
                    }
                    Awaited::Left => left.push(wanted),
                    Awaited::Coming(course) => {
                        let (seen, since) = courses.entry(id.clone()).or_insert((course, Instant::now()));
                        if *seen != course {
                            (*seen, *since) = (course, Instant::now());
                        }
                        if since.elapsed() > STALLED {
                            let why = "the process that is to copy it makes no progress";
                            fetched.direct.push(wanted.direct(why));
                        } else {
                            still.push((wanted, id));
                        }
                    }
                }
            }
            awaited = still;
            if !awaited.is_empty() {
                std::thread::sleep(PAUSE);
            }
        }
        fetched.direct.extend(awaited.iter().map(|(wanted, _)| wanted.direct(STOPPED)));
        left
    }

    /// Remembers a copy that is held.
    fn keep(&self, wanted: &Wanted) {
        let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        let identity = folder::identity(&self.folder().files().join(&wanted.key));
        let copy = Copy { key: wanted.key.clone(), place: plan::place(self, wanted), identity };
        copies.extend(wanted.paths.iter().map(|path| (path.clone(), copy.clone())));
    }

    /// Holds the copies of `paths` that are there already, and makes none.
    ///
    /// # Errors
    /// The cache as a whole cannot be used.
    pub fn find(&self, paths: &[PathBuf]) -> Result<Tally, CacheError> {
        let wanted = self.wanted(paths, &mut Fetched::default());
        let plan = plan::make(self, wanted, false)?;
        let mut found = Tally::default();
        for wanted in &plan.found {
            self.keep(wanted);
            found.add(wanted.original.size);
        }
        // to verify a copy takes as long as to read the original once
        plan.doubtful.iter().try_for_each(|(wanted, _)| self.settle(&wanted.key, false))?;
        Ok(found)
    }
}

/// Does something for each of some things, a few at a time; meanwhile `watch` is called now and then by this thread. In no order.
fn in_workers<'a, T: Sync, R: Send>(
    things: &'a [T],
    work: impl Fn(&'a T) -> R + Sync,
    mut watch: impl FnMut(),
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::with_capacity(things.len()));
    let watcher = std::thread::current();
    let go = || {
        while let Some(thing) = things.get(next.fetch_add(1, Ordering::Relaxed)) {
            let result = work(thing);
            results.lock().unwrap_or_else(PoisonError::into_inner).push(result);
        }
        watcher.unpark();
    };
    std::thread::scope(|scope| {
        let start = |_| std::thread::Builder::new().spawn_scoped(scope, go).ok();
        let workers: Vec<_> = (0..STREAMS.min(things.len())).filter_map(start).collect();
        if workers.is_empty() {
            // no thread is to be had
            go();
        }
        while workers.iter().any(|worker| !worker.is_finished()) {
            watch();
            std::thread::park_timeout(PAUSE);
        }
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner)
}

impl Wanted {
    fn direct(&self, reason: &str) -> Direct {
        Direct { path: self.paths[0].clone(), bytes: self.original.size, reason: reason.into() }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests make their own input")]
mod tests {
    use super::*;
    use crate::lease::Use;
    use crate::{CacheFolder, Holder, Limits};

    const IN_SILENCE: Watch<'_> = Watch { stop: &|| false, progress: &|_, _| {} };

    fn scene() -> (tempfile::TempDir, CacheFolder, PathBuf) {
        let folder = tempfile::tempdir().expect("temporary folder");
        let cache = CacheFolder::open(folder.path()).expect("should open");
        let file = folder.path().join("stack.mrcs");
        std::fs::write(&file, vec![7; 5000]).expect("should write");
        (folder, cache, file)
    }

    fn lease(cache: &CacheFolder) -> Lease {
        Lease::new(cache.clone(), Limits { reserve_bytes: 0, ..Limits::default() }, Holder::default())
            .expect("should lease")
    }

    #[test]
    fn who_plans_a_copy_and_does_nothing_is_not_waited_for_for_ever() {
        let (_folder, cache, file) = scene();
        let (idle, other) = (lease(&cache), lease(&cache));
        let key = Original::of(&file).expect("a file").key();
        let guard = cache.lock().expect("should lock");
        idle.claim(&guard, &[(key, Use::Copying(5000))]).expect("should write");
        drop(guard);
        let fetched = other.fetch(std::slice::from_ref(&file), IN_SILENCE).expect("should fetch");
        assert!(fetched.direct[0].reason.contains("no progress"), "{fetched:?}");
        assert_eq!(other.copy_of(&file), None);
    }

    #[test]
    fn what_a_dead_or_failed_process_planned_is_copied_by_who_waits() {
        let (_folder, cache, file) = scene();
        let (idle, other) = (lease(&cache), lease(&cache));
        let key = Original::of(&file).expect("a file").key();
        let guard = cache.lock().expect("should lock");
        idle.claim(&guard, &[(key, Use::Copying(5000))]).expect("should write");
        drop(guard);
        let fetched = std::thread::scope(|scope| {
            let waiting =
                scope.spawn(|| other.fetch(std::slice::from_ref(&file), IN_SILENCE).expect("should fetch"));
            std::thread::sleep(Duration::from_millis(150));
            drop(idle);
            waiting.join().expect("should not panic")
        });
        assert_eq!((fetched.copied.files, fetched.found.files, fetched.direct.len()), (1, 0, 0));
    }

    #[test]
    fn a_file_that_changes_meanwhile_is_not_copied() {
        let (_folder, cache, file) = scene();
        let before = Original::of(&file).expect("a file");
        for (bytes, is_other_time) in [(6000, false), (4000, false), (5000, true)] {
            std::fs::write(&file, vec![8; bytes]).expect("should write");
            let now = Original::of(&file).expect("a file");
            let modified = if is_other_time { (1, 0) } else { now.modified };
            let changed = Original { modified, ..before.clone() };
            let refused = copy::copy(&cache, "1-1-1", &changed, 0, &Course::default());
            assert!(
                matches!(&refused, Err(NotCopied::Because(why)) if why.contains("changed")),
                "{refused:?}"
            );
        }
        assert!(
            folder::entries_seen(&cache.copying()).is_empty()
                && folder::entries_seen(&cache.files()).is_empty()
        );
    }
}
