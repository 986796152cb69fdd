//! Runs one job: finds out what to do, does it on every rank, writes what came of it.

use crate::args::RunArgs;
use crate::claim::Claim;
use crate::device::{self, Chosen, Driver, Wish};
use crate::failure::{self, Failure};
use crate::grant::{Grant, Limits};
use crate::node_copies::{self, JobCopies, Told};
use crate::ranks::{self, Ranks};
use crate::signals::StopFlag;
use crate::speaker::{self, Speaker};
use crate::world;
use serde_json::Value;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use vitreous_cache::Holder;
use vitreous_compute::comm::Comm;
use vitreous_compute::device::Device;
use vitreous_jobs::JobType;
use vitreous_model::event::EventKind;
use vitreous_model::report::{Figure, Report};
use vitreous_model::{SCHEMA, exit};
use vitreous_project::{AttemptDir, Effective, EventWriter, JobDir, Project, ResolvedInput, process};
use vitreous_stages::{Ctx, Input, Slice, Stage, StageError};

/// What the process is given from outside: its environment and how it was called.
pub struct Surroundings<'a> {
    /// Value of an environment variable.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// Program and arguments.
    pub command_line: Vec<String>,
    /// Seconds since 1970.
    pub unix_s: f64,
}

/// Runs the job and returns the exit code.
pub fn run(args: &RunArgs, around: &Surroundings<'_>) -> i32 {
    failure::keep_panics_quiet();
    let started = StopFlag::on_signals()
        .map_err(|error| Failure::new(exit::INTERNAL, format!("signal handlers were refused: {error}")))
        .and_then(|stop| Ok((stop, Ranks::start(args.ranks, around.variable)?)));
    let (stop, ranks) = match started {
        Ok(started) => started,
        Err(failure) => {
            speaker::to_log(&failure.text());
            return failure.code;
        }
    };
    match run_on_rank(args, around, &stop, ranks.comm()) {
        Ok(()) => exit::OK,
        Err(failure) => failure.code,
    }
}

/// Everything this rank does. The verdict has been told to the user when it returns.
fn run_on_rank(
    args: &RunArgs,
    around: &Surroundings<'_>,
    stop: &StopFlag,
    comm: &dyn Comm,
) -> Result<(), Failure> {
    let Opened { job, attempt, claim, events } = match caught(|| open(args, around, comm)) {
        Ok(opened) => opened,
        Err(failure) => return conclude(comm, &LastWords::default(), &Speaker::without_file(), Err(failure)),
    };
    let last_words = LastWords { attempt: Some(attempt.clone()), slice: args.slice, claim: claim.clone() };
    let speaker = Speaker::new(events, claim.clone());
    // no rank begins before all are ready: later they may wait for each other
    let (prepared, ready) = match caught(|| Prepared::new(&job, &attempt, args)) {
        Ok(prepared) => (Some(prepared), Ok(())),
        Err(failure) => (None, Err(failure)),
    };
    let ready = ranks::settle_or_end(comm, ready, {
        let last_words = last_words.clone();
        move |failure| last_words.say(failure)
    });
    let verdict = match (prepared, ready) {
        (Some(prepared), Ok(())) => {
            let outcome = caught(|| prepared.perform(args, around, stop, comm, &speaker, &claim));
            conclude(comm, &last_words, &speaker, outcome)
        }
        (_, ready) => ready.inspect_err(|failure| {
            if comm.rank() == 0 {
                tell(&speaker, failure);
            }
        }),
    };
    if !claim.is_lost_now() {
        // the verdict stands whether or not its price can be written down
        let slice = args.slice.map(Slice::number);
        let _ = attempt.write_usage(slice, comm.rank(), crate::usage::of_this_process());
    }
    verdict
}

/// Comes to the verdict with the other ranks; rank 0 tells it.
fn conclude(
    comm: &dyn Comm,
    last_words: &LastWords,
    speaker: &Speaker,
    outcome: Result<(), Failure>,
) -> Result<(), Failure> {
    let is_root = comm.rank() == 0;
    // whatever else a superseded run has to say, what counts is that it must not be started again
    let claim = &last_words.claim;
    let outcome = outcome.map_err(|failure| if claim.is_lost_now() { claim.failure() } else { failure });
    // rank 0 tells its own failure at once: the others may never come
    let told = matches!(&outcome, Err(failure) if is_root && !failure.is_requeue());
    if let (true, Err(failure)) = (told, &outcome) {
        tell(speaker, failure);
    }
    let last_words = last_words.clone();
    let verdict = ranks::settle_or_end(comm, outcome, move |failure| last_words.say(failure));
    if is_root && !told {
        match &verdict {
            Ok(()) => speaker.say(EventKind::Ended { state: "done".into(), message: String::new() }),
            Err(failure) => tell(speaker, failure),
        }
    }
    verdict
}

