//! Every combination of evidence.

use super::*;
use crate::records::{Cancel, Elements, Intent, Request, Requester, Submission, Verdict};
use uuid::Uuid;

fn launched() -> Evidence {
    let intent = Intent::new(Uuid::nil(), "local", "local");
    let submission = Submission {
        schema: 1,
        uuid: Uuid::nil(),
        job_id: "1".into(),
        unix_s: 0.0,
        host: "h".into(),
        uid: None,
        cluster: String::new(),
        project_dir: String::new(),
        command: vec![],
        recovered: false,
    };
    Evidence {
        attempt: 1,
        request: Some(Request::new(Requester::User, "")),
        intent: Some(intent),
        author: Some(Liveness::Dead),
        submission: Some(submission),
        claimed: true,
        ..Evidence::default()
    }
}

fn exit(code: i32) -> Option<Exit> {
    let signal = (code > 128).then_some(code - 128);
    Some(Exit { schema: 1, code, signal, host: "h".into(), end_unix_s: 1.0, ..Exit::default() })
}

fn shown(evidence: &Evidence, seen: &Seen) -> String {
    let status = evidence.derive(seen);
    match status.reason {
        Some(reason) => format!("{} ({reason})", status.state),
        None => status.state.to_string(),
    }
}

#[test]
fn every_combination_of_evidence_has_its_state() {
    let cancel = |by| Some(Cancel { schema: 1, by, unix_s: 0.0 });
    let said = |state: &str| Some((state.to_string(), String::new()));
    let e = launched;
    let waiting = || Evidence { intent: None, submission: None, claimed: false, ..launched() };
    let unclaimed = || Evidence { submission: None, claimed: false, ..launched() };
    let cases = [
        (Evidence::default(), Seen::NotAsked, "created"),
        (waiting(), Seen::NotAsked, "waiting"),
        (Evidence { cancel: cancel(Requester::User), ..waiting() }, Seen::NotAsked, "cancelled"),
        (Evidence { claimed: false, ..e() }, Seen::Pending("Priority".into()), "queued"),
        (e(), Seen::Running, "running"),
        (e(), Seen::Unknown("on another host".into()), "running"),
        (e(), Seen::Gone, "lost"),
        (Evidence { exit: exit(0), has_outputs: true, ..e() }, Seen::Running, "done"),
        (Evidence { exit: exit(0), ..e() }, Seen::Gone, "failed (no-outputs)"),
        (Evidence { exit: exit(1), ..e() }, Seen::Gone, "failed (exit 1)"),
        (Evidence { exit: exit(2), ..e() }, Seen::Gone, "failed (bad-parameters)"),
        (Evidence { exit: exit(3), ..e() }, Seen::Gone, "failed (bad-input)"),
        (Evidence { exit: exit(99), ..e() }, Seen::Gone, "failed (requeue)"),
        (Evidence { exit: exit(137), ..e() }, Seen::Gone, "failed (signal 9)"),
        (Evidence { exit: exit(143), cancel: cancel(Requester::User), ..e() }, Seen::Gone, "cancelled"),
        (Evidence { exit: exit(99), cancel: cancel(Requester::User), ..e() }, Seen::Gone, "cancelled"),
        (
            Evidence { exit: exit(0), has_outputs: true, cancel: cancel(Requester::User), ..e() },
            Seen::Gone,
            "done",
        ),
        (Evidence { ended: said("done"), has_outputs: true, ..e() }, Seen::Gone, "done"),
        (Evidence { ended: said("done"), ..e() }, Seen::Gone, "lost"),
        (Evidence { ended: said("failed"), ..e() }, Seen::Gone, "failed (exit 1)"),
        (Evidence { ended: said("requeue"), ..e() }, Seen::Gone, "failed (requeue)"),
        (Evidence { cancel: cancel(Requester::User), ..e() }, Seen::Gone, "cancelled"),
        (Evidence { refused: Some("bad queue".into()), ..unclaimed() }, Seen::NotAsked, "failed (refused)"),
        (e(), Seen::Ended(Some(Reason::Timeout), String::new()), "failed (timeout)"),
        (Evidence { has_outputs: true, ..e() }, Seen::Ended(None, String::new()), "done"),
        (unclaimed(), Seen::Gone, "lost (launch-cut-short)"),
        (Evidence { author: Some(Liveness::Alive), ..unclaimed() }, Seen::Gone, "queued"),
        (Evidence { author: Some(Liveness::Unknown), ..unclaimed() }, Seen::NotAsked, "queued"),
        (
            Evidence { cancel: cancel(Requester::Recovery), ..unclaimed() },
            Seen::Gone,
            "lost (launch-cut-short)",
        ),
    ];
    for (evidence, seen, expected) in cases {
        assert_eq!(shown(&evidence, &seen), expected, "{evidence:?} {seen:?}");
    }
}

#[test]
fn memory_kill_is_told_from_other_kills() {
    let record = Exit { out_of_memory: true, ..exit(137).unwrap() };
    assert_eq!(Reason::of_exit(&record), Reason::OutOfMemory);
}

