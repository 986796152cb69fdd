//! What can go wrong with a report.

use std::path::{Path, PathBuf};

/// A report that cannot be written, read or drawn.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The file system refused.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried, e.g. `write`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// `report.json` is not what this version reads.
    #[error("`{}` is not a report of schema {}", path.display(), vitreous_model::SCHEMA)]
    Json {
        /// The file.
        path: PathBuf,
        /// Place and reason.
        #[source]
        source: serde_json::Error,
    },
    /// `report.json` comes from a newer version.
    #[error("`{}` has schema {found}, this program reads up to {}: use a newer vitreous", path.display(), vitreous_model::SCHEMA)]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u32,
    },
    /// A raster's PNG file cannot be decoded.
    #[error("`{}` is not the grey 8-bit PNG of {width}×{height} pixels that report.json says: {why}", path.display())]
    Png {
        /// The file.
        path: PathBuf,
        /// Columns expected.
        width: u32,
        /// Rows expected.
        height: u32,
        /// What is wrong.
        why: String,
    },
    /// A file that is not a picture that we wrote.
    #[error("`{}` is not a picture of Vitreous: {why}", path.display())]
    Picture {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A figure that cannot be drawn.
    #[error("figure `{id}`: {why}")]
    Figure {
        /// Its id.
        id: String,
        /// What is wrong with it and what was expected.
        why: String,
    },
}

impl ReportError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }

    pub(crate) fn figure(id: &str, why: impl Into<String>) -> Self {
        Self::Figure { id: id.into(), why: why.into() }
    }
}
