//! What is known of a job's inputs before it runs: from what its parents made, else from what they were given.

use vitreous_jobs::JobType;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::resources::InputSummary;
use vitreous_project::{InputRef, JobSpec, Project};
use vitreous_schedulers::render::Parent;

/// Parents of parents that are looked at when nothing is known yet.
const DEPTH: u32 = 20;

/// What is known of a job's inputs: the items are those of its first slot that takes a table. A parent that has not run
/// yet is taken to make as many items as it takes, and the summary is provisional.
pub fn summary(project: &Project, job_type: &dyn JobType, spec: &JobSpec) -> InputSummary {
    summary_to(project, job_type, spec, DEPTH)
}

fn summary_to(project: &Project, job_type: &dyn JobType, spec: &JobSpec, depth: u32) -> InputSummary {
    let mut summary = InputSummary::default();
    let mut items = None;
    for slot in job_type.inputs() {
        let mut here: Option<u64> = None;
        for from in spec.inputs.get(slot.name).into_iter().flatten() {
            match made(project, from) {
                Some(output) => add(&mut summary, &mut here, &output),
                None => {
                    summary.provisional = true;
                    if let Some(parent) = expected(project, from, depth) {
                        here = Some(here.unwrap_or(0) + parent.items);
                        summary.pixel_size_a = summary.pixel_size_a.or(parent.pixel_size_a);
                        summary.frame_px = summary.frame_px.or(parent.frame_px);
                    }
                }
            }
        }
        items = items.or(here);
    }
    summary.items = items.unwrap_or(0);
    summary
}

/// The output that a parent has made.
fn made(project: &Project, from: &InputRef) -> Option<Output> {
    let outputs = project.job(from.job).and_then(|parent| parent.outputs()).ok().flatten()?;
    outputs.outputs.into_iter().find(|output| output.slot == from.slot)
}

/// What a parent that has not run yet was given.
fn expected(project: &Project, from: &InputRef, depth: u32) -> Option<InputSummary> {
    let parent = project.job(from.job).ok().filter(|_| depth > 0)?;
    let parent_type = vitreous_jobs::find(&parent.spec().job_type)?;
    Some(summary_to(project, parent_type, parent.spec(), depth - 1))
}

fn add(summary: &mut InputSummary, items: &mut Option<u64>, output: &Output) {
    if !matches!(output.kind, Kind::Volume | Kind::Mask | Kind::LocalResolution | Kind::Files) {
        *items = Some(items.unwrap_or(0) + output.count);
    }
    summary.pixel_size_a = summary.pixel_size_a.or(output.pixel_size_a);
    summary.box_px = summary.box_px.or(output.box_px);
    summary.frame_px = summary.frame_px.or(output.frame_px);
    summary.frames = summary.frames.or(output.frames);
}

/// The jobs whose outputs a script waits for.
pub fn parents(project: &Project, spec: &JobSpec) -> Vec<Parent> {
    let mut jobs: Vec<_> = spec.inputs.values().flatten().map(|from| from.job).collect();
    jobs.sort_unstable();
    jobs.dedup();
    jobs.into_iter()
        .filter_map(|job| {
            let outputs = project.job(job).ok()?.file("outputs.json").to_string_lossy().into_owned();
            Some(Parent { job: job.to_string(), outputs })
        })
        .collect()
}
