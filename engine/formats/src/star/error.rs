//! What can be wrong with a STAR file.

use std::path::PathBuf;

/// A STAR file that cannot be read, written or understood. Lines count from 1.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StarError {
    /// The operating system refused.
    #[error("{path}: cannot {action}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Not UTF-8, so no STAR file (RELION writes ASCII).
    #[error("{path}: byte {byte} is no UTF-8 text; is this really a STAR file?")]
    NotText {
        /// The file.
        path: PathBuf,
        /// First bad byte, from 0.
        byte: usize,
    },
    /// A line breaks the grammar.
    #[error("{path} line {line}: found {found}, expected {expected}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What stands there.
        found: String,
        /// What should.
        expected: String,
    },
    /// A block is missing.
    #[error("{path}: block data_{block} is missing (there: {found}); it is needed for {needed_for}")]
    MissingBlock {
        /// The file.
        path: PathBuf,
        /// The block, or several joined with "or data_".
        block: String,
        /// The blocks of the file.
        found: String,
        /// What for.
        needed_for: &'static str,
    },
    /// A column is missing.
    #[error("{path}: column _{column} is missing in block data_{block}; it is needed for {needed_for}")]
    MissingColumn {
        /// The file.
        path: PathBuf,
        /// The block.
        block: String,
        /// The column, or several joined with "or _".
        column: String,
        /// What for.
        needed_for: &'static str,
    },
    /// A cell is not what its column should hold.
    #[error("{path} line {line}: column _{column} holds `{found}`, expected {expected}")]
    Value {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// The column.
        column: String,
        /// The cell.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// The content cannot be represented.
    #[error("{path}: {found}; {expected}")]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        found: String,
        /// What would be right, or what to do.
        expected: String,
    },
}
