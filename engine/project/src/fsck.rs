//! Looks over a whole project, sets right what can be, and says what cannot.

use crate::error::ProjectError;
use crate::job::JobDir;
use crate::names::JobNumber;
use crate::project::{CACHE_FOLDER, Project, folders_in};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Where.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: String,
    /// What was done about it, or is to be done by hand.
    pub remedy: String,
    /// It needs a person.
    pub serious: bool,
}

/// Checks every job folder, throws the caches away (they are rebuilt by the next command), sweeps temporary files and
/// puts half-made job folders aside into `.vitreous/aside`. With `dry_run` it only looks.
///
/// # Errors
/// [`ProjectError::Io`] if the project cannot be listed or changed.
pub fn check(project: &Project, dry_run: bool) -> Result<Vec<Finding>, ProjectError> {
    let mut findings = Vec::new();
    let mut seen: BTreeMap<JobNumber, String> = BTreeMap::new();
    let mut folders = folders_in(project.root())?;
    folders.sort();
    for (number, name) in folders {
        let path = project.root().join(&name);
        if !name.contains('-') {
            findings.push(put_aside(project, &path, dry_run)?);
            continue;
        }
        if let Some(other) = seen.insert(number, name.clone()) {
            findings.push(Finding {
                path: path.clone(),
                problem: format!("has the same number as {other}"),
                remedy: "give one of them another number by hand: rename the folder and correct `job:` in its job.yaml".into(),
                serious: true,
            });
        }
        check_job(&path, number, &mut findings);
        sweep(&path, dry_run, &mut findings);
    }
    sweep(project.root(), dry_run, &mut findings);
    let index = project.root().join(CACHE_FOLDER).join("index.json");
    if index.exists() && !dry_run {
        std::fs::remove_file(&index).map_err(ProjectError::io("remove", &index))?;
    }
    Ok(findings)
}

fn check_job(path: &Path, number: JobNumber, findings: &mut Vec<Finding>) {
    let mut serious = |path: &Path, problem: String, remedy: &str| {
        findings.push(Finding { path: path.into(), problem, remedy: remedy.into(), serious: true });
    };
    let job = match JobDir::open(path) {
        Ok(job) => job,
        Err(error) => {
            return serious(
                &path.join("job.yaml"),
                error.to_string(),
                "restore it from a backup, or remove the folder",
            );
        }
    };
    if job.number() != number {
        serious(
            path,
            format!("its job.yaml says {}", job.number()),
            "correct `job:` in its job.yaml, or the folder's name",
        );
    }
    for from in job.spec().inputs.values().flatten() {
        if let Err(error) = job.sibling(from.job) {
            serious(
                path,
                format!("takes {from}: {error}"),
                "restore that job; results that exist are not affected",
            );
        }
    }
    let names = job.names().unwrap_or_default();
    for attempt in names.iter().filter_map(|name| crate::names::attempt_in(name, "attempt")) {
        let dir = job.attempt(attempt);
        let errors = [dir.intent().err(), dir.submission().err(), dir.exit().err()];
        for error in errors.into_iter().flatten() {
            serious(
                dir.path(),
                error.to_string(),
                "move the file away: the state then follows from the other records",
            );
        }
    }
    for error in [job.outputs().err(), job.effective().err()].into_iter().flatten() {
        serious(path, error.to_string(), "run the job again: `vitreous retry`");
    }
}

/// A folder `J0007` whose maker did not live to finish it.
fn put_aside(project: &Project, path: &Path, dry_run: bool) -> Result<Finding, ProjectError> {
    let aside = project.cache_file("aside");
    if !dry_run {
        std::fs::create_dir_all(&aside).map_err(ProjectError::io("create", &aside))?;
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let to = aside.join(format!("{name}-{}", uuid::Uuid::new_v4()));
        std::fs::rename(path, &to).map_err(ProjectError::io("move", path))?;
    }
    Ok(Finding {
        path: path.into(),
        problem: "a job that was being made when its command was killed".into(),
        remedy: format!("put aside in {}", aside.display()),
        serious: false,
    })
}

/// Removes `.NAME.HOST-PID-N.tmp` of this host's dead processes. Those of other hosts stay: they may be in use.
fn sweep(folder: &Path, dry_run: bool, findings: &mut Vec<Finding>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path();
        if crate::names::attempt_in(&name, "attempt").is_some() && path.is_dir() {
            sweep(&path, dry_run, findings);
            continue;
        }
        let Some(pid) = temporary_of_this_host(&name) else { continue };
        if Path::new("/proc").join(pid.to_string()).exists() {
            continue;
        }
        let removed = dry_run || std::fs::remove_file(&path).is_ok();
        findings.push(Finding {
            path,
            problem: "a temporary file of a dead process".into(),
            remedy: if removed { "removed" } else { "remove it by hand" }.into(),
            serious: false,
        });
    }
}

/// The pid in the name of a temporary file of this host.
fn temporary_of_this_host(name: &str) -> Option<u32> {
    let stem = name.strip_prefix('.')?.strip_suffix(".tmp")?;
    let (rest, _) = stem.rsplit_once('-')?;
    let (rest, pid) = rest.rsplit_once('-')?;
    rest.ends_with(&format!(".{}", crate::process::host())).then(|| pid.parse().ok()).flatten()
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests plant broken files")]
mod tests {
    use super::*;
    use crate::allocate::tests::new_job;
    use crate::project::{Microscope, ProjectFile};

    #[test]
    fn finds_and_repairs_what_a_kill_can_leave() {
        let folder = tempfile::tempdir().unwrap();
        let project = Project::init(folder.path(), ProjectFile::new("x", Microscope::default())).unwrap();
        let job = project.create_job(new_job("a-b"), None).unwrap();
        assert_eq!(check(&project, false).unwrap(), []);
        std::fs::create_dir(folder.path().join("J0002")).unwrap();
        let temporary = job.file(&format!(".outputs.json.{}-4194303-0.tmp", crate::process::host()));
        std::fs::write(&temporary, b"half").unwrap();
        assert_eq!(check(&project, true).unwrap().len(), 2);
        assert!(temporary.exists(), "a dry run changes nothing");
        assert_eq!(check(&project, false).unwrap().len(), 2);
        assert!(!temporary.exists() && !folder.path().join("J0002").exists());
        assert_eq!(check(&project, false).unwrap(), []);
    }

    #[test]
    fn names_what_needs_a_person() {
        let folder = tempfile::tempdir().unwrap();
        let project = Project::init(folder.path(), ProjectFile::new("x", Microscope::default())).unwrap();
        let mut new = new_job("a-b");
        new.inputs.insert("movies".into(), vec!["J9.movies".parse().unwrap()]);
        let job = project.create_job(new, None).unwrap();
        std::fs::write(job.file("outputs.json"), b"{").unwrap();
        let findings = check(&project, false).unwrap();
        assert_eq!(findings.len(), 2);
        assert!(findings.iter().all(|finding| finding.serious));
        assert!(findings[0].problem.contains("no job J9"), "{findings:?}");
        assert!(findings[1].problem.contains("outputs.json"), "{findings:?}");
    }
}
