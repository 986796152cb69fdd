//! Asking schedulers: one question for all jobs of a site, no more often than its lane wants, further apart while it
//! does not answer. What it said last is remembered in a cache file, so that a scheduler that is down changes nothing.
//!
//! All times are the file server's, so that hosts whose clocks differ can share the cache.

use crate::shell::{Shell, TIMED_OUT};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use vitreous_model::SCHEMA;
use vitreous_project::state::Seen;
use vitreous_project::{Exit, Project, Reason, atomic, clock, fingerprint, index};
use vitreous_schedulers::{
    Answer, Cmd, EndReason, Ended, JobId, Queue, Scheduler, SchedulerError, Site, Standing,
};

/// The longest pause between two questions to a scheduler that does not answer, seconds.
const LONGEST_PAUSE_S: f64 = 300.0;
/// A cluster's name is asked for so often, seconds.
const IDENTIFY_S: f64 = 3600.0;
/// Accounting is asked about at most so many jobs at once; the others' turn comes next time.
const POST_MORTEMS: usize = 200;

/// How fresh an answer must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// As fresh as the lane's `poll_s` wants it.
    Usual,
    /// Asked now, for somebody who waits for a change; at most once a second on clusters.
    Now,
}

/// What a site's scheduler said last.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Memory {
    schema: u32,
    /// When it was asked, ns.
    asked_ns: i64,
    jobs: BTreeMap<String, Standing>,
    /// Since when jobs are not known, or known to have ended, without a record; ns.
    over_since_ns: BTreeMap<String, i64>,
    /// Questions in a row that were not answered.
    failures: u32,
    /// Why the last one was not.
    trouble: String,
    cluster: String,
    identified_ns: i64,
}

/// What is known of one job.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// In the words of the project.
    pub seen: Seen,
    /// The tasks of an array, by their numbers.
    pub tasks: BTreeMap<u32, Queue>,
    /// Where it ran, if it has ended and the scheduler says so.
    pub host: String,
    /// It is none of ours to judge or to stop from here.
    pub is_foreign: bool,
}

impl Known {
    /// Something that was not asked for task by task.
    pub fn of(seen: Seen) -> Self {
        Self { seen, tasks: BTreeMap::new(), host: String::new(), is_foreign: false }
    }
}

/// One site of one scheduler, for the length of a look.
pub struct Desk<'a> {
    project: &'a Project,
    shell: &'a dyn Shell,
    scheduler: &'static dyn Scheduler,
    site: &'a Site,
    memory: Memory,
    now_ns: i64,
    /// The memory is worth keeping: somebody must not be asked too often, or is given time.
    is_kept: bool,
    has_asked_name: bool,
}

/// A command that gave no answer; in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// It was never started.
    #[error("{0}")]
    NotStarted(String),
    /// It was killed because it did not end; what it was to do may have been done.
    #[error("{0}")]
    TimedOut(String),
}

/// Now, by the file server's clock; by ours where the project cannot be written.
pub fn now_ns(project: &Project) -> i64 {
    match index::server_ns(project) {
        0 => (clock::unix_s() * 1e9) as i64,
        now => now,
    }
}

impl<'a> Desk<'a> {
    /// The desk of a site.
    pub fn new(
        project: &'a Project,
        shell: &'a dyn Shell,
        scheduler: &'static dyn Scheduler,
        site: &'a Site,
        now_ns: i64,
    ) -> Self {
        let path = cache_path(project, site);
        let memory: Memory = atomic::read_json(&path).ok().flatten().unwrap_or_default();
        let memory = if memory.schema == SCHEMA { memory } else { Memory::default() };
        let is_kept = !scheduler.places_jobs();
        Self { project, shell, scheduler, site, memory, now_ns, is_kept, has_asked_name: false }
    }

    /// The site.
    pub fn site(&self) -> &Site {
        self.site
    }

    /// Its hosts are ours to look at, whoever runs jobs on them.
    pub fn is_own(&self) -> bool {
        self.scheduler.places_jobs()
    }

    /// Runs one of the scheduler's commands there.
    ///
    /// # Errors
    /// It cannot be started or does not end.
    pub fn run(&self, cmd: Cmd) -> Result<Answer, Trouble> {
        let label = self.site.label();
        let answer = self
            .shell
            .run(&self.site.command(cmd))
            .map_err(|error| Trouble::NotStarted(format!("{label}: {}", crate::failure::chain(&error))))?;
        match answer.code {
            TIMED_OUT => Err(Trouble::TimedOut(format!("{label}: {}", answer.stderr))),
            _ => Ok(answer),
        }
    }

