//! Bad input: one clear error, an exit code, a next step; and nothing is left half done.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    missing_docs,
    reason = "tests start what they test"
)]

mod scene;

use scene::{AT_ONCE, Scene, VITREOUS};
use std::process::Command;

#[test]
fn errors_name_what_where_and_the_next_step() {
    let scene = Scene::new(AT_ONCE, "");
    scene.import(&["--wait"]);
    let cases: &[(&str, &[&str])] = &[
        ("unknown job", &["show", "J9"]),
        ("no name of a job", &["show", "motion"]),
        ("unknown type", &["params", "correct-motoin"]),
        ("missing input", &["run", "correct-motion"]),
        ("input of another kind", &["run", "pick-blobs", "--micrographs", "J1.movies", "--diameter", "150"]),
        ("bad parameter", &["run", "correct-motion", "--movies", "J1", "--bfactor", "-5"]),
        ("no number", &["run", "correct-motion", "--movies", "J1", "--bfactor", "much"]),
        ("no such file", &["run", "import-movies", "--movies", "nothing/*.tif"]),
        ("unknown lane", &["run", "correct-motion", "--movies", "J1", "--lane", "gpu"]),
        ("already a project", &["init", "."]),
        ("not yet run", &["run", "correct-motion", "--movies", "J1", "--hold"]),
        ("no log", &["logs", "J2"]),
        ("no report", &["report", "J1"]),
        ("missing pipeline", &["pipeline", "run", "absent.yaml"]),
    ];
    let mut shown = String::new();
    for (name, args) in cases {
        let (code, _, stderr) = scene.vitreous(args);
        shown += &format!("## {name}: exit {code}\n{}\n", scene.tidy(&stderr));
    }
    insta::assert_snapshot!("errors", shown);
    let output = scene.command_in(scene.above(), &["status"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("hint: go to a project"));
}

#[test]
fn broken_lanes_and_templates_are_refused_before_anything_is_launched() {
    let scene = Scene::new(AT_ONCE, "slot: 2");
    let (code, _, stderr) = scene.import(&[]);
    assert_eq!(code, 2);
    assert!(stderr.contains("lanes/local.yaml") && stderr.contains("slot"), "{stderr}");
    scene.write_lane("template: mine");
    std::fs::write(
        scene.root().join("lanes/mine.sh.tera"),
        "#!/bin/sh\n{{ jobname }}\n{% if gpu %}{% endif %}",
    )
    .unwrap();
    let (code, stdout, stderr) = scene.vitreous(&["lane", "check", "local"]);
    assert_eq!(code, 4);
    assert!(
        stdout.contains("FAILED template") && stdout.contains("unknown names: gpu, jobname"),
        "{stdout}{stderr}"
    );
    let (code, _, stderr) = scene.import(&[]);
    assert_eq!(code, 2);
    assert!(stderr.contains("unknown names: gpu, jobname"), "{stderr}");
    // the job waits, says why, and runs as soon as the lane is right
    assert!(scene.ok(&["why", "J1"]).contains("cannot be launched: template `mine.sh.tera`"));
    scene.write_lane("");
    scene.ok(&["advance"]);
    scene.wait_for(1, "done");
}

#[test]
fn an_engine_that_cannot_be_started_is_a_failure_like_any_other() {
    let scene = Scene::new(AT_ONCE, "");
    std::fs::remove_file(scene.above().join("engine")).unwrap();
    let (code, stdout, _) = scene.import(&["--wait"]);
    assert_eq!((code, stdout.as_str()), (5, "J1 import-movies: failed (exit 127)\n"));
    assert!(scene.ok(&["why", "J1"]).contains("not found"));
    let (code, stdout, _) = scene.vitreous(&["doctor"]);
    assert_eq!(code, 3);
    assert!(stdout.contains("FAILED lane local"), "{stdout}");
}

#[test]
fn broken_records_are_named_and_the_rest_goes_on() {
    let scene = Scene::new(AT_ONCE, "");
    scene.import(&["--wait"]);
    scene.import(&["--wait"]);
    std::fs::write(scene.job(1).join("attempt-01/exit.json"), "{\"schema\": 1, \"co").unwrap();
    std::fs::write(scene.root().join("J0002-import-movies/job.yaml"), "schema: 1\ntype: [").unwrap();
    let text = scene.ok(&["status"]);
    assert!(
        text.contains("exit.json` cannot be understood") && text.contains("job.yaml` cannot be understood"),
        "{text}"
    );
    scene.import(&["--wait"]);
    assert_eq!(scene.state(3), "done");
    let (code, stdout, _) = scene.vitreous(&["fsck"]);
    assert_eq!(code, 3);
    assert!(stdout.contains("exit.json") && stdout.contains("job.yaml"), "{stdout}");
}

/// Runs shell lines in a mount namespace of their own, with `$P` the project and `$V` the program; `None` where the
/// system does not allow that.
fn in_namespace(scene: &Scene, lines: &str) -> Option<String> {
    let script = format!("set -e; exec 2>&1; {lines}");
    let output = Command::new("unshare")
        .args(["-rm", "sh", "-c", &script])
        .current_dir(scene.above())
        .env("P", scene.root())
        .env("V", VITREOUS)
        .env("HOME", scene.above())
        .env("VITREOUS_SITE", scene.above())
        .output()
        .ok()?;
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if text.contains("unshare:") || text.contains("mount:") {
        return None;
    }
    Some(text)
}

#[test]
fn a_read_only_project_can_be_looked_at_and_says_why_it_cannot_be_changed() {
    let scene = Scene::new(AT_ONCE, "");
    scene.import(&["--wait"]);
    let lines = "mount --bind \"$P\" \"$P\"; mount -o remount,ro,bind \"$P\"; cd \"$P\"; $V status; $V show J1 >/dev/null
        set +e; $V run import-movies --movies ../raw/a.tif; echo \"exit $?\"; $V advance; echo \"exit $?\"";
    let Some(text) = in_namespace(&scene, lines) else {
        return eprintln!("skipped: no mount namespaces here");
    };
    assert!(text.contains("J1     import-movies"), "{text}");
    assert_eq!(text.matches("exit 3").count(), 2, "{text}");
    assert!(text.contains("the file system is mounted read-only"), "{text}");
}

#[test]
fn a_full_disk_is_told_and_loses_nothing() {
    let scene = Scene::new(AT_ONCE, "");
    // a disk of 256 KiB: a project, a job that is done, then nothing more fits; then there is room again
    let lines = "mkdir small; mount -t tmpfs -o size=256k tmpfs small; cd small; $V init Q -q; cd Q
        mkdir lanes; cp \"$P/lanes/local.yaml\" lanes/; $V run import-movies --movies ../../raw/a.tif --wait
        set +e; cat /dev/zero >../filler 2>/dev/null; $V run import-movies --movies ../../raw/a.tif --wait; echo \"exit $?\"
        $V status; rm ../filler; $V advance; $V run import-movies --movies ../../raw/a.tif --wait; echo \"exit $?\"";
    let Some(text) = in_namespace(&scene, lines) else {
        return eprintln!("skipped: no mount namespaces here");
    };
    assert!(text.contains("exit 3") && text.contains("hint: the disk is full"), "{text}");
    assert!(text.contains("J1     import-movies"), "{text}");
    assert!(text.trim_end().ends_with("exit 0"), "{text}");
}
