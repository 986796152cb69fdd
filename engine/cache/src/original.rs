//! The files that copies are made of.

use serde::{Deserialize, Serialize};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use vitreous_project::fingerprint::Fingerprint;

/// A file as it was when it was looked at: a copy is one of a file of this path, size and time, and of no other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Original {
    /// Absolute, without links.
    pub path: PathBuf,
    /// Bytes.
    pub size: u64,
    /// When its content last changed: whole seconds since 1970, and nanoseconds.
    pub modified: (i64, i64),
}

impl Original {
    /// Looks at a file.
    ///
    /// # Errors
    /// It is not there, or is no file.
    pub fn of(path: &Path) -> io::Result<Self> {
        let path = path.canonicalize()?;
        let found = std::fs::metadata(&path)?;
        if !found.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "is no file"));
        }
        Ok(Self { path, size: found.len(), modified: (found.mtime(), found.mtime_nsec()) })
    }

    /// Name of its copy's folder: digests of path and of path, size and time, and the size, so that room is counted by names.
    pub fn key(&self) -> String {
        let mut digest = Fingerprint::default();
        digest.bytes(self.path.as_os_str().as_bytes());
        let path = digest.hex();
        digest.bytes(&self.size.to_le_bytes());
        digest.bytes(&self.modified.0.to_le_bytes()).bytes(&self.modified.1.to_le_bytes());
        format!("{}-{}-{}", &path[..16], digest.hex(), self.size)
    }

    /// The part of a key that all versions of a file share.
    pub(crate) fn path_of(key: &str) -> &str {
        key.split('-').next().unwrap_or(key)
    }

    /// The bytes of the file that a key is of; 0 for what is no key.
    pub(crate) fn bytes_of(key: &str) -> u64 {
        key.rsplit('-').next().and_then(|size| size.parse().ok()).unwrap_or(0)
    }

    /// Name of the file; readers may go by its ending.
    pub fn file_name(&self) -> &std::ffi::OsStr {
        self.path.file_name().unwrap_or_default()
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests make their own input")]
mod tests {
    use super::*;

    #[test]
    fn another_size_time_or_path_is_another_file() {
        let one = Original { path: "/a/b.mrcs".into(), size: 7, modified: (1, 2) };
        let others = [
            Original { path: "/a/c.mrcs".into(), ..one.clone() },
            Original { size: 8, ..one.clone() },
            Original { modified: (1, 3), ..one.clone() },
            Original { modified: (2, 2), ..one.clone() },
        ];
        assert_eq!(one.key(), one.clone().key());
        assert!(others.iter().all(|other| other.key() != one.key()));
        assert_eq!(Original::bytes_of(&others[1].key()), 8);
        let of_path = |original: &Original| Original::path_of(&original.key()).to_string();
        assert!(of_path(&one) == of_path(&others[1]) && of_path(&one) != of_path(&others[0]));
    }

    #[test]
    fn links_lead_to_the_same_copy_and_folders_have_none() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let (file, link) = (folder.path().join("a.mrcs"), folder.path().join("b.mrcs"));
        std::fs::write(&file, b"x").expect("should write");
        std::os::unix::fs::symlink(&file, &link).expect("should link");
        assert_eq!(Original::of(&link).expect("a link"), Original::of(&file).expect("a file"));
        assert!(Original::of(folder.path()).is_err() && Original::of(&folder.path().join("c")).is_err());
    }
}
