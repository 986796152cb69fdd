//! A temporary project with a lane whose engine is a small shell script: real processes, no numerics.
#![allow(dead_code, reason = "every test file uses a part of this")]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests start what they test")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use vitreous_project::{JobNumber, NewJob, Project, Request, Requester};

/// The program under test.
pub const VITREOUS: &str = env!("CARGO_BIN_EXE_vitreous");

/// What the stand-in engine does, after it has noted its run in `runs` beside it and before it writes its outputs.
pub const AT_ONCE: &str = "";
/// Waits for the file `go` beside it.
pub const ON_GO: &str = "while [ ! -e \"$here/go\" ]; do sleep 0.02; done";

/// A project in a temporary folder.
pub struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    /// A project whose engine runs `body` (shell), and whose lane `local` has further `lane` lines (YAML).
    pub fn new(body: &str, lane: &str) -> Self {
        let scene = Self { folder: tempfile::tempdir().unwrap() };
        scene.write_engine(body);
        std::fs::create_dir(scene.folder.path().join("raw")).unwrap();
        std::fs::write(scene.folder.path().join("raw/a.tif"), "a").unwrap();
        let made = scene.run_in(
            scene.folder.path(),
            &["init", "P", "--pixel-size", "1", "--voltage", "300", "--cs", "2.7"],
        );
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        std::fs::create_dir(scene.root().join("lanes")).unwrap();
        scene.write_lane(lane);
        scene
    }

    /// Replaces the lane `local`.
    pub fn write_lane(&self, lines: &str) {
        let engine = self.folder.path().join("engine");
        let text = format!("schema: 1\nscheduler: local\nengine: {}\n{lines}\n", engine.display());
        std::fs::write(self.root().join("lanes/local.yaml"), text).unwrap();
    }

    /// Replaces the engine. In `body`, `$job` is the job's folder, `$attempt` its attempt, `$here` the engine's folder.
    pub fn write_engine(&self, body: &str) {
        let path = self.folder.path().join("engine");
        let text = format!(
            r#"#!/bin/sh
[ "$1" = version ] && {{ echo '{{"version":"{}"}}'; exit 0; }}
job=$2 attempt=$4 here=$(dirname "$0")
echo "$(basename -- "$job") $attempt" >>"$here/runs"
{body}
[ "$1" = probe ] && {{ echo '{probed}' >"$3"; exit 0; }}
cat >"$job/outputs.tmp" <<END
{{"schema":1,"outputs":[{{"slot":"movies","kind":"movies","path":"movies.h5","count":4}},
{{"slot":"micrographs","kind":"micrographs","path":"micrographs.h5","count":4}}]}}
END
mv "$job/outputs.tmp" "$job/outputs.json"
"#,
            env!("CARGO_PKG_VERSION"),
            probed = probed(),
        );
        std::fs::write(&path, text).unwrap();
        assert!(Command::new("chmod").arg("+x").arg(&path).status().unwrap().success());
    }

    /// The project's folder.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("P")
    }

    /// The folder above it.
    pub fn above(&self) -> &Path {
        self.folder.path()
    }

    /// The program, ready to run in `folder`.
    pub fn command_in(&self, folder: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(VITREOUS);
        command
            .args(args)
            .current_dir(folder)
            .env("HOME", self.folder.path())
            .env("VITREOUS_SITE", self.folder.path());
        command.env_remove("VITREOUS_PROJECT").env_remove("XDG_CONFIG_HOME").env("TZ", "UTC");
        command
    }

    fn run_in(&self, folder: &Path, args: &[&str]) -> Output {
        self.command_in(folder, args).output().unwrap()
    }

    /// Runs a command line in the project; exit code, standard output and error.
    pub fn vitreous(&self, args: &[&str]) -> (i32, String, String) {
        let output = self.run_in(&self.root(), args);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }

    /// The same for a command that must succeed; its standard output.
    pub fn ok(&self, args: &[&str]) -> String {
        let (code, stdout, stderr) = self.vitreous(args);
        assert_eq!(code, 0, "vitreous {}: {stdout}{stderr}", args.join(" "));
        stdout
    }

    /// Starts a command line in the project and leaves it running.
    pub fn start(&self, args: &[&str], pause_at: &str) -> Child {
        let mut command = self.command_in(&self.root(), args);
        if !pause_at.is_empty() {
            command.env("VITREOUS_PAUSE_AT", pause_at);
        }
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Imports the one movie: the job that every test starts with.
    pub fn import(&self, more: &[&str]) -> (i32, String, String) {
        self.vitreous(&[&["run", "import-movies", "--movies", "../raw/*.tif"], more].concat())
    }

    /// Makes jobs that ask to be run, without launching them.
    pub fn make_jobs(&self, count: usize) {
        let project = Project::open(&self.root()).unwrap();
        for _ in 0..count {
            let new = NewJob {
                job_type: "import-movies".into(),
                title: String::new(),
                inputs: Default::default(),
                params: [("movies".to_string(), serde_json::json!("../raw/*.tif"))].into_iter().collect(),
                lane: "local".into(),
                resources: Default::default(),
                vars: Default::default(),
                retry: Default::default(),
                fingerprint: String::new(),
            };
            let mut request = Request::new(Requester::User, "");
            request.environment.insert("PATH".into(), std::env::var("PATH").unwrap());
            project.create_job(new, Some(&request)).unwrap();
        }
    }

    /// `status --json` of one job.
    pub fn status(&self, number: u32) -> serde_json::Value {
        let name = format!("J{number}");
        let all: serde_json::Value = serde_json::from_str(&self.ok(&["status", &name, "--json"])).unwrap();
        all["jobs"][0].clone()
    }

    /// State of a job, with its reason.
    pub fn state(&self, number: u32) -> String {
        let job = self.status(number);
        let state = job["state"].as_str().unwrap().to_string();
        job["reason"].as_str().map_or(state.clone(), |reason| format!("{state} ({reason})"))
    }

    /// Waits until a job has that state.
    pub fn wait_for(&self, number: u32, wanted: &str) {
        eventually(&format!("J{number} {wanted}"), || self.state(number) == wanted);
    }

    /// The jobs' folder.
    pub fn job(&self, number: u32) -> PathBuf {
        let project = Project::open(&self.root()).unwrap();
        project.job(JobNumber(number)).unwrap().path().to_path_buf()
    }

    /// Lines of the stand-in engine's own record: `FOLDER ATTEMPT` for each time it was run.
    pub fn runs(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.path().join("runs")).unwrap_or_default();
        text.lines().map(String::from).collect()
    }

    /// Lets engines that wait for it go on.
    pub fn go(&self) {
        std::fs::write(self.folder.path().join("go"), "").unwrap();
    }

    /// Pid of a job's script.
    pub fn script_pid(&self, number: u32) -> String {
        let text = std::fs::read_to_string(self.job(number).join("attempt-01/claim/owner")).unwrap();
        text.trim().to_string()
    }

    /// Pid of a job's engine: the child of its script.
    pub fn engine_pid(&self, number: u32) -> String {
        let script = self.script_pid(number);
        let children = format!("/proc/{script}/task/{script}/children");
        let mut pid = String::new();
        eventually("an engine", || {
            pid = std::fs::read_to_string(&children)
                .unwrap_or_default()
                .split_whitespace()
                .next()
                .unwrap_or("")
                .into();
            !pid.is_empty()
        });
        pid
    }

    /// Text with what changes from run to run replaced.
    pub fn tidy(&self, text: &str) -> String {
        let root = self.folder.path().canonicalize().unwrap();
        let text = text
            .replace(&*root.to_string_lossy(), "[TMP]")
            .replace(&*self.folder.path().to_string_lossy(), "[TMP]");
        let mut tidy = String::new();
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let is_seconds = |at: usize| words.get(at + 1) == Some(&"s") && words[at].parse::<u32>().is_ok();
            let tidied: Vec<String> = (0..words.len())
                .map(|at| if is_seconds(at) { "N".into() } else { tidy_word(words[at]) })
                .collect();
            tidy += tidied.join(" ").trim_end();
            tidy.push('\n');
        }
        tidy
    }
}

