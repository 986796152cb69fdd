//! The grammar of MDOC files.

use super::MdocError;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The longest file that is read, bytes: a tilt series of a thousand images has a tenth of it.
pub(super) const LIMIT: u64 = 4 << 20;
/// Characters of a bad line that an error quotes.
const QUOTED: usize = 60;

/// A file.
#[derive(Debug, Clone, PartialEq)]
pub struct Mdoc {
    /// The file.
    pub path: PathBuf,
    /// Values before the first section.
    pub global: Section,
    /// Sections in order.
    pub sections: Vec<Section>,
}

/// A section: its head and its values.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Section {
    /// Type, e.g. `FrameSet`; empty for the global values.
    pub kind: String,
    /// Name, mostly a number.
    pub name: String,
    /// Keys and values in order, with their lines, from 1.
    pub values: Vec<(String, String, usize)>,
}

impl Section {
    /// The value of a key and its line.
    pub fn get(&self, key: &str) -> Option<(&str, usize)> {
        let found = self.values.iter().find(|(known, _, _)| known == key);
        found.map(|(_, value, line)| (value.as_str(), *line))
    }
}

impl Mdoc {
    /// Reads a file. Bytes that are no UTF-8 (comments of operators) are replaced.
    ///
    /// # Errors
    /// A file that cannot be read, is longer than 4 MiB or breaks the grammar.
    pub fn read(path: &Path) -> Result<Self, MdocError> {
        let io = |source| MdocError::Io { path: path.into(), source };
        let file = std::fs::File::open(path).map_err(io)?;
        let mut bytes = Vec::new();
        file.take(LIMIT + 1).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() as u64 > LIMIT {
            let found = std::fs::metadata(path).map_or(bytes.len() as u64, |data| data.len());
            return Err(MdocError::TooLong { path: path.into(), found, limit: LIMIT });
        }
        Self::parse(path, &String::from_utf8_lossy(&bytes))
    }

    /// The same from its text; `path` is for messages.
    ///
    /// # Errors
    /// Text that breaks the grammar.
    pub fn parse(path: &Path, text: &str) -> Result<Self, MdocError> {
        let mut mdoc = Self { path: path.into(), global: Section::default(), sections: Vec::new() };
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            let line = line.trim();
            // `[T = …]` is a title, the only section head without a section
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let bad = |expected| MdocError::Syntax {
                path: path.into(),
                line: number,
                found: line.chars().take(QUOTED).collect(),
                expected,
            };
            if let Some(head) = line.strip_prefix('[') {
                let (kind, name) = head
                    .strip_suffix(']')
                    .and_then(|head| head.split_once('='))
                    .ok_or_else(|| bad("a section head: [Type = name]"))?;
                let (kind, name) = (kind.trim().to_string(), name.trim().to_string());
                if kind != "T" {
                    mdoc.sections.push(Section { kind, name, values: Vec::new() });
                }
                continue;
            }
            let (key, value) = line.split_once('=').ok_or_else(|| bad("key = value"))?;
            let section = mdoc.sections.last_mut().unwrap_or(&mut mdoc.global);
            section.values.push((key.trim().to_string(), value.trim().to_string(), number));
        }
        Ok(mdoc)
    }
}
