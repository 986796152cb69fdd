//! Collections: an import that follows a microscope and the jobs behind it, joined on one page. Everything on it comes
//! from what the jobs write (reports, records, events, pictures); the page is drawn anew when something has changed.

mod course;
mod disk;
mod facts;
mod gather;
#[cfg(test)]
mod tests;

use crate::board::Board;
use crate::failure::{Failure, Outcome};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use vitreous_model::{SCHEMA, exit};
use vitreous_project::{JobDir, JobNumber, Project, atomic};
use vitreous_report::collection::{Collection, render_html};

/// Name of the page in the import's folder.
pub const PAGE: &str = "collection.html";
/// A page of a folder that is still watched is drawn anew after so many seconds even if nothing has changed: it says how
/// long ago the last movie came.
const REDRAWN_S: i64 = 600;

/// What is kept between two drawings of a page; deleting it costs reading old events again.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    schema: u32,
    /// Of what the page was drawn from.
    drawn_from: String,
    /// By job: when its items were finished.
    courses: BTreeMap<String, course::Course>,
}

impl Kept {
    fn file(project: &Project, import: JobNumber) -> PathBuf {
        project.cache_file(&format!("collection-{import}.json"))
    }

    fn read(project: &Project, import: JobNumber) -> Self {
        let kept: Option<Self> = atomic::read_json(&Self::file(project, import)).ok().flatten();
        kept.filter(|kept| kept.schema == SCHEMA).unwrap_or_default()
    }

    /// A cache that cannot be written is no error.
    fn save(&mut self, project: &Project, import: JobNumber) {
        self.schema = SCHEMA;
        if let Err(error) = atomic::write_json(&Self::file(project, import), self) {
            log::debug!("{error}");
        }
    }
}

/// What became of a page that was to be drawn.
pub type Drawn = (JobNumber, Outcome<PathBuf>);

/// Draws the pages of all imports that follow a microscope, as far as something has changed. Those drawn, and those that
/// could not be.
pub fn refresh(project: &Project, board: &Board) -> Vec<Drawn> {
    let watching = board.jobs.iter().filter(|job| job.summary.watches);
    watching
        .filter_map(|job| {
            let number = job.summary.job;
            refresh_one(project, board, number).transpose().map(|page| (number, page))
        })
        .collect()
}

fn refresh_one(project: &Project, board: &Board, number: JobNumber) -> Outcome<Option<PathBuf>> {
    let import = project.job(number)?;
    let now_ns = crate::queue::now_ns(project);
    let mut kept = Kept::read(project, number);
    let from = drawn_from(project, board, &import, now_ns)?;
    if kept.drawn_from == from && import.file(PAGE).is_file() {
        return Ok(None);
    }
    let page = draw_as(project, board, &import, now_ns, &mut kept)?.1;
    kept.drawn_from = from;
    kept.save(project, number);
    Ok(Some(page))
}

/// Draws the page of an import; what is on it, and where it is.
///
/// # Errors
/// The job is no import of movies, or its records or its folder cannot be read or written.
pub fn draw(project: &Project, board: &Board, number: JobNumber) -> Outcome<(Collection, PathBuf)> {
    let import = project.job(number)?;
    if import.spec().job_type != "import-movies" {
        let what = format!("{number} is a job of type {}: it begins no collection", import.spec().job_type);
        return Err(Failure::input(what).hint("name the job that imports the movies, e.g. J1"));
    }
    let mut kept = Kept::read(project, number);
    let drawn = draw_as(project, board, &import, crate::queue::now_ns(project), &mut kept)?;
    kept.save(project, number);
    Ok(drawn)
}

fn draw_as(
    project: &Project,
    board: &Board,
    import: &JobDir,
    now_ns: i64,
    kept: &mut Kept,
) -> Outcome<(Collection, PathBuf)> {
    let collection = gather::gather(project, board, import, now_ns, &mut kept.courses)?;
    let html = render_html(&collection).map_err(|error| Failure::new(exit::INPUT, error))?;
    let path = import.file(PAGE);
    atomic::write(&path, html.as_bytes())?;
    Ok((collection, path))
}

/// Changes when the page would: states, attempts, progress, reports.
fn drawn_from(project: &Project, board: &Board, import: &JobDir, now_ns: i64) -> Outcome<String> {
    let mut text = String::new();
    for job in gather::members(board, import.number()) {
        let progress = job.open.as_deref().and_then(|open| open.evidence.progress.as_ref());
        let done = progress.map(|progress| (&progress.phase, progress.done));
        let report = project.job(job.summary.job)?.file("report.json");
        let report = std::fs::metadata(report).ok().and_then(|meta| meta.modified().ok());
        text += &format!("{} {:?} {done:?} {report:?}\n", job.summary.job, job.status);
    }
    if crate::growth::watch_of(project, import).is_some() {
        text += &format!("watched {}", now_ns / (REDRAWN_S * 1_000_000_000));
    }
    Ok(text)
}

/// The newest import that follows a microscope, else the newest import of movies.
pub fn newest(board: &Board) -> Option<JobNumber> {
    let imports = || board.jobs.iter().rev().filter(|job| job.summary.job_type == "import-movies");
    let newest = imports().find(|job| job.summary.watches).or_else(|| imports().next());
    newest.map(|job| job.summary.job)
}
