//! A project: its directory and `vitreous.yaml`.

use crate::atomic;
use crate::error::ProjectError;
use crate::job::JobDir;
use crate::names::JobNumber;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use uuid::Uuid;
use vitreous_model::SCHEMA;

/// The file that makes a directory a project.
pub const PROJECT_FILE: &str = "vitreous.yaml";
/// Caches and locks, relative to the project.
pub const CACHE_FOLDER: &str = ".vitreous";

/// The microscope, as far as it is the same for the whole project; import jobs take it as their default.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Microscope {
    /// Pixel size, Å.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pixel_size_a: Option<f64>,
    /// Acceleration voltage, kV.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub voltage_kv: Option<f64>,
    /// Spherical aberration, mm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cs_mm: Option<f64>,
    /// Amplitude contrast, fraction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amplitude_contrast: Option<f64>,
}

impl Microscope {
    /// Its values by the names that job parameters have.
    pub fn values(&self) -> [(&'static str, Option<f64>); 4] {
        [
            ("pixel_size", self.pixel_size_a),
            ("voltage", self.voltage_kv),
            ("cs", self.cs_mm),
            ("amplitude_contrast", self.amplitude_contrast),
        ]
    }
}

/// What jobs of this project do unless told otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Defaults {
    /// Lane.
    pub lane: String,
    /// Times a job is run again by itself.
    pub retry: u32,
}

impl Default for Defaults {
    fn default() -> Self {
        Self { lane: "local".into(), retry: 0 }
    }
}

/// `vitreous.yaml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProjectFile {
    /// Version of the layout.
    pub schema: u32,
    /// Name for people.
    pub name: String,
    /// Identity, kept when the directory moves.
    pub uuid: Uuid,
    /// The microscope.
    #[serde(default)]
    pub microscope: Microscope,
    /// Defaults of its jobs.
    #[serde(default)]
    pub defaults: Defaults,
}

impl ProjectFile {
    /// A new project.
    pub fn new(name: &str, microscope: Microscope) -> Self {
        Self {
            schema: SCHEMA,
            name: name.into(),
            uuid: Uuid::new_v4(),
            microscope,
            defaults: Defaults::default(),
        }
    }
}

/// An opened project.
#[derive(Debug, Clone)]
pub struct Project {
    root: PathBuf,
    file: ProjectFile,
}

impl Project {
    /// Makes `root` (which may exist) a project.
    ///
    /// # Errors
    /// [`ProjectError::AlreadyAProject`], [`ProjectError::Io`].
    pub fn init(root: &Path, file: ProjectFile) -> Result<Self, ProjectError> {
        std::fs::create_dir_all(root).map_err(ProjectError::io("create", root))?;
        let root = root.canonicalize().map_err(ProjectError::io("find", root))?;
        let path = root.join(PROJECT_FILE);
        let text = to_yaml(&path, &file)?;
        if !atomic::create_new(&path, text.as_bytes())? {
            return Err(ProjectError::AlreadyAProject { path: root });
        }
        Ok(Self { root, file })
    }

    /// Opens the project in `root`.
    ///
    /// # Errors
    /// [`ProjectError::NoProject`]; else as [`atomic::read_yaml`].
    pub fn open(root: &Path) -> Result<Self, ProjectError> {
        let no_project = || ProjectError::NoProject { path: root.into() };
        let root = root.canonicalize().map_err(|_| no_project())?;
        match atomic::read_yaml(&root.join(PROJECT_FILE))? {
            Some(file) => Ok(Self { root, file }),
            None => Err(no_project()),
        }
    }

    /// Opens the project that `start` lies in.
    ///
    /// # Errors
    /// As [`Project::open`].
    pub fn find(start: &Path) -> Result<Self, ProjectError> {
        let no_project = || ProjectError::NoProject { path: start.into() };
        let absolute = start.canonicalize().map_err(|_| no_project())?;
        let root =
            absolute.ancestors().find(|folder| folder.join(PROJECT_FILE).is_file()).ok_or_else(no_project)?;
        Self::open(root)
    }

