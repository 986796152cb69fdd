//! What can be wrong with a table.

use std::path::PathBuf;

/// A table that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// The operating system refused.
    #[error("{path}: cannot be opened: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The HDF5 library refused.
    #[error(
        "{path}: {place}: HDF5 says: {reason}; if the file was cut short, make it again (`vitreous retry`)"
    )]
    Hdf5 {
        /// The file.
        path: PathBuf,
        /// Group and column, or what was attempted.
        place: String,
        /// The library's words.
        reason: String,
    },
    /// An HDF5 file of something else.
    #[error("{path}: is no table of Vitreous: attribute `format` is {found}, expected \"vitreous-table\"")]
    NotATable {
        /// The file.
        path: PathBuf,
        /// What stands there.
        found: String,
    },
    /// Written by a newer version.
    #[error(
        "{path}: has schema {found}, this program knows up to {known}; use the version that wrote it, or a newer one"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// A table of another kind.
    #[error(
        "{path}: holds `{found}`, expected `{expected}`; give the output of a job that makes `{expected}`"
    )]
    WrongKind {
        /// The file.
        path: PathBuf,
        /// Its kind.
        found: String,
        /// The kind asked for.
        expected: String,
    },
    /// An attribute is missing or of another type.
    #[error("{path}: attribute `{attribute}` is missing or no {expected}")]
    Attribute {
        /// The file.
        path: PathBuf,
        /// Its name.
        attribute: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A group is missing.
    #[error("{path}: group `{group}` is missing (there: {found})")]
    MissingGroup {
        /// The file.
        path: PathBuf,
        /// The group.
        group: String,
        /// The groups of the file.
        found: String,
    },
    /// A column is missing.
    #[error("{path}: column `{group}/{column}` is missing (there: {found})")]
    MissingColumn {
        /// The file.
        path: PathBuf,
        /// Its group.
        group: String,
        /// The column.
        column: String,
        /// The columns of the group.
        found: String,
    },
    /// A column has another type or shape.
    #[error("{path}: column `{group}/{column}` holds {found}, expected {expected}")]
    WrongType {
        /// The file.
        path: PathBuf,
        /// Its group.
        group: String,
        /// The column.
        column: String,
        /// Type found.
        found: String,
        /// Type expected.
        expected: String,
    },
    /// Columns of one group differ in length.
    #[error("{path}: column `{group}/{column}` has {found} rows, the group has {expected}")]
    RowCount {
        /// The file.
        path: PathBuf,
        /// Its group.
        group: String,
        /// The column.
        column: String,
        /// Its rows.
        found: usize,
        /// Rows of the group.
        expected: usize,
    },
    /// A value makes no sense.
    #[error("{path}: column `{group}/{column}` row {row} (from 0): found {found}, expected {expected}")]
    BadValue {
        /// The file.
        path: PathBuf,
        /// Its group.
        group: String,
        /// The column.
        column: String,
        /// Row, from 0.
        row: usize,
        /// What stands there.
        found: String,
        /// What should.
        expected: String,
    },
}
