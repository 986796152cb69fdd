//! Lanes: made from what a scheduler says or from CryoSPARC's files, checked with a job, and what jobs used.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    missing_docs,
    reason = "tests start what they test"
)]

mod scene;

use scene::{AT_ONCE, ON_GO, Scene, eventually};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Folders of checks that were not removed.
fn left_over(scene: &Scene) -> Vec<String> {
    let entries = std::fs::read_dir(scene.root().join(".vitreous")).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.contains("lane-check")).collect()
}

#[test]
fn a_lane_that_works_is_checked_with_a_job() {
    let scene = Scene::new(AT_ONCE, "");
    let text = scene.ok(&["lane", "check", "local"]);
    for line in [
        "ok     file",
        "ok     template",
        "ok     script",
        "ok     engine here",
        "ok     probe job",
        "ok     node         here",
        "ok     ranks",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert_eq!(left_over(&scene), Vec::<String>::new());
    let result: Value =
        serde_json::from_str(&scene.ok(&["lane", "check", "local", "--no-probe", "--json"])).unwrap();
    assert_eq!(result["ok"], true);
    assert!(
        result["findings"].as_array().unwrap().iter().any(|finding| finding["warning"] == true),
        "{result}"
    );
}

#[test]
fn a_probe_job_that_fails_quotes_what_it_said() {
    let scene = Scene::new("echo no such device >&2; exit 7", "");
    let (code, stdout, stderr) = scene.vitreous(&["lane", "check", "local"]);
    assert_eq!(code, 4, "{stdout}{stderr}");
    assert!(stdout.contains("FAILED probe job") && stdout.contains("exit code 7"), "{stdout}");
    assert!(stdout.contains("stderr: ") && stdout.contains("no such device"), "{stdout}");
    assert_eq!(left_over(&scene), Vec::<String>::new());
}

#[test]
fn a_probe_job_that_does_not_end_is_cancelled() {
    let scene = Scene::new("echo $$ >\"$here/pid\"; exec sleep 600", "");
    let (code, stdout, _) = scene.vitreous(&["lane", "check", "local", "--timeout", "2"]);
    assert_eq!(code, 4);
    assert!(stdout.contains("not done after 2 s") && stdout.contains("it was cancelled"), "{stdout}");
    assert_eq!(left_over(&scene), Vec::<String>::new());
    let pid = std::fs::read_to_string(scene.above().join("pid")).unwrap();
    eventually("the probe is gone", || !Path::new(&format!("/proc/{}", pid.trim())).exists());
}

#[test]
fn a_check_that_is_interrupted_takes_its_job_with_it() {
    let scene = Scene::new("echo $$ >\"$here/pid\"; exec sleep 600", "");
    let mut check = scene.start(&["lane", "check", "local"], "");
    eventually("the probe", || {
        std::fs::read_to_string(scene.above().join("pid")).is_ok_and(|pid| pid.ends_with('\n'))
    });
    let pid = std::fs::read_to_string(scene.above().join("pid")).unwrap();
    scene::signal("INT", &check.id().to_string());
    assert_eq!(check.wait().unwrap().code(), Some(4));
    assert_eq!(left_over(&scene), Vec::<String>::new());
    eventually("the probe is gone", || !Path::new(&format!("/proc/{}", pid.trim())).exists());
}

#[test]
fn a_template_that_cannot_work_runs_no_job() {
    let scene = Scene::new(AT_ONCE, "template: own\nvars: {acount: em42}");
    let own = "#!/bin/sh\n# {{ job }}\n#X -A {{ lane.vars.acount }} {{ lane.vars.account }}\nif\n";
    std::fs::write(scene.root().join("lanes/own.sh.tera"), own).unwrap();
    let (code, stdout, _) = scene.vitreous(&["lane", "check", "local"]);
    assert_eq!(code, 4);
    assert!(stdout.contains("FAILED template") && stdout.contains("lane.vars.account"), "{stdout}");
    std::fs::write(scene.root().join("lanes/own.sh.tera"), own.replace(" {{ lane.vars.account }}", ""))
        .unwrap();
    let (code, stdout, _) = scene.vitreous(&["lane", "check", "local"]);
    assert_eq!(code, 4);
    assert!(stdout.contains("FAILED shell        `sh -n`") && stdout.contains("note   quoting"), "{stdout}");
    assert!(!stdout.contains("probe job") && scene.runs().is_empty(), "{stdout}");
}

/// A scheduler made of the shell: jobs are processes, ids are pids, and the queue is the process table.
const INFO: &str = r#"{
    "name": "My Cluster",   // as people write it
    "worker_bin_path": "/opt/cryosparc_worker/bin/cryosparcw",
    "cache_path": "",
    "send_cmd_tpl": "{{ command }}",
    "qsub_cmd_tpl": "setsid bash {{ script_path_abs }} >/dev/null 2>&1 & echo \"Submitted batch job $!\" | cat",
    "qstat_cmd_tpl": "squeue -j {{ cluster_job_id }}",
    "qstat_code_cmd_tpl": "kill -0 {{ cluster_job_id }} 2>/dev/null && echo RUNNING | sed -n 1p || echo Invalid job id specified",
    "qdel_cmd_tpl": "kill -- -{{ cluster_job_id }}",
    "qinfo_cmd_tpl": "echo all nodes are here",
}"#;