    /// Its directory, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `vitreous.yaml`.
    pub fn file(&self) -> &ProjectFile {
        &self.file
    }

    /// A file among the caches and locks; the folder is made if need be and possible.
    pub fn cache_file(&self, name: &str) -> PathBuf {
        let folder = self.root.join(CACHE_FOLDER);
        if let Err(error) = std::fs::create_dir(&folder)
            && error.kind() != std::io::ErrorKind::AlreadyExists
        {
            log::debug!("no cache in {}: {error}", folder.display());
        }
        folder.join(name)
    }

    /// Number, folder name of each job, in order; jobs that are just being made are left out.
    ///
    /// # Errors
    /// [`ProjectError::Io`].
    pub fn job_folders(&self) -> Result<Vec<(JobNumber, String)>, ProjectError> {
        let mut folders: Vec<_> =
            folders_in(&self.root)?.into_iter().filter(|(_, name)| name.contains('-')).collect();
        folders.sort();
        Ok(folders)
    }

    /// A job by number.
    ///
    /// # Errors
    /// [`ProjectError::NoJob`]; else as [`JobDir::open`].
    pub fn job(&self, number: JobNumber) -> Result<JobDir, ProjectError> {
        find_job(&self.root, number)
    }
}

/// Every entry of a project that is or will be a job's folder.
pub(crate) fn folders_in(root: &Path) -> Result<Vec<(JobNumber, String)>, ProjectError> {
    let entries = std::fs::read_dir(root).map_err(ProjectError::io("list", root))?;
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    Ok(names
        .filter_map(|name| JobNumber::of_folder(&name).map(|(number, _)| number).map(|n| (n, name)))
        .collect())
}

pub(crate) fn find_job(root: &Path, number: JobNumber) -> Result<JobDir, ProjectError> {
    let folders = folders_in(root)?;
    match folders.iter().find(|(found, name)| *found == number && name.contains('-')) {
        Some((_, name)) => JobDir::open(&root.join(name)),
        None => Err(ProjectError::NoJob { job: number.to_string(), project: root.into() }),
    }
}

/// A value as YAML text.
pub(crate) fn to_yaml<T: Serialize>(path: &Path, value: &T) -> Result<String, ProjectError> {
    serde_saphyr::to_string(value)
        .map_err(|error| ProjectError::Malformed { path: path.into(), message: error.to_string() })
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests plant broken files")]
mod tests {
    use super::*;

    #[test]
    fn a_project_is_found_from_any_subdirectory_and_made_only_once() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("T20S");
        let microscope =
            Microscope { pixel_size_a: Some(0.6575), voltage_kv: Some(300.0), ..Microscope::default() };
        let made = Project::init(&root, ProjectFile::new("T20S", microscope)).unwrap();
        let deep = root.join("raw/grid1");
        std::fs::create_dir_all(&deep).unwrap();
        assert_eq!(Project::find(&deep).unwrap().file(), made.file());
        let again = Project::init(&root, ProjectFile::new("other", Microscope::default())).unwrap_err();
        assert!(matches!(again, ProjectError::AlreadyAProject { .. }));
        assert!(matches!(Project::find(folder.path()).unwrap_err(), ProjectError::NoProject { .. }));
    }

    #[test]
    fn an_unknown_key_in_the_project_file_is_an_error_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let uuid = Uuid::new_v4();
        std::fs::write(
            folder.path().join(PROJECT_FILE),
            format!("schema: 1\nname: x\nuuid: {uuid}\nlab: y\n"),
        )
        .unwrap();
        let text = Project::open(folder.path()).unwrap_err().to_string();
        assert!(text.contains("vitreous.yaml") && text.contains("lab") && text.contains('4'), "{text}");
    }
}
