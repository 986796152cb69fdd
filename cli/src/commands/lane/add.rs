//! `lane add`: a lane from what a scheduler says of itself.

use super::destination::{Destination, Owner, shown};
use super::{said, written};
use crate::context::{Context, remark};
use crate::failure::{Failure, Outcome, chain};
use serde_json::json;
use vitreous_model::exit;
use vitreous_project::Project;
use vitreous_schedulers::{Lane, QueueInfo, Scheduler, Site, Worker};

/// Schedulers that lanes are made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum From {
    Local,
    Slurm,
    Sge,
    Pbs,
    Ssh,
}

impl From {
    fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Slurm => "slurm",
            Self::Sge => "sge",
            Self::Pbs => "pbs",
            Self::Ssh => "ssh",
        }
    }
}

/// Arguments of `lane add`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,
    /// What runs its jobs
    #[arg(long, value_enum, value_name = "SCHEDULER")]
    from: From,
    /// Queue or partition [default: the scheduler's default one]
    #[arg(long, value_name = "QUEUE")]
    queue: Option<String>,
    /// Account or project that is charged
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<String>,
    /// A machine of an ssh lane: HOST[,threads=N][,gpus=N][,mem=GiB][,scratch=DIR]; what is not said is asked there
    #[arg(long, value_name = "HOST,…")]
    worker: Vec<String>,
    /// Host where the scheduler's commands are run through ssh
    #[arg(long, value_name = "HOST")]
    submit_host: Option<String>,
    /// An option for ssh; may be given several times
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    ssh_option: Vec<String>,
    /// Folder of the scheduler's commands, if they are not in PATH
    #[arg(long, value_name = "DIR")]
    command_dir: Option<String>,
    /// Cluster (Slurm) or server (PBS), if it is not the default one
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// `torque` for a pbs lane
    #[arg(long, value_name = "DIALECT")]
    dialect: Option<String>,
    /// Whose lane it is [default: the project's, else the user's]
    #[arg(long = "in", value_enum, value_name = "WHERE")]
    owner: Option<Owner>,
    /// Replace a lane of that name
    #[arg(long)]
    force: bool,
    /// Only show the lane
    #[arg(long)]
    dry_run: bool,
}

pub fn run(context: &mut Context<'_>, project: Option<&Project>, args: &Arguments) -> Outcome<i32> {
    let name = args.from.name();
    let scheduler = vitreous_schedulers::find(name)
        .ok_or_else(|| Failure::usage(format!("this vitreous has no scheduler `{name}`")))?;
    let destination = Destination::new(context, project, &args.name, args.owner, args.force || args.dry_run)?;
    let lane = asked_for(args);
    let text = match args.from {
        From::Ssh => written::ssh(&args.name, &lane, &workers(context, scheduler, args)?),
        _ if !args.worker.is_empty() => {
            return Err(Failure::usage(format!("--worker is for ssh lanes, and this one is from {name}")));
        }
        From::Local => written::local(&args.name, &lane, &discover(context, scheduler, &lane.site(None))?),
        _ => {
            let queues = discover(context, scheduler, &lane.site(None))?;
            let queue = choose(&queues, args.queue.as_deref())?;
            written::cluster(&args.name, &lane, queue, &queues)
        }
    };
    Lane::parse(&args.name, &text)?;
    if !args.dry_run {
        destination.write(&text, &[])?;
    }
    let result =
        json!({"lane": args.name, "file": destination.file(), "written": !args.dry_run, "text": text});
    let file = shown(context, &destination.file());
    context.screen.result(&result, || {
        if args.dry_run {
            text.clone()
        } else {
            format!("{file} is written; next: look at it, then `vitreous lane check {}`", args.name)
        }
    })?;
    Ok(exit::OK)
}

/// What the command line itself says of the lane.
fn asked_for(args: &Arguments) -> Lane {
    let word = |given: &Option<String>| given.clone().unwrap_or_default();
    Lane {
        scheduler: args.from.name().into(),
        queue: word(&args.queue),
        account: word(&args.account),
        command_dir: word(&args.command_dir),
        cluster: word(&args.cluster),
        dialect: word(&args.dialect),
        submit_host: word(&args.submit_host),
        ssh_options: args.ssh_option.clone(),
        ..Lane::default()
    }
}

