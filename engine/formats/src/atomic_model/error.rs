//! What can be wrong with an atomic model.

use std::path::PathBuf;

/// An atomic model that cannot be read. Lines count from 1.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AtomicModelError {
    /// The operating system refused, or the gzip data are broken.
    #[error("{path}: cannot be read: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line that makes no sense.
    #[error("{path} line {line}: {field} is `{found}`, expected {expected}")]
    Field {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Which value.
        field: String,
        /// What stands there.
        found: String,
        /// What should.
        expected: String,
    },
    /// An item of mmCIF is missing.
    #[error("{path}: item {item} is missing; is this an mmCIF file with coordinates?")]
    MissingItem {
        /// The file.
        path: PathBuf,
        /// The item.
        item: String,
    },
    /// No atom was found.
    #[error(
        "{path}: no ATOM or HETATM record ({waters} of water); give a PDB, mmCIF or compact file, plain or .gz"
    )]
    NoAtoms {
        /// The file.
        path: PathBuf,
        /// Atoms of water, which are left out.
        waters: usize,
    },
}
