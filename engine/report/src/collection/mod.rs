//! The page of a collection: one import that follows a microscope and the jobs behind it, joined by exposure. Whoever
//! gathers the numbers fills a [`Collection`]; everything here is drawn from that.

mod figures;
mod numbers;
mod page;
#[cfg(test)]
mod tests;

pub use numbers::numbers;
pub use page::render_html;

use vitreous_model::report::{Figure, Report, Skipped};

/// A collection as it stands at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Collection {
    /// Name of the project.
    pub project: String,
    /// The import, e.g. `J1`.
    pub import: String,
    /// Where the movies come from: the folder or pattern.
    pub source: String,
    /// The folder is still being watched.
    pub is_watched: bool,
    /// When this was gathered, seconds since 1970.
    pub now_unix_s: f64,
    /// Offset of the wall clock that is shown, seconds east of UTC.
    pub zone_offset_s: f64,
    /// Name of that clock, e.g. `UTC`.
    pub zone: String,
    /// The import and the jobs behind it, by number.
    pub jobs: Vec<Job>,
    /// All exposures, in the order of their recording.
    pub exposures: Vec<Exposure>,
    /// Movies in the folder that are complete but not taken in yet.
    pub waiting: u64,
    /// Movies in the folder that are still being written.
    pub still_written: u64,
    /// What was left out and never became an exposure's figures, with the reason; `item` says which job did so, too.
    pub left_out: Vec<Skipped>,
    /// Free space where the project lies, bytes.
    pub free_bytes: Option<u64>,
    /// The newest exposures with pictures, the newest first.
    pub newest: Vec<Shown>,
}

/// A job of the collection.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Job {
    /// `J2`.
    pub job: String,
    /// Job type.
    pub job_type: String,
    /// A word for people; may be empty.
    pub title: String,
    /// Where it stands, e.g. `running`.
    pub state: String,
    /// It ended badly.
    pub is_bad: bool,
    /// Reason, progress or remark; may be empty.
    pub note: String,
    /// Attempt, from 1; 0: none.
    pub attempt: u32,
    /// Exposures that are done.
    pub done: u64,
    /// Exposures that were left out.
    pub left_out: u64,
    /// Bytes in its folder, and whether that is an estimate.
    pub bytes: (u64, bool),
    /// Its page, relative to the page of the collection; empty: it has none yet.
    pub page: String,
    /// When items were finished, seconds since 1970, and how many at that moment; in order.
    pub finished: Vec<(f64, u64)>,
}

/// What is known of one exposure. `None`: not (yet) known.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Exposure {
    /// Its name.
    pub name: String,
    /// When its movie was last written, seconds since 1970.
    pub recorded_unix_s: Option<f64>,
    /// Size of its movie.
    pub movie_bytes: u64,
    /// Path length of the whole frame, Å.
    pub motion_total_a: Option<f64>,
    /// Part of it in the first 4 e/Å².
    pub motion_early_a: Option<f64>,
    /// Mean defocus, Å.
    pub defocus_a: Option<f64>,
    /// Difference of the two defoci, Å.
    pub astigmatism_a: Option<f64>,
    /// Resolution to which the CTF fits, Å.
    pub fit_resolution_a: Option<f64>,
    /// Picks on it.
    pub picks: Option<u64>,
    /// Particles extracted from it.
    pub particles: Option<u64>,
    /// Why it was rejected or left out, with the job; `None`: it was not.
    pub rejected: Option<Rejected>,
}

/// Why an exposure goes no further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The job that says so, e.g. `J4 curate-exposures`.
    pub by: String,
    /// Why, in one sentence.
    pub reason: String,
}

/// An exposure with its pictures.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// Index in [`Collection::exposures`].
    pub index: usize,
    /// Micrograph (with picks), power spectrum.
    pub pictures: Vec<Figure>,
}

/// Job types whose figures the page shows, in the order of work.
const MOTION: &str = "correct-motion";
const CTF: &str = "estimate-ctf";

impl Collection {
    /// The newest job of a type.
    fn job_of(&self, job_type: &str) -> Option<&Job> {
        self.jobs.iter().rev().find(|job| job.job_type == job_type)
    }

    /// The newest picker.
    fn picker(&self) -> Option<&Job> {
        self.jobs.iter().rev().find(|job| job.job_type.starts_with("pick-"))
    }

    /// The job whose end is the end of preprocessing: CTF estimation, else motion correction.
    fn last_of_preprocessing(&self) -> Option<&Job> {
        self.job_of(CTF).or_else(|| self.job_of(MOTION))
    }

    /// Whether an exposure is through preprocessing, well or not.
    fn is_through(&self, exposure: &Exposure) -> bool {
        let has_figures = match self.last_of_preprocessing() {
            Some(job) if job.job_type == CTF => exposure.defocus_a.is_some(),
            Some(_) => exposure.motion_total_a.is_some(),
            None => false,
        };
        has_figures || exposure.rejected.is_some()
    }

    /// Movies there are: registered, waiting, still being written.
    fn movies(&self) -> u64 {
        self.exposures.len() as u64 + self.waiting + self.still_written
    }

    /// Movies that are not through preprocessing yet.
    fn backlog(&self) -> u64 {
        let through = self.exposures.iter().filter(|exposure| self.is_through(exposure)).count();
        self.movies() - through as u64
    }

    /// When the newest movie was written, seconds since 1970.
    fn last_movie_unix_s(&self) -> Option<f64> {
        self.exposures.iter().filter_map(|exposure| exposure.recorded_unix_s).reduce(f64::max)
    }

    /// A moment on the wall clock that is shown, seconds.
    fn wall_s(&self, unix_s: f64) -> f64 {
        unix_s + self.zone_offset_s
    }

    /// Title, key figures and plots as a report: for a terminal and for programs.
    pub fn report(&self) -> Report {
        let mut report = Report::new(self.title());
        report.numbers = numbers(self);
        report.notes = page::remarks(self);
        report.figures = figures::all(self);
        let rejected = self.exposures.iter().filter_map(|exposure| {
            let Rejected { by, reason } = exposure.rejected.as_ref()?;
            Some(Skipped { item: format!("{} ({by})", exposure.name), reason: reason.clone() })
        });
        report.skipped = rejected.chain(self.left_out.iter().cloned()).collect();
        report
    }

    fn title(&self) -> String {
        format!("{}: collection {}", self.project, self.import)
    }
}
