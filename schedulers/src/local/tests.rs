//! Recorded answers, and the snippets themselves against this host's processes.
#![allow(clippy::disallowed_methods, reason = "the snippets are run here")]

use super::*;
use crate::scheduler::Queue;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn answer(stdout: &str) -> Answer {
    Answer { code: 0, stdout: stdout.into(), stderr: String::new() }
}

#[test]
fn the_id_is_host_boot_pid_and_start() {
    let id = Local.parse_submit(&answer(include_str!("fixtures/started.txt"))).unwrap();
    assert_eq!(id.0, "node7/0bd4a5b4-3c0b-4c7e-9d5e-6a0f6f0c5b11/4242/987654");
}

#[test]
fn a_failed_launch_quotes_what_was_said() {
    let failed = Answer { code: 1, stdout: String::new(), stderr: "sh: 1: Cannot fork\n".into() };
    let error = Local.parse_submit(&failed).unwrap_err().to_string();
    assert_eq!(error, "local refused the job (exit code 1): sh: 1: Cannot fork");
    for garbage in ["", "started", "started a b c d", "hello\nworld"] {
        assert!(
            matches!(Local.parse_submit(&answer(garbage)), Err(SchedulerError::Unexpected { .. })),
            "{garbage}"
        );
    }
}

#[test]
fn every_state_of_a_process() {
    let id =
        |pid: u32, start: u64| JobId(format!("node7/0bd4a5b4-3c0b-4c7e-9d5e-6a0f6f0c5b11/{pid}/{start}"));
    let ids = [
        (id(100, 5000), Queue::Running),
        (id(101, 5000), Queue::Gone),    // the pid is somebody else's now
        (id(102, 5000), Queue::Gone),    // a zombie with nothing left
        (id(103, 5000), Queue::Running), // a zombie whose engine lives
        (id(104, 5000), Queue::Gone),    // not there
        (id(105, 5000), Queue::Running), // not there, but its engine lives
        (JobId("node7/another-boot/100/5000".into()), Queue::Gone),
        (
            JobId("node8/0bd4a5b4-3c0b-4c7e-9d5e-6a0f6f0c5b11/100/5000".into()),
            Queue::Unknown("it was started on node8; look there".into()),
        ),
        (JobId("123".into()), Queue::Unknown("`123` is no id of this lane".into())),
    ];
    let asked: Vec<JobId> = ids.iter().map(|(id, _)| id.clone()).collect();
    let states = Local.parse_status(&asked, &answer(include_str!("fixtures/status.txt"))).unwrap();
    let expected: Vec<Standing> = ids.into_iter().map(|(_, queue)| Standing::of(queue)).collect();
    assert_eq!(states, expected);
}

#[test]
fn an_answer_cut_short_says_nothing() {
    let id = JobId("node7/0bd4a5b4-3c0b-4c7e-9d5e-6a0f6f0c5b11/100/5000".into());
    let whole = include_str!("fixtures/status.txt");
    for length in (0..whole.len() - 4).step_by(7) {
        let states = Local.parse_status(std::slice::from_ref(&id), &answer(&whole[..length]));
        assert!(states.is_err(), "{length}");
    }
    assert!(Local.parse_find(&[], &answer("found x")).is_err());
}

fn here() -> Site {
    Site { scheduler: "local".into(), ..Site::default() }
}

fn run(cmd: &Cmd) -> Answer {
    let output = Command::new(&cmd.program).args(&cmd.args).output().unwrap();
    Answer {
        code: output.status.code().unwrap_or(128),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn state_of(id: &JobId) -> Queue {
    let ids = std::slice::from_ref(id);
    Local.parse_status(ids, &run(&Local.status(&here(), ids))).unwrap().remove(0).queue
}

fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(20), "timed out: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn launch(folder: &std::path::Path, text: &str) -> (Uuid, JobId) {
    let tag = Uuid::new_v4();
    let path = folder.join("submit.sh");
    std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
    let file = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let script = Script {
        path: file("submit.sh"),
        tag,
        stdout: file("stdout"),
        stderr: file("stderr"),
        ..Script::default()
    };
    assert_eq!(run(&Local.test_only(&here(), &script).unwrap()).code, 0);
    (tag, Local.parse_submit(&run(&Local.submit(&here(), &script))).unwrap())
}

#[test]
fn a_real_process_is_seen_found_and_killed() {
    let folder = tempfile::tempdir().unwrap();
    let (tag, id) = launch(folder.path(), "echo out; echo err >&2; sleep 300 & wait");
    assert_eq!(state_of(&id), Queue::Running);
    let found = || Local.parse_find(&[tag], &run(&Local.find_by_tag(&here(), &[tag]).unwrap())).unwrap();
    wait_for("the tag in the environment", || found() == [(tag, id.clone())]);
    assert_eq!(run(&Local.cancel(&here(), std::slice::from_ref(&id), Stop::Kill)).code, 0);
    wait_for("the whole session dead", || state_of(&id) == Queue::Gone);
    assert_eq!(found(), []);
    assert_eq!(std::fs::read_to_string(folder.path().join("stdout")).unwrap(), "out\n");
    assert_eq!(std::fs::read_to_string(folder.path().join("stderr")).unwrap(), "err\n");
}

#[test]
fn a_killed_script_does_not_hide_its_engine() {
    let folder = tempfile::tempdir().unwrap();
    let (_, id) = launch(folder.path(), "sleep 300 & echo ready; wait");
    wait_for("its child", || std::fs::read_to_string(folder.path().join("stdout")).unwrap() == "ready\n");
    let pid = id.0.split('/').nth(2).unwrap().to_string();
    let killed = Command::new("kill").args(["-KILL", &pid]).stderr(Stdio::null()).status().unwrap();
    assert!(killed.success());
    assert_eq!(state_of(&id), Queue::Running, "its child goes on");
    run(&Local.cancel(&here(), std::slice::from_ref(&id), Stop::Ask));
    wait_for("its child dead too", || state_of(&id) == Queue::Gone);
}

#[test]
fn a_host_tells_what_it_has() {
    let host = Local.parse_discover(&run(&Local.discover(&here()).unwrap())).unwrap().remove(0);
    assert!(host.cores.unwrap() >= 1 && host.mem_mib.unwrap() > 100 && host.is_open, "{host:?}");
    let said = answer("host w1 64 263856404\ngpu 0\ngpu 1\nend\n");
    let host = Local.parse_discover(&said).unwrap().remove(0);
    assert_eq!(
        (host.name.as_str(), host.cores, host.mem_mib, host.gpus),
        ("w1", Some(64), Some(257_672), Some(2))
    );
    assert!(Local.parse_discover(&answer("host w1 64 263856404\n")).is_err(), "cut short");
}
