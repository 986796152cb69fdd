//! `vitreous clean`: frees space by policy. Records, reports and logs always stay.

use crate::board::{Board, Judged};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use serde::Serialize;
use serde_json::json;
use std::path::{Path, PathBuf};
use vitreous_model::exit;
use vitreous_project::{JobNumber, Project, ProjectError, State};

pub const ABOUT: &str = "Free space: what finished jobs need no more, or the results of jobs that you name";
pub const EXAMPLES: &str = "  vitreous clean --dry-run\n  vitreous clean --results J2 J3";

/// What a job keeps to go on from; of no use once it is done.
const FOR_RESUME: [&str; 3] = ["records", "checkpoint", "scratch"];
/// What tells of a job; never removed.
const RECORDS: [&str; 7] =
    ["job.yaml", "effective.json", "outputs.json", "report.json", "report.html", "figures", "README.md"];

/// Arguments of `clean`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only these jobs [default: all that are done]
    #[arg(value_name = "JOB")]
    jobs: Vec<JobNumber>,
    /// Remove the results themselves; the jobs must be named
    #[arg(long, requires = "jobs")]
    results: bool,
    /// Even results that jobs under way still need
    #[arg(long)]
    force: bool,
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Serialize)]
struct Removal {
    path: PathBuf,
    bytes: u64,
}

pub fn run(context: &mut Context<'_>, args: &Arguments) -> Outcome<i32> {
    let project = context.open_project()?;
    let board = Board::look(&project, context.shell)?;
    let mut removals = Vec::new();
    for number in &args.jobs {
        project.job(*number)?;
    }
    for job in board.jobs.iter().filter(|job| args.jobs.is_empty() || args.jobs.contains(&job.summary.job)) {
        if args.results {
            check_results(&board, job, args.force)?;
        } else if job.status.state != State::Done {
            continue;
        }
        let folder = project.root().join(job.summary.job.folder(&job.summary.job_type));
        removals.extend(removable(&folder, args.results)?);
    }
    if args.jobs.is_empty() {
        let aside = project.cache_file("aside");
        removals.extend(aside.exists().then(|| Removal { bytes: size(&aside), path: aside }));
    }
    let bytes: u64 = removals.iter().map(|removal| removal.bytes).sum();
    if !args.dry_run {
        for removal in &removals {
            remove(&project, &removal.path)?;
        }
    }
    let verb = if args.dry_run { "would free" } else { "freed" };
    let result = json!({"dry_run": args.dry_run, "removed": removals, "bytes": bytes});
    context.screen.result(&result, || {
        let mut text = String::new();
        for removal in &removals {
            let name = removal.path.strip_prefix(project.root()).unwrap_or(&removal.path).display();
            text += &format!("{:>12}  {name}\n", mib(removal.bytes));
        }
        text + &format!("{:>12}  {verb}", mib(bytes))
    })?;
    Ok(exit::OK)
}

/// Results may go when the job has ended and nobody under way needs them.
fn check_results(board: &Board, job: &Judged, force: bool) -> Outcome {
    let number = job.summary.job;
    if !job.status.state.is_final() {
        return Err(Failure::usage(format!("{number} is {}", job.status.state))
            .hint(format!("`vitreous cancel {number}` first")));
    }
    let needs = |other: &&Judged| other.summary.parents.contains(&number) && !other.settled;
    match board.jobs.iter().find(needs) {
        Some(child) if !force => {
            Err(Failure::usage(format!("{} needs the results of {number}", child.summary.job))
                .hint("wait for it, or `--force`"))
        }
        _ => Ok(()),
    }
}

/// What may go from a job's folder.
fn removable(folder: &Path, results: bool) -> Outcome<Vec<Removal>> {
    let entries = std::fs::read_dir(folder).map_err(ProjectError::io("list", folder))?;
    let mut removals = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_record = RECORDS.contains(&name.as_str())
            || ["request-", "cancel-", "attempt-", "."].iter().any(|prefix| name.starts_with(prefix));
        if FOR_RESUME.contains(&name.as_str()) || (results && !is_record) {
            removals.push(Removal { bytes: size(&entry.path()), path: entry.path() });
        }
    }
    removals.sort_by(|a, b| a.path.cmp(&b.path));
    if results && !removals.is_empty() {
        // without this file the job offers nothing any more: it is removed first
        let outputs = folder.join("outputs.json");
        removals
            .splice(0..0, outputs.exists().then(|| Removal { bytes: size(&outputs), path: outputs.clone() }));
    }
    Ok(removals)
}

fn size(path: &Path) -> u64 {
    let Ok(meta) = std::fs::symlink_metadata(path) else { return 0 };
    if !meta.is_dir() {
        return meta.len();
    }
    let entries =
        std::fs::read_dir(path).map(|entries| entries.flatten().map(|entry| size(&entry.path())).sum());
    entries.unwrap_or(0)
}

fn remove(project: &Project, path: &Path) -> Outcome {
    assert!(path.starts_with(project.root()), "only things of the project should be removed");
    let is_folder = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir());
    let removed = if is_folder { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    Ok(removed.map_err(ProjectError::io("remove", path))?)
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64)
}
