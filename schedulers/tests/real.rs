//! Every command of an adapter against the real scheduler: `VITREOUS_REAL_SCHEDULER=slurm|sge|pbs` names it, and the
//! environment says where it is (SLURM_CONF, SGE_ROOT, PATH). With `VITREOUS_RECORD=FOLDER` what the scheduler answered
//! is kept there, as fixtures.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    reason = "a test runs what it tests, and shows what it saw"
)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use uuid::Uuid;
use vitreous_model::resources::Resources;
use vitreous_schedulers::{
    Answer, Array, Cmd, EndReason, JobId, Lane, LaneContext, Queue, Scheduler, SchedulerError, Script,
    ScriptContext, Site, Standing, Stop, find, render,
};

struct Real {
    scheduler: &'static dyn Scheduler,
    site: Site,
    folder: tempfile::TempDir,
}

impl Real {
    fn of_environment() -> Option<Self> {
        let name = std::env::var("VITREOUS_REAL_SCHEDULER").ok()?;
        let scheduler = find(&name).expect("VITREOUS_REAL_SCHEDULER should name a scheduler");
        // seen by the hosts where the jobs run
        let shared = std::env::var("TMPDIR").or_else(|_| std::env::var("HOME")).unwrap();
        let folder = tempfile::Builder::new().prefix("it's % real").tempdir_in(shared).unwrap();
        Some(Self { scheduler, site: Site { scheduler: name, ..Site::default() }, folder })
    }

    fn run(&self, what: &str, cmd: Cmd) -> Answer {
        let cmd = self.site.command(cmd);
        let mut command = Command::new(&cmd.program);
        command.args(&cmd.args).envs(&cmd.env).current_dir(self.folder.path());
        let stdin = if cmd.stdin.is_some() { Stdio::piped() } else { Stdio::null() };
        let mut child = command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        if let Some(text) = cmd.stdin {
            child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        }
        let output = child.wait_with_output().unwrap();
        let answer = Answer {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into(),
            stderr: String::from_utf8_lossy(&output.stderr).into(),
        };
        if let Ok(folder) = std::env::var("VITREOUS_RECORD") {
            let text = format!("{}\n--- stderr, code {}\n{}", answer.stdout, answer.code, answer.stderr);
            std::fs::write(Path::new(&folder).join(format!("{what}.txt")), text).unwrap();
        }
        answer
    }

    /// A script whose engine is a shell's `text`, rendered by the scheduler's own template.
    fn script(&self, name: &str, text: &str, change: impl FnOnce(&mut Script)) -> Script {
        let at = |file: &str| self.folder.path().join(format!("{name}{file}")).to_string_lossy().into_owned();
        std::fs::create_dir(at("")).unwrap();
        let engine = at("/engine");
        std::fs::write(&engine, format!("#!/bin/sh\n{text}\n")).unwrap();
        assert!(Command::new("chmod").args(["+x", &engine]).status().unwrap().success());
        let resources = Resources { mem_mib: 100, walltime_s: 120, ..Resources::default() };
        let mut script = Script {
            path: at("/submit.sh"),
            folder: at(""),
            name: format!("20S it's {name}"),
            tag: Uuid::new_v4(),
            stdout: at("/stdout"),
            stderr: at("/stderr"),
            resources,
            ..Script::default()
        };
        change(&mut script);
        let lane = LaneContext::new("real", &Lane { signal_s: 0, requeue: false, ..Lane::default() });
        let mut context = ScriptContext::example(lane);
        (context.engine, context.vitreous) = (engine, String::new());
        (context.job_dir, context.attempt_dir, context.cancel_file) = (at(""), at(""), at("/cancel"));
        (context.stdout, context.stderr) = (script.stdout.clone(), script.stderr.clone());
        context.environment.clear();
        context.job_id_var = self.scheduler.job_id_var().into();
        context.task_id_var = self.scheduler.task_id_var().into();
        if script.resources.ranks > 1 {
            context.launcher = ["mpirun", "--oversubscribe", "-n", &script.resources.ranks.to_string()]
                .map(String::from)
                .into();
        }
        if let Some(array) = script.array {
            context.elements = (1..=array.tasks).collect();
            context.element_count = array.tasks;
        }
        context.set_resources(&script.resources);
        let text = render::render(name, self.scheduler.template(), &context).unwrap();
        std::fs::write(&script.path, text).unwrap();
        script
    }

    fn submit(&self, name: &str, text: &str, change: impl FnOnce(&mut Script)) -> (JobId, Script) {
        let script = self.script(name, text, change);
        let answer = self.run(&format!("submit-{name}"), self.scheduler.submit(&self.site, &script));
        (self.scheduler.parse_submit(&answer).unwrap_or_else(|error| panic!("{name}: {error}")), script)
    }

