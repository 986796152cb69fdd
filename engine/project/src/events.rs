//! `events.jsonl`: appended by the engine, read by anyone at any time.

use crate::clock;
use crate::error::ProjectError;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use vitreous_model::event::{Event, EventKind};

/// Appends events with rising numbers. One writer an attempt (rank 0).
#[derive(Debug)]
pub struct EventWriter {
    path: PathBuf,
    file: File,
    next: u64,
}

impl EventWriter {
    /// Opens or makes the file, goes on after its last number and closes a line that a kill has torn.
    ///
    /// # Errors
    /// [`ProjectError::Io`].
    pub fn open(path: &Path) -> Result<Self, ProjectError> {
        let mut next = 0;
        let mut torn = false;
        if let Ok(bytes) = std::fs::read(path) {
            torn = bytes.last().is_some_and(|byte| *byte != b'\n');
            next = parse(&bytes).last().map_or(0, |event| event.seq + 1);
        }
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(ProjectError::io("open", path))?;
        if torn {
            file.write_all(b"\n").map_err(ProjectError::io("write", path))?;
        }
        Ok(Self { path: path.into(), file, next })
    }

    /// Appends one event, as one write.
    ///
    /// # Errors
    /// [`ProjectError::Io`], e.g. on a full disk; the engine may go on without.
    pub fn write(&mut self, kind: EventKind) -> Result<(), ProjectError> {
        let last_word = matches!(kind, EventKind::Ended { .. } | EventKind::Checkpoint);
        let event = Event { seq: self.next, unix_s: clock::unix_s(), kind };
        let mut line = serde_json::to_vec(&event).map_err(|error| ProjectError::Malformed {
            path: self.path.clone(),
            message: error.to_string(),
        })?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(ProjectError::io("write", &self.path))?;
        self.next += 1;
        if last_word {
            self.file.sync_data().map_err(ProjectError::io("write", &self.path))?;
        }
        Ok(())
    }
}

/// All whole events in `bytes`. Torn and foreign lines are left out, and numbers that do not rise are ignored.
pub fn parse(bytes: &[u8]) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        if line.last() != Some(&b'\n') {
            continue;
        }
        let Ok(event) = serde_json::from_slice::<Event>(line) else { continue };
        if events.last().is_none_or(|last| event.seq > last.seq) {
            events.push(event);
        }
    }
    events
}

/// A reader that goes on where it stopped.
#[derive(Debug)]
pub struct EventReader {
    path: PathBuf,
    offset: u64,
}

impl EventReader {
    /// Reads from the beginning.
    pub fn new(path: &Path) -> Self {
        Self { path: path.into(), offset: 0 }
    }

    /// What has been added since the last call.
    ///
    /// # Errors
    /// [`ProjectError::Io`]; a file that is not there yet has no events.
    pub fn read(&mut self) -> Result<Vec<Event>, ProjectError> {
        let bytes = read_from(&self.path, self.offset).map_err(ProjectError::io("read", &self.path))?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        self.offset += whole as u64;
        Ok(parse(&bytes[..whole]))
    }
}

fn read_from(path: &Path, offset: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(mut file) => {
            file.seek(SeekFrom::Start(offset))?;
            file.read_to_end(&mut bytes)?;
            Ok(bytes)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(bytes),
        Err(error) => Err(error),
    }
}

/// The last events of a file, from its last 64 KiB: enough for the current phase, progress and figures.
///
/// # Errors
/// [`ProjectError::Io`]; a file that is not there has no events.
pub fn tail(path: &Path) -> Result<Vec<Event>, ProjectError> {
    const TAIL_BYTES: u64 = 64 * 1024;
    let length = std::fs::metadata(path).map_or(0, |meta| meta.len());
    let offset = length.saturating_sub(TAIL_BYTES);
    let bytes = read_from(path, offset).map_err(ProjectError::io("read", path))?;
    Ok(parse(&bytes))
}

/// Where a job stands, as its last events say.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize)]
pub struct Progress {
    /// Current phase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Items done in it.
    pub done: u64,
    /// Items in it; 0: not known.
    pub total: u64,
    /// Items a second, by the engine's own clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_per_s: Option<f64>,
    /// Seconds to the end of the phase at that rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta_s: Option<f64>,
    /// Latest value of each figure: name, value, unit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub figures: Vec<(String, f64, String)>,
    /// Number of the last event: rises while the engine lives.
    pub seq: u64,
}

