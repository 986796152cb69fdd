//! Per-item work with resume: movies, micrographs.
//!
//! Items are dealt to ranks by index. What became of each is appended to a log of its rank (`records/NAME-RANK.jsonl`),
//! one JSON object a line; these logs are the checkpoint. An item whose record exists with the same fingerprint is not
//! done again, whichever rank did it and however many ranks there are now. A torn last line is ignored.

use crate::{Ctx, StageError};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::Write;
use vitreous_model::event::EventKind;

/// What became of an item.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome<T> {
    /// Done.
    Done(T),
    /// Left out, with the reason in one sentence.
    Skipped(String),
}

#[derive(Serialize, Deserialize)]
struct Record<T> {
    item: String,
    fingerprint: String,
    outcome: Outcome<T>,
}

/// One item of work.
#[derive(Debug, Clone)]
pub struct Item {
    /// Name, unique in the job.
    pub name: String,
    /// Text that changes when the item has to be done again: inputs and parameters.
    pub fingerprint: String,
}

/// Goes through this rank's items and returns, at rank 0, the outcome of every item in order (elsewhere an empty list).
///
/// `work` is called for one item at a time on this rank and may use all threads of the pool. A
/// [`StageError::Input`] or [`StageError::Format`] leaves the item out; any other ends the job.
/// `what` names the items in the plural, for messages and the log's file name.
///
/// # Errors
/// [`StageError::Stopped`] after the current item when asked to stop; [`StageError::TooManyBad`] on every rank when more
/// than `max_bad_fraction` were left out; any error of `work` that is not the item's own fault.
pub fn for_each_item<T: Serialize + DeserializeOwned>(
    ctx: &Ctx<'_>,
    what: &str,
    items: &[Item],
    max_bad_fraction: f64,
    mut work: impl FnMut(usize) -> Result<T, StageError>,
) -> Result<Vec<Outcome<T>>, StageError> {
    let (rank, size) = (ctx.comm.rank(), ctx.comm.size());
    let known = read_records::<T>(ctx, what)?;
    // every rank must have read the logs before any rank appends to them
    ctx.comm.barrier();
    ctx.say(EventKind::Phase { name: what.to_string(), total: items.len() as u64 });
    let done_before = items.iter().filter(|item| is_known(&known, item)).count();
    let todo: Vec<usize> = (0..items.len()).filter(|&i| !is_known(&known, &items[i])).collect();
    let mine: Vec<usize> = todo.iter().copied().skip(rank).step_by(size).collect();
    let mut fresh: Vec<Record<T>> = Vec::with_capacity(mine.len());
    let mut failure = None;
    for (count, &index) in mine.iter().enumerate() {
        if let Err(stopped) = ctx.check_stop() {
            failure = Some(stopped);
            break;
        }
        let outcome = match work(index) {
            Ok(value) => Outcome::Done(value),
            Err(error @ (StageError::Input { .. } | StageError::Format(_))) => {
                Outcome::Skipped(error.to_string())
            }
            Err(error) => {
                failure = Some(error);
                break;
            }
        };
        let Item { name, fingerprint } = items[index].clone();
        let record = Record { item: name, fingerprint, outcome };
        if let Err(error) = append(ctx, what, &record) {
            failure = Some(error);
            break;
        }
        fresh.push(record);
        let done = (done_before + (count + 1) * size).min(items.len()) as u64;
        ctx.say(EventKind::Progress { done, total: items.len() as u64 });
    }
    agree(ctx, failure)?;
    collect(ctx, what, items, known, fresh, max_bad_fraction)
}

/// Ends the job on every rank when it failed on one.
///
/// # Errors
/// This rank's failure, or [`StageError::Stopped`] if another rank has one.
pub fn agree(ctx: &Ctx<'_>, failure: Option<StageError>) -> Result<(), StageError> {
    let mut counts = [f64::from(u8::from(failure.is_some()))];
    ctx.comm.sum_in_place(&mut counts);
    match failure {
        Some(error) => Err(error),
        None if counts[0] > 0.0 => Err(StageError::Stopped),
        None => Ok(()),
    }
}

