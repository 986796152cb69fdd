//! Where all jobs of a project stand: their records, what schedulers say of those that are out, and what follows for
//! the jobs that depend on them.

use crate::failure::Outcome;
use crate::shell::Shell;
use std::collections::BTreeMap;
use vitreous_project::index::{Found, OpenJob, Summary, Survey};
use vitreous_project::process::Liveness;
use vitreous_project::state::Seen;
use vitreous_project::{JobNumber, Project, ProjectError, Reason, Request, State, Status, retry};
use vitreous_schedulers::{EndReason, Ended, JobId, Queue, Scheduler};

/// A job and where it stands.
#[derive(Debug)]
pub struct Judged {
    /// What a table shows of it.
    pub summary: Summary,
    /// Where it stands.
    pub status: Status,
    /// Its records, unless it had ended and they were not read.
    pub open: Option<Box<OpenJob>>,
    /// The job of a launch that was cut short, found again.
    pub recovered: Option<JobId>,
    /// The attempt that its retry policy, its checkpoint or a launch that was cut short asks for.
    pub next: Option<Request>,
    /// All its parents are done, and it can be launched.
    pub ready: bool,
    /// Nothing will change without somebody's doing.
    pub settled: bool,
}

/// All jobs of a project.
#[derive(Debug)]
pub struct Board {
    /// In the order of their numbers.
    pub jobs: Vec<Judged>,
}

impl Board {
    /// Looks at everything once. Schedulers are asked with one command each, and only about jobs that are out.
    ///
    /// # Errors
    /// The project cannot be listed.
    pub fn look(project: &Project, shell: &dyn Shell) -> Outcome<Self> {
        let mut survey = Survey::take(project)?;
        let mut jobs: Vec<Judged> = std::mem::take(&mut survey.jobs).into_iter().map(judged).collect();
        let (seen, recovered) = ask_schedulers(&jobs, shell);
        for job in &mut jobs {
            let seen = seen.get(&job.summary.job).cloned().unwrap_or(Seen::NotAsked);
            job.recovered = recovered.get(&job.summary.job).cloned();
            if let Err(error) = judge(job, &seen) {
                job.status = broken(&error);
                continue;
            }
            if let (Some(open), None) = (&job.open, &job.next) {
                survey.note(open, &job.status);
            }
        }
        survey.save(project);
        let mut board = Self { jobs };
        board.follow_on();
        Ok(board)
    }

    /// A job by number.
    pub fn get(&self, number: JobNumber) -> Option<&Judged> {
        self.jobs.binary_search_by_key(&number, |job| job.summary.job).ok().map(|at| &self.jobs[at])
    }

    /// What follows from the states of parents, and from retry policies. Parents have smaller numbers.
    fn follow_on(&mut self) {
        let mut ends: BTreeMap<JobNumber, (State, bool)> = BTreeMap::new();
        for job in &mut self.jobs {
            job.settled = job.status.state.is_final() || job.status.state == State::Created;
            if let Some(next) = &job.next {
                job.status.note = format!("to be launched again: {}", next.why);
                job.status.state = State::Waiting;
                job.settled = false;
            } else if job.status.state == State::Waiting {
                wait_for_parents(job, &ends);
            }
            ends.insert(job.summary.job, (job.status.state, job.settled));
        }
    }
}

/// Derives the state of a job from its records and what was seen of it.
fn judge(job: &mut Judged, seen: &Seen) -> Result<(), ProjectError> {
    let Some(open) = &mut job.open else { return Ok(()) };
    if matches!(seen, Seen::Gone | Seen::Ended(_)) {
        open.evidence.read_end(&open.dir)?;
    }
    job.status = open.evidence.derive(seen);
    job.summary = Summary::new(&open.dir, &open.evidence);
    job.next = retry::next_request(&open.dir, &open.evidence, &job.status)?;
    Ok(())
}

/// The state of a job whose records cannot be read.
fn broken(error: &ProjectError) -> Status {
    let note = error.to_string().lines().next().unwrap_or_default().to_string();
    Status { state: State::Failed, reason: Some(Reason::Other("broken".into())), attempt: 0, note }
}

/// Whether a waiting job is ready, waits, or never will be.
fn wait_for_parents(job: &mut Judged, ends: &BTreeMap<JobNumber, (State, bool)>) {
    let mut waits = Vec::new();
    for parent in &job.summary.parents {
        match ends.get(parent) {
            Some((State::Done, _)) => {}
            Some((state, true)) => {
                job.status.state = State::Failed;
                let ended = match state {
                    State::Failed => "failed",
                    State::Cancelled => "was cancelled",
                    State::Lost => "is lost",
                    _ => "was made but not asked to run",
                };
                job.status.reason = Some(Reason::Dependency(format!("{parent} {ended}")));
                job.settled = true;
                return;
            }
            Some((_, false)) => waits.push(parent.to_string()),
            None => {
                job.status.state = State::Failed;
                job.status.reason = Some(Reason::Dependency(format!("{parent} does not exist")));
                job.settled = true;
                return;
            }
        }
    }
    job.ready = waits.is_empty();
    job.status.note = match waits.as_slice() {
        [] => format!("for a free slot in lane {}, or for the next `vitreous advance`", job.summary.lane),
        waits => format!("for {}", waits.join(", ")),
    };
}

