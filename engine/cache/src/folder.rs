//! The folder of a node's cache, and the lock on it.

use crate::CacheError;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};
use vitreous_project::process;

/// The lock is held for milliseconds; if nobody has taken it or got on under it for so long, its holder is stopped or waits for
/// a broken disk.
const PATIENCE: Duration = Duration::from_secs(20);

/// The cache of this user on this host, below a scratch folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheFolder {
    root: PathBuf,
}

/// The lock on a cache, held until dropped.
#[derive(Debug)]
pub(crate) struct Guard {
    locked: File,
}

impl Guard {
    /// Shows those who wait that the holder gets on.
    pub fn beat(&self) {
        use rustix::fs::{Timespec, Timestamps, UTIME_NOW, futimens};
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let _ = futimens(&self.locked, &Timestamps { last_access: now, last_modification: now });
    }
}

impl CacheFolder {
    /// Where it is, or would be.
    pub fn path_under(scratch: &Path) -> PathBuf {
        scratch.join(format!("vitreous-cache-{}-{}", process::uid(), process::host()))
    }

    /// Opens the cache below `scratch`, which is made if its parent is there.
    ///
    /// # Errors
    /// A path that is not absolute; a folder that cannot be made or that others may write to.
    pub fn open(scratch: &Path) -> Result<Self, CacheError> {
        if !scratch.is_absolute() {
            let why = "is no absolute path; a variable in it may be unset on this node".into();
            return Err(CacheError::Unfit { path: scratch.into(), why });
        }
        let root = Self::path_under(scratch);
        if !scratch.is_dir() {
            make(scratch)?;
        }
        make(&root)?;
        let found = std::fs::symlink_metadata(&root).map_err(CacheError::io("look at", &root))?;
        if !found.is_dir() || found.uid() != process::uid() || found.mode() & 0o022 != 0 {
            let why = "is not a folder of yours that only you may write to".into();
            return Err(CacheError::Unfit { path: root, why });
        }
        let folder = Self { root };
        folder.make_parts()?;
        Ok(folder)
    }

    /// The cache below `scratch`, if there is one.
    ///
    /// # Errors
    /// As [`CacheFolder::open`].
    pub fn existing(scratch: &Path) -> Result<Option<Self>, CacheError> {
        if Self::path_under(scratch).is_dir() { Self::open(scratch).map(Some) } else { Ok(None) }
    }

    fn make_parts(&self) -> Result<(), CacheError> {
        [&self.root, &self.files(), &self.copying(), &self.removing(), &self.leases()]
            .into_iter()
            .try_for_each(|p| make(p))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Whole copies.
    pub(crate) fn files(&self) -> PathBuf {
        self.root.join("files")
    }

    /// Copies being made.
    pub(crate) fn copying(&self) -> PathBuf {
        self.root.join("copying")
    }

    /// Copies being removed.
    pub(crate) fn removing(&self) -> PathBuf {
        self.root.join("removing")
    }

    /// Leases.
    pub(crate) fn leases(&self) -> PathBuf {
        self.root.join("leases")
    }

    /// Locks the cache. The folders are made anew if somebody removed them.
    ///
    /// # Errors
    /// [`CacheError::Busy`]; a file system that has no locks, or is gone.
    pub(crate) fn lock(&self) -> Result<Guard, CacheError> {
        let path = self.root.join("lock");
        let (mut since, mut beat, mut pause) = (Instant::now(), None, Duration::from_millis(1));
        loop {
            self.make_parts()?;
            let file = OpenOptions::new().create(true).append(true).open(&path);
            let file = file.map_err(CacheError::io("open", &path))?;
            match file.try_lock() {
                // somebody may have removed the folder meanwhile, and others lock another file of this name
                Ok(()) if is_same(&file, &path) => {
                    let guard = Guard { locked: file };
                    guard.beat();
                    return Ok(guard);
                }
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    std::thread::sleep(pause);
                    pause = (2 * pause).min(Duration::from_millis(30));
                }
                Err(TryLockError::Error(source)) => return Err(CacheError::io("lock", &path)(source)),
            }
            let seen = file.metadata().and_then(|found| found.modified()).ok();
            if seen != beat {
                (beat, since) = (seen, Instant::now());
            }
            if since.elapsed() > PATIENCE {
                return Err(CacheError::Busy { path, seconds: PATIENCE.as_secs() });
            }
        }
    }

