//! The probe job of `lane check`: goes to the scheduler as every job does, looks round there, and is gone.
//!
//! The lane's own template is rendered with a stand-in for the engine, a script of one line that runs
//! `vitreous-engine probe` with the arguments of the check. So submission, template, claim, environment, launcher and
//! exit record are those of real jobs.

use super::{Finding, found};
use crate::context::Context;
use crate::lanes::NamedLane;
use serde_json::Value;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use uuid::Uuid;
use vitreous_model::resources::Resources;
use vitreous_project::{Exit, atomic};
use vitreous_schedulers::render::Variable;
use vitreous_schedulers::{
    Cmd, JobId, Queue, Scheduler, SchedulerError, Script, ScriptContext, Site, Stop, Worker, quote,
};

/// Memory that the probe asks for, MiB: little, and more than any engine needs to start.
const MEM_MIB: u64 = 1024;
/// Wall time that it asks for, seconds: the shortest that queues commonly round to.
const WALLTIME_S: u64 = 300;
/// Pause between two looks at the files of the job.
const LOOK: Duration = Duration::from_millis(250);
/// Pause between two questions to the scheduler, unless the lane wants longer ones.
const ASK: Duration = Duration::from_secs(2);
/// How long a record may be on its way after the job has ended.
const GRACE: Duration = Duration::from_secs(20);
/// Bytes of a file's end that are quoted.
const TAIL: usize = 2000;

/// What the probe is to ask for.
#[derive(Debug, Clone)]
pub struct Wish {
    /// MPI ranks.
    pub ranks: u32,
    /// GPUs.
    pub gpus: u32,
    /// Values for the lane's template.
    pub vars: BTreeMap<String, Value>,
    /// When it must have ended.
    pub timeout: Duration,
    /// The project, which nodes must see.
    pub project_dir: Option<PathBuf>,
}

/// A probe job, prepared.
struct Probe<'a, 'c> {
    context: &'a Context<'c>,
    lane: &'a NamedLane,
    site: Site,
    folder: PathBuf,
    attempt: PathBuf,
    script: Script,
}

/// Submits a probe job and tells what it found. `folder` is made, for its files.
pub fn run(
    context: &Context<'_>,
    lane: &NamedLane,
    worker: Option<&Worker>,
    wish: &Wish,
    folder: &Path,
) -> Vec<Finding> {
    let attempt = folder.join("attempt-01");
    let file = |name: &str| attempt.join(name).to_string_lossy().into_owned();
    let script = Script {
        path: file("submit.sh"),
        folder: attempt.to_string_lossy().into_owned(),
        name: "vitreous-J0-lane-check".into(),
        tag: Uuid::new_v4(),
        stdout: file("stdout"),
        stderr: file("stderr"),
        resources: resources(lane, worker, wish),
        ..Script::default()
    };
    let site = lane.site(worker, &context.environment);
    let probe = Probe { context, lane, site, folder: folder.to_path_buf(), attempt, script };
    let result = probe.prepare(wish).and_then(|()| probe.submit()).and_then(|id| {
        let told = probe.follow(&id, wish.timeout);
        told.map(|words| (words, probe.report())).map_err(|why| format!("job {id}: {why}{}", probe.remains()))
    });
    match result {
        Ok((words, Some(report))) => {
            let mut findings = vec![Finding::new("probe job", Ok(words))];
            findings.extend(found::findings(&report, &probe.script.resources, lane));
            findings
        }
        Ok((words, None)) => {
            let why = format!("{words}, but the engine wrote no report{}", probe.remains());
            vec![Finding::new("probe job", Err(why))]
        }
        Err(why) => vec![Finding::new("probe job", Err(why))],
    }
}

fn resources(lane: &NamedLane, worker: Option<&Worker>, wish: &Wish) -> Resources {
    let cores = worker.map_or_else(
        || if lane.lane.is_cluster() { lane.lane.limits.threads.unwrap_or(u32::MAX) } else { lane.cores() },
        |worker| worker.threads,
    );
    let limit_mib = lane.lane.limits.mem_gib.map_or(u64::MAX, |gib| (gib * 1024.0) as u64);
    Resources {
        ranks: wish.ranks,
        // two, so that a scheduler that gives one core whatever is asked for is found out
        threads: (cores / wish.ranks.max(1)).clamp(1, 2),
        gpus: wish.gpus,
        mem_mib: MEM_MIB.min(limit_mib),
        walltime_s: WALLTIME_S.min(lane.lane.limits.walltime.unwrap_or(u64::MAX)),
        ..Resources::default()
    }
}

