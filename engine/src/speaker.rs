//! What the engine says while it runs: every event goes to `events.jsonl`, and a readable line to the log.
//!
//! A heartbeat thread writes an event now and then, so that a reader sees the file grow as long as the engine lives.
//! Nothing here can end a job: when the disk is full the computation goes on and the next file that matters says so.

use crate::claim::Claim;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use vitreous_model::event::EventKind;
use vitreous_project::EventWriter;

/// Time between heartbeats.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// At most one line of progress in this time, but for the last of a phase.
const PROGRESS_LINE: Duration = Duration::from_secs(5);

/// Where events go. One per rank; only rank 0's has a file.
pub struct Speaker {
    shared: Arc<Shared>,
    heart: Option<JoinHandle<()>>,
}

struct Shared {
    file: Mutex<Option<EventWriter>>,
    claim: Arc<Claim>,
    log: Mutex<ProgressLog>,
    stopped: AtomicBool,
    asleep: Mutex<()>,
    wake: Condvar,
}

impl Speaker {
    /// Speaks into `file`, if there is one, for as long as the claim holds, and to stderr.
    pub fn new(file: Option<EventWriter>, claim: Arc<Claim>) -> Self {
        let has_file = file.is_some();
        let shared = Arc::new(Shared {
            file: Mutex::new(file),
            claim,
            log: Mutex::new(ProgressLog::default()),
            stopped: AtomicBool::new(false),
            asleep: Mutex::new(()),
            wake: Condvar::new(),
        });
        let heart = has_file.then(|| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.beat())
        });
        Self { shared, heart }
    }

    /// Speaks to stderr only.
    pub fn without_file() -> Self {
        Self::new(None, Arc::default())
    }

    /// Says one thing.
    pub fn say(&self, kind: EventKind) {
        let line = self.shared.log.lock().unwrap_or_else(PoisonError::into_inner).line(&kind, Instant::now());
        if let Some(line) = line {
            to_log(&line);
        }
        self.record(kind);
    }

    /// Says it in the file only.
    pub fn record(&self, kind: EventKind) {
        self.shared.record(kind);
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        {
            // under the lock: a heart between its look at the flag and its sleep would miss the call
            let _asleep = self.shared.asleep.lock().unwrap_or_else(PoisonError::into_inner);
            self.shared.stopped.store(true, Ordering::Relaxed);
        }
        self.shared.wake.notify_all();
        if let Some(heart) = self.heart.take() {
            // a heartbeat that panicked has nothing left to tell
            let _ = heart.join();
        }
    }
}

impl Shared {
    fn record(&self, kind: EventKind) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if self.claim.is_lost() {
            // the file belongs to the later start
            *file = None;
        }
        let Some(writer) = file.as_mut() else { return };
        if let Err(error) = writer.write(kind) {
            to_log(&format!("warning: {error}; this job goes on without telling how far it is"));
            *file = None;
        }
    }

    fn beat(&self) {
        let mut asleep = self.asleep.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.stopped.load(Ordering::Relaxed) {
            let woken = self.wake.wait_timeout(asleep, HEARTBEAT).unwrap_or_else(PoisonError::into_inner);
            asleep = woken.0;
            if woken.1.timed_out() {
                self.record(EventKind::Heartbeat);
            }
        }
    }
}

