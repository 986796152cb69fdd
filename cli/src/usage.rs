//! What jobs asked for and what they used, and what follows for the next job of a type.

use crate::failure::Outcome;
use crate::inputs;
use serde_json::Value;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use vitreous_jobs::{Estimate, JobType};
use vitreous_model::resources::Resources;
use vitreous_project::{AttemptDir, Exit, Intent, JobDir, JobNumber, Project, Reason};

/// How an attempt ended, as far as resources are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Well.
    Done,
    /// It needed more memory than it had.
    OutOfMemory,
    /// It ran into its time limit, or saved its work before it and goes on.
    TimeLimit,
    /// In another way.
    Other,
}

/// One attempt that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Spent {
    /// Its job.
    pub job: JobNumber,
    /// Number of the attempt.
    pub attempt: u32,
    /// Job type.
    pub job_type: String,
    /// Lane.
    pub lane: String,
    /// What it asked for; of an array, each of its tasks.
    pub asked: Resources,
    /// It was an array.
    pub is_array: bool,
    /// Wall time of the job, or of the longest task, seconds.
    pub wall_s: f64,
    /// Cores that it held times the time it held them, seconds.
    pub core_s: f64,
    /// CPU time of all ranks, seconds, if the engine could still say.
    pub cpu_s: Option<f64>,
    /// Largest resident size on one host, MiB, if the engine could still say.
    pub mem_mib: Option<f64>,
    /// How it ended.
    pub end: End,
}

/// Every attempt of a job that has run and ended.
///
/// # Errors
/// The job's folder cannot be listed.
pub fn attempts(job: &JobDir) -> Outcome<Vec<Spent>> {
    let mut spent = Vec::new();
    for number in 1..=job.latest_attempt()?.map_or(0, |attempt| attempt.number()) {
        spent.extend(of_attempt(job, &job.attempt(number)));
    }
    Ok(spent)
}

/// One attempt; `None` if it has not run, has not ended, or its records cannot be read.
fn of_attempt(job: &JobDir, attempt: &AttemptDir) -> Option<Spent> {
    let intent = attempt.intent().ok()??;
    let exits = exits(attempt, &intent);
    let reason = attempt.verdict().ok().flatten().and_then(|verdict| verdict.reason);
    if exits.is_empty() {
        return None;
    }
    let walls: Vec<f64> = exits.iter().map(|exit| (exit.end_unix_s - exit.start_unix_s).max(0.0)).collect();
    let cores = f64::from(intent.resources.threads * intent.resources.ranks);
    let usage = attempt.usage();
    let nodes = f64::from(intent.resources.nodes.max(1));
    Some(Spent {
        job: job.number(),
        attempt: attempt.number(),
        job_type: job.spec().job_type.clone(),
        lane: intent.lane.clone(),
        is_array: intent.elements.is_some(),
        wall_s: walls.iter().copied().fold(0.0, f64::max),
        core_s: walls.iter().sum::<f64>() * cores,
        cpu_s: usage.map(|usage| usage.cpu_seconds),
        mem_mib: usage.map(|usage| usage.max_rss_mib / nodes),
        end: end(&exits, reason.as_ref()),
        asked: intent.resources,
    })
}

/// The exit records of an attempt, or of its tasks.
fn exits(attempt: &AttemptDir, intent: &Intent) -> Vec<Exit> {
    match &intent.elements {
        None => attempt.exit().ok().flatten().into_iter().collect(),
        Some(elements) => elements
            .numbers
            .iter()
            .filter_map(|element| attempt.element_exit(*element).ok().flatten())
            .collect(),
    }
}

fn end(exits: &[Exit], reason: Option<&Reason>) -> End {
    let any = |is: fn(&Exit) -> bool| exits.iter().any(is);
    if any(|exit| exit.out_of_memory) || reason == Some(&Reason::OutOfMemory) {
        return End::OutOfMemory;
    }
    let is_requeue = |exit: &Exit| Reason::of_exit(exit) == Reason::Requeue;
    if any(|exit| exit.timeout) || any(is_requeue) || reason == Some(&Reason::Timeout) {
        return End::TimeLimit;
    }
    if exits.iter().all(|exit| exit.code == 0) { End::Done } else { End::Other }
}