/// Sums up events in their order.
pub fn progress(events: &[Event]) -> Progress {
    let mut now = Progress::default();
    let mut phase_began: Option<(f64, u64)> = None;
    for event in events {
        now.seq = event.seq;
        match &event.kind {
            EventKind::Phase { name, total } => {
                now.phase = Some(name.clone());
                (now.done, now.total, now.rate_per_s, now.eta_s) = (0, *total, None, None);
                phase_began = None;
            }
            EventKind::Progress { done, total } => {
                (now.done, now.total) = (*done, *total);
                // the first report of a phase counts what was found done on resume: the rate begins there
                let (began_s, began_done) = *phase_began.get_or_insert((event.unix_s, *done));
                let seconds = event.unix_s - began_s;
                if seconds > 0.0 && *done > began_done {
                    let rate = (*done - began_done) as f64 / seconds;
                    now.rate_per_s = Some(rate);
                    now.eta_s = Some(total.saturating_sub(*done) as f64 / rate);
                }
            }
            EventKind::Figure { name, value, unit } => {
                now.figures.retain(|(known, _, _)| known != name);
                now.figures.push((name.clone(), *value, unit.clone()));
            }
            _ => {}
        }
    }
    now
}

/// Sums up the last events of each slice of a job; `None` if none has any. Rates add, and the time left is that of all
/// items together: slices that have not begun are not in it.
pub fn progress_of_slices(slices: &[Vec<Event>]) -> Option<Progress> {
    let mut sum: Option<Progress> = None;
    for events in slices.iter().filter(|events| !events.is_empty()) {
        let one = progress(events);
        let running = ended(events).is_none();
        let sum = sum.get_or_insert_default();
        sum.phase = one.phase.or(sum.phase.take());
        sum.done += one.done;
        sum.total += one.total;
        sum.seq += one.seq;
        if let Some(rate) = one.rate_per_s.filter(|_| running) {
            *sum.rate_per_s.get_or_insert(0.0) += rate;
        }
        for figure in one.figures {
            sum.figures.retain(|(name, ..)| *name != figure.0);
            sum.figures.push(figure);
        }
    }
    if let Some(sum) = &mut sum {
        let left = sum.total.saturating_sub(sum.done) as f64;
        sum.eta_s = sum.rate_per_s.filter(|rate| *rate > 0.0).map(|rate| left / rate);
    }
    sum
}

/// How the engine says it ended: state (`done`, `requeue`, `failed`) and message; `None` while it runs.
pub fn ended(events: &[Event]) -> Option<(String, String)> {
    events.iter().rev().find_map(|event| match &event.kind {
        EventKind::Ended { state, message } => Some((state.clone(), message.clone())),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_line_is_skipped_and_numbers_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let mut writer = EventWriter::open(&path).unwrap();
        writer.write(EventKind::Phase { name: "align".into(), total: 4 }).unwrap();
        writer.write(EventKind::Progress { done: 1, total: 4 }).unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"seq\": 2, \"eve").unwrap();
        assert_eq!(tail(&path).unwrap().len(), 2);
        let mut writer = EventWriter::open(&path).unwrap();
        writer.write(EventKind::Progress { done: 3, total: 4 }).unwrap();
        let events = tail(&path).unwrap();
        assert_eq!(events.iter().map(|event| event.seq).collect::<Vec<_>>(), [0, 1, 2]);
        let now = progress(&events);
        assert_eq!((now.phase.as_deref(), now.done, now.total, now.seq), (Some("align"), 3, 4, 2));
    }

    #[test]
    fn a_reader_gets_each_event_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let mut reader = EventReader::new(&path);
        assert!(reader.read().unwrap().is_empty());
        let mut writer = EventWriter::open(&path).unwrap();
        writer.write(EventKind::Heartbeat).unwrap();
        assert_eq!(reader.read().unwrap().len(), 1);
        assert!(reader.read().unwrap().is_empty());
        writer.write(EventKind::Checkpoint).unwrap();
        assert_eq!(reader.read().unwrap()[0].kind, EventKind::Checkpoint);
    }

    #[test]
    fn slices_add_up_and_those_that_ended_have_no_rate() {
        let event = |seq, unix_s, kind| Event { seq, unix_s, kind };
        let at = |seq, unix_s, done| event(seq, unix_s, EventKind::Progress { done, total: 50 });
        let running = vec![at(1, 10.0, 10), at(2, 20.0, 20)];
        let mut ended = vec![at(1, 0.0, 0), at(2, 5.0, 50)];
        ended.push(event(3, 6.0, EventKind::Ended { state: "done".into(), message: String::new() }));
        let now = progress_of_slices(&[running, Vec::new(), ended]).unwrap();
        assert_eq!((now.done, now.total, now.seq), (70, 100, 5));
        assert_eq!((now.rate_per_s, now.eta_s), (Some(1.0), Some(30.0)));
        assert_eq!(progress_of_slices(&[Vec::new()]), None);
    }

    #[test]
    fn rate_counts_only_what_was_done_now() {
        let event = |seq, unix_s, done| Event { seq, unix_s, kind: EventKind::Progress { done, total: 100 } };
        let now = progress(&[event(1, 10.0, 50), event(2, 20.0, 60)]);
        assert_eq!(now.rate_per_s, Some(1.0));
        assert_eq!(now.eta_s, Some(40.0));
    }
}
