//! The one pass that moves a project on: look at everything, put right what was cut short, ask again for what policies
//! want repeated, launch what is ready and fits. It never waits for a job. Two at once are safe: intents are created
//! exclusively, and the lease only keeps them from doing the same work.

use crate::board::{Board, Judged};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::lanes::{self, NamedLane};
use crate::launch::{self, Launched, Submitted, Wanted};
use crate::place::Room;
use crate::usage::History;
use crate::{growth, verdict};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use vitreous_model::{SCHEMA, exit};
use vitreous_project::index::OpenJob;
use vitreous_project::lease::Lease;
use vitreous_project::process::{self, host};
use vitreous_project::{
    Cancel, JobNumber, Project, ProjectError, Reason, Request, Requester, State, Submission, clock,
};
use vitreous_schedulers::{JobId, Site};

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
    if set_right(context, project, &board, &mut done)? {
        board = Board::look(project, context.shell)?;
    }
    Launcher::new(context, project, &board).launch_all(&mut lease, &mut done);
    if !done.launched.is_empty() || !done.failed.is_empty() {
        board = Board::look(project, context.shell)?;
    }
    Ok((board, done))
}

/// Records jobs that were found again and ends that schedulers told of, fences off launches that were cut short, and asks
/// for what policies want repeated. Whether anything has changed.
fn set_right(context: &Context<'_>, project: &Project, board: &Board, done: &mut Done) -> Outcome<bool> {
    let mut changed = false;
    for job in &board.jobs {
        let Some(open) = job.open.as_deref() else { continue };
        if job.recovered.is_some() {
            changed |= record_recovered(job, open, project, done)?;
        }
        changed |= verdict::record(context, project, job, open)?;
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
    let grown = growth::follow(project, board)?;
    changed |= !grown.is_empty();
    done.again.extend(grown);
    Ok(changed)
}

fn record_recovered(job: &Judged, open: &OpenJob, project: &Project, done: &mut Done) -> Outcome<bool> {
    let (Some(id), Some(intent)) = (&job.recovered, &open.evidence.intent) else { return Ok(false) };
    open.dir.attempt(open.evidence.attempt).write_submission(&Submission {
        schema: SCHEMA,
        uuid: intent.uuid,
        job_id: id.0.clone(),
        unix_s: clock::unix_s(),
        host: host().into(),
        uid: Some(process::uid()),
        cluster: String::new(),
        project_dir: project.root().to_string_lossy().into_owned(),
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
    if open.dir.attempt(attempt).is_claimed(open.evidence.elements()) {
        // it has started after all: it may have passed its own look already, so it is let go
        open.dir.withdraw_cancel(attempt)?;
        return Ok(false);
    }
    Ok(true)
}

/// Launches jobs, in the order of their numbers, as far as slots and hosts go.
struct Launcher<'a, 'c> {
    context: &'a Context<'c>,
    project: &'a Project,
    board: &'a Board,
    room: Room,
    history: History<'a>,
    lanes: BTreeMap<String, Option<NamedLane>>,
    /// Jobs with their schedulers: where, and under which id. Others can be queued behind them.
    out: BTreeMap<JobNumber, (Site, JobId)>,
    /// Lanes whose scheduler did not answer: it is not asked again in this pass.
    silent: BTreeSet<String>,
}

impl<'a, 'c> Launcher<'a, 'c> {
    fn new(context: &'a Context<'c>, project: &'a Project, board: &'a Board) -> Self {
        let out = board.jobs.iter().filter_map(|job| {
            let evidence = &job.open.as_deref()?.evidence;
            let is_out = matches!(job.status.state, State::Queued | State::Running);
            let id = evidence.submission.as_ref().filter(|_| is_out)?.job_id.clone();
            let site = crate::board::site_of(evidence.intent.as_ref()?);
            Some((job.summary.job, (site, JobId(id))))
        });
        Self {
            context,
            project,
            board,
            room: Room::of(board),
            history: History::new(project),
            lanes: BTreeMap::new(),
            out: out.collect(),
            silent: BTreeSet::new(),
        }
    }

    fn launch_all(&mut self, lease: &mut Lease, done: &mut Done) {
        let board = self.board;
        let waits = |job: &&Judged| {
            let is_asked_for = job.open.as_deref().is_some_and(|open| open.evidence.request.is_some());
            job.ready || (job.status.state == State::Waiting && job.next.is_none() && is_asked_for)
        };
        for job in board.jobs.iter().filter(waits) {
            let number = job.summary.job;
            match self.launch_one(job) {
                Ok(Some(id)) => done.launched.push((number, id)),
                Ok(None) => {}
                Err(failure) => {
                    if failure.code == exit::SCHEDULER {
                        self.silent.insert(job.summary.lane.clone());
                    }
                    done.failed.push((number, failure));
                }
            }
            lease.beat_if_due();
        }
    }

    /// Launches a job if its time has come; its id.
    fn launch_one(&mut self, job: &Judged) -> Outcome<Option<String>> {
        let Some(open) = job.open.as_deref() else { return Ok(None) };
        let Some(request) = &open.evidence.request else { return Ok(None) };
        let name = &job.summary.lane;
        if self.silent.contains(name) {
            return Ok(None);
        }
        let lane = match self.lanes.get(name) {
            Some(Some(lane)) => lane.clone(),
            Some(None) => return Ok(None),
            None => {
                let found = lanes::find(self.context, Some(self.project), name);
                self.lanes.insert(name.clone(), found.as_ref().ok().cloned());
                found?
            }
        };
        if self.room.jobs(name) >= lane.slots() {
            return Ok(None);
        }
        let Some(after) = self.behind(job, &lane, request) else { return Ok(None) };
        let wanted = Wanted { job: &open.dir, attempt: open.evidence.attempt, request, after };
        match launch::launch(self.context, self.project, &lane, &wanted, (&self.room, &self.history))? {
            Launched::NotOurs | Launched::NoRoom => Ok(None),
            Launched::Submitted(submitted) => {
                let Submitted { id, site, resources, place } = *submitted;
                self.room.add(name, &place, &resources);
                self.out.insert(job.summary.job, (site, JobId(id.clone())));
                Ok(Some(id))
            }
        }
    }

    /// The jobs it is queued behind: none if all its parents are done; `None` if it has to wait here, because a parent is
    /// not with the same scheduler.
    fn behind(&self, job: &Judged, lane: &NamedLane, request: &Request) -> Option<Vec<JobId>> {
        if job.ready {
            return Some(Vec::new());
        }
        if !lane.lane.chain || !lane.scheduler().can_wait_for_jobs() {
            return None;
        }
        let site = lane.site(None, &request.environment);
        let mut after = Vec::new();
        for parent in &job.summary.parents {
            let parent = self.board.get(*parent)?;
            if parent.status.state == State::Done {
                continue;
            }
            let (theirs, id) = self.out.get(&parent.summary.job)?;
            let is_same = Site { environment: BTreeMap::new(), ..theirs.clone() }
                == Site { environment: BTreeMap::new(), ..site.clone() };
            after.push(Some(id.clone()).filter(|_| is_same)?);
        }
        Some(after)
    }
}
