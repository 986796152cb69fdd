//! `vitreous run TYPE`: makes a job and launches it. The flags of each type come from its parameters.

use crate::context::{Context, remark};
use crate::failure::{Failure, Outcome};
use crate::place::{Place, Room};
use crate::{follow, lanes, make, pass, plan, reasons, tell, usage};
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;
use vitreous_jobs::{CATALOG, JobType};
use vitreous_model::{SCHEMA, exit};
use vitreous_project::job::ResourceOverrides;
use vitreous_project::{JobNumber, JobSpec, NewJob, Project, State, clock};
use vitreous_schedulers::quote;

/// How long a launch waits for another pass to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// The subcommands, one for each job type.
pub fn command() -> Command {
    let mut command = Command::new("run")
        .about("Make a job and launch it")
        .after_help("Examples:\n  vitreous run correct-motion --movies J1 --bfactor 150 --wait\n  vitreous run estimate-ctf --micrographs J2 --after --dry-run")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand_value_name("TYPE")
        .subcommand_help_heading("Job types");
    for job_type in CATALOG {
        let example = example(*job_type);
        let below = vitreous_jobs::command::command(*job_type).args(launch_flags());
        command = command.subcommand(below.after_help(format!("Example:\n  {example}")));
    }
    command
}

fn launch_flags() -> Vec<Arg> {
    let flag = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(format!("launch:{name}")).long(name).value_name(value).help_heading("Launch").help(help)
    };
    let switch = |name: &'static str, help: &'static str| {
        Arg::new(format!("launch:{name}"))
            .long(name)
            .action(ArgAction::SetTrue)
            .help_heading("Launch")
            .help(help)
    };
    let number = |arg: Arg| arg.value_parser(clap::value_parser!(u32).range(1..));
    vec![
        flag("lane", "LANE", "Where it runs [default: the project's]"),
        flag("from", "JOB", "Fill inputs that are not named from this job").action(ArgAction::Append),
        flag("title", "TEXT", "A word for people"),
        number(flag("threads", "N", "Threads of each rank [default: the job's formula]")),
        number(flag("ranks", "N", "MPI ranks [default: the job's formula]")),
        number(flag("nodes", "N", "Hosts that the ranks are spread over [default: 1]")),
        flag("gpus", "N", "GPUs [default: the job's formula]").value_parser(clap::value_parser!(u32)),
        number(flag("mem-gib", "GiB", "Memory [default: the job's formula]")),
        flag("walltime", "TIME", "Time limit: seconds, 12:00:00 or 2-00:00:00 [default: the job's formula]"),
        flag("retry", "N", "Run again so often when it fails for want of luck, memory or time")
            .value_parser(clap::value_parser!(u32)),
        flag("var", "NAME=VALUE", "A value for the lane's template, before the lane's own")
            .action(ArgAction::Append),
        switch("after", "Queue it behind inputs that are not done yet"),
        switch("hold", "Only make it; `vitreous retry` launches it"),
        switch("wait", "Stay until it has ended"),
        switch("dry-run", "Only show its script and the command that would submit it"),
    ]
}

fn example(job_type: &dyn JobType) -> String {
    let mut text = format!("vitreous run {}", job_type.name());
    let first_of_several = job_type.inputs().iter().find(|slot| slot.one_of);
    for slot in job_type.inputs().iter().filter(|slot| slot.required).chain(first_of_several) {
        let jobs: &[&str] = if slot.several { &["J1", "J2"] } else { &["J1"] };
        jobs.iter().for_each(|job| text += &format!(" --{} {job}", slot.name.replace('_', "-")));
    }
    for (key, value) in job_type.example().as_object().into_iter().flatten() {
        let value = value.as_str().map_or_else(|| value.to_string(), quote::sh);
        text += &format!(" --{} {value}", key.replace('_', "-"));
    }
    text
}

pub fn run(context: &mut Context<'_>, matches: &ArgMatches) -> Outcome<i32> {
    let Some((name, below)) = matches.subcommand() else { return Ok(exit::USAGE) };
    let project = context.open_project()?;
    let job_type = plan::find_type(name)?;
    let given = |flag: &str| below.get_flag(&format!("launch:{flag}"));
    let new = make::job(context, &project, wish(job_type, below)?, &context.cwd)?;
    if given("dry-run") {
        return dry_run(context, &project, new);
    }
    if !given("after") && !given("hold") {
        check_parents(context, &project, &new)?;
    }
    let request = (!given("hold")).then(|| make::request(context, ""));
    let job = project.create_job(new, request.as_ref())?;
    let number = job.number();
    if given("hold") {
        return end(context, &project, number, false);
    }
    if !given("wait") {
        let (_, done) = pass::pass(context, &project, PATIENCE)?;
        if let Some(busy) = done.busy {
            remark(format!(
                "{number} is made and will be launched by the pass that runs now or the next one ({busy})"
            ));
        }
        if let Some((_, failure)) = done.failed.into_iter().find(|(failed, _)| *failed == number) {
            return Err(failure.context(format!("{number} is made but was not launched")));
        }
    }
    end(context, &project, number, given("wait"))
}

