//! Schedulers that are down, missing, slow or talk rubbish: the last truth is kept, nothing is lost, nothing doubled.

use crate::scene::{AT_ONCE, Form, LIMIT, LONG, ON_GO, Scene, Use, skip};

/// A scene on a cluster whose commands faults can stand before.
fn scene(usage: Use, form: Form, body: &str) -> Option<Scene> {
    let scene = Scene::begin(usage, form, body)?;
    if !scene.cluster.has_queue() {
        skip("no commands of a scheduler that could fail");
        return None;
    }
    Some(scene)
}

#[test]
fn a_controller_that_is_down_and_comes_back_changes_nothing() {
    let Some(scene) = Scene::begin(Use::Alone, Form::Short, ON_GO) else { return };
    if scene.cluster.name == "local" {
        return skip("no controller");
    }
    scene.import_ok(&[]);
    scene.wait_for_runs(1);
    scene.wait_for(1, "running");
    scene.cluster.controller("down");
    let down = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        scene.vitreous(&["advance"]);
        assert_eq!(scene.state(1), "running", "the last truth is kept");
        let (code, stdout, stderr) = scene.import(&[]);
        assert!(code == 0 || code == 4, "{code}: {stdout}{stderr}");
        let state = scene.state(2);
        assert!(
            ["waiting", "queued"].contains(&&*state) || state.starts_with("waiting"),
            "J2 is not lost: {state}"
        );
    }));
    scene.cluster.controller("up");
    if let Err(failure) = down {
        std::panic::resume_unwind(failure);
    }
    scene.go();
    scene.wait_at_most(LONG, 1, "done");
    scene.wait_at_most(LONG, 2, "done");
    assert_eq!((scene.runs_of(1).len(), scene.runs_of(2).len()), (1, 1));
    scene.check_starts(2);
}

#[test]
fn commands_that_are_not_there_are_named_and_nothing_is_lost() {
    let Some(scene) = scene(Use::Shared, Form::Short, AT_ONCE) else { return };
    scene.write_faults("* missing\n");
    let (code, stdout, stderr) = scene.import(&[]);
    assert_eq!(code, 4, "{stdout}{stderr}");
    assert!(stderr.contains(scene.cluster.submit), "names `{}`: {stderr}", scene.cluster.submit);
    scene.write_faults("");
    if scene.state(1).starts_with("failed") {
        scene.ok(&["retry", "J1"]);
    }
    scene.wait_for(1, "done");
    assert_eq!(scene.runs().len(), 1);
    scene.check_starts(1);
}

#[test]
fn commands_are_not_taken_from_elsewhere_than_the_lane_says() {
    let Some(scene) = scene(Use::Shared, Form::Short, AT_ONCE) else { return };
    std::fs::create_dir(scene.path("empty")).unwrap();
    scene.write_lane(&format!("command_dir: {}\n", scene.path("empty").display()));
    let (code, stdout, stderr) = scene.import(&[]);
    // another scheduler's command of the same name may stand on PATH
    assert_eq!(code, 4, "there is no command in the lane's folder: {stdout}{stderr}");
    assert!(stderr.contains(scene.cluster.submit), "{stderr}");
    assert!(scene.runs().is_empty());
}

#[test]
fn answers_that_say_nothing_leave_the_last_truth() {
    let Some(scene) = scene(Use::Shared, Form::Short, ON_GO) else { return };
    scene.import_ok(&[]);
    scene.wait_for_runs(1);
    scene.wait_for(1, "running");
    for fault in ["fail", "rubbish", "empty", "missing"] {
        let lines: String = scene.cluster.queries.iter().map(|query| format!("{query} {fault}\n")).collect();
        scene.write_faults(&lines);
        // longer than the least time between two questions
        std::thread::sleep(std::time::Duration::from_millis(700));
        scene.vitreous(&["advance"]);
        let state = scene.state(1);
        if state != "running" {
            scene.fail(&format!("with answers that {fault}, J1 is {state}"));
        }
    }
    scene.write_faults("");
    scene.go();
    scene.wait_for(1, "done");
    assert_eq!(scene.runs().len(), 1);
    scene.check_starts(1);
}

