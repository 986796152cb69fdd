//! What a cache holds: for those who make room, for people, and for those who clean.

use crate::CacheError;
use crate::copy::{RECORD, Record, is_right, vouch};
use crate::folder::{CacheFolder, Guard, Identity, entries, identity, name_of};
use crate::lease::{self, Holder, Use};
use serde::Serialize;
use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;
use vitreous_project::{ProjectError, atomic, clock};

/// Seconds and nanoseconds since 1970.
pub(crate) type Time = (i64, i64);

/// A copy.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub key: String,
    /// What it is one of; `None` if that cannot be understood: it is of no use then.
    pub record: Option<Record>,
    /// Bytes of the copy.
    pub bytes: u64,
    /// When it was given to a job, or given back, last.
    pub used: Time,
    /// Which folder this was read from.
    pub identity: Identity,
}

impl Entry {
    /// Whether it has the size of its original. What is inside is for the checksum to say.
    pub fn is_whole(&self) -> bool {
        let is_it = |record: &Record| record.original.size == self.bytes && record.original.key() == self.key;
        self.record.as_ref().is_some_and(is_it)
    }
}

/// When a copy was used last.
pub(crate) fn used(folder: &CacheFolder, key: &str) -> Time {
    let path = folder.files().join(key);
    let found = std::fs::metadata(path.join(RECORD)).or_else(|_| std::fs::metadata(&path));
    found.map_or((0, 0), |found| (found.mtime(), found.mtime_nsec()))
}

/// One copy, if it is there.
///
/// # Errors
/// It cannot be read now, which says nothing about it.
pub(crate) fn entry(folder: &CacheFolder, key: &str) -> Result<Option<Entry>, CacheError> {
    let path = folder.files().join(key);
    let Some(identity) = identity(&path) else { return Ok(None) };
    let record: Option<Record> = match atomic::read_json(&path.join(RECORD)) {
        Err(error @ ProjectError::Io { .. }) => return Err(error.into()),
        read => read.ok().flatten(),
    };
    let data = record.as_ref().map(|record| path.join(record.original.file_name()));
    let bytes = data.and_then(|data| std::fs::metadata(data).ok()).map_or(0, |found| found.len());
    Ok(Some(Entry { key: key.into(), record, bytes, used: used(folder, key), identity }))
}

/// All copies.
fn all(folder: &CacheFolder, _under: &Guard) -> Result<Vec<Entry>, CacheError> {
    let found = entries(&folder.files())?.into_iter().map(|path| entry(folder, &name_of(&path)));
    Ok(found.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

/// Notes that a copy is used now.
pub(crate) fn touch(folder: &CacheFolder, key: &str) {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, utimensat};
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let times = Timestamps { last_access: now, last_modification: now };
    if let Err(error) = utimensat(CWD, folder.files().join(key).join(RECORD), &times, AtFlags::empty()) {
        log::debug!("copy {key}: {error}");
    }
}

/// What a cache holds.
#[derive(Debug, Clone, Serialize)]
pub struct Inventory {
    /// Its folder.
    pub folder: PathBuf,
    /// Its host.
    pub host: String,
    /// Bytes of all copies.
    pub bytes: u64,
    /// Bytes that are free on its disk.
    pub free_bytes: u64,
    /// Bytes of its disk.
    pub disk_bytes: u64,
    /// The copies, those used last first.
    pub files: Vec<ShownFile>,
    /// What live processes use.
    pub leases: Vec<ShownLease>,
}

/// A copy, for people.
#[derive(Debug, Clone, Serialize)]
pub struct ShownFile {
    /// The file it is a copy of; empty if that is not known.
    pub original: PathBuf,
    /// Bytes.
    pub bytes: u64,
    /// Since it was given to a job last, s.
    pub unused_s: f64,
    /// Some live process uses it.
    pub in_use: bool,
}

/// A lease, for people.
#[derive(Debug, Clone, Serialize)]
pub struct ShownLease {
    /// Whose.
    #[serde(flatten)]
    pub holder: Holder,
    /// Copies it uses.
    pub files: usize,
    /// Files it is going to copy.
    pub to_copy: usize,
    /// Their bytes.
    pub to_copy_bytes: u64,
}

/// What was cleaned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Cleaned {
    /// Copies removed.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Copies that stay because they are in use.
    pub in_use: usize,
}

