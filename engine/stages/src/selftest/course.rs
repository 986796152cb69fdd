//! Runs the steps one after the other on all ranks, each in a folder of the job, and none a second time.
//!
//! A step that is done leaves `FOLDER/finished.json`: what it was asked, its outputs and the numbers of its report. A later
//! attempt takes these; a step that was cut off goes on from its own records and checkpoints.

use super::plan::Step;
use crate::{Ctx, Input, StageError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use vitreous_model::event::EventKind;
use vitreous_model::outputs::Output;
use vitreous_model::params::BadParam;
use vitreous_model::report::Report;

/// Record of a finished step in its folder.
const FINISHED: &str = "finished.json";
/// How long a rank waits until it sees a file that another host has written. Network file systems may show a new file a
/// minute late (the default `acdirmax` of NFS).
const PATIENCE: Duration = Duration::from_secs(90);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// A step that is done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Finished {
    /// Name of the job type.
    pub job_type: String,
    /// All parameters.
    pub params: Value,
    /// Wall time of the attempt that finished it, s.
    pub seconds: f64,
    /// Its outputs, paths from its folder.
    pub outputs: Vec<Output>,
    /// Its report, figures left out.
    pub report: Report,
}

/// A step that failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Broken {
    /// Name of the job type.
    pub job_type: String,
    /// What it said.
    pub message: String,
    /// What it advised; may be empty.
    pub hint: String,
}

/// How far it came.
#[derive(Debug, Default)]
pub(super) struct Course {
    /// The steps that are done, by folder.
    pub finished: BTreeMap<String, Finished>,
    /// The one that failed, after which no other was begun.
    pub broken: Option<Broken>,
}

impl Course {
    /// The main file of an output of a step, absolute.
    pub fn file(&self, ctx: &Ctx<'_>, folder: &str, slot: &str) -> Option<PathBuf> {
        let output = self.output(folder, slot)?;
        Some(ctx.job_dir.join(folder).join(&output.path))
    }

    /// A further file of an output, absolute.
    pub fn part(&self, ctx: &Ctx<'_>, folder: &str, slot: &str, role: &str) -> Option<PathBuf> {
        Some(ctx.job_dir.join(folder).join(self.output(folder, slot)?.parts.get(role)?))
    }

    /// An output of a step.
    pub fn output(&self, folder: &str, slot: &str) -> Option<&Output> {
        self.finished.get(folder)?.outputs.iter().find(|output| output.slot == slot)
    }

    /// A number of a step's report; NaN if there is none.
    pub fn number(&self, folder: &str, key: &str) -> f64 {
        self.finished.get(folder).and_then(|done| done.report.get(key)).unwrap_or(f64::NAN)
    }
}

/// Runs the steps until one fails. Every rank calls it and gets the same.
///
/// # Errors
/// [`StageError::Stopped`] or [`StageError::Superseded`]; what belongs to a step stands in the course.
pub(super) fn run(ctx: &Ctx<'_>, steps: &[Step]) -> Result<Course, StageError> {
    let mut course = Course::default();
    for (index, step) in steps.iter().enumerate() {
        ctx.check_stop_together()?;
        let name = format!("step {} of {}, {}", index + 1, steps.len(), step.job_type);
        let done = match known(ctx, step)? {
            Some(done) => {
                ctx.say(EventKind::Message { text: format!("{name}: done before") });
                done
            }
            None => match perform(ctx, step, &course, &name)? {
                Ok(done) => done,
                Err(broken) => {
                    course.broken = Some(broken);
                    break;
                }
            },
        };
        course.finished.insert(step.folder.into(), done);
    }
    Ok(course)
}

/// All parameters of a step.
fn effective(step: &Step) -> Result<Value, BadParam> {
    let known = vitreous_jobs::find(step.job_type);
    let job = known.ok_or_else(|| BadParam::new("job type", step.job_type, "is unknown"))?;
    job.check(&step.params)
}

/// The record of a step if it was done before, as rank 0 sees it, for every rank.
fn known(ctx: &Ctx<'_>, step: &Step) -> Result<Option<Finished>, StageError> {
    let params = effective(step)?;
    let mut bytes = Vec::new();
    if ctx.is_root() {
        let read = std::fs::read(ctx.job_dir.join(step.folder).join(FINISHED)).unwrap_or_default();
        // a record that cannot be read, or of other parameters, is as good as none: the step is done again
        let is_usable = serde_json::from_slice::<Finished>(&read)
            .is_ok_and(|done| done.params == params && done.job_type == step.job_type);
        if is_usable {
            bytes = read;
        }
    }
    ctx.comm.broadcast(0, &mut bytes);
    Ok(serde_json::from_slice(&bytes).ok())
}

/// How a step ended on one rank.
#[derive(Debug, Serialize, Deserialize)]
enum Ended {
    Done(Option<Box<Finished>>),
    Stopped,
    Superseded,
    Failed { message: String, hint: String },
}

