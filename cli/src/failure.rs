//! An error on its way to the user: its chain of causes, an exit code and what to do next.

use vitreous_model::exit;
use vitreous_model::params::BadParam;
use vitreous_project::ProjectError;
use vitreous_schedulers::{LaneError, RenderError, SchedulerError};

/// What a command returns.
pub type Outcome<T = ()> = Result<T, Failure>;

/// Why a command could not do what it was asked.
#[derive(Debug)]
pub struct Failure {
    /// Exit code, one of [`vitreous_model::exit`].
    pub code: i32,
    /// The error and its causes.
    pub error: anyhow::Error,
    /// What to do next, a line each.
    pub hints: Vec<String>,
}

impl Failure {
    /// An error with an exit code.
    pub fn new(code: i32, error: impl Into<anyhow::Error>) -> Self {
        Self { code, error: error.into(), hints: Vec::new() }
    }

    /// The command line is wrong.
    pub fn usage(message: impl std::fmt::Display) -> Self {
        Self::new(exit::USAGE, anyhow::anyhow!("{message}"))
    }

    /// An input file or an earlier job is missing, broken or unfit.
    pub fn input(message: impl std::fmt::Display) -> Self {
        Self::new(exit::INPUT, anyhow::anyhow!("{message}"))
    }

    /// The scheduler refused or could not be asked.
    pub fn scheduler(message: impl std::fmt::Display) -> Self {
        Self::new(exit::SCHEDULER, anyhow::anyhow!("{message}"))
    }

    /// The same with advice.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The same with what was being done in front.
    pub fn context(mut self, what: impl std::fmt::Display) -> Self {
        self.error = self.error.context(what.to_string());
        self
    }

    /// The reader of our output has gone, as in `vitreous status | head`: no error.
    pub fn is_broken_pipe(&self) -> bool {
        let io = self.error.downcast_ref::<std::io::Error>();
        io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    }

    /// `error:` with all causes, then the hints.
    pub fn text(&self) -> String {
        let mut text = format!("error: {:#}\n", self.error);
        for hint in &self.hints {
            text += &format!("hint: {hint}\n");
        }
        text
    }
}

impl From<ProjectError> for Failure {
    fn from(error: ProjectError) -> Self {
        let code = match &error {
            ProjectError::BadName { .. }
            | ProjectError::AlreadyAProject { .. }
            | ProjectError::NoProject { .. } => exit::USAGE,
            _ => exit::INPUT,
        };
        let hints = error.hint().into_iter().collect();
        Self { code, error: error.into(), hints }
    }
}

impl From<BadParam> for Failure {
    fn from(bad: BadParam) -> Self {
        let hints = if bad.hint.is_empty() { Vec::new() } else { vec![bad.hint.clone()] };
        Self { code: exit::USAGE, error: bad.into(), hints }
    }
}

impl From<LaneError> for Failure {
    fn from(error: LaneError) -> Self {
        let hint = match &error {
            LaneError::TooMuch { .. } => {
                "ask for less (`--mem`, `--ranks`, `--gpus`) or take another lane (`vitreous lane list`)"
            }
            LaneError::Newer { .. } => "use the vitreous that the lane was written for, or a newer one",
            LaneError::Malformed { .. } => "correct the lane file, then `vitreous lane check`",
        };
        Self::new(exit::USAGE, error).hint(hint)
    }
}

impl From<RenderError> for Failure {
    fn from(error: RenderError) -> Self {
        Self::new(exit::USAGE, error).hint("correct the template, then `vitreous lane check`")
    }
}

impl From<SchedulerError> for Failure {
    fn from(error: SchedulerError) -> Self {
        Self::new(exit::SCHEDULER, error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(exit::INTERNAL, error)
    }
}

/// An error and its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text += &format!(": {inner}");
        source = inner.source();
    }
    text
}
