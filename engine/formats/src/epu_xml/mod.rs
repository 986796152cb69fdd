//! EPU's XML files: one beside each exposure, `FoilHole_….xml`, with the root element `MicroscopeImage`.
//!
//! The files named `…_Fractions.xml` (root `Acquisition`) are the camera's and hold neither dose nor optics. Elements are
//! found by their local names: EPU's versions agree in these, not in prefixes. Document types are refused and the
//! number of nodes is bounded, so that no file expands beyond its length.

mod convert;

#[cfg(test)]
mod tests;

pub use convert::acquisition;

use std::path::PathBuf;

/// An EPU XML file that cannot be read or understood.
#[derive(Debug, thiserror::Error)]
pub enum EpuError {
    /// The operating system refused.
    #[error("{path}: cannot read: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Longer than any such file.
    #[error("{path}: it has more than {limit} bytes; is this really EPU's file of one exposure?", path = path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The longest that is read, bytes.
        limit: u64,
    },
    /// No well-formed XML.
    #[error("{path} line {line}: no XML: {why}; copy it again", path = path.display())]
    Xml {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: u32,
        /// What the parser says.
        why: String,
    },
    /// XML of another kind.
    #[error(
        "{path}: the root element is `{found}`, expected `MicroscopeImage` (EPU's file of an exposure, without \
         `_Fractions` in its name)", path = path.display()
    )]
    NotAnExposure {
        /// The file.
        path: PathBuf,
        /// Its root element.
        found: String,
    },
    /// A value is none.
    #[error("{path} line {line}: {element} is `{found}`, expected {expected}", path = path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: u32,
        /// The element, by its path.
        element: String,
        /// Its text, shortened.
        found: String,
        /// What would be right.
        expected: &'static str,
    },
}
