//! Folders and files as this host sees them, and the file server's clock.

use rustix::fs::{Access, access, statvfs};
use serde_json::{Value, json};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use vitreous_project::{clock, process};

/// A path: whether it exists, is a folder, can be read and written. Nothing is written into it.
pub fn path(path: &Path) -> Value {
    let found = std::fs::metadata(path);
    let is_dir = found.as_ref().is_ok_and(std::fs::Metadata::is_dir);
    let opened = if is_dir { std::fs::read_dir(path).map(drop) } else { File::open(path).map(drop) };
    json!({
        "path": path,
        "exists": found.is_ok(),
        "is_dir": is_dir,
        "readable": opened.is_ok(),
        "writable": access(path, Access::WRITE_OK).is_ok(),
        "problem": found.map(drop).and(opened).err().map(|error| error.to_string()),
    })
}

/// A scratch folder: whether it exists and can really be written (a file is made and removed), and its free space.
pub fn scratch(folder: &Path) -> Value {
    let made = fresh_file(folder).map(drop);
    let free = statvfs(folder).ok().map(|found| found.f_bavail.saturating_mul(found.f_frsize) >> 20);
    json!({
        "path": folder,
        "exists": folder.is_dir(),
        "writable": made.is_ok(),
        "free_mib": free,
        "problem": made.err().map(|error| error.to_string()),
    })
}

/// How far the clock of the server of `folder` is ahead of this host's, seconds: the time it gives to a file made now.
/// Half the time that took is the error.
pub fn clock_difference(folder: &Path) -> Value {
    let before = clock::unix_s();
    let made = fresh_file(folder);
    let after = clock::unix_s();
    match made.map(|time| time.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())) {
        Ok(server) => json!({
            "folder": folder,
            "difference_s": server - 0.5 * (before + after),
            "uncertainty_s": 0.5 * (after - before),
            "problem": null,
        }),
        Err(error) => json!({"folder": folder, "difference_s": null, "problem": error.to_string()}),
    }
}

/// Makes a file, removes it, and returns the time the server gave it.
fn fresh_file(folder: &Path) -> std::io::Result<SystemTime> {
    let name = format!(".vitreous-probe-{}-{}", process::host(), std::process::id());
    let path: PathBuf = folder.join(name);
    let made = File::create_new(&path)?.metadata().and_then(|found| found.modified());
    std::fs::remove_file(&path)?;
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_files_and_what_is_not_there_are_told_apart() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let found = path(folder.path());
        assert_eq!(
            (&found["exists"], &found["is_dir"], &found["readable"]),
            (&json!(true), &json!(true), &json!(true))
        );
        File::create(folder.path().join("movie.tif")).expect("should create");
        let found = path(&folder.path().join("movie.tif"));
        assert_eq!(
            (&found["is_dir"], &found["readable"], &found["problem"]),
            (&json!(false), &json!(true), &json!(null))
        );
        let found = path(&folder.path().join("absent"));
        assert_eq!((&found["exists"], &found["writable"]), (&json!(false), &json!(false)));
        assert!(found["problem"].as_str().is_some_and(|text| text.contains("No such file")), "{found}");
    }

    #[test]
    fn scratch_is_tried_and_left_clean() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let found = scratch(folder.path());
        assert_eq!((&found["writable"], &found["problem"]), (&json!(true), &json!(null)));
        assert!(found["free_mib"].is_u64(), "{found}");
        let clock = clock_difference(folder.path());
        assert!(clock["difference_s"].as_f64().is_some_and(|seconds| seconds.abs() < 5.0), "{clock}");
        assert_eq!(std::fs::read_dir(folder.path()).expect("should list").count(), 0);
        let found = scratch(&folder.path().join("absent"));
        assert_eq!((&found["exists"], &found["writable"]), (&json!(false), &json!(false)));
    }
}
