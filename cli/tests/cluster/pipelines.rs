//! Whole pipelines with nobody there: by cron, and the quick start's through the real scheduler with two MPI ranks.

use crate::cluster::variable;
use crate::scene::{AT_ONCE, Form, Scene, Use, skip};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// cron looks once a minute: to put right what was cut short, to launch J1, maybe to launch J2.
const CRON_LIMIT: Duration = Duration::from_secs(300);
/// The short quick start takes a few minutes of computing on two cores, and everything else shares them.
const QUICKSTART_LIMIT: Duration = Duration::from_secs(1800);

/// The user's crontab with one line added for as long as this lives.
struct Crontab {
    before: String,
}

impl Crontab {
    fn with(line: &str) -> Self {
        let output = Command::new("crontab").arg("-l").output().unwrap();
        let before =
            if output.status.success() { String::from_utf8(output.stdout).unwrap() } else { String::new() };
        Self::install(&format!("{before}{line}\n"));
        Self { before }
    }

    fn install(text: &str) {
        let mut child = Command::new("crontab").arg("-").stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "crontab");
    }
}

impl Drop for Crontab {
    fn drop(&mut self) {
        Self::install(&self.before);
    }
}

#[test]
fn cron_drives_a_chain_of_jobs_to_its_end() {
    let Some(scene) = Scene::begin(Use::Shared, Form::Full, AT_ONCE) else { return };
    if std::env::var("VITREOUS_CRON").is_err() {
        return skip("no cron daemon");
    }
    // both are asked for by commands that die before they have launched anything
    for (number, args) in [
        (1, &["run", "import-movies", "--movies", "../raw/*.tif", "--lane", "here", "--mem-gib", "1"][..]),
        (2, &["run", "correct-motion", "--movies", "J1", "--after", "--lane", "here", "--mem-gib", "1"][..]),
    ] {
        let mut cli = scene.start(args, "intent");
        let asked = || scene.find_job(number).is_some_and(|job| job.join("request-01.json").exists());
        scene.by_itself(CRON_LIMIT, "a request", asked);
        std::thread::sleep(Duration::from_secs(2));
        let _ = cli.kill();
        cli.wait().unwrap();
    }
    assert!(scene.runs().is_empty(), "nothing runs yet: {:?}", scene.runs());
    let line = format!(
        "* * * * * {}/bin/vitreous advance --quiet --project {} >{} 2>&1",
        variable("VITREOUS_CLUSTER_RUN"),
        scene.root().display(),
        scene.path("cron.log").display(),
    );
    let crontab = Crontab::with(&line);
    scene.by_itself(CRON_LIMIT, "J2 done", || scene.state(2) == "done");
    drop(crontab);
    let log = std::fs::read_to_string(scene.path("cron.log")).unwrap_or_default();
    assert_eq!(scene.state(1), "done", "{log}");
    assert_eq!((scene.runs_of(1).len(), scene.runs_of(2).len()), (1, 1), "{log}");
}

#[test]
fn the_quick_start_runs_through_the_scheduler_with_two_mpi_ranks() {
    let Some(scene) = Scene::begin(Use::Shared, Form::Full, AT_ONCE) else { return };
    let run = variable("VITREOUS_CLUSTER_RUN");
    let engine = Path::new(&run).join("bin/vitreous-engine");
    if !engine.exists() {
        return skip("no engine with MPI was built for this scheduler");
    }
    scene.write_lane(&format!(
        "engine: {}\nlauncher: mpirun --oversubscribe --bind-to none\nlimits: {{threads: 2, mem_gib: 3.5}}\n",
        engine.display()
    ));
    let text = std::fs::read_to_string(Path::new(&run).join("quickstart/short.yaml")).unwrap();
    assert!(text.contains("defaults: {lane: local}"), "the quick start's defaults have changed: {text}");
    let text = text.replace("defaults: {lane: local}", "defaults: {lane: here}");
    let text = text.replace("\n    type: ", "\n    resources: {ranks: 2, threads: 1}\n    type: ");
    std::fs::write(scene.root().join("pipeline.yaml"), text).unwrap();
    std::fs::copy(Path::new(&run).join("quickstart/1MNF.atoms.gz"), scene.root().join("1MNF.atoms.gz"))
        .unwrap();
    scene.ok(&["pipeline", "run", "pipeline.yaml"]);
    let all: serde_json::Value = serde_json::from_str(&scene.ok(&["status", "--json"])).unwrap();
    let count = all["jobs"].as_array().unwrap().len() as u32;
    assert_eq!(count, 8, "{all}");
    scene.eventually(QUICKSTART_LIMIT, "the map", || {
        let states: Vec<String> = (1..=count).map(|number| scene.state(number)).collect();
        if states.iter().any(|state| state.starts_with("failed") || state.starts_with("lost")) {
            scene.fail(&format!("{states:?}"));
        }
        states.iter().all(|state| state == "done")
    });
    let outputs = std::fs::read_to_string(scene.job(count).join("outputs.json")).unwrap();
    assert!(outputs.contains(".mrc"), "{outputs}");
}
