//! Answers recorded from Grid Engine 8.1.9 (`fixtures/`), and every way in which they can be broken.

use super::*;
use crate::scheduler::{Array, EndReason, Ended, Queue};
use proptest::prelude::*;

const QSTAT: &str = include_str!("fixtures/qstat.txt");
const QACCT: &str = include_str!("fixtures/qacct.txt");

fn answer(code: i32, stdout: &str, stderr: &str) -> Answer {
    Answer { code, stdout: stdout.into(), stderr: stderr.into() }
}

fn ids(numbers: &[u32]) -> Vec<JobId> {
    numbers.iter().map(|number| JobId(number.to_string())).collect()
}

fn standing(number: u32) -> Standing {
    Sge.parse_status(&ids(&[number]), &answer(0, QSTAT, "")).unwrap().remove(0)
}

fn end(standing: &Standing) -> &Ended {
    match &standing.queue {
        Queue::Ended(ended) => ended,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_recorded_state_of_the_queue() {
    assert_eq!(standing(66).queue, Queue::Running);
    assert_eq!(standing(67).queue, Queue::Running, "suspended is not over");
    assert!(matches!(standing(70).queue, Queue::Held(why) if why.starts_with("hqw")));
    assert_eq!(standing(71).queue, Queue::Pending("hqw (waits for jobs 66)".into()));
    assert_eq!(
        standing(72).queue,
        Queue::Pending(
            "qw: (-l gpu=9,h_rt=300) cannot run at host \"vm\" because it offers only hc:gpu=2.000000".into()
        )
    );
    assert_eq!(standing(56).queue, Queue::Gone);
    let failed = standing(63);
    let words = "Eqw: error: can't chdir to /nonexistent: No such file or directory";
    assert_eq!(
        (&end(&failed).reason, end(&failed).words.as_str()),
        (&EndReason::LaunchFailed(words.into()), words)
    );
}

#[test]
fn tasks_of_an_array_stand_on_their_own() {
    let array = standing(68);
    assert_eq!(array.queue, Queue::Running);
    assert_eq!(array.tasks.keys().copied().collect::<Vec<_>>(), (1..=9).collect::<Vec<_>>());
    assert!(matches!(&array.tasks[&9], Queue::Pending(why) if why.contains("max_aj_instances")));
    let again = standing(74);
    assert!(
        matches!(&again.tasks[&1], Queue::Pending(why) if why.contains("put back into the queue")),
        "{again:?}"
    );
    let failed = standing(65);
    for (task, queue) in &failed.tasks {
        assert!(
            matches!(queue, Queue::Ended(end) if end.words.contains(&format!("/no{task}/x"))),
            "{queue:?}"
        );
    }
}

#[test]
fn states_that_no_job_was_caught_in() {
    let of = |state: &str| {
        let text = QSTAT.replacen("<state>r</state>", &format!("<state>{state}</state>"), 1);
        Sge.parse_status(&ids(&[66]), &answer(0, &text, "")).unwrap().remove(0).queue
    };
    for state in ["r", "t", "Rr", "Rt", "dr", "dt", "s", "S", "T", "hr", "dRr", "tS"] {
        assert_eq!(of(state), Queue::Running, "{state}");
    }
    for state in ["qw", "Rq", "dqw"] {
        assert!(matches!(of(state), Queue::Pending(_)), "{state}");
    }
    for state in ["Eqw", "Ehqw", "dEqw"] {
        assert!(
            matches!(of(state), Queue::Ended(end) if matches!(end.reason, EndReason::LaunchFailed(_))),
            "{state}"
        );
    }
    assert_eq!(of("Xyz"), Queue::Unknown("Xyz".into()));
    assert_eq!(of(""), Queue::Unknown(String::new()));
}

#[test]
fn every_recorded_end_is_told_apart() {
    let asked = ids(&[64, 56, 57, 58, 59, 60, 61, 62, 63, 66, 69]);
    let standings = Sge.parse_post_mortem(&asked, &answer(1, QACCT, "error: job id 70 not found\n")).unwrap();
    let unstarted = |words: &str| EndReason::LaunchFailed(words.into());
    let expected = [
        (Some(0), None, EndReason::Exited),
        (Some(7), None, EndReason::Exited),
        (Some(139), Some(11), EndReason::Exited),
        (Some(137), Some(9), EndReason::TimeLimit),
        (Some(138), Some(10), EndReason::TimeLimit),
        (Some(137), Some(9), EndReason::OutOfMemory),
        // the last of three runs
        (Some(4), None, EndReason::Exited),
        (None, None, unstarted("30 : application error returned, exit_status 100")),
        (None, None, unstarted("28 : changing into working directory, exit_status 0")),
        // deleted: the record does not tell it from another kill
        (Some(137), Some(9), EndReason::Exited),
        (Some(140), Some(12), EndReason::Exited),
    ];
    for ((standing, (exit, signal, reason)), id) in standings.iter().zip(expected).zip(&asked) {
        let ended = end(standing);
        assert_eq!((ended.exit, ended.signal, &ended.reason), (exit, signal, &reason), "{id}");
        assert_eq!(ended.host, "vm");
    }
    assert_eq!(
        end(&standings[3]).words,
        "37 : qmaster enforced h_rt, h_cpu, or h_vmem limit, exit_status 137 (Killed)"
    );
}

#[test]
fn records_of_tasks_and_of_jobs_that_are_out_again() {
    let standings =
        Sge.parse_post_mortem(&ids(&[65, 74, 70]), &answer(1, QACCT, "error: job id 70 not found")).unwrap();
    assert_eq!(standings[0].tasks.len(), 3);
    assert_eq!(standings[1].tasks[&1], Queue::Gone, "`25 : rescheduling` is no end");
    assert_eq!(standings[2], Standing::gone());
}

#[test]
fn codes_of_failures_that_no_host_here_produced() {
    let record = |failed: &str, status: &str, more: &str| {
        let text = format!(
            "==============================================================\njobnumber 9\nfailed {failed}\nexit_status {status}\n{more}\nend"
        );
        let standing = Sge.parse_post_mortem(&ids(&[9]), &answer(0, &text, "")).unwrap().remove(0);
        match standing.queue {
            Queue::Ended(end) => end.reason,
            other => panic!("{other:?}"),
        }
    };
    for failed in [1, 3, 7, 8, 10, 11, 12, 16, 18, 26, 27, 28, 38] {
        assert!(
            matches!(record(&format!("{failed} : words"), "0", ""), EndReason::LaunchFailed(_)),
            "{failed}"
        );
    }
    for failed in [19, 21, 22] {
        assert_eq!(record(&format!("{failed} : words"), "0", ""), EndReason::NodeFailed, "{failed}");
    }
    let memory = "slots 2\nmaxvmem 3.9G\ncategory -l h_vmem=2G,h_rt=300 -pe smp 2";
    assert_eq!(record("100 : assumedly after job", "134 (Aborted)", memory), EndReason::OutOfMemory);
    assert_eq!(
        record("100 : assumedly after job", "137", "slots 2\nmaxvmem 1G\ncategory -l h_vmem=2G"),
        EndReason::Exited
    );
    assert_eq!(record("100 : assumedly after job", "152", ""), EndReason::TimeLimit, "SIGXCPU");
    let time = "ru_wallclock 12:00\nru_wallclock 43201s\ncategory -l h_rt=12:00:00";
    assert_eq!(record("37 : qmaster enforced", "137", time), EndReason::TimeLimit);
}

#[test]
fn an_answer_that_is_not_whole_says_nothing() {
    for (code, stdout, stderr) in [
        (
            1,
            "",
            "error: commlib error: got select error (Connection refused)\nerror: unable to send message to qmaster using port 6444 on host \"vm\": got send error\n",
        ),
        (1, "end\n", "error: cell directory \"/opt/sge/default\" doesn't exist\n"),
        (127, "", "vitreous-status: 2: qstat: not found\n"),
        (255, "", "ssh: connect to host login port 22: No route to host\n"),
    ] {
        let error = Sge.parse_status(&ids(&[1]), &answer(code, stdout, stderr)).unwrap_err();
        assert!(matches!(error, SchedulerError::Unreachable { .. }), "{stderr}: {error}");
    }
    for garbage in
        ["", "end", "hello\nend", "<job_info>\n<job_list>\nend", "<job_info><job_info></job_info>\nend"]
    {
        let error = Sge.parse_status(&ids(&[1]), &answer(0, garbage, "")).unwrap_err();
        assert!(matches!(error, SchedulerError::Unexpected { .. }), "{garbage}: {error}");
    }
    assert!(Sge.parse_post_mortem(&ids(&[1]), &answer(0, "hello\nend", "")).is_err());
    for (code, stderr) in
        [(1, "/opt/sge/default/common/accounting: No such file or directory"), (127, "qacct: not found")]
    {
        assert_eq!(
            Sge.parse_post_mortem(&ids(&[1]), &answer(code, "end", stderr)).unwrap(),
            [Standing::gone()]
        );
    }
}

#[test]
fn a_submission_has_an_id_or_a_reason() {
    for stdout in ["5\n", "5.1-4:1\n", "a site's greeting\n5\n"] {
        assert_eq!(Sge.parse_submit(&answer(0, stdout, "")).unwrap().0, "5");
    }
    let failed = |stderr: &str| Sge.parse_submit(&answer(1, "", stderr)).unwrap_err();
    for refusal in [
        "Unable to run job: Job was rejected because job requests unknown queue \"nosuch.q\"\nExiting.",
        "Unable to run job: job rejected: the requested parallel environment \"nosuch\" does not exist\nExiting.",
        "Unable to run job: unknown resource \"nosuch\"\nExiting.",
        "Unable to run job: denied: \"2x\" is not a valid object name (cannot start with a digit)\nExiting.",
        "Unable to run job: job rejected: the requested project \"nosuch\" does not exist\nExiting.",
    ] {
        assert!(
            matches!(failed(refusal), SchedulerError::Refused { stderr, .. } if stderr == refusal),
            "{refusal}"
        );
    }
    for later in [
        "error: commlib error: got select error (Connection refused)\nUnable to run job: unable to send message to qmaster using port 6444 on host \"vm\": got send error\nExiting.",
        "Unable to run job: job rejected: only 10 jobs are allowed per user (current job count: 10)\nExiting.",
    ] {
        assert!(matches!(failed(later), SchedulerError::Unreachable { .. }), "{later}");
    }
    let lost = failed(
        "error: failed receiving gdi request response for mid=1 (got syncron message receive timeout error).",
    );
    assert!(matches!(lost, SchedulerError::Unexpected { .. }), "the job may exist");
}

#[test]
fn what_a_template_could_forget_stands_on_the_command_line() {
    let script = Script {
        path: "/em/submit.sh".into(),
        folder: "/em".into(),
        name: "20S it's".into(),
        stdout: "/em/stdout".into(),
        stderr: "/em/stderr".into(),
        after: ids(&[3, 4]),
        array: Some(Array { tasks: 9, at_once: 2 }),
        avoid: ["n1".to_string(), "n2".to_string()].into(),
        ..Script::default()
    };
    let words = "qsub -terse -N J20S_it_s -ac vitreous=00000000-0000-0000-0000-000000000000 -wd /em -o /em/stdout -e \
                 /em/stderr -j n -hold_jid 3,4 -t 1-9 -tc 2 -l h=!(n1|n2) -notify /em/submit.sh";
    assert_eq!(Sge.submit(&Site::default(), &script).words().join(" "), words);
    let many = ids(&(10_000_000..10_010_000).collect::<Vec<_>>());
    assert_eq!(Sge.status(&Site::default(), &many).stdin.unwrap().lines().count(), 10_000);
}

#[test]
fn the_tag_is_found_in_the_context() {
    let tags = [Uuid::from_u128(1), Uuid::from_u128(2)];
    let text = format!("12 context:                    vitreous={}\nend\n", tags[1]);
    assert_eq!(Sge.parse_find(&tags, &answer(0, &text, "")).unwrap(), [(tags[1], JobId("12".into()))]);
    assert!(Sge.parse_find(&tags, &answer(0, "", "")).is_err(), "no answer is not `no job`");
}

#[test]
fn queues_and_hosts_are_read() {
    let queues = Sge.parse_discover(&answer(0, include_str!("fixtures/discover.txt"), "")).unwrap();
    let queue = &queues[0];
    assert_eq!(
        (queue.name.as_str(), queue.nodes, queue.cores, queue.mem_mib),
        ("all.q", Some(1), Some(2), Some(24_064))
    );
    assert_eq!(queue.parallel_environments, ["smp", "mpi"]);
    assert_eq!(
        (queue.gpus, queue.gpu_resource.as_deref()),
        (Some(2), Some("gpu:slot")),
        "counted for each slot here"
    );
    assert!(Sge.parse_discover(&answer(0, "what?\nend", "")).is_err());
    assert_eq!(Sge.parse_identify(&answer(0, "default@vm\n", "")).as_deref(), Some("default@vm"));
    assert_eq!(Sge.parse_identify(&answer(1, "", "error: commlib error")), None);
}

proptest! {
    #[test]
    fn no_answer_is_too_broken(text in ".{0,300}", code in 0..3, cut in 0_usize..6000) {
        let asked = ids(&[56, 68]);
        let _ = Sge.parse_status(&asked, &answer(code, &text, &text));
        let _ = Sge.parse_status(&asked, &answer(0, &format!("<job_list>{text}</job_list></job_info>\nend"), ""));
        let _ = Sge.parse_post_mortem(&asked, &answer(code, &format!("{text}\nend"), ""));
        let _ = Sge.parse_discover(&answer(0, &format!("complexes\n{text}\nhosts\n{text}\nend"), ""));
        let _ = Sge.parse_submit(&answer(code, &text, &text));
        let cut = QSTAT.trim_end().char_indices().nth(cut).map_or(0, |(at, _)| at);
        prop_assert!(Sge.parse_status(&asked, &answer(0, &QSTAT[..cut], "")).is_err(), "half an answer is none");
    }
}
