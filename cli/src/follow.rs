//! Staying with jobs until they end: passes, and bars at a terminal.

use crate::board::{Board, Judged};
use crate::context::{Context, remark};
use crate::failure::{Failure, Outcome};
use crate::{pass, tell};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::BTreeMap;
use std::time::Duration;
use vitreous_model::exit;
use vitreous_project::{JobNumber, Project, State};

/// Time between two looks; a look at local jobs costs a few milliseconds.
const PAUSE: Duration = Duration::from_millis(200);
/// The first looks come sooner, for jobs that end at once.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// Moves the project on until each of `jobs` has ended. Returns where everything stands then.
///
/// # Errors
/// The project cannot be read or written.
pub fn until_settled(context: &Context<'_>, project: &Project, jobs: &[JobNumber]) -> Outcome<Board> {
    let mut display = Display::new(context);
    let mut pause = FIRST_PAUSE;
    let mut complaints: BTreeMap<JobNumber, String> = BTreeMap::new();
    loop {
        let (board, done) = pass::pass(context, project, Duration::ZERO)?;
        for (number, failure) in &done.failed {
            // a job that cannot even be prepared would wait for ever
            if jobs.contains(number)
                && board.get(*number).is_some_and(|job| job.status.state == State::Waiting)
            {
                display.clear();
                return Err(Failure {
                    code: failure.code,
                    error: anyhow::anyhow!("{number} cannot be launched: {:#}", failure.error),
                    hints: failure.hints.clone(),
                });
            }
            let text = failure.text();
            if complaints.insert(*number, text.clone()).is_none_or(|before| before != text) {
                display.say(&format!("{number}: {}", text.trim_end()));
            }
        }
        display.show(&board, jobs);
        let is_settled = |number: &JobNumber| board.get(*number).is_none_or(|job| job.settled);
        if jobs.iter().all(is_settled) {
            display.clear();
            return Ok(board);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(PAUSE);
    }
}

/// The exit code of a command that waited for `jobs`: all must be done.
pub fn verdict(board: &Board, jobs: &[JobNumber]) -> i32 {
    let is_done = |number: &JobNumber| board.get(*number).is_some_and(|job| job.status.state == State::Done);
    if jobs.iter().all(is_done) { exit::OK } else { exit::JOB_FAILED }
}

/// Bars at a terminal, a line for each change of state elsewhere; nothing with `--quiet`.
struct Display {
    bars: Option<MultiProgress>,
    by_job: BTreeMap<JobNumber, ProgressBar>,
    told: BTreeMap<JobNumber, State>,
    quiet: bool,
}

impl Display {
    fn new(context: &Context<'_>) -> Self {
        let screen = &context.screen;
        let bars = (screen.is_terminal && !screen.quiet && !screen.json)
            .then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
        Self { bars, by_job: BTreeMap::new(), told: BTreeMap::new(), quiet: screen.quiet || screen.json }
    }

    fn say(&self, text: &str) {
        match &self.bars {
            Some(bars) => bars.suspend(|| remark(text)),
            None => remark(text),
        }
    }

    fn show(&mut self, board: &Board, jobs: &[JobNumber]) {
        if self.quiet {
            return;
        }
        for job in jobs.iter().filter_map(|number| board.get(*number)) {
            let number = job.summary.job;
            self.draw(number, job);
            if self.told.insert(number, job.status.state) != Some(job.status.state)
                && job.status.state != State::Waiting
            {
                self.say(&tell::one_line(job));
            }
        }
    }

    fn draw(&mut self, number: JobNumber, job: &Judged) {
        let Some(bars) = &self.bars else { return };
        let progress = job.open.as_ref().and_then(|open| open.evidence.progress.clone()).unwrap_or_default();
        if job.status.state != State::Running || progress.total == 0 {
            if let Some(bar) = self.by_job.remove(&number) {
                bar.finish_and_clear();
            }
            return;
        }
        let bar = self.by_job.entry(number).or_insert_with(|| {
            let style = ProgressStyle::with_template("{prefix:>24} {bar:30} {pos}/{len} {msg}");
            bars.add(ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())))
        });
        bar.set_prefix(format!("{number} {}", progress.phase.clone().unwrap_or_default()));
        bar.set_length(progress.total);
        bar.set_position(progress.done);
        bar.set_message(tell::rate(&progress));
    }

    fn clear(&mut self) {
        for bar in std::mem::take(&mut self.by_job).into_values() {
            bar.finish_and_clear();
        }
    }
}