impl Probe<'_, '_> {
    fn scheduler(&self) -> &'static dyn Scheduler {
        self.lane.scheduler()
    }

    /// Writes the scripts.
    fn prepare(&self, wish: &Wish) -> Result<(), String> {
        std::fs::create_dir_all(&self.attempt)
            .map_err(|error| format!("{}: {error}", self.attempt.display()))?;
        let rendered = self.lane.render(&self.values(wish)).map_err(|error| error.to_string())?;
        let submit = PathBuf::from(&self.script.path);
        let mut files = vec![(submit.clone(), rendered.script), (self.stand_in(), self.stand_in_text(wish))];
        files.extend(rendered.body.map(|body| (submit.with_file_name("run.sh"), body)));
        for (path, text) in files {
            atomic::write(&path, text.as_bytes()).map_err(|error| error.to_string())?;
            let executable = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(&path, executable)
                .map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(())
    }

    fn stand_in(&self) -> PathBuf {
        self.folder.join("engine")
    }

    fn report_path(&self) -> PathBuf {
        self.attempt.join("probe.json")
    }

    /// The stand-in for the engine.
    fn stand_in_text(&self, wish: &Wish) -> String {
        let engine = self.lane.engine(&self.context.program);
        let report = self.report_path();
        let mut paths = vec![self.folder.clone()];
        paths.extend(wish.project_dir.clone());
        // a bare name is found by PATH on the node, if it is found
        paths.extend(engine.contains('/').then(|| PathBuf::from(&engine)));
        let path_flags = paths.iter().flat_map(|path| ["--path".into(), path.to_string_lossy().into_owned()]);
        let head = [engine.clone(), "probe".into(), "--output".into(), report.to_string_lossy().into_owned()];
        let words: Vec<String> = head.into_iter().chain(path_flags).collect();
        format!("#!/bin/sh\nexec {}\n", quote::command_line(words.iter().map(String::as_str)))
    }

    fn values(&self, wish: &Wish) -> ScriptContext {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let (lane, scheduler) = (self.lane, self.scheduler());
        let mut values = ScriptContext::example(lane.context(&wish.vars));
        values.job = "J0".into();
        values.job_type = "lane-check".into();
        values.job_name.clone_from(&self.script.name);
        values.project_dir = text(wish.project_dir.as_deref().unwrap_or(&self.folder));
        values.job_dir = text(&self.folder);
        values.attempt_dir = text(&self.attempt);
        values.cancel_file = text(&self.folder.join("cancel-01.json"));
        values.uuid = self.script.tag.to_string();
        values.engine = text(&self.stand_in());
        values.vitreous = String::new();
        values.set_resources(&self.script.resources);
        if self.script.resources.ranks > 1 {
            let words = lane.lane.launcher.split_whitespace().map(String::from);
            values.launcher = words.chain(["-n".into(), self.script.resources.ranks.to_string()]).collect();
        }
        values.job_id_var = scheduler.job_id_var().into();
        values.task_id_var = scheduler.task_id_var().into();
        values.stdout.clone_from(&self.script.stdout);
        values.stderr.clone_from(&self.script.stderr);
        let mut environment = self.context.environment.clone();
        environment.extend(lane.lane.env.clone());
        values.environment = environment.into_iter().map(|(name, value)| Variable { name, value }).collect();
        values.gives_gpus = scheduler.places_jobs() && self.script.resources.gpus > 0;
        values.gpu_ids = (0..self.script.resources.gpus).collect();
        values
    }

    fn run(&self, cmd: Cmd) -> Result<vitreous_schedulers::Answer, String> {
        self.context.shell.run(&self.site.command(cmd)).map_err(|error| crate::failure::chain(&error))
    }

    fn submit(&self) -> Result<JobId, String> {
        let answer = self.run(self.scheduler().submit(&self.site, &self.script))?;
        self.scheduler().parse_submit(&answer).map_err(|error| error.to_string())
    }

    /// Waits until the job has ended; how it went, in words. On time-out and Ctrl-C the job is cancelled.
    fn follow(&self, id: &JobId, timeout: Duration) -> Result<String, String> {
        let interrupted = Arc::new(AtomicBool::new(false));
        let caught = [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM]
            .map(|signal| signal_hook::flag::register(signal, Arc::clone(&interrupted)));
        let told = self.wait(id, timeout, &interrupted);
        for one in caught.into_iter().flatten() {
            signal_hook::low_level::unregister(one);
        }
        told
    }

    fn wait(&self, id: &JobId, timeout: Duration, interrupted: &AtomicBool) -> Result<String, String> {
        let started = Instant::now();
        let pause = ASK.max(Duration::from_secs_f64(self.lane.lane.poll_s().min(60.0)));
        let (mut asked, mut ended): (Option<Instant>, Option<(Instant, String)>) = (None, None);
        let mut last = "not asked yet".to_string();
        loop {
            if let Some(exit) = self.exit_record() {
                let took = format!(
                    "job {id} on {}, {} s after its submission",
                    exit.host,
                    started.elapsed().as_secs()
                );
                return match exit.code {
                    0 => Ok(took),
                    code => Err(format!("ended with exit code {code} on {}", exit.host)),
                };
            }
            if let Some((when, how)) = &ended
                && when.elapsed() > GRACE
            {
                return Err(format!("{how}, and left no record in {}", self.attempt.display()));
            }
            if interrupted.load(Ordering::Relaxed) || started.elapsed() > timeout {
                self.cancel(id);
                let why = if interrupted.load(Ordering::Relaxed) {
                    "interrupted".into()
                } else {
                    format!(
                        "not done after {} s (`--timeout`); last word of {}: {last}",
                        timeout.as_secs(),
                        self.site.label()
                    )
                };
                return Err(format!("{why}; it was cancelled"));
            }
            if ended.is_none() && asked.is_none_or(|when| when.elapsed() >= pause) {
                asked = Some(Instant::now());
                match self.standing(id) {
                    Ok(Queue::Held(why)) => {
                        self.cancel(id);
                        return Err(format!("held by {}: {why}; it was cancelled", self.site.label()));
                    }
                    Ok(queue) => {
                        last = words_of(&queue);
                        let is_over = matches!(queue, Queue::Ended(_) | Queue::Gone);
                        ended = is_over.then(|| (Instant::now(), self.end_of(id, &queue)));
                    }
                    Err(error) => last = error,
                }
            }
            std::thread::sleep(LOOK);
        }
    }

    fn standing(&self, id: &JobId) -> Result<Queue, String> {
        let ids = std::slice::from_ref(id);
        let answer = self.run(self.scheduler().status(&self.site, ids))?;
        let standings = self.scheduler().parse_status(ids, &answer).map_err(|error| error.to_string())?;
        standings.into_iter().next().map(|standing| standing.queue).ok_or_else(|| "no answer".into())
    }

    /// How the scheduler says it ended; asked a second time where that is another command.
    fn end_of(&self, id: &JobId, queue: &Queue) -> String {
        let ids = std::slice::from_ref(id);
        let asked = match queue {
            Queue::Gone => self.scheduler().post_mortem(&self.site, ids),
            _ => None,
        };
        let read = |answer| -> Result<_, SchedulerError> { self.scheduler().parse_post_mortem(ids, &answer) };
        let later = asked.and_then(|cmd| self.run(cmd).ok()).and_then(|answer| read(answer).ok());
        let later = later.and_then(|standings| standings.into_iter().next()).map(|standing| standing.queue);
        words_of(later.as_ref().unwrap_or(queue))
    }

    fn cancel(&self, id: &JobId) {
        let cancel = vitreous_project::Cancel::new(vitreous_project::Requester::User);
        if let Err(error) = atomic::write_json(&self.folder.join("cancel-01.json"), &cancel) {
            log::debug!("{error}");
        }
        let cmd = self.scheduler().cancel(&self.site, std::slice::from_ref(id), Stop::Kill);
        match self.run(cmd) {
            Ok(answer) if answer.code == 0 => {}
            Ok(answer) => crate::context::remark(format!("note: cancelling {id}: {}", super::said(&answer))),
            Err(error) => crate::context::remark(format!("note: cancelling {id}: {error}")),
        }
    }

    fn exit_record(&self) -> Option<Exit> {
        // listing the folder makes a network file system look again
        let _ = std::fs::read_dir(&self.attempt).map(Iterator::count);
        atomic::read_json(&self.attempt.join("exit.json")).ok().flatten()
    }

    fn report(&self) -> Option<Value> {
        atomic::read_json(&self.report_path()).ok().flatten()
    }

    /// The ends of everything that the job wrote for people, for a person who wants to know why it failed.
    fn remains(&self) -> String {
        let Ok(entries) = std::fs::read_dir(&self.attempt) else { return String::new() };
        let is_log = |path: &Path| {
            let name = path.file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned());
            ["stdout", "stderr"].contains(&name.as_str())
                || [".out", ".err", ".log"].iter().any(|ending| name.ends_with(ending))
                || [".o", ".e"].iter().any(|mark| name.contains(mark))
        };
        let mut paths: Vec<PathBuf> =
            entries.flatten().map(|entry| entry.path()).filter(|path| is_log(path)).collect();
        paths.sort();
        let quoted = paths.iter().filter_map(|path| {
            let bytes = std::fs::read(path).ok().filter(|bytes| !bytes.is_empty())?;
            let end = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(TAIL)..]).trim().to_string();
            Some(format!("\n{}: {end}", path.file_name()?.to_string_lossy()))
        });
        quoted.collect()
    }
}

fn words_of(queue: &Queue) -> String {
    match queue {
        Queue::Pending(why) if why.is_empty() => "waits".into(),
        Queue::Pending(why) => format!("waits: {why}"),
        Queue::Held(why) => format!("held: {why}"),
        Queue::Running => "runs".into(),
        Queue::Requeued => "was put back into the queue".into(),
        Queue::Ended(ended) if ended.is_well() => "ended well".into(),
        Queue::Ended(ended) => {
            let words =
                if ended.words.is_empty() { format!("{:?}", ended.reason) } else { ended.words.clone() };
            let host = if ended.host.is_empty() { String::new() } else { format!(" on {}", ended.host) };
            format!("ended{host}: {words}")
        }
        Queue::Gone => "is not known any more".into(),
        Queue::Unknown(why) => format!("unknown: {why}"),
    }
}
