//! The life of jobs, through the built program and real processes.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    missing_docs,
    reason = "tests start what they test"
)]

mod scene;

use scene::{AT_ONCE, ON_GO, Scene, eventually};
use serde_json::Value;

#[test]
fn a_chain_of_jobs_and_everything_that_tells_of_it() {
    let scene = Scene::new("echo working; echo remark >&2", "");
    let (code, stdout, _) = scene.import(&["--wait", "--title", "grid 1"]);
    assert_eq!((code, stdout.as_str()), (0, "J1 import-movies: done\n"));
    let last = scene.ok(&["run", "correct-motion", "--movies", "J1", "--bfactor", "99", "--wait", "--json"]);
    let last: Value = serde_json::from_str(last.lines().last().unwrap()).unwrap();
    assert_eq!((last["job"].as_str(), last["state"].as_str()), (Some("J2"), Some("done")));

    let tidy = |args: &[&str]| scene.tidy(&scene.ok(args));
    insta::assert_snapshot!("show", tidy(&["show", "J2"]));
    assert!(scene.ok(&["types"]).contains("\ncorrect-motion "));
    insta::assert_snapshot!("status", tidy(&["status"]));
    assert_eq!(scene.ok(&["logs", "J2"]), "working\nremark\n");
    assert_eq!(
        scene.ok(&["why", "J2"]),
        "J2 is done\nhint: `vitreous report J2 --open` shows what it found\n"
    );

    let show: Value = serde_json::from_str(&scene.ok(&["show", "J2", "--json"])).unwrap();
    assert_eq!(show["record"]["params"]["bfactor"], 99);
    assert_eq!(show["record"]["inputs"]["movies"][0], "J1.movies");
    assert_eq!(show["outputs"][1]["slot"], "micrographs");
    assert_eq!(show["exit"]["code"], 0);
    assert!(show["files"].as_array().unwrap().iter().any(|file| file == "attempt-01/submit.sh"));
    for key in ["report", "effective", "usage", "stale"] {
        assert!(show.get(key).is_some(), "{key}");
    }
    // from any folder below, and from elsewhere by name
    let below = scene.root().join("J0001-import-movies/attempt-01");
    assert!(scene.command_in(&below, &["status"]).output().unwrap().status.success());
    assert!(
        scene.command_in(scene.above(), &["status", "--project", "P"]).output().unwrap().status.success()
    );
}

#[test]
fn a_dry_run_shows_the_script_and_changes_nothing() {
    let scene = Scene::new(AT_ONCE, "");
    let before = std::fs::read_dir(scene.root()).unwrap().count();
    let (code, stdout, _) = scene.import(&["--dry-run", "--json"]);
    let plan: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, plan["job"].as_str()), (0, Some("J1")));
    assert!(
        plan["script"].as_str().unwrap().contains("run ")
            && plan["resources"]["threads"].as_u64().unwrap() >= 1
    );
    assert_eq!(std::fs::read_dir(scene.root()).unwrap().count(), before);
    // paths inside the project are kept relative to it, others absolute
    assert_eq!(
        plan["params"]["movies"],
        scene.above().canonicalize().unwrap().join("raw/*.tif").to_str().unwrap()
    );
}

#[test]
fn jobs_queue_behind_their_inputs_and_start_by_themselves() {
    let scene = Scene::new(ON_GO, "");
    scene.import(&[]);
    let (code, _, stderr) = scene.vitreous(&["run", "correct-motion", "--movies", "J1"]);
    assert_eq!(code, 3);
    assert!(stderr.contains("input J1.movies: J1 is ") && stderr.contains("hint: `--after`"), "{stderr}");
    scene.ok(&["run", "correct-motion", "--movies", "J1", "--after"]);
    assert_eq!(scene.state(2), "waiting");
    assert!(scene.ok(&["why", "J2"]).starts_with("J2 waits for J1 import-movies: running"));
    scene.go();
    // nobody calls `advance`: the script of J1 does at its end
    let done = || scene.job(2).join("attempt-01/exit.json").exists();
    eventually("J2 run by J1's end", done);
    assert_eq!(scene.state(2), "done");
}

