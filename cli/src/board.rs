//! Where all jobs of a project stand: their records, what schedulers say of those that are out, and what follows for
//! the jobs that depend on them.

use crate::failure::Outcome;
use crate::queue::{self, Desk, Freshness, Known};
use crate::shell::Shell;
use std::collections::{BTreeMap, HashMap};
use vitreous_project::index::{Found, OpenJob, Summary, Survey};
use vitreous_project::process::{self, Liveness};
use vitreous_project::state::{Evidence, Seen};
use vitreous_project::{
    Intent, JobNumber, Project, ProjectError, Reason, Request, Requester, State, Status, Submission, retry,
};
use vitreous_schedulers::{JobId, Scheduler, Site};

/// A job and where it stands.
#[derive(Debug)]
pub struct Judged {
    /// What a table shows of it.
    pub summary: Summary,
    /// Where it stands.
    pub status: Status,
    /// Its records, unless it had ended and they were not read.
    pub open: Option<Box<OpenJob>>,
    /// What its scheduler says of it, if that was asked.
    pub known: Option<Known>,
    /// The job of a launch that was cut short, found again.
    pub recovered: Option<JobId>,
    /// The attempt that its retry policy, its checkpoint or a launch that was cut short asks for.
    pub next: Option<Request>,
    /// All its parents are done, and it can be launched.
    pub ready: bool,
    /// Nothing will change without somebody's doing.
    pub settled: bool,
}

impl Judged {
    /// It belongs to another cluster, another user, or the project that this one is a copy of.
    pub fn is_foreign(&self) -> bool {
        self.known.as_ref().is_some_and(|known| known.is_foreign)
    }
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
        Self::look_as(project, shell, Freshness::Usual)
    }

    /// [`Board::look`], with answers as fresh as asked for.
    ///
    /// # Errors
    /// The project cannot be listed.
    pub fn look_as(project: &Project, shell: &dyn Shell, freshness: Freshness) -> Outcome<Self> {
        let mut survey = Survey::take(project)?;
        let mut jobs: Vec<Judged> = std::mem::take(&mut survey.jobs).into_iter().map(judged).collect();
        let mut heard = ask_schedulers(&jobs, project, shell, freshness);
        for job in &mut jobs {
            job.recovered = heard.recovered.remove(&job.summary.job);
            job.known = heard.known.remove(&job.summary.job);
            if let Err(error) = judge(job) {
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
            } else if matches!(job.status.reason, Some(Reason::Dependency(_))) && job.open.is_some() {
                come_back(job, &ends);
            }
            ends.insert(job.summary.job, (job.status.state, job.settled));
        }
    }
}

/// Derives the state of a job from its records and what was seen of it.
fn judge(job: &mut Judged) -> Result<(), ProjectError> {
    let Some(open) = &mut job.open else { return Ok(()) };
    let seen = job.known.as_ref().map_or(&Seen::NotAsked, |known| &known.seen);
    if matches!(seen, Seen::Gone | Seen::Ended(..)) && open.evidence.exit.is_none() {
        open.evidence.read_end(&open.dir)?;
    }
    job.status = open.evidence.derive(seen);
    job.summary = Summary::new(&open.dir, &open.evidence);
    job.next = retry::next_request(&open.dir, &open.evidence, &job.status)?;
    if let (Some(next), Some(host)) =
        (&mut job.next, bad_host(job.known.as_ref(), &open.evidence, &job.status))
    {
        next.avoid.push(host);
        next.avoid.sort();
        next.avoid.dedup();
    }
    Ok(())
}

/// The host to avoid in the next attempt: the one that failed.
fn bad_host(known: Option<&Known>, evidence: &Evidence, status: &Status) -> Option<String> {
    let is_to_blame = matches!(status.reason, Some(Reason::NodeFailure | Reason::LaunchFailed(_)));
    let told = known.map(|known| &known.host).or(evidence.verdict.as_ref().map(|verdict| &verdict.host));
    told.filter(|host| is_to_blame && !host.is_empty()).cloned()
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
    let request = job.open.as_deref().and_then(|open| open.evidence.request.as_ref());
    // it runs under the name of who asked for it
    let others = request.and_then(|request| request.uid).filter(|uid| *uid != process::uid());
    job.ready = waits.is_empty() && others.is_none();
    job.status.note = match waits.as_slice() {
        [] if let Some(uid) = others => {
            format!("for the next `vitreous advance` of {}, who asked for it", process::user_name(uid))
        }
        [] => format!("for a free slot in lane {}, or for the next `vitreous advance`", job.summary.lane),
        waits => format!("for {}", waits.join(", ")),
    };
}

