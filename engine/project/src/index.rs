//! A cache of how finished jobs ended, so that `status` of a project of thousands reads few files.
//!
//! An entry is believed only while its job folder has the modification time it had when the entry was made: a new
//! request, cancellation or attempt changes that time. Entries are made only for folders that had been still for
//! `STILL_NS` by the file server's own clock, so that two changes within one tick of it are not taken for one.
//! The cache may be deleted at any time.

use crate::atomic;
use crate::error::ProjectError;
use crate::job::JobDir;
use crate::names::JobNumber;
use crate::project::Project;
use crate::state::{Evidence, Reason, Status};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use vitreous_model::SCHEMA;

/// A folder must have been unchanged for so long, ns, before how it looks is cached: the coarsest time stamps in use
/// (some NFS servers, HFS+) tick once a second.
const STILL_NS: i64 = 2_000_000_000;

/// What a table of jobs shows of one, besides its state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The job.
    pub job: JobNumber,
    /// Job type.
    #[serde(rename = "type")]
    pub job_type: String,
    /// A word for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// Lane.
    pub lane: String,
    /// Jobs it takes its inputs from.
    #[serde(default)]
    pub parents: Vec<JobNumber>,
    /// It watches a folder for more input.
    #[serde(default)]
    pub watches: bool,
    /// Its fingerprint, for reuse by pipelines.
    #[serde(default)]
    pub fingerprint: String,
    /// When it was made, for people.
    pub created_unix_s: f64,
    /// Start of its newest attempt, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_unix_s: Option<f64>,
    /// End of its newest attempt, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_unix_s: Option<f64>,
}

