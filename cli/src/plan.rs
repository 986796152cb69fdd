//! What launching a job would be: its resources, its script, its command. Nothing is changed here.

use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::inputs;
use crate::lanes::{self, NamedLane};
use crate::place::{self, Place};
use crate::usage::{self, History};
use serde_json::Value;
use std::path::{Path, PathBuf};
use uuid::Uuid;
use vitreous_jobs::{Estimate, JobType};
use vitreous_model::resources::{InputSummary, Resources};
use vitreous_project::{Elements, JobSpec, Project, Request};
use vitreous_schedulers::render::Variable;
use vitreous_schedulers::{Array, Cmd, JobId, LaneError, Script, ScriptContext, Site};

/// A launch, prepared.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What is asked of the machine.
    pub resources: Resources,
    /// The script's text.
    pub script: String,
    /// Text of a second script that the first one runs, `run.sh` beside it; only where the first is another program's.
    pub body: Option<String>,
    /// Where it goes and how it is known.
    pub target: Script,
    /// Where it is submitted.
    pub site: Site,
    /// What submits it there.
    pub submit: Cmd,
    /// What the user should know before.
    pub warning: Option<String>,
}

/// An attempt that is to be launched.
#[derive(Debug, Clone)]
pub struct Attempt<'a> {
    /// Its job.
    pub spec: &'a JobSpec,
    /// The job's folder, which need not exist yet.
    pub job_dir: &'a Path,
    /// Its number.
    pub number: u32,
    /// What was asked for.
    pub request: &'a Request,
    /// Its identity.
    pub tag: Uuid,
    /// Jobs of the same scheduler that it is queued behind.
    pub after: Vec<JobId>,
    /// Elements that earlier attempts have done already, of a division into so many.
    pub done_elements: Option<(Vec<u32>, u32)>,
}

impl<'a> Attempt<'a> {
    /// The first attempt of a job, for looking at what it would be.
    pub fn first(spec: &'a JobSpec, job_dir: &'a Path, request: &'a Request) -> Self {
        Self { spec, job_dir, number: 1, request, tag: Uuid::nil(), after: Vec::new(), done_elements: None }
    }
}

/// What a job asks of its lane, before a place is chosen for it.
#[derive(Debug, Clone)]
pub struct Needs {
    /// What is asked of the machine, for one task of an array.
    pub resources: Resources,
    /// What the job type says it needs, corrected by what jobs of the type used, with the reasons.
    pub estimate: Estimate,
    /// What is known of its inputs.
    pub inputs: InputSummary,
    /// It goes as an array.
    pub elements: Option<Elements>,
}

/// What an attempt needs.
///
/// # Errors
/// The job type is unknown, its parameters are bad, or the request does not fit the lane.
pub fn needs(
    project: &Project,
    lane: &NamedLane,
    attempt: &Attempt<'_>,
    history: &History<'_>,
) -> Outcome<Needs> {
    let spec = attempt.spec;
    let job_type = find_type(&spec.job_type)?;
    let effective = job_type.check(&Value::Object(spec.params.clone()))?;
    let inputs = inputs::summary(project, job_type, spec);
    let elements = elements(lane, job_type, &inputs, attempt);
    let mut share = inputs.clone();
    if let Some(elements) = &elements {
        share.items = inputs.items.div_ceil(u64::from(elements.of));
    }
    let mut estimate = usage::suggest(&history.of(job_type), job_type.estimate(&effective, &share));
    if inputs.provisional {
        // nobody knows how much there will be: all the time that the lane gives, so that it is not cut off
        let four_times = estimate.resources.walltime_s.saturating_mul(4);
        let walltime_s = lane.lane.limits.walltime.unwrap_or(four_times);
        estimate = estimate
            .walltime_s(walltime_s, "all that the lane gives: how much there is to do is not known yet");
    }
    let asked = scaled(spec.resources.apply(estimate.resources.clone()), attempt.request);
    check_places(lane, &asked)?;
    let resources = fit_cores(lane, lane.lane.fit(&lane.name, &asked)?);
    Ok(Needs { resources, estimate, inputs, elements })
}

