//! Launching one attempt. In this order, so that a kill between any two steps loses nothing and starts nothing twice:
//! everything that can fail without a trace; `intent.json`, which only one process can create; the script; the
//! submission; `submission.json`. A launch without an end is found by its uuid, or fenced off ([`crate::pass`]).

use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::lanes::NamedLane;
use crate::plan::{self, Plan};
use std::os::unix::fs::PermissionsExt;
use uuid::Uuid;
use vitreous_model::SCHEMA;
use vitreous_model::resources::Resources;
use vitreous_project::process::{ProcessId, host};
use vitreous_project::{Intent, JobDir, Project, ProjectError, Refusal, Request, Submission, atomic, clock};

/// What became of a launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Launched {
    /// It is with the scheduler, under this id, with these resources.
    Submitted(String, Resources),
    /// It needs more threads than are free; nothing was done.
    NoRoom,
    /// Somebody else launches it, or has cancelled it in the meantime.
    NotOurs,
}

/// Launches attempt `attempt` of `job` if it needs at most `room` threads.
///
/// # Errors
/// It cannot be prepared (the job waits on), or the scheduler refused it (the job has failed and says why).
pub fn launch(
    context: &Context<'_>,
    project: &Project,
    lane: &NamedLane,
    job: &JobDir,
    (attempt, request): (u32, &Request),
    room: u32,
) -> Outcome<Launched> {
    let tag = Uuid::new_v4();
    let plan = plan::prepare(context, project, lane, (job.spec(), job.path()), (attempt, request), tag)?;
    if plan.resources.threads * plan.resources.ranks > room {
        return Ok(Launched::NoRoom);
    }
    if let Some(warning) = &plan.warning {
        crate::context::remark(format!("warning: {}: {warning}", job.number()));
    }
    let dir = job.attempt(attempt);
    dir.create()?;
    let intent = Intent {
        schema: SCHEMA,
        uuid: tag,
        unix_s: clock::unix_s(),
        author: ProcessId::current(),
        lane: lane.name.clone(),
        scheduler: lane.scheduler().name().into(),
        resources: plan.resources.clone(),
    };
    if !dir.write_intent(&intent)? {
        return Ok(Launched::NotOurs);
    }
    pause_for_tests("intent");
    if job.read_cancel(attempt)?.is_some() {
        return Ok(Launched::NotOurs);
    }
    let submitted = job.set_results_aside(attempt).map_err(Failure::from);
    let submitted = submitted.and_then(|()| write_script(&plan)).and_then(|()| submit(context, lane, &plan));
    let job_id = match submitted {
        Ok(job_id) => job_id,
        Err(failure) => {
            let message = format!("{:#}", failure.error);
            let refusal = Refusal { schema: SCHEMA, uuid: tag, unix_s: clock::unix_s(), message };
            if let Err(error) = dir.write_refusal(&refusal) {
                log::debug!("{error}");
            }
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
        command: plan.submit.words(),
        recovered: false,
    })?;
    Ok(Launched::Submitted(job_id, plan.resources))
}

fn submit(context: &Context<'_>, lane: &NamedLane, plan: &Plan) -> Outcome<String> {
    let failed = |error: anyhow::Error| Failure::new(vitreous_model::exit::SCHEDULER, error);
    let answer = context.shell.run(&plan.submit).map_err(|error| failed(error.into()))?;
    let id = lane.scheduler().parse_submit(&answer).map_err(|error| failed(error.into()))?;
    Ok(id.0)
}

fn write_script(plan: &Plan) -> Outcome {
    let path = std::path::Path::new(&plan.target.path);
    atomic::write(path, plan.script.as_bytes())?;
    let executable = std::fs::Permissions::from_mode(0o755);
    Ok(std::fs::set_permissions(path, executable).map_err(ProjectError::io("make executable", path))?)
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
