//! What can keep a cache from being used. None of it ends a job.

use std::io;
use std::path::PathBuf;
use vitreous_project::ProjectError;

/// What can keep a cache from being used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The file system refused.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// A verb: `create`, `lock` …
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The scratch folder of a lane is no place for a cache.
    #[error("scratch folder `{}`: {why}", path.display())]
    Unfit {
        /// The folder.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Another process holds the lock, and lets nobody else.
    #[error("`{}` has been locked for {seconds} s; its holder may be suspended", path.display())]
    Busy {
        /// The lock.
        path: PathBuf,
        /// How long was waited, s.
        seconds: u64,
    },
    /// A record that cannot be written or understood.
    #[error(transparent)]
    Record(#[from] ProjectError),
}

impl CacheError {
    /// For `map_err` on an operation of the file system.
    pub(crate) fn io(action: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }
}
