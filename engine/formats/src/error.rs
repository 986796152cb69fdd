//! What can be wrong with an image file: which file, where in it, what was found, what was expected, what to do.

use std::fmt::Display;
use std::path::{Path, PathBuf};

/// An image file that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The operating system refused.
    #[error("{path}: cannot {action}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried: `open`, `read`, `write` …
        action: &'static str,
        /// The system's answer.
        source: std::io::Error,
    },
    /// No format recognises the first bytes.
    #[error(
        "{path}: not an image file known here: it starts with {found}; expected one of {expected}; \
         {advice}", path = path.display()
    )]
    UnknownFormat {
        /// The file.
        path: PathBuf,
        /// Its first bytes in hexadecimal.
        found: String,
        /// Names of the formats.
        expected: String,
        /// What to do.
        advice: String,
    },
    /// The file ends too early.
    #[error(
        "{path}: truncated: {what} needs {expected} bytes, the file has {found}; copy or export it again",
        path = path.display()
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// What is cut off.
        what: String,
        /// Length the file should have at least, bytes.
        expected: u64,
        /// Length of the file, bytes.
        found: u64,
    },
    /// A value in the file makes no sense, or is not supported.
    #[error("{path}: {field} (byte {offset}) is {found}, expected {expected}", path = path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// Which value: header field, tag and page …
        field: String,
        /// Where it stands, bytes from the start of the file.
        offset: u64,
        /// Its value.
        found: String,
        /// What would be right, and what to do.
        expected: String,
    },
    /// Compressed data cannot be decoded.
    #[error("{path}: page {page}, strip or tile {chunk} at byte {offset} is corrupt: {why}; copy it again", path = path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Page, from 0.
        page: usize,
        /// Strip or tile of the page, from 0.
        chunk: usize,
        /// Where it starts, bytes.
        offset: u64,
        /// What the decoder says.
        why: String,
    },
    /// A bzip2 block cannot be decoded.
    #[error("{path}: bzip2 block {block} at byte {offset} is corrupt: {why}; copy it again", path = path.display())]
    CorruptBlock {
        /// The file.
        path: PathBuf,
        /// Block, from 0.
        block: usize,
        /// Where it starts, bytes.
        offset: u64,
        /// What the decoder says.
        why: String,
    },
    /// The file cannot be read as asked for.
    #[error("{path}: {option} is {found}, expected {expected}", path = path.display())]
    Option {
        /// The file.
        path: PathBuf,
        /// What was asked for.
        option: &'static str,
        /// Its value.
        found: String,
        /// What the file can serve.
        expected: String,
    },
    /// A frame that is not there was asked for.
    #[error("{path}: frame {frame} was asked for (from 0), the file has {frames}", path = path.display())]
    NoSuchFrame {
        /// The file.
        path: PathBuf,
        /// Frame asked for, from 0.
        frame: usize,
        /// Frames there are.
        frames: usize,
    },
    /// A buffer or array is not of the size of the image.
    #[error("{path}: {what} has {found} values, expected {expected}", path = path.display())]
    WrongLength {
        /// The file.
        path: PathBuf,
        /// Which buffer.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The right length.
        expected: usize,
    },
    /// A value is NaN or infinite.
    #[error(
        "{path}: the value at column {x}, row {y}, section {z} (from 0) is {value}, expected a finite number \
         ({count} such value(s) in all); write the file again or mask these voxels", path = path.display()
    )]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// Column of the first.
        x: usize,
        /// Row of the first.
        y: usize,
        /// Section of the first.
        z: usize,
        /// The first.
        value: f32,
        /// How many there are.
        count: usize,
    },
    /// A value does not fit the type it is to be stored in.
    #[error(
        "{path}: value {value} at index {index} of section {section} does not fit {sample}, expected {low} to \
         {high}; choose another sample type or scale the values", path = path.display()
    )]
    OutOfRange {
        /// The file.
        path: PathBuf,
        /// Section or page being written, from 0.
        section: usize,
        /// Index in it.
        index: usize,
        /// The value.
        value: f32,
        /// Type on disk.
        sample: &'static str,
        /// Smallest value it holds.
        low: f32,
        /// Largest value it holds.
        high: f32,
    },
    /// A classic TIFF cannot grow beyond 4 GiB.
    #[error(
        "{path}: page {page} would end at byte {end}, a classic TIFF ends at 4294967295; write it as BigTIFF",
        path = path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Page being written, from 0.
        page: usize,
        /// Where it would end.
        end: u64,
    },
}

impl FormatError {
    /// The operating system refused to do `action`.
    pub fn io(path: &Path, action: &'static str, source: std::io::Error) -> Self {
        Self::Io { path: path.into(), action, source }
    }

    /// The value of `field` at byte `offset` is wrong.
    pub fn field(
        path: &Path,
        field: impl Into<String>,
        offset: u64,
        found: impl Display,
        expected: impl Into<String>,
    ) -> Self {
        Self::Field {
            path: path.into(),
            field: field.into(),
            offset,
            found: found.to_string(),
            expected: expected.into(),
        }
    }

    /// The file of `found` bytes should have `expected`.
    pub fn truncated(path: &Path, what: impl Into<String>, expected: u64, found: u64) -> Self {
        Self::Truncated { path: path.into(), what: what.into(), expected, found }
    }
}