/// What a run works on.
struct Opened {
    job: JobDir,
    attempt: AttemptDir,
    claim: Arc<Claim>,
    /// At rank 0.
    events: Option<EventWriter>,
}

/// Finds the job and the attempt; rank 0 opens the events.
fn open(args: &RunArgs, around: &Surroundings<'_>, comm: &dyn Comm) -> Result<Opened, Failure> {
    let job = JobDir::open(&args.job)?;
    let attempt = match args.attempt {
        Some(number) => job.attempt(number),
        None => job.latest_attempt()?.unwrap_or_else(|| job.attempt(1)),
    };
    let claim = Arc::new(Claim::of_script(&attempt, around.variable)?);
    if claim.is_lost_now() {
        return Err(claim.failure());
    }
    let mut events = None;
    if comm.rank() == 0 {
        attempt.create()?;
        events = Some(attempt.event_writer(args.slice.map(Slice::number))?);
    }
    Ok(Opened { job, attempt, claim, events })
}

/// Runs `body`; a panic becomes an error.
fn caught<T>(body: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    std::panic::catch_unwind(AssertUnwindSafe(body))
        .unwrap_or_else(|payload| Err(Failure::of_panic(payload.as_ref())))
}

fn ended(failure: &Failure) -> EventKind {
    let state = if failure.is_requeue() { "requeue" } else { "failed" };
    EventKind::Ended { state: state.into(), message: failure.message.clone() }
}

/// Tells how the job ended, to the log and in the events.
fn tell(speaker: &Speaker, failure: &Failure) {
    speaker.record(ended(failure));
    speaker::to_log(&failure.text());
}

/// Tells how the job ended from a rank that has no speaker, shortly before it ends rank 0, which has.
#[derive(Debug, Clone, Default)]
struct LastWords {
    attempt: Option<AttemptDir>,
    slice: Option<Slice>,
    claim: Arc<Claim>,
}

impl LastWords {
    fn say(&self, failure: &Failure) {
        speaker::to_log(&failure.text());
        if self.claim.is_lost_now() {
            return;
        }
        let slice = self.slice.map(Slice::number);
        if let Some(mut writer) = self.attempt.as_ref().and_then(|attempt| attempt.event_writer(slice).ok()) {
            // the log has it if the file cannot
            let _ = writer.write(ended(failure));
        }
    }
}

/// A job that is ready to start.
struct Prepared<'a> {
    job: &'a JobDir,
    attempt: &'a AttemptDir,
    stage: &'static dyn Stage,
    params: Value,
    inputs: Vec<ResolvedInput>,
    job_type: &'static dyn JobType,
}

/// The threads of this rank, as many as were granted, in one pool for all of this process; and its memory, MiB.
fn start_threads(
    args: &RunArgs,
    around: &Surroundings<'_>,
    comm: &dyn Comm,
) -> Result<(Grant, Option<u64>), Failure> {
    let local_ranks = world::ranks_on_host(comm, process::host())
        .map_err(|error| Failure::new(exit::INTERNAL, format!("{error:#}")))?;
    let grant = Limits::of_this_process(args.threads, around.variable, local_ranks).grant();
    let started = rayon::ThreadPoolBuilder::new().num_threads(grant.threads).build_global();
    started.map_err(|error| {
        Failure::new(exit::INTERNAL, format!("cannot start {} threads: {error}", grant.threads))
    })?;
    let memory_mib =
        crate::probe::granted_mib(around.variable).map(|mib| mib as u64 / local_ranks.max(1) as u64);
    Ok((grant, memory_mib))
}

