//! `vitreous completions`: what a shell needs to complete our command lines.

use crate::context::Context;
use crate::failure::Outcome;
use clap_complete::Shell;
use vitreous_model::exit;

pub const ABOUT: &str = "Print the completion script of a shell";
pub const EXAMPLES: &str =
    "  vitreous completions bash > ~/.local/share/bash-completion/completions/vitreous";

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    shell: Shell,
}

pub fn run(context: &mut Context<'_>, args: &Arguments) -> Outcome<i32> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut crate::app::command(), "vitreous", &mut text);
    context.screen.raw(&text)?;
    Ok(exit::OK)
}
