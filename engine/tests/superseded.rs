//! A start of a job that the scheduler has given up, and that lives on, leaves the job to the next one.

mod harness;

use harness::{Scratch, assert_same_results, engine, events, finish};
use serde_json::json;
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use vitreous_model::event::EventKind;
use vitreous_project::JobDir;

/// Makes the claim of a start as the submission script does, and starts the engine under it.
fn start(job: &JobDir, claim: &str, number: u32) -> Command {
    let folder = job.attempt(1).path().join(claim).join(format!("run-{number}"));
    std::fs::create_dir_all(folder).expect("should create");
    let mut command = engine(job, &["--attempt", "1", "--threads", "1"]);
    command.env("VITREOUS_RUN", number.to_string()).env("VITREOUS_CLAIM", claim);
    command
}

#[allow(clippy::disallowed_methods, reason = "tests send signals")]
fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args(["-s", name, &child.id().to_string()]).status();
    assert!(status.expect("kill should start").success());
}

#[test]
fn a_start_that_comes_back_after_another_has_finished_the_job_changes_nothing() {
    let scratch = Scratch::new();
    harness::small_movies(&scratch);
    let (inputs, params) = ([("movies", "J1.movies")], json!({"patches_x": 2, "patches_y": 2}));
    let twin = scratch.twin();
    let whole = twin.done("correct-motion", &inputs, params.clone());
    let job = scratch.job("correct-motion", &inputs, params);
    let old = start(&job, "claim", 1).spawn().expect("should start");
    let record = job.file("records/movies-a01-r1-0000.jsonl");
    let deadline = Instant::now() + Duration::from_secs(60);
    // the file is there a moment before its first line, and a line that is being written is finished later
    let is_empty = || std::fs::metadata(&record).map_or(true, |meta| meta.len() == 0);
    while is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    signal(&old, "STOP");
    if job.file("outputs.json").exists() {
        signal(&old, "CONT");
        finish(old);
        println!("skipped: the job was done before it could be stopped");
        return;
    }
    let new = start(&job, "claim", 2).spawn().expect("should start");
    finish(new).succeeded(&job);
    let outputs = || std::fs::metadata(job.file("outputs.json")).and_then(|meta| meta.modified()).ok();
    let (written, recorded) = (outputs(), std::fs::metadata(&record).expect("is there").len());
    signal(&old, "CONT");
    let ended = finish(old);
    assert_eq!(ended.code, Some(75), "{}", ended.stderr);
    assert!(ended.stderr.contains("stopped: a later start of this job has taken over"), "{}", ended.stderr);
    assert_eq!((outputs(), std::fs::metadata(&record).expect("is there").len()), (written, recorded));
    assert_same_results(&whole, &job);
    let last = events(&job).pop();
    assert!(matches!(&last, Some(EventKind::Ended { state, .. }) if state == "done"), "{last:?}");
}

#[test]
fn a_start_that_is_late_from_the_beginning_writes_nothing_at_all() {
    let scratch = Scratch::new();
    harness::small_movies(&scratch);
    let job = scratch.job("correct-motion", &[("movies", "J1.movies")], json!({}));
    for claim in ["claim", "claim-2"] {
        let mut late = start(&job, claim, 1);
        std::fs::create_dir(job.attempt(1).path().join(claim).join("run-2")).expect("should create");
        let ended = finish(late.spawn().expect("should start"));
        assert_eq!(ended.code, Some(75), "{}", ended.stderr);
    }
    let mut names: Vec<_> = std::fs::read_dir(job.attempt(1).path())
        .expect("should list")
        .map(|entry| entry.expect("should list").file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["claim", "claim-2"], "no events, no usage");
    assert!(!job.file("records").exists() && !job.file("effective.json").exists());
}
