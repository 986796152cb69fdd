//! `vitreous why`: one sentence on why a job is where it is, and what can be done.

use crate::board::{Board, Judged};
use crate::context::Context;
use crate::failure::Outcome;
use crate::place::Place;
use crate::{growth, lanes, plan, queue, tell, usage};
use serde_json::json;
use vitreous_model::exit;
use vitreous_project::{JobDir, JobNumber, Project, Reason, Request, Requester, State};

pub const ABOUT: &str = "Say in a sentence why a job is where it is";
pub const EXAMPLES: &str = "  vitreous why J4";

/// Lines of the log that are shown for a job that failed.
const LAST_LINES: usize = 10;

/// Arguments of `why`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The job
    #[arg(value_name = "JOB")]
    job: JobNumber,
}

pub fn run(context: &mut Context<'_>, args: &Arguments) -> Outcome<i32> {
    let project = context.open_project()?;
    let job = project.job(args.job)?;
    let board = Board::look(&project, context.shell)?;
    let Some(judged) = board.get(args.job) else { return Ok(exit::INTERNAL) };
    let (sentence, hint) = explain(context, &project, &board, &job, judged);
    let failed = matches!(judged.status.state, State::Failed | State::Lost);
    let mut log = if failed { last_lines(&job, judged.status.attempt) } else { Vec::new() };
    if log.is_empty() {
        // what a scheduler said may take more lines than the sentence shows
        log = judged.status.note.lines().skip(1).map(String::from).collect();
    }
    let line = tell::JobLine::new(judged);
    let result = json!({"job": line.job, "state": line.state, "reason": line.reason, "why": sentence, "hint": hint, "log": log});
    context.screen.result(&result, || {
        let mut text = format!("{} {sentence}\n", args.job);
        log.iter().for_each(|line| text += &format!("  | {line}\n"));
        if !hint.is_empty() {
            text += &format!("hint: {hint}\n");
        }
        text
    })?;
    Ok(exit::OK)
}

fn explain(
    context: &Context<'_>,
    project: &Project,
    board: &Board,
    job: &JobDir,
    judged: &Judged,
) -> (String, String) {
    let number = job.number();
    let status = &judged.status;
    match status.state {
        State::Created => (
            "was made and nobody has asked it to run".into(),
            format!("`vitreous retry {number}` launches it"),
        ),
        State::Done if judged.summary.watches => watching(project, job),
        State::Done => ("is done".into(), format!("`vitreous report {number} --open` shows what it found")),
        State::Cancelled => ("was cancelled".into(), format!("`vitreous retry {number}` runs it again")),
        State::Waiting if judged.ready => waiting_for_a_slot(context, project, board, job, judged),
        State::Waiting if judged.next.is_some() => (
            format!("is {}", status.note),
            "`vitreous advance` does it; so does every other command that waits".into(),
        ),
        State::Waiting => {
            let parents = judged.summary.parents.iter().filter_map(|parent| board.get(*parent));
            let open: Vec<String> =
                parents.filter(|p| p.status.state != State::Done).map(tell::one_line).collect();
            match open.is_empty() {
                true => (format!("waits {}", status.note), String::new()),
                false => (format!("waits for {}", open.join("; ")), String::new()),
            }
        }
        State::Queued | State::Running => (format!("is {}", tell::standing(judged)), String::new()),
        State::Failed | State::Lost => {
            (format!("is {}", tell::standing(judged)), remedy(number, status.reason.as_ref()))
        }
    }
}

/// What a finished import that watches a folder waits for.
fn watching(project: &Project, job: &JobDir) -> (String, String) {
    let number = job.number();
    let Some(watch) = growth::watch_of(project, job) else {
        return ("is done and watches no longer".into(), String::new());
    };
    let now_ns = queue::now_ns(project);
    let sight = growth::look(&watch, growth::launched_ns(job, now_ns), now_ns);
    let last = match sight.idle_s {
        none if none.is_infinite() => "no movie has come yet".to_string(),
        idle => format!("the last movie came {} ago", tell::duration(idle)),
    };
    let sentence = format!(
        "is done and watches {}: {last}, {} to take in, {} still being written",
        watch.folder.display(),
        sight.new,
        sight.unsettled
    );
    (sentence, format!("`vitreous cancel {number}` ends the watch"))
}

/// Why a job that could run does not: its launch cannot be prepared, or the lane is full.
fn waiting_for_a_slot(
    context: &Context<'_>,
    project: &Project,
    board: &Board,
    job: &JobDir,
    judged: &Judged,
) -> (String, String) {
    let spec = job.spec();
    let request = Request::new(Requester::User, "");
    let prepared = lanes::find(context, Some(project), &spec.lane).and_then(|lane| {
        let attempt = plan::Attempt::first(spec, job.path(), &request);
        let needs = plan::needs(project, &lane, &attempt, &usage::History::new(project))?;
        plan::prepare(context, project, &lane, &attempt, &needs, &Place::anywhere())?;
        Ok((lane, needs))
    });
    let (lane, needs) = match prepared {
        Ok(prepared) => prepared,
        Err(failure) => {
            return (format!("cannot be launched: {:#}", failure.error), failure.hints.join("; "));
        }
    };
    let out = |other: &&Judged| {
        matches!(other.status.state, State::Queued | State::Running) && other.summary.lane == spec.lane
    };
    let taken: Vec<String> =
        board.jobs.iter().filter(out).map(|other| other.summary.job.to_string()).collect();
    if taken.is_empty() {
        return (
            "is ready and will be launched by the next pass".into(),
            "`vitreous advance` makes one".into(),
        );
    }
    let sentence = format!(
        "waits for room in lane {} ({} slots, {} cores): it needs {} thread(s), and {} is out",
        judged.summary.lane,
        lane.slots(),
        lane.cores(),
        needs.resources.threads * needs.resources.ranks,
        taken.join(", ")
    );
    (sentence, "more `slots` or `limits.threads` in the lane's file let more jobs run at once".into())
}

fn remedy(number: JobNumber, reason: Option<&Reason>) -> String {
    match reason {
        Some(Reason::BadInput | Reason::BadParameters) => {
            "make the job anew with what is wrong put right".into()
        }
        Some(Reason::OutOfMemory) => format!(
            "give it more: make it anew with `--mem-gib`, or `vitreous retry {number}` on a larger lane"
        ),
        Some(Reason::Dependency(_)) => "retry the job it depends on; this one follows by itself".into(),
        Some(Reason::Timeout) => format!(
            "give it more time: make it anew with `--walltime`, or `vitreous retry {number}`: it goes on where it was"
        ),
        Some(Reason::LaunchFailed(_)) => {
            "put right what the scheduler complains of, then retry the job".into()
        }
        Some(Reason::Refused) => "correct the lane (`vitreous lane check`), then retry the job".into(),
        _ => format!(
            "`vitreous logs {number}` shows all it said; `vitreous retry {number}` goes on where it stopped"
        ),
    }
}

/// The end of the newest attempt's standard error.
fn last_lines(job: &JobDir, attempt: u32) -> Vec<String> {
    let dir = job.attempt(attempt);
    // of an array: of the first element that failed
    let evidence = vitreous_project::state::Evidence::gather(job).unwrap_or_default();
    let name =
        evidence.missing_elements().first().map_or("stderr".into(), |element| format!("stderr-{element}"));
    let text = vitreous_project::atomic::read(&dir.file(&name)).ok().flatten().unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].iter().map(ToString::to_string).collect()
}