/// What a probe job of the stand-in engine finds: one rank on a host that does not limit it.
fn probed() -> serde_json::Value {
    serde_json::json!({
        "host": "here", "job": {}, "modules": [],
        "cores": {"granted": 4, "decided_by": "machine"},
        "memory": {"granted_mib": 64000, "decided_by": "machine"},
        "gpus": {"granted": [], "devices": []},
        "ranks": {"count": 1, "hosts": ["here"]},
        "scratch": null,
        "paths": [{"path": "/em", "readable": true, "writable": true}],
        "engine": {"version": env!("CARGO_PKG_VERSION"), "features": []},
        "clock": {"difference_s": 0.0},
        "problems": [],
    })
}

impl Drop for Scene {
    /// Nothing that a test started outlives it.
    fn drop(&mut self) {
        let _ = self.command_in(&self.root(), &["cancel", "--all", "--grace", "0", "--quiet"]).output();
    }
}

/// Dates, clock times, uuids, process ids and durations.
fn tidy_word(word: &str) -> String {
    let digits =
        |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b':' || b == b'-');
    if word.len() == 10 && digits(word) {
        return "[DATE]".into();
    }
    if word.len() == 8 && digits(word) && word.contains(':') {
        return "[TIME]".into();
    }
    if word.split('/').count() == 4 && word.split('/').skip(2).all(digits) {
        return "[PROCESS]".into();
    }
    word.into()
}

/// Waits, at most a minute, until something holds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(60), "timed out: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sends a signal.
pub fn signal(signal: &str, pid: &str) {
    assert!(Command::new("kill").args(["-s", signal, pid]).status().unwrap().success(), "kill {pid}");
}
