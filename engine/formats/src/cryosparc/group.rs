//! Exported groups (`.csg`): YAML that names the datasets of a set, one for each kind of its fields.

use super::{CsError, Dataset};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Component, Path, PathBuf};

/// The kind of group that holds particles.
pub const PARTICLE: &str = "particle";
/// The kind of group that holds movies or micrographs.
pub const EXPOSURE: &str = "exposure";
/// The kind of group that holds maps.
pub const VOLUME: &str = "volume";

#[derive(Debug, Serialize, Deserialize)]
struct GroupFile {
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    group: GroupHead,
    results: BTreeMap<String, ResultEntry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct GroupHead {
    #[serde(default)]
    name: String,
    #[serde(default)]
    title: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    description: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct ResultEntry {
    metafile: String,
    num_items: u64,
    #[serde(rename = "type")]
    kind: String,
}

/// What a path of CryoSPARC is relative to, and the path itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CsPath<'a> {
    /// Without mark.
    pub path: &'a str,
    /// Whether it was marked by `>`: relative to the folder of its file. Others are relative to CryoSPARC's project.
    pub is_beside: bool,
}

impl<'a> CsPath<'a> {
    /// From a path as files have it.
    pub fn of(path: &'a str) -> Self {
        match path.strip_prefix('>') {
            Some(path) => Self { path, is_beside: true },
            None => Self { path, is_beside: false },
        }
    }

    /// The path below a folder, without `.` and `..` where these can be resolved by the text alone.
    pub fn below(&self, folder: &Path) -> PathBuf {
        let mut clean = PathBuf::new();
        for part in folder.join(self.path).components() {
            match part {
                Component::CurDir => {}
                Component::ParentDir
                    if matches!(clean.components().next_back(), Some(Component::Normal(_))) =>
                {
                    clean.pop();
                }
                other => clean.push(other),
            }
        }
        clean
    }
}

/// The datasets that a group of a kind (`particle`, `exposure` …) names, each once, that of the images first.
///
/// # Errors
/// A file that cannot be read, is no group, is of another kind, or names a file by an absolute or empty path.
pub fn group_files(path: &Path, kind: &str) -> Result<Vec<PathBuf>, CsError> {
    let text = std::fs::read_to_string(path).map_err(|source| CsError::Io { path: path.into(), source })?;
    group_files_of(path, &text, kind)
}

/// The same from text; `path` is for messages and for what paths are relative to.
///
/// # Errors
/// As [`group_files`].
pub fn group_files_of(path: &Path, text: &str, kind: &str) -> Result<Vec<PathBuf>, CsError> {
    let error = |why: String| CsError::Group { path: path.into(), why };
    let file: GroupFile = serde_saphyr::from_str(text).map_err(|e| error(e.to_string()))?;
    if file.group.kind != kind {
        return Err(error(format!("it is a group of type `{}`, expected `{kind}`", file.group.kind)));
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut slots: Vec<(&String, &ResultEntry)> = file.results.iter().collect();
    // the records are those of the images; micrographs may stand beside the movies they were made of
    slots.sort_by_key(|(name, _)| match name.as_str() {
        "blob" | "micrograph_blob" => 0,
        other if other.ends_with("blob") => 1,
        _ => 2,
    });
    let mut files: Vec<PathBuf> = Vec::new();
    for (name, result) in slots {
        let named = CsPath::of(&result.metafile);
        if named.path.is_empty() {
            return Err(error(format!("results.{name}.metafile is empty")));
        }
        let file = named.below(folder);
        if !files.contains(&file) {
            files.push(file);
        }
    }
    if files.is_empty() {
        return Err(error("it has no results".into()));
    }
    Ok(files)
}

/// Reads datasets and joins them by `uid`; also returns, as sentences, the fields that two of them have.
///
/// # Errors
/// A file that cannot be read, or that does not belong to the first ([`Dataset::join`]).
pub fn read_joined(files: &[PathBuf]) -> Result<(Dataset, Vec<String>), CsError> {
    let Some((first, others)) = files.split_first() else {
        return Err(CsError::Group { path: PathBuf::new(), why: "no file was given".into() });
    };
    let mut dataset = Dataset::read(first)?;
    let mut notes = Vec::new();
    for path in others {
        let both = dataset.join(Dataset::read(path)?)?;
        if !both.is_empty() {
            let (list, path) = (both.join(", "), path.display());
            notes.push(format!("fields of {path} that an earlier file has too were left: {list}"));
        }
    }
    Ok((dataset, notes))
}

/// A group to be written.
#[derive(Debug, Clone)]
pub struct GroupOut<'a> {
    /// Name, also of its results' owner.
    pub name: &'a str,
    /// Kind, e.g. [`PARTICLE`].
    pub kind: &'a str,
    /// What it is, for people.
    pub description: &'a str,
    /// What it consists of.
    pub results: &'a [ResultOut<'a>],
    /// Records of each of its datasets.
    pub rows: u64,
}

/// A result of a group: the fields of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResultOut<'a> {
    /// The first part of its fields: `blob`, `ctf` …
    pub name: &'a str,
    /// What it is, the second part of its type: mostly the same word.
    pub kind: &'a str,
    /// Name of the dataset that has the fields, in the group's folder.
    pub dataset: &'a str,
}

/// Writes a group.
///
/// # Errors
/// A failed write.
pub fn write_group(out: &mut impl Write, path: &Path, group: &GroupOut<'_>) -> Result<(), CsError> {
    let entry = |result: &ResultOut<'_>| {
        let kind = format!("{}.{}", group.kind, result.kind);
        let metafile = format!(">{}", result.dataset);
        (result.name.to_string(), ResultEntry { metafile, num_items: group.rows, kind })
    };
    let head = GroupHead {
        name: group.name.into(),
        title: group.name.into(),
        kind: group.kind.into(),
        description: group.description.into(),
    };
    let file = GroupFile { created: None, group: head, results: group.results.iter().map(entry).collect() };
    let text = serde_saphyr::to_string(&file)
        .map_err(|e| CsError::Group { path: path.into(), why: e.to_string() })?;
    out.write_all(text.as_bytes()).map_err(|source| CsError::Write { path: path.into(), source })
}
