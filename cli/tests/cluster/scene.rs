//! A project on the cluster: a lane whose engine is a small shell script, and everything a test asks of it.

use crate::cluster::{Cluster, variable};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};
use std::time::{Duration, Instant};

/// Whether a test leaves the cluster to others while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Others run beside it.
    Shared,
    /// It breaks the cluster for a while.
    Alone,
}

/// In which form of the run a test takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// In both.
    Short,
    /// Only with `--full`: it takes minutes.
    Full,
}

/// How long anything may take that a scheduler here does in seconds.
pub const LIMIT: Duration = Duration::from_secs(60);
/// How long a chain of things may take, such as a time limit, its requeue and a second run.
pub const LONG: Duration = Duration::from_secs(240);
/// How often a waiting test calls `advance`, as cron would each minute.
const ADVANCE_EVERY: Duration = Duration::from_millis(700);

/// What the stand-in engine does between noting its run and writing its outputs: nothing.
pub const AT_ONCE: &str = "";
/// It waits for the file `go`.
pub const ON_GO: &str = "while [ ! -e \"$here/go\" ]; do sleep 0.1; done";

static CLUSTER: RwLock<()> = RwLock::new(());

#[allow(dead_code, reason = "held, not looked at")]
enum Hold {
    Shared(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

/// The cluster for one test alone. It lets the others go first: who waits for a lock in line would keep new ones from
/// starting until the slowest has ended.
fn alone() -> RwLockWriteGuard<'static, ()> {
    loop {
        match CLUSTER.try_write() {
            Ok(guard) => return guard,
            Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

/// Says why a test is not run.
pub fn skip(why: &str) {
    let name = std::thread::current().name().unwrap_or("a test").to_string();
    if why.starts_with("VITREOUS_CLUSTER") {
        println!("skipped: {why}");
    } else {
        println!("skipped: {name}: {why}");
    }
}

/// A project with one lane, `here`.
pub struct Scene {
    /// The cluster that its lane leads to.
    pub cluster: &'static Cluster,
    folder: tempfile::TempDir,
    _hold: Hold,
    started: Instant,
}

impl Scene {
    /// A project whose engine runs `body` (shell); `None` where this test has nothing to test, which it has said then.
    pub fn begin(usage: Use, form: Form, body: &str) -> Option<Self> {
        let Some(cluster) = Cluster::here() else {
            skip("VITREOUS_CLUSTER not set (run ci/cluster NAME)");
            return None;
        };
        if form == Form::Full && !is_full() {
            skip("only with --full");
            return None;
        }
        // a test that failed while it held the cluster has put its parts back, or the next one says so itself
        let hold = match usage {
            Use::Shared => Hold::Shared(CLUSTER.read().unwrap_or_else(|poisoned| poisoned.into_inner())),
            Use::Alone => Hold::Alone(alone()),
        };
        let folder = tempfile::Builder::new().prefix("scene-").tempdir_in(variable("TMPDIR")).unwrap();
        let scene = Self { cluster, folder, _hold: hold, started: Instant::now() };
        scene.set_up(body);
        Some(scene)
    }

    fn set_up(&self, body: &str) {
        self.write_engine(body);
        std::fs::create_dir(self.path("raw")).unwrap();
        std::fs::write(self.path("raw/a.tif"), "a").unwrap();
        let microscope = ["--pixel-size", "1", "--voltage", "300", "--cs", "2.7"];
        let made = self
            .command_in(self.folder.path(), &[&["init", "P"], &microscope[..]].concat())
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        std::fs::create_dir(self.root().join("lanes")).unwrap();
        let wrap = Command::new(Path::new(&variable("VITREOUS_CLUSTER_RUN")).join("faults/wrap"))
            .arg(self.path("commands"))
            .args(self.cluster.commands)
            .output()
            .unwrap();
        assert!(wrap.status.success(), "{}", String::from_utf8_lossy(&wrap.stderr));
        self.write_lane("");
    }

    /// Replaces the lane: the cluster's own lines and `more`, which win.
    pub fn write_lane(&self, more: &str) {
        self.write_lane_named("here", more);
    }

    /// A further lane.
    pub fn write_lane_named(&self, name: &str, more: &str) {
        let mut text = "schema: 1\n".to_string();
        let own = format!("engine: {}\n{}", self.path("engine").display(), self.cluster.lane_lines());
        let key = |line: &str| line.split_once(':').map(|(key, _)| key.to_string());
        let replaced: Vec<String> =
            more.lines().filter(|line| !line.starts_with([' ', '-'])).filter_map(key).collect();
        let mut is_replaced = false;
        for line in own.lines() {
            if !line.starts_with([' ', '-']) {
                is_replaced = key(line).is_some_and(|key| replaced.contains(&key));
            }
            if !is_replaced {
                text += &format!("{line}\n");
            }
        }
        if self.cluster.has_queue() && !replaced.iter().any(|key| key == "command_dir") {
            text += &format!("command_dir: {}\n", self.path("commands").display());
        }
        std::fs::write(self.root().join(format!("lanes/{name}.yaml")), text + more + "\n").unwrap();
    }

    /// Replaces the engine. In `body`, `$job` is the job's folder, `$attempt` its attempt, `$slice` the part of an array
    /// (`2/4`, or nothing), `$run` which start of the same submission this is, `$here` the engine's folder.
    pub fn write_engine(&self, body: &str) {
        let text = format!(
            r#"#!/bin/sh
[ "$1" = version ] && {{ echo '{{"version":"{}"}}'; exit 0; }}
job=$2 attempt=$4 slice=${{6:-}} run=${{VITREOUS_RUN:-1}} here={}
echo "$(basename "$job") $attempt${{slice:+ $slice}}" >>"$here/runs"
{body}
[ -z "$slice" ] || exit 0
cat >"$job/outputs.tmp-$$" <<END
{{"schema":1,"outputs":[{{"slot":"movies","kind":"movies","path":"movies.h5","count":4}},
{{"slot":"micrographs","kind":"micrographs","path":"micrographs.h5","count":4}}]}}
END
mv "$job/outputs.tmp-$$" "$job/outputs.json"
"#,
            env!("CARGO_PKG_VERSION"),
            self.folder.path().display(),
        );
        let path = self.path("engine");
        std::fs::write(path.with_extension("new"), text).unwrap();
        assert!(Command::new("chmod").arg("+x").arg(path.with_extension("new")).status().unwrap().success());
        // whoever runs the old one goes on reading the old one
        std::fs::rename(path.with_extension("new"), path).unwrap();
    }

    /// Puts faults before the scheduler's commands; empty: takes them away. Lines of `ci/clusters/faults/wrap`.
    pub fn write_faults(&self, lines: &str) {
        let path = self.path("commands/faults");
        std::fs::write(path.with_extension("new"), lines).unwrap();
        std::fs::rename(path.with_extension("new"), path).unwrap();
    }

    /// Calls of the scheduler's commands so far, one a line.
    pub fn calls(&self) -> Vec<String> {
        lines(&self.path("commands/calls"))
    }

    /// Calls that asked where jobs stand.
    pub fn queries(&self) -> usize {
        let is_query = |call: &&String| self.cluster.queries.contains(&call.split(' ').next().unwrap_or(""));
        self.calls().iter().filter(is_query).count()
    }

    /// The project's folder.
    pub fn root(&self) -> PathBuf {
        self.path("P")
    }

    /// A file beside the project.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The program, ready to run in `folder`.
    pub fn command_in(&self, folder: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(Path::new(&variable("VITREOUS_CLUSTER_RUN")).join("bin/vitreous"));
        // ssh has no folder of commands: the one that counts calls stands first on PATH
        let path = format!("{}:{}", self.path("commands").display(), variable("PATH"));
        command.args(args).current_dir(folder).env("HOME", self.folder.path()).env("TZ", "UTC");
        command
            .env("VITREOUS_SITE", self.folder.path())
            .env("PATH", path)
            .env("VITREOUS_COMMAND_TIMEOUT_S", "20");
        command.env_remove("VITREOUS_PROJECT").env_remove("XDG_CONFIG_HOME");
        command
    }

    /// Runs a command line in the project, at most a minute and a half; exit code, standard output and error.
    pub fn vitreous(&self, args: &[&str]) -> (i32, String, String) {
        let mut command = Command::new("timeout");
        let inner = self.command_in(&self.root(), args);
        command
            .args(["-s", "KILL", "90"])
            .arg(inner.get_program())
            .args(inner.get_args())
            .current_dir(self.root());
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output: Output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }

    /// The same for a command that must succeed; its standard output.
    pub fn ok(&self, args: &[&str]) -> String {
        let (code, stdout, stderr) = self.vitreous(args);
        if code != 0 {
            self.fail(&format!("vitreous {} ended with {code}: {stdout}{stderr}", args.join(" ")));
        }
        stdout
    }

    /// Starts a command line in the project and leaves it running; it stops at `pause_at`, if that is not empty.
    pub fn start(&self, args: &[&str], pause_at: &str) -> Child {
        let mut command = self.command_in(&self.root(), args);
        if !pause_at.is_empty() {
            command.env("VITREOUS_PAUSE_AT", pause_at);
        }
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Imports the one movie: the job that every test starts with. It is small unless `more` says otherwise. Exit code,
    /// standard output and error.
    pub fn import(&self, more: &[&str]) -> (i32, String, String) {
        let mut args = vec!["run", "import-movies", "--movies", "../raw/*.tif", "--lane", "here"];
        for small in [["--mem-gib", "1"], ["--threads", "1"]] {
            if !more.contains(&small[0]) {
                args.extend(small);
            }
        }
        self.vitreous(&[&args[..], more].concat())
    }

    /// The same, which must be taken by the scheduler or wait for it.
    pub fn import_ok(&self, more: &[&str]) {
        let (code, stdout, stderr) = self.import(more);
        if code != 0 {
            self.fail(&format!("import-movies ended with {code}: {stdout}{stderr}"));
        }
    }

    /// A second job that takes the movies of J1.
    pub fn motion(&self, more: &[&str]) -> (i32, String, String) {
        let small = ["--mem-gib", "1", "--threads", "1"];
        self.vitreous(
            &[&["run", "correct-motion", "--movies", "J1", "--lane", "here"], &small[..], more].concat(),
        )
    }

    /// `status --json` of one job.
    pub fn status(&self, number: u32) -> serde_json::Value {
        let name = format!("J{number}");
        let text = self.ok(&["status", &name, "--json"]);
        let all: serde_json::Value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        all["jobs"][0].clone()
    }

    /// State of a job, with its reason.
    pub fn state(&self, number: u32) -> String {
        let job = self.status(number);
        let state = job["state"].as_str().unwrap_or("?").to_string();
        job["reason"].as_str().map_or(state.clone(), |reason| format!("{state} ({reason})"))
    }

    /// Waits until a job stands so, calling `advance` as cron would.
    pub fn wait_for(&self, number: u32, wanted: &str) {
        self.wait_at_most(LIMIT, number, wanted);
    }

    /// The same with a limit of its own.
    pub fn wait_at_most(&self, limit: Duration, number: u32, wanted: &str) {
        self.eventually(limit, &format!("J{number} {wanted}"), || self.state(number) == wanted);
    }

    /// Waits until something holds, calling `advance`; fails with a report of everything there is to see.
    pub fn eventually(&self, limit: Duration, what: &str, holds: impl FnMut() -> bool) {
        self.poll(limit, what, true, holds);
    }

    /// The same, but nobody calls `advance`.
    pub fn by_itself(&self, limit: Duration, what: &str, holds: impl FnMut() -> bool) {
        self.poll(limit, what, false, holds);
    }

    fn poll(&self, limit: Duration, what: &str, advance: bool, mut holds: impl FnMut() -> bool) {
        let started = Instant::now();
        let mut advanced = Instant::now() - ADVANCE_EVERY;
        while !holds() {
            if started.elapsed() > limit {
                self.fail(&format!("waited {} s for {what}", limit.as_secs()));
            }
            if advance && advanced.elapsed() > ADVANCE_EVERY {
                let _ = self.vitreous(&["advance", "--quiet"]);
                advanced = Instant::now();
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Ends the test with what is to be seen: states, the jobs' attempts, the engine's runs, the scheduler's view.
    pub fn fail(&self, what: &str) -> ! {
        let mut text = format!("{what}\n--- status\n");
        let (_, stdout, stderr) = self.vitreous(&["status"]);
        text += &format!("{stdout}{stderr}");
        for folder in self.job_folders() {
            let number = self.number_of(&folder);
            let (_, stdout, stderr) = self.vitreous(&["why", &format!("J{number}")]);
            text += &format!("--- why J{number}\n{stdout}{stderr}");
            text += &contents(&folder);
        }
        text += &format!("--- runs of the engine: {:?}\n", self.runs());
        text += &format!("--- starts by the scheduler: {:?}\n", self.cluster.starts(self.folder.path()));
        let calls = self.calls();
        text += &format!("--- last calls: {:#?}\n", &calls[calls.len().saturating_sub(8)..]);
        for view in self.cluster.views {
            let output = Command::new("timeout").arg("10").args(*view).output().unwrap();
            text += &format!("--- {}\n{}", view.join(" "), String::from_utf8_lossy(&output.stdout));
        }
        panic!("{text}");
    }

    fn job_folders(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.root()).unwrap().flatten().map(|entry| entry.path());
        let is_job = |path: &PathBuf| self.number_of(path) > 0;
        let mut folders: Vec<PathBuf> = entries.filter(is_job).collect();
        folders.sort();
        folders
    }

    fn number_of(&self, folder: &Path) -> u32 {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.strip_prefix('J').and_then(|rest| rest.split('-').next()?.parse().ok()).unwrap_or(0)
    }

    /// A job's folder, if there is such a job.
    pub fn find_job(&self, number: u32) -> Option<PathBuf> {
        self.job_folders().into_iter().find(|folder| self.number_of(folder) == number)
    }

    /// A job's folder.
    pub fn job(&self, number: u32) -> PathBuf {
        self.find_job(number).unwrap_or_else(|| panic!("no folder of J{number}"))
    }

    /// A file of a job's attempt.
    pub fn attempt(&self, number: u32, attempt: u32, file: &str) -> PathBuf {
        self.job(number).join(format!("attempt-{attempt:02}")).join(file)
    }

    /// The scheduler's id of a job's attempt.
    pub fn id(&self, number: u32, attempt: u32) -> String {
        let text = std::fs::read_to_string(self.attempt(number, attempt, "submission.json")).unwrap();
        let record: serde_json::Value = serde_json::from_str(&text).unwrap();
        record["job_id"].as_str().unwrap().to_string()
    }

    /// Lines of the stand-in engine's own record: `FOLDER ATTEMPT [SLICE]` for each time it was run.
    pub fn runs(&self) -> Vec<String> {
        lines(&self.path("runs"))
    }

    /// Runs of one job's engine.
    pub fn runs_of(&self, number: u32) -> Vec<String> {
        let prefix = format!("J{number:04}-");
        self.runs().into_iter().filter(|line| line.starts_with(&prefix)).collect()
    }

    /// Fails unless the scheduler has started exactly so many scripts for this project. What it lists late is waited
    /// for; what it lists too much is listed before long.
    pub fn check_starts(&self, wanted: usize) {
        let starts = || self.cluster.starts(self.folder.path());
        if starts().is_none() {
            return;
        }
        let listed = || starts().is_some_and(|starts| starts.len() >= wanted);
        self.by_itself(LIMIT, &format!("{wanted} starts in the scheduler's own list"), listed);
        let found = starts().unwrap_or_default();
        if found.len() != wanted {
            self.fail(&format!("the scheduler started {} scripts, not {wanted}: {found:#?}", found.len()));
        }
    }

    /// Attempts that were given up before they had started, and whose script started after all: it has claimed its
    /// attempt, found the cancellation and left, without running the engine.
    pub fn starts_after_the_fence(&self) -> usize {
        let is_late = |job: &Path, attempt: u32| {
            let record = job.join(format!("attempt-{attempt:02}/exit.json"));
            let cancelled = job.join(format!("cancel-{attempt:02}.json")).exists();
            cancelled && std::fs::read_to_string(record).is_ok_and(|text| text.contains("\"code\":143"))
        };
        let of_job = |job: &PathBuf| (1..100).filter(|attempt| is_late(job, *attempt)).count();
        self.job_folders().iter().map(of_job).sum()
    }

    /// Lets engines that wait for it go on.
    pub fn go(&self) {
        std::fs::write(self.path("go"), "").unwrap();
    }

    /// Waits until the engine has been run so often.
    pub fn wait_for_runs(&self, count: usize) {
        self.eventually(LIMIT, &format!("{count} runs of the engine"), || self.runs().len() >= count);
    }
}

impl Drop for Scene {
    /// Nothing that a test started outlives it, and everybody learns how long it took.
    fn drop(&mut self) {
        self.write_faults("");
        self.go();
        let _ = self.vitreous(&["cancel", "--all", "--grace", "0", "--quiet"]);
        let name = std::thread::current().name().unwrap_or("a test").to_string();
        let verdict = if std::thread::panicking() { "failed" } else { "passed" };
        println!("took {:6.1} s, {verdict}: {name}", self.started.elapsed().as_secs_f64());
    }
}

/// Whether this is a run with `--full`.
pub fn is_full() -> bool {
    std::env::var("VITREOUS_CLUSTER_FULL").is_ok_and(|full| full == "1")
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(String::from).collect()
}

/// The files of a job's attempts, the small ones with their text.
fn contents(folder: &Path) -> String {
    const SHOWN: u64 = 1500;
    let mut text = String::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let (path, size) = (entry.path(), entry.metadata().map_or(0, |meta| meta.len()));
            if path.is_dir() {
                text += &format!("{}/\n", path.display());
                folders.push(path);
                continue;
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            text += &format!("{} ({size} bytes)\n", path.display());
            if size <= SHOWN && !name.starts_with('.') {
                let bytes = std::fs::read(&path).unwrap_or_default();
                text += &format!("    {}\n", String::from_utf8_lossy(&bytes).trim().replace('\n', "\n    "));
            }
        }
    }
    text
}
