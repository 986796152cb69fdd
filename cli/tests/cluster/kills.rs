//! The program killed at every step of a submission, and two passes at once under random kills: no job is lost, none
//! runs twice, by the engine's own record and by the scheduler's.

use crate::scene::{AT_ONCE, Form, LIMIT, LONG, ON_GO, Scene, Use, is_full};
use std::time::Duration;

const IMPORT: [&str; 10] = [
    "run",
    "import-movies",
    "--movies",
    "../raw/*.tif",
    "--lane",
    "here",
    "--mem-gib",
    "1",
    "--threads",
    "1",
];

#[test]
fn killed_between_intent_and_submission_nothing_was_started_and_it_is_launched_again() {
    let Some(scene) = Scene::begin(Use::Shared, Form::Short, AT_ONCE) else { return };
    let mut cli = scene.start(&IMPORT, "intent");
    let intent = scene.root().join("J0001-import-movies/attempt-01/intent.json");
    scene.by_itself(LIMIT, "an intent", || intent.exists());
    cli.kill().unwrap();
    cli.wait().unwrap();
    scene.wait_at_most(LONG, 1, "done");
    assert_eq!(scene.runs(), ["J0001-import-movies 2"]);
    scene.check_starts(1);
}

#[test]
fn killed_between_submission_and_its_record_the_job_is_found_again() {
    let Some(scene) = Scene::begin(Use::Shared, Form::Short, ON_GO) else { return };
    let mut cli = scene.start(&IMPORT, "submit");
    scene.by_itself(LIMIT, "an engine", || !scene.runs().is_empty());
    cli.kill().unwrap();
    cli.wait().unwrap();
    let record = scene.root().join("J0001-import-movies/attempt-01/submission.json");
    assert!(!record.exists());
    scene.eventually(LIMIT, "a submission that is recorded after all", || record.exists());
    assert_eq!(scene.state(1), "running");
    scene.go();
    scene.wait_for(1, "done");
    assert_eq!(scene.runs(), ["J0001-import-movies 1"]);
    scene.check_starts(1);
}

#[test]
fn killed_with_its_job_held_in_the_queue_the_job_is_found_again() {
    let Some(scene) = Scene::begin(Use::Shared, Form::Short, AT_ONCE) else { return };
    if scene.cluster.hold.is_empty() {
        return crate::scene::skip("no queue that could hold a job");
    }
    scene.write_lane(&format!("options: [\"{}\"]\n", scene.cluster.hold));
    let mut cli = scene.start(&IMPORT, "submit");
    let submitted =
        || scene.calls().iter().any(|call| call.starts_with(&format!("{} ", scene.cluster.submit)));
    scene.by_itself(LIMIT, "a submission", submitted);
    std::thread::sleep(Duration::from_secs(1));
    cli.kill().unwrap();
    cli.wait().unwrap();
    let record = scene.root().join("J0001-import-movies/attempt-01/submission.json");
    scene.eventually(LIMIT, "a submission that is recorded after all", || record.exists());
    scene.cluster.release(&scene.id(1, 1));
    scene.wait_for(1, "done");
    assert_eq!(scene.runs(), ["J0001-import-movies 1"]);
    scene.check_starts(1);
}

#[test]
fn killed_at_any_moment_of_a_run() {
    let Some(scene) = Scene::begin(Use::Shared, Form::Short, AT_ONCE) else { return };
    let step = if is_full() { 5 } else { 20 };
    for milliseconds in (0..120).step_by(step) {
        let mut cli = scene.start(&IMPORT, "");
        std::thread::sleep(Duration::from_millis(milliseconds));
        let _ = cli.kill();
        cli.wait().unwrap();
    }
    scene.eventually(LONG, "all done", || all_done(&scene));
    check_no_job_ran_twice(&scene);
}

/// Small and reproducible; what is random here is only when somebody dies.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        // xorshift64: Marsaglia 2003, https://doi.org/10.18637/jss.v008.i14
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

#[test]
fn two_passes_at_once_under_random_kills_lose_and_double_nothing() {
    let Some(scene) = Scene::begin(Use::Shared, Form::Short, AT_ONCE) else { return };
    let rounds = if is_full() { 500 } else { 25 };
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    for round in 0..rounds {
        if round % 5 == 0 {
            scene.ok(&[&IMPORT[..], &["--hold"]].concat());
            let number = round / 5 + 1;
            let mut retry = scene.start(&["retry", &format!("J{number}")], "");
            std::thread::sleep(Duration::from_millis(dice.below(60)));
            let _ = retry.kill();
            retry.wait().unwrap();
        }
        let mut passes = [scene.start(&["advance", "--quiet"], ""), scene.start(&["advance", "--quiet"], "")];
        std::thread::sleep(Duration::from_millis(dice.below(120)));
        for pass in &mut passes {
            if dice.below(2) == 0 {
                let _ = pass.kill();
            }
            pass.wait().unwrap();
        }
    }
    // what was killed before it had asked for its run waits to be asked again
    for number in 1..=rounds / 5 {
        if scene.state(number) == "created" {
            scene.ok(&["retry", &format!("J{number}")]);
        }
    }
    scene.eventually(LONG, "all done", || all_done(&scene));
    let (code, stdout, _) = scene.vitreous(&["fsck", "--json"]);
    assert_eq!(code, 0, "{stdout}");
    assert_eq!(check_no_job_ran_twice(&scene), rounds as usize / 5);
}

fn all_done(scene: &Scene) -> bool {
    let all: serde_json::Value = serde_json::from_str(&scene.ok(&["status", "--json"])).unwrap();
    all["jobs"].as_array().unwrap().iter().all(|job| job["state"] == "done")
}

/// Each job's engine was run once, and the scheduler started nothing else: a command that outlives its killed caller holds
/// the mark of its submission until it has ended, and nobody gives the attempt up before. How many jobs ran.
fn check_no_job_ran_twice(scene: &Scene) -> usize {
    let mut jobs: Vec<String> =
        scene.runs().iter().map(|run| run.split(' ').next().unwrap().to_string()).collect();
    let runs = jobs.len();
    jobs.sort();
    jobs.dedup();
    assert_eq!(jobs.len(), runs, "no job ran twice: {:?}", scene.runs());
    if scene.cluster.has_queue() {
        assert_eq!(scene.starts_after_the_fence(), 0, "submissions of killed commands that came too late");
    }
    scene.check_starts(runs);
    runs
}
