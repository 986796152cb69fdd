//! Writing down what a scheduler said of a job's end before it forgets, and taking from the queue what will never run.

use crate::board::{Judged, site_of};
use crate::context::Context;
use crate::failure::Outcome;
use crate::queue::{self, Desk};
use std::collections::BTreeMap;
use vitreous_model::SCHEMA;
use vitreous_project::index::OpenJob;
use vitreous_project::state::Seen;
use vitreous_project::{Project, Reason, Verdict, clock};
use vitreous_schedulers::{JobId, Queue, Stop};

/// Records the end that a cluster told of; whether it did so now.
///
/// # Errors
/// It cannot be written.
pub fn record(context: &Context<'_>, project: &Project, job: &Judged, open: &OpenJob) -> Outcome<bool> {
    let evidence = &open.evidence;
    let (Some(known), Some(intent)) = (&job.known, &evidence.intent) else { return Ok(false) };
    if !intent.is_cluster || evidence.verdict.is_some() || evidence.submission.is_none() {
        return Ok(false);
    }
    let (reason, words, is_gone) = match &known.seen {
        Seen::Ended(reason, words) => (reason.clone(), words.clone(), false),
        Seen::Gone => (None, String::new(), true),
        _ => return Ok(false),
    };
    let stays_queued = matches!(reason, Some(Reason::LaunchFailed(_) | Reason::Dependency(_)));
    let verdict = Verdict {
        schema: SCHEMA,
        uuid: intent.uuid,
        unix_s: clock::unix_s(),
        reason,
        words,
        host: known.host.clone(),
        is_gone,
        elements: element_reasons(evidence.elements().map(|e| e.numbers.as_slice()), &known.tasks),
    };
    open.dir.attempt(evidence.attempt).write_verdict(&verdict)?;
    if stays_queued {
        take_from_queue(context, project, open);
    }
    Ok(true)
}

/// Why elements of an array ended badly, from the states of its tasks: task 1 did the first element.
fn element_reasons(elements: Option<&[u32]>, tasks: &BTreeMap<u32, Queue>) -> BTreeMap<u32, Reason> {
    let ended = |task: &u32| match tasks.get(task) {
        Some(Queue::Ended(ended)) => queue::reason_of(ended),
        _ => None,
    };
    let numbered = elements.unwrap_or_default().iter().copied().zip(1_u32..);
    numbered.filter_map(|(element, task)| Some((element, ended(&task)?))).collect()
}

/// Removes a job that its scheduler keeps although it will never run (`Eqw`, a dependency that cannot be met). That it
/// cannot be removed now is no harm: its script would find the attempt over.
fn take_from_queue(context: &Context<'_>, project: &Project, open: &OpenJob) {
    let evidence = &open.evidence;
    let (Some(intent), Some(submission)) = (&evidence.intent, &evidence.submission) else { return };
    let site = site_of(intent);
    let Some(scheduler) = vitreous_schedulers::find(&site.scheduler) else { return };
    let desk = Desk::new(project, context.shell, scheduler, &site, queue::now_ns(project));
    let id = JobId(submission.job_id.clone());
    if let Err(trouble) = desk.run(scheduler.cancel(&site, std::slice::from_ref(&id), Stop::Kill)) {
        log::debug!("{trouble}");
    }
}
