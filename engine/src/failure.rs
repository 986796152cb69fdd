//! How a job ends badly: one clear error, what to do about it, and an exit code.

use serde::{Deserialize, Serialize};
use std::any::Any;
use std::sync::{Mutex, PoisonError};
use vitreous_model::exit;
use vitreous_model::params::BadParam;
use vitreous_project::ProjectError;
use vitreous_stages::StageError;

/// The one error of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// Exit code, one of [`vitreous_model::exit`].
    pub code: i32,
    /// What, where, found, expected.
    pub message: String,
    /// What to do; may be empty.
    pub hint: String,
}

impl Failure {
    /// A failure without advice.
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: String::new() }
    }

    /// The same with advice.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: hint.into(), ..self }
    }

    /// Whether the job checkpointed and wants to be run again.
    pub fn is_requeue(&self) -> bool {
        self.code == exit::REQUEUE
    }

    /// Lines for the log.
    pub fn text(&self) -> String {
        let word = if matches!(self.code, exit::REQUEUE | exit::SUPERSEDED) { "stopped" } else { "error" };
        let mut text = format!("{word}: {}", self.message);
        if !self.hint.is_empty() {
            text += &format!("\nhint: {}", self.hint);
        }
        text
    }

    /// A caught panic: a bug of ours, told as an error with the place it happened.
    pub fn of_panic(payload: &(dyn Any + Send)) -> Self {
        let what = payload
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| payload.downcast_ref::<&str>().copied())
            .unwrap_or("unknown reason");
        let place = PANIC_PLACE.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
        Self::new(exit::INTERNAL, format!("internal error{place}: {what}")).hint(
            "this is a bug in Vitreous: please report it with this line and the job's effective.json; \
             what was finished is kept",
        )
    }
}

/// Where the last panic happened; the payload does not say.
static PANIC_PLACE: Mutex<Option<String>> = Mutex::new(None);

/// Keeps the place of a panic for [`Failure::of_panic`] instead of printing a backtrace at the user.
pub fn keep_panics_quiet() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(|place| format!(" at {}:{}", place.file(), place.line()));
        *PANIC_PLACE.lock().unwrap_or_else(PoisonError::into_inner) = place;
    }));
}

/// An error with all its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        // some errors print their cause themselves
        if !text.contains(&cause_text) {
            text += &format!(": {cause_text}");
        }
        next = cause.source();
    }
    text
}

impl From<StageError> for Failure {
    fn from(error: StageError) -> Self {
        Self::new(error.exit_code(), chain(&error)).hint(error.hint())
    }
}

impl From<BadParam> for Failure {
    fn from(error: BadParam) -> Self {
        Self::new(exit::USAGE, error.to_string()).hint(error.hint)
    }
}

impl From<ProjectError> for Failure {
    fn from(error: ProjectError) -> Self {
        let code = if matches!(error, ProjectError::Io { .. }) { exit::JOB_FAILED } else { exit::INPUT };
        Self::new(code, chain(&error)).hint(error.hint().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_one_line_with_its_place() {
        keep_panics_quiet();
        let payload = std::panic::catch_unwind(|| panic!("planted {}", 7)).expect_err("should panic");
        let failure = Failure::of_panic(payload.as_ref());
        assert_eq!(failure.code, exit::INTERNAL);
        assert!(
            failure.message.contains("failure.rs:") && failure.message.ends_with("planted 7"),
            "{failure:?}"
        );
    }

    #[test]
    fn errors_keep_their_causes_code_and_advice() {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let failure = Failure::from(StageError::io(std::path::Path::new("/job/map.mrc"), full));
        assert_eq!(failure.code, exit::JOB_FAILED);
        assert!(failure.text().starts_with("error: /job/map.mrc: "), "{failure:?}");
        assert!(failure.hint.contains("free space"), "{failure:?}");
        let failure = Failure::from(BadParam::new("box_size", 7, "must be even").hint("try 8"));
        assert_eq!(failure.text(), "error: parameter `box_size`: must be even (got `7`)\nhint: try 8");
        assert!(Failure::from(StageError::Stopped).text().starts_with("stopped: "));
    }
}
