//! What paths in a foreign file are relative to.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

/// Folders above the file that are tried as the root of its paths.
const LEVELS: usize = 6;

/// Finds the folder that a file's paths are relative to: the one given, or the nearest above the file in which they exist.
pub struct Roots<'a> {
    file: &'a Path,
    is_given: bool,
    /// The folder that served last is tried first.
    found: RefCell<Option<PathBuf>>,
}

impl<'a> Roots<'a> {
    /// For the paths in `file`; `root` is the folder given.
    pub fn new(file: &'a Path, root: Option<&Path>) -> Self {
        Self { file, is_given: root.is_some(), found: RefCell::new(root.map(Path::to_path_buf)) }
    }

    /// The path as an absolute one; what is nowhere is taken to be beside the file.
    pub fn absolute(&self, path: &str) -> PathBuf {
        let mut found = self.found.borrow_mut();
        let folder = match &*found {
            Some(folder) if self.is_given || folder.join(path).exists() => Some(folder.clone()),
            _ => {
                let above = self.file.ancestors().skip(1).take(LEVELS);
                above.into_iter().find(|a| a.join(path).exists()).map(Path::to_path_buf)
            }
        };
        let absolute = folder.as_deref().or(self.file.parent()).unwrap_or(self.file).join(path);
        *found = folder.or(found.take());
        absolute
    }
}
