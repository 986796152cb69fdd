//! Launching one attempt. In this order, so that a kill between any two steps loses nothing and starts nothing twice:
//! everything that can fail without a trace; `intent.json`, which only one process can create; the script; the
//! submission; `submission.json`. A launch without an end is found by its uuid, or fenced off ([`crate::pass`]).

use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::lanes::NamedLane;
use crate::place::{Place, Room};
use crate::plan::{self, Plan};
use crate::queue::{self, Desk, Trouble};
use crate::usage::History;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use uuid::Uuid;
use vitreous_model::SCHEMA;
use vitreous_model::resources::Resources;
use vitreous_project::process::{self, host};
use vitreous_project::{
    AttemptDir, Intent, JobDir, Project, ProjectError, Refusal, Request, Submission, atomic, clock,
};
use vitreous_schedulers::{JobId, SchedulerError, Site};

/// A launch that went well.
#[derive(Debug, Clone, PartialEq)]
pub struct Submitted {
    /// The scheduler's id.
    pub id: String,
    /// Where it was submitted.
    pub site: Site,
    /// What was asked for.
    pub resources: Resources,
    /// The place it was given.
    pub place: Place,
}

/// What became of a launch.
#[derive(Debug, Clone, PartialEq)]
pub enum Launched {
    /// It is with the scheduler.
    Submitted(Box<Submitted>),
    /// There is no host with room for it; nothing was done.
    NoRoom,
    /// Somebody else launches it, or has cancelled it in the meantime.
    NotOurs,
}

/// A job that is to be launched.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// The job.
    pub job: &'a JobDir,
    /// Number of the attempt.
    pub attempt: u32,
    /// What was asked for.
    pub request: &'a Request,
    /// Jobs of the same site that it is queued behind; empty: all its inputs are done.
    pub after: Vec<JobId>,
}

/// Launches a job if there is room for it.
///
/// # Errors
/// It cannot be prepared (the job waits on), the scheduler cannot be reached (it waits on), or the scheduler refused it
/// (the job has failed and says why).
pub fn launch(
    context: &Context<'_>,
    project: &Project,
    lane: &NamedLane,
    wanted: &Wanted<'_>,
    (room, history): (&Room, &History<'_>),
) -> Outcome<Launched> {
    let Wanted { job, attempt, request, after } = wanted;
    let tag = Uuid::new_v4();
    let attempt_of = plan::Attempt {
        spec: job.spec(),
        job_dir: job.path(),
        number: *attempt,
        request,
        tag,
        after: after.clone(),
        done_elements: done_elements(job, *attempt)?,
    };
    let needs = plan::needs(project, lane, &attempt_of, history)?;
    let Some(place) = room.find(lane, &needs.resources) else { return Ok(Launched::NoRoom) };
    let plan = plan::prepare(context, project, lane, &attempt_of, &needs, &place)?;
    if let Some(warning) = &plan.warning {
        crate::context::remark(format!("warning: {}: {warning}", job.number()));
    }
    let mut desk = Desk::new(project, context.shell, lane.scheduler(), &plan.site, queue::now_ns(project));
    let cluster = desk.cluster();
    let dir = job.attempt(*attempt);
    dir.create()?;
    let intent = Intent {
        resources: plan.resources.clone(),
        site: serde_json::to_value(&plan.site).unwrap_or_default(),
        is_cluster: lane.lane.is_cluster(),
        elements: needs.elements,
        is_chained: !after.is_empty(),
        grace_s: lane.lane.grace_s(),
        poll_s: lane.lane.poll_s(),
        gpu_ids: place.gpu_ids.clone(),
        ..Intent::new(tag, &lane.name, lane.scheduler().name())
    };
    if !dir.write_intent(&intent)? {
        return Ok(Launched::NotOurs);
    }
    pause_for_tests("intent");
    if job.read_cancel(*attempt)?.is_some() {
        return Ok(Launched::NotOurs);
    }
    let prepared = job.set_results_aside(*attempt).map_err(Failure::from).and_then(|()| write_script(&plan));
    // killed during the submission, this program leaves a command behind that may still submit. A job of our own hosts
    // would inherit the mark for its whole life, and is found by its process anyway.
    let marked =
        prepared.and_then(|()| Ok(lane.lane.is_cluster().then(|| dir.begin_submission()).transpose()?));
    let submitted = match marked {
        Ok(_mark) => submit(&desk, lane, &plan),
        // a full disk, say: nothing was submitted, and it may be later
        Err(failure) => Err((Doubt::Later, failure)),
    };
    let job_id = match submitted {
        Ok(job_id) => job_id,
        Err((doubt, failure)) => {
            note_failure(&dir, tag, doubt, &failure);
            return Err(failure);
        }
    };
    pause_for_tests("submit");
    dir.write_submission(&Submission {
        schema: SCHEMA,
        uuid: tag,
        job_id: job_id.clone(),
        unix_s: clock::unix_s(),
        host: host().into(),
        uid: Some(process::uid()),
        cluster,
        project_dir: project.root().to_string_lossy().into_owned(),
        command: plan.submit.words(),
        recovered: false,
    })?;
    let submitted = Submitted { id: job_id, site: plan.site, resources: plan.resources, place };
    Ok(Launched::Submitted(Box::new(submitted)))
}

/// Elements that earlier attempts of an array have done, and into how many the items were divided.
fn done_elements(job: &JobDir, attempt: u32) -> Outcome<Option<(Vec<u32>, u32)>> {
    let mut division = None;
    let mut done = Vec::new();
    for earlier in (1..attempt).rev().map(|number| job.attempt(number)) {
        let Some(elements) = earlier.intent()?.and_then(|intent| intent.elements) else { continue };
        if *division.get_or_insert(elements.of) != elements.of {
            break;
        }
        for element in elements.numbers {
            if earlier.element_exit(element)?.is_some_and(|exit| exit.code == 0) {
                done.push(element);
            }
        }
    }
    Ok(division.map(|of| (done, of)))
}

/// What a submission that failed leaves open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doubt {
    /// The scheduler refused it: the job has failed.
    None,
    /// It could not be reached, and has taken nothing: the same attempt may be launched later.
    Later,
    /// It may have taken it.
    Taken,
}

