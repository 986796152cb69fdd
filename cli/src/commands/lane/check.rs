//! `lane check`: from the lane's file to a job that ran.

use super::lint::lint;
use super::{Finding, answer_of, probe};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::lanes::{self, NamedLane};
use crate::make;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use uuid::Uuid;
use vitreous_model::exit;
use vitreous_project::{Project, ProjectError, atomic};
use vitreous_schedulers::{Cmd, Script, ScriptContext, Site, Worker, cryosparc, quote};

/// Arguments of `lane check`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Its name
    #[arg(value_name = "LANE")]
    name: String,
    /// Only look: run no job
    #[arg(long)]
    no_probe: bool,
    /// Seconds until the probe job must have ended; then it is cancelled
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    /// MPI ranks of the probe job [default: 2 if the engine has MPI, else 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    ranks: Option<u32>,
    /// GPUs of the probe job [default: 1 if the lane has a limit of GPUs above 0]
    #[arg(long, value_name = "N")]
    gpus: Option<u32>,
    /// A value for the lane's template, before the lane's own
    #[arg(long, value_name = "NAME=VALUE")]
    var: Vec<String>,
    /// Folder for the probe job's files, which the nodes see [default: the project's]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub fn run(context: &mut Context<'_>, project: Option<&Project>, args: &Arguments) -> Outcome<i32> {
    let lane = lanes::find(context, project, &args.name)?;
    let vars = make::variables(args.var.iter())?;
    let folder = Folder::make(context, project, &lane, args.dir.as_deref(), !args.no_probe)?;
    let mut findings = examine(context, &lane, &vars, &folder);
    let may_run = findings.iter().all(|finding| finding.ok);
    let engine = engine(context, &lane);
    let has_mpi = engine.as_ref().is_ok_and(|engine| engine.has_mpi);
    findings.push(engine_finding(&lane, engine.map(|engine| engine.words), args.no_probe));
    if args.no_probe {
        findings.push(Finding::warning("probe job", "left out: nothing is known of the nodes"));
    } else if may_run {
        let wish = probe::Wish {
            ranks: args.ranks.unwrap_or(if has_mpi { 2 } else { 1 }),
            gpus: args.gpus.unwrap_or(u32::from(lane.lane.limits.gpus.is_some_and(|gpus| gpus > 0))),
            vars,
            timeout: Duration::from_secs(args.timeout),
            project_dir: project.map(|project| project.root().to_path_buf()),
        };
        findings.extend(probe_all(context, &lane, &wish, &folder));
    }
    let all_ok = findings.iter().all(|finding| finding.ok);
    context.screen.result(&json!({"lane": args.name, "ok": all_ok, "findings": findings}), || {
        findings.iter().map(|finding| finding.line() + "\n").collect()
    })?;
    if all_ok { Ok(exit::OK) } else { Err(Failure::scheduler(format!("lane `{}` does not work", args.name))) }
}

/// Hosts that a lane names itself, or the one place its scheduler decides.
fn places(lane: &NamedLane) -> Vec<Option<Worker>> {
    match &lane.lane.workers[..] {
        [] => vec![None],
        workers => workers.iter().cloned().map(Some).collect(),
    }
}

fn probe_all(context: &Context<'_>, lane: &NamedLane, wish: &probe::Wish, folder: &Folder) -> Vec<Finding> {
    let mut findings = Vec::new();
    for worker in places(lane) {
        let below = worker.as_ref().map_or("probe".to_string(), |worker| {
            worker.host.replace(|c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c)), "_")
        });
        let found = probe::run(context, lane, worker.as_ref(), wish, &folder.path.join(below));
        findings.extend(found.into_iter().map(|finding| match &worker {
            Some(worker) => Finding { detail: format!("{}: {}", worker.host, finding.detail), ..finding },
            None => finding,
        }));
    }
    findings
}

/// Everything that runs no job.
fn examine(
    context: &Context<'_>,
    lane: &NamedLane,
    vars: &BTreeMap<String, Value>,
    folder: &Folder,
) -> Vec<Finding> {
    let file = lane.path.as_ref().map_or("built in".to_string(), |path| path.display().to_string());
    let mut findings = vec![Finding::new("file", Ok(format!("{file}, scheduler {}", lane.lane.scheduler)))];
    let (rendered, found) = lint(lane, vars);
    findings.extend(found);
    if let Some(rendered) = rendered {
        for text in std::iter::once(&rendered.script).chain(&rendered.body) {
            findings.extend(syntax(context, text).err().map(|error| Finding::new("shell", Err(error))));
        }
        for worker in places(lane) {
            let site = lane.site(worker.as_ref(), &context.environment);
            let found = try_script(context, lane, &site, &rendered.script, folder);
            findings.push(Finding::new("script", found));
        }
    }
    if let Some(templates) = &lane.lane.commands {
        let wrong = cryosparc::complaints(templates);
        findings.extend(wrong.into_iter().map(|wrong| Finding::new("commands", Err(wrong))));
        findings.extend(cryosparc::info_command(templates).map(|cmd| {
            let site = lane.site(None, &context.environment);
            let answer = answer_of(context, &site.command(cmd));
            match answer {
                Ok(said) => Finding::new("cluster", Ok(first_lines(&said))),
                Err(why) => Finding::warning("cluster", format!("`{}`: {why}", templates.info)),
            }
        }));
    }
    findings
}

