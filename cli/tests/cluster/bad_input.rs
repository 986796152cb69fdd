//! What people get wrong: one clear message in the scheduler's own words, and nothing lost.

use crate::scene::{AT_ONCE, Form, LIMIT, ON_GO, Scene, Use, skip};

#[test]
fn a_wrong_queue_is_refused_in_the_schedulers_words() {
    let Some(scene) = Scene::begin(Use::Shared, Form::Short, AT_ONCE) else { return };
    if !scene.cluster.has_queue() {
        return skip("no queues");
    }
    scene.write_lane(scene.cluster.wrong_queue);
    let (code, stdout, stderr) = scene.import(&[]);
    assert_eq!(code, 4, "{stdout}{stderr}");
    assert!(stderr.contains(scene.cluster.wrong_queue_words), "quotes the scheduler: {stderr}");
    assert_eq!(scene.state(1), "failed (refused)");
    let why = scene.ok(&["why", "J1"]);
    assert!(why.contains(scene.cluster.wrong_queue_words), "so does `why`: {why}");
    scene.write_lane("");
    scene.ok(&["retry", "J1"]);
    scene.wait_for(1, "done");
    assert_eq!(scene.runs().len(), 1);
}

#[test]
fn more_than_there_is_is_refused_or_told_by_why() {
    let Some(scene) = Scene::begin(Use::Shared, Form::Short, AT_ONCE) else { return };
    if scene.cluster.name == "local" {
        scene.write_lane("limits: {threads: 8, gpus: 0}\n");
    }
    let (code, stdout, stderr) = scene.import(&["--gpus", "99"]);
    if !scene.cluster.has_queue() {
        assert_ne!(code, 0, "no host of ours has 99 GPUs: {stdout}");
        assert!(stderr.contains("GPU"), "{stderr}");
        return;
    }
    assert!(code == 0 || code == 4, "{code}: {stdout}{stderr}");
    let words: &[&str] = match scene.cluster.name {
        "slurm" => &["Requested node configuration is not available"],
        // one that nothing here can satisfy waits for ever, unless it is tried first
        "sge" => &["no suitable queues", "cannot run", "not enough", "qw"],
        _ => &["Can Never Run", "resource"],
    };
    let told = || {
        let said = format!("{stderr}{}", scene.ok(&["why", "J1"]));
        words.iter().any(|words| said.contains(words))
    };
    scene.eventually(LIMIT, &format!("one of {words:?} in `why J1`"), told);
    scene.ok(&["advance"]);
    assert!(scene.runs().is_empty());
}

#[test]
fn more_than_the_lane_allows_is_never_submitted() {
    let Some(scene) = Scene::begin(Use::Shared, Form::Short, AT_ONCE) else { return };
    scene.write_lane("limits: {mem_gib: 2, threads: 8}\n");
    let (code, stdout, stderr) = scene.import(&["--mem-gib", "64"]);
    assert_ne!(code, 0, "{stdout}");
    assert!(stderr.contains("64 GiB") && stderr.contains("2 GiB"), "{stderr}");
    assert!(
        !scene
            .calls()
            .iter()
            .any(|call| !scene.cluster.submit.is_empty() && call.starts_with(scene.cluster.submit))
    );
}

#[test]
fn a_copied_project_leaves_the_jobs_of_the_original_alone() {
    let Some(scene) = Scene::begin(Use::Shared, Form::Short, ON_GO) else { return };
    scene.import_ok(&[]);
    scene.wait_for_runs(1);
    scene.wait_for(1, "running");
    let copied = std::process::Command::new("cp").arg("-a").args([scene.root(), scene.path("copy")]).status();
    assert!(copied.unwrap().success());
    for _ in 0..3 {
        scene.command_in(&scene.path("copy"), &["advance", "--quiet"]).output().unwrap();
    }
    assert_eq!(scene.runs().len(), 1, "the copy starts nothing");
    scene.command_in(&scene.path("copy"), &["cancel", "--all", "--grace", "1"]).output().unwrap();
    let state = scene.state(1);
    if state != "running" {
        scene.fail(&format!("cancelled in the copy, J1 of the original is {state}"));
    }
    scene.go();
    scene.wait_for(1, "done");
    assert_eq!(scene.runs().len(), 1);
    scene.check_starts(1);
}

#[test]
fn a_job_of_another_cluster_is_not_judged_by_this_one() {
    let Some(scene) = Scene::begin(Use::Shared, Form::Short, ON_GO) else { return };
    if !scene.cluster.has_queue() {
        return skip("no cluster that could be another");
    }
    scene.import_ok(&[]);
    scene.wait_for_runs(1);
    scene.wait_for(1, "running");
    // as if it had been submitted where ids mean other jobs: this cluster does not know this one at all
    let record = scene.attempt(1, 1, "submission.json");
    let text = std::fs::read_to_string(&record).unwrap();
    let mut fields: serde_json::Value = serde_json::from_str(&text).unwrap();
    let named =
        fields.as_object().unwrap().iter().find(|(key, value)| key.contains("cluster") && value.is_string());
    let Some(key) = named.map(|(key, _)| key.clone()) else {
        return skip("this scheduler does not say what its cluster is called");
    };
    fields[&key] = "elsewhere".into();
    std::fs::write(&record, fields.to_string()).unwrap();
    let before = scene.calls().len();
    scene.vitreous(&["advance"]);
    assert_eq!(scene.state(1), "running", "nothing is concluded");
    scene.vitreous(&["cancel", "J1", "--grace", "1"]);
    let cancels = ["scancel", "qdel"];
    let told = scene.calls()[before..].iter().any(|call| cancels.contains(&call.split(' ').next().unwrap()));
    assert!(!told, "nothing of this cluster is cancelled in its place");
    std::fs::write(&record, text).unwrap();
    scene.go();
    scene.eventually(LIMIT, "an end", || ["done", "cancelled"].contains(&&*scene.state(1)));
    assert_eq!(scene.runs().len(), 1);
}

#[test]
fn a_template_with_names_that_there_are_not_fails_the_lane_check() {
    let Some(scene) = Scene::begin(Use::Shared, Form::Short, AT_ONCE) else { return };
    std::fs::write(scene.root().join("lanes/odd.sh.tera"), "#!/bin/sh\n{{ nosuch }} {{ norsuch }}\n")
        .unwrap();
    scene.write_lane_named("odd", "template: odd\n");
    let (code, stdout, stderr) = scene.vitreous(&["lane", "check", "odd"]);
    assert_ne!(code, 0, "{stdout}");
    let said = format!("{stdout}{stderr}");
    assert!(said.contains("nosuch") && said.contains("norsuch"), "all unknown names at once: {said}");
}
