//! `vitreous advance`: the one pass that cron calls.

use crate::context::{Context, remark};
use crate::failure::Outcome;
use crate::{collection, pass};
use serde_json::json;
use std::time::Duration;
use vitreous_model::exit;

pub const ABOUT: &str = "Make one pass: look at everything, launch what is ready, leave";
pub const EXAMPLES: &str =
    "  vitreous advance\n  */5 * * * * vitreous advance --quiet --project /em/T20S     (in a crontab)";

/// How long a pass waits for another one to end. The other may have looked before this one was called for, so giving up
/// at once could leave a job waiting.
const PATIENCE: Duration = Duration::from_secs(30);

/// Arguments of `advance`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only say what stands where
    #[arg(long)]
    dry_run: bool,
}

pub fn run(context: &mut Context<'_>, args: &Arguments) -> Outcome<i32> {
    let project = context.open_project()?;
    if args.dry_run {
        let board = crate::board::Board::look(&project, context.shell)?;
        let ready: Vec<String> =
            board.jobs.iter().filter(|job| job.ready).map(|job| job.summary.job.to_string()).collect();
        let again: Vec<String> = board
            .jobs
            .iter()
            .filter(|job| job.next.is_some())
            .map(|job| job.summary.job.to_string())
            .collect();
        let result = json!({"dry_run": true, "ready": ready, "again": again});
        let text = || format!("ready: {}; to be run again: {}", listed(&ready), listed(&again));
        context.screen.result(&result, text)?;
        return Ok(exit::OK);
    }
    let (board, done) = pass::pass(context, &project, PATIENCE)?;
    // whoever holds the lease draws; a page that cannot be drawn is no failure of the pass
    let drawn = if done.busy.is_some() { Vec::new() } else { collection::refresh(&project, &board) };
    let failures: Vec<_> = done
        .failed
        .iter()
        .map(|(job, failure)| json!({"job": job, "error": format!("{:#}", failure.error), "hints": failure.hints}))
        .collect();
    let result = json!({
        "launched": done.launched.iter().map(|(job, id)| json!({"job": job, "id": id})).collect::<Vec<_>>(),
        "again": done.again.iter().map(|(job, why)| json!({"job": job, "why": why})).collect::<Vec<_>>(),
        "recovered": done.recovered, "failed": failures, "busy": done.busy,
        "pages": drawn.iter().filter_map(|(_, page)| page.as_ref().ok()).collect::<Vec<_>>(),
    });
    context.screen.result(&result, || {
        let mut text = String::new();
        done.recovered
            .iter()
            .for_each(|job| text += &format!("found {job} again, whose launch was cut short\n"));
        done.again.iter().for_each(|(job, why)| text += &format!("again {job}: {why}\n"));
        done.launched.iter().for_each(|(job, id)| text += &format!("launched {job} as {id}\n"));
        text
    })?;
    if let Some(busy) = done.busy {
        remark(format!("another pass is under way: {busy}"));
    }
    for (job, failure) in drawn.iter().filter_map(|(job, page)| Some((job, page.as_ref().err()?))) {
        remark(format!("{job}: the page of its collection: {}", failure.text().trim_end()));
    }
    for (job, failure) in &done.failed {
        remark(format!("{job}: {}", failure.text().trim_end()));
    }
    Ok(done.failed.first().map_or(exit::OK, |(_, failure)| failure.code))
}

fn listed(jobs: &[String]) -> String {
    if jobs.is_empty() { "none".into() } else { jobs.join(", ") }
}
