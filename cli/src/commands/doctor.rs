//! `vitreous doctor`: checks the installation and, in a project, the project.

use super::lane::{Finding, engine_version};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::lanes;
use serde_json::json;
use std::path::Path;
use vitreous_model::exit;
use vitreous_project::{Project, ProjectError, atomic, process};
use vitreous_schedulers::Cmd;

pub const ABOUT: &str = "Check the installation, and the project if there is one";
pub const EXAMPLES: &str = "  vitreous doctor";

/// Less free space than this is worth a word, GiB: a day's movies do not fit.
const LITTLE_SPACE_GIB: f64 = 10.0;

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
pub struct Arguments {}

pub fn run(context: &mut Context<'_>, _: &Arguments) -> Outcome<i32> {
    let program = format!("{} {}", context.program.display(), env!("CARGO_PKG_VERSION"));
    let mut findings = vec![Finding::new("vitreous", Ok(program)), processes(context)];
    let project = match context.open_project() {
        Ok(project) => Some(project),
        Err(failure)
            if failure.error.downcast_ref().is_some_and(|e| matches!(e, ProjectError::NoProject { .. })) =>
        {
            None
        }
        Err(failure) => {
            findings.push(Finding::new("project", Err(format!("{:#}", failure.error))));
            None
        }
    };
    for (name, _) in lanes::list(context, project.as_ref()) {
        let what = format!("lane {name}");
        let result =
            lanes::find(context, project.as_ref(), &name).map_err(|failure| format!("{:#}", failure.error));
        findings.push(Finding::new(&what, result.and_then(|lane| engine_version(context, &lane))));
    }
    if let Some(project) = &project {
        findings.push(Finding::new("project", writable(project)));
        findings.push(Finding::new("free space", free_space(project.root())));
    }
    let all_ok = findings.iter().all(|finding| finding.ok);
    context.screen.result(&json!({"ok": all_ok, "findings": findings}), || {
        findings.iter().map(|finding| finding.line() + "\n").collect()
    })?;
    if all_ok { Ok(exit::OK) } else { Err(Failure::new(exit::INPUT, anyhow::anyhow!("not all is well"))) }
}

/// What local jobs need: `/proc` and `setsid`.
fn processes(context: &Context<'_>) -> Finding {
    let setsid = context.shell.run(&Cmd::new("sh", ["-c", "command -v setsid nohup"]));
    let result = if process::boot_id().is_empty() {
        Err("this system has no /proc: local jobs cannot run here".to_string())
    } else if setsid.is_ok_and(|answer| answer.code == 0) {
        Ok(format!("local jobs can run on {}", process::host()))
    } else {
        Err("`setsid` or `nohup` is not in PATH: local jobs cannot run here (package util-linux, coreutils)"
            .into())
    };
    Finding::new("local jobs", result)
}

fn writable(project: &Project) -> Result<String, String> {
    let probe = project.root().join(format!(".write-test-{}", std::process::id()));
    atomic::write(&probe, b"test").map_err(|error| {
        let hint = error.hint().map_or(String::new(), |hint| format!("; {hint}"));
        format!("{:#}{hint}", anyhow::Error::from(error))
    })?;
    std::fs::remove_file(&probe).map_err(|error| format!("{}: {error}", probe.display()))?;
    Ok(format!("{} can be written", project.root().display()))
}

fn free_space(root: &Path) -> Result<String, String> {
    let space = rustix::fs::statvfs(root).map_err(|error| format!("{}: {error}", root.display()))?;
    let gib = (space.f_bavail * space.f_frsize) as f64 / f64::from(1 << 30);
    if gib < LITTLE_SPACE_GIB {
        return Err(format!("{gib:.1} GiB are left: free some (`vitreous clean --dry-run`)"));
    }
    Ok(format!("{gib:.0} GiB"))
}