#[test]
fn a_scheduler_that_hangs_is_not_waited_for() {
    let Some(scene) = scene(Use::Shared, Form::Full, ON_GO) else { return };
    scene.import_ok(&[]);
    scene.wait_for_runs(1);
    scene.wait_for(1, "running");
    scene.write_faults("* hang\n");
    std::thread::sleep(std::time::Duration::from_millis(700));
    // `vitreous` itself is ended after 90 s, which would be an error
    scene.ok(&["advance", "--quiet"]);
    assert_eq!(scene.state(1), "running");
    scene.write_faults("");
    scene.go();
    scene.wait_at_most(LONG, 1, "done");
}

#[test]
fn a_submission_whose_answer_was_lost_is_found_again() {
    let Some(scene) = scene(Use::Shared, Form::Short, ON_GO) else { return };
    scene.write_faults(&format!("{} lost {}\n", scene.cluster.submit, scene.cluster.lost_words));
    let (code, stdout, stderr) = scene.import(&[]);
    assert!(code == 0 || code == 4, "{code}: {stdout}{stderr}");
    scene.write_faults("");
    scene.wait_for_runs(1);
    scene.go();
    if scene.state(1).starts_with("failed") {
        scene.fail("J1 runs, but is told as failed");
    }
    scene.wait_for(1, "done");
    assert_eq!(scene.runs().len(), 1, "{:?}", scene.runs());
    scene.check_starts(1);
}

#[test]
fn a_full_queue_is_waited_for() {
    let Some(scene) = scene(Use::Shared, Form::Short, AT_ONCE) else { return };
    let words = scene.cluster.full_words;
    scene.write_faults(&format!("{} fail {words}\n", scene.cluster.submit));
    let (code, stdout, stderr) = scene.import(&[]);
    assert!(code == 0 || code == 4, "{code}: {stdout}{stderr}");
    let said = format!("{stderr}{}", scene.ok(&["why", "J1"]));
    assert!(said.contains(words), "quotes the scheduler: {said}");
    scene.write_faults("");
    if scene.state(1).starts_with("failed") {
        scene.ok(&["retry", "J1"]);
    }
    scene.wait_for(1, "done");
    assert_eq!(scene.runs().len(), 1);
}

#[test]
fn many_jobs_are_asked_about_at_once() {
    let Some(scene) = scene(Use::Shared, Form::Short, ON_GO) else { return };
    for _ in 0..5 {
        scene.import_ok(&[]);
    }
    scene.wait_for_runs(1);
    std::thread::sleep(std::time::Duration::from_millis(700));
    let before = scene.queries();
    scene.ok(&["status"]);
    let asked = scene.queries() - before;
    assert!(
        asked <= 2,
        "{asked} questions about five jobs: {:#?}",
        &scene.calls()[scene.calls().len() - asked..]
    );
    scene.go();
    for number in 1..=5 {
        scene.wait_for(number, "done");
    }
    assert_eq!(scene.runs().len(), 5);
    scene.eventually(LIMIT, "all quiet", || scene.ok(&["status"]).contains("done"));
}

#[test]
fn the_scheduler_is_asked_no_more_often_than_the_lane_allows() {
    let Some(scene) = scene(Use::Shared, Form::Short, ON_GO) else { return };
    scene.write_lane("poll_s: 600\n");
    scene.import_ok(&[]);
    scene.by_itself(LIMIT, "a run", || !scene.runs().is_empty());
    scene.ok(&["advance"]);
    let before = scene.queries();
    for _ in 0..3 {
        scene.ok(&["advance"]);
        scene.ok(&["status"]);
    }
    assert_eq!(scene.queries(), before, "a fresh answer is used again: {:#?}", scene.calls());
    scene.go();
    // the job's own record tells of its end, without a question
    scene.wait_for(1, "done");
}