/// Writes a line for people; a log that cannot be written is no reason to stop.
pub fn to_log(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Turns events into lines, not more often than somebody would read them.
#[derive(Debug, Default)]
struct ProgressLog {
    phase: String,
    /// When the phase was first heard of, and what was done then: the rate counts only what is done now.
    began: Option<(Instant, u64)>,
    last_line: Option<Instant>,
    figures: Vec<(String, String)>,
}

impl ProgressLog {
    fn line(&mut self, kind: &EventKind, now: Instant) -> Option<String> {
        match kind {
            EventKind::Started { host, ranks, device, .. } => {
                Some(format!("started on {host}: {ranks} rank(s), each on {device}"))
            }
            EventKind::Phase { name, total } => {
                self.phase.clone_from(name);
                (self.began, self.last_line) = (None, None);
                let count = if *total > 0 { format!(" ({total})") } else { String::new() };
                Some(format!("{name}{count}"))
            }
            EventKind::Progress { done, total } => self.progress(*done, *total, now),
            EventKind::Figure { name, value, unit } => {
                let text = format!("{} {unit}", four_digits(*value)).trim_end().to_string();
                self.figures.retain(|(known, _)| known != name);
                self.figures.push((name.clone(), text));
                None
            }
            EventKind::Message { text } => Some(text.clone()),
            EventKind::Skipped { item, reason } => Some(format!("skipped {item}: {reason}")),
            EventKind::Ended { state, message } if message.is_empty() => Some(state.clone()),
            EventKind::Ended { state, message } => Some(format!("{state}: {message}")),
            EventKind::Checkpoint | EventKind::Heartbeat => None,
        }
    }

    fn progress(&mut self, done: u64, total: u64, now: Instant) -> Option<String> {
        let (began, done_then) = *self.began.get_or_insert((now, done));
        let recently = self.last_line.is_some_and(|last| now.duration_since(last) < PROGRESS_LINE);
        if recently && done < total {
            return None;
        }
        self.last_line = Some(now);
        let mut line = format!("{}: {done} of {total}", self.phase);
        let seconds = now.duration_since(began).as_secs_f64();
        if done > done_then && seconds > 0.0 {
            let rate = (done - done_then) as f64 / seconds;
            line += &format!(", {} to go", duration(total.saturating_sub(done) as f64 / rate));
            line += &if rate >= 1.0 { format!(", {rate:.1}/s") } else { format!(", {:.1}/min", 60.0 * rate) };
        }
        for (name, value) in self.figures.drain(..) {
            line += &format!(", {name} {value}");
        }
        Some(line)
    }
}

/// A number to about four digits.
fn four_digits(value: f64) -> String {
    let before_point = value.abs().max(1e-6).log10().floor() as i32 + 1;
    format!("{value:.*}", (4 - before_point).clamp(0, 6) as usize)
}

/// Seconds as people say them.
fn duration(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_with_rate_and_time_left_and_not_too_often() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut log = ProgressLog::default();
        let progress = |done| EventKind::Progress { done, total: 100 };
        let phase = EventKind::Phase { name: "movies".into(), total: 100 };
        assert_eq!(log.line(&phase, at(0)).as_deref(), Some("movies (100)"));
        assert_eq!(
            log.line(&progress(40), at(0)).as_deref(),
            Some("movies: 40 of 100"),
            "found done on resume"
        );
        assert_eq!(log.line(&progress(41), at(1)), None);
        let figure = EventKind::Figure { name: "drift".into(), value: 2.5, unit: "Å".into() };
        assert_eq!(log.line(&figure, at(2)), None);
        let line = log.line(&progress(60), at(10));
        assert_eq!(line.as_deref(), Some("movies: 60 of 100, 20 s to go, 2.0/s, drift 2.500 Å"));
        assert!(log.line(&progress(100), at(11)).is_some(), "the last one always");
    }

    #[test]
    fn figures_have_four_digits() {
        let values = [10543.02, 12.3456, 2.71949, 0.05, 0.0, -250.0];
        assert_eq!(values.map(four_digits), ["10543", "12.35", "2.719", "0.05000", "0.000000", "-250.0"]);
    }

    #[test]
    fn events_are_written_and_a_missing_file_is_no_failure() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("events.jsonl");
        let writer = EventWriter::open(&path).expect("should open");
        let speaker = Speaker::new(Some(writer), Arc::default());
        speaker.say(EventKind::Checkpoint);
        drop(speaker);
        Speaker::without_file().say(EventKind::Checkpoint);
        let events = vitreous_project::events::tail(&path).expect("should read");
        assert_eq!(events.len(), 1);
    }

    #[test]
    fn a_speaker_that_ends_at_once_does_not_wait_for_its_heart() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("events.jsonl");
        // each call that is missed would cost the time of a heartbeat, and leave one
        for _ in 0..200 {
            drop(Speaker::new(Some(EventWriter::open(&path).expect("should open")), Arc::default()));
        }
        assert!(vitreous_project::events::tail(&path).expect("should read").is_empty());
    }
}
