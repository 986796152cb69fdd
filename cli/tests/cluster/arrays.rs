//! Per-movie work as an array of tasks.

use crate::scene::{AT_ONCE, Form, LIMIT, LONG, Scene, Use, skip};

/// The four movies of J1 as an array of four tasks.
fn scene(form: Form, lane: &str, body: &str) -> Option<Scene> {
    let scene = Scene::begin(Use::Shared, form, AT_ONCE)?;
    if !scene.cluster.has_queue() {
        skip("no arrays on hosts of our own");
        return None;
    }
    scene.write_lane(&format!("array: 1\n{lane}"));
    scene.import_ok(&[]);
    scene.wait_for(1, "done");
    scene.write_engine(body);
    Some(scene)
}

/// Which slices of J2 were run, sorted; the run that collects them has none and is last.
fn slices(scene: &Scene) -> (Vec<String>, usize) {
    let runs = scene.runs_of(2);
    let mut slices: Vec<String> =
        runs.iter().filter_map(|run| run.split(' ').nth(2).map(String::from)).collect();
    let whole = runs.len() - slices.len();
    slices.sort();
    (slices, whole)
}

#[test]
fn an_array_does_every_slice_once_and_collects_once() {
    let Some(scene) = scene(Form::Short, "", AT_ONCE) else { return };
    scene.motion(&[]);
    scene.wait_for(2, "done");
    assert_eq!(slices(&scene), (vec!["1/4".into(), "2/4".into(), "3/4".into(), "4/4".into()], 1));
}

#[test]
fn only_the_failed_elements_of_an_array_are_submitted_again() {
    let body = "[ \"$attempt\" -gt 1 ] || case $slice in 2/4 | 4/4) exit 7 ;; esac";
    let Some(scene) = scene(Form::Short, "", body) else { return };
    scene.motion(&[]);
    scene.eventually(LIMIT, "J2 failed", || scene.state(2).starts_with("failed"));
    let (first, whole) = slices(&scene);
    assert_eq!((first.len(), whole), (4, 0), "{:?}", scene.runs());
    let why = scene.ok(&["why", "J2"]);
    assert!(why.contains('2') && why.contains("exit 7"), "which, and of what: {why}");
    scene.ok(&["retry", "J2"]);
    scene.wait_for(2, "done");
    let (all, whole) = slices(&scene);
    assert_eq!(all, ["1/4", "2/4", "2/4", "3/4", "4/4", "4/4"], "{:?}", scene.runs());
    assert_eq!(whole, 1, "collected once: {:?}", scene.runs());
}

#[test]
fn a_throttled_array_runs_no_more_at_once_than_it_may() {
    let body = "[ -z \"$slice\" ] || { mkdir -p \"$here/in\"; touch \"$here/in/$$\"; ls \"$here/in\" | wc -l >>\"$here/counts\"; \
                sleep 2; rm \"$here/in/$$\"; }";
    let Some(scene) = scene(Form::Full, "array_at_once: 2\n", body) else { return };
    scene.motion(&[]);
    scene.wait_at_most(LONG, 2, "done");
    let counts = std::fs::read_to_string(scene.path("counts")).unwrap();
    let counts: Vec<u32> = counts.lines().map(|line| line.trim().parse().unwrap()).collect();
    assert_eq!((counts.len(), counts.iter().max()), (4, Some(&2)), "{counts:?}");
}

#[test]
fn cancelling_an_array_ends_all_of_it() {
    let Some(scene) = scene(Form::Full, "", "[ -z \"$slice\" ] || sleep 600") else { return };
    scene.motion(&[]);
    scene.eventually(LIMIT, "a task", || !scene.runs_of(2).is_empty());
    scene.ok(&["cancel", "J2", "--grace", "2"]);
    scene.wait_for(2, "cancelled");
    let before = scene.runs_of(2).len();
    scene.ok(&["advance"]);
    assert_eq!(scene.runs_of(2).len(), before, "no further task starts");
}
