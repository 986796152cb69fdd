//! Making a job: its number is unique however many make jobs at once.

use crate::atomic;
use crate::clock;
use crate::error::ProjectError;
use crate::job::{JobDir, JobSpec, ResourceOverrides, RetryPolicy};
use crate::names::{InputRef, JobNumber};
use crate::project::{Project, folders_in, to_yaml};
use crate::records::Request;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use uuid::Uuid;
use vitreous_model::SCHEMA;

/// What a new job is to be.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    /// Job type.
    pub job_type: String,
    /// A word for people.
    pub title: String,
    /// Input slot → outputs of other jobs.
    pub inputs: BTreeMap<String, Vec<InputRef>>,
    /// Parameters as given.
    pub params: Map<String, Value>,
    /// Lane.
    pub lane: String,
    /// Resources the user insists on.
    pub resources: ResourceOverrides,
    /// When to run again.
    pub retry: RetryPolicy,
    /// Values for the site's own variables in the lane's template.
    pub vars: BTreeMap<String, Value>,
    /// See [`JobSpec::fingerprint`].
    pub fingerprint: String,
}

impl Project {
    /// Makes a job folder with `job.yaml` and, if given, the request for its first attempt.
    ///
    /// The number is claimed by `mkdir J0007`; the folder gets its full name by rename when it is whole. While the
    /// bare folder stands nobody else can claim the number, and afterwards the full name shows that it is taken.
    ///
    /// # Errors
    /// [`ProjectError::Io`].
    pub fn create_job(&self, new: NewJob, request: Option<&Request>) -> Result<JobDir, ProjectError> {
        let (number, bare) = self.claim_number()?;
        let spec = JobSpec {
            schema: SCHEMA,
            job: number,
            job_type: new.job_type,
            uuid: Uuid::new_v4(),
            title: new.title,
            created_unix_s: clock::unix_s(),
            inputs: new.inputs,
            params: new.params,
            lane: new.lane,
            resources: new.resources,
            vars: new.vars,
            retry: new.retry,
            fingerprint: new.fingerprint,
        };
        let path = self.root().join(number.folder(&spec.job_type));
        if let Err(error) = fill(&bare, &path, &spec, request) {
            // a full disk, say: what was begun is taken back, so that the number is free again
            if let Err(error) = std::fs::remove_dir_all(&bare) {
                log::debug!("{} stays: {error}", bare.display());
            }
            return Err(error);
        }
        Ok(JobDir::with_spec(path, spec))
    }

    fn claim_number(&self) -> Result<(JobNumber, PathBuf), ProjectError> {
        loop {
            let highest = folders_in(self.root())?.iter().map(|(number, _)| number.0).max().unwrap_or(0);
            let number = JobNumber(highest + 1);
            let bare = self.root().join(number.bare_folder());
            match std::fs::create_dir(&bare) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(ProjectError::io("create", bare)(error)),
            }
            // somebody may have claimed, filled and renamed the same number between our list and our mkdir
            if folders_in(self.root())?.iter().filter(|(found, _)| *found == number).count() == 1 {
                return Ok((number, bare));
            }
            std::fs::remove_dir(&bare).map_err(ProjectError::io("remove", &bare))?;
        }
    }
}

/// Writes the records of a new job into its bare folder and gives that its full name.
fn fill(bare: &Path, path: &Path, spec: &JobSpec, request: Option<&Request>) -> Result<(), ProjectError> {
    let yaml = bare.join("job.yaml");
    atomic::write(&yaml, to_yaml(&yaml, spec)?.as_bytes())?;
    if let Some(request) = request {
        atomic::write_json(&bare.join("request-01.json"), request)?;
    }
    std::fs::rename(bare, path).map_err(ProjectError::io("create", path))?;
    atomic::sync_folder(path);
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::project::{Microscope, ProjectFile};
    use crate::records::Requester;

    pub(crate) fn new_job(job_type: &str) -> NewJob {
        NewJob {
            job_type: job_type.into(),
            title: String::new(),
            inputs: BTreeMap::new(),
            params: Map::new(),
            lane: "local".into(),
            resources: ResourceOverrides::default(),
            retry: RetryPolicy::default(),
            vars: BTreeMap::new(),
            fingerprint: String::new(),
        }
    }

    #[test]
    fn many_at_once_get_different_numbers_without_gaps() {
        let folder = tempfile::tempdir().unwrap();
        let project = Project::init(folder.path(), ProjectFile::new("x", Microscope::default())).unwrap();
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let project = &project;
                scope.spawn(move || {
                    for _ in 0..5 {
                        project.create_job(new_job(["a-b", "c-d"][worker % 2]), None).unwrap();
                    }
                });
            }
        });
        let numbers: Vec<u32> = project.job_folders().unwrap().iter().map(|(number, _)| number.0).collect();
        assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
    }

    #[test]
    fn a_job_reads_back_as_it_was_made() {
        let folder = tempfile::tempdir().unwrap();
        let project = Project::init(folder.path(), ProjectFile::new("x", Microscope::default())).unwrap();
        let mut new = new_job("correct-motion");
        new.inputs.insert("movies".into(), vec!["J1.movies".parse().unwrap()]);
        new.params.insert("bfactor".into(), serde_json::json!(150.5));
        new.params.insert("patches".into(), serde_json::json!([5, 5]));
        new.params.insert("gain".into(), serde_json::json!("yes: #x 'y'"));
        let made = project.create_job(new, Some(&Request::new(Requester::User, ""))).unwrap();
        assert_eq!(made.path().file_name().unwrap(), "J0001-correct-motion");
        assert_eq!(project.job(JobNumber(1)).unwrap(), made);
        assert_eq!(made.read_request(1).unwrap().unwrap().by, Requester::User);
        assert!(matches!(project.job(JobNumber(2)), Err(ProjectError::NoJob { .. })));
    }
}