    fn standing(&self, what: &str, id: &JobId) -> Standing {
        let ids = std::slice::from_ref(id);
        let answer = self.run(&format!("status-{what}"), self.scheduler.status(&self.site, ids));
        let listed = self.scheduler.parse_status(ids, &answer).unwrap().remove(0);
        if listed.queue != Queue::Gone {
            return listed;
        }
        let Some(cmd) = self.scheduler.post_mortem(&self.site, ids) else { return listed };
        let answer = self.run(&format!("ended-{what}"), cmd);
        self.scheduler.parse_post_mortem(ids, &answer).unwrap().remove(0)
    }

    /// Asks until `is_so`; the job stands so in the end.
    fn wait(&self, what: &str, id: &JobId, is_so: impl Fn(&Standing) -> bool) -> Standing {
        let started = Instant::now();
        loop {
            let standing = self.standing(what, id);
            if is_so(&standing) {
                println!("{what} {id}: {standing:?}");
                return standing;
            }
            assert!(started.elapsed() < Duration::from_secs(150), "{what} {id}: {standing:?}");
            std::thread::sleep(Duration::from_millis(400));
        }
    }

    fn wait_for_end(&self, what: &str, id: &JobId) -> vitreous_schedulers::Ended {
        let standing = self.wait(what, id, |standing| matches!(standing.queue, Queue::Ended(_)));
        match standing.queue {
            Queue::Ended(ended) => ended,
            _ => unreachable!("it was waited for"),
        }
    }
}

fn is_running(standing: &Standing) -> bool {
    standing.queue == Queue::Running
}

fn ends_are_told_apart(real: &Real) {
    let (well, script) =
        real.submit("well", "echo \"$VITREOUS_THREADS threads\"", |script| script.resources.threads = 2);
    assert!(real.wait_for_end("well", &well).is_well());
    let output = std::fs::read_to_string(&script.stdout).unwrap();
    assert_eq!(output, "2 threads\n", "its output is where it was asked for");

    let (seven, _) = real.submit("exit-7", "exit 7", |_| {});
    let end = real.wait_for_end("exit-7", &seven);
    assert_eq!((end.exit, end.signal, &end.reason), (Some(7), None, &EndReason::Exited));

    // the dependency is checked by the scheduler, and by the script where it has none
    let (after, _) = real.submit("after-well", "true", |script| script.after = vec![well.clone()]);
    assert!(real.wait_for_end("after-well", &after).is_well());

    let (array, _) = real.submit("array", "[ \"$6\" != 2/3 ] || exit 4", |script| {
        script.array = Some(Array { tasks: 3, at_once: 2 });
    });
    let standing = real.wait("array", &array, |standing| {
        standing.tasks.len() == 3 && standing.tasks.values().all(|queue| matches!(queue, Queue::Ended(_)))
    });
    let exits: Vec<Option<i32>> = standing
        .tasks
        .values()
        .map(|queue| if let Queue::Ended(end) = queue { end.exit } else { None })
        .collect();
    assert_eq!(exits, [Some(0), Some(4), Some(0)]);
    assert!(matches!(standing.queue, Queue::Ended(end) if !end.is_well()));
}

fn ranks_start_together_with_what_they_asked_for(real: &Real) {
    if Command::new("mpirun").arg("--version").output().is_err() {
        println!("skipped: no mpirun here");
        return;
    }
    let text = "echo \"$OMPI_COMM_WORLD_RANK of $OMPI_COMM_WORLD_SIZE, $VITREOUS_THREADS threads, GPU $CUDA_VISIBLE_DEVICES\"";
    let (job, script) = real.submit("ranks", text, |script| {
        script.resources = Resources { ranks: 2, gpus: 1, mem_mib: 400, ..script.resources.clone() };
    });
    let end = real.wait_for_end("ranks", &job);
    let said = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    assert!(end.is_well(), "{end:?}: {}", said(&script.stderr));
    let output = said(&script.stdout);
    for rank in 0..2 {
        assert!(output.contains(&format!("{rank} of 2, 1 threads, GPU ")), "{output}");
    }
    // Grid Engine and PBS leave it to the site to say which GPU it is
    assert!(real.scheduler.name() != "slurm" || output.contains("GPU 0"), "{output}");
}

fn a_dependency_that_failed(real: &Real) {
    let (failed, _) = real.submit("fails", "sleep 3; exit 1", |_| {});
    let (after, _) = real.submit("after-failed", "true", |script| script.after = vec![failed.clone()]);
    assert!(matches!(real.standing("waits", &after).queue, Queue::Pending(why) if !why.is_empty()));
    if real.scheduler.name() != "sge" {
        assert_eq!(real.wait_for_end("after-failed", &after).reason, EndReason::Dependency);
        real.run("cancel-after-failed", real.scheduler.cancel(&real.site, &[after], Stop::Kill));
    }
}

