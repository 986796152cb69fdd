//! Killed at any moment and started again, a job ends with what it would have made uninterrupted.

mod harness;

use harness::{Scratch, assert_same_results, engine, events, finish, run};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use vitreous_model::event::EventKind;
use vitreous_project::JobDir;

/// Kills in one test.
const KILLS: u32 = 10;

/// Milliseconds between 0 and `most`, evenly spread and the same in every run.
fn moment(kill: u32, most: Duration) -> Duration {
    let fraction = (f64::from(kill) * 0.618_034 + 0.31).fract();
    most.mul_f64(fraction)
}

/// Runs one job to its end, and its twin with kills in between, each as a new attempt; their results are the same.
fn assert_survives_kills(
    scratch: &Scratch,
    job_type: &str,
    inputs: &[(&str, &str)],
    params: Value,
) -> JobDir {
    let twin = scratch.twin();
    let whole = twin.job(job_type, inputs, params.clone());
    let started = Instant::now();
    run(&whole, &[]).succeeded(&whole);
    let took = started.elapsed();
    let killed = scratch.job(job_type, inputs, params);
    let mut kills = 0;
    let mut attempt = 0;
    loop {
        attempt += 1;
        let number = attempt.to_string();
        let mut child = engine(&killed, &["--attempt", &number]).spawn().expect("should start");
        if kills == KILLS {
            finish(child).succeeded(&killed);
            break;
        }
        std::thread::sleep(moment(kills, took));
        kills += 1;
        // SIGKILL; the process may have ended by then
        child.kill().expect("should be ours to kill");
        let ended = finish(child);
        assert!(matches!(ended.code, None | Some(0)), "attempt {attempt}: {}", ended.stderr);
    }
    assert_same_results(&whole, &killed);
    killed
}

#[test]
fn movies_to_fitted_micrographs() {
    let scratch = Scratch::new();
    harness::small_movies(&scratch);
    let motion = json!({"patches_x": 2, "patches_y": 2});
    assert_survives_kills(&scratch, "correct-motion", &[("movies", "J1.movies")], motion);
    let ctf = json!({"tile": 128, "min_defocus": 5000.0, "max_defocus": 30000.0, "max_resolution": 6.0});
    assert_survives_kills(&scratch, "estimate-ctf", &[("micrographs", "J2.micrographs")], ctf);
}

#[test]
fn a_refinement() {
    let scratch = Scratch::new();
    harness::small_particles(&scratch, 120);
    let inputs = [("particles", "J1.particles"), ("volume", "J1.volume")];
    let params = json!({"initial_lowpass": 25.0, "diameter": 100.0, "max_iterations": 3});
    assert_survives_kills(&scratch, "refine-homogeneous", &inputs, params);
}

/// Waits until an attempt has come to one of `phases`, or has ended.
fn until_phase(job: &JobDir, attempt: u32, child: &mut std::process::Child, phases: &[&str]) {
    let path = job.attempt(attempt).events_path();
    let said =
        |event: &EventKind| matches!(event, EventKind::Phase { name, .. } if phases.contains(&name.as_str()));
    while child.try_wait().expect("should be ours").is_none() {
        if path.exists() && events(job).iter().any(said) {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_refinement_killed_in_each_of_its_phases() {
    let scratch = Scratch::new();
    harness::small_particles(&scratch, 120);
    let inputs = [("particles", "J1.particles"), ("volume", "J1.volume")];
    let params = json!({"initial_lowpass": 25.0, "diameter": 100.0, "max_iterations": 3});
    let twin = scratch.twin();
    let whole = twin.done("refine-homogeneous", &inputs, params.clone());
    let killed = scratch.job("refine-homogeneous", &inputs, params);
    let phases = [
        "reading images",
        "scale of the starting map",
        "iteration 1",
        "iteration 2",
        "iteration 3",
        "final maps",
    ];
    for (index, attempt) in (0..phases.len()).zip(1..) {
        let mut child = engine(&killed, &["--attempt", &attempt.to_string()]).spawn().expect("should start");
        until_phase(&killed, attempt, &mut child, &phases[index..]);
        child.kill().expect("should be ours to kill");
        // on a busy machine the signal may come after the end
        if finish(child).code.is_none() {
            assert!(killed.outputs().expect("should read").is_none(), "{}: it offers nothing", phases[index]);
        }
    }
    run(&killed, &["--attempt", &(phases.len() + 1).to_string()]).succeeded(&killed);
    let goes_on =
        |event: &EventKind| matches!(event, EventKind::Message { text } if text.contains("going on after"));
    assert!(events(&killed).iter().any(goes_on), "the last attempt starts from a checkpoint");
    assert_same_results(&whole, &killed);
}

#[test]
fn a_warning_signal_ends_with_the_requeue_code_and_the_next_attempt_goes_on() {
    let scratch = Scratch::new();
    harness::small_movies(&scratch);
    let inputs = [("movies", "J1.movies")];
    let twin = scratch.twin();
    let whole = twin.done("correct-motion", &inputs, json!({"patches_x": 1, "patches_y": 1}));
    let job = scratch.job("correct-motion", &inputs, json!({"patches_x": 1, "patches_y": 1}));
    let child = engine(&job, &["--attempt", "1", "--threads", "1"]).spawn().expect("should start");
    let records = job.path().join("records");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !records.exists() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(2));
    }
    signal(child.id(), "USR1");
    let ended = finish(child);
    if ended.code == Some(0) {
        println!("skipped: the job was done before the signal came");
        return;
    }
    assert_eq!(ended.code, Some(99), "{}", ended.stderr);
    let last = events(&job).pop();
    assert!(matches!(&last, Some(EventKind::Ended { state, .. }) if state == "requeue"), "{last:?}");
    assert!(job.outputs().expect("should read").is_none(), "an unfinished job offers nothing");
    let next = run(&job, &["--attempt", "2"]);
    next.succeeded(&job);
    assert_same_results(&whole, &job);
}

#[allow(clippy::disallowed_methods, reason = "tests send signals")]
fn signal(pid: u32, name: &str) {
    let status = std::process::Command::new("kill").args(["-s", name, &pid.to_string()]).status();
    assert!(status.expect("kill should start").success());
}
