//! The one pass that moves a project on: look at everything, put right what was cut short, ask again for what policies
//! want repeated, launch what is ready and fits. It never waits for a job. Two at once are safe: intents are created
//! exclusively, and the lease only keeps them from doing the same work.

use crate::board::{Board, Judged};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::lanes::{self, NamedLane};
use crate::launch::{self, Launched};
use std::collections::BTreeMap;
use std::time::Duration;
use vitreous_model::SCHEMA;
use vitreous_model::resources::Resources;
use vitreous_project::index::OpenJob;
use vitreous_project::lease::Lease;
use vitreous_project::process::host;
use vitreous_project::{
    Cancel, JobNumber, Project, ProjectError, Reason, Requester, State, Submission, clock,
};

/// What a pass did.
#[derive(Debug, Default)]
pub struct Done {
    /// Jobs launched, with the scheduler's ids.
    pub launched: Vec<(JobNumber, String)>,
    /// Jobs to be run again, and why.
    pub again: Vec<(JobNumber, String)>,
    /// Jobs whose launch had been cut short and that were found running.
    pub recovered: Vec<JobNumber>,
    /// Jobs that could not be launched, and why.
    pub failed: Vec<(JobNumber, Failure)>,
    /// Another process is at it: nothing was done.
    pub busy: Option<String>,
}

/// Makes one pass, waiting at most `patience` for another one to end. Returns where everything stands afterwards.
///
/// # Errors
/// The project cannot be read or written.
pub fn pass(context: &Context<'_>, project: &Project, patience: Duration) -> Outcome<(Board, Done)> {
    let mut done = Done::default();
    let mut lease = match Lease::acquire(&project.cache_file("advance"), patience) {
        Ok(lease) => lease,
        Err(error @ ProjectError::Busy { .. }) => {
            done.busy = Some(error.to_string());
            return Ok((Board::look(project, context.shell)?, done));
        }
        Err(error) => return Err(error.into()),
    };
    let mut board = Board::look(project, context.shell)?;
    if set_right(&board, &mut done)? {
        board = Board::look(project, context.shell)?;
    }
    let launched_before = done.launched.len();
    launch_ready(context, project, &board, &mut lease, &mut done);
    if done.launched.len() > launched_before || !done.failed.is_empty() {
        board = Board::look(project, context.shell)?;
    }
    Ok((board, done))
}

/// Records jobs that were found again, fences off launches that were cut short, and asks for what policies want
/// repeated. Whether anything has changed.
fn set_right(board: &Board, done: &mut Done) -> Outcome<bool> {
    let mut changed = false;
    for job in &board.jobs {
        let Some(open) = job.open.as_deref() else { continue };
        if job.recovered.is_some() {
            changed |= record_recovered(job, open, done)?;
        }
        let Some(next) = &job.next else { continue };
        let attempt = open.evidence.attempt;
        if job.status.reason == Some(Reason::LaunchCutShort) && !is_fenced_off(open)? {
            continue;
        }
        if open.dir.request(attempt + 1, next)? {
            done.again.push((job.summary.job, next.why.clone()));
        }
        changed = true;
    }
    Ok(changed)
}

fn record_recovered(job: &Judged, open: &OpenJob, done: &mut Done) -> Outcome<bool> {
    let (Some(id), Some(intent)) = (&job.recovered, &open.evidence.intent) else { return Ok(false) };
    open.dir.attempt(open.evidence.attempt).write_submission(&Submission {
        schema: SCHEMA,
        uuid: intent.uuid,
        job_id: id.0.clone(),
        unix_s: clock::unix_s(),
        host: host().into(),
        command: Vec::new(),
        recovered: true,
    })?;
    done.recovered.push(job.summary.job);
    Ok(true)
}

/// Makes sure that an attempt that nobody saw start never will. The script claims first and looks for a cancellation
/// then; here the cancellation comes first and the look at the claim then: one of the two sees the other.
fn is_fenced_off(open: &OpenJob) -> Outcome<bool> {
    let attempt = open.evidence.attempt;
    if open.evidence.cancel.is_some() || open.evidence.exit.is_some() {
        return Ok(true);
    }
    open.dir.cancel(attempt, &Cancel::new(Requester::Recovery))?;
    if open.dir.attempt(attempt).is_claimed() {
        // it has started after all: it may have passed its own look already, so it is let go
        open.dir.withdraw_cancel(attempt)?;
        return Ok(false);
    }
    Ok(true)
}

/// What is taken of a lane.
#[derive(Debug, Clone, Copy, Default)]
struct Taken {
    jobs: u32,
    threads: u32,
}

impl Taken {
    fn add(&mut self, resources: &Resources) {
        self.jobs += 1;
        self.threads += resources.threads * resources.ranks;
    }
}

/// Launches what is ready, in the order of job numbers, as far as slots and cores go.
fn launch_ready(context: &Context<'_>, project: &Project, board: &Board, lease: &mut Lease, done: &mut Done) {
    let mut taken = taken(board);
    let mut lanes: BTreeMap<String, Result<NamedLane, ()>> = BTreeMap::new();
    for job in board.jobs.iter().filter(|job| job.ready) {
        let Some(open) = job.open.as_deref() else { continue };
        let name = &job.summary.lane;
        let lane = lanes.entry(name.clone()).or_insert_with(|| {
            lanes::find(context, Some(project), name)
                .map_err(|failure| done.failed.push((job.summary.job, failure)))
        });
        let Ok(lane) = lane else { continue };
        let used = taken.entry(name.clone()).or_default();
        if used.jobs >= lane.slots() {
            continue;
        }
        // a job that is larger than the lane runs alone
        let is_shared = lane.scheduler().is_local() && used.jobs > 0;
        let room = if is_shared { lane.cores().saturating_sub(used.threads) } else { u32::MAX };
        match launch_one(context, project, lane, open, room) {
            Ok(Some((id, resources))) => {
                used.add(&resources);
                done.launched.push((job.summary.job, id));
            }
            Ok(None) => {}
            Err(failure) => done.failed.push((job.summary.job, failure)),
        }
        lease.beat();
    }
}

fn launch_one(
    context: &Context<'_>,
    project: &Project,
    lane: &NamedLane,
    open: &OpenJob,
    room: u32,
) -> Outcome<Option<(String, Resources)>> {
    let Some(request) = &open.evidence.request else { return Ok(None) };
    let attempt = open.evidence.attempt;
    match launch::launch(context, project, lane, &open.dir, (attempt, request), room)? {
        Launched::NotOurs | Launched::NoRoom => Ok(None),
        Launched::Submitted(id, resources) => Ok(Some((id, resources))),
    }
}

/// Slots and cores in use, by lane. Jobs of other hosts do not count on this one's cores.
fn taken(board: &Board) -> BTreeMap<String, Taken> {
    let mut taken: BTreeMap<String, Taken> = BTreeMap::new();
    for job in board.jobs.iter().filter(|job| matches!(job.status.state, State::Queued | State::Running)) {
        let Some(evidence) = job.open.as_deref().map(|open| &open.evidence) else { continue };
        let Some(intent) = &evidence.intent else { continue };
        let is_local =
            vitreous_schedulers::find(&intent.scheduler).is_some_and(|scheduler| scheduler.is_local());
        if !is_local || intent.author.host == host() {
            taken.entry(intent.lane.clone()).or_default().add(&intent.resources);
        }
    }
    taken
}