impl Summary {
    /// Of a job and the evidence on it.
    pub fn new(job: &JobDir, evidence: &Evidence) -> Self {
        let spec = job.spec();
        let mut parents: Vec<JobNumber> = spec.inputs.values().flatten().map(|from| from.job).collect();
        parents.sort_unstable();
        parents.dedup();
        Self {
            job: spec.job,
            job_type: spec.job_type.clone(),
            title: spec.title.clone(),
            lane: spec.lane.clone(),
            parents,
            watches: spec.params.contains_key("watch"),
            fingerprint: spec.fingerprint.clone(),
            created_unix_s: spec.created_unix_s,
            started_unix_s: evidence
                .exit
                .as_ref()
                .map(|exit| exit.start_unix_s)
                .or(evidence.submission.as_ref().map(|submission| submission.unix_s)),
            ended_unix_s: evidence.exit.as_ref().map(|exit| exit.end_unix_s),
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    mtime_ns: i64,
    summary: Summary,
    status: Status,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct IndexFile {
    schema: u32,
    /// By folder name.
    jobs: BTreeMap<String, Entry>,
}

/// A job as it was found.
#[derive(Debug)]
pub enum Found {
    /// It has ended and nothing has happened since.
    Known(Summary, Status),
    /// To be judged.
    Open(Box<OpenJob>),
    /// Its records cannot be read.
    Broken(JobNumber, ProjectError),
}

impl Found {
    /// The job's number.
    pub fn number(&self) -> JobNumber {
        match self {
            Self::Known(summary, _) => summary.job,
            Self::Open(open) => open.dir.number(),
            Self::Broken(number, _) => *number,
        }
    }
}

/// A job that has to be judged.
#[derive(Debug)]
pub struct OpenJob {
    /// The job.
    pub dir: JobDir,
    /// What its folder says.
    pub evidence: Evidence,
    mtime_ns: i64,
}

/// All jobs of a project, through the cache.
#[derive(Debug)]
pub struct Survey {
    /// In the order of their numbers.
    pub jobs: Vec<Found>,
    index: IndexFile,
    changed: bool,
    /// The file server's clock before the folders were read; 0: it could not be asked.
    server_ns: i64,
}

impl Survey {
    /// Lists all jobs; reads the records of those that the cache does not know to have ended.
    ///
    /// # Errors
    /// [`ProjectError::Io`] if the project cannot be listed. A single broken job is [`Found::Broken`].
    pub fn take(project: &Project) -> Result<Self, ProjectError> {
        let cached: IndexFile =
            atomic::read_json(&project.cache_file("index.json")).ok().flatten().unwrap_or_default();
        let old = if cached.schema == SCHEMA { cached.jobs } else { BTreeMap::new() };
        let folders = project.job_folders()?;
        let mut survey = Self {
            jobs: Vec::with_capacity(folders.len()),
            index: IndexFile { schema: SCHEMA, jobs: BTreeMap::new() },
            changed: old.len() > folders.len(),
            server_ns: 0,
        };
        let mut unknown = Vec::new();
        for (number, name) in folders {
            let path = project.root().join(&name);
            let mtime_ns = mtime_ns(&path).unwrap_or(0);
            match old.get(&name) {
                Some(entry) if entry.mtime_ns == mtime_ns && mtime_ns != 0 => {
                    survey.jobs.push(Found::Known(entry.summary.clone(), entry.status.clone()));
                    survey.index.jobs.insert(name, entry.clone());
                }
                known => {
                    survey.changed |= known.is_some();
                    unknown.push((number, path, mtime_ns));
                }
            }
        }
        if !unknown.is_empty() {
            survey.server_ns = server_ns(project);
            survey.jobs.extend(open_all(&unknown));
            survey.jobs.sort_by_key(Found::number);
        }
        Ok(survey)
    }

    /// Notes how an open job was judged, if that can be kept.
    pub fn note(&mut self, job: &OpenJob, status: &Status) {
        let evidence = &job.evidence;
        let has_ended =
            (evidence.exit.is_some() || evidence.verdict.is_some()) && !evidence.needs_scheduler();
        let for_good = has_ended || (evidence.attempt > 0 && evidence.intent.is_none());
        let goes_on = matches!(
            status.reason,
            Some(Reason::Requeue | Reason::Uncollected | Reason::Dependency(_) | Reason::LaunchCutShort)
        );
        if !for_good || !status.state.is_final() || goes_on || job.mtime_ns + STILL_NS > self.server_ns {
            return;
        }
        let name =
            job.dir.path().file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let summary = Summary::new(&job.dir, &job.evidence);
        self.index.jobs.insert(name, Entry { mtime_ns: job.mtime_ns, summary, status: status.clone() });
        self.changed = true;
    }

    /// Writes the cache if it has changed. That it cannot be written (a read-only project) is no error.
    pub fn save(&self, project: &Project) {
        if !self.changed {
            return;
        }
        let path = project.cache_file("index.json");
        let written = serde_json::to_vec(&self.index).map(|bytes| atomic::write(&path, &bytes));
        if let Ok(Err(error)) = written {
            log::debug!("{error}");
        }
    }
}

/// Reads the records of many jobs, several at once: on a network file system most of the time is spent waiting.
fn open_all(jobs: &[(JobNumber, PathBuf, i64)]) -> Vec<Found> {
    const READERS: usize = 8;
    /// Fewer are not worth a thread, which costs about as much as reading one job.
    const LEAST_EACH: usize = 8;
    let each = jobs.len().div_ceil(READERS).max(LEAST_EACH);
    let read = |jobs: &[(JobNumber, PathBuf, i64)]| -> Vec<Found> {
        let found = |(number, path, mtime_ns): &(JobNumber, PathBuf, i64)| match open(path, *mtime_ns) {
            Ok(job) => Found::Open(Box::new(job)),
            Err(error) => Found::Broken(*number, error),
        };
        jobs.iter().map(found).collect()
    };
    if jobs.len() <= each {
        return read(jobs);
    }
    std::thread::scope(|scope| {
        let readers: Vec<_> = jobs.chunks(each).map(|chunk| scope.spawn(move || read(chunk))).collect();
        readers.into_iter().flat_map(|reader| reader.join().expect("a reader should not panic")).collect()
    })
}

fn open(path: &Path, mtime_ns: i64) -> Result<OpenJob, ProjectError> {
    let dir = JobDir::open(path)?;
    let evidence = Evidence::gather(&dir)?;
    Ok(OpenJob { dir, evidence, mtime_ns })
}

fn mtime_ns(path: &Path) -> Option<i64> {
    let meta = std::fs::metadata(path).ok()?;
    Some(meta.mtime() * 1_000_000_000 + meta.mtime_nsec())
}

/// The file server's clock: the time it stamps on a file that is written now.
pub fn server_ns(project: &Project) -> i64 {
    let path = project.cache_file("clock");
    match std::fs::File::create(&path).and_then(|mut file| std::io::Write::write_all(&mut file, b".")) {
        Ok(()) => mtime_ns(&path).unwrap_or(0),
        Err(_) => 0,
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests plant broken files")]
mod tests {
    use super::*;
    use crate::allocate::tests::new_job;
    use crate::project::{Microscope, ProjectFile};
    use crate::records::{Exit, Intent, Request, Requester};
    use crate::state::{Seen, State};
    use uuid::Uuid;

    fn finished_job(project: &Project) -> JobDir {
        let job = project.create_job(new_job("a-b"), Some(&Request::new(Requester::User, ""))).unwrap();
        let attempt = job.attempt(1);
        attempt.create().unwrap();
        let uuid = Uuid::new_v4();
        let intent = Intent::new(uuid, "local", "local");
        assert!(attempt.write_intent(&intent).unwrap());
        assert!(!attempt.write_intent(&intent).unwrap(), "an attempt is launched once");
        let exit = Exit { schema: 1, uuid, run: 1, host: "h".into(), end_unix_s: 1.0, ..Exit::default() };
        atomic::write_json(&attempt.file("exit.json"), &exit).unwrap();
        job
    }

    fn age(path: &Path) {
        let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        std::fs::File::open(path).unwrap().set_modified(old).unwrap();
    }

    /// One survey as `status` does it; how many were known from the cache.
    fn survey(project: &Project) -> (usize, Vec<State>) {
        let mut survey = Survey::take(project).unwrap();
        let jobs = std::mem::take(&mut survey.jobs);
        let known = jobs.iter().filter(|found| matches!(found, Found::Known(..))).count();
        let mut states = Vec::new();
        for found in &jobs {
            match found {
                Found::Known(_, status) => states.push(status.state),
                Found::Open(job) => {
                    let status = job.evidence.derive(&Seen::NotAsked);
                    survey.note(job, &status);
                    states.push(status.state);
                }
                Found::Broken(..) => {}
            }
        }
        survey.save(project);
        (known, states)
    }

    #[test]
    fn ended_jobs_come_from_the_cache_until_something_happens_to_them() {
        let folder = tempfile::tempdir().unwrap();
        let project = Project::init(folder.path(), ProjectFile::new("x", Microscope::default())).unwrap();
        let job = finished_job(&project);
        assert_eq!(survey(&project), (0, vec![State::Failed]));
        assert_eq!(survey(&project), (0, vec![State::Failed]), "too fresh to be believed");
        age(job.path());
        survey(&project);
        assert_eq!(survey(&project), (1, vec![State::Failed]));
        job.request(2, &Request::new(Requester::User, "again")).unwrap();
        assert_eq!(survey(&project), (0, vec![State::Waiting]));
    }

    #[test]
    fn the_cache_may_be_deleted_or_broken() {
        let folder = tempfile::tempdir().unwrap();
        let project = Project::init(folder.path(), ProjectFile::new("x", Microscope::default())).unwrap();
        age(finished_job(&project).path());
        survey(&project);
        let before = survey(&project).1;
        std::fs::write(project.cache_file("index.json"), b"{\"schema\": 1, \"jobs\": {\"J0001").unwrap();
        assert_eq!(survey(&project), (0, before.clone()));
        std::fs::remove_dir_all(folder.path().join(crate::project::CACHE_FOLDER)).unwrap();
        assert_eq!(survey(&project), (0, before));
    }

    #[test]
    fn a_broken_job_does_not_hide_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let project = Project::init(folder.path(), ProjectFile::new("x", Microscope::default())).unwrap();
        let job = finished_job(&project);
        finished_job(&project);
        std::fs::write(job.file("job.yaml"), b"schema: 1\njob: [").unwrap();
        let survey = Survey::take(&project).unwrap();
        assert!(
            matches!(&survey.jobs[0], Found::Broken(JobNumber(1), error) if error.to_string().contains("job.yaml"))
        );
        assert!(matches!(&survey.jobs[1], Found::Open(_)));
    }
}
