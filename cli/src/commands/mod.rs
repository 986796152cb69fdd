//! One file per command: its arguments, its help with an example, and what it does.

mod advance;
mod cache;
mod cancel;
mod clean;
mod completions;
mod doctor;
mod fsck;
mod init;
mod lane;
mod logs;
mod man;
mod params;
mod pipeline;
mod report;
mod retry;
mod run;
mod show;
mod stats;
mod status;
mod types;
mod why;

use crate::context::Context;
use crate::failure::Outcome;
use clap::{ArgMatches, Args, Command, FromArgMatches};

/// A command.
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// Its command line.
    pub command: fn() -> Command,
    /// Does it; the exit code.
    pub run: fn(&mut Context<'_>, &ArgMatches) -> Outcome<i32>,
}

/// A command whose arguments are a struct.
macro_rules! entry {
    ($module:ident) => {
        Entry {
            name: stringify!($module),
            command: || {
                described::<$module::Arguments>(stringify!($module), $module::ABOUT, $module::EXAMPLES)
            },
            run: |context, matches| $module::run(context, &parsed::<$module::Arguments>(matches)?),
        }
    };
}

/// Every command, in the order of help.
pub static COMMANDS: &[Entry] = &[
    entry!(init),
    Entry { name: "run", command: run::command, run: run::run },
    entry!(pipeline),
    entry!(status),
    entry!(show),
    entry!(why),
    entry!(logs),
    entry!(report),
    entry!(stats),
    entry!(cancel),
    entry!(retry),
    entry!(advance),
    entry!(clean),
    entry!(cache),
    entry!(lane),
    entry!(types),
    entry!(params),
    entry!(doctor),
    entry!(fsck),
    entry!(completions),
    entry!(man),
];

fn described<A: Args>(name: &'static str, about: &'static str, examples: &'static str) -> Command {
    // after the arguments: their struct's doc comment would else stand as the command's help
    A::augment_args(Command::new(name)).about(about).after_help(format!("Examples:\n{examples}"))
}

fn parsed<A: FromArgMatches>(matches: &ArgMatches) -> Outcome<A> {
    A::from_arg_matches(matches).map_err(crate::failure::Failure::usage)
}
