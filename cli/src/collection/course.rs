//! When the items of a job were finished, from the events of all its attempts. Attempts that are over are read once.

use crate::failure::Outcome;
use serde::{Deserialize, Serialize};
use std::path::Path;
use vitreous_model::event::{Event, EventKind};
use vitreous_project::{AttemptDir, JobDir, events};

/// Phases in which items are done, by the names that job types give to their items.
const PHASES: [&str; 3] = ["movies", "micrographs", "exposures"];
/// Items finished within so many seconds are one point.
const TOGETHER_S: f64 = 1.0;

/// Of attempts that are over.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Course {
    /// Of attempts 1 to this one.
    through: u32,
    /// Seconds since 1970 and items finished then, in order.
    finished: Vec<(f64, u64)>,
}

impl Course {
    /// Reads what has been added, and returns all there is: of attempts that are over and of the newest.
    ///
    /// # Errors
    /// The job's folder cannot be read.
    pub fn follow(&mut self, job: &JobDir) -> Outcome<Vec<(f64, u64)>> {
        let latest = job.latest_attempt()?.map_or(0, |attempt| attempt.number());
        if self.through >= latest {
            // the cache is of another job of this number, or of before a retry that was taken back
            *self = Self::default();
        }
        for number in self.through + 1..latest {
            self.finished.extend(of_attempt(&job.attempt(number)));
            self.through = number;
        }
        sort(&mut self.finished);
        let mut all = self.finished.clone();
        if latest > 0 {
            all.extend(of_attempt(&job.attempt(latest)));
        }
        sort(&mut all);
        Ok(all)
    }
}

/// In order of time, points that lie close together joined.
fn sort(finished: &mut Vec<(f64, u64)>) {
    finished.sort_by(|a, b| a.0.total_cmp(&b.0));
    finished.dedup_by(|later, earlier| {
        let is_close = later.0 - earlier.0 < TOGETHER_S;
        if is_close {
            earlier.1 += later.1;
        }
        is_close
    });
}

fn of_attempt(attempt: &AttemptDir) -> Vec<(f64, u64)> {
    let mut finished = of_file(&attempt.events_path());
    for slice in attempt.slices() {
        finished.extend(of_file(&attempt.slice_events_path(slice)));
    }
    finished
}

fn of_file(path: &Path) -> Vec<(f64, u64)> {
    // an attempt that said nothing has finished nothing
    std::fs::read(path).map(|bytes| of_events(&events::parse(&bytes))).unwrap_or_default()
}

/// Progress counts what was found done, too: what is finished is the difference of two counts, and the first report of a
/// phase is that of one item of every rank.
fn of_events(events: &[Event]) -> Vec<(f64, u64)> {
    let mut finished = Vec::new();
    let (mut at_once, mut counts, mut before) = (1, false, None);
    for event in events {
        match &event.kind {
            EventKind::Started { ranks, .. } => at_once = u64::from(*ranks).max(1),
            EventKind::Phase { name, .. } => {
                counts = PHASES.contains(&name.as_str());
                before = None;
            }
            EventKind::Progress { done, .. } if counts => {
                let new = before.map_or(at_once.min(*done), |before| done.saturating_sub(before));
                if new > 0 {
                    finished.push((event.unix_s, new));
                }
                before = Some(*done);
            }
            _ => {}
        }
    }
    finished
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_done_is_not_finished_again() {
        let event = |unix_s: f64, kind| Event { seq: unix_s as u64, unix_s, kind };
        let phase = |name: &str| EventKind::Phase { name: name.into(), total: 60 };
        let progress = |done| EventKind::Progress { done, total: 60 };
        let started =
            EventKind::Started { host: String::new(), pid: 1, ranks: 2, threads: 1, device: String::new() };
        let events = [
            event(0.0, started),
            event(1.0, phase("reading")),
            event(2.0, progress(9)),
            event(3.0, phase("movies")),
            event(4.0, progress(52)),
            event(9.0, progress(54)),
            event(12.0, progress(54)),
        ];
        assert_eq!(of_events(&events), [(4.0, 2), (9.0, 2)]);
        let mut points = vec![(9.0, 1), (1.0, 2), (1.5, 3)];
        sort(&mut points);
        assert_eq!(points, [(1.0, 5), (9.0, 1)]);
    }
}