fn judged(found: Found) -> Judged {
    let job = |summary, status, open| Judged {
        summary,
        status,
        open,
        recovered: None,
        next: None,
        ready: false,
        settled: false,
    };
    match found {
        Found::Known(summary, status) => job(summary, status, None),
        Found::Open(open) => {
            let status = Status { state: State::Created, reason: None, attempt: 0, note: String::new() };
            job(Summary::new(&open.dir, &open.evidence), status, Some(open))
        }
        Found::Broken(number, error) => {
            let summary = Summary {
                job: number,
                job_type: "?".into(),
                title: String::new(),
                lane: String::new(),
                parents: Vec::new(),
                fingerprint: String::new(),
                created_unix_s: 0.0,
                started_unix_s: None,
                ended_unix_s: None,
            };
            job(summary, broken(&error), None)
        }
    }
}

type SeenJobs = BTreeMap<JobNumber, Seen>;
type RecoveredJobs = BTreeMap<JobNumber, JobId>;

/// Asks each scheduler about its jobs; what it cannot say is [`Seen::Unknown`].
fn ask_schedulers(jobs: &[Judged], shell: &dyn Shell) -> (SeenJobs, RecoveredJobs) {
    let mut seen = SeenJobs::new();
    let mut recovered = RecoveredJobs::new();
    let mut by_scheduler: BTreeMap<&str, Vec<&OpenJob>> = BTreeMap::new();
    for open in
        jobs.iter().filter_map(|job| job.open.as_deref()).filter(|open| open.evidence.needs_scheduler())
    {
        let scheduler = open.evidence.intent.as_ref().map_or("", |intent| intent.scheduler.as_str());
        by_scheduler.entry(scheduler).or_default().push(open);
    }
    for (name, jobs) in by_scheduler {
        let Some(scheduler) = vitreous_schedulers::find(name) else {
            let why = format!("this vitreous knows no scheduler `{name}`");
            seen.extend(jobs.iter().map(|job| (job.dir.number(), Seen::Unknown(why.clone()))));
            continue;
        };
        let found = find_cut_short(scheduler, &jobs, shell, &mut seen);
        let mut ids: Vec<(JobNumber, JobId)> =
            found.iter().map(|(number, id)| (*number, id.clone())).collect();
        ids.extend(jobs.iter().filter_map(|job| {
            Some((job.dir.number(), JobId(job.evidence.submission.as_ref()?.job_id.clone())))
        }));
        seen.extend(ask_states(scheduler, &ids, shell));
        recovered.extend(found);
    }
    (seen, recovered)
}

fn ask_states(scheduler: &dyn Scheduler, ids: &[(JobNumber, JobId)], shell: &dyn Shell) -> SeenJobs {
    if ids.is_empty() {
        return SeenJobs::new();
    }
    let asked: Vec<JobId> = ids.iter().map(|(_, id)| id.clone()).collect();
    match shell.run(&scheduler.status(&asked)) {
        Ok(answer) => {
            let states = scheduler.parse_status(&asked, &answer);
            ids.iter().zip(states).map(|((number, _), (_, queue))| (*number, seen_of(queue))).collect()
        }
        Err(error) => ids.iter().map(|(number, _)| (*number, Seen::Unknown(error.to_string()))).collect(),
    }
}

/// Looks for the jobs of launches that were cut short on this host. What is not found is [`Seen::Gone`].
fn find_cut_short(
    scheduler: &dyn Scheduler,
    jobs: &[&OpenJob],
    shell: &dyn Shell,
    seen: &mut SeenJobs,
) -> RecoveredJobs {
    let launched_elsewhere = |job: &OpenJob| job.evidence.author == Some(Liveness::Unknown);
    let cut: Vec<&&OpenJob> = jobs
        .iter()
        .filter(|job| {
            job.evidence.launch_cut_short() || (job.evidence.submission.is_none() && launched_elsewhere(job))
        })
        .collect();
    let tags: Vec<_> = cut.iter().filter_map(|job| Some(job.evidence.intent.as_ref()?.uuid)).collect();
    // processes of another host cannot be looked for from here
    let (Some(cmd), false) = (scheduler.find_by_tag(&tags), tags.is_empty()) else {
        return RecoveredJobs::new();
    };
    let found = shell.run(&cmd).map_err(|error| error.to_string());
    match found.and_then(|answer| scheduler.parse_find(&answer).map_err(|error| error.to_string())) {
        Ok(found) => {
            let mut recovered = RecoveredJobs::new();
            for job in cut {
                let uuid = job.evidence.intent.as_ref().map(|intent| intent.uuid);
                match found.iter().find(|(tag, _)| Some(*tag) == uuid) {
                    Some((_, id)) => drop(recovered.insert(job.dir.number(), id.clone())),
                    None if launched_elsewhere(job) => {}
                    None => drop(seen.insert(job.dir.number(), Seen::Gone)),
                }
            }
            recovered
        }
        Err(why) => {
            seen.extend(cut.iter().map(|job| (job.dir.number(), Seen::Unknown(why.clone()))));
            RecoveredJobs::new()
        }
    }
}

