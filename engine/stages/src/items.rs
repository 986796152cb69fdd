//! Per-item work with resume: movies, micrographs.
//!
//! Items are dealt to ranks by index. What became of each is appended to a log of its process
//! (`records/NAME-WRITER-RANK.jsonl`, with [`Ctx::writer`]), one JSON object a line; these logs are the checkpoint. An
//! item whose record exists with the same fingerprint is not done again, whichever process did it, in whichever attempt
//! or slice, and wherever it stands in the list now. A torn line is ignored.
//!
//! A run with [`Ctx::slice`] does only that part of the items and ends with [`StageError::SliceDone`]; a later run
//! without it finds the records of all slices, does what is missing, and collects.

use crate::{Ctx, StageError};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::sync::mpsc;
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

#[derive(Debug, Serialize, Deserialize)]
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
/// than `max_bad_fraction` were left out; any error of `work` that is not the item's own fault. With [`Ctx::slice`],
/// [`StageError::SliceDone`] on every rank when its items are done.
pub fn for_each_item<T: Serialize + DeserializeOwned>(
    ctx: &Ctx<'_>,
    what: &str,
    items: &[Item],
    max_bad_fraction: f64,
    mut work: impl FnMut(usize) -> Result<T, StageError>,
) -> Result<Vec<Outcome<T>>, StageError> {
    go_through(ctx, what, items, max_bad_fraction, &mut |to_do| work(to_do[0]))
}

/// As [`for_each_item`], with work that runs ahead: `prepare` is called on the pool's threads for up to `ahead` items at
/// a time (at least one), while `finish` is called with what was prepared for one item after the other, in order, on the
/// calling thread. So the pool is busy with the next items while one is being written.
///
/// # Errors
/// As [`for_each_item`], `prepare` and `finish` together being the work.
pub fn for_each_item_ahead<P: Send, T: Serialize + DeserializeOwned>(
    ctx: &Ctx<'_>,
    what: &str,
    items: &[Item],
    max_bad_fraction: f64,
    ahead: usize,
    prepare: impl Fn(usize) -> Result<P, StageError> + Sync,
    mut finish: impl FnMut(usize, P) -> Result<T, StageError>,
) -> Result<Vec<Outcome<T>>, StageError> {
    let prepare = &prepare;
    rayon::in_place_scope(|scope| {
        let mut begun: HashMap<usize, mpsc::Receiver<Result<P, StageError>>> = HashMap::new();
        let begin = |begun: &mut HashMap<_, _>, next: &[usize]| {
            for &index in next.iter().take(ahead.max(1)) {
                begun.entry(index).or_insert_with(|| {
                    let (sender, receiver) = mpsc::channel();
                    scope.spawn(move |_| {
                        // nobody listens any more once the job was stopped
                        let _ = sender.send(prepare(index));
                    });
                    receiver
                });
            }
        };
        go_through(ctx, what, items, max_bad_fraction, &mut |to_do| {
            begin(&mut begun, to_do);
            let receiver = begun.remove(&to_do[0]).expect("the first item should have been begun");
            let prepared = wait(&receiver);
            begin(&mut begun, &to_do[1..]);
            finish(to_do[0], prepared?)
        })
    })
}

/// Waits for what a task of the pool sends, helping the pool on one of its own threads.
fn wait<P>(receiver: &mpsc::Receiver<Result<P, StageError>>) -> Result<P, StageError> {
    while rayon::current_thread_index().is_some() {
        match receiver.try_recv() {
            Ok(prepared) => return prepared,
            Err(mpsc::TryRecvError::Disconnected) => break,
            Err(mpsc::TryRecvError::Empty) => {
                if rayon::yield_now() != Some(rayon::Yield::Executed) {
                    std::thread::yield_now();
                }
            }
        }
    }
    // a task that went away without an answer has panicked, which the scope passes on
    receiver.recv().unwrap_or(Err(StageError::Stopped))
}

