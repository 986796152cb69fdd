//! What the engine says and returns when something is wrong, before any stage runs.

mod harness;

use harness::{Scratch, bare_engine, events, finish, mpirun, run};
use serde_json::{Value, json};
use vitreous_model::event::EventKind;

fn last_words(job: &vitreous_project::JobDir) -> (String, String) {
    match events(job).pop() {
        Some(EventKind::Ended { state, message }) => (state, message),
        other => panic!("the last event is {other:?}"),
    }
}

#[test]
fn a_folder_that_is_no_job_is_named() {
    let scratch = Scratch::new();
    let mut command = bare_engine();
    let ended =
        finish(command.arg("run").arg(scratch.folder.path().join("J9")).spawn().expect("should start"));
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(ended.stderr.contains("J9") && ended.stderr.contains("hint: "), "{}", ended.stderr);
}

#[test]
fn unknown_job_types_are_an_input_error() {
    let scratch = Scratch::new();
    let job = scratch.job("bake-cake", &[], json!({}));
    let ended = run(&job, &[]);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(ended.stderr.contains("unknown job type `bake-cake`"), "{}", ended.stderr);
    assert_eq!(last_words(&job).0, "failed");
}

#[test]
fn unknown_parameters_name_the_key_and_the_nearest_one() {
    let scratch = Scratch::new();
    let job = scratch.job("simulate", &[], json!({"model": "x.pdb", "pixle_size": 2.0}));
    let ended = run(&job, &[]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("`pixle_size`"), "{}", ended.stderr);
    assert!(ended.stderr.contains("hint: did you mean `pixel_size`?"), "{}", ended.stderr);
    let (state, message) = last_words(&job);
    assert!(state == "failed" && message.contains("pixle_size"), "{message}");
}

#[test]
fn inputs_must_be_there_and_of_the_right_kind() {
    let scratch = Scratch::new();
    let job = scratch.job("sharpen", &[], json!({}));
    let ended = run(&job, &[]);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(ended.stderr.contains("input `volume`"), "{}", ended.stderr);
    let job = scratch.job("sharpen", &[("volume", "J1.volume")], json!({}));
    let ended = run(&job, &[]);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(ended.stderr.contains("J1 has not written its outputs yet"), "{}", ended.stderr);
}

#[test]
fn a_gpu_that_no_stage_uses_is_refused_when_insisted_on() {
    let scratch = Scratch::new();
    let job = scratch.job("import-volume", &[], json!({"volume": "map.mrc"}));
    let ended = run(&job, &["--device", "cuda"]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("--device auto"), "{}", ended.stderr);
}

#[test]
fn one_of_several_ranks_does_not_run_alone() {
    if cfg!(feature = "mpi") {
        println!("skipped: this engine can join them");
        return;
    }
    let scratch = Scratch::new();
    let job = scratch.job("simulate", &[], json!({"model": "x.pdb"}));
    for (name, value) in [("OMPI_COMM_WORLD_SIZE", "3"), ("PMI_SIZE", "3"), ("SLURM_STEP_NUM_TASKS", "3")] {
        let ended = finish(harness::engine(&job, &[]).env(name, value).spawn().expect("should start"));
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains(&format!("{name}=3")), "{}", ended.stderr);
        assert!(ended.stderr.contains("--features mpi"), "{}", ended.stderr);
    }
    let ended = finish(harness::engine(&job, &[]).env("VITREOUS_RANKS", "3").spawn().expect("should start"));
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("3 ranks were asked for, but there are 1"), "{}", ended.stderr);
}

#[test]
fn ranks_find_each_other_under_mpirun() {
    let Some(mut command) = mpirun(3, &["check-ranks", "--ranks", "3"]) else { return };
    let output = command.stdout(std::process::Stdio::piped()).output().expect("mpirun should start");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let found: Value = serde_json::from_slice(&output.stdout).expect("should be one JSON object");
    assert_eq!(found["ranks"], 3, "{found}");
    let mut command = mpirun(2, &["check-ranks", "--ranks", "3"]).expect("was possible before");
    assert!(!command.status().expect("mpirun should start").success(), "two ranks are not three");
}

#[test]
fn the_version_is_machine_readable() {
    let output = bare_engine().args(["version", "--json"]).stdout(std::process::Stdio::piped()).output();
    let found: Value = serde_json::from_slice(&output.expect("should start").stdout).expect("should be JSON");
    assert_eq!(found["version"], env!("CARGO_PKG_VERSION"));
    assert!(found["job_types"].is_array(), "{found}");
}
