//! Kills at every moment: nothing is lost, nothing runs twice.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    missing_docs,
    reason = "tests start what they test"
)]

mod scene;

use scene::{AT_ONCE, ON_GO, Scene, eventually, signal};
use std::process::Command;
use std::time::Duration;

#[test]
fn killed_between_intent_and_submission() {
    let scene = Scene::new(AT_ONCE, "");
    let mut cli = scene.start(&["run", "import-movies", "--movies", "../raw/*.tif"], "intent");
    let root = scene.root();
    eventually("an intent", || root.join("J0001-import-movies/attempt-01/intent.json").exists());
    assert_eq!(scene.state(1), "queued", "its launcher lives");
    cli.kill().unwrap();
    cli.wait().unwrap();
    assert_eq!(scene.state(1), "waiting (launch-cut-short)");
    scene.ok(&["advance"]);
    scene.wait_for(1, "done");
    assert_eq!(scene.runs(), ["J0001-import-movies 2"]);
    // the script of the first attempt, should it turn up after all, does nothing
    assert!(scene.job(1).join("cancel-01.json").exists());
}

#[test]
fn killed_between_submission_and_its_record() {
    let scene = Scene::new(ON_GO, "");
    let mut cli = scene.start(&["run", "import-movies", "--movies", "../raw/*.tif"], "submit");
    eventually("an engine", || !scene.runs().is_empty());
    cli.kill().unwrap();
    cli.wait().unwrap();
    assert!(!scene.job(1).join("attempt-01/submission.json").exists());
    assert_eq!(scene.state(1), "running");
    let text = scene.ok(&["advance"]);
    assert_eq!(text, "found J1 again, whose launch was cut short\n");
    assert!(scene.job(1).join("attempt-01/submission.json").exists());
    scene.go();
    scene.wait_for(1, "done");
    assert_eq!(scene.runs(), ["J0001-import-movies 1"]);
}

#[test]
fn killed_at_any_moment_of_a_run() {
    let scene = Scene::new(AT_ONCE, "slots: 4");
    for milliseconds in (0..30).step_by(2) {
        let mut cli = scene.start(&["run", "import-movies", "--movies", "../raw/*.tif"], "");
        std::thread::sleep(Duration::from_millis(milliseconds));
        let _ = cli.kill();
        cli.wait().unwrap();
    }
    eventually("all done", || {
        scene.ok(&["advance", "--quiet"]);
        let all: serde_json::Value = serde_json::from_str(&scene.ok(&["status", "--json"])).unwrap();
        all["jobs"].as_array().unwrap().iter().all(|job| job["state"] == "done")
    });
    let mut runs = scene.runs();
    let launched = runs.len();
    runs.sort();
    runs.dedup_by_key(|run| run.split(' ').next().unwrap().to_string());
    assert_eq!(runs.len(), launched, "no job ran twice");
    let (code, stdout, _) = scene.vitreous(&["fsck", "--json"]);
    assert_eq!(code, 0, "half-made jobs are put aside: {stdout}");
    scene.import(&["--wait"]);
}

#[test]
fn killed_at_any_moment_of_an_advance() {
    let scene = Scene::new(AT_ONCE, "slots: 8\nlimits: {threads: 8}");
    scene.make_jobs(8);
    for milliseconds in [0, 2, 4, 6, 8, 10, 12, 15] {
        let mut cli = scene.start(&["advance"], "");
        std::thread::sleep(Duration::from_millis(milliseconds));
        let _ = cli.kill();
        cli.wait().unwrap();
    }
    eventually("all done", || {
        scene.ok(&["advance", "--quiet"]);
        (1..=8).all(|number| scene.state(number) == "done")
    });
    assert_eq!(scene.runs().len(), 8, "{:?}", scene.runs());
}

#[test]
fn many_passes_at_once_launch_each_job_once() {
    let scene = Scene::new(AT_ONCE, "slots: 12\nlimits: {threads: 12}");
    scene.make_jobs(12);
    let mut passes: Vec<_> = (0..6).map(|_| scene.start(&["advance"], "")).collect();
    for pass in &mut passes {
        assert!(pass.wait().unwrap().success());
    }
    for number in 1..=12 {
        scene.wait_for(number, "done");
    }
    assert_eq!(scene.runs().len(), 12);
    assert!(scene.runs().iter().all(|run| run.ends_with(" 1")));
}

#[test]
fn a_killed_engine_fails_with_its_signal_and_retry_goes_on() {
    let scene = Scene::new(ON_GO, "");
    scene.import(&[]);
    eventually("an engine", || !scene.runs().is_empty());
    signal("KILL", &scene.engine_pid(1));
    scene.wait_for(1, "failed (signal 9)");
    scene.go();
    scene.ok(&["retry", "J1", "--wait"]);
    assert_eq!(scene.runs(), ["J0001-import-movies 1", "J0001-import-movies 2"]);
}

#[test]
fn a_killed_script_does_not_make_its_engine_forgotten() {
    let scene = Scene::new(&format!("sleep 60 & {ON_GO}\nkill $!"), "");
    scene.import(&[]);
    eventually("an engine", || !scene.runs().is_empty());
    signal("KILL", &scene.script_pid(1));
    assert_eq!(scene.state(1), "running", "the engine goes on");
    let (code, ..) = scene.vitreous(&["retry", "J1"]);
    assert_eq!(code, 2, "and is not started a second time beside itself");
    scene.go();
    // it left no exit record and, being a stand-in, no last word
    scene.wait_for(1, "lost");
    scene.ok(&["retry", "J1", "--wait"]);
    assert_eq!(scene.state(1), "done");
}

#[test]
fn an_engine_that_has_said_its_last_word_needs_no_script() {
    let said = r#"echo '{"seq":0,"unix_s":1.0,"event":"ended","state":"done","message":""}' >"$job/attempt-01/events.jsonl""#;
    let scene = Scene::new(&format!("{ON_GO}\n{said}"), "");
    scene.import(&[]);
    eventually("an engine", || !scene.runs().is_empty());
    signal("KILL", &scene.script_pid(1));
    scene.go();
    scene.wait_for(1, "done");
}

/// Live processes of a session.
fn session_members(session: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let is_member = |entry: &std::fs::DirEntry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let fields: Vec<&str> =
            stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        fields.get(3) == Some(&session) && fields[0] != "Z"
    };
    entries.filter(is_member).map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn everything_killed_is_lost_until_a_policy_or_a_person_tries_again() {
    let scene = Scene::new("[ \"$attempt\" -gt 1 ] || { touch \"$here/ready\"; sleep 60; }", "");
    scene.import(&["--retry", "1"]);
    eventually("an engine", || scene.above().join("ready").exists());
    let script = scene.script_pid(1);
    // script, engine and the engine's own child, until none of the session is left
    eventually("a dead session", || {
        let members = session_members(&script);
        members.iter().for_each(|pid| drop(Command::new("kill").args(["-s", "KILL", pid]).output()));
        members.is_empty()
    });
    eventually("tried again", || {
        scene.ok(&["advance", "--quiet"]);
        scene.state(1) == "done"
    });
    assert_eq!(scene.runs(), ["J0001-import-movies 1", "J0001-import-movies 2"]);
}
