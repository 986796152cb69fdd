//! The errors of a project directory.

use std::io;
use std::path::PathBuf;

/// What can go wrong in a project directory.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// The file system refused.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// A verb: `read`, `write`, `create` …
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file of ours does not say what it should.
    #[error("`{}` cannot be understood: {message}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Where in it, what was found, what was expected.
        message: String,
    },
    /// A file of ours was written by a newer version.
    #[error("`{}` has schema {found}, but this version reads up to {known}", path.display())]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its schema.
        found: u32,
        /// The newest that is known here.
        known: u32,
    },
    /// No `vitreous.yaml` here or above.
    #[error("no project found in `{}` or above it", path.display())]
    NoProject {
        /// Where the search began.
        path: PathBuf,
    },
    /// `init` in a project.
    #[error("`{}` is a project already", path.display())]
    AlreadyAProject {
        /// Its directory.
        path: PathBuf,
    },
    /// No such job.
    #[error("no job {job} in `{}`", project.display())]
    NoJob {
        /// As asked for.
        job: String,
        /// The project.
        project: PathBuf,
    },
    /// Not a name of a job or of a job's output.
    #[error("`{got}` is not {expected}")]
    BadName {
        /// What was given.
        got: String,
        /// What it should look like.
        expected: &'static str,
    },
    /// A parent has no such output, or has none yet.
    #[error("{input} is not there: {why}")]
    NoInput {
        /// The reference, e.g. `J1.movies`.
        input: String,
        /// What is missing.
        why: String,
    },
    /// Another process holds the lock.
    #[error("`{}` is held by process {pid} on {host}", path.display())]
    Busy {
        /// The lock.
        path: PathBuf,
        /// Holder's host.
        host: String,
        /// Holder's process id.
        pid: u32,
    },
}

impl ProjectError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Io { source, .. } => return io_hint(source),
            Self::Malformed { path, .. } if path.ends_with("vitreous.yaml") => {
                "correct the file by hand".into()
            }
            Self::Malformed { .. } => {
                "`vitreous fsck` says what is whole and sets broken caches right".into()
            }
            Self::Newer { .. } => "use the vitreous that wrote it, or a newer one".into(),
            Self::NoProject { .. } => {
                "go to a project, name one with `--project DIR`, or make one: `vitreous init NAME`".into()
            }
            Self::AlreadyAProject { .. } => "choose another name, or work in it as it is".into(),
            Self::NoJob { .. } => "`vitreous status` lists the jobs".into(),
            Self::BadName { .. } => return None,
            Self::NoInput { input, .. } => {
                format!(
                    "`vitreous show {}` lists what the job offers",
                    input.split('.').next().unwrap_or(input)
                )
            }
            Self::Busy { .. } => {
                "wait a moment and repeat; a lock of a dead process is taken over by itself".into()
            }
        };
        Some(hint)
    }

    /// Wraps an error of the file system.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

/// Advice for the errors of the file system that users meet.
fn io_hint(error: &io::Error) -> Option<String> {
    let hint = match error.kind() {
        io::ErrorKind::StorageFull => {
            "the disk is full: free space (`vitreous clean --dry-run` shows what can go), then `vitreous retry` goes on where it stopped"
        }
        io::ErrorKind::QuotaExceeded => {
            "your quota is used up: free space (`vitreous clean --dry-run`), then `vitreous retry` goes on where it stopped"
        }
        io::ErrorKind::ReadOnlyFilesystem => "the file system is mounted read-only: work on a writable copy",
        io::ErrorKind::PermissionDenied => {
            "you may not write there: check owner and mode of the folder (`ls -ld`)"
        }
        _ => return None,
    };
    Some(hint.into())
}
