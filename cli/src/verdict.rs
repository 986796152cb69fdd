//! Writing down what a scheduler said of a job's end before it forgets, and taking from the queue what will never run.

use crate::board::{Judged, site_of};
use crate::context::Context;
use crate::failure::Outcome;
use crate::queue::{self, Desk};
use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use vitreous_model::SCHEMA;
use vitreous_project::index::OpenJob;
use vitreous_project::state::Seen;
use vitreous_project::{Intent, Project, Reason, Verdict, clock};
use vitreous_schedulers::{Ended, JobId, Queue, Stop};

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
    let written = || reason_in_output(intent, open.dir.attempt(evidence.attempt).path());
    let refined = |reason: Reason| match reason {
        Reason::Signal(_) => written().unwrap_or(reason),
        told => told,
    };
    let elements = element_reasons(evidence.elements().map(|e| e.numbers.as_slice()), &known.tasks);
    let (reason, elements) = (
        reason.map(refined),
        elements.into_iter().map(|(element, reason)| (element, refined(reason))).collect(),
    );
    let stays_queued = matches!(reason, Some(Reason::LaunchFailed(_) | Reason::Dependency(_)));
    let verdict = Verdict {
        schema: SCHEMA,
        uuid: intent.uuid,
        unix_s: clock::unix_s(),
        reason,
        words,
        host: known.host.clone(),
        is_gone,
        elements,
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

/// Why a signal ended it, where the scheduler's daemon on the node wrote that into the job's standard error and its
/// answers do not say it.
fn reason_in_output(intent: &Intent, attempt: &Path) -> Option<Reason> {
    let scheduler = vitreous_schedulers::find(&site_of(intent).scheduler)?;
    // PBS keeps what it adds in a file of its own
    let told = ["stderr", "stderr.pbs"].iter().find_map(|name| {
        let text = tail(&attempt.join(name)).ok()?;
        scheduler.reason_in_stderr(&text)
    })?;
    queue::reason_of(&Ended {
        exit: None,
        signal: None,
        reason: told,
        host: String::new(),
        words: String::new(),
    })
}

/// The last lines of a file.
fn tail(path: &Path) -> std::io::Result<String> {
    /// Enough for what a daemon adds.
    const BYTES: u64 = 16 * 1024;
    let mut file = std::fs::File::open(path)?;
    let start = file.metadata()?.len().saturating_sub(BYTES);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
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
