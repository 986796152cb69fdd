//! What `qstat -xml` and `qstat -j` print.

use crate::cluster::{ended, explained, standings, task_numbers};
use crate::scheduler::{EndReason, JobId, Queue, Standing};
use std::collections::{BTreeMap, HashMap};

/// Letters of waiting jobs, by their beginnings.
const WAITING: &[(&str, &str)] = &[("qw", "waiting for free slots"), ("Rq", "put back into the queue")];

/// What `qstat -j` says of a job that waits.
#[derive(Default)]
struct Explanation {
    errors: BTreeMap<u32, String>,
    predecessors: String,
    scheduling: Vec<String>,
}

/// Rows of one job.
#[derive(Default)]
struct Rows {
    tasks: BTreeMap<u32, Queue>,
    whole: Option<Queue>,
}

/// Text between `<tag>` and `</tag>`, without XML's escapes.
pub fn element(block: &str, tag: &str) -> Option<String> {
    let rest = &block[block.find(&format!("<{tag}>"))? + tag.len() + 2..];
    let text = &rest[..rest.find(&format!("</{tag}>"))?];
    let plain = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")];
    Some(plain.iter().fold(text.to_string(), |text, (escape, plain)| text.replace(escape, plain)))
}

/// Of each id what is listed; `None`: the XML is not whole.
pub fn of_qstat(ids: &[JobId], listing: &str) -> Option<Vec<Standing>> {
    // the outer and the inner element have the same name
    let end = listing.rfind("</job_info>")?;
    if listing.matches("<job_info").count() != listing.matches("</job_info>").count() {
        return None;
    }
    let explanations = explanations(&listing[end..]);
    let mut jobs: HashMap<String, Rows> = HashMap::new();
    for block in listing[..end].split("<job_list").skip(1) {
        let block = &block[..block.find("</job_list>")?];
        let id = element(block, "JB_job_number").filter(|id| !id.is_empty())?;
        let state = element(block, "state")?;
        let tasks = element(block, "tasks").filter(|tasks| !tasks.is_empty());
        let explanation = explanations.get(&id);
        let rows = jobs.entry(id).or_default();
        match tasks.and_then(|tasks| task_numbers(&tasks)) {
            Some(tasks) => {
                let queues = tasks.iter().map(|task| (*task, queue(&state, Some(*task), explanation)));
                rows.tasks.extend(queues);
            }
            None => rows.whole = Some(queue(&state, None, explanation)),
        }
    }
    // tasks that have ended are not listed: they are known to nobody until the accounting is asked
    Some(standings(ids, |id| match jobs.get(id)? {
        rows if rows.tasks.is_empty() => Some(Standing::of(rows.whole.clone()?)),
        rows => Some(Standing::of_tasks(rows.tasks.clone())),
    }))
}

/// A job's letters: `E` error, `d` being deleted, `h` held, `q` queued, `w` waiting, `R` started before, `r` running,
/// `t` being sent to its host, `s`, `S`, `T`, `N`, `P` suspended in some way.
fn queue(state: &str, task: Option<u32>, explanation: Option<&Explanation>) -> Queue {
    let has = |letters: &str| state.contains(|c| letters.contains(c));
    if state.is_empty() || !state.chars().all(|c| "EdhqwRrtsSTNPz".contains(c)) || has("z") {
        return Queue::Unknown(state.to_string());
    }
    if has("E") {
        let error = explanation.and_then(|explanation| explanation.error(task));
        let words = error.map_or_else(|| state.to_string(), |error| format!("{state}: {error}"));
        return Queue::Ended(ended(EndReason::LaunchFailed(words.clone()), words));
    }
    if has("rtsSTNP") {
        return Queue::Running;
    }
    if !has("q") {
        return Queue::Unknown(state.to_string());
    }
    if has("d") {
        return Queue::Pending(format!("{state} (being deleted)"));
    }
    match explanation {
        Some(reasons) if has("h") && !reasons.predecessors.is_empty() => {
            Queue::Pending(format!("{state} (waits for jobs {})", reasons.predecessors))
        }
        _ if has("h") => Queue::Held(format!("{state} (held; released with qrls)")),
        Some(reasons) if !reasons.scheduling.is_empty() => {
            Queue::Pending(format!("{state}: {}", reasons.scheduling.join("; ")))
        }
        _ => Queue::Pending(explained(state, WAITING)),
    }
}

impl Explanation {
    /// Of one task, else of any.
    fn error(&self, task: Option<u32>) -> Option<&str> {
        let own = task.and_then(|task| self.errors.get(&task));
        own.or_else(|| self.errors.values().next()).map(String::as_str)
    }

    /// `Job is in hold state` and the like say nothing new.
    fn add_scheduling(&mut self, line: &str) {
        let line = line.trim();
        if !line.is_empty() && !line.starts_with("Job is in ") && self.scheduling.len() < 3 {
            self.scheduling.push(line.to_string());
        }
    }
}

/// By job number.
fn explanations(text: &str) -> HashMap<String, Explanation> {
    let mut jobs: HashMap<String, Explanation> = HashMap::new();
    let mut id = String::new();
    let mut is_scheduling = false;
    for line in text.lines() {
        if line.starts_with(' ') {
            if is_scheduling && let Some(job) = jobs.get_mut(&id) {
                job.add_scheduling(line);
            }
            continue;
        }
        let Some((key, value)) = line.split_once(':') else { continue };
        is_scheduling = key == "scheduling info";
        if key == "job_number" {
            id = value.trim().to_string();
        }
        let job = jobs.entry(id.clone()).or_default();
        match key.strip_prefix("error reason") {
            Some(task) => {
                // `11/23/2026 08:59:16 [1002:11691]: error: …`: when, which user and process
                let words = value.split_once("]: ").map_or(value, |(_, words)| words).trim();
                job.errors.insert(task.trim().parse().unwrap_or(1), words.to_string());
            }
            None if key.starts_with("jid_predecessor_list") => {
                let list = value.trim().trim_start_matches("(req):").trim();
                job.predecessors = list.split_whitespace().collect::<Vec<_>>().join(", ");
            }
            None if is_scheduling => job.add_scheduling(value),
            None => {}
        }
    }
    jobs
}
