//! A project in a temporary folder, and the built engine run on its jobs as a submission script would.

#![allow(dead_code, reason = "each test file uses its part")]

use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use vitreous_model::event::EventKind;
use vitreous_model::outputs::Output;
use vitreous_project::allocate::NewJob;
use vitreous_project::{JobDir, Microscope, Project, ProjectFile, ResourceOverrides, RetryPolicy};

/// A project that is removed with this value.
pub struct Scratch {
    pub folder: tempfile::TempDir,
    pub project: Project,
}

/// How an engine ended.
#[derive(Debug)]
pub struct Ended {
    /// Exit code; `None` when a signal killed it.
    pub code: Option<i32>,
    pub stderr: String,
}

impl Scratch {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let file = ProjectFile::new("scratch", Microscope::default());
        let project = Project::init(&folder.path().join("project"), file).expect("should make a project");
        Self { folder, project }
    }

    /// A copy of the whole project, in which the next job has the same number: tables hold the paths of the job's own
    /// files, so only jobs of one name can make the same bytes.
    pub fn twin(&self) -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let root = folder.path().join("project");
        copy(self.project.root(), &root);
        Self { folder, project: Project::open(&root).expect("should be a project") }
    }

    /// Makes a job; inputs as `("particles", "J1.particles")`.
    pub fn job(&self, job_type: &str, inputs: &[(&str, &str)], params: Value) -> JobDir {
        let mut slots = BTreeMap::new();
        for (slot, from) in inputs {
            let from = from.parse().expect("should be a reference to an output");
            slots.entry((*slot).to_string()).or_insert_with(Vec::new).push(from);
        }
        let new = NewJob {
            job_type: job_type.into(),
            title: String::new(),
            inputs: slots,
            params: params.as_object().cloned().unwrap_or_else(Map::new),
            lane: "local".into(),
            resources: ResourceOverrides::default(),
            retry: RetryPolicy::default(),
            fingerprint: String::new(),
            vars: BTreeMap::new(),
        };
        self.project.create_job(new, None).expect("should make a job")
    }

    /// Makes a job and runs it to its end.
    pub fn done(&self, job_type: &str, inputs: &[(&str, &str)], params: Value) -> JobDir {
        let job = self.job(job_type, inputs, params);
        run(&job, &[]).succeeded(&job);
        job
    }
}

fn copy(from: &Path, to: &Path) {
    if !from.is_dir() {
        std::fs::copy(from, to).map(drop).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        return;
    }
    std::fs::create_dir_all(to).expect("should make a folder");
    for entry in std::fs::read_dir(from).expect("should list") {
        let entry = entry.expect("should list");
        copy(&entry.path(), &to.join(entry.file_name()));
    }
}

impl Ended {
    pub fn succeeded(&self, job: &JobDir) {
        assert_eq!(self.code, Some(0), "{}: {}", job.path().display(), self.stderr);
    }
}

/// An engine on a job, in an environment without launchers and schedulers.
pub fn engine(job: &JobDir, args: &[&str]) -> Command {
    let mut command = bare_engine();
    command.arg("run").arg(job.path()).args(args);
    command
}

#[allow(clippy::disallowed_methods, reason = "tests start the built program")]
pub fn bare_engine() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vitreous-engine"));
    without_launchers(&mut command);
    command
}

