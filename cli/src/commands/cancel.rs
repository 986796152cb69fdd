//! `vitreous cancel`: stops jobs, and makes sure that they have stopped.

use crate::board::{Board, Judged, site_of};
use crate::context::{Context, remark};
use crate::failure::{Failure, Outcome};
use crate::queue::{self, Desk, Freshness};
use crate::{growth, tell};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use vitreous_model::exit;
use vitreous_project::{Cancel, JobNumber, Project, Requester, State};
use vitreous_schedulers::{JobId, Site, Stop};

pub const ABOUT: &str = "Stop jobs and make sure that they have stopped";
pub const EXAMPLES: &str = "  vitreous cancel J4\n  vitreous cancel --all";

/// Time between two looks at jobs that are to stop.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest such time: a scheduler is not asked more often than that.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Time for a killed process to disappear.
const LAST_PATIENCE: Duration = Duration::from_secs(10);
/// The same on clusters: Grid Engine warns a minute before it kills, Slurm half a minute.
const CLUSTER_PATIENCE: Duration = Duration::from_secs(90);

/// Arguments of `cancel`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The jobs
    #[arg(value_name = "JOB", required_unless_present = "all")]
    jobs: Vec<JobNumber>,
    /// Every job that waits, is queued or runs
    #[arg(long, conflicts_with = "jobs")]
    all: bool,
    /// Seconds a job is given to save its work before it is killed
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    grace: u64,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

pub fn run(context: &mut Context<'_>, args: &Arguments) -> Outcome<i32> {
    let project = context.open_project()?;
    let board = Board::look(&project, context.shell)?;
    for wanted in &args.jobs {
        if board.get(*wanted).is_none() {
            project.job(*wanted)?;
        }
    }
    let is_wanted = |job: &&Judged| args.all || args.jobs.contains(&job.summary.job);
    let is_under_way = |job: &&Judged| {
        !job.status.state.is_final() && job.status.state != State::Created && !job.is_foreign()
    };
    let jobs: Vec<&Judged> = board.jobs.iter().filter(is_wanted).filter(is_under_way).collect();
    let mut foreign = 0;
    for job in board.jobs.iter().filter(is_wanted).filter(|job| job.is_foreign()) {
        foreign += 1;
        remark(format!("{}; not cancelled", tell::one_line(job)));
    }
    let is_over = |job: &&Judged| !is_under_way(job) && !job.is_foreign();
    for job in board.jobs.iter().filter(is_wanted).filter(|job| is_over(job) && !args.all) {
        if job.summary.watches && !args.dry_run && growth::stop(&project, &project.job(job.summary.job)?)? {
            remark(format!("{} watches no longer", job.summary.job));
            continue;
        }
        remark(format!("{}; nothing to cancel", tell::one_line(job)));
    }
    let numbers: Vec<JobNumber> = jobs.iter().map(|job| job.summary.job).collect();
    if args.dry_run {
        for job in &jobs {
            context
                .screen
                .result(&tell::JobLine::new(job), || format!("would cancel {}", tell::one_line(job)))?;
        }
        return Ok(exit::OK);
    }
    // all are marked before the first is stopped, so that none is launched in the place of another
    for job in &jobs {
        mark(job)?;
    }
    stop(context, &project, &numbers, Duration::from_secs(args.grace))?;
    let board = Board::look_as(&project, context.shell, Freshness::Now)?;
    let mut stopped = true;
    for job in numbers.iter().filter_map(|number| board.get(*number)) {
        stopped &= job.settled;
        context.screen.result(&tell::JobLine::new(job), || tell::one_line(job))?;
    }
    if stopped && foreign > 0 {
        return Err(Failure::scheduler("some jobs are not this project's, user's or cluster's to cancel"));
    }
    if stopped {
        return Ok(exit::OK);
    }
    Err(Failure::scheduler("some jobs have not stopped")
        .hint("they are marked: repeat the command on the host where they run"))
}

