//! Paths in RELION's STAR files: relative to RELION's project, whose place the file does not say.

use super::table_path;
use crate::{Ctx, StageError};
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use vitreous_formats::star::StarError;

/// Folders above a STAR file that are tried as the root of its paths: RELION's jobs lie two below the project.
const LEVELS: usize = 6;

/// What finds the files that a STAR file names.
pub struct StarPaths<'a> {
    ctx: &'a Ctx<'a>,
    star: &'a Path,
    root: Option<PathBuf>,
    /// The folder that served last.
    last: RefCell<Option<PathBuf>>,
}

impl<'a> StarPaths<'a> {
    /// For the paths of `star`; `root` is the folder they count from, if it is known.
    pub fn new(ctx: &'a Ctx<'a>, star: &'a Path, root: Option<&Path>) -> Self {
        let root = root.map(|root| ctx.resolve(&root.to_string_lossy()));
        Self { ctx, star, root, last: RefCell::new(None) }
    }

    /// A path of the file as it stands in our tables. One that is nowhere is taken as beside the STAR file, where its
    /// absence will be found.
    pub fn resolve(&self, path: &str) -> String {
        let mut last = self.last.borrow_mut();
        let has_it = |folder: &Path| folder.join(path).exists();
        let found = match (&self.root, last.as_deref()) {
            (Some(root), _) => Some(root.clone()),
            (None, Some(folder)) if has_it(folder) => Some(folder.to_path_buf()),
            (None, _) => {
                self.star.ancestors().skip(1).take(LEVELS).find(|above| has_it(above)).map(Path::to_path_buf)
            }
        };
        let absolute = found.as_deref().or(self.star.parent()).unwrap_or(self.star).join(path);
        *last = found.or(last.take());
        table_path(self.ctx, &absolute)
    }
}

/// The refusal of a STAR file, with what to do.
pub fn refusal(error: &StarError, expected: &str) -> StageError {
    let hint = match error {
        StarError::MissingColumn { column, .. } if column.starts_with("rlnVoltage") => {
            "give --voltage".into()
        }
        StarError::MissingColumn { column, .. } if column.starts_with("rlnSpherical") => "give --cs".into(),
        StarError::MissingColumn { column, .. } if column.starts_with("rlnAmplitude") => {
            "give --amplitude-contrast".into()
        }
        StarError::MissingColumn { needed_for, .. } if needed_for.contains("pixel size") => {
            "give --pixel-size".into()
        }
        _ => format!("give {expected}"),
    };
    StageError::input(error.to_string(), hint)
}