fn jobs_are_found_and_stopped(real: &Real) {
    let trap = "trap 'kill $!; echo told; exit 99' TERM USR1 USR2\nsleep 100 & wait $!";
    let (running, script) = real.submit("running", trap, |_| {});
    real.wait("running", &running, is_running);
    let (waiting, behind) = real.submit("waiting", "true", |script| script.after = vec![running.clone()]);
    let tags = [script.tag, behind.tag, Uuid::new_v4()];
    let answer = real.run("find", real.scheduler.find_by_tag(&real.site, &tags).unwrap());
    let mut found = real.scheduler.parse_find(&tags, &answer).unwrap();
    found.sort();
    let mut both = vec![(script.tag, running.clone()), (behind.tag, waiting.clone())];
    both.sort();
    assert_eq!(found, both);
    let none = [Uuid::new_v4()];
    let answer = real.run("find-none", real.scheduler.find_by_tag(&real.site, &none).unwrap());
    assert_eq!(real.scheduler.parse_find(&none, &answer).unwrap(), []);

    std::thread::sleep(Duration::from_secs(2));
    let both = [running.clone(), waiting.clone()];
    let answer = real.run("cancel", real.scheduler.cancel(&real.site, &both, Stop::Ask));
    assert_eq!(answer.code, 0, "{answer:?}");
    real.wait("stopped", &running, |standing| !is_running(standing));
    assert!(
        std::fs::read_to_string(&script.stdout).unwrap().contains("told"),
        "the engine could save its work"
    );
    real.wait("cancelled", &waiting, |standing| matches!(standing.queue, Queue::Gone | Queue::Ended(_)));

    let (killed, _) = real.submit("killed", "sleep 100", |_| {});
    real.wait("to-be-killed", &killed, is_running);
    real.run("kill", real.scheduler.cancel(&real.site, std::slice::from_ref(&killed), Stop::Kill));
    real.wait("killed", &killed, |standing| matches!(standing.queue, Queue::Ended(_)));
}

fn what_cannot_start_is_said(real: &Real) {
    let (lost, _) = real.submit("no-folder", "true", |script| {
        script.stdout = "/nonexistent/stdout".into();
        script.stderr = "/nonexistent/stderr".into();
    });
    let end = real.wait_for_end("no-folder", &lost);
    // under PBS it is the script that opens its files
    let is_launched = real.scheduler.name() == "pbs" && !end.is_well();
    assert!(is_launched || matches!(end.reason, EndReason::LaunchFailed(_)), "{end:?}");
    real.run("cancel-no-folder", real.scheduler.cancel(&real.site, &[lost], Stop::Ask));

    let script = real.script("refused", "true", |_| {});
    let text = std::fs::read_to_string(&script.path).unwrap();
    let queue = match real.scheduler.name() {
        "slurm" => "#SBATCH --partition=nosuch",
        "sge" => "#$ -q nosuch.q",
        _ => "#PBS -q nosuch",
    };
    std::fs::write(&script.path, text.replacen('\n', &format!("\n{queue}\n"), 1)).unwrap();
    let answer = real.run("refused", real.scheduler.submit(&real.site, &script));
    assert!(
        matches!(real.scheduler.parse_submit(&answer), Err(SchedulerError::Refused { .. })),
        "{answer:?}"
    );
    if let Some(cmd) = real.scheduler.test_only(&real.site, &script) {
        let answer = real.run("test-refused", cmd);
        assert!(matches!(real.scheduler.parse_test_only(&answer), Err(SchedulerError::Refused { .. })));
    }
}

fn the_cluster_is_described(real: &Real) {
    let answer = real.run("identify", real.scheduler.identify(&real.site).unwrap());
    assert!(real.scheduler.parse_identify(&answer).is_some(), "{answer:?}");
    let answer = real.run("discover", real.scheduler.discover(&real.site).unwrap());
    let queues = real.scheduler.parse_discover(&answer).unwrap();
    println!("{queues:#?}");
    assert!(queues.iter().any(|queue| queue.is_open && queue.cores > Some(0) && queue.mem_mib > Some(0)));
    let script = real.script("test", "true", |_| {});
    if let Some(cmd) = real.scheduler.test_only(&real.site, &script) {
        let answer = real.run("test", cmd);
        println!("{}", real.scheduler.parse_test_only(&answer).unwrap());
    }
    let ids: Vec<JobId> = (0..10_000).map(|n| JobId(format!("{}", 900_000_000 + n))).collect();
    let answer = real.run("status-unknown", real.scheduler.status(&real.site, &ids));
    let standings = real.scheduler.parse_status(&ids, &answer).unwrap();
    assert!(standings.len() == ids.len() && standings.iter().all(|standing| standing.queue == Queue::Gone));
    if let Some(cmd) = real.scheduler.post_mortem(&real.site, &ids) {
        let answer = real.run("ended-unknown", cmd);
        let standings = real.scheduler.parse_post_mortem(&ids, &answer).unwrap();
        assert!(standings.iter().all(|standing| standing.queue == Queue::Gone));
    }
}

#[test]
fn the_adapter_and_its_scheduler_understand_each_other() {
    let Some(real) = Real::of_environment() else {
        println!("skipped: VITREOUS_REAL_SCHEDULER not set");
        return;
    };
    the_cluster_is_described(&real);
    ends_are_told_apart(&real);
    ranks_start_together_with_what_they_asked_for(&real);
    a_dependency_that_failed(&real);
    what_cannot_start_is_said(&real);
    jobs_are_found_and_stopped(&real);
}