#[test]
fn a_lane_runs_as_many_at_once_as_it_has_slots() {
    let counting = "mkdir -p \"$here/in\"; touch \"$here/in/$$\"; ls \"$here/in\" | wc -l >>\"$here/counts\"; sleep 0.2; rm \"$here/in/$$\"";
    let scene = Scene::new(counting, "slots: 2\nlimits: {threads: 8}");
    scene.make_jobs(5);
    scene.ok(&["advance"]);
    for number in 1..=5 {
        scene.wait_for(number, "done");
    }
    let counts = std::fs::read_to_string(scene.above().join("counts")).unwrap();
    let counts: Vec<u32> = counts.lines().map(|line| line.trim().parse().unwrap()).collect();
    assert_eq!(counts.len(), 5);
    assert_eq!(counts.iter().max(), Some(&2), "{counts:?}");
}

#[test]
fn cron_has_no_environment_and_needs_none() {
    let scene =
        Scene::new("echo \"$PATH\" >\"$here/path\"; env >\"$here/env\"", "env: {OMP_PROC_BIND: \"false\"}");
    scene.make_jobs(1);
    let output = std::process::Command::new("env")
        .args(["-i", scene::VITREOUS, "advance", "--quiet", "--project"])
        .arg(scene.root())
        .current_dir("/")
        .output()
        .unwrap();
    assert!(
        output.status.success() && output.stdout.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    scene.wait_for(1, "done");
    let path = std::fs::read_to_string(scene.above().join("path")).unwrap();
    assert_eq!(path.trim(), std::env::var("PATH").unwrap(), "that of the shell where the job was asked for");
    let environment = std::fs::read_to_string(scene.above().join("env")).unwrap();
    assert!(
        environment.contains("OMP_PROC_BIND=false") && environment.contains("VITREOUS_THREADS=1"),
        "{environment}"
    );
}

#[test]
fn a_lane_does_not_hand_out_more_cores_than_it_has() {
    let scene = Scene::new(ON_GO, "limits: {threads: 3}");
    scene.import(&["--threads", "2"]);
    scene.import(&["--threads", "2"]);
    scene.import(&["--threads", "1"]);
    assert_eq!(scene.state(2), "waiting");
    eventually("J3 beside J1", || scene.state(3) == "running");
    let why = scene.ok(&["why", "J2"]);
    assert!(why.contains("waits for room in lane local (3 slots, 3 cores): it needs 2 thread(s)"), "{why}");
    scene.go();
    scene.wait_for(2, "done");
}

#[test]
fn a_job_is_a_session_of_its_own() {
    let scene = Scene::new(ON_GO, "");
    scene.import(&[]);
    eventually("a claim", || scene.job(1).join("attempt-01/claim/owner").exists());
    let pid = scene.script_pid(1);
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    assert_eq!(
        (fields[2], fields[3]),
        (pid.as_str(), pid.as_str()),
        "leader of its process group and session"
    );
    assert_eq!(fields[4], "0", "no terminal");
    let ignored = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let mask = ignored.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap().trim();
    assert_eq!(u64::from_str_radix(mask, 16).unwrap() & 1, 1, "hangups are ignored: {mask}");
}

#[test]
fn failures_are_told_with_reason_log_and_remedy_and_retry_goes_on() {
    let scene = Scene::new("echo 'error: movie a.tif is truncated' >&2; exit 3", "");
    let (code, stdout, stderr) = scene.import(&["--wait"]);
    assert_eq!((code, stdout.as_str()), (5, "J1 import-movies: failed (bad-input)\n"));
    assert!(stderr.contains("hint: `vitreous why J1`"), "{stderr}");
    insta::assert_snapshot!("why_failed", scene.tidy(&scene.ok(&["why", "J1"])));
    scene.ok(&["run", "correct-motion", "--movies", "J1.movies", "--hold"]);
    assert_eq!(scene.state(2), "created");
    let (code, _, stderr) = scene.vitreous(&["retry", "J2", "--wait"]);
    assert_eq!(code, 5, "{stderr}");
    assert_eq!(scene.state(2), "failed (dependency: J1 failed)");
    scene.write_engine(AT_ONCE);
    scene.ok(&["retry", "J1", "--wait"]);
    assert_eq!(
        scene.runs(),
        ["J0001-import-movies 1", "J0001-import-movies 2", "J0002-correct-motion 1"][..scene.runs().len()]
    );
    scene.wait_for(2, "done");
    let (code, _, stderr) = scene.vitreous(&["retry", "J1"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("J1 is done") && stderr.contains("--force"), "{stderr}");
}

#[test]
fn policies_try_again_and_checkpoints_go_on_without_one() {
    let scene = Scene::new("[ \"$attempt\" -ge 3 ] || kill -KILL $$", "");
    let (code, ..) = scene.import(&["--wait", "--retry", "2"]);
    assert_eq!(code, 0);
    assert_eq!(scene.runs().len(), 3);
    scene.write_engine("[ \"$attempt\" -ge 4 ] || exit 99");
    let (code, ..) = scene.import(&["--wait"]);
    assert_eq!((code, scene.runs().len()), (0, 7));
    scene.write_engine("exit 1");
    let (code, ..) = scene.import(&["--wait", "--retry", "5"]);
    assert_eq!((code, scene.runs().len()), (5, 8), "an error of the program itself would come again");
}

#[test]
fn exit_without_outputs_is_no_success() {
    let scene = Scene::new("exit 0", "");
    assert_eq!(scene.import(&["--wait"]).0, 5);
    assert_eq!(scene.state(1), "failed (no-outputs)");
}

#[test]
fn cancel_asks_then_kills_and_checks() {
    let polite = "trap 'kill $!; echo saved >&2; exit 99' TERM\ntouch \"$here/ready\"\nsleep 60 & wait $!";
    let scene = Scene::new(polite, "limits: {threads: 1}");
    scene.import(&[]);
    scene.import(&[]);
    eventually("an engine", || scene.above().join("ready").exists());
    let text = scene.ok(&["cancel", "--all"]);
    assert_eq!(text, "J1 import-movies: cancelled\nJ2 import-movies: cancelled\n");
    assert!(scene.ok(&["logs", "J1"]).contains("saved"));
    assert_eq!(scene.runs(), ["J0001-import-movies 1"], "J2 was not launched in its place");
    scene.ok(&["advance"]);
    assert_eq!(scene.state(1), "cancelled", "a checkpoint of a cancelled job is not gone on from");

    std::fs::remove_file(scene.above().join("ready")).unwrap();
    scene.write_engine("trap '' TERM\ntouch \"$here/ready\"\nwhile :; do sleep 1; done");
    scene.import(&[]);
    eventually("an engine", || scene.above().join("ready").exists());
    let engine = scene.engine_pid(3);
    scene.ok(&["cancel", "J3", "--grace", "1"]);
    assert_eq!(scene.state(3), "cancelled");
    let stat = std::fs::read_to_string(format!("/proc/{engine}/stat")).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "the engine is dead: {stat}");
}

#[test]
fn clean_takes_what_is_of_no_more_use_and_results_only_by_name() {
    let scene = Scene::new(
        "mkdir -p \"$job/checkpoint\" \"$job/figures\"; echo x >\"$job/checkpoint/a\"; echo y >\"$job/movies.h5\"",
        "",
    );
    scene.import(&["--wait"]);
    let dry: Value = serde_json::from_str(&scene.ok(&["clean", "--dry-run", "--json"])).unwrap();
    assert_eq!((dry["bytes"].as_u64(), dry["removed"].as_array().unwrap().len()), (Some(2), 1));
    assert!(scene.job(1).join("checkpoint/a").exists());
    scene.ok(&["clean"]);
    assert!(!scene.job(1).join("checkpoint").exists() && scene.job(1).join("movies.h5").exists());
    scene.ok(&["clean", "--results", "J1"]);
    let left = |name: &str| scene.job(1).join(name).exists();
    assert!(!left("movies.h5") && !left("outputs.json") && left("figures") && left("attempt-01/exit.json"));
}

#[test]
fn pipelines_reuse_what_is_done_and_unchanged() {
    let scene = Scene::new(AT_ONCE, "");
    let file = scene.root().join("spa.yaml");
    let text = "schema: 1\ndefaults: {lane: local}\njobs:\n  movies: {type: import-movies, movies: ../raw/*.tif}\n  \
                motion: {type: correct-motion, from: movies}\n  ctf: {type: estimate-ctf, micrographs: motion}\n";
    std::fs::write(&file, text).unwrap();
    assert!(scene.ok(&["pipeline", "plan", "spa.yaml"]).lines().all(|line| line.ends_with("new")));
    let (code, stdout, stderr) = scene.vitreous(&["pipeline", "run", "spa.yaml", "--wait"]);
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert_eq!(scene.runs().len(), 3);
    insta::assert_snapshot!("plan_reused", scene.ok(&["pipeline", "plan", "spa.yaml"]));
    scene.ok(&["pipeline", "run", "spa.yaml", "--wait"]);
    assert_eq!(scene.runs().len(), 3, "nothing has changed");
    std::fs::write(&file, text.replace("from: movies}", "from: movies, bfactor: 200}")).unwrap();
    scene.ok(&["pipeline", "run", "spa.yaml", "--wait"]);
    assert_eq!(scene.runs().len(), 5, "what changed and what rests on it");
    std::fs::write(scene.above().join("raw/b.tif"), "b").unwrap();
    scene.ok(&["pipeline", "run", "spa.yaml", "--wait"]);
    assert_eq!(scene.runs().len(), 8, "a new movie changes everything");
}

#[test]
fn of_inputs_of_which_one_is_needed_one_is_found_and_a_second_is_refused() {
    let scene = Scene::new(AT_ONCE, "");
    let text = "schema: 1\njobs:\n  movies: {type: import-movies, movies: ../raw/*.tif}\n  \
                motion: {type: correct-motion, from: movies}\n  \
                picks: {type: pick-blobs, from: motion, diameter: 150}\n  \
                boxes: {type: extract-particles, from: picks, box_size: 64}\n  \
                again: {type: extract-particles, from: [boxes, motion], box_size: 96}\n";
    std::fs::write(scene.root().join("spa.yaml"), text).unwrap();
    scene.ok(&["pipeline", "run", "spa.yaml", "--wait"]);
    for (job, used, other) in [(4, "picks", "particles"), (5, "particles", "picks")] {
        let path = scene.root().join(format!("J{job:04}-extract-particles/job.yaml"));
        let spec = std::fs::read_to_string(path).unwrap();
        assert!(spec.contains(&format!("{used}:")) && !spec.contains(&format!("{other}:")), "{spec}");
    }
    let refused = |more: &[&str]| {
        let words = ["run", "extract-particles", "--micrographs", "J2", "--box-size", "64"];
        let (code, _, stderr) = scene.vitreous(&[&words[..], more].concat());
        assert_eq!(code, 2, "{stderr}");
        stderr
    };
    assert!(refused(&["--picks", "J3", "--particles", "J4"]).contains("takes picks or particles, not both"));
    assert!(refused(&[]).contains("input `picks` is not given"));
}

#[test]
fn a_pipeline_that_fails_says_so_and_a_repeat_goes_on() {
    let scene = Scene::new("case $job in *motion*) exit 1 ;; esac", "");
    let text = "schema: 1\njobs:\n  movies: {type: import-movies, movies: ../raw/*.tif}\n  \
                motion: {type: correct-motion, from: movies}\n  ctf: {type: estimate-ctf, micrographs: motion}\n";
    std::fs::write(scene.root().join("spa.yaml"), text).unwrap();
    std::fs::write(
        scene.root().join("bad.yaml"),
        text.replace("micrographs: motion", "micrographs: motion, tile: -1"),
    )
    .unwrap();
    let (code, _, stderr) = scene.vitreous(&["pipeline", "run", "bad.yaml"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("bad.yaml: job `ctf`: parameter `tile`"), "{stderr}");
    assert!(!scene.root().join("J0001-import-movies").exists(), "nothing is made of a pipeline with a fault");
    let (code, stdout, _) = scene.vitreous(&["pipeline", "run", "spa.yaml", "--wait"]);
    assert_eq!(code, 5);
    insta::assert_snapshot!("pipeline_failed", stdout);
    scene.write_engine(AT_ONCE);
    scene.ok(&["retry", "--failed", "--wait"]);
    scene.wait_for(3, "done");
}

#[test]
fn caches_may_be_deleted_at_any_time() {
    let scene = Scene::new(AT_ONCE, "");
    scene.import(&["--wait"]);
    scene.import(&["--wait"]);
    let before = scene.ok(&["status", "--json"]);
    // the pass at the end of J1 may be at work in it
    let caches = scene.root().join(".vitreous");
    eventually("no caches", || std::fs::remove_dir_all(&caches).is_ok() || !caches.exists());
    assert_eq!(scene.ok(&["status", "--json"]), before);
    let moved = scene.above().join("moved");
    std::fs::rename(scene.root(), &moved).unwrap();
    let output = scene.command_in(&moved, &["status", "--json"]).output().unwrap();
    let after = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(after.replace("/moved\"", "/P\""), before, "a project can be moved");
    std::fs::rename(&moved, scene.root()).unwrap();
}

#[test]
fn pages_and_completions_are_printed() {
    let scene = Scene::new(AT_ONCE, "");
    assert!(scene.ok(&["man"]).contains(".TH vitreous 1"));
    assert!(scene.ok(&["completions", "bash"]).contains("correct-motion"));
    scene.ok(&["man", "--dir", "pages"]);
    assert!(scene.root().join("pages/vitreous-run-correct-motion.1").exists());
    assert!(scene.ok(&["params", "correct-motion"]).contains("\ntype: correct-motion\n"));
    assert!(scene.ok(&["lane", "list"]).contains("local"));
    assert!(scene.ok(&["lane", "check", "local"]).contains("accepted by `sh -n …`"));
    assert!(scene.ok(&["doctor"]).contains("lane local"));
    assert!(scene.ok(&["fsck"]).contains("0 findings"));
}

#[test]
fn an_input_for_several_jobs_takes_them_all_and_others_refuse_a_second() {
    let scene = Scene::new(AT_ONCE, "");
    let text = "schema: 1\njobs:\n  movies: {type: import-movies, movies: ../raw/*.tif}\n  \
                motion: {type: correct-motion, from: movies}\n  \
                picks: {type: pick-blobs, from: motion, diameter: 150}\n  \
                boxes: {type: extract-particles, from: picks, micrographs: motion, box_size: 64}\n  \
                more: {type: extract-particles, from: picks, micrographs: motion, box_size: 64, invert: false}\n  \
                both: {type: combine-particles, particles: [boxes, more]}\n  \
                same: {type: combine-particles, from: [more, motion, boxes]}\n";
    std::fs::write(scene.root().join("spa.yaml"), text).unwrap();
    scene.ok(&["pipeline", "run", "spa.yaml", "--wait"]);
    for (job, order) in [(6, [4, 5]), (7, [5, 4])] {
        let path = scene.root().join(format!("J{job:04}-combine-particles/job.yaml"));
        let spec = std::fs::read_to_string(path).unwrap();
        let at = order.map(|parent| spec.find(&format!("J{parent}.particles")).unwrap_or(usize::MAX));
        assert!(at[0] < at[1] && at[1] < usize::MAX, "{spec}");
    }
    let (code, _, stderr) = scene.vitreous(&["run", "ab-initio", "--particles", "J4", "--particles", "J5"]);
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("takes one job, not J4, J5") && stderr.contains("combine-particles"), "{stderr}");
    let help = scene.ok(&["run", "combine-particles", "--help"]);
    assert!(help.contains("--particles J1 --particles J2"), "{help}");
}
