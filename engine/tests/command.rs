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
fn a_gpu_that_is_insisted_on_must_be_there() {
    if std::path::Path::new("/dev/nvidiactl").exists() {
        println!("skipped: there is an NVIDIA driver here");
        return;
    }
    let scratch = Scratch::new();
    let job = scratch.job("selftest", &[], json!({}));
    let ended = run(&job, &["--device", "cuda"]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("`--device cuda`: no "), "{}", ended.stderr);
    assert!(ended.stderr.contains("--device auto"), "{}", ended.stderr);
}

/// A result that is not what it must be: the job has failed, and there is a report but no outputs.
#[test]
fn a_self_test_that_fails_leaves_its_report() {
    let scratch = Scratch::new();
    let job = scratch.job("selftest", &[], json!({}));
    // where the first step wants a folder there is a file
    #[expect(clippy::disallowed_methods, reason = "a test spoils its own job")]
    std::fs::write(job.file("simulated"), "in the way").expect("should write");
    let ended = run(&job, &[]);
    assert_eq!(ended.code, Some(5), "{}", ended.stderr);
    assert!(ended.stderr.contains("self-test: simulate failed: "), "{}", ended.stderr);
    assert!(ended.stderr.contains("hint: ") && ended.stderr.contains("report.html"), "{}", ended.stderr);
    assert!(harness::report(&job)["title"].as_str().expect("a title").contains("FAILED"));
    assert!(job.file("report.html").exists() && !job.file("outputs.json").exists());
    assert_eq!(last_words(&job).0, "failed");
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

/// The one line that a probe prints.
fn probed(command: &mut std::process::Command) -> Value {
    let output = command.stdout(std::process::Stdio::piped()).output().expect("should start");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stdout.iter().filter(|byte| **byte == b'\n').count(), 1, "one line");
    serde_json::from_slice(&output.stdout).expect("should be one JSON object")
}

#[test]
fn a_probe_reports_what_was_granted_and_what_it_sees() {
    let scratch = Scratch::new();
    let root = scratch.project.root();
    let report = root.join("probe.json");
    let mut command = bare_engine();
    command.args(["probe", "--json", "--path"]).arg(root).arg("--path").arg(root.join("absent"));
    command.arg("--output").arg(&report).arg("--scratch").arg(scratch.folder.path());
    command.env("SLURM_JOB_ID", "77").env("SLURM_CPUS_PER_TASK", "1").env("SLURM_MEM_PER_NODE", "600");
    command.env("CUDA_VISIBLE_DEVICES", "").env("LOADEDMODULES", "hdf5/1.14");
    let found = probed(&mut command);
    assert_eq!((&found["cores"]["granted"], &found["memory"]["granted_mib"]), (&json!(1), &json!(600.0)));
    assert_eq!((&found["job"]["SLURM_JOB_ID"], &found["modules"]), (&json!("77"), &json!(["hdf5/1.14"])));
    assert_eq!((&found["paths"][0]["readable"], &found["paths"][1]["exists"]), (&json!(true), &json!(false)));
    assert_eq!((&found["scratch"]["writable"], &found["ranks"]["count"]), (&json!(true), &json!(1)));
    assert_eq!(found["engine"]["version"], env!("CARGO_PKG_VERSION"));
    assert!(found["clock"]["difference_s"].is_f64(), "{found}");
    let problems = found["problems"].as_array().expect("should be a list");
    assert!(problems.len() == 1 && problems[0].as_str().is_some_and(|p| p.contains("absent")), "{found}");
    let written = std::fs::read(&report).expect("should be written");
    assert_eq!(serde_json::from_slice::<Value>(&written).expect("should be JSON"), found);
}

#[test]
fn a_probe_tells_that_a_granted_gpu_is_not_there() {
    let mut command = bare_engine();
    command.args(["probe", "--json"]).env("CUDA_VISIBLE_DEVICES", "63");
    let found = probed(&mut command);
    assert_eq!(found["gpus"]["granted"], json!(["63"]));
    assert!(found["problems"][0].as_str().is_some_and(|p| p.contains("1 GPU(s) were granted")), "{found}");
}

#[test]
fn a_probe_speaks_once_however_many_ranks_there_are() {
    if let Some(mut command) = mpirun(2, &["probe", "--json", "--ranks", "2"]) {
        let found = probed(&mut command);
        assert_eq!((&found["ranks"]["count"], &found["problems"]), (&json!(2), &json!([])), "{found}");
        assert_eq!(found["ranks"]["hosts"].as_array().map(Vec::len), Some(2));
        assert_eq!((&found["cores"]["ranks_on_host"], &found["other_hosts"]), (&json!(2), &json!([])));
        return;
    }
    // without MPI the ranks cannot join: the first says so, the others are silent
    let rank = |number: &str| {
        let mut command = bare_engine();
        command
            .args(["probe", "--json"])
            .env("OMPI_COMM_WORLD_SIZE", "2")
            .env("OMPI_COMM_WORLD_RANK", number);
        command
    };
    let found = probed(&mut rank("0"));
    assert!(found["problems"][0].as_str().is_some_and(|p| p.contains("built without MPI")), "{found}");
    let silent = rank("1").stdout(std::process::Stdio::piped()).output().expect("should start");
    assert!(silent.status.success() && silent.stdout.is_empty(), "{silent:?}");
}

#[test]
fn the_version_is_machine_readable() {
    let output = bare_engine().args(["version", "--json"]).stdout(std::process::Stdio::piped()).output();
    let found: Value = serde_json::from_slice(&output.expect("should start").stdout).expect("should be JSON");
    assert_eq!(found["version"], env!("CARGO_PKG_VERSION"));
    assert!(found["job_types"].is_array(), "{found}");
}
