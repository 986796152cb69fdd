//! Jobs that wait for others: behind them in the scheduler's own queue, and never started when those fail.

use crate::scene::{AT_ONCE, Form, LIMIT, ON_GO, Scene, Use};

#[test]
fn a_chain_runs_through_without_anybody_there() {
    let Some(scene) = Scene::begin(Use::Shared, Form::Short, ON_GO) else { return };
    scene.import_ok(&[]);
    let (code, stdout, stderr) = scene.motion(&["--after"]);
    assert_eq!(code, 0, "{stdout}{stderr}");
    scene.wait_for_runs(1);
    assert!(scene.runs_of(2).is_empty(), "not before J1 has ended");
    scene.go();
    if scene.cluster.name != "ssh" {
        // nobody calls `advance`: the scheduler lets J2 go, or the end of J1's script does; a worker of an ssh lane
        // cannot, because it does not reach the other workers
        scene.by_itself(LIMIT, "J2 run by J1's end", || scene.attempt(2, 1, "exit.json").exists());
    }
    scene.wait_for(2, "done");
    assert_eq!((scene.runs_of(1).len(), scene.runs_of(2).len()), (1, 1));
    scene.check_starts(2);
}

#[test]
fn what_waits_for_a_failed_job_never_runs() {
    let Some(scene) = Scene::begin(Use::Shared, Form::Short, &format!("{ON_GO}\nexit 7")) else { return };
    scene.import_ok(&[]);
    scene.wait_for_runs(1);
    let (code, stdout, stderr) = scene.motion(&["--after"]);
    assert_eq!(code, 0, "{stdout}{stderr}");
    scene.go();
    scene.wait_for(1, "failed (exit 7)");
    scene.wait_for(2, "failed (dependency: J1 failed)");
    assert!(scene.runs_of(2).is_empty(), "{:?}", scene.runs());
    // a second look, and what the scheduler holds, change nothing
    scene.ok(&["advance"]);
    assert_eq!(scene.state(2), "failed (dependency: J1 failed)");
    assert!(scene.runs_of(2).is_empty(), "{:?}", scene.runs());
    // when J1 is put right, what failed for its sake alone goes on
    scene.write_engine(AT_ONCE);
    scene.ok(&["retry", "J1"]);
    scene.wait_for(1, "done");
    scene.wait_for(2, "done");
    assert_eq!(scene.runs_of(2).len(), 1);
}

/// Slurm counts a job that it has forgotten as a fulfilled dependency, Grid Engine a failed one: the job's own script
/// has to look once more.
#[test]
fn what_waits_for_a_failed_job_that_the_scheduler_has_forgotten_never_runs() {
    let Some(scene) = Scene::begin(Use::Shared, Form::Full, &format!("{ON_GO}\nexit 7")) else { return };
    if scene.cluster.hold.is_empty() {
        return crate::scene::skip("no scheduler that could forget");
    }
    scene.import_ok(&[]);
    scene.wait_for_runs(1);
    // held besides, so that it is still there when its parent is forgotten
    scene.write_lane_named("held", &format!("options: [\"{}\"]\n", scene.cluster.hold));
    let small = ["--mem-gib", "1", "--threads", "1", "--lane", "held", "--after"];
    scene.ok(&[&["run", "correct-motion", "--movies", "J1"], &small[..]].concat());
    let submitted = || scene.attempt(2, 1, "submission.json").exists();
    scene.eventually(LIMIT, "J2 with the scheduler", submitted);
    let (parent, child) = (scene.id(1, 1), scene.id(2, 1));
    scene.go();
    scene.by_itself(LIMIT, "the end of J1", || scene.attempt(1, 1, "exit.json").exists());
    scene.cluster.forget(&parent);
    // it may have been taken out of the queue by now
    let _ = std::panic::catch_unwind(|| scene.cluster.release(&child));
    scene.wait_for(2, "failed (dependency: J1 failed)");
    assert!(scene.runs_of(2).is_empty(), "{:?}", scene.runs());
}

#[test]
fn without_a_chain_children_are_submitted_when_their_parents_are_done() {
    let Some(scene) = Scene::begin(Use::Shared, Form::Full, ON_GO) else { return };
    scene.write_lane("chain: false\n");
    scene.import_ok(&[]);
    scene.motion(&["--after"]);
    scene.wait_for_runs(1);
    scene.ok(&["advance"]);
    assert_eq!(scene.state(2), "waiting");
    assert!(!scene.attempt(2, 1, "submission.json").exists());
    scene.go();
    scene.wait_for(2, "done");
}
