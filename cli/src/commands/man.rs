//! `vitreous man`: manual pages.

use crate::context::Context;
use crate::failure::Outcome;
use clap::Command;
use serde_json::json;
use std::path::{Path, PathBuf};
use vitreous_model::exit;
use vitreous_project::{ProjectError, atomic};

pub const ABOUT: &str = "Print the manual page, or write one for every command";
pub const EXAMPLES: &str = "  vitreous man | man -l -\n  vitreous man --dir ~/.local/share/man/man1";

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Write the pages of all commands and job types into this folder
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub fn run(context: &mut Context<'_>, args: &Arguments) -> Outcome<i32> {
    let mut app = crate::app::command();
    app.build();
    let Some(dir) = &args.dir else {
        let mut text = Vec::new();
        clap_mangen::Man::new(app).render(&mut text)?;
        context.screen.raw(&text)?;
        return Ok(exit::OK);
    };
    let dir = context.cwd.join(dir);
    std::fs::create_dir_all(&dir).map_err(ProjectError::io("create", &dir))?;
    let mut pages = Vec::new();
    write_pages(&app, "", &dir, &mut pages)?;
    let result = json!({"folder": dir, "pages": pages});
    context.screen.result(&result, || format!("{} pages in {}", pages.len(), dir.display()))?;
    Ok(exit::OK)
}

/// The page of a command and of all below it, e.g. `vitreous-run-correct-motion.1`.
fn write_pages(command: &Command, above: &str, dir: &Path, pages: &mut Vec<String>) -> Outcome {
    let name = if above.is_empty() {
        command.get_name().to_string()
    } else {
        format!("{above}-{}", command.get_name())
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone()).title(name.to_uppercase()).render(&mut text)?;
    atomic::write(&dir.join(format!("{name}.1")), &text)?;
    pages.push(format!("{name}.1"));
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        write_pages(below, &name, dir, pages)?;
    }
    Ok(())
}
