//! How jobs end: well, with a code, by a signal, above their memory, out of time, cancelled.

use crate::scene::{AT_ONCE, Form, LIMIT, LONG, ON_GO, Scene, Use};

/// Takes 1.5 GiB of address space and memory, and ends as a Rust program does that gets none: by SIGABRT.
const HUNGRY: &str = r#"
python3 -c '
import os, sys, time
try:
    block = bytearray(3 << 29)
    for at in range(0, len(block), 4096):
        block[at] = 1
except MemoryError:
    print("memory allocation of 1610612736 bytes failed", file=sys.stderr, flush=True)
    os.abort()
time.sleep(60)
' &
wait $!
code=$?
[ "$code" -le 128 ] || kill -s $((code - 128)) $$
[ "$code" = 0 ] || exit "$code"
"#;

/// Saves its work when it is told to, and goes on from it the next time.
const SAVES: &str = r#"
if [ ! -e "$job/checkpoint" ]; then
    trap 'touch "$job/checkpoint"; kill $!; exit 99' USR1 USR2 TERM
    sleep 600 & wait $!
    exit 1
fi
"#;

#[test]
fn a_job_that_succeeds_runs_once_and_is_done() {
    let Some(scene) = Scene::begin(Use::Shared, Form::Short, "echo working; echo remark >&2") else { return };
    scene.import_ok(&[]);
    scene.wait_for(1, "done");
    assert_eq!(scene.runs(), ["J0001-import-movies 1"]);
    scene.check_starts(1);
    let logs = scene.ok(&["logs", "J1"]);
    assert!(logs.contains("working") && logs.contains("remark"), "{logs}");
    assert!(!scene.id(1, 1).is_empty());
}

#[test]
fn an_exit_code_is_told_as_it_was() {
    let Some(scene) = Scene::begin(Use::Shared, Form::Short, "echo 'error: no such camera' >&2; exit 7")
    else {
        return;
    };
    scene.import_ok(&[]);
    scene.wait_for(1, "failed (exit 7)");
    let why = scene.ok(&["why", "J1"]);
    assert!(why.contains("no such camera"), "{why}");
    scene.check_starts(1);
}

#[test]
fn a_segmentation_fault_is_a_signal_and_no_exit_code() {
    let Some(scene) = Scene::begin(Use::Shared, Form::Short, "kill -s SEGV $$") else { return };
    scene.import_ok(&[]);
    scene.wait_for(1, "failed (signal 11)");
    scene.check_starts(1);
}

#[test]
fn a_job_above_its_memory_is_killed_and_says_so() {
    let Some(scene) = Scene::begin(Use::Shared, Form::Short, HUNGRY) else { return };
    scene.import_ok(&[]);
    scene.wait_for(1, "failed (out-of-memory)");
    let why = scene.ok(&["why", "J1"]);
    assert!(why.contains("memory"), "{why}");
}

#[test]
fn a_job_above_its_memory_gets_more_when_it_may_be_tried_again() {
    let Some(scene) = Scene::begin(Use::Shared, Form::Full, HUNGRY) else { return };
    scene.write_engine(&HUNGRY.replace("time.sleep(60)", "sys.exit(0)"));
    // what the user insists on is not raised; the job's own formula is
    let lane = ["--lane", "here", "--retry", "2"];
    scene.ok(&[&["run", "import-movies", "--movies", "../raw/*.tif"], &lane[..]].concat());
    scene.wait_at_most(LONG, 1, "done");
    assert!(scene.runs().len() > 1, "{:?}", scene.runs());
}

#[test]
fn a_checkpoint_before_the_time_limit_is_gone_on_from() {
    let Some(scene) = Scene::begin(Use::Shared, Form::Short, SAVES) else { return };
    // Slurm counts limits in minutes; the signal comes half a minute after the start
    scene.write_lane("signal_s: 45\nlimits: {walltime: 60, threads: 8, mem_gib: 4}\n");
    scene.import_ok(&["--walltime", "60"]);
    scene.wait_at_most(LONG, 1, "done");
    assert_eq!(scene.runs().len(), 2, "told once, and gone on once: {:?}", scene.runs());
    scene.check_starts(2);
}