impl<'a> Prepared<'a> {
    /// Reads the job and checks everything that can be checked before the first item.
    fn new(job: &'a JobDir, attempt: &'a AttemptDir, args: &RunArgs) -> Result<Self, Failure> {
        let name = job.spec().job_type.clone();
        let unknown = || {
            Failure::new(
                exit::INPUT,
                format!("{}: unknown job type `{name}`", job.file("job.yaml").display()),
            )
            .hint("engine and command line may be of different versions: `vitreous doctor` compares them")
        };
        let job_type = vitreous_jobs::find(&name).ok_or_else(unknown)?;
        if let (Some(slice), false) = (args.slice, job_type.is_per_item()) {
            let what = format!("`--slice {slice}`: {name} has no items that could be done apart");
            return Err(Failure::new(exit::USAGE, what).hint("run it whole, without --slice"));
        }
        let microscope = Project::open(job.project_root())?.file().microscope;
        let given = vitreous_jobs::microscope::complete(job_type, &job.spec().params, &microscope.values());
        let params = job_type.check(&Value::Object(given))?;
        let inputs = job.resolve_inputs()?;
        check_slots(job_type, &inputs)?;
        let stage = vitreous_stages::find(&name).ok_or_else(unknown)?;
        Ok(Self { job, attempt, stage, params, inputs, job_type })
    }

    /// Does the job on this rank; rank 0 writes report and outputs, unless this is a slice only.
    fn perform(
        &self,
        args: &RunArgs,
        around: &Surroundings<'_>,
        stop: &StopFlag,
        comm: &dyn Comm,
        speaker: &Speaker,
        claim: &Claim,
    ) -> Result<(), Failure> {
        let (grant, memory_mib) = start_threads(args, around, comm)?;
        let wish = Wish {
            choice: args.device,
            job_type: self.job_type.name(),
            computes_on_gpu: self.job_type.computes_on_gpu(),
        };
        let chosen = device::choose(&wish, comm, process::host(), around.variable, &Driver::CUDA)?;
        if comm.rank() == 0 {
            self.announce(args, around, comm, &grant, &chosen, speaker)?;
        }
        let event = |kind| speaker.say(kind);
        let stop = || stop.is_set() || claim.is_lost();
        let superseded = || claim.is_lost_now();
        let draw = |path: &Path, figure: &Figure| {
            vitreous_report::picture::write(path, figure).map_err(std::io::Error::other)
        };
        let lineage = || vitreous_project::lineage::ancestors(self.job);
        let mut ctx = Ctx::new(self.job.path(), self.job.project_root(), &chosen.device, comm, &event, &stop);
        ctx.job = self.job.number().to_string();
        ctx.params = self.params.clone();
        ctx.threads = grant.threads;
        let told = Told::by(comm, around.variable);
        ctx.scratch_dir = told.scratch_dir();
        let (copies, own_copies) = node_copies::of_job(told, self.holder(comm));
        ctx.copies = copies;
        ctx.memory_mib = memory_mib;
        ctx.slice = args.slice;
        ctx.writer = self.writer(args.slice, claim);
        ctx.host = process::host().into();
        ctx.superseded = &superseded;
        ctx.draw = &draw;
        ctx.lineage = &lineage;
        for input in &self.inputs {
            ctx.inputs.entry(input.slot.clone()).or_default().push(stage_input(input));
        }
        let result = self.stage.run(&ctx);
        if let (Some(copies), false) = (own_copies, claim.is_lost_now()) {
            self.tell_of_copies(&copies, args.slice, comm);
        }
        let report = match (result, args.slice) {
            (Err(done @ StageError::SliceDone { .. }), Some(_)) => {
                speaker.say(EventKind::Message { text: done.to_string() });
                return Ok(());
            }
            (Ok(_), Some(slice)) => {
                let what = format!("{} did not stop after slice {slice}", self.stage.name());
                return Err(Failure::new(exit::INTERNAL, what));
            }
            (Err(StageError::Unmet { what, hint, report }), _) => {
                if comm.rank() == 0 {
                    self.write_report(&ctx, *report.clone())?;
                }
                return Err(StageError::Unmet { what, hint, report }.into());
            }
            (result, _) => result?,
        };
        if comm.rank() == 0 {
            self.finish(&ctx, report)?;
        }
        Ok(())
    }

    /// In whose name copies are held.
    fn holder(&self, comm: &dyn Comm) -> Holder {
        let (job, project) = (self.job.number().to_string(), self.job.project_root().into());
        Holder { job, project, rank: comm.rank(), ..Holder::default() }
    }

    /// Writes down what this rank had of its node's cache. The job stands without.
    fn tell_of_copies(&self, copies: &JobCopies, slice: Option<Slice>, comm: &dyn Comm) {
        let Some(used) = copies.used() else { return };
        if let Err(error) = self.attempt.write_node_cache(slice.map(Slice::number), comm.rank(), &used) {
            log::debug!("{error}");
        }
    }

