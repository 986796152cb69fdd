//! What every command is given: where it is, what it may run, where it writes.

use crate::failure::Outcome;
use crate::shell::Shell;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use vitreous_project::Project;

/// The surroundings of a command.
pub struct Context<'a> {
    /// Runs commands.
    pub shell: &'a dyn Shell,
    /// Where results go.
    pub screen: Screen<'a>,
    /// `--project`, if given.
    pub project: Option<PathBuf>,
    /// Working directory.
    pub cwd: PathBuf,
    /// This program, for the scripts that call it.
    pub program: PathBuf,
    /// Folders with lanes of the user and the site, in the order of search.
    pub lane_folders: Vec<PathBuf>,
    /// The variables that jobs need and cron lacks.
    pub environment: BTreeMap<String, String>,
}

/// Variables that are kept with a request, so that a job launched by cron finds what its user's shell finds.
const KEPT_VARIABLES: [&str; 3] = ["PATH", "LD_LIBRARY_PATH", "SSH_AUTH_SOCK"];

impl<'a> Context<'a> {
    /// The surroundings of this process.
    ///
    /// # Errors
    /// The working directory is gone.
    #[allow(clippy::disallowed_methods, reason = "the environment is read here, once")]
    pub fn of_this_process(shell: &'a dyn Shell, out: &'a mut dyn Write) -> Outcome<Self> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let mut lane_folders = Vec::new();
        let config = variable("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| variable("HOME").map(|home| Path::new(&home).join(".config")));
        lane_folders.extend(config.map(|folder| folder.join("vitreous/lanes")));
        lane_folders.push(
            variable("VITREOUS_SITE")
                .map_or("/etc/vitreous/lanes".into(), |site| Path::new(&site).join("lanes")),
        );
        let of_schedulers =
            vitreous_schedulers::SCHEDULERS.iter().flat_map(|scheduler| scheduler.variables());
        let kept = KEPT_VARIABLES
            .iter()
            .chain(of_schedulers)
            .filter_map(|name| Some(((*name).to_string(), variable(name)?)));
        Ok(Self {
            shell,
            screen: Screen::new(out),
            project: variable("VITREOUS_PROJECT").map(PathBuf::from),
            cwd: std::env::current_dir()?,
            program: std::env::current_exe()?,
            lane_folders,
            environment: kept.collect(),
        })
    }

    /// The project: named by `--project`, or the one the working directory lies in.
    ///
    /// # Errors
    /// There is none, or its file is broken.
    pub fn open_project(&self) -> Outcome<Project> {
        match &self.project {
            Some(folder) => Ok(Project::open(&self.cwd.join(folder))?),
            None => Ok(Project::find(&self.cwd)?),
        }
    }
}

/// Where results go: text for people, or one line of JSON for each result.
pub struct Screen<'a> {
    out: &'a mut dyn Write,
    /// `--json`.
    pub json: bool,
    /// `--quiet`: text for people is left out.
    pub quiet: bool,
    /// Standard output is a terminal.
    pub is_terminal: bool,
}

impl<'a> Screen<'a> {
    fn new(out: &'a mut dyn Write) -> Self {
        Self { out, json: false, quiet: false, is_terminal: std::io::stdout().is_terminal() }
    }

    /// A line for people; nothing with `--json` or `--quiet`.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn line(&mut self, text: impl AsRef<str>) -> Outcome {
        if !self.json && !self.quiet {
            writeln!(self.out, "{}", text.as_ref())?;
        }
        Ok(())
    }

    /// A result: text for people, or with `--json` one line of JSON.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn result(&mut self, value: &impl Serialize, text: impl FnOnce() -> String) -> Outcome {
        if self.json {
            let line = serde_json::to_string(value).map_err(std::io::Error::from)?;
            writeln!(self.out, "{line}")?;
            return Ok(());
        }
        let text = text();
        if self.quiet || text.is_empty() { Ok(()) } else { self.line(text.trim_end()) }
    }

    /// Raw bytes: a log, a script. Not affected by `--json` and `--quiet`.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn raw(&mut self, bytes: &[u8]) -> Outcome {
        self.out.write_all(bytes)?;
        self.out.flush()?;
        Ok(())
    }
}

/// A remark that is no result: to standard error.
#[allow(clippy::print_stderr, reason = "remarks for people go beside the results")]
pub fn remark(text: impl AsRef<str>) {
    eprintln!("{}", text.as_ref());
}