/// What was verified.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Copies that are right.
    pub right: usize,
    /// Copies that were not, by their original: they are removed.
    pub wrong: Vec<PathBuf>,
}

impl CacheFolder {
    /// What it holds now.
    ///
    /// # Errors
    /// The cache cannot be locked or read.
    pub fn inventory(&self) -> Result<Inventory, CacheError> {
        let guard = self.lock()?;
        let leased = lease::live(self, &guard)?;
        let mut entries = all(self, &guard)?;
        drop(guard);
        let in_use: HashSet<&String> = leased.iter().flat_map(|lease| lease.uses.keys()).collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.used));
        let now = clock::unix_s();
        let shown = |entry: &Entry| ShownFile {
            original: entry.record.as_ref().map(|record| record.original.path.clone()).unwrap_or_default(),
            bytes: entry.bytes,
            unused_s: (now - entry.used.0 as f64).max(0.0),
            in_use: in_use.contains(&entry.key),
        };
        let leases = leased.iter().map(|lease| {
            let to_copy = lease.uses.values().filter(|now| matches!(now, Use::Copying(_))).count();
            let files = lease.uses.len() - to_copy;
            ShownLease { holder: lease.holder.clone(), files, to_copy, to_copy_bytes: lease.planned_bytes() }
        });
        let (free_bytes, disk_bytes) = self.disk()?;
        Ok(Inventory {
            folder: self.path().into(),
            host: vitreous_project::process::host().into(),
            bytes: entries.iter().map(|entry| entry.bytes).sum(),
            free_bytes,
            disk_bytes,
            files: entries.iter().map(shown).collect(),
            leases: leases.collect(),
        })
    }

    /// Removes the copies that no live process uses; with `unused_for` only those that were not given to a job for so long.
    ///
    /// # Errors
    /// The cache cannot be locked or read.
    pub fn clean(&self, unused_for: Option<Duration>) -> Result<Cleaned, CacheError> {
        self.clean_if(unused_for, true)
    }

    /// What [`CacheFolder::clean`] would remove.
    ///
    /// # Errors
    /// As [`CacheFolder::clean`].
    pub fn would_clean(&self, unused_for: Option<Duration>) -> Result<Cleaned, CacheError> {
        self.clean_if(unused_for, false)
    }

    fn clean_if(&self, unused_for: Option<Duration>, really: bool) -> Result<Cleaned, CacheError> {
        let guard = self.lock()?;
        self.sweep(&guard);
        let leased = lease::live(self, &guard)?;
        let in_use: HashSet<&String> = leased.iter().flat_map(|lease| lease.uses.keys()).collect();
        let last = unused_for.map(|time| clock::unix_s() - time.as_secs_f64());
        let mut cleaned = Cleaned::default();
        for entry in all(self, &guard)? {
            if in_use.contains(&entry.key) {
                cleaned.in_use += 1;
            } else if last.is_none_or(|last| (entry.used.0 as f64) < last) {
                if really {
                    self.discard(&guard, &entry.key);
                }
                cleaned.files += 1;
                cleaned.bytes += entry.bytes;
            }
        }
        Ok(cleaned)
    }

    /// Verifies every copy by its checksum. Wrong ones are removed.
    ///
    /// # Errors
    /// The cache cannot be locked or read.
    pub fn check(&self) -> Result<Checked, CacheError> {
        let copies = all(self, &self.lock()?)?;
        let mut checked = Checked::default();
        for copy in copies {
            let path = self.files().join(&copy.key);
            let record = copy.record.as_ref().filter(|_| copy.is_whole());
            let data = record.map(|record| (path.join(record.original.file_name()), record));
            match data.filter(|(data, record)| is_right(data, record, &|| false) == Some(true)) {
                Some((data, record)) => {
                    if record.boot_id != vitreous_project::process::boot_id() {
                        vouch(&data, record);
                    }
                    checked.right += 1;
                }
                // it was evicted meanwhile
                None if !path.exists() => {}
                None => {
                    let guard = self.lock()?;
                    self.discard_that(&guard, &copy.key, copy.identity);
                    checked.wrong.push(copy.record.map(|record| record.original.path).unwrap_or_default());
                }
            }
        }
        Ok(checked)
    }
}