/// Writes the cancellation of the newest attempt; of the next one too, where that is about to be asked for.
fn mark(job: &Judged) -> Outcome {
    let Some(open) = &job.open else { return Ok(()) };
    let attempt = open.evidence.attempt;
    if let Some(next) = &job.next {
        open.dir.request(attempt + 1, next)?;
        open.dir.cancel(attempt + 1, &Cancel::new(Requester::User))?;
        return Ok(());
    }
    open.dir.cancel(attempt, &Cancel::new(Requester::User))?;
    Ok(())
}

fn is_on_a_cluster(job: &Judged) -> bool {
    let intent = job.open.as_deref().and_then(|open| open.evidence.intent.as_ref());
    intent.is_some_and(|intent| intent.is_cluster)
}

/// Asks, waits, kills, waits.
fn stop(context: &Context<'_>, project: &Project, jobs: &[JobNumber], grace: Duration) -> Outcome {
    let mut complaints = BTreeSet::new();
    let mut last_patience = LAST_PATIENCE;
    for how in [Stop::Ask, Stop::Kill] {
        let started = Instant::now();
        let mut asked = Vec::new();
        let mut pause = PAUSE;
        loop {
            let board = Board::look_as(project, context.shell, Freshness::Now)?;
            let going = |number: &&JobNumber| board.get(**number).is_some_and(|job| !job.settled);
            let going: Vec<&Judged> =
                jobs.iter().filter(going).filter_map(|number| board.get(*number)).collect();
            if going.is_empty() {
                return Ok(());
            }
            // one that was just being launched shows its id only now
            let fresh: Vec<&Judged> =
                going.into_iter().filter(|job| !asked.contains(&job.summary.job)).collect();
            if fresh.iter().any(|job| is_on_a_cluster(job)) {
                last_patience = CLUSTER_PATIENCE;
            }
            asked.extend(send(context, project, &fresh, how, &mut complaints));
            let patience = if how == Stop::Ask { grace } else { last_patience };
            if started.elapsed() >= patience {
                break;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
    Ok(())
}

/// Sends the order to the jobs' schedulers, one command for each site; those that were reached.
fn send(
    context: &Context<'_>,
    project: &Project,
    jobs: &[&Judged],
    how: Stop,
    said_before: &mut BTreeSet<String>,
) -> Vec<JobNumber> {
    let mut complain = |text: String| {
        if said_before.insert(text.clone()) {
            remark(text);
        }
    };
    let mut reached = Vec::new();
    let mut by_site: Vec<(Site, Vec<(JobNumber, JobId)>)> = Vec::new();
    for job in jobs {
        let Some(evidence) = job.open.as_deref().map(|open| &open.evidence) else { continue };
        let submitted = evidence.submission.as_ref().map(|submission| JobId(submission.job_id.clone()));
        let (Some(intent), Some(id)) = (&evidence.intent, job.recovered.clone().or(submitted)) else {
            continue;
        };
        let site = site_of(intent);
        match by_site.iter_mut().find(|(known, _)| *known == site) {
            Some((_, ids)) => ids.push((job.summary.job, id)),
            None => by_site.push((site, vec![(job.summary.job, id)])),
        }
    }
    for (site, ids) in by_site {
        let Some(scheduler) = vitreous_schedulers::find(&site.scheduler) else { continue };
        let (numbers, ids): (Vec<_>, Vec<_>) = ids.into_iter().unzip();
        let desk = Desk::new(project, context.shell, scheduler, &site, queue::now_ns(project));
        match desk.run(scheduler.cancel(&site, &ids, how)) {
            Ok(answer) if answer.code == 0 => reached.extend(numbers),
            // Grid Engine complains on its standard output
            Ok(answer) => {
                let said = [answer.stderr.trim(), answer.stdout.trim()].join(" ");
                complain(format!("{}: {}", site.label(), said.trim()));
            }
            Err(trouble) => complain(trouble.to_string()),
        }
    }
    reached
}
