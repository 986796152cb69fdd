//! The scripts of every scheduler: snapshots, names, quoting, and how they behave when run.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    missing_docs,
    reason = "a test starts what it tests"
)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use vitreous_model::resources::Resources;
use vitreous_schedulers::render::{Variable, render};
use vitreous_schedulers::{Lane, LaneContext, SCHEDULERS, ScriptContext};

fn bare_lane() -> LaneContext {
    LaneContext::new("l", &Lane::default())
}

fn minimal() -> ScriptContext {
    ScriptContext { vitreous: String::new(), environment: vec![], ..ScriptContext::example(bare_lane()) }
}

fn everything() -> ScriptContext {
    let lane = LaneContext {
        queue: "gpu".into(),
        scratch: "/scratch/$USER".into(),
        setup: "module load openmpi".into(),
        ..bare_lane()
    };
    let mut context = ScriptContext::example(lane);
    context.project_dir = "/em/it's T20S".into();
    context.attempt_dir = "/em/it's T20S/J0002-correct-motion/attempt-01".into();
    context.launcher = vec!["mpirun".into(), "--bind-to".into(), "none".into(), "-n".into(), "4".into()];
    context.environment = vec![Variable { name: "PATH".into(), value: "/usr/bin:$(id)".into() }];
    context.set_resources(&Resources {
        ranks: 4,
        threads: 2,
        gpus: 2,
        walltime_s: 90_000,
        ..Resources::default()
    });
    context
}

#[test]
fn scripts_of_all_schedulers() {
    for scheduler in SCHEDULERS {
        for (case, context) in [("minimal", minimal()), ("everything", everything())] {
            let script = render(scheduler.name(), scheduler.template(), &context).unwrap();
            insta::assert_snapshot!(format!("{}_{case}", scheduler.name()), script);
        }
    }
}

/// Every value in our templates goes through `sh`, but for names of variables, shell text by its nature, and words
/// whose alphabet is ours.
#[test]
fn every_value_in_our_templates_is_quoted() {
    const RAW: &[&str] = &[
        "variable.name",
        "lane.scratch",
        "lane.setup",
        "job_id_var",
        "task_id_var",
        "requeue_command",
        "job",
        "job_type",
        "attempt",
        "element",
        "element_count",
        "id",
        "deadline_s",
        "hard_limit_s",
        "mem_limit_mib",
        "parent.job",
    ];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../templates");
    let mut templates = 0;
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        if entry.path().extension().is_none_or(|extension| extension != "tera") {
            continue;
        }
        templates += 1;
        let text = std::fs::read_to_string(entry.path()).unwrap();
        for value in text.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap().trim()) {
            assert!(value.ends_with("| sh") || RAW.contains(&value), "{}: {value}", entry.path().display());
        }
    }
    let different: std::collections::BTreeSet<&str> = SCHEDULERS.iter().map(|s| s.template()).collect();
    assert_eq!(templates, different.len() + 1, "the body and one of each");
}

/// A rendered local script in a folder of its own, with `engine` as its engine.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new(engine: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        std::fs::write(file("engine"), format!("#!/bin/sh\n{engine}\n")).unwrap();
        let mut context = minimal();
        context.engine = file("engine");
        context.job_dir = file("");
        context.attempt_dir = file("attempt-01");
        context.cancel_file = file("cancel-01.json");
        std::fs::create_dir(file("attempt-01")).unwrap();
        let script =
            render("local", vitreous_schedulers::find("local").unwrap().template(), &context).unwrap();
        std::fs::write(file("submit.sh"), script).unwrap();
        let executable = Command::new("chmod").args(["+x", &file("engine")]).status().unwrap();
        assert!(executable.success());
        Self { folder }
    }

    fn start(&self) -> std::process::Child {
        let mut command = Command::new("sh");
        command.arg(self.folder.path().join("submit.sh")).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    fn exit_record(&self) -> Option<serde_json::Value> {
        let text = std::fs::read_to_string(self.folder.path().join("attempt-01/exit.json")).ok()?;
        Some(serde_json::from_str(&text).unwrap())
    }

    fn wait_for(&self, name: &str) {
        let started = Instant::now();
        while !self.folder.path().join(name).exists() {
            assert!(started.elapsed() < Duration::from_secs(20), "no {name}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn the_exit_record_tells_every_end_apart() {
    for (engine, code, signal) in [
        ("exit 0", 0, None),
        ("exit 1", 1, None),
        ("exit 42", 42, None),
        ("exit 99", 99, None),
        ("exit 127", 127, None),
        ("exit 255", 255, None),
        ("kill -KILL $$", 137, Some(9)),
        ("kill -SEGV $$", 139, Some(11)),
        ("kill -TERM $$", 143, Some(15)),
    ] {
        let bench = Bench::new(engine);
        assert_eq!(bench.start().wait().unwrap().code(), Some(code), "{engine}");
        let record = bench.exit_record().unwrap();
        assert_eq!(record["code"], code, "{engine}");
        assert_eq!(record["signal"], serde_json::json!(signal), "{engine}");
        assert_eq!(record["uuid"], "00000000-0000-4000-8000-000000000000");
    }
}

#[test]
fn a_signal_reaches_the_engine_and_its_own_exit_code_is_kept() {
    let engine = "trap 'kill $!; exit 99' TERM\ntrap 'touch usr1' USR1\ntouch ready\nwhile :; do sleep 60 & wait $!; done";
    let bench = Bench::new(&format!("cd \"$(dirname \"$0\")\"\n{engine}"));
    let mut child = bench.start();
    bench.wait_for("ready");
    let send = |signal: &str| {
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
    };
    send("-USR1");
    bench.wait_for("usr1");
    send("-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(99));
    assert_eq!(bench.exit_record().unwrap()["code"], 99);
}

#[test]
fn a_second_start_does_nothing_and_a_cancelled_one_never_starts() {
    let bench = Bench::new("echo run >> \"$(dirname \"$0\")/runs\"");
    bench.start().wait().unwrap();
    let record = bench.exit_record();
    assert_eq!(bench.start().wait().unwrap().code(), Some(0));
    assert_eq!(std::fs::read_to_string(bench.folder.path().join("runs")).unwrap(), "run\n");
    assert_eq!(bench.exit_record(), record);

    let bench = Bench::new("echo run >> \"$(dirname \"$0\")/runs\"");
    std::fs::write(bench.folder.path().join("cancel-01.json"), "{}").unwrap();
    bench.start().wait().unwrap();
    assert!(!bench.folder.path().join("runs").exists());
    assert_eq!(bench.exit_record().unwrap()["code"], 143);
}