const SCRIPT: &str = "#!/bin/bash\n#SBATCH --job-name cs_{{ project_uid }}_{{ job_uid }}\n#SBATCH --partition={{ partition }}\n#SBATCH --mem={{ (ram_gb*1000)|int }}M -n {{ num_cpu }}\necho \"{{ partition }} {{ num_cpu }} {{ ram_gb }}\" >{{ job_dir_abs }}/asked.out\n{{ run_cmd }}\n";

fn write_cryosparc(scene: &Scene) {
    let folder = scene.above().join("cs");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("cluster_info.json"), INFO).unwrap();
    std::fs::write(folder.join("cluster_script.sh"), SCRIPT).unwrap();
}

#[test]
fn jobs_run_through_cryosparcs_files() {
    let scene = Scene::new(AT_ONCE, "");
    write_cryosparc(&scene);
    let (code, stdout, stderr) = scene.vitreous(&["lane", "import-cryosparc", "../cs"]);
    assert_eq!(code, 2, "a variable has no value: {stdout}{stderr}");
    assert!(stdout.contains("lanes/my-cluster.yaml is written"), "{stdout}");
    assert!(
        stdout.contains("partition            NEEDS A VALUE") && stdout.contains("(lines 3, 5)"),
        "{stdout}"
    );
    assert!(stderr.contains("note: the script names no time limit"), "{stderr}");
    let kept = std::fs::read_to_string(scene.root().join("lanes/my-cluster.sh.jinja")).unwrap();
    assert_eq!(kept, SCRIPT);
    let (code, _, stderr) = scene.vitreous(&["lane", "import-cryosparc", "../cs"]);
    assert!(code == 2 && stderr.contains("exists"), "{stderr}");

    let path = scene.root().join("lanes/my-cluster.yaml");
    let engine = scene.above().join("engine");
    let lane = std::fs::read_to_string(&path).unwrap()
        + &format!("engine: {}\ngrace_s: 1\npoll_s: 0.2\n", engine.display());
    std::fs::write(&path, &lane).unwrap();
    let (code, _, stderr) = scene.import(&["--lane", "my-cluster", "--wait"]);
    assert!(code != 0 && stderr.contains("partition (lines 3, 5)"), "{stderr}");
    let (code, stdout, stderr) =
        scene.import(&["--lane", "my-cluster", "--var", "partition=gpu", "--threads", "3", "--wait"]);
    assert_eq!(code, 0, "{stdout}{stderr}");
    let asked = std::fs::read_to_string(scene.job(2).join("attempt-01/asked.out")).unwrap();
    assert_eq!(asked, "gpu 3 2.0\n");
    let submission: Value = serde_json::from_str(
        &std::fs::read_to_string(scene.job(2).join("attempt-01/submission.json")).unwrap(),
    )
    .unwrap();
    assert!(submission["job_id"].as_str().unwrap().parse::<u32>().is_ok(), "{submission}");

    let (code, stdout, _) = scene.vitreous(&["lane", "check", "my-cluster"]);
    assert!(
        code == 4 && stdout.contains("FAILED template") && stdout.contains("--var NAME=VALUE"),
        "{stdout}"
    );
    let stdout = scene.ok(&["lane", "check", "my-cluster", "--var", "partition=gpu"]);
    assert!(
        stdout.contains("ok     probe job") && stdout.contains("cluster      all nodes are here"),
        "{stdout}"
    );
    assert_eq!(left_over(&scene), Vec::<String>::new());
}

/// The lane `cs`, imported and with its variable filled in.
fn add_cryosparc_lane(scene: &Scene) {
    write_cryosparc(scene);
    let (code, stdout, stderr) = scene.vitreous(&["lane", "import-cryosparc", "../cs", "--name", "cs"]);
    assert_eq!(code, 2, "{stdout}{stderr}");
    let path = scene.root().join("lanes/cs.yaml");
    let more = format!("engine: {}\ngrace_s: 1\npoll_s: 0.2\n", scene.above().join("engine").display());
    let lane = std::fs::read_to_string(&path).unwrap();
    let lane = lane.replace("# vars:", "vars:").replace("#   partition:", "  partition: gpu");
    std::fs::write(&path, lane + &more).unwrap();
}

