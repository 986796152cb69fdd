//! Where commands are run. Everything else in this program only says what to run and reads what was answered.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use vitreous_schedulers::{Answer, Cmd};

/// Runs commands.
pub trait Shell {
    /// Runs one to its end.
    ///
    /// # Errors
    /// The command could not be started. One that fails is no error: its answer says so.
    fn run(&self, cmd: &Cmd) -> Result<Answer, ShellError>;
}

/// A command could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot run `{program}`")]
pub struct ShellError {
    /// Which.
    pub program: String,
    /// Why.
    #[source]
    pub source: std::io::Error,
}

/// Runs commands on this host.
#[derive(Debug, Clone, Copy, Default)]
pub struct Local;

impl Shell for Local {
    #[allow(clippy::disallowed_methods, reason = "the one place where processes are started")]
    fn run(&self, cmd: &Cmd) -> Result<Answer, ShellError> {
        let failed = |source| ShellError { program: cmd.program.clone(), source };
        let mut child = Command::new(&cmd.program)
            .args(&cmd.args)
            .stdin(if cmd.stdin.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        if let (Some(text), Some(mut pipe)) = (&cmd.stdin, child.stdin.take()) {
            // a command that does not read its input answers for itself
            let _ = pipe.write_all(text.as_bytes());
        }
        let output = child.wait_with_output().map_err(failed)?;
        Ok(Answer {
            code: output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0)),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

/// Answers from a script, for tests: what a scheduler may say, and how it may fail.
#[cfg(test)]
pub struct Fake<F> {
    /// Gives the answer to a command.
    pub answer: F,
    /// All commands so far, as a person would type them.
    pub asked: std::cell::RefCell<Vec<String>>,
}

#[cfg(test)]
impl<F: Fn(&Cmd) -> Option<Answer>> Fake<F> {
    /// A shell that answers with `answer`; `None`: the command does not exist.
    pub fn new(answer: F) -> Self {
        Self { answer, asked: Default::default() }
    }
}

#[cfg(test)]
impl<F: Fn(&Cmd) -> Option<Answer>> Shell for Fake<F> {
    fn run(&self, cmd: &Cmd) -> Result<Answer, ShellError> {
        let words = cmd.words();
        self.asked
            .borrow_mut()
            .push(vitreous_schedulers::quote::command_line(words.iter().map(String::as_str)));
        let source = || std::io::Error::from(std::io::ErrorKind::NotFound);
        (self.answer)(cmd).ok_or_else(|| ShellError { program: cmd.program.clone(), source: source() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_code_and_both_streams() {
        let answer = Local.run(&Cmd::new("sh", ["-c", "echo out; echo err >&2; exit 7"])).unwrap();
        assert_eq!(answer, Answer { code: 7, stdout: "out\n".into(), stderr: "err\n".into() });
        assert_eq!(Local.run(&Cmd::new("sh", ["-c", "kill -KILL $$"])).unwrap().code, 137);
        let input = Cmd { stdin: Some("hello".into()), ..Cmd::new("cat", Vec::<String>::new()) };
        assert_eq!(Local.run(&input).unwrap().stdout, "hello");
        assert!(Local.run(&Cmd::new("no-such-program", Vec::<String>::new())).is_err());
    }
}