#[test]
fn a_job_out_of_time_has_failed_for_that_reason() {
    let Some(scene) =
        Scene::begin(Use::Shared, Form::Full, "trap '' USR1 USR2 TERM; while :; do sleep 1; done")
    else {
        return;
    };
    scene.write_lane("signal_s: 20\nlimits: {walltime: 60, threads: 8, mem_gib: 4}\n");
    scene.import_ok(&["--walltime", "60"]);
    scene.wait_at_most(LONG, 1, "failed (timeout)");
    assert_eq!(scene.runs().len(), 1);
}

#[test]
fn a_running_job_is_asked_to_stop_and_is_cancelled() {
    let body =
        "trap 'kill $!; echo saved >&2; exit 99' TERM USR1 USR2\ntouch \"$here/ready\"\nsleep 600 & wait $!";
    let Some(scene) = Scene::begin(Use::Shared, Form::Short, body) else { return };
    scene.import_ok(&[]);
    scene.eventually(LIMIT, "an engine", || scene.path("ready").exists());
    scene.ok(&["cancel", "J1"]);
    scene.wait_for(1, "cancelled");
    assert!(scene.ok(&["logs", "J1"]).contains("saved"), "it was asked before it was killed");
    scene.ok(&["advance"]);
    assert_eq!(scene.state(1), "cancelled", "its checkpoint is not gone on from");
    scene.check_starts(1);
}

#[test]
fn a_running_job_that_does_not_listen_is_killed() {
    let body =
        "trap '' TERM USR1 USR2\ntouch \"$here/ready\"\necho $$ >\"$here/pid\"\nwhile :; do sleep 1; done";
    let Some(scene) = Scene::begin(Use::Shared, Form::Short, body) else { return };
    scene.import_ok(&[]);
    scene.eventually(LIMIT, "an engine", || scene.path("ready").exists());
    let (code, stdout, stderr) = scene.vitreous(&["cancel", "J1", "--grace", "1"]);
    // Grid Engine keeps to the time that its queue gives a job after the warning, and `cancel` says so
    assert!(code == 0 || (code == 4 && scene.cluster.name == "sge"), "{code}: {stdout}{stderr}");
    scene.wait_for(1, "cancelled");
    let pid = std::fs::read_to_string(scene.path("pid")).unwrap();
    let dead = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    };
    scene.eventually(LIMIT, "a dead engine", dead);
}

#[test]
fn a_job_that_waits_in_the_queue_is_told_of_and_cancelled() {
    let Some(scene) = Scene::begin(Use::Shared, Form::Short, AT_ONCE) else { return };
    if scene.cluster.hold.is_empty() {
        // hosts of our own have no queue: a job waits in the project until there is room
        scene.write_engine(ON_GO);
        scene.write_lane("slots: 1\n");
        scene.import_ok(&[]);
        scene.wait_for_runs(1);
        scene.import_ok(&[]);
        scene.ok(&["cancel", "J2"]);
        scene.wait_for(2, "cancelled");
        scene.go();
        scene.wait_for(1, "done");
        assert_eq!(scene.runs(), ["J0001-import-movies 1"]);
        return;
    }
    scene.write_lane(&format!("options: [\"{}\"]\n", scene.cluster.hold));
    scene.import_ok(&[]);
    scene.wait_for(1, "queued");
    let quoted = || scene.ok(&["why", "J1"]).contains(scene.cluster.held_words);
    scene.eventually(LIMIT, &format!("`{}` in `why J1`", scene.cluster.held_words), quoted);
    scene.ok(&["cancel", "J1"]);
    scene.wait_for(1, "cancelled");
    assert!(scene.runs().is_empty(), "{:?}", scene.runs());
    scene.check_starts(0);
}

#[test]
fn a_job_without_outputs_has_not_succeeded() {
    let Some(scene) = Scene::begin(Use::Shared, Form::Short, "exit 0") else { return };
    scene.import_ok(&[]);
    scene.wait_for(1, "failed (no-outputs)");
}