/// No command of CryoSPARC's files lists jobs: one whose launch was cut short is found by its claim, or fenced off.
#[test]
fn a_submission_that_was_cut_short_runs_once() {
    let scene = Scene::new(ON_GO, "");
    add_cryosparc_lane(&scene);
    let import = ["run", "import-movies", "--movies", "../raw/*.tif", "--lane", "cs"];
    let mut cli = scene.start(&import, "submit");
    eventually("an engine", || scene.runs().len() == 1);
    cli.kill().unwrap();
    cli.wait().unwrap();
    assert!(!scene.job(1).join("attempt-01/submission.json").exists());
    scene.ok(&["advance"]);
    assert_eq!(scene.state(1), "running");
    assert!(scene.job(1).join("attempt-01/submission.json").exists());

    let mut cli = scene.start(&import, "intent");
    let root = scene.root();
    eventually("an intent", || root.join("J0002-import-movies/attempt-01/intent.json").exists());
    cli.kill().unwrap();
    cli.wait().unwrap();
    scene.go();
    for number in [1, 2] {
        eventually("done", || {
            scene.ok(&["advance", "--quiet"]);
            scene.state(number) == "done"
        });
    }
    assert_eq!(scene.runs(), ["J0001-import-movies 1", "J0002-import-movies 2"]);
}

#[test]
fn a_job_of_cryosparcs_cluster_is_cancelled_with_its_command() {
    let scene = Scene::new("echo $$ >\"$here/pid\"; exec sleep 600", "");
    add_cryosparc_lane(&scene);
    let (code, _, stderr) = scene.import(&["--lane", "cs"]);
    assert_eq!(code, 0, "{stderr}");
    scene.wait_for(1, "running");
    eventually("its engine", || scene.above().join("pid").exists());
    scene.ok(&["cancel", "J1"]);
    scene.wait_for(1, "cancelled");
    let pid = std::fs::read_to_string(scene.above().join("pid")).unwrap();
    eventually("the engine is gone", || !Path::new(&format!("/proc/{}", pid.trim())).exists());
}

#[test]
fn files_of_cryosparc_that_cannot_be_used_are_refused_with_their_place() {
    let scene = Scene::new(AT_ONCE, "");
    write_cryosparc(&scene);
    let folder = scene.above().join("cs");
    let import = |more: &[&str]| {
        scene.vitreous(&[&["lane", "import-cryosparc", "../cs", "--name", "x"], more].concat())
    };
    for (file, text, words) in [
        (
            "cluster_info.json",
            "{\n\"name\": \"a\",\n\"qsub_cmd_tpl\" \"x\"}",
            "cluster_info.json:3:16: expected `:`",
        ),
        ("cluster_info.json", "{\"name\": \"a\"}", "no `qsub_cmd_tpl`"),
        (
            "cluster_script.sh",
            "#SBATCH\necho ${#a[@]}\n{{ run_cmd }}\n",
            "line 2: `${#a[@]}`: `{#` begins a comment",
        ),
        ("cluster_script.sh", "#SBATCH\n## {{ run_cmd }}\n", "no line runs the job"),
        ("cluster_script.sh", "{{ run_cmd \n", "template `"),
    ] {
        write_cryosparc(&scene);
        std::fs::write(folder.join(file), text).unwrap();
        let (code, _, stderr) = import(&[]);
        assert!(code == 3 && stderr.contains(words), "{text}: {code} {stderr}");
    }
    std::fs::rename(folder.join("cluster_script.sh"), folder.join("a__cluster_script.sh")).unwrap();
    std::fs::write(folder.join("b__cluster_script.sh"), SCRIPT).unwrap();
    let (code, _, stderr) = import(&[]);
    assert!(code == 2 && stderr.contains("`--prefix` names one of `a__`, `b__`"), "{stderr}");
    let (code, stdout, stderr) = import(&["--prefix", "b", "--dry-run"]);
    assert!(code == 2 && stderr.contains("guessed from the script's directives"), "{stdout}{stderr}");
    assert!(!scene.root().join("lanes/x.yaml").exists());
    let (code, _, stderr) = scene.vitreous(&["lane", "import-cryosparc", "../raw"]);
    assert!(code == 3 && stderr.contains("no cluster_script.sh"), "{stderr}");
}