/// The elements that are to be done; `None`: it goes as one job, as it does when only collecting is left.
fn elements(
    lane: &NamedLane,
    job_type: &dyn JobType,
    inputs: &InputSummary,
    attempt: &Attempt<'_>,
) -> Option<Elements> {
    let each = u64::from(lane.lane.array?);
    if !job_type.is_per_item() {
        return None;
    }
    let (done, of) = match &attempt.done_elements {
        Some((done, of)) => (done.clone(), *of),
        None => (Vec::new(), u32::try_from(inputs.items.div_ceil(each)).unwrap_or(u32::MAX)),
    };
    let numbers: Vec<u32> = (1..=of).filter(|element| !done.contains(element)).collect();
    (of > 1 && !numbers.is_empty()).then_some(Elements { numbers, of })
}

/// No host that we place jobs on has so many GPUs.
fn check_places(lane: &NamedLane, asked: &Resources) -> Outcome {
    if lane.lane.is_cluster() || asked.gpus == 0 {
        return Ok(());
    }
    let most = place::hosts(lane).iter().map(|host| host.gpus).max().unwrap_or(0);
    if asked.gpus <= most {
        return Ok(());
    }
    let (asked, allowed) = (format!("{} GPUs", asked.gpus), format!("{most} GPUs on a host"));
    Err(LaneError::TooMuch { lane: lane.name.clone(), asked, allowed }.into())
}

/// Prepares the launch of an attempt in a place.
///
/// # Errors
/// The template is broken.
pub fn prepare(
    context: &Context<'_>,
    project: &Project,
    lane: &NamedLane,
    attempt: &Attempt<'_>,
    needs: &Needs,
    place: &Place,
) -> Outcome<Plan> {
    let (spec, request, resources) = (attempt.spec, attempt.request, &needs.resources);
    let scheduler = lane.scheduler();
    let attempt_dir = attempt.job_dir.join(format!("attempt-{:02}", attempt.number));
    let file = |name: &str| attempt_dir.join(name).to_string_lossy().into_owned();
    let tasks = needs.elements.as_ref().map_or(0, |elements| elements.numbers.len() as u32);
    let target = Script {
        path: file("submit.sh"),
        folder: attempt_dir.to_string_lossy().into_owned(),
        name: format!("{}-{}-{}", project.file().name, spec.job, spec.job_type),
        tag: attempt.tag,
        stdout: file("stdout"),
        stderr: file("stderr"),
        resources: resources.clone(),
        after: attempt.after.clone(),
        array: (tasks > 1).then(|| Array { tasks, at_once: lane.lane.array_at_once.unwrap_or(0) }),
        avoid: request.avoid.iter().cloned().collect(),
    };
    let mut values = ScriptContext::example(lane.context(&spec.vars));
    if let Some(worker) = place.worker.as_ref().filter(|worker| !worker.scratch.is_empty()) {
        values.lane.scratch.clone_from(&worker.scratch);
    }
    values.job = spec.job.to_string();
    values.job_type.clone_from(&spec.job_type);
    values.job_name.clone_from(&target.name);
    values.project_dir = project.root().to_string_lossy().into_owned();
    values.job_dir = attempt.job_dir.to_string_lossy().into_owned();
    values.attempt_dir.clone_from(&target.folder);
    values.attempt = attempt.number;
    values.cancel_file =
        attempt.job_dir.join(format!("cancel-{:02}.json", attempt.number)).to_string_lossy().into_owned();
    values.uuid = attempt.tag.to_string();
    values.engine = lane.engine(&context.program);
    // at the end of a job of this host the next one can start at once; other hosts may not be able to launch
    let advances = scheduler.places_jobs() && place.worker.is_none();
    values.vitreous = if advances { context.program.to_string_lossy().into() } else { String::new() };
    values.launcher = launcher(lane, resources);
    values.set_resources(resources);
    values.parents = inputs::parents(project, spec);
    values.job_id_var = scheduler.job_id_var().into();
    values.task_id_var = scheduler.task_id_var().into();
    values.elements = needs.elements.as_ref().map(|elements| elements.numbers.clone()).unwrap_or_default();
    values.element_count = needs.elements.as_ref().map_or(0, |elements| elements.of);
    values.stdout.clone_from(&target.stdout);
    values.stderr.clone_from(&target.stderr);
    values.environment = environment(lane, request);
    values.gives_gpus = scheduler.places_jobs() && (resources.gpus > 0 || !place.gpu_ids.is_empty());
    values.gpu_ids.clone_from(&place.gpu_ids);
    set_limits(&mut values, lane, spec.resources.walltime_s.is_some());
    let rendered = lane.render(&values)?;
    let site = lane.site(place.worker.as_ref(), &request.environment);
    let submit = scheduler.submit(&site, &target);
    let warning = memory_warning(lane, resources);
    Ok(Plan {
        resources: resources.clone(),
        script: rendered.script,
        body: rendered.body,
        target,
        site,
        submit,
        warning,
    })
}

