//! `vitreous cache`: the copies of images that jobs keep on the scratch disks of nodes.

mod elsewhere;
mod folders;
mod show;

use crate::context::Context;
use crate::failure::{Failure, Outcome};
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;
use vitreous_cache::CacheError;
use vitreous_model::exit;

pub const ABOUT: &str =
    "Show, clean or verify the copies of particles and movies that jobs keep on this node's scratch disk";
pub const EXAMPLES: &str = "  vitreous cache\n  vitreous cache clean --unused-for-days 7\n  vitreous cache clean --dry-run\n  srun -w node17 vitreous cache check --scratch '/local/$USER'";

/// Arguments of `cache`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<CacheCommand>,
    #[command(flatten)]
    place: Place,
}

/// Which caches.
#[derive(Debug, Clone, Default, clap::Args)]
struct Place {
    /// Scratch folder to look in; may hold variables such as $USER, and be given several times [default: those of all lanes]
    #[arg(long, value_name = "FOLDER", global = true)]
    scratch: Vec<String>,
}

#[derive(Debug, clap::Subcommand)]
enum CacheCommand {
    /// What is kept, what is in use and by which jobs; and what jobs told of other nodes
    Show,
    /// Removes copies that no job uses
    Clean(CleanArguments),
    /// Verifies every copy by its checksum, and removes those that are wrong
    Check,
}

#[derive(Debug, clap::Args)]
struct CleanArguments {
    /// Only copies that no job was given for so long
    #[arg(long, value_name = "DAYS")]
    unused_for_days: Option<f64>,
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
}

pub fn run(context: &mut Context<'_>, args: &Arguments) -> Outcome<i32> {
    let project = context.open_project().ok();
    let (caches, unfit) = folders::find(context, project.as_ref(), &args.place.scratch)?;
    match args.command.as_ref().unwrap_or(&CacheCommand::Show) {
        CacheCommand::Show => show::run(context, project.as_ref(), &caches, &unfit),
        CacheCommand::Clean(clean) => self::clean(context, &caches, clean),
        CacheCommand::Check => check(context, &caches),
    }
}

fn clean(context: &mut Context<'_>, caches: &[folders::Found], args: &CleanArguments) -> Outcome<i32> {
    let unused_for = args.unused_for_days.map(|days| Duration::try_from_secs_f64(days * 86_400.0));
    let unused_for =
        unused_for.transpose().map_err(|error| Failure::usage(format!("--unused-for-days: {error}")))?;
    let mut cleaned = Vec::new();
    for found in caches {
        let done = match args.dry_run {
            true => found.cache.would_clean(unused_for),
            false => found.cache.clean(unused_for),
        };
        cleaned.push((found.cache.path().to_path_buf(), done.map_err(failed)?));
    }
    let value: Vec<_> =
        cleaned.iter().map(|(folder, done)| json!({"folder": folder, "cleaned": done})).collect();
    context.screen.result(&json!({"dry_run": args.dry_run, "caches": value}), || {
        let verb = if args.dry_run { "would remove" } else { "removed" };
        let line = |(folder, done): &(PathBuf, vitreous_cache::Cleaned)| {
            let (copies, size) = (show::copies(done.files), vitreous_cache::size_text(done.bytes));
            format!("{}: {verb} {copies}, {size}; {} in use\n", folder.display(), done.in_use)
        };
        if cleaned.is_empty() { folders::none_text() } else { cleaned.iter().map(line).collect() }
    })?;
    Ok(exit::OK)
}

fn check(context: &mut Context<'_>, caches: &[folders::Found]) -> Outcome<i32> {
    let mut checked = Vec::new();
    for found in caches {
        checked.push((found.cache.path().to_path_buf(), found.cache.check().map_err(failed)?));
    }
    let value: Vec<_> =
        checked.iter().map(|(folder, done)| json!({"folder": folder, "checked": done})).collect();
    context.screen.result(&json!({"caches": value}), || {
        if checked.is_empty() {
            return folders::none_text();
        }
        let mut text = String::new();
        for (folder, done) in &checked {
            text += &format!("{}: right: {}\n", folder.display(), show::copies(done.right));
            for wrong in &done.wrong {
                text += &format!("  wrong, removed: the copy of {}\n", wrong.display());
            }
        }
        text
    })?;
    // whoever runs this from cron wants to know of a disk that loses bytes
    let all_right = checked.iter().all(|(_, done)| done.wrong.is_empty());
    Ok(if all_right { exit::OK } else { exit::JOB_FAILED })
}

fn failed(error: CacheError) -> Failure {
    Failure::new(exit::INPUT, anyhow::Error::from(error))
}
