//! What launching a job would be: its resources, its script, its command. Nothing is changed here.

use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::lanes::{self, NamedLane};
use serde_json::Value;
use std::path::{Path, PathBuf};
use uuid::Uuid;
use vitreous_jobs::JobType;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::resources::{InputSummary, Resources};
use vitreous_project::{JobSpec, Project, Request};
use vitreous_schedulers::render::{Variable, render};
use vitreous_schedulers::{Cmd, Script, ScriptContext};

/// A launch, prepared.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What is asked of the machine.
    pub resources: Resources,
    /// The script's text.
    pub script: String,
    /// Where it goes and how it is known.
    pub target: Script,
    /// What submits it.
    pub submit: Cmd,
    /// What the user should know before.
    pub warning: Option<String>,
}

/// Prepares the launch of attempt `attempt` of a job in `job_dir`, which need not exist yet.
///
/// # Errors
/// The job type is unknown, its parameters are bad, the request does not fit the lane, or the template is broken.
pub fn prepare(
    context: &Context<'_>,
    project: &Project,
    lane: &NamedLane,
    (spec, job_dir): (&JobSpec, &Path),
    (attempt, request): (u32, &Request),
    tag: Uuid,
) -> Outcome<Plan> {
    let job_type = find_type(&spec.job_type)?;
    let effective = job_type.check(&Value::Object(spec.params.clone()))?;
    let formula = job_type.resources(&effective, &input_summary(project, job_type, spec));
    let resources = lane.lane.fit(&lane.name, &spec.resources.apply(scaled(formula, request)))?;
    let resources = fit_cores(lane, resources);
    let attempt_dir = job_dir.join(format!("attempt-{attempt:02}"));
    let file = |name: &str| attempt_dir.join(name).to_string_lossy().into_owned();
    let target = Script {
        path: file("submit.sh"),
        name: format!("{}-{}-{}", project.file().name, spec.job, spec.job_type),
        tag,
        stdout: file("stdout"),
        stderr: file("stderr"),
        resources: resources.clone(),
    };
    let mut values = ScriptContext::example(lane.context());
    values.job = spec.job.to_string();
    values.job_type.clone_from(&spec.job_type);
    values.job_name.clone_from(&target.name);
    values.project_dir = project.root().to_string_lossy().into_owned();
    values.job_dir = job_dir.to_string_lossy().into_owned();
    values.attempt_dir = attempt_dir.to_string_lossy().into_owned();
    values.attempt = attempt;
    values.cancel_file = job_dir.join(format!("cancel-{attempt:02}.json")).to_string_lossy().into_owned();
    values.uuid = tag.to_string();
    values.engine = lane.engine(&context.program);
    values.vitreous =
        if lane.scheduler().is_local() { context.program.to_string_lossy().into() } else { String::new() };
    values.launcher = launcher(lane, &resources);
    values.set_resources(&resources);
    values.dependency = String::new();
    values.job_id_var = lane.scheduler().job_id_var().into();
    values.stdout.clone_from(&target.stdout);
    values.stderr.clone_from(&target.stderr);
    values.environment = environment(lane, request);
    let script = render(&lane.template_name, &lane.template, &values)?;
    let submit = lane.scheduler().submit(&target);
    let warning = memory_warning(lane, &resources);
    Ok(Plan { resources, script, target, submit, warning })
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
    if !lane.scheduler().is_local() {
        return resources;
    }
    let per_rank = (lane.cores() / resources.ranks.max(1)).max(1);
    Resources { threads: resources.threads.min(per_rank), ..resources }
}

/// A local job that is larger than this machine will swap or be killed; that is said before it starts.
fn memory_warning(lane: &NamedLane, resources: &Resources) -> Option<String> {
    let here = lanes::memory_mib().filter(|here| lane.scheduler().is_local() && resources.mem_mib > *here)?;
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

/// What is known of a job's inputs: the items are those of its first input that is a table.
pub fn input_summary(project: &Project, job_type: &dyn JobType, spec: &JobSpec) -> InputSummary {
    let mut summary = InputSummary::default();
    let mut items = None;
    for slot in job_type.inputs() {
        for from in spec.inputs.get(slot.name).into_iter().flatten() {
            let outputs = project.job(from.job).and_then(|parent| parent.outputs()).ok().flatten();
            let output =
                outputs.and_then(|all| all.outputs.into_iter().find(|output| output.slot == from.slot));
            match output {
                Some(output) => add(&mut summary, &mut items, &output),
                None => summary.provisional = true,
            }
        }
    }
    summary.items = items.unwrap_or(0);
    summary
}

fn add(summary: &mut InputSummary, items: &mut Option<u64>, output: &Output) {
    if !matches!(output.kind, Kind::Volume | Kind::Mask | Kind::Files) && items.is_none() {
        *items = Some(output.count);
    }
    summary.pixel_size_a = summary.pixel_size_a.or(output.pixel_size_a);
    summary.box_px = summary.box_px.or(output.box_px);
    summary.frame_px = summary.frame_px.or(output.frame_px);
    summary.frames = summary.frames.or(output.frames);
}

/// Where a job of that number and type will lie.
pub fn future_folder(project: &Project, spec: &JobSpec) -> PathBuf {
    project.root().join(spec.job.folder(&spec.job_type))
}