/// Jobs of one type that are looked back at.
const LOOK_BACK: usize = 20;
/// Newer jobs that have not ended yet are passed over, at most so many.
const PASSED_OVER: usize = 100;
/// From so many measurements on, less than the formula is asked for.
const ENOUGH: usize = 3;
/// What is asked for above what 95 of 100 jobs used.
const MEMORY_RESERVE: f64 = 1.2;
/// The same for wall time, which depends on the host and its neighbours.
const TIME_RESERVE: f64 = 1.5;
/// However little was used, never less than so much of the formula.
const LEAST: f64 = 0.5;

/// One job of the past, against the formula of its type for its own inputs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// Memory it used, or had when it ran out of it, over what the formula said. 1: just that.
    pub memory: Option<f64>,
    /// The same of its wall time.
    pub time: Option<f64>,
}

/// What jobs of each type used, read once for all launches of a pass.
#[derive(Debug)]
pub struct History<'a> {
    project: &'a Project,
    by_type: RefCell<BTreeMap<&'static str, Rc<[Measured]>>>,
}

impl<'a> History<'a> {
    /// Of a project; nothing is read yet.
    pub fn new(project: &'a Project) -> Self {
        Self { project, by_type: RefCell::default() }
    }

    /// Of the newest jobs of a type.
    pub fn of(&self, job_type: &dyn JobType) -> Rc<[Measured]> {
        let mut by_type = self.by_type.borrow_mut();
        by_type.entry(job_type.name()).or_insert_with(|| history(self.project, job_type).into()).clone()
    }
}

/// The newest jobs of a type that have ended, at most [`LOOK_BACK`] of them. What cannot be read is left out: this is advice.
fn history(project: &Project, job_type: &dyn JobType) -> Vec<Measured> {
    let ending = format!("-{}", job_type.name());
    let folders = project.job_folders().unwrap_or_default();
    let of_type = folders.into_iter().rev().filter(|(_, folder)| folder.ends_with(&ending));
    let jobs = of_type
        .take(LOOK_BACK + PASSED_OVER)
        .filter_map(|(number, _)| project.job(number).ok())
        .filter(|job| job.spec().job_type == job_type.name());
    let per_job = jobs.map(|job| measured(project, job_type, &job)).filter(|found| !found.is_empty());
    per_job.take(LOOK_BACK).flatten().collect()
}

fn measured(project: &Project, job_type: &dyn JobType, job: &JobDir) -> Vec<Measured> {
    let spent = attempts(job).unwrap_or_default();
    let spec = job.spec();
    let effective = job_type.check(&Value::Object(spec.params.clone()));
    let (false, Ok(effective)) = (spent.is_empty(), effective) else { return Vec::new() };
    let formula = job_type.resources(&effective, &inputs::summary(project, job_type, spec));
    spent.iter().filter_map(|spent| against(spent, &formula)).collect()
}

/// `None`: it ended in a way that says nothing about what it needs.
fn against(spent: &Spent, formula: &Resources) -> Option<Measured> {
    let over = |used: f64, said: u64| (said > 0).then(|| used / said as f64);
    let memory = match spent.end {
        End::OutOfMemory => Some(spent.mem_mib.unwrap_or(0.0).max(spent.asked.mem_mib as f64)),
        End::Done | End::TimeLimit => spent.mem_mib,
        End::Other => return None,
    };
    // a task of an array does a part of the items that the formula is for
    let time = (spent.end != End::OutOfMemory && !spent.is_array).then_some(spent.wall_s);
    Some(Measured {
        memory: memory.and_then(|mib| over(mib, formula.mem_mib)),
        time: time.and_then(|seconds| over(seconds, formula.walltime_s)),
    })
}

/// An estimate corrected by what jobs of the type used.
///
/// Memory becomes 1.2 times what 95 of 100 jobs used of what the formula said for their inputs, so that it scales with
/// the inputs of this one. More than the formula is asked for at once; less only after three measurements, and never
/// less than half of it. Wall time only grows (1.5 times), because a limit that is too long costs a place in the
/// queue, and one that is too short the work since the last checkpoint.
#[must_use]
pub fn suggest(history: &[Measured], estimate: Estimate) -> Estimate {
    let mut estimate = estimate;
    let memory: Vec<f64> = history.iter().filter_map(|past| past.memory).collect();
    if let Some(used) = percentile_95(&memory) {
        let least = if memory.len() < ENOUGH { 1.0 } else { LEAST };
        let factor = (used * MEMORY_RESERVE).max(least);
        let mem_mib = (estimate.resources.mem_mib as f64 * factor).ceil() as u64;
        if mem_mib != estimate.resources.mem_mib {
            let why = because(&estimate, "mem_mib", factor, used, memory.len());
            estimate = estimate.mem_mib(mem_mib, why);
        }
    }
    let time: Vec<f64> = history.iter().filter_map(|past| past.time).collect();
    if let Some(used) = percentile_95(&time).filter(|used| used * TIME_RESERVE > 1.0) {
        let factor = used * TIME_RESERVE;
        let walltime_s = (estimate.resources.walltime_s as f64 * factor).ceil() as u64;
        let why = because(&estimate, "walltime_s", factor, used, time.len());
        estimate = estimate.walltime_s(walltime_s, why);
    }
    estimate
}

