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
use vitreous_schedulers::{Lane, LaneContext, SCHEDULERS, Scheduler, ScriptContext, find};

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

/// With what only clusters have.
fn on_cluster(context: ScriptContext, scheduler: &dyn Scheduler) -> ScriptContext {
    if scheduler.places_jobs() || scheduler.name() == "cryosparc" {
        return context;
    }
    let lane = LaneContext {
        account: "em 42's".into(),
        options: vec!["--qos=long".into(), "-l centos7".into()],
        ..context.lane
    };
    ScriptContext {
        lane,
        job_id_var: scheduler.job_id_var().into(),
        task_id_var: scheduler.task_id_var().into(),
        requeue_command: scheduler.requeue().into(),
        reruns_on_99: scheduler.reruns_on_99(),
        ..context
    }
}

fn rendered(scheduler: &dyn Scheduler, context: &ScriptContext) -> String {
    let script = render(scheduler.name(), scheduler.template(), context).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &script).unwrap();
    let checked = Command::new("sh").arg("-n").arg(file.path()).output().unwrap();
    assert!(checked.status.success(), "{}: {}", scheduler.name(), String::from_utf8_lossy(&checked.stderr));
    script
}

#[test]
fn scripts_of_all_schedulers() {
    for scheduler in SCHEDULERS {
        for (case, context) in [("minimal", minimal()), ("everything", everything())] {
            let script = rendered(*scheduler, &on_cluster(context, *scheduler));
            insta::assert_snapshot!(format!("{}_{case}", scheduler.name()), script);
        }
    }
}

/// The directives of a script's head.
fn head(scheduler: &str, change: impl FnOnce(&mut ScriptContext)) -> Vec<String> {
    let scheduler = find(scheduler).unwrap();
    let mut context = on_cluster(minimal(), scheduler);
    (context.lane.account, context.lane.options) = (String::new(), Vec::new());
    change(&mut context);
    let directive = |line: &&str| ["#SBATCH ", "#$ ", "#PBS "].iter().any(|mark| line.starts_with(mark));
    rendered(scheduler, &context).lines().filter(directive).map(String::from).collect()
}

/// Two hosts with two ranks of four threads and one GPU each.
fn with_gpus(context: &mut ScriptContext) {
    context.set_resources(&Resources {
        nodes: 2,
        ranks: 4,
        threads: 4,
        gpus: 2,
        mem_mib: 32_000,
        walltime_s: 90_000,
        ..Resources::default()
    });
}

#[test]
fn heads_of_mpi_jobs_with_gpus() {
    let heads = |scheduler: &str, changes: &[fn(&mut LaneContext)]| {
        let mut text = String::new();
        for change in changes {
            let lines = head(scheduler, |context| {
                with_gpus(context);
                change(&mut context.lane);
            });
            text += &(lines.join("\n") + "\n\n");
        }
        insta::assert_snapshot!(format!("head_{scheduler}_mpi_gpu"), text);
    };
    heads(
        "slurm",
        &[
            |_| {},
            |lane| (lane.gpu_option, lane.mem_option) = ("gres:a100".into(), "mem-per-cpu".into()),
            |lane| (lane.gpu_option, lane.mem_option) = ("gpus-per-node:a100".into(), "none".into()),
            |lane| (lane.gpu_option, lane.requeue, lane.signal_s) = ("gpus-per-node".into(), false, 0),
        ],
    );
    heads(
        "sge",
        &[
            |_| {},
            |lane| (lane.gpu_option, lane.mem_option) = ("gpu_card:slot".into(), "h_vmem".into()),
            |lane| (lane.gpu_option, lane.mem_option, lane.requeue) = ("cuda".into(), "none".into(), false),
        ],
    );
    heads(
        "pbs",
        &[
            |_| {},
            |lane| (lane.gpu_option, lane.mem_option) = ("gpus".into(), "none".into()),
            |lane| lane.dialect = "torque".into(),
            |lane| (lane.dialect, lane.mem_option) = ("torque".into(), "pmem".into()),
        ],
    );
}

/// The tasks of an array, numbered by the scheduler.
#[test]
fn scripts_of_arrays() {
    for scheduler in ["slurm", "sge", "pbs"].map(|name| find(name).unwrap()) {
        let mut context = on_cluster(minimal(), scheduler);
        (context.elements, context.element_count) = (vec![2, 5, 7], 8);
        let script = rendered(scheduler, &context);
        let task = format!("task={}", scheduler.task_id_var());
        assert!(script.contains(&task), "{}: no `{task}`", scheduler.name());
        assert!(script.contains(&format!("me=\"{}\"", scheduler.job_id_var())), "{}", scheduler.name());
        insta::assert_snapshot!(format!("{}_array", scheduler.name()), script);
    }
}

