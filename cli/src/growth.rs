//! Pipelines that follow a running microscope: an import that watches a folder is asked to run again when new movies are
//! complete, and jobs that work item by item when what they take has grown. Nothing is remembered: a file is new if it
//! settled after the newest attempt was launched, by the file server's clock.

use crate::board::Board;
use crate::failure::Outcome;
use crate::{make, plan, queue};
use serde_json::Value;
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use vitreous_jobs::{JobType, Slot, import_movies};
use vitreous_model::outputs::Kind;
use vitreous_project::{JobDir, JobNumber, Project, Request, Requester, State, lineage};

/// What a watching import was told.
#[derive(Debug, Clone)]
pub struct Watch {
    /// Folder or pattern, absolute.
    pub folder: PathBuf,
    /// A file that changed within so many seconds is still being written.
    pub settle_s: f64,
    /// Watching ends when nothing new has come for so many hours.
    pub idle_h: f64,
}

/// What there is to see in a watched folder.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sight {
    /// Complete movies that the newest attempt has not taken in.
    pub new: usize,
    /// Movies still being written.
    pub unsettled: usize,
    /// Since the newest movie came, seconds.
    pub idle_s: f64,
}

/// The file whose presence ends a watch.
const STOPPED: &str = "watch-stopped";

/// How a job watches; `None`: it does not, or not any more by a person's wish.
pub fn watch_of(project: &Project, job: &JobDir) -> Option<Watch> {
    let params = &job.spec().params;
    let folder = project.root().join(params.get("watch")?.as_str()?);
    if job.file(STOPPED).exists() {
        return None;
    }
    let effective = plan::find_type(&job.spec().job_type).ok()?.check(&Value::Object(params.clone())).ok()?;
    let number = |key: &str| effective.get(key).and_then(Value::as_f64);
    Some(Watch { folder, settle_s: number("settle_s")?, idle_h: number("watch_idle_h")? })
}

/// Ends a watch for good; whether there was one.
///
/// # Errors
/// It cannot be written down.
pub fn stop(project: &Project, job: &JobDir) -> Outcome<bool> {
    if watch_of(project, job).is_none() {
        return Ok(false);
    }
    vitreous_project::atomic::write(&job.file(STOPPED), b"")?;
    Ok(true)
}

/// Looks into the folder. `launched_ns` is when the newest attempt was launched; 0: never.
pub fn look(watch: &Watch, launched_ns: i64, now_ns: i64) -> Sight {
    let mut sight = Sight { new: 0, unsettled: 0, idle_s: f64::INFINITY };
    let settle_ns = (watch.settle_s * 1e9) as i64;
    let files = import_movies::patterns(&watch.folder).into_iter().flat_map(|p| make::matching_files(&p));
    for meta in files.filter_map(|path| std::fs::metadata(path).ok()) {
        // a copy may keep the time of its original; the time it arrived is in its inode's
        let modified = meta.mtime() * 1_000_000_000 + meta.mtime_nsec();
        let arrived = meta.ctime() * 1_000_000_000 + meta.ctime_nsec();
        let settled = modified.max(arrived) + settle_ns;
        sight.idle_s = sight.idle_s.min((now_ns - (settled - settle_ns)) as f64 / 1e9);
        if settled > now_ns {
            sight.unsettled += 1;
        } else if settled > launched_ns {
            sight.new += 1;
        }
    }
    sight
}

/// When the newest attempt was launched, by the file server's clock, ns; 0: never.
pub fn launched_ns(job: &JobDir, now_ns: i64) -> i64 {
    let newest = job.latest_attempt().ok().flatten();
    newest.map_or(0, |attempt| match attempt.intent_age_ns(now_ns) {
        0 => 0,
        age => now_ns - age,
    })
}

/// Asks for new attempts of what has grown; the jobs and why.
///
/// # Errors
/// A job's records cannot be read or written.
pub fn follow(project: &Project, board: &Board) -> Outcome<Vec<(JobNumber, String)>> {
    let mut asked = Vec::new();
    let mut growing = BTreeSet::new();
    let mut now_ns = None;
    for job in &board.jobs {
        let number = job.summary.job;
        let grows = job.summary.parents.iter().any(|parent| growing.contains(parent));
        if !job.summary.watches && !grows {
            continue;
        }
        let dir = project.job(number)?;
        let why = if job.summary.watches {
            growing.insert(number);
            let now_ns = *now_ns.get_or_insert_with(|| queue::now_ns(project));
            watched(project, &dir, now_ns)
        } else if takes_in_more(plan::find_type(&job.summary.job_type)?) {
            growing.insert(number);
            lineage::staleness(&dir)?
        } else {
            None
        };
        // what is out, or came to grief, is not asked again
        let Some(why) = why.filter(|_| job.status.state == State::Done && job.next.is_none()) else {
            continue;
        };
        let attempt = job.status.attempt;
        let before = dir.read_request(attempt)?;
        let fresh = Request::new(Requester::Growth, why.clone());
        let (environment, uid) =
            before.map_or((fresh.environment.clone(), fresh.uid), |before| (before.environment, before.uid));
        let request = Request { environment, uid, ..fresh };
        if dir.request(attempt + 1, &request)? {
            asked.push((number, why));
        }
    }
    Ok(asked)
}

/// Whether a further attempt does only what is new: work item by item, or movies that are handed on.
pub fn takes_in_more(job_type: &dyn JobType) -> bool {
    let has_movies = |slots: &[Slot]| slots.iter().any(|slot| slot.kind == Kind::Movies);
    job_type.is_per_item() || (has_movies(job_type.inputs()) && has_movies(job_type.outputs()))
}

fn watched(project: &Project, dir: &JobDir, now_ns: i64) -> Option<String> {
    let watch = watch_of(project, dir)?;
    let sight = look(&watch, launched_ns(dir, now_ns), now_ns);
    let is_idle = sight.idle_s.is_finite() && sight.idle_s > watch.idle_h * 3600.0;
    if is_idle && sight.new == 0 {
        // that it cannot be written down is no harm: the next pass tries again
        if let Err(failure) = stop(project, dir) {
            log::debug!("{:#}", failure.error);
        }
        return None;
    }
    (sight.new > 0).then(|| format!("{} new movie{}", sight.new, if sight.new == 1 { "" } else { "s" }))
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests plant files")]
mod tests {
    use super::*;

    #[test]
    fn a_movie_is_new_once_it_has_settled_after_the_launch() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.tif"), "a").unwrap();
        let meta = std::fs::metadata(folder.path().join("a.tif")).unwrap();
        let came = meta.ctime() * 1_000_000_000 + meta.ctime_nsec();
        let watch = Watch { folder: folder.path().into(), settle_s: 60.0, idle_h: 1.0 };
        let second = 1_000_000_000;
        let seen = |launched: i64, now: i64| {
            let sight = look(&watch, came + launched * second, came + now * second);
            (sight.new, sight.unsettled, sight.idle_s.round())
        };
        assert_eq!(seen(-100, 30), (0, 1, 30.0), "still being written");
        assert_eq!(seen(-100, 61), (1, 0, 61.0));
        assert_eq!(seen(30, 61), (1, 0, 61.0), "the attempt came too early for it");
        assert_eq!(seen(61, 90), (0, 0, 90.0), "taken in");
        std::fs::remove_file(folder.path().join("a.tif")).unwrap();
        assert_eq!(look(&watch, 0, came).idle_s, f64::INFINITY);
    }
}
