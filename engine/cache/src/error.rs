//! What can keep a cache from being used. None of it ends a job.

use std::io;
use std::path::{Path, PathBuf};
use vitreous_project::ProjectError;

/// What can keep a cache from being used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The file system refused, or a record cannot be written or understood.
    #[error(transparent)]
    File(#[from] ProjectError),
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
}

impl CacheError {
    /// For `map_err` on an operation of the file system.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let failed = ProjectError::io(action, path);
        move |source| failed(source).into()
    }

    /// In one line, with what the system says.
    pub(crate) fn text(&self) -> String {
        match std::error::Error::source(self) {
            Some(source) => format!("{self}: {source}"),
            None => self.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_the_file_and_what_the_system_says() {
        let error = CacheError::io("lock", Path::new("/local/x"))(io::ErrorKind::StorageFull.into());
        assert_eq!(error.text(), "cannot lock `/local/x`: no storage space");
        assert!(CacheError::Busy { path: "/local/x".into(), seconds: 20 }.text().ends_with("suspended"));
    }
}