fn submit(desk: &Desk<'_>, lane: &NamedLane, plan: &Plan) -> Result<String, (Doubt, Failure)> {
    let scheduler = lane.scheduler();
    let answer = match desk.run(scheduler.submit(&plan.site, &plan.target)) {
        Ok(answer) => answer,
        // a command that did not end may have done its work
        Err(Trouble::TimedOut(why)) => return Err((Doubt::Taken, Failure::scheduler(why))),
        Err(Trouble::NotStarted(why)) => return Err((Doubt::Later, Failure::scheduler(why))),
    };
    scheduler.parse_submit(&answer).map(|id| id.0).map_err(|error| {
        let doubt = match &error {
            SchedulerError::Refused { .. } => Doubt::None,
            SchedulerError::Unreachable { .. } => Doubt::Later,
            SchedulerError::Unexpected { .. } => Doubt::Taken,
        };
        (doubt, Failure::from(error))
    })
}

/// Writes down how a submission failed. That it cannot be written is no further error: without a word of its author the
/// launch counts as cut short and is looked for.
fn note_failure(dir: &AttemptDir, tag: Uuid, doubt: Doubt, failure: &Failure) {
    let message = format!("{:#}", failure.error);
    let refusal = Refusal { schema: SCHEMA, uuid: tag, unix_s: clock::unix_s(), message };
    let noted = match doubt {
        Doubt::None => dir.write_refusal(&refusal),
        Doubt::Later => dir.withdraw_intent(tag),
        Doubt::Taken => dir.write_unclear(&refusal),
    };
    if let Err(error) = noted {
        log::debug!("{error}");
    }
}

fn write_script(plan: &Plan) -> Outcome {
    let path = Path::new(&plan.target.path);
    for (path, text) in
        [(path.to_path_buf(), Some(&plan.script)), (path.with_file_name("run.sh"), plan.body.as_ref())]
    {
        let Some(text) = text else { continue };
        atomic::write(&path, text.as_bytes())?;
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&path, executable).map_err(ProjectError::io("make executable", &path))?;
    }
    Ok(())
}

/// Lets the kill tests stop the program between two steps: with `VITREOUS_PAUSE_AT=STEP` in the environment it stops
/// there until it is killed.
#[allow(clippy::disallowed_methods, reason = "a switch for tests")]
fn pause_for_tests(step: &str) {
    if std::env::var("VITREOUS_PAUSE_AT").is_ok_and(|at| at == step) {
        crate::context::remark(format!("paused at {step}"));
        loop {
            std::thread::park();
        }
    }
}