#[test]
fn lanes_are_written_from_what_hosts_say() {
    let scene = Scene::new(AT_ONCE, "");
    let text = scene.ok(&["lane", "add", "mine", "--from", "local", "--dry-run"]);
    assert!(text.contains("scheduler: local") && !scene.root().join("lanes/mine.yaml").exists(), "{text}");
    scene.ok(&["lane", "add", "mine", "--from", "local"]);
    let (code, _, stderr) = scene.vitreous(&["lane", "add", "mine", "--from", "local"]);
    assert!(code == 2 && stderr.contains("--force"), "{stderr}");
    scene.ok(&["lane", "add", "mine", "--from", "local", "--force"]);
    scene.ok(&["lane", "add", "mine", "--from", "local", "--in", "user"]);
    assert!(scene.above().join(".config/vitreous/lanes/mine.yaml").exists());

    // an ssh that enters no other host
    let bin = scene.above().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::fs::write(bin.join("ssh"), "#!/bin/sh\nfor last; do :; done\ncase $* in *nowhere*) echo 'ssh: connect to host nowhere port 22: No route to host' >&2; exit 255;; esac\nexec sh -c \"$last\"\n").unwrap();
    std::fs::set_permissions(bin.join("ssh"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let add = |workers: &[&str]| {
        let args: Vec<&str> =
            ["lane", "add", "farm", "--from", "ssh"].into_iter().chain(workers.iter().copied()).collect();
        let output = scene.command_in(&scene.root(), &args).env("PATH", &path).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(add(&["--worker", "em1", "--worker", "em@em2,threads=3,gpus=2,scratch=/ssd"]).0, Some(0));
    let text = std::fs::read_to_string(scene.root().join("lanes/farm.yaml")).unwrap();
    assert!(text.contains("host: em@em2") || text.contains("host: \"em@em2\""), "{text}");
    assert!(
        text.contains("threads: 3 ") && text.contains("gpus: 2 ") && text.contains("scratch: /ssd"),
        "{text}"
    );
    for (worker, words) in [
        ("nowhere", "No route to host"),
        ("a,cores=3", "`cores=3` is nothing that a worker has"),
        ("a,threads=0", "`threads=0`"),
        ("-oProxyCommand=x", "nothing"),
    ] {
        let (code, stderr) = add(&["--force", &format!("--worker={worker}")]);
        assert!(code != Some(0) && stderr.contains(words), "{worker}: {stderr}");
    }
    assert!(add(&["--force"]).1.contains("an ssh lane needs machines"));
}

#[test]
fn a_dry_run_says_how_resources_came_about_and_they_follow_what_was_used() {
    let usage = r#"echo '{"cpu_seconds": 0.5, "max_rss_mib": 5000}' >"$job/attempt-0$attempt/usage-0.json""#;
    let scene = Scene::new(usage, "limits: {walltime: 1800}");
    assert!(scene.ok(&["stats"]).contains("no attempt has run"));
    let (code, _, stderr) = scene.import(&["--wait"]);
    assert_eq!(code, 0, "{stderr}");
    let shown =
        |more: &[&str]| scene.ok(&[&["run", "correct-motion", "--movies", "J1", "--dry-run"], more].concat());
    let text = shown(&[]);
    assert!(text.contains("#   memory    3316 MiB"), "{text}");
    assert!(text.contains("256 MiB + 34 frames of 5760 x 4092 pixels in floats (90 MiB each)"), "{text}");
    assert!(text.contains("#   wall time 00:30:00") && text.contains("as lane `local` gives it"), "{text}");
    let text = shown(&["--mem-gib", "2", "--threads", "1"]);
    assert!(text.contains("2048 MiB   as asked for (`--mem-gib`); the formula says 3316 MiB"), "{text}");

    let (code, _, stderr) =
        scene.vitreous(&["run", "correct-motion", "--movies", "J1", "--wait", "--threads", "1"]);
    assert_eq!(code, 0, "{stderr}");
    // 1.2 times what was used
    let text = shown(&[]);
    assert!(text.contains("#   memory    6000 MiB"), "{text}");
    assert!(text.contains("x 1.81: 1 earlier attempt used up to 151 % of what the formula says"), "{text}");

    let stats: Value =
        serde_json::from_str(&scene.ok(&["stats", "--type", "correct-motion", "--json"])).unwrap();
    let rows = stats["stats"].as_array().unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (&rows[0]["jobs"], &rows[0]["max_mem_mib"], &rows[0]["max_mem_asked_mib"]),
        (&json!(1), &json!(5000.0), &json!(3316))
    );
    assert!(scene.ok(&["stats"]).contains("5000 of 3316 MiB"));
    assert!(scene.ok(&["stats", "--lane", "none"]).contains("no attempt"));
    assert_eq!(scene.vitreous(&["stats", "--type", "bake-cake"]).0, 2);
}