/// What was asked for on the command line.
fn wish(job_type: &dyn JobType, matches: &ArgMatches) -> Outcome<make::Wish> {
    let text = |flag: &str| matches.get_one::<String>(&format!("launch:{flag}")).cloned();
    let number = |flag: &str| matches.get_one::<u32>(&format!("launch:{flag}")).copied();
    let walltime_s = text("walltime")
        .map(|text| {
            vitreous_schedulers::lane::parse_walltime(&text).ok_or_else(|| {
                Failure::usage(format!("--walltime: `{text}` is no time"))
                    .hint("write seconds, `12:00:00` or `2-00:00:00`")
            })
        })
        .transpose()?;
    let params = match vitreous_jobs::command::params(job_type, matches)? {
        Value::Object(params) => params,
        _ => Default::default(),
    };
    let inputs = vitreous_jobs::command::inputs(job_type, matches);
    let vars = matches.get_many::<String>("launch:var").into_iter().flatten();
    let vars = make::variables(vars)?;
    Ok(make::Wish {
        job_type: job_type.name().into(),
        title: text("title").unwrap_or_default(),
        inputs: inputs.into_iter().map(|(slot, refs)| (slot.to_string(), refs)).collect::<BTreeMap<_, _>>(),
        from: matches.get_many::<String>("launch:from").map(|all| all.cloned().collect()).unwrap_or_default(),
        params,
        lane: text("lane"),
        vars,
        resources: ResourceOverrides {
            ranks: number("ranks"),
            nodes: number("nodes"),
            threads: number("threads"),
            gpus: number("gpus"),
            mem_mib: number("mem-gib").map(|gib| u64::from(gib) * 1024),
            walltime_s,
        },
        retry: number("retry"),
    })
}

/// Inputs must be done, unless the job is to queue behind them.
fn check_parents(context: &Context<'_>, project: &Project, new: &NewJob) -> Outcome {
    let board = crate::board::Board::look(project, context.shell)?;
    for from in new.inputs.values().flatten() {
        let Some(parent) = board.get(from.job) else { continue };
        if parent.status.state == State::Done {
            continue;
        }
        let failure = Failure::input(format!("input {from}: {} is {}", from.job, tell::state(parent)));
        return Err(if parent.settled {
            failure.hint(format!("`vitreous why {}` says more; `vitreous retry {0}` runs it again", from.job))
        } else {
            failure.hint("`--after` queues this job behind it")
        });
    }
    Ok(())
}

/// Shows what would be done, and does nothing.
fn dry_run(context: &mut Context<'_>, project: &Project, new: NewJob) -> Outcome<i32> {
    let next = project.job_folders()?.last().map_or(1, |(number, _)| number.0 + 1);
    let lane = lanes::find(context, Some(project), &new.lane)?;
    let spec = JobSpec {
        schema: SCHEMA,
        job: JobNumber(next),
        job_type: new.job_type,
        uuid: Uuid::nil(),
        title: new.title,
        created_unix_s: clock::unix_s(),
        inputs: new.inputs,
        params: new.params,
        lane: new.lane,
        resources: new.resources,
        vars: new.vars,
        retry: new.retry,
        fingerprint: new.fingerprint,
    };
    let folder = plan::future_folder(project, &spec);
    let request = make::request(context, "");
    let attempt = plan::Attempt::first(&spec, &folder, &request);
    let needs = plan::needs(project, &lane, &attempt, &usage::History::new(project))?;
    let place = Room::default().find(&lane, &needs.resources).unwrap_or_else(Place::anywhere);
    let plan = plan::prepare(context, project, &lane, &attempt, &needs, &place)?;
    if let Some(warning) = &plan.warning {
        remark(format!("warning: {warning}"));
    }
    let reasons = reasons::reasons(&needs.estimate, &attempt, &lane.name, &plan.resources);
    let words = plan.submit.words();
    let command = quote::command_line(words.iter().map(String::as_str));
    let result = json!({
        "dry_run": true, "job": spec.job, "type": spec.job_type, "inputs": spec.inputs, "params": spec.params,
        "lane": spec.lane, "resources": plan.resources, "reasons": reasons, "script": plan.script,
        "body": plan.body, "command": words,
    });
    context.screen.result(&result, || {
        let mut text = format!("# {} {} in lane {} asks for\n", spec.job, spec.job_type, spec.lane);
        for reason in &reasons {
            text += &format!("#   {:<9} {:<10} {}\n", reason.resource, reason.value, reason.why);
        }
        if let Some(elements) = &needs.elements {
            text += &format!("# each of {} tasks of an array\n", elements.numbers.len());
        }
        text += &plan.script;
        if let Some(body) = &plan.body {
            text += &format!("\n# run.sh beside it, which it runs:\n{body}");
        }
        text + &format!("\n# submitted by: {command}")
    })?;
    Ok(exit::OK)
}

/// Shows where the job stands, at once or when it has ended.
pub fn end(context: &mut Context<'_>, project: &Project, number: JobNumber, wait: bool) -> Outcome<i32> {
    let board = if wait {
        follow::until_settled(context, project, &[number])?
    } else {
        crate::board::Board::look(project, context.shell)?
    };
    let Some(job) = board.get(number) else { return Ok(exit::INTERNAL) };
    context.screen.result(&tell::JobLine::new(job), || tell::one_line(job))?;
    if !wait {
        return Ok(exit::OK);
    }
    if job.status.state != State::Done {
        remark(format!("hint: `vitreous why {number}` says more, `vitreous logs {number}` shows its output"));
    }
    Ok(follow::verdict(&board, &[number]))
}
