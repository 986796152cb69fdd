//! The command line as a whole: global options and the list of commands.

use crate::commands::COMMANDS;
use crate::context::Context;
use crate::failure::Outcome;
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::path::PathBuf;

const AFTER_HELP: &str = "\
Examples:
  vitreous init T20S --pixel-size 0.66 --voltage 300 --cs 2.7
  vitreous run import-movies --movies 'raw/*.tif' --gain raw/gain.mrc
  vitreous run correct-motion --movies J1 --wait
  vitreous pipeline run spa.yaml --wait
  vitreous status --watch

Exit codes: 0 done, 2 wrong command line or parameters, 3 an input is missing or unfit,
4 the scheduler refused, 5 a job failed, 70 a bug.";

/// The whole command line.
pub fn command() -> Command {
    let mut app = Command::new("vitreous")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Cryo-EM single-particle analysis, from movies to a map: makes, launches and follows jobs")
        .after_help(AFTER_HELP)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .max_term_width(100)
        .arg(
            Arg::new("project")
                .long("project")
                .value_name("DIR")
                .global(true)
                .value_parser(clap::value_parser!(PathBuf))
                .help_heading("Everywhere")
                .help("Project to work on [default: $VITREOUS_PROJECT, else the one this folder lies in]"),
        )
        .arg(switch("json", "Print results as JSON, one object a line"))
        .arg(switch("quiet", "Print errors only").short('q'));
    for entry in COMMANDS {
        app = app.subcommand((entry.command)());
    }
    app
}

fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).global(true).action(ArgAction::SetTrue).help_heading("Everywhere").help(help)
}

/// Runs the command that was named; its exit code.
///
/// # Errors
/// What the command could not do.
pub fn dispatch(context: &mut Context<'_>, matches: &ArgMatches) -> Outcome<i32> {
    let Some((name, below)) = matches.subcommand() else { return Ok(vitreous_model::exit::USAGE) };
    if let Some(project) = below.get_one::<PathBuf>("project") {
        context.project = Some(project.clone());
    }
    context.screen.json = below.get_flag("json");
    context.screen.quiet = below.get_flag("quiet");
    let entry =
        COMMANDS.iter().find(|entry| entry.name == name).expect("clap should know only listed commands");
    (entry.run)(context, below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_do_not_clash_and_every_command_has_help_and_an_example() {
        command().debug_assert();
        for entry in COMMANDS {
            let mut command = (entry.command)();
            assert_eq!(command.get_name(), entry.name);
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            assert!(!about.is_empty() && !about.starts_with("Arguments of"), "{}: `{about}`", entry.name);
            let help = command.render_long_help().to_string();
            assert!(help.contains("Example"), "{} has no example", entry.name);
            let wide = help.lines().find(|line| line.chars().count() > 110);
            assert_eq!(wide, None, "{}", entry.name);
        }
    }
}
