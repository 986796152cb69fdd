//! `vitreous lane`: which lanes there are, whether they work, and how to make one.

mod add;
mod check;
mod destination;
mod found;
mod import_cryosparc;
mod lint;
mod list;
mod probe;
mod written;

pub use check::engine_version;

use crate::context::Context;
use crate::failure::Outcome;
use serde::Serialize;
use vitreous_schedulers::{Answer, Cmd};

pub const ABOUT: &str = "List lanes, check that one works, or make one";
pub const EXAMPLES: &str = "  vitreous lane list\n  vitreous lane add gpu --from slurm --queue gpu\n  vitreous lane add farm --from ssh --worker em1 --worker em@em2,gpus=2\n  vitreous lane import-cryosparc ~/cryosparc/lanes/gpu --name gpu\n  vitreous lane check gpu";

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
    /// Checks a lane: its file, template, scheduler and engine, and with a job of a minute what jobs find there
    Check(check::Arguments),
    /// Writes a commented lane from what a scheduler says of itself
    Add(add::Arguments),
    /// Makes a lane of CryoSPARC's cluster_info.json and cluster_script.sh, which stay as they are
    ImportCryosparc(import_cryosparc::Arguments),
}

pub fn run(context: &mut Context<'_>, args: &Arguments) -> Outcome<i32> {
    // lanes of user and site can be looked at outside of any project
    let project = context.open_project().ok();
    match &args.command {
        LaneCommand::List => list::run(context, project.as_ref()),
        LaneCommand::Check(args) => check::run(context, project.as_ref(), args),
        LaneCommand::Add(args) => add::run(context, project.as_ref(), args),
        LaneCommand::ImportCryosparc(args) => import_cryosparc::run(context, project.as_ref(), args),
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What.
    pub what: String,
    /// It works.
    pub ok: bool,
    /// It works, but a person should look at it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub warning: bool,
    /// Details, or what is wrong.
    pub detail: String,
}

impl Finding {
    /// Something looked at.
    pub fn new(what: &str, result: Result<String, String>) -> Self {
        let ok = result.is_ok();
        Self { what: what.into(), ok, warning: false, detail: result.unwrap_or_else(|error| error) }
    }

    /// Something that works but deserves a look.
    pub fn warning(what: &str, detail: impl Into<String>) -> Self {
        Self { what: what.into(), ok: true, warning: true, detail: detail.into() }
    }

    /// A line for people.
    pub fn line(&self) -> String {
        let word = match (self.ok, self.warning) {
            (true, false) => "ok",
            (true, true) => "note",
            (false, _) => "FAILED",
        };
        let detail: Vec<&str> = self.detail.lines().collect();
        format!("{word:<6} {:<12} {}", self.what, detail.join("\n                    "))
    }
}

/// What a command that must end well printed; in words if it did not.
fn answer_of(context: &Context<'_>, cmd: &Cmd) -> Result<String, String> {
    let answer = context.shell.run(cmd).map_err(|error| crate::failure::chain(&error))?;
    if answer.code == 0 {
        return Ok(answer.stdout);
    }
    Err(said(&answer))
}

/// Exit code and everything that was printed.
fn said(answer: &Answer) -> String {
    let both = [answer.stderr.trim(), answer.stdout.trim()].into_iter().filter(|text| !text.is_empty());
    format!("exit code {}: {}", answer.code, both.collect::<Vec<_>>().join("\n"))
}
