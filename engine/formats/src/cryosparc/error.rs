//! What can be wrong with a dataset.

use std::path::PathBuf;

/// A `.cs` file that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CsError {
    /// The operating system refused.
    #[error("{path}: cannot read: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Not a dataset in the encoding of numpy.
    #[error("{path}: {found}, expected {expected}", path = path.display())]
    Encoding {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        found: String,
        /// What would be right, and what to do.
        expected: &'static str,
    },
    /// The header cannot be understood.
    #[error("{path}: header, byte {offset}: {why}; expected the `descr` and `shape` of an array of records", path = path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// Where, bytes from the start of the file.
        offset: usize,
        /// What is wrong.
        why: String,
    },
    /// The file ends too early.
    #[error("{path}: truncated: {rows} records of {row_bytes} bytes need {expected} bytes, the file has {found}; copy it again", path = path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Records that the header tells of.
        rows: usize,
        /// Bytes of one.
        row_bytes: usize,
        /// Length the file should have, bytes.
        expected: u64,
        /// Length of the file, bytes.
        found: u64,
    },
    /// A field is not there.
    #[error("{path}: no field `{field}`, which is needed for {needed_for}; it has {found}", path = path.display())]
    MissingField {
        /// The file.
        path: PathBuf,
        /// The field.
        field: &'static str,
        /// What for.
        needed_for: &'static str,
        /// Fields there are.
        found: String,
    },
    /// A field is of another type or shape.
    #[error("{path}: field `{field}` is {found}, expected {expected}", path = path.display())]
    WrongField {
        /// The file.
        path: PathBuf,
        /// The field.
        field: &'static str,
        /// Its type as the header says.
        found: String,
        /// What would be right.
        expected: &'static str,
    },
}