/// Asks a scheduler what it has.
fn discover(context: &Context<'_>, scheduler: &dyn Scheduler, site: &Site) -> Outcome<Vec<QueueInfo>> {
    let site = site.clone().with_environment(scheduler, &context.environment);
    let name = site.label();
    let cmd = scheduler
        .discover(&site)
        .ok_or_else(|| Failure::usage(format!("{name} cannot be asked for its queues")))?;
    let program = cmd.program.clone();
    let failed = |why: String| {
        Failure::scheduler(format!("{name} does not say what it has: {why}")).hint(match scheduler.places_jobs() {
            true => "try `ssh HOST true` by hand: it must enter without a question".to_string(),
            false => format!(
                "if `{program}` is not in PATH here, `--command-dir` names its folder and `--submit-host` a host that has it"
            ),
        })
    };
    let answer = context.shell.run(&site.command(cmd)).map_err(|error| failed(chain(&error)))?;
    let found = scheduler.parse_discover(&answer).map_err(|error| failed(error.to_string()))?;
    if found.is_empty() {
        return Err(failed(said(&answer)));
    }
    Ok(found)
}

/// The queue asked for; else the default one; else the only one; else of those that take jobs the one with the most
/// hosts.
fn choose<'a>(queues: &'a [QueueInfo], wanted: Option<&str>) -> Outcome<&'a QueueInfo> {
    let names = || queues.iter().map(|queue| queue.name.as_str()).collect::<Vec<_>>().join(", ");
    if let Some(wanted) = wanted {
        return queues.iter().find(|queue| queue.name == wanted).ok_or_else(|| {
            Failure::usage(format!("no queue `{wanted}`")).hint(format!("there are: {}", names()))
        });
    }
    let open = || queues.iter().filter(|queue| queue.is_open);
    let chosen = open().find(|queue| queue.is_default);
    let chosen = chosen.or_else(|| open().max_by_key(|queue| (queue.nodes, std::cmp::Reverse(&queue.name))));
    let chosen = chosen.ok_or_else(|| {
        Failure::scheduler("no queue takes jobs now")
            .hint(format!("`--queue` chooses one of them all the same: {}", names()))
    })?;
    if !chosen.is_default && queues.len() > 1 {
        remark(format!("note: no queue is the default one; `{}` is taken of {}", chosen.name, names()));
    }
    Ok(chosen)
}

/// The machines of an ssh lane: as the command line says, and what it does not say as they say themselves.
fn workers(context: &Context<'_>, scheduler: &dyn Scheduler, args: &Arguments) -> Outcome<Vec<Worker>> {
    if args.worker.is_empty() {
        return Err(Failure::usage("an ssh lane needs machines").hint(
            "`--worker HOST`, or `--worker HOST,threads=16,gpus=2,scratch=/ssd`; several times for several",
        ));
    }
    args.worker.iter().map(|spec| worker(context, scheduler, args, spec)).collect()
}

fn worker(context: &Context<'_>, scheduler: &dyn Scheduler, args: &Arguments, spec: &str) -> Outcome<Worker> {
    let mut parts = spec.split(',');
    let host = parts.next().unwrap_or("").trim().to_string();
    let bad = |part: &str| {
        Failure::usage(format!("--worker {spec}: `{part}` is nothing that a worker has"))
            .hint("write HOST[,threads=N][,gpus=N][,mem=GiB][,scratch=DIR]")
    };
    if host.is_empty() || host.starts_with('-') || host.contains(char::is_whitespace) {
        return Err(bad(&host));
    }
    let (mut threads, mut gpus, mut mem_gib, mut scratch) = (None, None, None, String::new());
    for part in parts {
        let (key, value) = part.split_once('=').ok_or_else(|| bad(part))?;
        match key.trim() {
            "threads" => {
                threads = Some(value.parse::<u32>().ok().filter(|n| *n > 0).ok_or_else(|| bad(part))?)
            }
            "gpus" => gpus = Some(value.parse::<u32>().map_err(|_| bad(part))?),
            "mem" => {
                mem_gib = Some(value.parse::<f64>().ok().filter(|gib| *gib > 0.0).ok_or_else(|| bad(part))?)
            }
            "scratch" => scratch = value.into(),
            _ => return Err(bad(part)),
        }
    }
    if let (Some(threads), Some(gpus), Some(_)) = (threads, gpus, mem_gib) {
        return Ok(Worker { host, threads, mem_gib, gpus, scratch });
    }
    let site = Site {
        scheduler: "ssh".into(),
        host: host.clone(),
        ssh_options: args.ssh_option.clone(),
        ..Site::default()
    };
    let found = discover(context, scheduler, &site)?.into_iter().next().unwrap_or_default();
    let threads = threads.or(found.cores).ok_or_else(|| {
        Failure::scheduler(format!("{host} does not say how many cores it has"))
            .hint("`--worker HOST,threads=N` does")
    })?;
    Ok(Worker {
        host,
        threads,
        // whole GiB, rounded down: the host itself needs some
        mem_gib: mem_gib.or(found.mem_mib.map(|mib| (mib / 1024) as f64).filter(|gib| *gib > 0.0)),
        gpus: gpus.or(found.gpus).unwrap_or(0),
        scratch,
    })
}