    /// Takes a copy out of use, under the lock. Its disk space is free when [`CacheFolder::sweep`] or this has removed it; a
    /// process that still has the file open may go on reading.
    pub(crate) fn discard(&self, under: &Guard, key: &str) {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let aside = self.removing().join(format!("{key}-{}-{count}", std::process::id()));
        match std::fs::rename(self.files().join(key), &aside) {
            Ok(()) => remove(&aside),
            Err(error) => log::debug!("copy {key} stays: {error}"),
        }
        under.beat();
    }

    /// The same for a copy that was found unfit, unless it is another by now.
    pub(crate) fn discard_that(&self, under: &Guard, key: &str, found: Identity) {
        if identity(&self.files().join(key)) == Some(found) {
            self.discard(under, key);
        }
    }

    /// Removes what was being removed when its remover died.
    pub(crate) fn sweep(&self, _under: &Guard) {
        entries_seen(&self.removing()).iter().for_each(|path| remove(path));
    }

    /// Bytes of the disk that a user may still fill, and bytes in all.
    ///
    /// # Errors
    /// The file system does not say.
    pub fn disk(&self) -> Result<(u64, u64), CacheError> {
        let found = rustix::fs::statvfs(&self.root)
            .map_err(|e| CacheError::io("ask for the space of", &self.root)(e.into()))?;
        Ok((found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize))
    }
}

/// Makes a folder that only its owner may use, if it is not there.
fn make(path: &Path) -> Result<(), CacheError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(CacheError::io("create", path)(error))
        }
        _ => Ok(()),
    }
}

/// What tells a folder from another of its name: device, number and, as numbers are given out again, when it was made (where
/// the file system says that).
pub(crate) type Identity = (u64, u64, Option<SystemTime>);

/// Of a folder, if it is there.
pub(crate) fn identity(folder: &Path) -> Option<Identity> {
    std::fs::metadata(folder).ok().map(|found| (found.dev(), found.ino(), found.created().ok()))
}

/// Whether an open file is the one that its name leads to.
pub(crate) fn is_same(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

/// What is in a folder; nothing, if it is not there.
///
/// # Errors
/// It is there and cannot be read: what is in it is not known then, and nothing may be concluded.
pub(crate) fn entries(folder: &Path) -> Result<Vec<PathBuf>, CacheError> {
    let listed = std::fs::read_dir(folder).and_then(|all| all.map(|entry| entry.map(|e| e.path())).collect());
    match listed {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed.map_err(CacheError::io("list", folder)),
    }
}

/// The same where it makes no difference.
pub(crate) fn entries_seen(folder: &Path) -> Vec<PathBuf> {
    entries(folder).unwrap_or_default()
}

/// Removes a folder with all in it; what resists is removed another time.
pub(crate) fn remove(folder: &Path) {
    if let Err(error) = std::fs::remove_dir_all(folder) {
        log::debug!("{} stays: {error}", folder.display());
    }
}

/// Name of a file as text.
pub(crate) fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_folder_that_is_no_safe_place_is_refused() {
        let scratch = tempfile::tempdir().expect("temporary folder");
        let message = |path: &Path| CacheFolder::open(path).expect_err("should be refused").to_string();
        assert!(message(Path::new("scratch/me")).contains("no absolute path"));
        assert!(message(&scratch.path().join("a/b")).contains("cannot create"), "parents are not made up");
        let root = CacheFolder::path_under(scratch.path());
        std::fs::create_dir(&root).expect("should create");
        std::fs::set_permissions(&root, PermissionsExt::from_mode(0o777)).expect("should set");
        assert!(message(scratch.path()).contains("only you may write"));
        std::fs::remove_dir(&root).expect("should remove");
        std::os::unix::fs::symlink("/tmp", &root).expect("should link");
        assert!(message(scratch.path()).contains("only you may write"), "a link of somebody's");
    }

    #[test]
    fn the_lock_is_exclusive_and_survives_the_folder() {
        let scratch = tempfile::tempdir().expect("temporary folder");
        let folder = CacheFolder::open(scratch.path()).expect("should open");
        let guard = folder.lock().expect("should lock");
        let path = folder.path().join("lock");
        let second = File::open(&path).expect("should open");
        assert!(matches!(second.try_lock(), Err(TryLockError::WouldBlock)));
        std::fs::remove_dir_all(folder.path()).expect("should remove");
        let anew = folder.lock().expect("should lock");
        drop((guard, anew));
        assert!(folder.leases().is_dir());
    }
}
