//! `vitreous report`: a job's page.

use crate::board::Board;
use crate::collection;
use crate::context::{Context, remark};
use crate::failure::{Failure, Outcome};
use serde_json::json;
use std::path::Path;
use vitreous_model::exit;
use vitreous_project::{JobNumber, Project, State};
use vitreous_schedulers::Cmd;

pub const ABOUT: &str = "Show what a job found: its key figures, its page";
pub const EXAMPLES: &str = "  vitreous report J9 --open\n  vitreous report\n  \
     vitreous report J1 --collection --open     (an import and the jobs behind it on one page)";

/// Arguments of `report`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The job [default: the last one that is done; with --collection the last import that follows a microscope]
    #[arg(value_name = "JOB")]
    job: Option<JobNumber>,
    /// Open the page in a browser
    #[arg(long)]
    open: bool,
    /// Draw page and figures again from report.json
    #[arg(long)]
    redraw: bool,
    /// The page of a collection: JOB imports movies, and the jobs behind it are joined with it
    #[arg(long, conflicts_with = "redraw")]
    collection: bool,
}

pub fn run(context: &mut Context<'_>, args: &Arguments) -> Outcome<i32> {
    let project = context.open_project()?;
    if args.collection {
        return collection_page(context, &project, args);
    }
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
        open(context, &page)?;
    }
    let mut result = json!({"job": number, "report": page, "numbers": report.numbers, "notes": report.notes});
    let joined = Some(job.file(collection::PAGE)).filter(|page| page.is_file());
    if let Some(joined) = &joined {
        result["collection"] = json!(joined);
    }
    context.screen.result(&result, || {
        let mut text = format!("{}\n{}", vitreous_report::summary_text(&report), page.display());
        if let Some(joined) = joined {
            text += &format!("\nwith the jobs behind it: {}", joined.display());
        }
        text
    })?;
    Ok(exit::OK)
}

/// Draws an import and the jobs behind it on one page.
fn collection_page(context: &mut Context<'_>, project: &Project, args: &Arguments) -> Outcome<i32> {
    let board = Board::look(project, context.shell)?;
    let number = args.job.or_else(|| collection::newest(&board)).ok_or_else(|| {
        Failure::input("no job imports movies")
            .hint("a collection begins with `vitreous run import-movies --watch FOLDER`")
    })?;
    let (collection, page) = collection::draw(project, &board, number)?;
    if args.open {
        open(context, &page)?;
    }
    let report = collection.report();
    let states = collection.jobs.iter().map(|job| {
        json!({"job": job.job, "type": job.job_type, "state": job.state, "done": job.done, "left_out": job.left_out})
    });
    let result = json!({
        "job": number, "collection": page, "numbers": report.numbers, "notes": report.notes,
        "jobs": states.collect::<Vec<_>>(), "rejected": report.skipped,
        "exposures": collection.exposures.iter().map(|exposure| &exposure.name).collect::<Vec<_>>(),
    });
    context
        .screen
        .result(&result, || format!("{}\n{}", vitreous_report::summary_text(&report), page.display()))?;
    Ok(exit::OK)
}

/// Hands the page to the desktop's opener.
fn open(context: &Context<'_>, page: &Path) -> Outcome {
    let page = page.to_string_lossy().into_owned();
    for opener in ["xdg-open", "open"] {
        if context.shell.run(&Cmd::new(opener, [page.clone()])).is_ok_and(|answer| answer.code == 0) {
            return Ok(());
        }
    }
    remark(format!("no program opens pages here; the page is one file that opens anywhere: {page}"));
    Ok(())
}
