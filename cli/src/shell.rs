//! Where commands are run. Everything else in this program only says what to run and reads what was answered.

use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
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

/// A command that has not answered after this time is killed: a scheduler that hangs must not hang a pass.
const PATIENCE: Duration = Duration::from_secs(90);

/// The code of a command that was killed for want of an answer, as of `timeout(1)`.
pub const TIMED_OUT: i32 = 124;

impl Shell for Local {
    #[allow(clippy::disallowed_methods, reason = "the one place where processes are started")]
    fn run(&self, cmd: &Cmd) -> Result<Answer, ShellError> {
        let failed = |source| ShellError { program: cmd.program.clone(), source };
        let mut child = Command::new(&cmd.program)
            .args(&cmd.args)
            .envs(&cmd.env)
            .stdin(if cmd.stdin.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // a group of its own, so that what it started can be killed with it
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let (stdout, stderr) = (reader(child.stdout.take()), reader(child.stderr.take()));
        if let (Some(text), Some(mut pipe)) = (&cmd.stdin, child.stdin.take()) {
            // a command that does not read its input answers for itself
            let _ = pipe.write_all(text.as_bytes());
        }
        let status = wait(&mut child, patience()).map_err(failed)?;
        let text = |reader: JoinHandle<Vec<u8>>| {
            String::from_utf8_lossy(&reader.join().unwrap_or_default()).into_owned()
        };
        let Some(status) = status else {
            let words = format!("`{}` did not answer within {} s", cmd.program, patience().as_secs());
            return Ok(Answer { code: TIMED_OUT, stdout: String::new(), stderr: words });
        };
        Ok(Answer {
            code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
            stdout: text(stdout),
            stderr: text(stderr),
        })
    }
}

/// Reads a stream to its end beside the waiting, so that a full pipe does not stop the command.
fn reader(stream: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            // what came before an error is the answer
            let _ = stream.read_to_end(&mut bytes);
        }
        bytes
    })
}

/// Waits for a command to end; `None`: it took too long and was killed, with all that it started.
fn wait(child: &mut Child, patience: Duration) -> std::io::Result<Option<ExitStatus>> {
    let started = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if started.elapsed() >= patience {
            if let Some(group) = rustix::process::Pid::from_raw(child.id() as i32) {
                let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            }
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// [`PATIENCE`], or what `VITREOUS_COMMAND_TIMEOUT_S` says.
#[allow(clippy::disallowed_methods, reason = "a site may have a slow scheduler")]
fn patience() -> Duration {
    let given = std::env::var("VITREOUS_COMMAND_TIMEOUT_S").ok().and_then(|text| text.parse().ok());
    given.map_or(PATIENCE, Duration::from_secs)
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
