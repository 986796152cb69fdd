//! Files that are either whole or absent, whatever is killed and whenever.
//!
//! A temporary file in the same folder, fsync, then rename or hard link to the name, then fsync of the folder.

use crate::error::ProjectError;
use serde::{Serialize, de::DeserializeOwned};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use vitreous_model::SCHEMA;

/// Writes `bytes` to `path`, replacing what was there in one step.
///
/// # Errors
/// [`ProjectError::Io`] with the path; the old file is then untouched.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), ProjectError> {
    let temporary = write_temporary(path, bytes)?;
    std::fs::rename(&temporary, path).map_err(|source| {
        discard(&temporary);
        ProjectError::Io { action: "write", path: path.into(), source }
    })?;
    sync_folder(path);
    Ok(())
}

/// Writes `bytes` to `path` only if nothing is there yet; `false` if something is.
/// Of any number of writers at once exactly one gets `true`, and readers see its file whole.
///
/// # Errors
/// [`ProjectError::Io`] with the path.
pub fn create_new(path: &Path, bytes: &[u8]) -> Result<bool, ProjectError> {
    let temporary = write_temporary(path, bytes)?;
    let linked = std::fs::hard_link(&temporary, path);
    discard(&temporary);
    let created = match linked {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
        // a file system without hard links: exclusive, though a reader may catch it half written
        Err(_) => match OpenOptions::new().write(true).create_new(true).open(path) {
            Ok(mut file) => {
                file.write_all(bytes)
                    .and_then(|()| file.sync_all())
                    .map_err(ProjectError::io("write", path))?;
                true
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(ProjectError::io("create", path)(error)),
        },
    };
    sync_folder(path);
    Ok(created)
}

/// [`write()`] of a value as indented JSON.
///
/// # Errors
/// As [`write()`].
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), ProjectError> {
    write(path, &to_json(path, value)?)
}

/// [`create_new`] of a value as indented JSON.
///
/// # Errors
/// As [`create_new`].
pub fn create_new_json<T: Serialize>(path: &Path, value: &T) -> Result<bool, ProjectError> {
    create_new(path, &to_json(path, value)?)
}

fn to_json<T: Serialize>(path: &Path, value: &T) -> Result<Vec<u8>, ProjectError> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|error| ProjectError::Malformed { path: path.into(), message: error.to_string() })?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Reads a JSON file; `None` if it is not there.
///
/// # Errors
/// [`ProjectError::Io`], [`ProjectError::Malformed`] with line and column, [`ProjectError::Newer`].
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ProjectError> {
    let Some(text) = read(path)? else { return Ok(None) };
    match serde_json::from_str(&text) {
        Ok(value) => Ok(Some(value)),
        Err(error) => {
            check_schema(path, serde_json::from_str::<SchemaOnly>(&text).ok().map(|found| found.schema))?;
            Err(ProjectError::Malformed { path: path.into(), message: error.to_string() })
        }
    }
}

/// Reads a YAML file; `None` if it is not there.
///
/// # Errors
/// As [`read_json`].
pub fn read_yaml<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ProjectError> {
    let Some(text) = read(path)? else { return Ok(None) };
    let schema =
        text.lines().find_map(|line| line.strip_prefix("schema:")).and_then(|n| n.trim().parse().ok());
    check_schema(path, schema)?;
    serde_saphyr::from_str(&text)
        .map(Some)
        .map_err(|error| ProjectError::Malformed { path: path.into(), message: error.to_string() })
}

/// Reads a text file; `None` if it is not there.
///
/// # Errors
/// [`ProjectError::Io`] with the path.
pub fn read(path: &Path) -> Result<Option<String>, ProjectError> {
    let is_stale = |found: &io::Result<Vec<u8>>| {
        found.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::StaleNetworkFileHandle)
    };
    let mut found = std::fs::read(path);
    // a network file system may hold the file that was just replaced: opened again it is the new one
    for _ in 0..2 {
        if is_stale(&found) {
            found = std::fs::read(path);
        }
    }
    match found {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(ProjectError::io("read", path)(error)),
    }
}

#[derive(serde::Deserialize)]
struct SchemaOnly {
    schema: u32,
}

/// Refuses what a newer version wrote.
///
/// # Errors
/// [`ProjectError::Newer`].
pub fn check_schema(path: &Path, found: Option<u32>) -> Result<(), ProjectError> {
    match found {
        Some(found) if found > SCHEMA => Err(ProjectError::Newer { path: path.into(), found, known: SCHEMA }),
        _ => Ok(()),
    }
}

/// Writes and syncs `.NAME.HOST-PID-N.tmp` beside `path`.
fn write_temporary(path: &Path, bytes: &[u8]) -> Result<PathBuf, ProjectError> {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let unique = format!(
        ".{name}.{}-{}-{}.tmp",
        crate::process::host(),
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    );
    let temporary = path.with_file_name(unique);
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(|source| {
        discard(&temporary);
        ProjectError::Io { action: "write", path: path.into(), source }
    })?;
    Ok(temporary)
}

/// Removes a temporary file; one that stays is harmless and swept by `fsck`.
fn discard(temporary: &Path) {
    if let Err(error) = std::fs::remove_file(temporary) {
        log::debug!("temporary file {} stays: {error}", temporary.display());
    }
}

/// Makes a rename durable. File systems that cannot sync a folder do not need it.
pub fn sync_folder(file: &Path) {
    let Some(folder) = file.parent() else { return };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    if let Err(error) = File::open(folder).and_then(|folder| folder.sync_all()) {
        log::debug!("fsync of {}: {error}", folder.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_creators_one_wins_and_its_file_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("intent.json");
        let wins: usize = std::thread::scope(|scope| {
            let path = &path;
            let workers: Vec<_> = (0..8)
                .map(|i| {
                    scope.spawn(move || create_new(path, format!("{i}").repeat(4096).as_bytes()).unwrap())
                })
                .collect();
            workers.into_iter().map(|worker| usize::from(worker.join().unwrap())).sum()
        });
        assert_eq!(wins, 1);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.len(), 4096);
        assert!(text.chars().all(|c| text.starts_with(c)));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "temporary files are gone");
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_names_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("absent/report.json");
        let error = write(&path, b"x").unwrap_err();
        assert!(error.to_string().contains("absent/report.json"), "{error}");
    }

    #[test]
    fn a_newer_schema_is_refused_with_a_hint() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vitreous.yaml");
        write(&path, b"schema: 99\nname: x\n").unwrap();
        let error = read_yaml::<crate::ProjectFile>(&path).unwrap_err();
        assert!(error.to_string().contains("schema 99"), "{error}");
        assert!(error.hint().unwrap().contains("newer"));
    }
}