    /// What tells this process from others that write, or have written, into the job's folder.
    fn writer(&self, slice: Option<Slice>, claim: &Claim) -> String {
        let mut writer = format!("a{:02}", self.attempt.number());
        if let Some(slice) = slice {
            writer += &format!("-s{}", slice.number());
        }
        if let Some(run) = claim.number() {
            writer += &format!("-r{run}");
        }
        writer
    }

    /// Writes `effective.json`, or the slice's own, and says that the job runs.
    fn announce(
        &self,
        args: &RunArgs,
        around: &Surroundings<'_>,
        comm: &dyn Comm,
        grant: &Grant,
        chosen: &Chosen,
        speaker: &Speaker,
    ) -> Result<(), Failure> {
        let (ranks, threads) = (comm.size() as u32, grant.threads as u32);
        let mut inputs = BTreeMap::new();
        for input in &self.inputs {
            inputs.entry(input.slot.clone()).or_insert_with(Vec::new).push(input.record());
        }
        let effective = Effective {
            schema: SCHEMA,
            job: self.job.number(),
            job_type: self.job.spec().job_type.clone(),
            uuid: self.job.spec().uuid,
            attempt: self.attempt.number(),
            params: self.params.clone(),
            inputs,
            versions: crate::version::versions(),
            host: process::host().into(),
            device: chosen.device.name(),
            devices: chosen.ranks.clone(),
            ranks,
            threads,
            command_line: around.command_line.clone(),
            started_unix_s: around.unix_s,
        };
        match args.slice {
            Some(slice) => self.attempt.write_slice_effective(slice.number(), &effective)?,
            None => self.job.write_effective(&effective)?,
        }
        speaker.say(EventKind::Started {
            host: process::host().into(),
            pid: std::process::id(),
            ranks,
            threads,
            device: chosen.device.name(),
        });
        for remark in &chosen.remarks {
            speaker.say(EventKind::Message { text: remark.clone() });
        }
        Ok(())
    }

    /// Writes the report and, last, `outputs.json`: from then on the job's results are whole.
    fn finish(&self, ctx: &Ctx<'_>, report: Report) -> Result<(), Failure> {
        self.write_report(ctx, report)?;
        ctx.check_superseded()?;
        self.job.write_outputs(ctx.declared_outputs())?;
        Ok(())
    }

    fn write_report(&self, ctx: &Ctx<'_>, mut report: Report) -> Result<(), Failure> {
        for skipped in ctx.skipped() {
            if !report.skipped.contains(&skipped) {
                report.skipped.push(skipped);
            }
        }
        ctx.check_superseded()?;
        vitreous_report::write(self.job.path(), &report)
            .map_err(|error| Failure::new(exit::JOB_FAILED, failure::chain(&error)))
    }
}

/// Refuses a job whose required inputs are not all there, or are of another kind.
fn check_slots(job_type: &dyn JobType, inputs: &[ResolvedInput]) -> Result<(), Failure> {
    for slot in job_type.inputs() {
        let filled: Vec<&ResolvedInput> = inputs.iter().filter(|input| input.slot == slot.name).collect();
        if filled.len() > 1 && !slot.several {
            let what = format!("input `{}` takes one job, and {} are given", slot.name, filled.len());
            return Err(Failure::new(exit::INPUT, what).hint("make the job anew with one of them"));
        }
        if slot.required && filled.is_empty() {
            return Err(Failure::new(
                exit::INPUT,
                format!("input `{}` ({}) is missing", slot.name, slot.help),
            )
            .hint(format!("name the job that makes it: --{} J1", slot.name)));
        }
        for input in filled {
            let (found, expected) = (input.output.kind, slot.kind);
            if found != expected {
                let what = format!("input `{}`: {} holds {}", slot.name, input.from, found.name());
                return Err(Failure::new(
                    exit::INPUT,
                    format!("{what}, and {} are expected", expected.name()),
                ));
            }
            check_exists(&input.path(), &input.from.to_string())?;
        }
    }
    Ok(())
}

fn check_exists(path: &Path, from: &str) -> Result<(), Failure> {
    if path.exists() {
        return Ok(());
    }
    Err(Failure::new(exit::INPUT, format!("{from}: {} is not there any more", path.display()))
        .hint("`vitreous retry` of the job that made it makes it again"))
}

fn stage_input(input: &ResolvedInput) -> Input {
    let parts =
        input.output.parts.keys().filter_map(|role| Some((role.clone(), input.part(role)?))).collect();
    Input { job: input.from.job.to_string(), output: input.output.clone(), path: input.path(), parts }
}
