//! Answers recorded from Slurm 22.05.8 (`fixtures/`, with slurmdbd), and every way in which they can be broken.

use super::*;
use crate::scheduler::{Array, Ended, Queue};
use proptest::prelude::*;

const SQUEUE: &str = include_str!("fixtures/squeue.txt");
const SACCT: &str = include_str!("fixtures/sacct.txt");

fn answer(code: i32, stdout: &str, stderr: &str) -> Answer {
    Answer { code, stdout: stdout.into(), stderr: stderr.into() }
}

fn ids(numbers: &[u32]) -> Vec<JobId> {
    numbers.iter().map(|number| JobId(number.to_string())).collect()
}

fn queues(listing: &str, numbers: &[u32]) -> Vec<Queue> {
    let standings = Slurm.parse_status(&ids(numbers), &answer(0, listing, "")).unwrap();
    standings.into_iter().map(|standing| standing.queue).collect()
}

fn end(queue: &Queue) -> &Ended {
    match queue {
        Queue::Ended(ended) => ended,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_recorded_end_is_told_apart() {
    let unstarted = |words: &str| EndReason::LaunchFailed(words.into());
    for (job, exit, signal, reason, host) in [
        (71, Some(0), None, EndReason::Exited, "n1"),
        (72, Some(7), None, EndReason::Exited, "n1"),
        (73, None, Some(11), EndReason::Exited, "n1"),
        (74, None, Some(9), EndReason::Exited, "n1"),
        // OverMemoryKill: only the job's own standard error, or the accounting, tells why
        (75, None, Some(9), EndReason::Exited, "n2"),
        (76, None, Some(15), EndReason::TimeLimit, "n2"),
        (77, None, Some(15), EndReason::Cancelled, "n2"),
        (78, None, None, EndReason::Cancelled, ""),
        (81, None, None, EndReason::Dependency, ""),
        (82, None, None, EndReason::Dependency, ""),
        (83, None, None, unstarted("FAILED BadConstraints 0:1"), ""),
        (85, None, None, unstarted("FAILED JobLaunchFailure 15:53"), "n2"),
        (97, None, None, EndReason::NodeFailed, "n2"),
    ] {
        let queue = queues(SQUEUE, &[job]).remove(0);
        let ended = end(&queue);
        assert_eq!(
            (ended.exit, ended.signal, &ended.reason, ended.host.as_str()),
            (exit, signal, &reason, host),
            "{job}"
        );
        assert!(!ended.words.is_empty(), "{job}");
    }
    assert!(end(&queues(SQUEUE, &[71])[0]).is_well());
    assert_eq!(end(&queues(SQUEUE, &[76])[0]).words, "TIMEOUT TimeLimit 0:15");
}

#[test]
fn what_waits_says_why_in_slurms_words_and_in_plain_ones() {
    let waiting = queues(SQUEUE, &[84, 98, 79, 424_242]);
    assert!(matches!(&waiting[0], Queue::Pending(why) if why.starts_with("BeginTime (")), "{waiting:?}");
    assert!(
        matches!(&waiting[1], Queue::Pending(why) if why.ends_with("; started 1 times before")),
        "{waiting:?}"
    );
    assert!(matches!(&waiting[2], Queue::Held(why) if why.starts_with("JobHeldUser (")), "{waiting:?}");
    assert_eq!(waiting[3], Queue::Gone);
    let long = "9|PENDING|ReqNodeNotAvail|0|0|n/a|(ReqNodeNotAvail, UnavailableNodes:n[1-2]) \nend";
    assert_eq!(queues(long, &[9]), [Queue::Pending(
        "ReqNodeNotAvail, UnavailableNodes:n[1-2] (the nodes that it could use are down, drained or reserved, often for \
         maintenance)".into()
    )]);
    for (word, meaning) in [
        ("AssocMaxWallDurationPerJobLimit", "it will never start"),
        ("QOSMaxJobsPerUserLimit", "you run as many jobs"),
        ("AssocGrpCpuLimit", "your account uses"),
        ("Priority", "higher priority"),
    ] {
        let waiting = queues(&format!("9|PENDING|{word}|0|0|n/a|({word}) \nend"), &[9]).remove(0);
        assert!(matches!(&waiting, Queue::Pending(why) if why.contains(meaning)), "{waiting:?}");
    }
}

#[test]
fn states_that_no_cluster_here_gets_into() {
    let state = |state: &str, reason: &str, code: &str| {
        queues(&format!("9|{state}|{reason}|{code}|0|n1|{reason} \nend"), &[9]).remove(0)
    };
    for word in ["COMPLETING", "CONFIGURING", "SUSPENDED", "STAGE_OUT", "RUNNING"] {
        assert_eq!(state(word, "None", "0"), Queue::Running, "{word}");
    }
    for (word, reason) in [
        ("OUT_OF_MEMORY", EndReason::OutOfMemory),
        ("PREEMPTED", EndReason::Preempted),
        ("BOOT_FAIL", EndReason::NodeFailed),
        ("DEADLINE", EndReason::TimeLimit),
        ("CANCELLED by 1001", EndReason::Cancelled),
        ("CANCELLED+", EndReason::Cancelled),
        ("FAILED", EndReason::Other("FAILED None".into())),
        ("LAUNCH_FAILED", EndReason::LaunchFailed("LAUNCH_FAILED".into())),
    ] {
        assert_eq!(end(&state(word, "None", "0")).reason, reason, "{word}");
    }
    assert!(
        matches!(&end(&state("REVOKED", "None", "0")).reason, EndReason::Other(words) if words.contains("federation"))
    );
    assert_eq!(state("REQUEUED", "None", "0"), Queue::Requeued);
    assert!(matches!(state("REQUEUE_HOLD", "None", "0"), Queue::Held(_)));
    assert_eq!(state("FROZEN", "None", "0"), Queue::Unknown("FROZEN".into()));
    // a shell's way to say that its command was killed, and the form that newer versions may print
    assert_eq!(end(&state("FAILED", "NonZeroExitCode", "35072")).signal, Some(9));
    assert_eq!(end(&state("FAILED", "RaisedSignal:11(SEGV)", "0:11")).signal, Some(11));
}

#[test]
fn tasks_of_an_array_stand_on_their_own() {
    let standings = Slurm.parse_status(&ids(&[88, 89]), &answer(0, SQUEUE, "")).unwrap();
    let array = &standings[0];
    assert_eq!(array.queue, Queue::Running);
    assert_eq!(array.tasks.keys().copied().collect::<Vec<_>>(), [1, 2, 3, 4, 6, 7, 8, 9]);
    assert!(matches!(&array.tasks[&1], Queue::Ended(end) if end.reason == EndReason::Cancelled));
    assert!(matches!(&array.tasks[&7], Queue::Pending(why) if why.starts_with("JobArrayTaskLimit")));
    // tasks 3 to 30 were cancelled while they waited, and are one row without numbers
    let cut = &standings[1];
    assert!(matches!(&cut.queue, Queue::Ended(end) if end.reason == EndReason::Cancelled));
    assert_eq!(cut.tasks.len(), 2);
    let cut = &Slurm.parse_post_mortem(&ids(&[89]), &answer(0, SACCT, "")).unwrap()[0];
    assert_eq!(cut.tasks.len(), 30);
    let shortened = "5_[1-3,...]|PENDING|Priority|0|0|n/a|(Priority) \n5_9|RUNNING|None|0|0|n1|n1 \nend";
    let standing = Slurm.parse_status(&ids(&[5]), &answer(0, shortened, "")).unwrap().remove(0);
    assert_eq!((standing.queue, standing.tasks.len()), (Queue::Running, 1));
}

#[test]
fn the_accounting_tells_what_the_controller_has_forgotten() {
    let numbers = [71, 72, 73, 75, 76, 77, 78, 83, 85, 97, 79, 424_242];
    let standings = Slurm.parse_post_mortem(&ids(&numbers), &answer(0, SACCT, "")).unwrap();
    let reasons: Vec<Option<&EndReason>> = standings
        .iter()
        .map(|standing| if let Queue::Ended(end) = &standing.queue { Some(&end.reason) } else { None })
        .collect();
    let unstarted = EndReason::LaunchFailed("FAILED 0:53".into());
    assert_eq!(
        reasons,
        [
            Some(&EndReason::Exited),
            Some(&EndReason::Exited),
            Some(&EndReason::Exited),
            Some(&EndReason::OutOfMemory),
            Some(&EndReason::TimeLimit),
            Some(&EndReason::Cancelled),
            Some(&EndReason::Cancelled),
            Some(&EndReason::Exited),
            Some(&unstarted),
            Some(&EndReason::NodeFailed),
            None,
            None,
        ]
    );
    assert_eq!(end(&standings[3].queue).words, "FAILED 0:9, used 152 MiB");
    assert_eq!((standings[10].queue.clone(), standings[11].queue.clone()), (Queue::Gone, Queue::Gone));
    // an older notation of memory, and a step that says it itself
    let text = "3|FAILED|1:0|n1|200Mc|\n3.0|OUT_OF_MEMORY|0:125|n1||1K\n4|FAILED|0:9|n1|200Mn|\n4.batch|FAILED|0:9|n1||300M\nend";
    let standings = Slurm.parse_post_mortem(&ids(&[3, 4]), &answer(0, text, "")).unwrap();
    assert!(standings.iter().all(|standing| end(&standing.queue).reason == EndReason::OutOfMemory));
}

#[test]
fn without_accounting_nothing_is_known_and_nothing_is_wrong() {
    for (code, stderr) in [(1, "Slurm accounting storage is disabled\n"), (127, "sh: 4: sacct: not found\n")]
    {
        let standings = Slurm.parse_post_mortem(&ids(&[1, 2]), &answer(code, "end\n", stderr)).unwrap();
        assert_eq!(standings, [Standing::gone(), Standing::gone()]);
    }
    let down = "sacct: error: slurm_persist_conn_open: failed to open persistent connection to host:localhost:6819: Connection refused\n";
    let error = Slurm.parse_post_mortem(&ids(&[1]), &answer(1, "end\n", down)).unwrap_err();
    assert!(matches!(error, SchedulerError::Unreachable { .. }), "{error}");
}

#[test]
fn a_job_that_is_not_there_is_gone_and_a_controller_that_is_not_there_is_no_verdict() {
    let gone = answer(1, "end\n", "slurm_load_jobs error: Invalid job id specified\n");
    assert_eq!(Slurm.parse_status(&ids(&[424_242]), &gone).unwrap(), [Standing::gone()]);
    for (code, stderr) in [
        (1, "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n"),
        (
            1,
            "slurm_load_jobs error: Invalid job id specified\nslurm_load_jobs error: Socket timed out on send/recv operation\n",
        ),
        (127, "sh: 5: squeue: not found\n"),
        (255, "ssh: connect to host login port 22: Connection timed out\n"),
        (1, "squeue: fatal: Could not establish a configuration source\n"),
        (1, ""),
    ] {
        let error = Slurm.parse_status(&ids(&[1]), &answer(code, "end\n", stderr)).unwrap_err();
        assert!(matches!(error, SchedulerError::Unreachable { .. }), "{stderr}: {error}");
        assert!(error.to_string().contains(stderr.trim()), "{error}");
    }
    for garbage in
        ["", "hello", "hello\nend", "1|RUNNING\nend", "<html>|a|b|c|d|e|f\nend", "1|RUNNING|None|0|0|n1|n1"]
    {
        let error = Slurm.parse_status(&ids(&[1]), &answer(0, garbage, "")).unwrap_err();
        assert!(matches!(error, SchedulerError::Unexpected { .. }), "{garbage}: {error}");
    }
    let foreign = JobId("node7/0bd4a5b4/4242/987654".into());
    let standing = Slurm.parse_status(&[foreign], &answer(0, "end", "")).unwrap().remove(0);
    assert!(matches!(standing.queue, Queue::Unknown(_)), "an id of another scheduler was not asked about");
}

#[test]
fn a_submission_has_an_id_or_a_reason() {
    for stdout in ["5\n", "5;other\n", "sbatch: a site's greeting\n5\n"] {
        assert_eq!(Slurm.parse_submit(&answer(0, stdout, "")).unwrap().0, "5");
    }
    let failed = |stderr: &str| Slurm.parse_submit(&answer(1, "", stderr)).unwrap_err();
    for refusal in [
        "sbatch: error: invalid partition specified: nosuch\nsbatch: error: Batch job submission failed: Invalid partition name specified",
        "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified",
        "sbatch: error: Batch job submission failed: Requested time limit is invalid (missing or exceeds some limit)",
        "sbatch: error: Batch job submission failed: Node count specification invalid",
        "sbatch: error: Unable to open file /nonexistent.sh",
        "sbatch: error: QOSMaxWallDurationPerJobLimit\nsbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
    ] {
        let error = failed(refusal);
        assert!(matches!(&error, SchedulerError::Refused { stderr, .. } if stderr == refusal), "{error}");
    }
    for later in [
        "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)",
        "sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
        "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying",
    ] {
        assert!(matches!(failed(later), SchedulerError::Unreachable { .. }), "{later}");
    }
    for uncertain in [
        "sbatch: error: Batch job submission failed: Requested node configuration is not available",
        "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
        "sbatch: connection timed out",
    ] {
        assert!(matches!(failed(uncertain), SchedulerError::Unexpected { .. }), "{uncertain}");
    }
    let lost =
        Slurm.parse_submit(&answer(255, "", "Connection to login closed by remote host.")).unwrap_err();
    assert!(matches!(lost, SchedulerError::Unexpected { .. }), "ssh may have broken after sbatch");
    let half = Slurm.parse_submit(&answer(1, "5\n", "a site's wrapper failed")).unwrap_err();
    assert!(matches!(half, SchedulerError::Unexpected { .. }), "an id was printed");
    assert!(matches!(Slurm.parse_submit(&answer(0, "", "")), Err(SchedulerError::Unexpected { .. })));
    let missing = Slurm.parse_submit(&answer(127, "", "sh: 1: sbatch: not found")).unwrap_err();
    assert!(matches!(missing, SchedulerError::Unreachable { .. }));
}

#[test]
fn what_a_template_could_forget_stands_on_the_command_line() {
    let script = Script {
        path: "/em/it's 100%/submit.sh".into(),
        folder: "/em/it's 100%".into(),
        name: "T20S-J2".into(),
        stdout: "/em/it's 100%/stdout".into(),
        stderr: "/em/it's 100%/stderr".into(),
        after: ids(&[3, 4]),
        array: Some(Array { tasks: 9, at_once: 2 }),
        avoid: ["n1".to_string(), "n2".to_string()].into(),
        ..Script::default()
    };
    let site = Site { cluster: "big".into(), ..Site::default() };
    let cmd = Slurm.submit(&site, &script);
    assert_eq!(
        cmd.args[..],
        [
            "--parsable",
            "--clusters=big",
            "--job-name=T20S-J2",
            "--comment=vitreous:00000000-0000-0000-0000-000000000000",
            "--chdir=/em/it's 100%",
            "--output=/em/it's 100%%/stdout",
            "--error=/em/it's 100%%/stderr",
            "--open-mode=append",
            "--kill-on-invalid-dep=no",
            "--dependency=afterok:3:4",
            "--array=1-9%2",
            "--exclude=n1,n2",
            "/em/it's 100%/submit.sh",
        ]
    );
}

#[test]
fn ten_thousand_jobs_are_one_command() {
    let many = ids(&(10_000_000..10_010_000).collect::<Vec<_>>());
    let cmd = Slurm.status(&Site::default(), &many);
    assert!(cmd.words().iter().all(|word| word.len() < 2000), "the ids go through standard input");
    assert_eq!(cmd.stdin.unwrap().lines().count(), 1, "one call of squeue");
}

#[test]
fn the_tag_is_found_in_the_comment() {
    let tags = [Uuid::from_u128(1), Uuid::from_u128(2)];
    let text = format!(
        "12_[1-4]|vitreous:{}\n12_5|vitreous:{}\n7|vitreous:{}\nend\n",
        tags[0],
        tags[0],
        Uuid::from_u128(3)
    );
    assert_eq!(Slurm.parse_find(&tags, &answer(0, &text, "")).unwrap(), [(tags[0], JobId("12".into()))]);
    assert!(
        Slurm
            .parse_find(&tags, &answer(1, "", "slurm_load_jobs error: Unable to contact slurm controller"))
            .is_err()
    );
    assert!(Slurm.parse_find(&tags, &answer(0, "", "")).is_err(), "no answer is not `no job`");
}

#[test]
fn partitions_are_read() {
    let queues = Slurm.parse_discover(&answer(0, include_str!("fixtures/sinfo.txt"), "")).unwrap();
    assert_eq!((queues[0].name.as_str(), queues[0].is_default, queues[0].walltime_s), ("normal", true, None));
    assert_eq!(
        (queues[1].name.as_str(), queues[1].walltime_s, queues[1].gpus),
        ("short", Some(300), Some(2))
    );
    let mixed = "gpu|up|2-00:00:00|3|32|192000|gpu:a100:4(S:0-1,3),craynetwork:2|\ngpu|up|2-00:00:00|1|64+|512000|(null)|\nold|down|12:00:00|0|8|1|(null)|\n";
    let queues = Slurm.parse_discover(&answer(0, mixed, "")).unwrap();
    let gpu = &queues[0];
    assert_eq!((gpu.nodes, gpu.cores, gpu.mem_mib, gpu.gpus), (Some(4), Some(64), Some(512_000), Some(4)));
    assert_eq!((gpu.gpu_resource.as_deref(), gpu.walltime_s), (Some("gres:a100"), Some(172_800)));
    assert!(!queues[1].is_open);
    assert!(Slurm.parse_discover(&answer(0, "what?", "")).is_err());
    let named = answer(0, "Configuration data as of …\nClusterName             = vitreous\n", "");
    assert_eq!(Slurm.parse_identify(&named).as_deref(), Some("vitreous"));
    assert_eq!(Slurm.parse_identify(&answer(1, "", "slurm_load_ctl_conf error")), None);
}

#[test]
fn the_daemon_on_the_node_says_what_the_commands_do_not() {
    let memory = "reading movies\nslurmstepd-n2: error: StepId=75.batch exceeded memory limit (159685120 > 104857600), being killed\n\
                  slurmstepd-n2: error: Exceeded job memory limit\nslurmstepd-n2: error: *** JOB 75 ON n2 CANCELLED AT 2026-11-23T09:34:16 ***\n";
    assert_eq!(Slurm.reason_in_stderr(memory), Some(EndReason::OutOfMemory));
    let cgroup = "slurmstepd: error: Detected 1 oom_kill event in StepId=9.batch. Some of the step tasks have been OOM Killed.\n";
    assert_eq!(Slurm.reason_in_stderr(cgroup), Some(EndReason::OutOfMemory));
    let time =
        "slurmstepd-n2: error: *** JOB 76 ON n2 CANCELLED AT 2026-11-23T09:35:17 DUE TO TIME LIMIT ***\n";
    assert_eq!(Slurm.reason_in_stderr(time), Some(EndReason::TimeLimit));
    let cancelled = "slurmstepd-n2: error: *** JOB 77 ON n2 CANCELLED AT 2026-11-23T09:34:14 ***\n";
    assert_eq!(Slurm.reason_in_stderr(cancelled), Some(EndReason::Cancelled));
    assert_eq!(Slurm.reason_in_stderr("error: movie 7 has 3 frames, expected 40: CANCELLED AT\n"), None);
}

proptest! {
    #[test]
    fn no_answer_is_too_broken(text in ".{0,300}", code in 0..3, cut in 0_usize..2000) {
        let asked = ids(&[71, 88]);
        let _ = Slurm.parse_status(&asked, &answer(code, &text, &text));
        let _ = Slurm.parse_post_mortem(&asked, &answer(code, &format!("{text}\nend"), ""));
        let _ = Slurm.parse_discover(&answer(0, &text, ""));
        let _ = Slurm.parse_submit(&answer(code, &text, &text));
        // the last line without its end would still be whole
        let cut = SQUEUE.trim_end().char_indices().nth(cut).map_or(0, |(at, _)| at);
        prop_assert!(Slurm.parse_status(&asked, &answer(0, &SQUEUE[..cut], "")).is_err(), "half an answer is none");
    }
}
