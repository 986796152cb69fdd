//! `vitreous retry`: runs jobs again; each goes on where it stopped.

use crate::board::{Board, Judged};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::{follow, make, pass, tell};
use std::time::Duration;
use vitreous_model::exit;
use vitreous_project::{Cancel, JobDir, JobNumber, Project, Requester, State};

pub const ABOUT: &str = "Run jobs again; each goes on where it stopped";
pub const EXAMPLES: &str = "  vitreous retry J4 --wait\n  vitreous retry --failed";

const PATIENCE: Duration = Duration::from_secs(10);

/// Arguments of `retry`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The jobs
    #[arg(value_name = "JOB", required_unless_present = "failed")]
    jobs: Vec<JobNumber>,
    /// Every job that failed or was lost
    #[arg(long, conflicts_with = "jobs")]
    failed: bool,
    /// Even if it is done, or runs on a host that will not come back
    #[arg(long)]
    force: bool,
    /// Stay until they have ended
    #[arg(long)]
    wait: bool,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

pub fn run(context: &mut Context<'_>, args: &Arguments) -> Outcome<i32> {
    let project = context.open_project()?;
    let board = Board::look(&project, context.shell)?;
    let numbers = if args.failed { failed(&board) } else { args.jobs.clone() };
    for number in &numbers {
        let job = project.job(*number)?;
        let Some(judged) = board.get(*number) else { continue };
        check(judged, args.force)?;
        if args.dry_run {
            context.screen.result(&tell::JobLine::new(judged), || format!("would run {number} again"))?;
        } else {
            ask(context, &job, judged)?;
        }
    }
    if args.dry_run {
        return Ok(exit::OK);
    }
    let board = if args.wait {
        follow::until_settled(context, &project, &numbers)?
    } else {
        launch(context, &project, &numbers)?
    };
    for job in numbers.iter().filter_map(|number| board.get(*number)) {
        context.screen.result(&tell::JobLine::new(job), || tell::one_line(job))?;
    }
    Ok(if args.wait { follow::verdict(&board, &numbers) } else { exit::OK })
}

fn failed(board: &Board) -> Vec<JobNumber> {
    let is_failed = |job: &&Judged| {
        // one that only waits for its parent follows by itself
        let follows = matches!(job.status.reason, Some(vitreous_project::Reason::Dependency(_)));
        matches!(job.status.state, State::Failed | State::Lost) && !follows
    };
    board.jobs.iter().filter(is_failed).map(|job| job.summary.job).collect()
}

fn check(job: &Judged, force: bool) -> Outcome {
    let number = job.summary.job;
    match job.status.state {
        State::Failed if matches!(job.status.reason, Some(vitreous_project::Reason::Dependency(_))) => {
            Err(Failure::input(tell::one_line(job))
                .hint("retry the job it depends on; this one follows by itself"))
        }
        State::Created | State::Failed | State::Lost | State::Cancelled => Ok(()),
        _ if force => Ok(()),
        State::Done => Err(Failure::usage(format!("{number} is done"))
            .hint("`--force` runs it anew; jobs that took its outputs become stale")),
        _ => Err(Failure::usage(format!("{} is {}", number, job.status.state)).hint(format!(
            "cancel it first, or wait; `--force` if its host is gone for good (`vitreous why {number}`)"
        ))),
    }
}

/// Asks for the next attempt. One that may still be about is told to stop first.
fn ask(context: &Context<'_>, job: &JobDir, judged: &Judged) -> Outcome {
    let attempt = judged.status.attempt;
    if !judged.status.state.is_final() && attempt > 0 {
        job.cancel(attempt, &Cancel::new(Requester::User))?;
    }
    // somebody may have asked in the meantime: then it runs again, as was wanted
    job.request(attempt + 1, &make::request(context, "retry"))?;
    Ok(())
}

fn launch(context: &Context<'_>, project: &Project, numbers: &[JobNumber]) -> Outcome<Board> {
    let (board, done) = pass::pass(context, project, PATIENCE)?;
    match done.failed.into_iter().find(|(number, _)| numbers.contains(number)) {
        Some((number, failure)) => Err(failure.context(format!("{number} was not launched"))),
        None => Ok(board),
    }
}
