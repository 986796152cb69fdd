//! `vitreous report`: a job's page.

use crate::board::Board;
use crate::context::{Context, remark};
use crate::failure::{Failure, Outcome};
use serde_json::json;
use vitreous_model::exit;
use vitreous_project::{JobDir, JobNumber, State};
use vitreous_schedulers::Cmd;

pub const ABOUT: &str = "Show what a job found: its key figures, its page";
pub const EXAMPLES: &str = "  vitreous report J9 --open\n  vitreous report";

/// Arguments of `report`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The job [default: the last one that is done]
    #[arg(value_name = "JOB")]
    job: Option<JobNumber>,
    /// Open the page in a browser
    #[arg(long)]
    open: bool,
    /// Draw page and figures again from report.json
    #[arg(long)]
    redraw: bool,
}

pub fn run(context: &mut Context<'_>, args: &Arguments) -> Outcome<i32> {
    let project = context.open_project()?;
    let number = match args.job {
        Some(number) => number,
        None => {
            let board = Board::look(&project, context.shell)?;
            let last = board.jobs.iter().rev().find(|job| job.status.state == State::Done);
            last.map(|job| job.summary.job).ok_or_else(|| Failure::input("no job is done yet"))?
        }
    };
    let job = project.job(number)?;
    if !job.file("report.json").is_file() {
        return Err(Failure::input(format!("{number} has no report"))
            .hint(format!("a job writes it at its end; `vitreous why {number}` says where it stands")));
    }
    let report = vitreous_report::read(job.path()).map_err(|error| Failure::new(exit::INPUT, error))?;
    let page = job.file("report.html");
    if args.redraw || !page.is_file() {
        vitreous_report::write(job.path(), &report).map_err(|error| Failure::new(exit::INPUT, error))?;
    }
    if args.open {
        open(context, &job)?;
    }
    let result = json!({"job": number, "report": page, "numbers": report.numbers, "notes": report.notes});
    context
        .screen
        .result(&result, || format!("{}\n{}", vitreous_report::summary_text(&report), page.display()))?;
    Ok(exit::OK)
}

/// Hands the page to the desktop's opener.
fn open(context: &Context<'_>, job: &JobDir) -> Outcome {
    let page = job.file("report.html").to_string_lossy().into_owned();
    for opener in ["xdg-open", "open"] {
        if context.shell.run(&Cmd::new(opener, [page.clone()])).is_ok_and(|answer| answer.code == 0) {
            return Ok(());
        }
    }
    remark(format!("no program opens pages here; the page is one file that opens anywhere: {page}"));
    Ok(())
}