/// Runs a step, and comes to one verdict with the other ranks.
fn perform(
    ctx: &Ctx<'_>,
    step: &Step,
    course: &Course,
    name: &str,
) -> Result<Result<Finished, Broken>, StageError> {
    let began = Instant::now();
    let mine = match run_stage(ctx, step, course, name) {
        Ok((report, outputs)) => Ended::Done(ctx.is_root().then(|| {
            let seconds = began.elapsed().as_secs_f64();
            let job_type = step.job_type.to_string();
            let params = effective(step).unwrap_or_default();
            let report = Report { figures: Vec::new(), ..report };
            Box::new(Finished { job_type, params, seconds, outputs, report })
        })),
        Err(StageError::Superseded) => Ended::Superseded,
        Err(StageError::Stopped) => Ended::Stopped,
        Err(error) => Ended::Failed { message: without_paths(ctx, &error.to_string()), hint: error.hint() },
    };
    let Verdict { finished, broken } = agree(ctx, step, mine)?;
    if let Some(broken) = broken {
        return Ok(Err(broken));
    }
    let Some(finished) = finished else { return Err(StageError::Stopped) };
    let outputs = &finished.outputs;
    let written: Vec<PathBuf> =
        outputs.iter().map(|output| ctx.job_dir.join(step.folder).join(&output.path)).collect();
    let seen = match await_files(&written, PATIENCE) {
        Ok(()) => Ended::Done(None),
        Err(message) => Ended::Failed { message: format!("{}: {message}", ctx.host), hint: String::new() },
    };
    if let Some(broken) = agree(ctx, step, seen)?.broken {
        return Ok(Err(broken));
    }
    if ctx.is_root() {
        let bytes = serde_json::to_vec_pretty(&finished)
            .map_err(|error| StageError::io(&ctx.job_dir, error.into()))?;
        let file = format!("{}/{FINISHED}", step.folder);
        ctx.create(&file, |out| {
            std::io::Write::write_all(out, &bytes).map_err(|source| StageError::io(&ctx.job_dir, source))
        })?;
    }
    Ok(Ok(finished))
}

/// Runs a step's stage in its folder. Outputs are those of rank 0.
fn run_stage(
    ctx: &Ctx<'_>,
    step: &Step,
    course: &Course,
    name: &str,
) -> Result<(Report, Vec<Output>), StageError> {
    let known = crate::find(step.job_type);
    let stage = known.ok_or_else(|| BadParam::new("job type", step.job_type, "is unknown"))?;
    let event = |kind: EventKind| {
        ctx.say(match kind {
            EventKind::Phase { name: phase, total } => {
                EventKind::Phase { name: format!("{name}: {phase}"), total }
            }
            other => other,
        });
    };
    let mut part = ctx.part(step.folder, effective(step)?, &event);
    for source in &step.inputs {
        let missing = || {
            let what = format!("{} has no output `{}`", source.folder, source.output);
            StageError::input(what, "")
        };
        let output = course.output(source.folder, source.output).ok_or_else(missing)?.clone();
        let folder = ctx.job_dir.join(source.folder);
        let parts = output.parts.iter().map(|(role, file)| (role.clone(), folder.join(file))).collect();
        let job = format!("{}/{}", ctx.job, source.folder);
        let input = Input { job, path: folder.join(&output.path), parts, output };
        part.inputs.entry(source.slot.into()).or_default().push(input);
    }
    std::fs::create_dir_all(&part.job_dir).map_err(|source| StageError::io(&part.job_dir, source))?;
    let mut report = stage.run(&part)?;
    report.skipped = part.skipped();
    Ok((report, part.declared_outputs()))
}

/// A message without the path of the project, which may tell more of its owner than those who help have to know.
fn without_paths(ctx: &Ctx<'_>, message: &str) -> String {
    let [job, project] = [&ctx.job_dir, &ctx.project_dir].map(|folder| folder.display().to_string());
    message.replace(&job, &ctx.job).replace(&project, "the project")
}

/// What all ranks agree on.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Verdict {
    finished: Option<Finished>,
    broken: Option<Broken>,
}

/// Joins what became of a step on every rank. A rank that fails makes others stop, so its error counts before their stop.
fn agree(ctx: &Ctx<'_>, step: &Step, mine: Ended) -> Result<Verdict, StageError> {
    let encode = |error: serde_json::Error| StageError::io(&ctx.job_dir, error.into());
    let gathered = ctx.comm.gather(&serde_json::to_vec(&mine).map_err(encode)?);
    let mut told = Vec::new();
    if ctx.is_root() {
        let (mut stop, mut superseded, mut verdict) = (false, false, Verdict::default());
        for (rank, bytes) in gathered.iter().enumerate() {
            match serde_json::from_slice(bytes).map_err(encode)? {
                Ended::Done(finished) => verdict.finished = verdict.finished.or(finished.map(|done| *done)),
                Ended::Stopped => stop = true,
                Ended::Superseded => superseded = true,
                Ended::Failed { message, hint } => {
                    let message =
                        if ctx.comm.size() > 1 { format!("rank {rank}: {message}") } else { message };
                    let job_type = step.job_type.into();
                    verdict.broken = verdict.broken.or(Some(Broken { job_type, message, hint }));
                }
            }
        }
        let is_stopped = stop && verdict.broken.is_none();
        told = serde_json::to_vec(&(superseded, is_stopped, verdict)).map_err(encode)?;
    }
    ctx.comm.broadcast(0, &mut told);
    match serde_json::from_slice::<(bool, bool, Verdict)>(&told).map_err(encode)? {
        (true, _, _) => Err(StageError::Superseded),
        (_, true, _) => Err(StageError::Stopped),
        (_, _, verdict) => Ok(verdict),
    }
}

/// Waits until this host sees files that another has written.
fn await_files(files: &[PathBuf], patience: Duration) -> Result<(), String> {
    let began = Instant::now();
    let missing = || files.iter().map(PathBuf::as_path).find(|file: &&Path| !file.exists());
    while let Some(file) = missing() {
        if began.elapsed() >= patience {
            let name = file.file_name().unwrap_or_default().display();
            return Err(format!(
                "{name}, which rank 0 has written, is not there {} s later: the project folder must be one file system on \
                 all hosts",
                patience.as_secs()
            ));
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_does_not_come_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("map.mrc");
        let missing = await_files(std::slice::from_ref(&file), Duration::ZERO).unwrap_err();
        assert!(missing.contains("map.mrc") && missing.contains("one file system"), "{missing}");
        assert_eq!(await_files(&[folder.path().into()], Duration::ZERO), Ok(()));
    }
}
