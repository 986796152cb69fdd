//! A job done in slices, as the elements of an array job do it, makes what one run makes.

mod harness;

use harness::{Scratch, assert_same_results, bare_engine, engine, finish, mpirun, run};
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};
use vitreous_model::event::EventKind;
use vitreous_project::JobDir;

/// Waits until a file is there, or half a minute.
fn wait_for(path: &Path) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !path.exists() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// How the events of a slice end.
fn last_word(job: &JobDir, attempt: u32, slice: u32) -> String {
    let path = job.attempt(attempt).slice_events_path(slice);
    let events = vitreous_project::events::tail(&path).expect("should read");
    match events.last().map(|event| event.kind.clone()) {
        Some(EventKind::Ended { state, .. }) => state,
        other => panic!("{}: the last event is {other:?}", path.display()),
    }
}

#[test]
fn slices_side_by_side_killed_repeated_and_missing_make_what_one_run_makes() {
    let scratch = Scratch::new();
    harness::small_movies(&scratch);
    let motion = json!({"patches_x": 2, "patches_y": 2});
    let inputs = [("movies", "J1.movies")];
    let twin = scratch.twin();
    let whole = twin.done("correct-motion", &inputs, motion.clone());
    let job = scratch.job("correct-motion", &inputs, motion);
    let slice = |slice: &str| engine(&job, &["--attempt", "1", "--threads", "1", "--slice", slice]);
    let mut first = slice("1/3").spawn().expect("should start");
    let third = slice("3/3").spawn().expect("should start");
    wait_for(&job.file("records/movies-a01-s1-0000.jsonl"));
    first.kill().expect("should be ours to kill");
    let killed = finish(first);
    assert!(matches!(killed.code, None | Some(0)), "{}", killed.stderr);
    finish(third).succeeded(&job);
    finish(slice("1/3").spawn().expect("should start")).succeeded(&job);
    assert_eq!((last_word(&job, 1, 1), last_word(&job, 1, 3)), ("done".into(), "done".into()));
    for name in ["outputs.json", "effective.json", "report.json", "micrographs.h5"] {
        assert!(!job.file(name).exists(), "a slice does not write {name}");
    }
    let attempt = job.attempt(1);
    for name in ["effective-1.json", "effective-3.json", "usage-1-0.json", "usage-3-0.json"] {
        assert!(attempt.file(name).exists(), "a slice writes {name}");
    }
    let progress = attempt.progress().expect("should read").expect("should be there");
    assert_eq!((progress.done, progress.total), (3, 3), "movies 1 and 4, and movie 3");
    // slice 2 never ran
    run(&job, &["--attempt", "2"]).succeeded(&job);
    assert_same_results(&whole, &job);
    let fresh = std::fs::read_to_string(job.file("records/movies-a02-0000.jsonl")).expect("should read");
    assert_eq!(fresh.lines().filter(|line| !line.is_empty()).count(), 2, "movies 2 and 5 were missing");
}

#[test]
fn slices_with_ranks_and_from_the_environment_make_what_one_run_makes() {
    let scratch = Scratch::new();
    harness::small_movies(&scratch);
    scratch.done("correct-motion", &[("movies", "J1.movies")], json!({"patches_x": 1, "patches_y": 1}));
    let ctf = json!({"tile": 128, "min_defocus": 5000.0, "max_defocus": 30000.0, "max_resolution": 6.0});
    let inputs = [("micrographs", "J2.micrographs")];
    let twin = scratch.twin();
    let whole = twin.done("estimate-ctf", &inputs, ctf.clone());
    let job = scratch.job("estimate-ctf", &inputs, ctf);
    let path = job.path().to_string_lossy().into_owned();
    match mpirun(2, &["run", &path, "--threads", "1", "--slice", "1/2"]) {
        Some(mut command) => finish(command.spawn().expect("mpirun should start")).succeeded(&job),
        None => run(&job, &["--slice", "1/2"]).succeeded(&job),
    }
    let second = engine(&job, &[]).env("VITREOUS_SLICE", "2/2").spawn().expect("should start");
    finish(second).succeeded(&job);
    assert!(job.outputs().expect("should read").is_none(), "nothing is collected yet");
    run(&job, &[]).succeeded(&job);
    assert_same_results(&whole, &job);
    let collected = std::fs::read_dir(job.file("records")).expect("should list").filter(|entry| {
        let name = entry.as_ref().expect("should list").file_name();
        !name.to_string_lossy().contains("-s")
    });
    assert_eq!(collected.count(), 0, "the run that collects had nothing left to do");
}

#[test]
fn a_simulation_in_slices_is_the_same_simulation() {
    let scratch = Scratch::new();
    let twin = scratch.twin();
    let whole = harness::small_movies(&twin);
    let params = serde_json::Value::Object(whole.spec().params.clone());
    harness::write_model(&scratch);
    let job = scratch.job("simulate", &[], params);
    let slices = ["1/2", "2/2"].map(|slice| engine(&job, &["--slice", slice]).spawn().expect("should start"));
    slices.into_iter().for_each(|slice| finish(slice).succeeded(&job));
    run(&job, &[]).succeeded(&job);
    assert_same_results(&whole, &job);
}

#[test]
fn jobs_without_items_and_slices_that_are_none_are_refused() {
    let scratch = Scratch::new();
    let job = scratch.job("import-volume", &[], json!({"volume": "map.mrc"}));
    let ended = run(&job, &["--slice", "1/2"]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("import-volume has no items"), "{}", ended.stderr);
    assert!(ended.stderr.contains("hint: run it whole"), "{}", ended.stderr);
    let mut command = bare_engine();
    let ended =
        finish(command.arg("run").arg(job.path()).args(["--slice", "3/2"]).spawn().expect("should start"));
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("expected E/M with E from 1 to M"), "{}", ended.stderr);
}
