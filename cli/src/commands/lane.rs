//! `vitreous lane`: which lanes there are, and whether they work.

use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::lanes::{self, NamedLane};
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;
use vitreous_model::exit;
use vitreous_project::Project;
use vitreous_schedulers::{Cmd, Script, ScriptContext, quote};

pub const ABOUT: &str = "List lanes, or check that one works";
pub const EXAMPLES: &str = "  vitreous lane list\n  vitreous lane check local";

/// Arguments of `lane`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: LaneCommand,
}

#[derive(Debug, clap::Subcommand)]
enum LaneCommand {
    /// All lanes of the project, the user and the site
    List,
    /// Checks a lane: its file, its template, its scheduler, its engine
    Check {
        /// Its name
        #[arg(value_name = "LANE")]
        name: String,
    },
}

pub fn run(context: &mut Context<'_>, args: &Arguments) -> Outcome<i32> {
    // lanes of user and site can be looked at outside of any project
    let project = context.open_project().ok();
    match &args.command {
        LaneCommand::List => list(context, project.as_ref()),
        LaneCommand::Check { name } => check(context, project.as_ref(), name),
    }
}

fn list(context: &mut Context<'_>, project: Option<&Project>) -> Outcome<i32> {
    let lanes: Vec<_> = lanes::list(context, project)
        .into_iter()
        .map(|(name, path)| {
            let read = lanes::find(context, project, &name);
            let scheduler = read.as_ref().map(|lane| lane.lane.scheduler.clone()).ok();
            let error = read.err().map(|failure| format!("{:#}", failure.error));
            json!({"lane": name, "file": path, "scheduler": scheduler, "error": error})
        })
        .collect();
    context.screen.result(&json!({"lanes": lanes}), || {
        let mut text = String::new();
        for lane in &lanes {
            let word = |key: &str, absent: &str| lane[key].as_str().unwrap_or(absent).to_string();
            let what = lane["error"]
                .as_str()
                .map_or_else(|| word("scheduler", ""), |error| format!("broken: {error}"));
            text += &format!("{:<16} {:<8} {}\n", word("lane", ""), what, word("file", "built in"));
        }
        text
    })?;
    Ok(exit::OK)
}

/// One thing that was looked at.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// What.
    pub what: String,
    /// It is as it should be.
    pub ok: bool,
    /// Details, or what is wrong.
    pub detail: String,
}

impl Finding {
    /// Something looked at.
    pub fn new(what: &str, result: Result<String, String>) -> Self {
        let ok = result.is_ok();
        Self { what: what.into(), ok, detail: result.unwrap_or_else(|error| error) }
    }

    /// A line for people.
    pub fn line(&self) -> String {
        let detail: Vec<&str> = self.detail.lines().collect();
        format!(
            "{:<6} {:<12} {}",
            if self.ok { "ok" } else { "FAILED" },
            self.what,
            detail.join("\n                    ")
        )
    }
}

fn check(context: &mut Context<'_>, project: Option<&Project>, name: &str) -> Outcome<i32> {
    let lane = lanes::find(context, project, name)?;
    let findings = examine(context, &lane);
    let all_ok = findings.iter().all(|finding| finding.ok);
    context.screen.result(&json!({"lane": name, "ok": all_ok, "findings": findings}), || {
        findings.iter().map(|finding| finding.line() + "\n").collect()
    })?;
    if all_ok { Ok(exit::OK) } else { Err(Failure::scheduler(format!("lane `{name}` does not work"))) }
}

/// Renders the lane's template, has its scheduler try the script, and asks its engine for its version.
pub fn examine(context: &Context<'_>, lane: &NamedLane) -> Vec<Finding> {
    let file = lane.path.as_ref().map_or("built in".to_string(), |path| path.display().to_string());
    let mut findings = vec![Finding::new("file", Ok(format!("{file}, scheduler {}", lane.lane.scheduler)))];
    let rendered = lane.render(&ScriptContext::example(lane.context(&Default::default())));
    let template = rendered.as_ref().map(|_| lane.template_name.clone()).map_err(ToString::to_string);
    findings.push(Finding::new("template", template));
    if let Ok(rendered) = rendered {
        findings.push(Finding::new("script", try_script(context, lane, &rendered.script)));
    }
    findings.push(Finding::new("engine", engine_version(context, lane)));
    findings
}

/// Has the scheduler look at the script without running it.
fn try_script(context: &Context<'_>, lane: &NamedLane, text: &str) -> Result<String, String> {
    let folder = std::env::temp_dir().join(format!("vitreous-lane-check-{}", Uuid::new_v4()));
    std::fs::create_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let file = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let script = Script {
        path: file("submit.sh"),
        folder: folder.to_string_lossy().into_owned(),
        name: "vitreous-lane-check".into(),
        tag: Uuid::new_v4(),
        stdout: file("stdout"),
        stderr: file("stderr"),
        ..Script::default()
    };
    let site = lane.site(None, &context.environment);
    let written = vitreous_project::atomic::write(folder.join("submit.sh").as_path(), text.as_bytes());
    let result = match (written, lane.scheduler().test_only(&site, &script)) {
        (Err(error), _) => Err(error.to_string()),
        (Ok(()), None) => Ok("the scheduler offers no trial".into()),
        (Ok(()), Some(cmd)) => answer_of(context, &site.command(cmd.clone())).map(|_| {
            let words = cmd.words();
            format!("accepted by `{} …`", quote::command_line(words.iter().take(2).map(String::as_str)))
        }),
    };
    if let Err(error) = std::fs::remove_dir_all(&folder) {
        log::debug!("{}: {error}", folder.display());
    }
    result
}

/// The version that the lane's engine says, after the lane's set-up lines.
pub fn engine_version(context: &Context<'_>, lane: &NamedLane) -> Result<String, String> {
    let engine = lane.engine(&context.program);
    let text = format!("{}\nexec {} version --json", lane.lane.setup, quote::sh(&engine));
    let said =
        answer_of(context, &Cmd::new("sh", ["-c", &text])).map_err(|error| format!("{engine}: {error}"))?;
    let version = serde_json::from_str::<serde_json::Value>(said.trim())
        .ok()
        .and_then(|value| value["version"].as_str().map(String::from))
        .ok_or_else(|| format!("{engine} answered `{}`, expected its version as JSON", said.trim()))?;
    let ours = env!("CARGO_PKG_VERSION");
    if version == ours {
        return Ok(format!("{engine} {version}"));
    }
    Err(format!("{engine} is version {version}, this vitreous is {ours}: install both from one build"))
}

fn answer_of(context: &Context<'_>, cmd: &Cmd) -> Result<String, String> {
    let answer = context.shell.run(cmd).map_err(|error| error.to_string())?;
    if answer.code == 0 {
        return Ok(answer.stdout);
    }
    Err(format!("exit code {}: {}", answer.code, answer.stderr.trim()))
}