    /// Runs a command and reads its answer; in words if that does not work.
    ///
    /// # Errors
    /// It cannot be run, or its answer cannot be read.
    pub fn ask<T>(
        &self,
        cmd: Cmd,
        read: impl FnOnce(&Answer) -> Result<T, SchedulerError>,
    ) -> Result<T, String> {
        let answer = self.run(cmd).map_err(|trouble| trouble.to_string())?;
        read(&answer).map_err(|error| error.to_string())
    }

    /// The cluster's own name; empty: it has none, or does not say now.
    pub fn cluster(&mut self) -> String {
        let is_fresh = self.seconds_since(self.memory.identified_ns) < IDENTIFY_S;
        // one that does not say is asked once a look, however many jobs want to know
        if is_fresh || self.has_asked_name || self.is_down().is_some() {
            return self.memory.cluster.clone();
        }
        self.has_asked_name = true;
        let Some(cmd) = self.scheduler.identify(self.site) else { return String::new() };
        let name = self.run(cmd).ok().and_then(|answer| self.scheduler.parse_identify(&answer));
        if let Some(name) = name {
            self.memory.cluster = name;
            self.memory.identified_ns = self.now_ns;
            self.save();
        }
        self.memory.cluster.clone()
    }

    /// Whether it did not answer just now: then nothing is submitted there either.
    pub fn is_down(&self) -> Option<&str> {
        (self.memory.failures > 0).then_some(self.memory.trouble.as_str())
    }

    /// Where jobs stand: one entry for each id.
    pub fn states(&mut self, ids: &[JobId], grace_s: f64, poll_s: f64, freshness: Freshness) -> Vec<Known> {
        let poll_s = match freshness {
            Freshness::Usual => poll_s,
            Freshness::Now => poll_s.min(1.0),
        };
        self.is_kept |= grace_s > 0.0 || poll_s > 0.0;
        let pause_s = match self.memory.failures {
            0 => poll_s,
            failures => (poll_s.max(1.0) * f64::from(1 << failures.min(9))).min(LONGEST_PAUSE_S),
        };
        let is_known = |id: &JobId| self.memory.jobs.contains_key(&id.0);
        let is_due = self.seconds_since(self.memory.asked_ns) >= pause_s;
        if is_due || (self.memory.failures == 0 && !ids.iter().all(is_known)) {
            self.ask_states(ids);
        }
        ids.iter().map(|id| self.known(id, grace_s)).collect()
    }

    fn ask_states(&mut self, ids: &[JobId]) {
        let cmd = self.scheduler.status(self.site, ids);
        let answered = self.ask(cmd, |answer| self.scheduler.parse_status(ids, answer));
        self.memory.asked_ns = self.now_ns;
        match answered {
            Ok(standings) => {
                self.memory.failures = 0;
                self.memory.trouble.clear();
                let ids_and = ids.iter().map(|id| id.0.clone()).zip(standings);
                // an end that accounting told of is not forgotten because the queue has
                let old = std::mem::take(&mut self.memory.jobs);
                self.memory.jobs = ids_and
                    .map(|(id, new)| match (&new.queue, old.get(&id)) {
                        (Queue::Gone, Some(known)) if matches!(known.queue, Queue::Ended(_)) => {
                            (id, known.clone())
                        }
                        _ => (id, new),
                    })
                    .collect();
                self.ask_accounting();
                self.note_absence();
            }
            Err(trouble) => {
                self.memory.failures += 1;
                self.memory.trouble = trouble;
            }
        }
        self.save();
    }

    /// Asks how jobs ended that have left the queue. That it does not answer is no harm: their records may still come.
    fn ask_accounting(&mut self) {
        let gone: Vec<JobId> = self
            .memory
            .jobs
            .iter()
            .filter(|(_, standing)| standing.queue == Queue::Gone)
            .map(|(id, _)| JobId(id.clone()))
            .take(POST_MORTEMS)
            .collect();
        if gone.is_empty() {
            return;
        }
        let Some(cmd) = self.scheduler.post_mortem(self.site, &gone) else { return };
        match self.ask(cmd, |answer| self.scheduler.parse_post_mortem(&gone, answer)) {
            Ok(standings) => {
                for (id, standing) in gone.into_iter().zip(standings) {
                    self.memory.jobs.insert(id.0, standing);
                }
            }
            Err(error) => log::debug!("{error}"),
        }
    }

    fn note_absence(&mut self) {
        let is_over = |standing: &Standing| matches!(standing.queue, Queue::Gone | Queue::Ended(_));
        let now = self.now_ns;
        let over: Vec<String> =
            self.memory.jobs.iter().filter(|(_, s)| is_over(s)).map(|(id, _)| id.clone()).collect();
        let since = std::mem::take(&mut self.memory.over_since_ns);
        self.memory.over_since_ns = over
            .into_iter()
            .map(|id| {
                let first = since.get(&id).copied().unwrap_or(now);
                (id, first)
            })
            .collect();
    }

