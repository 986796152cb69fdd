//! Alignment parameters of Frealign and cisTEM: `.par` files, and cisTEM's own STAR files. Read only.
//!
//! A `.par` file has a particle a line, in 16 columns (Frealign 9) or 17 (cisTEM, with the phase shift before the
//! occupancy); lines that begin with `C` are comments. Its particles are images of one stack, which it does not name, and
//! it says nothing of pixel size and optics. cisTEM's STAR files name columns, `_cisTEM…`, and say both. What the columns
//! mean stands in `convert.rs`.

pub mod convert;
mod reader;

#[cfg(test)]
mod tests;

pub use convert::{Fallback, ImportOptions, particles_of};
pub use reader::{Lens, Parameters, Row, parse, read};

use crate::star::StarError;
use std::path::PathBuf;

/// A parameter file that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ParError {
    /// The operating system refused.
    #[error("{path}: cannot read: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A line is no particle.
    #[error("{path}: line {line}: {found}, expected {expected}", path = path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is there.
        found: String,
        /// What would be right.
        expected: &'static str,
    },
    /// The file is sound but cannot be used.
    #[error("{path}: {why}", path = path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
        /// What to do.
        hint: &'static str,
    },
    /// cisTEM's STAR file is none, or lacks a column.
    #[error(transparent)]
    Star(#[from] StarError),
}