fn because(estimate: &Estimate, resource: &str, factor: f64, used: f64, count: usize) -> String {
    let formula = match estimate.reason(resource) {
        "" => "the usual".to_string(),
        formula => format!("({formula})"),
    };
    let jobs = if count == 1 { "1 earlier attempt".to_string() } else { format!("{count} earlier attempts") };
    format!("{formula} x {factor:.2}: {jobs} used up to {:.0} % of what the formula says", used * 100.0)
}

/// The smallest value that 95 of 100 do not exceed.
fn percentile_95(values: &[f64]) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let rank = (0.95 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimate() -> Estimate {
        Estimate::of_threads(4).mem_mib(1000, "10 frames").walltime_s(3600, "1 h")
    }

    fn used(memory: &[f64]) -> Vec<Measured> {
        memory.iter().map(|memory| Measured { memory: Some(*memory), time: None }).collect()
    }

    #[test]
    fn memory_follows_what_was_used() {
        let after = |memory: &[f64]| suggest(&used(memory), estimate()).resources.mem_mib;
        assert_eq!(after(&[]), 1000);
        assert_eq!(after(&[2.0]), 2400, "more at once");
        assert_eq!(after(&[0.7, 0.7]), 1000, "less only after three");
        assert_eq!(after(&[0.7, 0.6, 0.5]), 840);
        assert_eq!(after(&[0.1, 0.1, 0.1]), 500, "never less than half");
        let mut many = vec![0.5; 99];
        many.push(9.0);
        assert_eq!(after(&many), 600, "one in a hundred is left to the retry policy");
        assert_eq!(after(&[f64::NAN, 2.0]), 2400);
        let why = suggest(&used(&[0.7, 0.6, 0.5]), estimate());
        assert_eq!(
            why.reasons.last().unwrap().1,
            "(10 frames) x 0.84: 3 earlier attempts used up to 70 % of what the formula says"
        );
        assert_eq!(why.reason("mem_mib"), why.reasons.last().unwrap().1, "the newest reason counts");
    }

    #[test]
    fn wall_time_only_grows() {
        let after = |time: f64| suggest(&[Measured { memory: None, time: Some(time) }], estimate()).resources;
        assert_eq!((after(0.1).walltime_s, after(2.0).walltime_s, after(2.0).mem_mib), (3600, 10_800, 1000));
    }

    #[test]
    fn an_attempt_that_ran_out_of_memory_needed_more_than_it_had() {
        let spent = Spent {
            job: JobNumber(1),
            attempt: 1,
            job_type: "x".into(),
            lane: "l".into(),
            asked: Resources { mem_mib: 1500, ..Resources::default() },
            is_array: false,
            wall_s: 10.0,
            core_s: 10.0,
            cpu_s: None,
            mem_mib: None,
            end: End::OutOfMemory,
        };
        let formula = Resources { mem_mib: 1000, walltime_s: 100, ..Resources::default() };
        assert_eq!(against(&spent, &formula), Some(Measured { memory: Some(1.5), time: None }));
        let done = Spent { end: End::Done, mem_mib: Some(250.0), ..spent.clone() };
        assert_eq!(against(&done, &formula), Some(Measured { memory: Some(0.25), time: Some(0.1) }));
        assert_eq!(against(&Spent { is_array: true, ..done.clone() }, &formula).unwrap().time, None);
        assert_eq!(against(&Spent { end: End::Other, ..done }, &formula), None);
    }

    #[test]
    fn ends_are_told_apart() {
        let exit = |code| Exit { code, ..Exit::default() };
        assert_eq!(end(&[exit(0), exit(0)], None), End::Done);
        assert_eq!(end(&[exit(0), Exit { out_of_memory: true, ..exit(137) }], None), End::OutOfMemory);
        assert_eq!(end(&[exit(99)], None), End::TimeLimit);
        assert_eq!(end(&[exit(137)], Some(&Reason::OutOfMemory)), End::OutOfMemory);
        assert_eq!(end(&[exit(3)], None), End::Other);
    }
}