type Known<T> = HashMap<String, Record<T>>;

fn is_known<T>(known: &Known<T>, item: &Item) -> bool {
    known.get(&item.name).is_some_and(|record| record.fingerprint == item.fingerprint)
}

/// Reads the logs of every rank, of this and earlier attempts; later lines win.
fn read_records<T: DeserializeOwned>(ctx: &Ctx<'_>, what: &str) -> Result<Known<T>, StageError> {
    let folder = ctx.job_dir.join("records");
    let mut known = HashMap::new();
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(known),
        Err(error) => return Err(StageError::io(&folder, error)),
    };
    let mut paths: Vec<_> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&format!("{what}-"))))
        .collect();
    paths.sort();
    for path in paths {
        let bytes = std::fs::read(&path).map_err(|source| StageError::io(&path, source))?;
        for line in bytes.split(|byte| *byte == b'\n') {
            // a line that does not parse was torn by a kill: its item is simply done again
            if let Ok(record) = serde_json::from_slice::<Record<T>>(line) {
                known.insert(record.item.clone(), record);
            }
        }
    }
    Ok(known)
}

/// Appends one line to this rank's log and syncs it.
fn append<T: Serialize>(ctx: &Ctx<'_>, what: &str, record: &Record<T>) -> Result<(), StageError> {
    let folder = ctx.job_dir.join("records");
    std::fs::create_dir_all(&folder).map_err(|source| StageError::io(&folder, source))?;
    let path = folder.join(format!("{what}-{:04}.jsonl", ctx.comm.rank()));
    let mut line = serde_json::to_vec(record).map_err(|error| StageError::io(&path, error.into()))?;
    // a newline first, too: it closes a line that a kill has torn
    line.insert(0, b'\n');
    line.push(b'\n');
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        file.write_all(&line)?;
        file.sync_data()
    };
    write().map_err(|source| StageError::io(&path, source))
}

fn collect<T: Serialize + DeserializeOwned>(
    ctx: &Ctx<'_>,
    what: &str,
    items: &[Item],
    mut known: Known<T>,
    fresh: Vec<Record<T>>,
    max_bad_fraction: f64,
) -> Result<Vec<Outcome<T>>, StageError> {
    let encode = |error: serde_json::Error| StageError::io(&ctx.job_dir, error.into());
    let gathered = ctx.comm.gather(&serde_json::to_vec(&fresh).map_err(encode)?);
    let mut outcomes = Vec::new();
    let mut verdict = Vec::new();
    if ctx.is_root() {
        for bytes in gathered {
            for record in serde_json::from_slice::<Vec<Record<T>>>(&bytes).map_err(encode)? {
                known.insert(record.item.clone(), record);
            }
        }
        let mut bad = Vec::new();
        for item in items {
            match known.remove(&item.name) {
                Some(record) => {
                    if let Outcome::Skipped(reason) = &record.outcome {
                        ctx.skip(&item.name, reason);
                        bad.push(format!("{}: {reason}", item.name));
                    }
                    outcomes.push(record.outcome);
                }
                None => outcomes.push(Outcome::Skipped("was not done".into())),
            }
        }
        let allowed = (max_bad_fraction * items.len() as f64).floor() as usize;
        if bad.len() > allowed || (!bad.is_empty() && bad.len() == items.len()) {
            verdict = serde_json::to_vec(&(bad.len(), bad.swap_remove(0))).map_err(encode)?;
        }
    }
    ctx.comm.broadcast(0, &mut verdict);
    if verdict.is_empty() {
        return Ok(outcomes);
    }
    let (bad, first) = serde_json::from_slice(&verdict).map_err(encode)?;
    Err(StageError::TooManyBad {
        what: what.into(),
        bad,
        total: items.len(),
        allowed: max_bad_fraction,
        first,
    })
}

#[cfg(test)]
mod tests;
