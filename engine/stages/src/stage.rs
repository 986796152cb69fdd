//! What a stage is, and how it can fail.

use crate::{Ctx, Slice};
use std::path::{Path, PathBuf};
use vitreous_model::exit;
use vitreous_model::params::BadParam;
use vitreous_model::report::Report;

/// The work of one job type.
pub trait Stage: Sync {
    /// Name of the job type.
    fn name(&self) -> &'static str;

    /// Does the job on this rank; every rank calls it. The report of rank 0 counts.
    ///
    /// # Errors
    /// See [`StageError`]; items that were finished before stay finished.
    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError>;
}

/// Why a job did not finish.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// A parameter that cannot be used with these inputs.
    #[error(transparent)]
    Param(#[from] BadParam),
    /// An input is missing, broken or unfit.
    #[error("{what}")]
    Input {
        /// What is wrong: file, place, found, expected.
        what: String,
        /// What to do; may be empty.
        hint: String,
    },
    /// An image file is broken.
    #[error(transparent)]
    Format(#[from] vitreous_formats::FormatError),
    /// A table is broken.
    #[error(transparent)]
    Table(#[from] vitreous_formats::table::TableError),
    /// A file could not be written or read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Too many items were unfit.
    #[error("{bad} of {total} {what} failed, more than the allowed fraction {allowed}; first: {first}")]
    TooManyBad {
        /// What the items are, plural.
        what: String,
        /// How many failed.
        bad: usize,
        /// Of how many.
        total: usize,
        /// Largest allowed fraction.
        allowed: f64,
        /// The first failure.
        first: String,
    },
    /// The work is done, and its result is not what it must be: the report is written, and the job has failed.
    #[error("{what}")]
    Unmet {
        /// What is not as it must be: what, found, expected.
        what: String,
        /// What to do.
        hint: String,
        /// The report of rank 0; that of other ranks does not count.
        report: Box<Report>,
    },
    /// Asked to stop; the checkpoint is written and the job can go on from it.
    #[error("stopped on request; finished items are kept and the job goes on where it was")]
    Stopped,
    /// The scheduler has started the job again while this process still lived, e.g. after it lost sight of the node.
    #[error("stopped: a later start of this job has taken over; nothing more was written")]
    Superseded,
    /// No failure: the part of the items that was asked for is done and recorded. The results are collected by a later
    /// run of the whole job.
    #[error(
        "slice {slice} is done ({items} {what}); a run without --slice collects the results of all slices"
    )]
    SliceDone {
        /// What the items are, plural.
        what: String,
        /// The slice.
        slice: Slice,
        /// Items in it.
        items: usize,
    },
}

impl StageError {
    /// An unfit input, with advice.
    pub fn input(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Input { what: what.into(), hint: hint.into() }
    }

    /// A failed file operation.
    pub fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.into(), source }
    }

    /// An image file that could not be written: a full disk or a read-only directory ends the job, unlike a file of an
    /// item that cannot be read.
    pub fn writing(error: vitreous_formats::FormatError) -> Self {
        match error {
            vitreous_formats::FormatError::Io { path, source, .. } => Self::Io { path, source },
            other => Self::Format(other),
        }
    }

    /// The exit code of the engine.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Param(_) => exit::USAGE,
            Self::Input { .. } | Self::Format(_) | Self::Table(_) | Self::TooManyBad { .. } => exit::INPUT,
            Self::Io { .. } | Self::Unmet { .. } => exit::JOB_FAILED,
            Self::Stopped => exit::REQUEUE,
            Self::Superseded => exit::SUPERSEDED,
            Self::SliceDone { .. } => exit::OK,
        }
    }

    /// What to do about it; empty if the message says it all.
    pub fn hint(&self) -> String {
        match self {
            Self::Param(bad) => bad.hint.clone(),
            Self::Input { hint, .. } | Self::Unmet { hint, .. } => hint.clone(),
            Self::Io { source, .. } => match source.kind() {
                std::io::ErrorKind::StorageFull => "the disk is full: free space, then `vitreous retry`".into(),
                std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                    "the directory cannot be written: check its permissions, then `vitreous retry`".into()
                }
                _ => String::new(),
            },
            Self::TooManyBad { .. } => {
                "the report lists every failure; repair the files or raise max_bad_fraction, then `vitreous retry`".into()
            }
            Self::Format(_)
            | Self::Table(_)
            | Self::Stopped
            | Self::Superseded
            | Self::SliceDone { .. } => String::new(),
        }
    }
}