#[test]
fn values_in_directives_keep_their_blanks_quotes_and_signs() {
    let head = |scheduler: &str, account: &str| {
        head(scheduler, |context| context.lane.account = account.into()).join("\n")
    };
    assert!(head("slurm", "a b #c").contains("\n#SBATCH --account='a b #c'\n"));
    assert!(head("slurm", "it's $HOME").contains("\n#SBATCH --account=\"it's $HOME\"\n"));
    assert!(head("sge", "a b").contains("\n#$ -P 'a b'\n"));
    assert!(head("pbs", "a b").contains("\n#PBS -A 'a b'\n"));
    assert!(!head("pbs", "a\n#PBS -q other").contains("\n#PBS -q"), "a value cannot add a directive");
}

/// Every value in our templates goes through `sh`, or `directive` in a directive, but for names of variables, shell text
/// by its nature, directives of the site, and words whose alphabet is ours.
#[test]
fn every_value_in_our_templates_is_quoted() {
    const RAW: &[&str] = &[
        "variable.name",
        "lane.scratch",
        "lane.setup",
        "option",
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
            let is_quoted = value.ends_with("| sh") || value.ends_with("| directive");
            assert!(is_quoted || RAW.contains(&value), "{}: {value}", entry.path().display());
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
        Self::with(engine, |_| {})
    }

    /// The same with a context changed by `change`.
    fn with(engine: &str, change: impl FnOnce(&mut ScriptContext)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        std::fs::write(file("engine"), format!("#!/bin/sh\n{engine}\n")).unwrap();
        let mut context = minimal();
        context.engine = file("engine");
        context.job_dir = file("");
        context.attempt_dir = file("attempt-01");
        context.cancel_file = file("cancel-01.json");
        change(&mut context);
        std::fs::create_dir(file("attempt-01")).unwrap();
        let script = render("local", find("local").unwrap().template(), &context).unwrap();
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

    /// Starts the script as the task of that number, by the name that schedulers give the job.
    fn start_as(&self, job: &str, task: &str) -> std::process::Child {
        let mut command = Command::new("setsid");
        command.args(["sh", "submit.sh"]).current_dir(self.folder.path());
        command.env("TEST_JOB_ID", job).env("TEST_TASK_ID", task).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    fn exit_record(&self) -> Option<serde_json::Value> {
        self.record("exit.json")
    }

    fn record(&self, name: &str) -> Option<serde_json::Value> {
        let text = std::fs::read_to_string(self.folder.path().join("attempt-01").join(name)).ok()?;
        Some(serde_json::from_str(&text).unwrap())
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
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
fn an_allocation_that_failed_is_a_want_of_memory() {
    for (said, out_of_memory) in
        [("memory allocation of 1610612736 bytes failed", true), ("assertion failed", false)]
    {
        let bench = Bench::new(&format!("echo '{said}' >>stderr; kill -ABRT $$"));
        assert_eq!(bench.start().wait().unwrap().code(), Some(134));
        let record = bench.exit_record().unwrap();
        assert_eq!(
            (&record["signal"], &record["out_of_memory"]),
            (&6.into(), &out_of_memory.into()),
            "{said}"
        );
    }
}

#[test]
fn the_record_names_the_host_as_slurm_does() {
    let bench = Bench::new("exit 0");
    let mut command = Command::new("sh");
    command.arg(bench.folder.path().join("submit.sh")).env("SLURMD_NODENAME", "n7");
    assert!(command.status().unwrap().success());
    assert_eq!(bench.exit_record().unwrap()["host"], "n7");
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

/// An engine that notes how it was called, in the folder of the job.
const NOTING: &str = r#"cd "$2"; echo "$*" | cut -d' ' -f5- >>calls"#;

fn on_a_cluster(context: &mut ScriptContext) {
    context.job_id_var = "$TEST_JOB_ID".into();
    context.task_id_var = "$TEST_TASK_ID".into();
}

#[test]
fn the_last_task_of_an_array_collects() {
    let fail_once = format!("{NOTING}\ncase \"$*\" in *5/8) [ -e go ] || exit 7;; esac");
    let bench = Bench::with(&fail_once, |context| {
        on_a_cluster(context);
        (context.elements, context.element_count) = (vec![2, 5, 6], 8);
    });
    for (task, code) in [("1", 0), ("2", 7), ("3", 0)] {
        assert_eq!(bench.start_as("77", task).wait().unwrap().code(), Some(code), "task {task}");
    }
    assert_eq!(bench.text("calls"), "--slice 2/8\n--slice 5/8\n--slice 6/8\n");
    assert_eq!(bench.exit_record(), None, "one has failed: nothing is collected");
    let codes =
        [2, 5, 6].map(|element| bench.record(&format!("exit-{element}.json")).unwrap()["code"].clone());
    assert_eq!(codes, [0, 7, 0]);
    // the scheduler runs the failed task again, under the same id
    std::fs::write(bench.folder.path().join("go"), "").unwrap();
    assert_eq!(bench.start_as("77", "2").wait().unwrap().code(), Some(0));
    assert!(bench.text("calls").ends_with("--slice 5/8\n\n"), "{}", bench.text("calls"));
    let record = bench.exit_record().unwrap();
    assert_eq!((&record["code"], &record["run"]), (&0.into(), &2.into()));
}

#[test]
fn a_start_that_was_given_up_for_lost_leaves_no_record() {
    let engine = format!("{NOTING}\nwhile [ ! -e go-$VITREOUS_RUN ]; do sleep 0.02; done");
    let bench = Bench::with(&engine, on_a_cluster);
    let mut first = bench.start_as("77", "");
    bench.wait_for("attempt-01/claim/run-1");
    bench.wait_for("calls");
    // the node was lost for the scheduler, and the same job starts elsewhere
    let mut second = bench.start_as("77", "");
    bench.wait_for("attempt-01/claim/run-2");
    std::fs::write(bench.folder.path().join("go-1"), "").unwrap();
    first.wait().unwrap();
    assert_eq!(bench.exit_record(), None, "its word does not count any more");
    std::fs::write(bench.folder.path().join("go-2"), "").unwrap();
    second.wait().unwrap();
    assert_eq!(bench.exit_record().unwrap()["run"], 2);
    // a copy that another command submitted does nothing
    bench.start_as("78", "").wait().unwrap();
    assert_eq!(bench.text("calls").lines().count(), 2);
}

/// Grid Engine starts a job again that ends with 99, and there are two of this one already.
#[test]
fn a_start_that_was_given_up_for_lost_is_not_asked_to_run_again() {
    let engine = "touch \"$2/ready\"; while [ ! -e \"$2/go\" ]; do sleep 0.02; done; exit 99";
    let bench = Bench::with(engine, |context| {
        on_a_cluster(context);
        context.reruns_on_99 = true;
    });
    let path = bench.folder.path();
    let script = std::fs::read_to_string(path.join("submit.sh")).unwrap();
    std::fs::write(path.join("submit.sh"), format!("last_99=98\n{script}")).unwrap();
    let mut first = bench.start_as("77", "");
    bench.wait_for("ready");
    std::fs::create_dir(path.join("attempt-01/claim/run-2")).unwrap();
    std::fs::write(path.join("go"), "").unwrap();
    assert_eq!(first.wait().unwrap().code(), Some(98));
    assert_eq!(bench.exit_record(), None);
}

#[test]
fn a_job_that_saved_its_work_goes_back_into_the_queue_unless_it_was_ended_from_outside() {
    let requeued = "echo again >>requeued";
    let saves = "trap 'exit 99' USR1 TERM; touch \"$2/ready\"; while :; do sleep 0.02; done";
    for (signal, is_requeued) in [("-USR1", true), ("-TERM", false), ("-USR2", false)] {
        let bench = Bench::with(saves, |context| {
            on_a_cluster(context);
            context.requeue_command = requeued.into();
        });
        let mut command = Command::new("sh");
        let mut child =
            command.arg(bench.folder.path().join("submit.sh")).env("TEST_JOB_ID", "77").spawn().unwrap();
        bench.wait_for("ready");
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(99));
        assert_eq!(!bench.text("attempt-01/requeued").is_empty(), is_requeued, "{signal}");
        let told = bench.exit_record().map(|record| record["told"].clone());
        assert_eq!(told, (!is_requeued).then(|| "TERM".into()), "{signal}: no record of a job that goes on");
    }
}

#[test]
fn limits_that_nobody_else_keeps() {
    // a shell that grows by a megabyte at a time: awk, given a million characters to print, sometimes crashed first
    let hungry = "touch \"$2/ready\"; more=$(head -c 1000000 /dev/zero | tr '\\0' a); \
                  while :; do text=$text$more; sleep 0.02; done";
    let bench = Bench::with(hungry, |context| context.mem_limit_mib = 64);
    assert_eq!(bench.start_as("77", "").wait().unwrap().code(), Some(137));
    assert_eq!(bench.exit_record().unwrap()["out_of_memory"], true);
    assert!(bench.text("attempt-01/stderr").contains("MiB of 64 MiB"));

    let stubborn = "trap '' USR1 TERM; touch \"$2/ready\"; while :; do sleep 0.1; done";
    let bench = Bench::with(stubborn, |context| (context.deadline_s, context.hard_limit_s) = (1, 2));
    assert_eq!(bench.start_as("77", "").wait().unwrap().code(), Some(137));
    let record = bench.exit_record().unwrap();
    assert_eq!((&record["timeout"], &record["told"]), (&true.into(), &"USR1".into()));
}

#[test]
fn nothing_starts_without_its_inputs() {
    let bench = Bench::with(NOTING, |context| {
        let outputs = format!("{}/outputs.json", context.job_dir);
        context.parents = vec![vitreous_schedulers::render::Parent { job: "J1".into(), outputs }];
    });
    assert_eq!(bench.start().wait().unwrap().code(), Some(96));
    assert_eq!(bench.exit_record().unwrap()["code"], 96);
    assert_eq!(bench.text("calls"), "");
}
