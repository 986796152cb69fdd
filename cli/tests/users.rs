//! Two users in one project: each one's jobs run under the own name, and nobody takes another's for lost.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    missing_docs,
    reason = "tests start what they test"
)]

mod scene;

use scene::{AT_ONCE, Scene};
use std::path::Path;

/// A user that this test is not.
const SOMEBODY: u32 = 4_242_424;

/// Changes a field of a JSON file.
fn change(file: &Path, key: &str, value: serde_json::Value) {
    let mut record: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    record[key] = value;
    std::fs::write(file, record.to_string()).unwrap();
}

#[test]
fn what_somebody_else_asked_for_is_left_to_their_passes() {
    let scene = Scene::new(AT_ONCE, "");
    scene.make_jobs(2);
    change(&scene.job(1).join("request-01.json"), "uid", SOMEBODY.into());
    scene.ok(&["advance"]);
    scene.wait_for(2, "done");
    assert_eq!(scene.runs(), ["J0002-import-movies 1"]);
    let why = scene.ok(&["why", "J1"]);
    assert!(why.contains("for the next `vitreous advance` of user 4242424, who asked for it"), "{why}");
}

#[test]
fn what_somebody_else_submitted_is_not_lost_when_the_scheduler_does_not_show_it() {
    let scene = Scene::new(AT_ONCE, "");
    // a Slurm that shows its caller nothing
    let commands = scene.above().join("commands");
    std::fs::create_dir(&commands).unwrap();
    for (name, text) in [("sbatch", "echo 5"), ("squeue", ":"), ("sacct", ":"), ("scontrol", ":")] {
        let path = commands.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        assert!(std::process::Command::new("chmod").arg("+x").arg(&path).status().unwrap().success());
    }
    let lane =
        format!("schema: 1\nscheduler: slurm\ncommand_dir: {}\ngrace_s: 0\npoll_s: 0\n", commands.display());
    std::fs::write(scene.root().join("lanes/gpu.yaml"), lane).unwrap();
    scene.import(&["--lane", "gpu"]);
    let submission = scene.job(1).join("attempt-01/submission.json");
    change(&submission, "uid", SOMEBODY.into());
    assert_eq!(scene.state(1), "queued");
    assert!(
        scene
            .ok(&["why", "J1"])
            .contains("it was submitted by user 4242424, whose `vitreous advance` follows it")
    );
    // one's own is believed to be gone
    change(&submission, "uid", vitreous_project::process::uid().into());
    assert_eq!(scene.state(1), "lost");
}
