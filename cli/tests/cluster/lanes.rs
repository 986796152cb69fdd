//! Lanes made from what the scheduler says of itself, and checked by a job.

use crate::scene::{Form, Scene, Use, skip};

/// Answers the probe as the engine does, with what the shell can see.
const PROBES: &str = r#"
[ "$1" = probe ] && {
    gpus=$(printf '%s' "${CUDA_VISIBLE_DEVICES:-}" | sed 's/[^,][^,]*/{"name":"&"}/g')
    cat >"$3" <<END
{"host":"$(uname -n)","job":{},"modules":[],"cores":{"granted":${OMP_NUM_THREADS:-0},"decided_by":"OMP_NUM_THREADS"},
"memory":{"granted_mib":64000,"decided_by":"machine"},"gpus":{"granted":[$gpus],"devices":[$gpus]},
"ranks":{"count":1,"hosts":["$(uname -n)"]},"scratch":null,
"paths":[{"path":"$PWD","readable":true,"writable":true}],
"engine":{"version":"VERSION","features":[]},"clock":{"difference_s":0.0},"problems":[]}
END
    exit 0
}"#;

/// `lane add` with what it must be told here; `None` where lanes are made otherwise.
fn add(scene: &Scene) -> Vec<String> {
    let name = scene.cluster.name;
    let mut words: Vec<String> = ["lane", "add", "made", "--from", name].map(String::from).to_vec();
    if scene.cluster.has_queue() {
        words.extend(["--command-dir".into(), scene.path("commands").to_string_lossy().into_owned()]);
    }
    if name == "ssh" {
        words.extend([
            "--ssh-option=-F".into(),
            format!("--ssh-option={}", crate::cluster::variable("VITREOUS_SSH_CONFIG")),
        ]);
        for worker in crate::cluster::variable("VITREOUS_SSH_WORKERS").split_whitespace() {
            words.extend(["--worker".into(), worker.into()]);
        }
    }
    words
}

#[test]
fn a_lane_made_from_what_the_scheduler_says_passes_its_check() {
    let probes = PROBES.replace("VERSION", env!("CARGO_PKG_VERSION"));
    let Some(scene) = Scene::begin(Use::Shared, Form::Short, &probes) else { return };
    let words = add(&scene);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    scene.ok(&words);
    let path = scene.root().join("lanes/made.yaml");
    let lane = std::fs::read_to_string(&path).unwrap();
    let engine = format!("engine: {}\n", scene.path("engine").display());
    std::fs::write(&path, lane.clone() + &engine).unwrap();
    // where the scheduler names them to the job, a GPU is asked for, because there is a limit of them
    let gpus: &[&str] = if scene.cluster.name == "slurm" { &[] } else { &["--gpus", "0"] };
    let (code, stdout, stderr) = scene.vitreous(&[&["lane", "check", "made"], gpus].concat());
    let granted = stdout.contains("ok     GPUs         1 granted") || !gpus.is_empty();
    if code != 0 || !stdout.contains("ok     probe job") || !granted {
        scene.fail(&format!("check ended with {code}: {stdout}{stderr}\n{lane}"));
    }
    let left: Vec<_> = std::fs::read_dir(scene.root().join(".vitreous"))
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().contains("lane-check"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_queue_that_there_is_not_fails_the_check_in_the_schedulers_words() {
    let Some(scene) = Scene::begin(Use::Shared, Form::Short, "") else { return };
    if scene.cluster.wrong_queue.is_empty() {
        skip("there are no queues here");
        return;
    }
    scene.write_lane(scene.cluster.wrong_queue);
    let (code, stdout, stderr) = scene.vitreous(&["lane", "check", "here"]);
    if code != 4 || !stdout.contains(scene.cluster.wrong_queue_words) {
        scene.fail(&format!("check ended with {code}: {stdout}{stderr}"));
    }
}
