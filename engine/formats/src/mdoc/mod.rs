//! SerialEM's MDOC files: text beside an image file, in sections of `key = value` lines.
//!
//! Global values come first; a section begins with `[Type = name]`. Movies have one file each with a section
//! `[FrameSet = 0]`; files of tilt series and montages have sections `[ZValue = n]` or `[MontSection = n]`, read here, too, but not
//! convertible to the acquisition of a movie. [`Mdoc::read`] is the grammar, [`acquisition`] what the keys mean.
//!
//! Format: SerialEM help, "Image Metadata Files".

mod convert;
mod reader;

#[cfg(test)]
mod tests;

pub use convert::acquisition;
pub use reader::{Mdoc, Section};

use std::path::PathBuf;

/// An MDOC file that cannot be read or understood. Lines count from 1.
#[derive(Debug, thiserror::Error)]
pub enum MdocError {
    /// The operating system refused.
    #[error("{path}: cannot read: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Longer than any such file.
    #[error("{path}: it has {found} bytes, expected at most {limit}; is this really an MDOC file?", path = path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Its length, bytes.
        found: u64,
        /// The longest that is read, bytes.
        limit: u64,
    },
    /// A line breaks the grammar.
    #[error("{path} line {line}: found `{found}`, expected {expected}", path = path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What stands there, shortened.
        found: String,
        /// What should.
        expected: &'static str,
    },
    /// A value is no number, too few, or out of range.
    #[error("{path} line {line}: {key} is `{found}`, expected {expected}", path = path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Key.
        key: String,
        /// Its value.
        found: String,
        /// What would be right.
        expected: &'static str,
    },
    /// Of another kind than a movie's.
    #[error(
        "{path}: it has {found} and no section [FrameSet = 0], expected the file of a single movie; \
         leave it away with --metadata none", path = path.display()
    )]
    NoFrameSet {
        /// The file.
        path: PathBuf,
        /// The sections that are there.
        found: String,
    },
}
