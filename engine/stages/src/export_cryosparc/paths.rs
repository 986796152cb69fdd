//! How files are named in datasets that CryoSPARC imports.

use crate::Ctx;
use std::path::{Component, Path, PathBuf};

/// A path of ours as it is to stand in a dataset of this job: of a file in the project, if `is_relative`, the way from the
/// job's folder, marked by `>`; else absolute.
pub(super) fn named(ctx: &Ctx<'_>, path: &str, is_relative: bool) -> String {
    let absolute = ctx.resolve(path);
    let is_inside = absolute.starts_with(&ctx.project_dir) && ctx.job_dir.starts_with(&ctx.project_dir);
    match way(&ctx.job_dir, &absolute).filter(|_| is_relative && is_inside) {
        Some(way) => format!(">{}", way.display()),
        None => absolute.to_string_lossy().into_owned(),
    }
}

/// The way from a folder to a file; `None` if it cannot be told, because one of them has parts such as `..`.
fn way(folder: &Path, file: &Path) -> Option<PathBuf> {
    let is_plain =
        |path: &Path| path.components().all(|part| matches!(part, Component::Normal(_) | Component::RootDir));
    if !(is_plain(folder) && is_plain(file)) {
        return None;
    }
    let common = folder.components().zip(file.components()).take_while(|(a, b)| a == b).count();
    let up = folder.components().skip(common).map(|_| Component::ParentDir);
    Some(up.chain(file.components().skip(common)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_goes_up_and_down() {
        let way = |folder: &str, file: &str| way(Path::new(folder), Path::new(file));
        assert_eq!(way("/p/J9", "/p/J9/map.mrc"), Some("map.mrc".into()));
        assert_eq!(way("/p/J9", "/p/J5/stacks/m1.mrcs"), Some("../J5/stacks/m1.mrcs".into()));
        assert_eq!(way("/p/J9/a", "/p/b"), Some("../../b".into()));
        assert_eq!(way("/p/../J9", "/p/b"), None);
    }
}
