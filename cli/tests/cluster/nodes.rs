//! Nodes that are lost while a job runs on them.

use crate::scene::{Form, LIMIT, LONG, ON_GO, Scene, Use, skip};
use std::time::Duration;

/// The first start waits and fails late; a later start ends at once and well.
const FIRST_IS_LATE: &str = r#"
if [ "$run" = 1 ] && [ "$attempt" = 1 ]; then
    while [ ! -e "$here/go" ]; do sleep 0.1; done
    touch "$here/late"
    exit 7
fi
"#;

/// Loses the node, does something, and finds the node whatever came of it.
fn without_node(scene: &Scene, body: impl FnOnce()) {
    scene.cluster.node("down");
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
    scene.cluster.node("up");
    if let Err(failure) = done {
        std::panic::resume_unwind(failure);
    }
}

/// The cluster is empty but for this job, and its first node has the job.
#[test]
fn a_job_of_a_lost_node_runs_again_and_its_late_record_does_not_win() {
    let Some(scene) = Scene::begin(Use::Alone, Form::Full, FIRST_IS_LATE) else { return };
    if !["slurm", "pbs"].contains(&scene.cluster.name) {
        return skip("no second node that its scheduler would run it on");
    }
    scene.import_ok(&[]);
    scene.wait_for_runs(1);
    without_node(&scene, || {
        scene.eventually(LONG, "a second start", || scene.runs().len() == 2);
        scene.wait_at_most(LONG, 1, "done");
        scene.go();
        scene.by_itself(LIMIT, "the late end of the first start", || scene.path("late").exists());
        std::thread::sleep(Duration::from_secs(3));
        assert_eq!(scene.state(1), "done", "the late record of the first start does not win");
    });
    scene.ok(&["advance"]);
    assert_eq!(scene.state(1), "done");
    assert_eq!(scene.runs().len(), 2);
}

#[test]
fn a_job_that_must_not_run_twice_is_tried_again_by_its_policy_after_its_node_was_lost() {
    let Some(scene) = Scene::begin(Use::Alone, Form::Full, FIRST_IS_LATE) else { return };
    if scene.cluster.name != "slurm" {
        // what OpenPBS says of such a job has not been recorded
        return skip("no second node to try it on");
    }
    scene.write_lane("requeue: false\n");
    scene.import_ok(&["--retry", "1"]);
    scene.wait_for_runs(1);
    without_node(&scene, || {
        scene.wait_at_most(LONG, 1, "done");
        scene.go();
        scene.by_itself(LIMIT, "the late end of the first start", || scene.path("late").exists());
        std::thread::sleep(Duration::from_secs(3));
        assert_eq!(scene.state(1), "done", "the late record of the first attempt does not win");
    });
    assert_eq!(scene.runs().len(), 2);
}

#[test]
fn a_node_that_cannot_be_reached_for_a_while_keeps_its_job() {
    let Some(scene) = Scene::begin(Use::Alone, Form::Short, ON_GO) else { return };
    if scene.cluster.node.is_empty() || scene.cluster.hosts() < 2 {
        return skip("no node to lose");
    }
    scene.import_ok(&[]);
    scene.wait_for_runs(1);
    scene.wait_for(1, "running");
    without_node(&scene, || {
        scene.vitreous(&["advance"]);
        assert_eq!(scene.state(1), "running", "not seen is not lost");
    });
    scene.go();
    scene.wait_at_most(LONG, 1, "done");
    assert_eq!(scene.runs().len(), 1);
    scene.check_starts(1);
}
