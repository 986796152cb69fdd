//! Answers of OpenPBS 23.06.06 and of Torque's commands. `fixtures/qstat.txt`: jobs 0 and 6 are as recorded; of the others
//! states, substates, exit codes and comments are, and the attributes around them those of job 6.

use super::*;
use crate::scheduler::{Array, Ended, Queue};
use proptest::prelude::*;

const QSTAT: &str = include_str!("fixtures/qstat.txt");

fn answer(code: i32, stdout: &str, stderr: &str) -> Answer {
    Answer { code, stdout: stdout.into(), stderr: stderr.into() }
}

fn ids(names: &[&str]) -> Vec<JobId> {
    names.iter().map(|name| JobId((*name).to_string())).collect()
}

fn standing_in(text: &str, id: &str) -> Standing {
    Pbs.parse_status(&ids(&[id]), &answer(0, text, "")).unwrap().remove(0)
}

fn end(standing: &Standing) -> &Ended {
    match &standing.queue {
        Queue::Ended(ended) => ended,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_recorded_end_is_told_apart() {
    for (job, exit, signal, reason) in [
        ("0.pbs1", Some(0), None, EndReason::Exited),
        ("1.pbs1", Some(7), None, EndReason::Exited),
        ("2.pbs1", Some(139), Some(11), EndReason::Exited),
        ("4.pbs1", Some(0), None, EndReason::Exited),
        // F/92 without Exit_status is not success
        ("5.pbs1", None, None, EndReason::Dependency),
        ("6.pbs1", None, Some(15), EndReason::Cancelled),
        ("7.pbs1", None, None, EndReason::Cancelled),
        ("8.pbs1", None, None, EndReason::TimeLimit),
    ] {
        let standing = standing_in(QSTAT, job);
        let ended = end(&standing);
        assert_eq!((ended.exit, ended.signal, &ended.reason), (exit, signal, &reason), "{job}");
    }
    let well = standing_in(QSTAT, "0.pbs1");
    assert!(end(&well).is_well());
    assert_eq!(end(&well).host, "pbs1");
    assert_eq!(
        end(&well).words,
        "F/92 Exit_status 0: Job run at Sun Nov 22 at 19:36 on (pbs1:ncpus=2:ngpus=1:mem=102400kb) and finished",
        "long lines are put together again"
    );
}

#[test]
fn what_waits_says_why() {
    assert_eq!(standing_in(QSTAT, "9.pbs1").queue, Queue::Running);
    assert_eq!(standing_in(QSTAT, "11.pbs1").queue, Queue::Running, "exiting is not over");
    let waits = |id: &str, words: &str| match standing_in(QSTAT, id).queue {
        Queue::Pending(why) => assert!(why.contains(words), "{id}: {why}"),
        other => panic!("{other:?}"),
    };
    waits("10.pbs1", "Insufficient amount of resource: ncpus (R: 2 A: 0 T: 4) (it is waiting");
    waits("13.pbs1", "it will never start");
    waits("17.pbs1", "waits for afterok:9.pbs1@pbs1");
    assert!(
        matches!(standing_in(QSTAT, "16.pbs1").queue, Queue::Held(why) if why.contains("Job held by emlab"))
    );
    assert_eq!(standing_in(QSTAT, "424242.pbs1").queue, Queue::Gone);
}

#[test]
fn of_an_array_the_tasks_count() {
    let array = standing_in(QSTAT, "3[].pbs1");
    assert_eq!(array.tasks.len(), 4);
    assert!(
        matches!(&array.queue, Queue::Ended(end) if end.exit == Some(3)),
        "the parent says Exit_status 0"
    );
    // without its tasks the parent's F/93 is no success either
    let parent: String =
        QSTAT.split_inclusive("\n\n").filter(|block| block.starts_with("Job Id: 3[].")).collect();
    assert!(!end(&standing_in(&(parent + "end"), "3[].pbs1")).is_well());
    // a server known by its long name
    assert_eq!(standing_in(QSTAT, "3[].pbs1.site.org").tasks.len(), 4);
}

#[test]
fn exit_codes_of_the_server_and_of_torques() {
    let of = |state: &str, code: &str| {
        let text = format!(
            "Job Id: 9.s\n    job_state = {state}\n    substate = 93\n    Exit_status = {code}\n    exec_host = n1/0\n\nend"
        );
        end(&standing_in(&text, "9.s")).reason.clone()
    };
    assert_eq!(of("F", "-27"), EndReason::OutOfMemory);
    assert_eq!(of("F", "-29"), EndReason::TimeLimit);
    assert!(matches!(of("F", "-1"), EndReason::LaunchFailed(_)));
    assert_eq!(of("F", "-11"), EndReason::NodeFailed);
    assert_eq!(of("C", "-11"), EndReason::TimeLimit, "Torque counts otherwise");
    assert_eq!(of("C", "-10"), EndReason::OutOfMemory);
    let text = "Job Id:\t44\n\tJob_Name = sl\n\tjob_state = C\n\texit_status = 7\n\texec_host = n1/1\n\nJob Id:\t45\n\tjob_state = Z\n\nend";
    assert_eq!(end(&standing_in(text, "44")).exit, Some(7));
    assert_eq!(standing_in(text, "45").queue, Queue::Unknown("Z".into()));
}

#[test]
fn an_answer_that_is_not_whole_says_nothing() {
    let gone = answer(153, "end\n", "qstat: Unknown Job Id 9999.pbs1\nqstat: Unknown Job Id 9998.pbs1\n");
    assert_eq!(Pbs.parse_status(&ids(&["9999.pbs1"]), &gone).unwrap(), [Standing::gone()]);
    let finished = answer(
        35,
        "end\n",
        "qstat: 0.pbs1 Job has finished, use -x or -H to obtain historical job information\n",
    );
    assert_eq!(Pbs.parse_status(&ids(&["0.pbs1"]), &finished).unwrap(), [Standing::gone()]);
    for (code, stderr) in [
        (111, "Connection refused\nqstat: cannot connect to server pbs1 (errno=111)\n"),
        (153, "qstat: Unknown Job Id 1.pbs1\nqstat: End of File\n"),
        (127, "vitreous-status: 4: qstat: not found\n"),
        (1, ""),
    ] {
        let error = Pbs.parse_status(&ids(&["1.pbs1"]), &answer(code, "end\n", stderr)).unwrap_err();
        assert!(matches!(error, SchedulerError::Unreachable { .. }), "{stderr}: {error}");
    }
    for garbage in ["", "hello", "Job Id: 9.s\n    Job_Name = x\n\nend", "Job Id: 9.s\n    job_state = R\n"] {
        let error = Pbs.parse_status(&ids(&["9.s"]), &answer(0, garbage, "")).unwrap_err();
        assert!(matches!(error, SchedulerError::Unexpected { .. }), "{garbage}: {error}");
    }
}

#[test]
fn a_submission_has_an_id_or_a_reason() {
    for (stdout, id) in [("0.pbs1\n", "0.pbs1"), ("3[].pbs1\n", "3[].pbs1"), ("a hook's words\n33\n", "33")] {
        assert_eq!(Pbs.parse_submit(&answer(0, stdout, "")).unwrap().0, id);
    }
    let failed = |code: i32, stderr: &str| Pbs.parse_submit(&answer(code, "", stderr)).unwrap_err();
    for (code, refusal) in [
        (170, "qsub: Unknown queue"),
        (187, "qsub: Unknown resource: nosuch"),
        (1, "qsub: script file:: No such file or directory"),
        (188, "qsub: Job exceeds queue and/or server resource limits"),
    ] {
        assert!(
            matches!(failed(code, refusal), SchedulerError::Refused { stderr, .. } if stderr == refusal),
            "{refusal}"
        );
    }
    for later in [
        "Connection refused\nqsub: cannot connect to server pbs1 (errno=111)",
        "qsub: would exceed queue generic's per-user limit",
        "qsub: Maximum number of jobs already in queue",
    ] {
        assert!(matches!(failed(198, later), SchedulerError::Unreachable { .. }), "{later}");
    }
    assert!(matches!(failed(1, "qsub: End of File"), SchedulerError::Unexpected { .. }), "the job may exist");
}

#[test]
fn what_a_template_could_forget_stands_on_the_command_line() {
    let script = Script {
        path: "/em/submit.sh".into(),
        folder: "/em".into(),
        name: "20S it's a long name".into(),
        stdout: "/em/stdout".into(),
        stderr: "/em/stderr".into(),
        after: ids(&["3[].pbs1", "4.pbs1"]),
        array: Some(Array { tasks: 9, at_once: 2 }),
        ..Script::default()
    };
    let tag = "VITREOUS_ATTEMPT=00000000-0000-0000-0000-000000000000";
    let words = format!(
        "qsub -N J20S_it_s_a_lon -v {tag} -o /em/stdout.pbs-^array_index^ -e /em/stderr.pbs-^array_index^ -W \
         depend=afterok:3[].pbs1:4.pbs1 -J 1-9%2 /em/submit.sh"
    );
    assert_eq!(Pbs.submit(&Site::default(), &script).words().join(" "), words);
    let torque = Site { dialect: "torque".into(), cluster: "pbs02".into(), ..Site::default() };
    let cmd = Pbs.submit(&torque, &script);
    assert_eq!(cmd.args[3..5], ["pbs02", "qsub"], "at the lane's server");
    let words = format!(
        "-N J20S_it_s_a_lon -v {tag} -o /em/stdout.pbs -e /em/stderr.pbs -d /em -W \
         depend=afterok:4.pbs1,afterokarray:3[].pbs1 -t 1-9%2 /em/submit.sh"
    );
    assert_eq!(cmd.args[5..].join(" "), words);
    let one = Script { array: Some(Array { tasks: 1, at_once: 0 }), ..script };
    assert!(
        !Pbs.submit(&Site::default(), &one).args.contains(&"-J".to_string()),
        "an array of one is refused"
    );
    let many: Vec<JobId> = (0..10_000).map(|n| JobId(format!("{n}.pbs-server-01.site.org"))).collect();
    let cmd = Pbs.status(&Site::default(), &many);
    assert_eq!(cmd.stdin.unwrap().lines().count(), 10, "one call of qstat for a thousand jobs");
}

#[test]
fn the_tag_is_found_in_the_environment() {
    let tags = [Uuid::from_u128(1), Uuid::from_u128(2)];
    let text = format!("{} 3[].pbs1\n{} 4.pbs1\nend\n", tags[1], Uuid::from_u128(3));
    assert_eq!(Pbs.parse_find(&tags, &answer(0, &text, "")).unwrap(), [(tags[1], JobId("3[].pbs1".into()))]);
    assert!(Pbs.parse_find(&tags, &answer(0, "", "")).is_err(), "no answer is not `no job`");
}

#[test]
fn queues_and_hosts_are_read() {
    let queues = Pbs.parse_discover(&answer(0, include_str!("fixtures/discover.txt"), "")).unwrap();
    let queue = &queues[0];
    assert_eq!((queue.name.as_str(), queue.is_default, queue.is_open), ("workq", true, true));
    assert_eq!(
        (queue.nodes, queue.cores, queue.mem_mib, queue.gpus),
        (Some(2), Some(4), Some(4096), Some(2))
    );
    assert_eq!((queue.walltime_s, queue.gpu_resource.as_deref()), (Some(172_800), Some("ngpus")));
    // Torque's pbsnodes, as recorded
    let torque = "Server: s\n    default_queue = batch\n\nqueues\nQueue: batch\n    queue_type = Execution\n    enabled = False\n\nhosts\n\
                  n1\n    state = free\n    np = 4\n    status = rectime=1795376378,physmem=4096000kb,ncpus=4\n    gpus = 2\n\nend";
    let queue = &Pbs.parse_discover(&answer(0, torque, "")).unwrap()[0];
    assert_eq!(
        (queue.cores, queue.mem_mib, queue.gpus, queue.is_open),
        (Some(4), Some(4000), Some(2), false)
    );
    assert!(Pbs.parse_discover(&answer(0, "what?\nend", "")).is_err());
    assert_eq!(
        Pbs.parse_identify(&answer(0, "Server: pbs1\n    server_state = Active\n", "")).as_deref(),
        Some("pbs1")
    );
}

#[test]
fn the_daemon_on_the_host_says_why_it_killed() {
    let memory = "=>> PBS: job killed: mem 2097152kb exceeded limit 1048576kb\n";
    assert_eq!(Pbs.reason_in_stderr(memory), Some(EndReason::OutOfMemory));
    let time = "=>> PBS: job killed: walltime 3626 exceeded limit 3600\n";
    assert_eq!(Pbs.reason_in_stderr(time), Some(EndReason::TimeLimit));
    assert_eq!(Pbs.reason_in_stderr("error: no movies"), None);
}

proptest! {
    #[test]
    fn no_answer_is_too_broken(text in ".{0,300}", code in 0..3, cut in 0_usize..20_000) {
        let asked = ids(&["0.pbs1", "3[].pbs1"]);
        let _ = Pbs.parse_status(&asked, &answer(code, &text, &text));
        let _ = Pbs.parse_status(&asked, &answer(0, &format!("Job Id: {text}\n    job_state = F\n\t{text}\nend"), ""));
        let _ = Pbs.parse_discover(&answer(0, &format!("{text}\nqueues\n{text}\nhosts\n{text}\nend"), ""));
        let _ = Pbs.parse_submit(&answer(code, &text, &text));
        let cut = QSTAT.trim_end().char_indices().nth(cut).map_or(0, |(at, _)| at);
        prop_assert!(Pbs.parse_status(&asked, &answer(0, &QSTAT[..cut], "")).is_err(), "half an answer is none");
    }
}