    fn known(&self, id: &JobId, grace_s: f64) -> Known {
        let Some(standing) = self.memory.jobs.get(&id.0) else {
            let why = if self.memory.trouble.is_empty() { "not asked yet" } else { &self.memory.trouble };
            return Known::of(Seen::Unknown(why.into()));
        };
        let since = self.memory.over_since_ns.get(&id.0);
        let over_s = since.map_or(0.0, |since| self.seconds_since(*since));
        let awaited = |what: &str| {
            Seen::Awaited(format!(
                "{what}; its record may still be on its way ({over_s:.0} of {grace_s:.0} s)"
            ))
        };
        let is_early = over_s < grace_s;
        let mut host = String::new();
        let seen = match &standing.queue {
            Queue::Pending(why) => Seen::Pending(why.clone()),
            Queue::Held(why) => Seen::Pending(format!("held: {why}")),
            Queue::Running => Seen::Running,
            Queue::Requeued => Seen::Pending("put back into the queue".into()),
            Queue::Unknown(why) => Seen::Unknown(why.clone()),
            Queue::Gone if is_early => {
                awaited(&format!("{} does not know it any more", self.scheduler.name()))
            }
            Queue::Gone => Seen::Gone,
            Queue::Ended(ended) if ended.is_well() && is_early => awaited("it has ended"),
            Queue::Ended(ended) => {
                host.clone_from(&ended.host);
                Seen::Ended(reason_of(ended), ended.words.clone())
            }
        };
        let seen = match self.is_down() {
            // an end is an end, whoever is down now
            Some(trouble) if !matches!(seen, Seen::Ended(..)) => {
                let ago = self.seconds_since(self.memory.asked_ns);
                Seen::Stale(
                    Box::new(seen),
                    format!("{trouble} (asked {ago:.0} s ago; this is what it said before)"),
                )
            }
            _ => seen,
        };
        Known { seen, tasks: standing.tasks.clone(), host, is_foreign: false }
    }

    fn seconds_since(&self, ns: i64) -> f64 {
        // a file server that was set back must not stop the questions
        let passed = (self.now_ns - ns) as f64 / 1e9;
        if passed < -1.0 { f64::INFINITY } else { passed.max(0.0) }
    }

    fn save(&mut self) {
        if !self.is_kept {
            return;
        }
        self.memory.schema = SCHEMA;
        if let Err(error) = atomic::write_json(&cache_path(self.project, self.site), &self.memory) {
            log::debug!("{error}");
        }
    }
}

/// A file for each way of speaking to a scheduler.
fn cache_path(project: &Project, site: &Site) -> std::path::PathBuf {
    let same = Site { environment: BTreeMap::new(), ..site.clone() };
    let text = serde_json::to_string(&same).unwrap_or_default();
    let sum = fingerprint::Fingerprint::default().bytes(text.as_bytes()).hex();
    let short = sum.get(..12).unwrap_or(&sum);
    project.cache_file(&format!("queue-{}-{short}.json", site.scheduler))
}