/// The tests themselves may run inside a scheduler's job.
pub fn without_launchers(command: &mut Command) {
    for (name, _) in std::env::vars() {
        if ["OMPI_", "PMI", "SLURM_", "MV2_", "PALS_", "VITREOUS_"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
        {
            command.env_remove(name);
        }
    }
    // OpenMPI refuses root, as whom containers run
    command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
}

pub fn finish(child: Child) -> Ended {
    let output = child.wait_with_output().expect("should end");
    Ended { code: output.status.code(), stderr: String::from_utf8_lossy(&output.stderr).into_owned() }
}

pub fn run(job: &JobDir, args: &[&str]) -> Ended {
    finish(engine(job, args).spawn().expect("should start"))
}

/// `mpirun -n RANKS` of the engine, with the launcher of the library that it was built with; `None`, said aloud, where that
/// is not possible.
#[allow(clippy::print_stdout, reason = "tests say why they do not run")]
pub fn mpirun(ranks: usize, args: &[&str]) -> Option<Command> {
    if !cfg!(feature = "mpi") {
        println!("skipped: this engine is built without the feature `mpi`");
        return None;
    }
    let (own, _) = launchers();
    let found = own.iter().find(|name| launcher_works(name));
    if found.is_none() {
        println!("skipped: none of {} on PATH", own.join(", "));
    }
    Some(launched_by(found?, ranks, args))
}

/// The engine started by another MPI library's launcher.
#[allow(clippy::print_stdout, reason = "tests say why they do not run")]
pub fn wrong_mpirun(ranks: usize, args: &[&str]) -> Option<Command> {
    let (_, foreign) = launchers();
    let found = foreign.iter().find(|name| launcher_works(name));
    if found.is_none() {
        println!("skipped: none of {} on PATH", foreign.join(", "));
    }
    Some(launched_by(found?, ranks, args))
}

/// Launchers of the library that the engine was built with, and of the other one.
fn launchers() -> (Vec<&'static str>, Vec<&'static str>) {
    let said = finish_output(bare_engine().arg("version"));
    if said.contains("MPICH") {
        (vec!["mpirun.mpich", "mpiexec.hydra"], vec!["mpirun.openmpi"])
    } else {
        (vec!["mpirun.openmpi", "mpirun"], vec!["mpirun.mpich", "mpiexec.hydra"])
    }
}

fn finish_output(command: &mut Command) -> String {
    let output = command.stdout(Stdio::piped()).output().expect("should run");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[allow(clippy::disallowed_methods, reason = "tests start the launcher")]
fn launcher_works(name: &str) -> bool {
    Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

#[allow(clippy::disallowed_methods, reason = "tests start the launcher")]
fn launched_by(launcher: &str, ranks: usize, args: &[&str]) -> Command {
    let mut command = Command::new(launcher);
    without_launchers(&mut command);
    command.args(["-n", &ranks.to_string()]);
    if !["mpirun.mpich", "mpiexec.hydra"].contains(&launcher) {
        // more ranks than cores
        command.arg("--oversubscribe");
    }
    command.arg(env!("CARGO_BIN_EXE_vitreous-engine")).args(args);
    command
}

/// What a job's events say, without heartbeats.
pub fn events(job: &JobDir) -> Vec<EventKind> {
    let attempt = job.latest_attempt().expect("should list").expect("should have an attempt");
    let events = vitreous_project::events::tail(&attempt.events_path()).expect("should read");
    assert!(events.windows(2).all(|pair| pair[0].seq < pair[1].seq), "numbers rise");
    events.into_iter().map(|event| event.kind).filter(|kind| *kind != EventKind::Heartbeat).collect()
}

pub fn outputs(job: &JobDir) -> Vec<Output> {
    job.outputs()
        .expect("should read")
        .unwrap_or_else(|| panic!("{} has no outputs", job.path().display()))
        .outputs
}

/// Every file that a job's outputs name, relative to the job's folder, with its content.
pub fn results(job: &JobDir) -> BTreeMap<String, Vec<u8>> {
    let mut files: Vec<String> = Vec::new();
    for output in outputs(job) {
        files.extend(output.parts.into_values());
        files.push(output.path);
    }
    files.sort();
    files.dedup();
    files.into_iter().flat_map(|name| contents(&job.path().join(&name), &name)).collect()
}

fn contents(path: &Path, name: &str) -> Vec<(String, Vec<u8>)> {
    if !path.is_dir() {
        let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        return vec![(name.to_string(), bytes)];
    }
    let entries = std::fs::read_dir(path).expect("should list").map(|entry| entry.expect("should list"));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    let inside = |path: PathBuf| {
        let name = format!("{name}/{}", path.file_name().unwrap_or_default().to_string_lossy());
        contents(&path, &name)
    };
    paths.into_iter().flat_map(inside).collect()
}

/// The numbers and records of a report, without what tells runs apart.
pub fn report(job: &JobDir) -> Value {
    let text = std::fs::read_to_string(job.path().join("report.json")).expect("should have a report");
    serde_json::from_str(&text).expect("should be JSON")
}

/// Asserts that two runs of the same job made the same files and the same numbers.
pub fn assert_same_results(a: &JobDir, b: &JobDir) {
    let (a_files, b_files) = (results(a), results(b));
    assert_eq!(a_files.keys().collect::<Vec<_>>(), b_files.keys().collect::<Vec<_>>());
    for (name, bytes) in &a_files {
        let same = *bytes == b_files[name];
        assert!(same, "{name} of {} and {} differ", a.path().display(), b.path().display());
    }
    assert_eq!(report(a)["numbers"], report(b)["numbers"], "{}", a.spec().job_type);
}

/// An atomic model without symmetry, about 80 Å across: carbon atoms along a few bent rods.
#[allow(clippy::disallowed_methods, reason = "test data in a temporary folder")]
pub fn write_model(scratch: &Scratch) -> String {
    let rods: [([f64; 3], [f64; 3]); 5] = [
        ([-30.0, -5.0, 0.0], [30.0, 5.0, 4.0]),
        ([-20.0, 20.0, -12.0], [5.0, -25.0, 20.0]),
        ([10.0, 22.0, 10.0], [28.0, -8.0, -22.0]),
        ([-8.0, -28.0, -18.0], [-24.0, 6.0, 24.0]),
        ([0.0, 0.0, -26.0], [12.0, 14.0, 22.0]),
    ];
    let mut text = String::new();
    let mut serial = 0;
    for (from, to) in rods {
        for step in 0..160 {
            let t = f64::from(step) / 159.0;
            let turn = 1.7 * f64::from(step);
            let radius = 2.3;
            let at = [
                from[0] + t * (to[0] - from[0]) + radius * turn.cos(),
                from[1] + t * (to[1] - from[1]) + radius * turn.sin() + 6.0 * (3.0 * t).sin(),
                from[2] + t * (to[2] - from[2]) + 0.5 * radius * (2.0 * turn).cos(),
            ];
            serial += 1;
            text += &format!(
                "ATOM  {serial:5}  CA  ALA A{:4}    {:8.3}{:8.3}{:8.3}  1.00 20.00           C\n",
                serial % 10_000,
                at[0],
                at[1],
                at[2]
            );
        }
    }
    text += "END\n";
    let path = scratch.project.root().join("model.pdb");
    std::fs::write(&path, text).expect("should write");
    "model.pdb".into()
}

/// A few small movies of the model.
pub fn small_movies(scratch: &Scratch) -> JobDir {
    let params = serde_json::json!({
        "model": write_model(scratch), "product": "movies", "movies": 5, "particles_per_movie": 6,
        "width": 256, "height": 192, "frames": 8, "dose_per_frame": 3.0, "pixel_size": 2.0, "box_size": 64,
        "voltage": 300.0, "cs": 2.7, "amplitude_contrast": 0.1, "drift": 12.0, "local_motion": 2.0,
    });
    scratch.done("simulate", &[], params)
}

/// Particle images of the model and the true map.
pub fn small_particles(scratch: &Scratch, particles: u32) -> JobDir {
    let params = serde_json::json!({
        "model": write_model(scratch), "product": "particles", "particles": particles, "box_size": 40,
        "pixel_size": 4.0, "snr": 0.2, "voltage": 300.0, "cs": 2.7, "amplitude_contrast": 0.1, "shift": 4.0,
    });
    scratch.done("simulate", &[], params)
}