fn seen_of(queue: Queue) -> Seen {
    match queue {
        Queue::Pending(why) => Seen::Pending(why),
        Queue::Held(why) => Seen::Pending(format!("held: {why}")),
        Queue::Running => Seen::Running,
        Queue::Requeued => Seen::Pending("put back into the queue".into()),
        Queue::Ended(ended) => Seen::Ended(reason_of(&ended)),
        Queue::Gone => Seen::Gone,
        Queue::Unknown(why) => Seen::Unknown(why),
    }
}

fn reason_of(ended: &Ended) -> Option<Reason> {
    match (&ended.reason, ended.exit, ended.signal) {
        (EndReason::OutOfMemory, ..) => Some(Reason::OutOfMemory),
        (EndReason::TimeLimit, ..) => Some(Reason::Timeout),
        (EndReason::NodeFailed, ..) => Some(Reason::NodeFailure),
        (EndReason::Preempted, ..) => Some(Reason::Preempted),
        (EndReason::Dependency, ..) => Some(Reason::Dependency(String::new())),
        (EndReason::Other(words), ..) => Some(Reason::Other(words.clone())),
        (EndReason::Exited | EndReason::Cancelled, _, Some(signal)) => Some(Reason::Signal(signal)),
        (EndReason::Exited, Some(0), None) => None,
        (EndReason::Exited | EndReason::Cancelled, code, None) => Some(Reason::Exit(code.unwrap_or(1))),
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests plant files")]
mod tests {
    use super::*;
    use crate::shell::Fake;
    use vitreous_project::process::{ProcessId, boot_id, host};
    use vitreous_project::{Intent, Microscope, NewJob, ProjectFile, Requester, Submission};
    use vitreous_schedulers::{Answer, Cmd};

    /// A project with one job that was submitted to the local lane and whose script has begun.
    fn one_job_out(folder: &std::path::Path) -> Project {
        let project = Project::init(folder, ProjectFile::new("x", Microscope::default())).unwrap();
        let new = NewJob {
            job_type: "import-movies".into(),
            title: String::new(),
            inputs: Default::default(),
            params: Default::default(),
            lane: "local".into(),
            resources: Default::default(),
            retry: Default::default(),
            fingerprint: String::new(),
        };
        let job = project.create_job(new, Some(&Request::new(Requester::User, ""))).unwrap();
        let attempt = job.attempt(1);
        std::fs::create_dir_all(attempt.file("claim")).unwrap();
        let uuid = uuid::Uuid::new_v4();
        let intent = Intent {
            schema: 1,
            uuid,
            unix_s: 0.0,
            author: ProcessId { pid: u32::MAX - 1, ..ProcessId::current() },
            lane: "local".into(),
            scheduler: "local".into(),
            resources: Default::default(),
        };
        attempt.write_intent(&intent).unwrap();
        let submission = Submission {
            schema: 1,
            uuid,
            job_id: format!("{}/{}/100/5000", host(), boot_id()),
            unix_s: 0.0,
            host: host().into(),
            command: vec![],
            recovered: false,
        };
        attempt.write_submission(&submission).unwrap();
        project
    }

    fn judged_with(answer: impl Fn(&Cmd) -> Option<Answer>) -> (State, String) {
        let folder = tempfile::tempdir().unwrap();
        let project = one_job_out(folder.path());
        let shell = Fake::new(answer);
        let board = Board::look(&project, &shell).unwrap();
        assert_eq!(shell.asked.borrow().len(), 1, "one question: {:?}", shell.asked.borrow());
        let job = board.get(JobNumber(1)).unwrap();
        (job.status.state, job.status.note.clone())
    }

    #[test]
    fn a_scheduler_that_cannot_be_asked_or_talks_rubbish_changes_nothing() {
        let says = |text: &str| Some(Answer { code: 0, stdout: text.into(), stderr: "slow".into() });
        let cases = [
            judged_with(|_| None),
            judged_with(|_| says("")),
            judged_with(|_| says("\u{fffd}\u{fffd} 502 Bad Gateway")),
            judged_with(|_| Some(Answer { code: 1, stdout: "host h".into(), stderr: "timeout".into() })),
        ];
        for (state, note) in cases {
            assert_eq!(state, State::Running);
            assert!(!note.is_empty());
        }
    }

    #[test]
    fn a_scheduler_that_knows_it_no_more_is_believed() {
        let gone = format!("host {} {}\nend\n", host(), boot_id());
        let (state, _) =
            judged_with(|_| Some(Answer { code: 0, stdout: gone.clone(), stderr: String::new() }));
        assert_eq!(state, State::Lost);
    }
}
