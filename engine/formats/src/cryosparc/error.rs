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
    /// It could not be written.
    #[error("{path}: cannot write: {source}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Not a dataset.
    #[error("{path}: {found}, expected a CryoSPARC dataset (.cs), which starts with 93 4e 55 4d 50 59 or 95 43 53 44 41 54", path = path.display())]
    Encoding {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        found: String,
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
    /// What follows the header of a CSDAT file is not what the header says.
    #[error("{path}: byte {offset}: {why}; the file is cut or broken: copy it again", path = path.display())]
    Body {
        /// The file.
        path: PathBuf,
        /// Where, bytes from the start of the file.
        offset: usize,
        /// What is wrong.
        why: String,
    },
    /// Two files that do not belong together.
    #[error("{path} does not belong to {first}: {found}; {hint}", path = path.display(), first = first.display())]
    Join {
        /// The file that was to be joined.
        path: PathBuf,
        /// To which.
        first: PathBuf,
        /// Why it cannot.
        found: String,
        /// What to do.
        hint: &'static str,
    },
    /// A `.csg` file that is no group, or of another kind.
    #[error("{path}: {why}; expected an exported group of CryoSPARC (.csg: YAML with `group` and `results`)", path = path.display())]
    Group {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Values that cannot be converted.
    #[error("{path}: {why}{}{hint}", if hint.is_empty() { "" } else { "; " }, path = path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
        /// What to do; may be empty.
        hint: &'static str,
    },
}
