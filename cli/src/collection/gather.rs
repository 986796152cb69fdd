//! Joins what the jobs of a collection say.

use super::course::Course;
use super::disk;
use super::facts::{self, Facts};
use crate::board::{Board, Judged};
use crate::failure::Outcome;
use crate::{growth, tell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use vitreous_model::report::{Figure, PICTURES};
use vitreous_project::{JobDir, JobNumber, Project, State};
use vitreous_report::collection::{Collection, Exposure, Job, Shown};
use vitreous_report::picture;

/// Exposures whose pictures are shown.
const SHOWN: usize = 8;
/// Newest exposures among which those with pictures are looked for.
const LOOKED_AT: usize = 200;

/// The import and all jobs behind it that follow it as it grows, by number.
pub fn members(board: &Board, import: JobNumber) -> Vec<&Judged> {
    let mut behind = BTreeSet::from([import]);
    let mut members = Vec::new();
    for job in &board.jobs {
        let number = job.summary.job;
        if number != import && !job.summary.parents.iter().any(|parent| behind.contains(parent)) {
            continue;
        }
        let job_type = vitreous_jobs::find(&job.summary.job_type);
        if number == import || job_type.is_some_and(growth::takes_in_more) {
            behind.insert(number);
            members.push(job);
        }
    }
    members
}

/// Job types of which the newest job's figures count; pickers are one type.
fn kind(job_type: &str) -> &str {
    if job_type.starts_with("pick-") { "pick" } else { job_type }
}

/// Everything a page shows.
///
/// # Errors
/// Records that cannot be read.
pub fn gather(
    project: &Project,
    board: &Board,
    import: &JobDir,
    now_ns: i64,
    courses: &mut BTreeMap<String, Course>,
) -> Outcome<Collection> {
    let watch = growth::watch_of(project, import);
    let mut collection = frame(project, import, now_ns);
    collection.is_watched = watch.is_some();
    let members = members(board, import.number());
    let newest: HashMap<&str, JobNumber> =
        members.iter().map(|job| (kind(&job.summary.job_type), job.summary.job)).collect();
    let mut exposures = Joined::default();
    let mut pictured = Vec::new();
    for judged in members {
        let dir = project.job(judged.summary.job)?;
        let facts = Facts::read(&dir)?;
        let finished = courses.entry(judged.summary.job.to_string()).or_default().follow(&dir)?;
        collection.jobs.push(line(judged, &dir, &facts, finished));
        if judged.summary.job == import.number() {
            if let Some(watch) = &watch {
                let launched_ns = launched_ns(import, facts.report_attempt, now_ns);
                let sight = growth::look(watch, launched_ns, now_ns);
                (collection.waiting, collection.still_written) = (sight.new as u64, sight.unsettled as u64);
            }
            collection.left_out.clone_from(&facts.left_out);
            exposures.add(&facts, "");
        } else if newest[kind(&judged.summary.job_type)] == judged.summary.job {
            exposures.add(&facts, &format!("{} {}", judged.summary.job, judged.summary.job_type));
            pictured.push((judged.summary.job_type.clone(), dir.file(PICTURES)));
        }
    }
    collection.exposures = exposures.in_order();
    collection.newest = newest_pictures(&collection.exposures, &pictured);
    Ok(collection)
}

/// What is known without a look at the jobs.
fn frame(project: &Project, import: &JobDir, now_ns: i64) -> Collection {
    let now_unix_s = if now_ns > 0 { now_ns as f64 / 1e9 } else { vitreous_project::clock::unix_s() };
    let (zone_offset_s, zone) = zone_at(now_unix_s);
    let params = &import.spec().params;
    let source = ["watch", "movies", "star"].iter().find_map(|key| params.get(*key)?.as_str());
    let space = rustix::fs::statvfs(project.root()).ok();
    Collection {
        project: project.file().name.clone(),
        import: import.number().to_string(),
        source: source.unwrap_or_default().into(),
        now_unix_s,
        zone_offset_s,
        zone,
        free_bytes: space.map(|space| space.f_bavail * space.f_frsize),
        ..Collection::default()
    }
}

/// Offset of the reader's clock from UTC, seconds, and its name.
fn zone_at(unix_s: f64) -> (f64, String) {
    let Ok(stamp) = jiff::Timestamp::from_second(unix_s as i64) else { return (0.0, "UTC".into()) };
    let zone = jiff::tz::TimeZone::system();
    let info = zone.to_offset_info(stamp);
    (f64::from(info.offset().seconds()), info.abbreviation().into())
}

/// When the attempt was launched whose report is shown, by the file server's clock, ns; 0: never. A movie that settled
/// later is not in it.
fn launched_ns(import: &JobDir, attempt: u32, now_ns: i64) -> i64 {
    match import.attempt(attempt).intent_age_ns(now_ns) {
        0 => 0,
        age => now_ns - age,
    }
}

fn line(judged: &Judged, dir: &JobDir, facts: &Facts, finished: Vec<(f64, u64)>) -> Job {
    let summary = &judged.summary;
    let state = tell::state(judged);
    let standing = tell::standing(judged);
    let note = standing.strip_prefix(&state).unwrap_or_default().trim_start_matches([',', ':', ' ']);
    let folder = dir.path().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let page = facts.page.as_ref().map(|page| format!("../{folder}/{}", page.display()));
    let rejects = summary.job_type == "curate-exposures";
    let done = facts.exposures.len() as u64;
    let left_out = facts.left_out.len() as u64;
    Job {
        job: summary.job.to_string(),
        job_type: summary.job_type.clone(),
        title: summary.title.clone(),
        state,
        is_bad: matches!(judged.status.state, State::Failed | State::Lost),
        note: note.into(),
        attempt: judged.status.attempt,
        // curation lists what it rejects among all that it judged
        done: if rejects { done.saturating_sub(left_out) } else { done },
        left_out,
        bytes: disk::used(dir.path()),
        page: page.unwrap_or_default(),
        finished,
    }
}

/// Exposures by name, in the order in which they were first named.
#[derive(Default)]
struct Joined {
    exposures: Vec<Exposure>,
    places: HashMap<String, usize>,
}

impl Joined {
    /// Adds what a job says; `by` is its name, empty for the import, which knows only files of what it left out.
    fn add(&mut self, facts: &Facts, by: &str) {
        for found in &facts.exposures {
            facts::merge(self.exposure(&found.name), found);
        }
        for left_out in facts.left_out.iter().filter(|_| !by.is_empty()) {
            facts::reject(self.exposure(&left_out.item), by, &left_out.reason);
        }
    }

    fn exposure(&mut self, name: &str) -> &mut Exposure {
        let place = *self.places.entry(name.into()).or_insert_with(|| {
            self.exposures.push(Exposure { name: name.into(), ..Exposure::default() });
            self.exposures.len() - 1
        });
        &mut self.exposures[place]
    }

    /// In the order of recording; those of which it is not known come first, as they were named.
    fn in_order(mut self) -> Vec<Exposure> {
        let time = |exposure: &Exposure| exposure.recorded_unix_s.unwrap_or(f64::NEG_INFINITY);
        self.exposures.sort_by(|a, b| time(a).total_cmp(&time(b)));
        self.exposures
    }
}

/// The newest exposures of which there is a picture of the micrograph (the picker's, else that of motion correction), with
/// their power spectra.
fn newest_pictures(exposures: &[Exposure], pictured: &[(String, PathBuf)]) -> Vec<Shown> {
    let folder = |is_wanted: &dyn Fn(&str) -> bool| {
        pictured.iter().rev().find(|(job_type, _)| is_wanted(job_type)).map(|(_, folder)| folder)
    };
    let micrographs = [folder(&|t| t.starts_with("pick-")), folder(&|t| t == "correct-motion")];
    let spectra = folder(&|t| t == "estimate-ctf");
    let mut shown = Vec::new();
    for (index, exposure) in exposures.iter().enumerate().rev().take(LOOKED_AT) {
        let file = format!("{}.png", exposure.name);
        // a picture that is not there, or not whole, is shown another time
        let read = |folder: &PathBuf| picture::read(&folder.join(&file)).ok();
        let Some(micrograph) = micrographs.iter().flatten().find_map(|folder| read(folder)) else { continue };
        let pictures: Vec<Figure> = std::iter::once(micrograph).chain(spectra.and_then(read)).collect();
        shown.push(Shown { index, pictures });
        if shown.len() == SHOWN {
            break;
        }
    }
    shown
}
