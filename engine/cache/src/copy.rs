//! One copy, from the first byte to its name.

use crate::CacheError;
use crate::folder::{CacheFolder, remove};
use crate::original::Original;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use vitreous_project::{atomic, clock, process};

/// Name of the record in a copy's folder.
pub(crate) const RECORD: &str = "record.json";

/// After so many bytes they are sent to the disk: done at the end only, that would look like standing still.
const SYNC_EVERY: u64 = 256 << 20;

/// Bytes that are read and written at a time: a stripe or several of a parallel file system.
const CHUNK: usize = 4 << 20;

/// What a copy is one of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Of our files.
    pub schema: u32,
    /// The file as it was.
    pub original: Original,
    /// CRC-32 (IEEE 802.3) of its bytes.
    pub crc32: u32,
    /// The node's start since which the copy is known to be right.
    pub boot_id: String,
    /// When it was made, seconds since 1970.
    pub copied_unix_s: f64,
}

/// Bytes that were copied and who wants no more of them.
#[derive(Debug, Default)]
pub(crate) struct Course {
    pub copied_bytes: AtomicU64,
    pub is_abandoned: AtomicBool,
}

/// Why a file was not copied.
#[derive(Debug)]
pub(crate) enum NotCopied {
    /// The job was asked to stop.
    Abandoned,
    /// In words.
    Because(String),
}

impl From<io::Error> for NotCopied {
    fn from(error: io::Error) -> Self {
        Self::Because(format!("it could not be copied: {error}"))
    }
}

/// Where the copy of a file lies, once there is one.
pub(crate) fn place(folder: &CacheFolder, original: &Original) -> PathBuf {
    folder.files().join(original.key()).join(original.file_name())
}

/// Copies a file for the lease `id`. The copy has its name when this returns, or leaves nothing.
pub(crate) fn copy(
    folder: &CacheFolder,
    id: &str,
    original: &Original,
    reserve_bytes: u64,
    course: &Course,
) -> Result<(), NotCopied> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    if course.is_abandoned.load(Ordering::Relaxed) {
        return Err(NotCopied::Abandoned);
    }
    // others may have filled the disk since it was planned
    let free = folder.disk().map_or(u64::MAX, |(free, _)| free);
    if free < original.size.saturating_add(reserve_bytes) {
        return Err(NotCopied::Because("the scratch disk was filled meanwhile".into()));
    }
    let key = original.key();
    let beside = folder.copying().join(format!("{id}-{key}-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
    std::fs::DirBuilder::new().mode(0o700).recursive(true).create(&beside)?;
    let copied = write(&beside, original, course).and_then(|()| {
        let name = folder.files().join(&key);
        match std::fs::rename(&beside, &name) {
            // somebody whose lease we could not see made the same
            Err(_) if name.join(RECORD).is_file() => remove(&beside),
            renamed => renamed?,
        }
        atomic::sync_folder(&name);
        Ok(())
    });
    if copied.is_err() {
        remove(&beside);
    }
    copied
}

fn write(beside: &Path, original: &Original, course: &Course) -> Result<(), NotCopied> {
    let changed = || NotCopied::Because("it changed while it was copied".into());
    let mut from = File::open(&original.path)?;
    let mut to = OpenOptions::new().write(true).create_new(true).open(beside.join(original.file_name()))?;
    take_space(&to, original.size)?;
    let mut crc = crc32fast::Hasher::new();
    let mut buffer = vec![0; CHUNK.min(original.size as usize + 1)];
    let (mut copied, mut synced) = (0, 0);
    loop {
        if course.is_abandoned.load(Ordering::Relaxed) {
            return Err(NotCopied::Abandoned);
        }
        let bytes = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        crc.update(&buffer[..bytes]);
        to.write_all(&buffer[..bytes])?;
        copied += bytes as u64;
        course.copied_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        if copied - synced >= SYNC_EVERY {
            to.sync_data()?;
            synced = copied;
        }
        if copied > original.size {
            return Err(changed());
        }
    }
    to.sync_all()?;
    if copied != original.size || Original::of(&original.path).ok().as_ref() != Some(original) {
        return Err(changed());
    }
    let record = Record {
        schema: vitreous_model::SCHEMA,
        original: original.clone(),
        crc32: crc.finalize(),
        boot_id: process::boot_id().into(),
        copied_unix_s: clock::unix_s(),
    };
    atomic::write_json(&beside.join(RECORD), &record)
        .map_err(|error| NotCopied::Because(CacheError::from(error).text()))
}

/// Takes a file's space on the disk, so that a full one is noticed now. Where a file system cannot, the writing will tell.
fn take_space(file: &File, bytes: u64) -> io::Result<()> {
    use rustix::io::Errno;
    if bytes == 0 {
        return Ok(());
    }
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
        Err(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => Err(Errno::NOSPC.into()),
        _ => Ok(()),
    }
}

/// Whether a copy's bytes are those that were written, by its checksum; `None` if asked to stop before that was known.
pub(crate) fn is_right(copy: &Path, record: &Record, stop: &dyn Fn() -> bool) -> Option<bool> {
    let Ok(mut file) = File::open(copy) else { return Some(false) };
    let mut crc = crc32fast::Hasher::new();
    let mut buffer = vec![0; CHUNK];
    loop {
        if stop() {
            return None;
        }
        match file.read(&mut buffer) {
            Ok(0) => return Some(crc.finalize() == record.crc32),
            Ok(bytes) => crc.update(&buffer[..bytes]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Some(false),
        }
    }
}

/// Writes down that a copy is right as of this start of the node.
pub(crate) fn vouch(copy: &Path, record: &Record) {
    let record = Record { boot_id: process::boot_id().into(), ..record.clone() };
    if let Some(folder) = copy.parent()
        && let Err(error) = atomic::write_json(&folder.join(RECORD), &record)
    {
        log::debug!("{error}");
    }
}