#[test]
fn reasons_read_back_as_written() {
    for reason in [
        Reason::Exit(7),
        Reason::Signal(9),
        Reason::OutOfMemory,
        Reason::Dependency("J2 failed".into()),
        Reason::LaunchFailed("Eqw: can't chdir".into()),
        Reason::Uncollected,
        Reason::Refused,
        Reason::Other("BadConstraints".into()),
    ] {
        let text = serde_json::to_string(&reason).unwrap();
        assert_eq!(serde_json::from_str::<Reason>(&text).unwrap(), reason, "{text}");
    }
}

fn on_a_cluster() -> Evidence {
    let intent = Intent { is_cluster: true, ..Intent::new(Uuid::nil(), "gpu", "slurm") };
    Evidence { intent: Some(intent), ..launched() }
}

fn ended(reason: Reason) -> Seen {
    Seen::Ended(Some(reason), "in its words".into())
}

#[test]
fn a_cluster_says_who_ended_what_was_killed() {
    let e = on_a_cluster;
    let saved = |told: &str| exit(99).map(|exit| Exit { told: told.into(), ..exit });
    let absent = || Seen::Awaited("not in the queue; 3 of 90 s".into());
    for (evidence, seen, expected) in [
        (Evidence { exit: exit(137), ..e() }, ended(Reason::OutOfMemory), "failed (out-of-memory)"),
        (Evidence { exit: exit(137), ..e() }, ended(Reason::Signal(9)), "failed (signal 9)"),
        (Evidence { exit: exit(137), ..e() }, ended(Reason::Cancelled), "cancelled"),
        (Evidence { exit: exit(137), ..e() }, Seen::Gone, "failed (signal 9)"),
        (Evidence { exit: exit(137), ..e() }, absent(), "running"),
        (Evidence { exit: exit(7), ..e() }, absent(), "failed (exit 7)"),
        // told by us ahead of its limit: it goes on, whatever the scheduler says
        (Evidence { exit: saved("USR1"), ..e() }, ended(Reason::Timeout), "failed (requeue)"),
        // told by the scheduler: preempted or out of time it goes on, cancelled by hand it does not
        (Evidence { exit: saved("TERM"), ..e() }, ended(Reason::Preempted), "failed (requeue)"),
        (Evidence { exit: saved("TERM"), ..e() }, ended(Reason::Cancelled), "cancelled"),
        (e(), absent(), "running"),
        (e(), ended(Reason::NodeFailure), "failed (node-failure)"),
        (e(), ended(Reason::Cancelled), "cancelled"),
        (e(), Seen::Stale(Box::new(Seen::Running), "slurm is down".into()), "running"),
        (e(), Seen::Stale(Box::new(Seen::Gone), "slurm is down".into()), "running"),
    ] {
        assert_eq!(shown(&evidence, &seen), expected, "{evidence:?} {seen:?}");
    }
    let verdict = |reason| {
        let verdict = Verdict {
            schema: 1,
            uuid: Uuid::nil(),
            unix_s: 0.0,
            reason,
            words: "OUT_OF_MEMORY".into(),
            host: String::new(),
            is_gone: false,
            elements: Default::default(),
        };
        Evidence { verdict: Some(verdict), ..on_a_cluster() }
    };
    let told = verdict(Some(Reason::OutOfMemory));
    assert!(!told.needs_scheduler(), "it has said so already");
    assert_eq!(shown(&told, &Seen::NotAsked), "failed (out-of-memory)");
    assert_eq!(told.derive(&Seen::NotAsked).note, "OUT_OF_MEMORY");
    assert_eq!(shown(&Evidence { has_outputs: true, ..verdict(None) }, &Seen::NotAsked), "done");
}

#[test]
fn an_array_is_what_its_elements_are() {
    let array = |codes: &[(u32, i32)]| {
        let elements = Some(Elements { numbers: vec![2, 3, 5], of: 8 });
        let intent = Intent { is_cluster: true, elements, ..Intent::new(Uuid::nil(), "gpu", "slurm") };
        let end = |(element, code): &(u32, i32)| ElementEnd { element: *element, exit: exit(*code).unwrap() };
        Evidence { intent: Some(intent), element_ends: codes.iter().map(end).collect(), ..launched() }
    };
    let all_done: &[(u32, i32)] = &[(2, 0), (3, 0), (5, 0)];
    for (codes, seen, expected) in [
        (&[][..], Seen::Pending("Priority".into()), "running"),
        (&[(2, 0)], Seen::Running, "running"),
        (&[(2, 0), (3, 7)], Seen::Running, "running"),
        (&[(2, 0), (3, 7), (5, 0)], Seen::Gone, "failed (exit 7)"),
        (&[(2, 0)], Seen::Gone, "lost"),
        (all_done, Seen::Gone, "failed (uncollected)"),
        (all_done, ended(Reason::NodeFailure), "failed (uncollected)"),
    ] {
        assert_eq!(shown(&array(codes), &seen), expected, "{codes:?} {seen:?}");
    }
    let status = array(&[(2, 0), (3, 7)]).derive(&Seen::Gone);
    assert_eq!(status.note, "2 of its elements did not end well: 3, 5");
    assert_eq!(array(&[(2, 0), (3, 7)]).missing_elements(), [3, 5]);
    let collected = Evidence { exit: exit(0), has_outputs: true, ..array(all_done) };
    assert_eq!(shown(&collected, &Seen::Running), "done");
}