/// A job that was queued behind one that did not end well: it runs again when that one has.
fn come_back(job: &mut Judged, ends: &BTreeMap<JobNumber, (State, bool)>) {
    let Some(open) = job.open.as_deref() else { return };
    let last = open.evidence.request.clone().unwrap_or_else(|| Request::new(Requester::User, ""));
    (job.status.state, job.status.reason, job.settled) = (State::Waiting, None, false);
    wait_for_parents(job, ends);
    if job.ready {
        let why = "what it was queued behind is done now";
        job.status.note = format!("to be launched again: {why}");
        job.next = Some(Request { by: Requester::Recovery, why: why.into(), ..last });
        job.ready = false;
    }
}

fn judged(found: Found) -> Judged {
    let job = |summary, status, open| Judged {
        summary,
        status,
        open,
        known: None,
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
                watches: false,
                fingerprint: String::new(),
                created_unix_s: 0.0,
                started_unix_s: None,
                ended_unix_s: None,
            };
            job(summary, broken(&error), None)
        }
    }
}

/// The job of a launch that was cut short, found again.
type RecoveredJobs = BTreeMap<JobNumber, JobId>;

/// What schedulers say of jobs.
#[derive(Default)]
struct Heard {
    known: BTreeMap<JobNumber, Known>,
    recovered: RecoveredJobs,
}

impl Heard {
    fn say(&mut self, job: JobNumber, seen: Seen) {
        self.known.insert(job, Known::of(seen));
    }
}

/// The site that an attempt was launched at; of records without one, the scheduler itself, here.
pub fn site_of(intent: &Intent) -> Site {
    let site: Option<Site> = serde_json::from_value(intent.site.clone()).ok();
    site.unwrap_or_else(|| Site { scheduler: intent.scheduler.clone(), ..Site::default() })
}

/// Asks each scheduler about its jobs: one question for each site.
fn ask_schedulers(jobs: &[Judged], project: &Project, shell: &dyn Shell, freshness: Freshness) -> Heard {
    let mut heard = Heard::default();
    let mut by_site: Vec<(Site, Vec<&OpenJob>)> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let open = jobs.iter().filter_map(|job| job.open.as_deref());
    for open in open.filter(|open| open.evidence.needs_scheduler()) {
        let Some(intent) = &open.evidence.intent else { continue };
        // the same site with another environment is the same site: the newest job's is used
        let mut site = site_of(intent);
        let environment = std::mem::take(&mut site.environment);
        let key = serde_json::to_string(&site).unwrap_or_default();
        let at = *places.entry(key).or_insert_with(|| {
            by_site.push((site, Vec::new()));
            by_site.len() - 1
        });
        by_site[at].0.environment = environment;
        by_site[at].1.push(open);
    }
    if by_site.is_empty() {
        return heard;
    }
    let now_ns = queue::now_ns(project);
    for (site, jobs) in &by_site {
        match vitreous_schedulers::find(&site.scheduler) {
            Some(scheduler) => {
                let desk = Desk::new(project, shell, scheduler, site, now_ns);
                ask_site(project, desk, scheduler, jobs, (freshness, now_ns), &mut heard);
            }
            None => {
                let why = format!("this vitreous knows no scheduler `{}`", site.scheduler);
                jobs.iter().for_each(|job| heard.say(job.dir.number(), Seen::Unknown(why.clone())));
            }
        }
    }
    heard
}

fn ask_site(
    project: &Project,
    mut desk: Desk<'_>,
    scheduler: &'static dyn Scheduler,
    jobs: &[&OpenJob],
    (freshness, now_ns): (Freshness, i64),
    heard: &mut Heard,
) {
    let found = find_cut_short(&desk, scheduler, jobs, now_ns, heard);
    let mut ids: Vec<(JobNumber, JobId)> = found.iter().map(|(number, id)| (*number, id.clone())).collect();
    heard.recovered.extend(found);
    let mut patience = (0.0_f64, f64::INFINITY);
    for job in jobs {
        let Some(submission) = &job.evidence.submission else { continue };
        if let Some(why) = foreign(project, &mut desk, submission) {
            let known = Known { is_foreign: true, ..Known::of(Seen::Unknown(why)) };
            heard.known.insert(job.dir.number(), known);
            continue;
        }
        ids.push((job.dir.number(), JobId(submission.job_id.clone())));
    }
    for intent in jobs.iter().filter_map(|job| job.evidence.intent.as_ref()) {
        patience = (patience.0.max(intent.grace_s), patience.1.min(intent.poll_s));
    }
    if ids.is_empty() {
        return;
    }
    let asked: Vec<JobId> = ids.iter().map(|(_, id)| id.clone()).collect();
    let known = desk.states(&asked, patience.0, patience.1, freshness);
    heard.known.extend(ids.into_iter().map(|(number, _)| number).zip(known));
}

