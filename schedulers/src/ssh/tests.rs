//! What differs from `local`: who runs the commands, and that they may not be reached. The rest is tested there, and over
//! a real sshd by `ci/cluster ssh`.

use super::*;
use crate::lane::Lane;
use crate::scheduler::Queue;

const EXAMPLE: &str = include_str!("../../../templates/lanes/ssh.example.yaml");

fn answer(code: i32, stdout: &str, stderr: &str) -> Answer {
    Answer { code, stdout: stdout.into(), stderr: stderr.into() }
}

fn id() -> JobId {
    JobId("em1/0bd4a5b4-3c0b-4c7e-9d5e-6a0f6f0c5b11/4242/987654".into())
}

#[test]
fn every_command_goes_to_the_worker_and_nothing_is_ever_asked() {
    let lane = Lane::parse("boxes", EXAMPLE).unwrap();
    let site = lane.site(Some(&lane.workers[0]));
    let words = site.command(Ssh.status(&site, &[id()])).words();
    assert_eq!(
        words[..5],
        ["ssh", "-i", "~/.ssh/em", "-p", "2222"],
        "the lane's options come first, and so count"
    );
    for option in ["-oBatchMode=yes", "-oStrictHostKeyChecking=yes"] {
        assert!(words.contains(&option.to_string()), "{words:?}");
    }
    let [.., dashes, host, far] = &words[..] else { panic!("{words:?}") };
    assert_eq!((dashes.as_str(), host.as_str()), ("--", "em1"));
    assert!(far.starts_with("sh -c '") && far.ends_with(" vitreous-status 4242"), "{far}");
}

#[test]
fn a_worker_that_is_not_reached_is_no_verdict() {
    for said in [
        "ssh: connect to host em1 port 22: No route to host",
        "Host key verification failed.",
        "em@em1: Permission denied (publickey).",
        "Connection to em1 closed by remote host.",
    ] {
        let lost = answer(255, "", said);
        let error = Ssh.parse_status(&[id()], &lost).unwrap_err();
        assert!(matches!(&error, SchedulerError::Unreachable { stderr, .. } if stderr == said), "{error}");
        assert!(Ssh.parse_find(&[Uuid::nil()], &lost).is_err(), "`not found` would start the job again");
        assert!(Ssh.parse_discover(&lost).is_err() && Ssh.parse_test_only(&lost).is_err());
        // the connection may have broken after the start
        let error = Ssh.parse_submit(&lost).unwrap_err();
        assert!(matches!(&error, SchedulerError::Unexpected { stderr, .. } if stderr == said), "{error}");
    }
}

#[test]
fn a_worker_that_answers_is_read_as_this_host_is() {
    let ended = answer(0, "host em1 0bd4a5b4-3c0b-4c7e-9d5e-6a0f6f0c5b11\nend\n", "");
    assert_eq!(Ssh.parse_status(&[id()], &ended).unwrap(), [Standing::gone()]);
    let other = answer(0, "host em2 0bd4a5b4-3c0b-4c7e-9d5e-6a0f6f0c5b11\nend\n", "");
    let standing = Ssh.parse_status(&[id()], &other).unwrap().remove(0);
    assert!(
        matches!(standing.queue, Queue::Unknown(why) if why.contains("em1")),
        "another machine cannot say"
    );
    let refused = Ssh.parse_submit(&answer(1, "", "sh: 1: Cannot fork")).unwrap_err();
    assert!(matches!(refused, SchedulerError::Refused { .. }), "{refused}");
    assert!(Ssh.places_jobs() && !Ssh.can_wait_for_jobs());
}
