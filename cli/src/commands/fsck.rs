//! `vitreous fsck`: looks over all records and rebuilds what can be rebuilt.

use crate::board::Board;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use serde_json::json;
use vitreous_model::exit;
use vitreous_project::fsck;

pub const ABOUT: &str = "Look over all records, set right what can be, rebuild the index";
pub const EXAMPLES: &str = "  vitreous fsck\n  vitreous fsck --dry-run --json";

/// Arguments of `fsck`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only look
    #[arg(long)]
    dry_run: bool,
}

pub fn run(context: &mut Context<'_>, args: &Arguments) -> Outcome<i32> {
    let project = context.open_project()?;
    let findings = fsck::check(&project, args.dry_run)?;
    let jobs = Board::look(&project, context.shell)?.jobs.len();
    let serious = findings.iter().filter(|finding| finding.serious).count();
    context.screen.result(&json!({"jobs": jobs, "findings": findings, "dry_run": args.dry_run}), || {
        let mut text = String::new();
        for finding in &findings {
            let name = finding.path.strip_prefix(project.root()).unwrap_or(&finding.path).display();
            text += &format!("{name}: {}\n    {}\n", finding.problem, finding.remedy);
        }
        text + &format!("{jobs} jobs, {} findings, {serious} of them for you to settle", findings.len())
    })?;
    if serious == 0 { Ok(exit::OK) } else { Err(Failure::input(format!("{serious} findings need a person"))) }
}