/// Goes through this rank's items; `work` is given those that are still to be done, the present one first.
fn go_through<T: Serialize + DeserializeOwned>(
    ctx: &Ctx<'_>,
    what: &str,
    items: &[Item],
    max_bad_fraction: f64,
    work: &mut dyn FnMut(&[usize]) -> Result<T, StageError>,
) -> Result<Vec<Outcome<T>>, StageError> {
    let (rank, size) = (ctx.comm.rank(), ctx.comm.size());
    let (known, is_done) = look_up::<T>(ctx, what, items)?;
    let part: Vec<usize> =
        (0..items.len()).filter(|index| ctx.slice.is_none_or(|slice| slice.has(*index))).collect();
    let total = part.len() as u64;
    ctx.say(EventKind::Phase { name: what.to_string(), total });
    let todo: Vec<usize> = part.iter().copied().filter(|index| !is_done[*index]).collect();
    let done_before = part.len() - todo.len();
    let mine: Vec<usize> = todo.into_iter().skip(rank).step_by(size).collect();
    let mut fresh: Vec<Record<T>> = Vec::with_capacity(mine.len());
    let mut failure = None;
    for (count, &index) in mine.iter().enumerate() {
        match do_item(ctx, what, &items[index], || work(&mine[count..])) {
            Ok(record) => fresh.push(record),
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
        let done = (done_before + (count + 1) * size).min(part.len()) as u64;
        ctx.say(EventKind::Progress { done, total });
    }
    agree(ctx, failure)?;
    match ctx.slice {
        Some(slice) => Err(StageError::SliceDone { what: what.into(), slice, items: part.len() }),
        None => collect(ctx, what, items, known, fresh, max_bad_fraction),
    }
}

/// What is known of the items: at the rank that will collect their outcomes, and on every rank which are done. Only
/// rank 0 reads the logs: processes on other hosts, and of other slices, may see them grow at different moments, and
/// ranks must not disagree.
fn look_up<T: DeserializeOwned>(
    ctx: &Ctx<'_>,
    what: &str,
    items: &[Item],
) -> Result<(Known<T>, Vec<bool>), StageError> {
    let read = || -> Result<(Known<T>, Vec<u8>), StageError> {
        if ctx.slice.is_some() {
            // values may be large, and here nobody wants them
            let known = read_records::<IgnoredAny>(ctx, what, items)?;
            return Ok((Known::new(), flags(items, &known)));
        }
        let known = read_records::<T>(ctx, what, items)?;
        let done = flags(items, &known);
        Ok((known, done))
    };
    let (found, failure) = match ctx.is_root().then(read).transpose() {
        Ok(found) => (found, None),
        Err(error) => (None, Some(error)),
    };
    agree(ctx, failure)?;
    let (known, mut done) = found.unwrap_or_default();
    ctx.comm.broadcast(0, &mut done);
    Ok((known, done.into_iter().map(|flag| flag == 1).collect()))
}

/// 1 for every item that is known.
fn flags<T>(items: &[Item], known: &Known<T>) -> Vec<u8> {
    items.iter().map(|item| u8::from(known.contains_key(&item.name))).collect()
}

/// Does one item and records what became of it.
fn do_item<T: Serialize>(
    ctx: &Ctx<'_>,
    what: &str,
    item: &Item,
    work: impl FnOnce() -> Result<T, StageError>,
) -> Result<Record<T>, StageError> {
    ctx.check_stop()?;
    let outcome = match work() {
        Ok(value) => Outcome::Done(value),
        Err(error @ (StageError::Input { .. } | StageError::Format(_))) => {
            Outcome::Skipped(error.to_string())
        }
        Err(error) => return Err(error),
    };
    let Item { name, fingerprint } = item.clone();
    let record = Record { item: name, fingerprint, outcome };
    append(ctx, what, &record)?;
    Ok(record)
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

/// Outcomes by name of the item.
type Known<T> = HashMap<String, Outcome<T>>;

/// Reads the logs of every process, of this and earlier attempts, for the items as they are now. Records of one
/// fingerprint say the same, but for an item that could not be read then and could at another time: done counts.
fn read_records<T: DeserializeOwned>(
    ctx: &Ctx<'_>,
    what: &str,
    items: &[Item],
) -> Result<Known<T>, StageError> {
    let fingerprints: HashMap<&str, &str> =
        items.iter().map(|item| (item.name.as_str(), item.fingerprint.as_str())).collect();
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
            let Ok(record) = serde_json::from_slice::<Record<T>>(line) else { continue };
            let is_current = fingerprints.get(record.item.as_str()) == Some(&record.fingerprint.as_str());
            if is_current && !matches!(known.get(&record.item), Some(Outcome::Done(_))) {
                known.insert(record.item, record.outcome);
            }
        }
    }
    Ok(known)
}

/// Appends one line to this process's log and syncs it.
fn append<T: Serialize>(ctx: &Ctx<'_>, what: &str, record: &Record<T>) -> Result<(), StageError> {
    ctx.check_superseded()?;
    let folder = ctx.job_dir.join("records");
    std::fs::create_dir_all(&folder).map_err(|source| StageError::io(&folder, source))?;
    let writer = if ctx.writer.is_empty() { String::new() } else { format!("{}-", ctx.writer) };
    let path = folder.join(format!("{what}-{writer}{:04}.jsonl", ctx.comm.rank()));
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
                known.insert(record.item, record.outcome);
            }
        }
        let mut bad = Vec::new();
        for item in items {
            match known.remove(&item.name) {
                Some(outcome) => {
                    if let Outcome::Skipped(reason) = &outcome {
                        ctx.skip(&item.name, reason);
                        bad.push(format!("{}: {reason}", item.name));
                    }
                    outcomes.push(outcome);
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
