//! `vitreous status`: where everything stands.

use crate::board::{Board, Judged};
use crate::context::Context;
use crate::failure::Outcome;
use crate::tell;
use serde_json::json;
use std::time::Duration;
use vitreous_model::exit;
use vitreous_project::{JobNumber, Project};

pub const ABOUT: &str = "Show where all jobs stand";
pub const EXAMPLES: &str = "  vitreous status\n  vitreous status J4 J5 --json\n  vitreous status --watch";

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only these jobs [default: all]
    #[arg(value_name = "JOB")]
    jobs: Vec<JobNumber>,
    /// Show again every few seconds until nothing moves any more
    #[arg(long)]
    watch: bool,
    /// Seconds between two looks with --watch
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,
}

pub fn run(context: &mut Context<'_>, args: &Arguments) -> Outcome<i32> {
    let project = context.open_project()?;
    loop {
        let board = Board::look(&project, context.shell)?;
        for wanted in &args.jobs {
            if board.get(*wanted).is_none() {
                project.job(*wanted)?;
            }
        }
        if args.watch && context.screen.is_terminal && !context.screen.json {
            // home and clear: the table is redrawn in place
            context.screen.raw(b"\x1b[H\x1b[2J")?;
        }
        show(context, &project, &board, &args.jobs)?;
        if !args.watch || board.jobs.iter().all(|job| job.settled) {
            return Ok(exit::OK);
        }
        std::thread::sleep(Duration::from_secs(args.every));
    }
}

fn show(context: &mut Context<'_>, project: &Project, board: &Board, only: &[JobNumber]) -> Outcome {
    let is_wanted = |job: &&Judged| only.is_empty() || only.contains(&job.summary.job);
    let jobs: Vec<&Judged> = board.jobs.iter().filter(is_wanted).collect();
    let lines: Vec<_> = jobs.iter().map(|job| tell::JobLine::new(job)).collect();
    let result = json!({"project": project.root(), "name": project.file().name, "jobs": lines});
    context.screen.result(&result, || table(project, &jobs))
}

fn table(project: &Project, jobs: &[&Judged]) -> String {
    if jobs.is_empty() {
        return format!(
            "project {}: no jobs yet; `vitreous types` lists what can be run",
            project.file().name
        );
    }
    let width =
        |text: fn(&Judged) -> String| jobs.iter().map(|job| text(job).chars().count()).max().unwrap_or(0);
    let name = |job: &Judged| match job.summary.title.as_str() {
        "" => job.summary.job_type.clone(),
        title => format!("{} ({title})", job.summary.job_type),
    };
    let time =
        |job: &Judged| tell::run_time(&job.summary, job.status.state).map_or(String::new(), tell::duration);
    let (names, times) = (width(name), width(time));
    let mut text = String::new();
    for job in jobs {
        text += &format!(
            "{:<6} {:<names$}  {:>times$}  {}\n",
            job.summary.job,
            name(job),
            time(job),
            tell::standing(job)
        );
    }
    text
}
