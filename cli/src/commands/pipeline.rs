//! `vitreous pipeline`: a chain of jobs from one YAML file; what is done and unchanged is reused.

use crate::board::Board;
use crate::context::Context;
use crate::failure::Outcome;
use crate::pipeline::{self, Node};
use crate::{follow, make, pass, tell};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use vitreous_model::exit;
use vitreous_project::{JobNumber, NewJob, Project, State, lineage};

pub const ABOUT: &str = "Run a chain of jobs from one YAML file, or show what that would do";
pub const EXAMPLES: &str = "  vitreous pipeline plan spa.yaml\n  vitreous pipeline run spa.yaml --wait";

const PATIENCE: Duration = Duration::from_secs(10);

/// Arguments of `pipeline`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: PipelineCommand,
}

#[derive(Debug, clap::Subcommand)]
enum PipelineCommand {
    /// Shows which jobs would be made and which are reused
    Plan {
        /// The pipeline file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Makes the jobs that are missing and launches them
    Run {
        /// The pipeline file
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Stay until all have ended
        #[arg(long)]
        wait: bool,
        /// Make every job anew, whatever is there
        #[arg(long)]
        fresh: bool,
        /// The same as `plan`
        #[arg(long)]
        dry_run: bool,
    },
}

/// What becomes of a job of the file.
#[derive(Debug, Clone, Serialize)]
struct Step {
    key: String,
    #[serde(rename = "type")]
    job_type: String,
    /// The job that stands for it, or will.
    job: String,
    /// `reused` or `new`.
    how: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<State>,
}

pub fn run(context: &mut Context<'_>, args: &Arguments) -> Outcome<i32> {
    let project = context.open_project()?;
    match &args.command {
        PipelineCommand::Plan { file } | PipelineCommand::Run { file, dry_run: true, .. } => {
            plan(context, &project, file)
        }
        PipelineCommand::Run { file, wait, fresh, .. } => start(context, &project, file, *wait, *fresh),
    }
}

/// Reads a pipeline file and checks every job's parameters, lane and files before any job is made.
fn read(context: &Context<'_>, project: &Project, path: &Path) -> Outcome<Vec<Node>> {
    let base = pipeline::base_of(path, project);
    let nodes = pipeline::read(path)?;
    for node in &nodes {
        let name = node.wish.lane.as_deref().unwrap_or(&project.file().defaults.lane);
        crate::plan::find_type(&node.wish.job_type)
            .and_then(|job_type| make::settle(project, job_type, node.wish.params.clone(), &base))
            .and_then(|_| crate::lanes::find(context, Some(project), name))
            .map_err(|failure| failure.context(format!("{}: job `{}`", path.display(), node.key)))?;
    }
    Ok(nodes)
}

fn plan(context: &mut Context<'_>, project: &Project, file: &Path) -> Outcome<i32> {
    let path = context.cwd.join(file);
    let base = pipeline::base_of(&path, project);
    let nodes = read(context, project, &path)?;
    let board = Board::look(project, context.shell)?;
    let mut jobs: BTreeMap<String, String> = BTreeMap::new();
    let mut steps = Vec::new();
    for node in &nodes {
        // what rests on a job that is yet to be made is itself yet to be made
        let is_new = node.needs.iter().any(|need| !jobs.contains_key(need));
        let reused = if is_new {
            None
        } else {
            reusable(project, &board, &make::job(context, project, node.wish_with(&jobs), &base)?)?
        };
        if let Some((number, _)) = reused {
            jobs.insert(node.key.clone(), number.to_string());
        }
        steps.push(step(node, reused));
    }
    show(context, project, &steps)?;
    Ok(exit::OK)
}

fn step(node: &Node, reused: Option<(JobNumber, State)>) -> Step {
    Step {
        key: node.key.clone(),
        job_type: node.wish.job_type.clone(),
        job: reused.map_or_else(String::new, |(number, _)| number.to_string()),
        how: if reused.is_some() { "reused" } else { "new" },
        state: reused.map(|(_, state)| state),
    }
}

/// An earlier job of the same fingerprint that is done with fresh inputs, or on its way. The newest counts.
fn reusable(project: &Project, board: &Board, new: &NewJob) -> Outcome<Option<(JobNumber, State)>> {
    for job in board.jobs.iter().rev().filter(|job| job.summary.fingerprint == new.fingerprint) {
        match job.status.state {
            State::Done if lineage::staleness(&project.job(job.summary.job)?)?.is_none() => {}
            State::Waiting | State::Queued | State::Running => {}
            _ => continue,
        }
        return Ok(Some((job.summary.job, job.status.state)));
    }
    Ok(None)
}

fn start(context: &mut Context<'_>, project: &Project, file: &Path, wait: bool, fresh: bool) -> Outcome<i32> {
    let path = context.cwd.join(file);
    let base = pipeline::base_of(&path, project);
    let nodes = read(context, project, &path)?;
    let board = Board::look(project, context.shell)?;
    let mut jobs: BTreeMap<String, String> = BTreeMap::new();
    let mut steps = Vec::new();
    for node in &nodes {
        let new = make::job(context, project, node.wish_with(&jobs), &base)
            .map_err(|failure| failure.context(format!("{}: job `{}`", path.display(), node.key)))?;
        let reused = if fresh { None } else { reusable(project, &board, &new)? };
        let mut step = step(node, reused);
        if reused.is_none() {
            step.job = project.create_job(new, Some(&make::request(context, "")))?.number().to_string();
        }
        jobs.insert(node.key.clone(), step.job.clone());
        steps.push(step);
    }
    let numbers: Vec<JobNumber> = steps.iter().filter_map(|step| step.job.parse().ok()).collect();
    if !wait {
        pass::pass(context, project, PATIENCE)?;
        show(context, project, &steps)?;
        return Ok(exit::OK);
    }
    let board = follow::until_settled(context, project, &numbers)?;
    let ends: Vec<_> = numbers.iter().filter_map(|number| board.get(*number)).collect();
    let code = follow::verdict(&board, &numbers);
    let lines: Vec<_> = ends.iter().map(|job| tell::JobLine::new(job)).collect();
    let state = if code == exit::OK { State::Done } else { State::Failed };
    context.screen.result(&json!({"pipeline": file, "state": state, "jobs": lines}), || {
        ends.iter().map(|job| tell::one_line(job) + "\n").collect()
    })?;
    Ok(code)
}

fn show(context: &mut Context<'_>, project: &Project, steps: &[Step]) -> Outcome {
    context.screen.result(&json!({"project": project.root(), "jobs": steps}), || {
        let mut text = String::new();
        for step in steps {
            let state = step.state.map_or(String::new(), |state| format!(" ({state})"));
            text += &format!("{:<16} {:<20} {:<6} {}{state}\n", step.key, step.job_type, step.job, step.how);
        }
        text
    })
}