/// Limits that the script keeps itself, and how it goes back into the queue.
fn set_limits(values: &mut ScriptContext, lane: &NamedLane, is_asked_for: bool) {
    let scheduler = lane.scheduler();
    let limit_s = match scheduler.grants_walltime() {
        true => values.walltime_s,
        false => lane.lane.limits.walltime.unwrap_or(0),
    };
    if !scheduler.signals_before_limit() {
        // a short limit leaves at least half of it for work
        values.deadline_s = limit_s.saturating_sub(lane.lane.signal_s).max(limit_s / 2);
    }
    if scheduler.places_jobs() {
        // without a limit of the lane's or the user's, time is only estimated and nobody else waits for it
        let is_limited = lane.lane.limits.walltime.is_some() || is_asked_for;
        values.deadline_s = if is_limited { values.deadline_s } else { 0 };
        values.hard_limit_s = if is_limited { values.walltime_s } else { 0 };
        values.mem_limit_mib = if lane.lane.enforce_memory { values.mem_mib } else { 0 };
    }
    if lane.lane.requeue {
        values.requeue_command = scheduler.requeue().into();
        values.reruns_on_99 = scheduler.reruns_on_99();
    }
}

/// The job type of a name.
///
/// # Errors
/// There is none.
pub fn find_type(name: &str) -> Outcome<&'static dyn JobType> {
    vitreous_jobs::find(name)
        .ok_or_else(|| Failure::usage(format!("no job type `{name}`")).hint("`vitreous types` lists them"))
}

/// More memory or time, where an earlier attempt ran out of it.
fn scaled(resources: Resources, request: &Request) -> Resources {
    let times = |value: u64, factor: f64| (value as f64 * factor).ceil() as u64;
    Resources {
        mem_mib: times(resources.mem_mib, request.mem_factor),
        walltime_s: times(resources.walltime_s, request.time_factor),
        ..resources
    }
}

/// On a local lane threads are those of this machine, whatever the job would like.
fn fit_cores(lane: &NamedLane, resources: Resources) -> Resources {
    if lane.lane.is_cluster() {
        return resources;
    }
    let cores = place::hosts(lane).iter().map(|host| host.threads).max().unwrap_or(1);
    let per_rank = (cores / resources.ranks.max(1)).max(1);
    Resources { threads: resources.threads.min(per_rank), ..resources }
}

/// A local job that is larger than this machine will swap or be killed; that is said before it starts.
fn memory_warning(lane: &NamedLane, resources: &Resources) -> Option<String> {
    let here =
        lanes::memory_mib().filter(|here| lane.lane.scheduler == "local" && resources.mem_mib > *here)?;
    Some(format!(
        "the job needs about {} MiB, and this machine has {here} MiB: it may be killed (`--mem-gib` overrides the estimate)",
        resources.mem_mib
    ))
}

/// Words before the engine: none for a single rank.
fn launcher(lane: &NamedLane, resources: &Resources) -> Vec<String> {
    if resources.ranks <= 1 {
        return Vec::new();
    }
    let words = lane.lane.launcher.split_whitespace().map(String::from);
    words.chain(["-n".to_string(), resources.ranks.to_string()]).collect()
}

fn environment(lane: &NamedLane, request: &Request) -> Vec<Variable> {
    let mut all = request.environment.clone();
    all.extend(lane.lane.env.clone());
    all.into_iter().map(|(name, value)| Variable { name, value }).collect()
}

/// Where a job of that number and type will lie.
pub fn future_folder(project: &Project, spec: &JobSpec) -> PathBuf {
    project.root().join(spec.job.folder(&spec.job_type))
}