/// Why it ended, in the words of the project; `None`: well.
pub fn reason_of(ended: &Ended) -> Option<Reason> {
    let exited = |code: i32, signal: Option<i32>| {
        Reason::of_exit(&Exit {
            code,
            signal: signal.or((code > 128).then(|| code - 128)),
            ..Exit::default()
        })
    };
    match (&ended.reason, ended.exit, ended.signal) {
        (EndReason::OutOfMemory, ..) => Some(Reason::OutOfMemory),
        (EndReason::TimeLimit, ..) => Some(Reason::Timeout),
        (EndReason::NodeFailed, ..) => Some(Reason::NodeFailure),
        (EndReason::Preempted, ..) => Some(Reason::Preempted),
        (EndReason::Cancelled, ..) => Some(Reason::Cancelled),
        (EndReason::Dependency, ..) => Some(Reason::Dependency(ended.words.clone())),
        (EndReason::LaunchFailed(words), ..) => Some(Reason::LaunchFailed(words.clone())),
        (EndReason::Other(words), ..) => Some(Reason::Other(words.clone())),
        (EndReason::Exited, Some(0), None) => None,
        (EndReason::Exited, code, signal) => Some(exited(code.unwrap_or(1), signal)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::Fake;
    use vitreous_project::process::{boot_id, host};
    use vitreous_project::{Microscope, ProjectFile};

    const SECOND: i64 = 1_000_000_000;

    fn answer(code: i32, stdout: String) -> Option<Answer> {
        Some(Answer { code, stdout, stderr: "No route to host".into() })
    }

    /// Asks a worker at several moments (seconds), with `grace_s` 30 and `poll_s` 10; what was seen, and how many
    /// questions that took. The worker is out of reach while `is_down` says so of the number of the question.
    fn seen_at(moments: &[i64], is_down: impl Fn(usize) -> bool) -> (Vec<Seen>, usize) {
        let folder = tempfile::tempdir().unwrap();
        let project = Project::init(folder.path(), ProjectFile::new("x", Microscope::default())).unwrap();
        let scheduler = vitreous_schedulers::find("ssh").unwrap();
        let site = Site { scheduler: "ssh".into(), host: "w1".into(), ..Site::default() };
        let asked = std::cell::Cell::new(0);
        let shell = Fake::new(|_: &Cmd| {
            asked.set(asked.get() + 1);
            match is_down(asked.get()) {
                true => answer(255, String::new()),
                false => answer(0, format!("host {} {}\nend\n", host(), boot_id())),
            }
        });
        let ids = [JobId(format!("{}/{}/4194000/77", host(), boot_id()))];
        let look = |at: &i64| {
            let mut desk = Desk::new(&project, &shell, scheduler, &site, at * SECOND);
            desk.states(&ids, 30.0, 10.0, Freshness::Usual).remove(0).seen
        };
        let seen = moments.iter().map(look).collect();
        (seen, asked.get())
    }

    #[test]
    fn absence_becomes_a_verdict_only_after_its_time() {
        let (seen, questions) = seen_at(&[1000, 1001, 1005, 1029, 1031], |_| false);
        assert!(seen[..4].iter().all(|seen| matches!(seen, Seen::Awaited(_))), "{seen:?}");
        assert_eq!(seen[4], Seen::Gone);
        assert_eq!(questions, 2, "no more often than the lane wants");
    }

    #[test]
    fn one_that_does_not_answer_is_asked_less_and_less_and_changes_nothing() {
        let moments: Vec<i64> = (0..600).step_by(10).map(|s| 1000 + s).collect();
        let (seen, questions) = seen_at(&moments, |_| true);
        assert!(
            seen.iter().all(|seen| matches!(seen, Seen::Unknown(why) if why.contains("No route"))),
            "{seen:?}"
        );
        assert!((4..=7).contains(&questions), "{questions} questions in ten minutes");

        // what was known before is kept, with the reason why it is old; after the outage its time runs on
        let (seen, _) = seen_at(&[1000, 1010, 1015, 1031], |question| question == 2);
        assert!(
            matches!(&seen[1], Seen::Stale(last, why) if matches!(**last, Seen::Awaited(_)) && why.contains("No route"))
        );
        assert!(matches!(&seen[2], Seen::Stale(..)), "not asked again yet");
        assert_eq!(seen[3], Seen::Gone);
    }

    #[test]
    fn a_cluster_that_does_not_say_its_name_is_asked_once_a_look() {
        let folder = tempfile::tempdir().unwrap();
        let project = Project::init(folder.path(), ProjectFile::new("x", Microscope::default())).unwrap();
        let scheduler = vitreous_schedulers::find("slurm").unwrap();
        let site = Site { scheduler: "slurm".into(), ..Site::default() };
        let shell = Fake::new(|_: &Cmd| answer(1, String::new()));
        let mut desk = Desk::new(&project, &shell, scheduler, &site, 1_000_000 * SECOND);
        for _ in 0..1000 {
            assert_eq!(desk.cluster(), "");
        }
        assert_eq!(shell.asked.borrow().len(), 1);
    }

    #[test]
    fn a_clock_set_back_does_not_stop_the_questions() {
        let (_, questions) = seen_at(&[5000, 1000, 1001], |_| false);
        assert_eq!(questions, 2);
    }

    #[test]
    fn ends_in_the_words_of_the_project() {
        let ended = |reason, exit, signal| {
            reason_of(&Ended { exit, signal, reason, host: String::new(), words: String::new() })
        };
        assert_eq!(ended(EndReason::Exited, Some(0), None), None);
        assert_eq!(ended(EndReason::Exited, Some(7), None), Some(Reason::Exit(7)));
        assert_eq!(ended(EndReason::Exited, Some(3), None), Some(Reason::BadInput));
        assert_eq!(ended(EndReason::Exited, Some(99), None), Some(Reason::Requeue));
        assert_eq!(ended(EndReason::Exited, Some(139), None), Some(Reason::Signal(11)));
        assert_eq!(ended(EndReason::Exited, None, Some(9)), Some(Reason::Signal(9)));
        assert_eq!(ended(EndReason::Exited, None, None), Some(Reason::Exit(1)));
        assert_eq!(ended(EndReason::OutOfMemory, Some(137), Some(9)), Some(Reason::OutOfMemory));
        assert_eq!(ended(EndReason::Cancelled, Some(0), None), Some(Reason::Cancelled));
    }
}