/// Enough of a long answer to recognise it.
fn first_lines(text: &str) -> String {
    const LINES: usize = 3;
    let mut lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    if lines.len() > LINES {
        lines.truncate(LINES);
        lines.push("…");
    }
    lines.join("\n")
}

/// Whether the shell that a script names can read it.
fn syntax(context: &Context<'_>, text: &str) -> Result<(), String> {
    let is_bash = text.lines().next().is_some_and(|line| line.starts_with("#!") && line.contains("bash"));
    let shell = if is_bash { "bash" } else { "sh" };
    let cmd = Cmd { stdin: Some(text.into()), ..Cmd::new(shell, ["-n"]) };
    answer_of(context, &cmd).map(drop).map_err(|error| format!("`{shell} -n`: {error}"))
}

/// Has the scheduler look at the script without running it.
fn try_script(
    context: &Context<'_>,
    lane: &NamedLane,
    site: &Site,
    text: &str,
    folder: &Folder,
) -> Result<String, String> {
    let file = |name: &str| folder.path.join(name).to_string_lossy().into_owned();
    let example = ScriptContext::example(lane.context(&BTreeMap::new()));
    let script = Script {
        path: file("trial.sh"),
        folder: folder.path.to_string_lossy().into_owned(),
        name: "vitreous-lane-check".into(),
        tag: Uuid::new_v4(),
        stdout: file("stdout"),
        stderr: file("stderr"),
        resources: vitreous_model::resources::Resources {
            threads: example.threads,
            mem_mib: example.mem_mib,
            walltime_s: example.walltime_s,
            ..Default::default()
        },
        ..Script::default()
    };
    atomic::write(Path::new(&script.path), text.as_bytes()).map_err(|error| error.to_string())?;
    let Some(cmd) = lane.scheduler().test_only(site, &script) else {
        return Ok("the scheduler offers no trial".into());
    };
    let words = cmd.words();
    let tried = quote::command_line(words.iter().take(2).map(String::as_str));
    let answer = context.shell.run(&site.command(cmd)).map_err(|error| crate::failure::chain(&error))?;
    let verdict = lane.scheduler().parse_test_only(&answer).map_err(|error| error.to_string())?;
    Ok(format!(
        "accepted by `{tried} …`{}",
        if verdict.is_empty() { String::new() } else { format!(": {verdict}") }
    ))
}

/// The engine of a lane as it answers on this host.
struct Engine {
    words: String,
    has_mpi: bool,
}

fn engine(context: &Context<'_>, lane: &NamedLane) -> Result<Engine, String> {
    let engine = lane.engine(&context.program);
    let text = format!("{}\nexec {} version --json", lane.lane.setup, quote::sh(&engine));
    let said =
        answer_of(context, &Cmd::new("sh", ["-c", &text])).map_err(|error| format!("{engine}: {error}"))?;
    let answer: Value = serde_json::from_str(said.trim()).unwrap_or_default();
    let version = answer["version"]
        .as_str()
        .ok_or_else(|| format!("{engine} answered `{}`, expected its version as JSON", said.trim()))?;
    let ours = env!("CARGO_PKG_VERSION");
    if version != ours {
        return Err(format!(
            "{engine} is version {version}, this vitreous is {ours}: install both from one build"
        ));
    }
    let features = answer["features"].as_array().into_iter().flatten();
    let has_mpi = features.into_iter().any(|feature| feature == "mpi");
    Ok(Engine { words: format!("{engine} {version}"), has_mpi })
}

/// The version that the lane's engine says, after the lane's set-up lines.
pub fn engine_version(context: &Context<'_>, lane: &NamedLane) -> Result<String, String> {
    engine(context, lane).map(|engine| engine.words)
}

/// The engine need not run on this host where another one does the work: the probe job tells.
fn engine_finding(lane: &NamedLane, found: Result<String, String>, no_probe: bool) -> Finding {
    let is_elsewhere = lane.lane.is_cluster() || !lane.lane.workers.is_empty();
    match found {
        Err(why) if is_elsewhere && !no_probe => Finding::warning("engine here", why),
        found => Finding::new("engine here", found),
    }
}

/// A folder for the files of a check, removed at its end whatever happens.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn make(
        context: &Context<'_>,
        project: Option<&Project>,
        lane: &NamedLane,
        given: Option<&Path>,
        probes: bool,
    ) -> Outcome<Self> {
        let name = format!("lane-check-{}", Uuid::new_v4());
        let path = match (given, project) {
            (Some(dir), _) => context.cwd.join(dir).join(format!(".vitreous-{name}")),
            (None, Some(project)) => project.cache_file(&name),
            (None, None) if lane.lane.scheduler == "local" || !probes => {
                std::env::temp_dir().join(format!("vitreous-{name}"))
            }
            (None, None) => {
                return Err(Failure::usage(
                    "the probe job needs a folder that the nodes see, and this folder lies in no project",
                )
                .hint("`--project DIR` or `--dir DIR` names one; `--no-probe` does without"));
            }
        };
        std::fs::create_dir_all(&path).map_err(ProjectError::io("create", &path))?;
        let path = path.canonicalize().map_err(ProjectError::io("find", &path))?;
        Ok(Self { path })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // a file server may still hold a file that a job has just let go of
        if std::fs::remove_dir_all(&self.path).is_err()
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            crate::context::remark(format!("note: {} is left over: {error}", self.path.display()));
        }
    }
}