/// Why a submission is none of this project's business here: the folder is a copy, or this is another cluster.
fn foreign(project: &Project, desk: &mut Desk<'_>, submission: &Submission) -> Option<String> {
    let here = project.root().to_string_lossy();
    if !submission.project_dir.is_empty() && submission.project_dir != here {
        return Some(format!(
            "it was submitted from the project in {}; this copy does not follow it (`vitreous retry --force` runs it here)",
            submission.project_dir
        ));
    }
    let others = submission.uid.filter(|uid| *uid != process::uid() && !desk.is_own());
    if let Some(uid) = others {
        // a scheduler may show everybody only his own jobs: what it does not list is not gone
        let user = process::user_name(uid);
        return Some(format!("it was submitted by {user}, whose `vitreous advance` follows it"));
    }
    if submission.cluster.is_empty() {
        return None;
    }
    let cluster = desk.cluster();
    (!cluster.is_empty() && cluster != submission.cluster).then(|| {
        format!("it was submitted on cluster {}, and this is {cluster}: look there", submission.cluster)
    })
}

/// After this time a launch from another host, that has not said how it ended, is taken for cut short, ns.
const SILENT_LAUNCH_NS: i64 = 600_000_000_000;

/// Looks for the jobs of launches that were cut short. What is not found is [`Seen::Gone`].
fn find_cut_short(
    desk: &Desk<'_>,
    scheduler: &dyn Scheduler,
    jobs: &[&OpenJob],
    now_ns: i64,
    heard: &mut Heard,
) -> RecoveredJobs {
    let mut recovered = RecoveredJobs::new();
    let mut cut = Vec::new();
    for job in jobs.iter().filter(|job| job.evidence.submission.is_none()) {
        let Some(intent) = &job.evidence.intent else { continue };
        let attempt = job.dir.attempt(job.evidence.attempt);
        let is_elsewhere = job.evidence.author == Some(Liveness::Unknown);
        let is_silent = || attempt.intent_age_ns(now_ns) > SILENT_LAUNCH_NS;
        let is_cut = job.evidence.launch_cut_short() || (is_elsewhere && (!intent.is_cluster || is_silent()));
        if !is_cut {
            continue;
        }
        // a script that has begun knows its own id
        let owner = attempt.claimed_by(intent.elements.as_ref()).filter(|_| intent.is_cluster);
        match owner {
            Some(owner) => drop(recovered.insert(job.dir.number(), JobId(owner))),
            // its command may have outlived it and submit yet
            None if attempt.is_being_submitted() && !is_silent() => {
                heard.say(job.dir.number(), Seen::Unknown("its submission is still under way".into()));
            }
            None => cut.push((job.dir.number(), intent.uuid, is_elsewhere && !intent.is_cluster)),
        }
    }
    let tags: Vec<_> = cut.iter().map(|(_, uuid, _)| *uuid).collect();
    if tags.is_empty() {
        return recovered;
    }
    let Some(cmd) = scheduler.find_by_tag(desk.site(), &tags) else {
        // nobody can look for it: if it is there, it finds itself cancelled when it starts
        cut.into_iter().for_each(|(number, ..)| heard.say(number, Seen::Gone));
        return recovered;
    };
    let found = desk.ask(cmd, |answer| scheduler.parse_find(&tags, answer));
    for (number, uuid, is_out_of_sight) in cut {
        match &found {
            Ok(found) => match found.iter().find(|(tag, _)| *tag == uuid) {
                Some((_, id)) => drop(recovered.insert(number, id.clone())),
                // processes of another host cannot be looked for from here
                None if is_out_of_sight => {}
                None => heard.say(number, Seen::Gone),
            },
            Err(why) => heard.say(number, Seen::Unknown(why.clone())),
        }
    }
    recovered
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests plant files")]
mod tests {
    use super::*;
    use crate::shell::Fake;
    use vitreous_project::process::{ProcessId, boot_id, host};
    use vitreous_project::{Microscope, NewJob, ProjectFile};
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
            vars: Default::default(),
            retry: Default::default(),
            fingerprint: String::new(),
        };
        let job = project.create_job(new, Some(&Request::new(Requester::User, ""))).unwrap();
        let attempt = job.attempt(1);
        std::fs::create_dir_all(attempt.file("claim")).unwrap();
        std::fs::write(attempt.file("claim/owner"), "100").unwrap();
        let uuid = uuid::Uuid::new_v4();
        let author = ProcessId { pid: u32::MAX - 1, ..ProcessId::current() };
        let intent = Intent { author, ..Intent::new(uuid, "local", "local") };
        attempt.write_intent(&intent).unwrap();
        let submission = Submission {
            schema: 1,
            uuid,
            job_id: format!("{}/{}/100/5000", host(), boot_id()),
            unix_s: 0.0,
            host: host().into(),
            uid: None,
            cluster: String::new(),
            project_dir: String::new(),
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
