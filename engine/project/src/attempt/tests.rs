use super::*;
use vitreous_model::event::EventKind;

fn attempt() -> (tempfile::TempDir, AttemptDir) {
    let folder = tempfile::tempdir().unwrap();
    let attempt = AttemptDir::new(folder.path(), 1);
    attempt.create().unwrap();
    (folder, attempt)
}

#[test]
fn usage_counts_all_ranks_of_all_slices_and_the_memory_of_the_largest() {
    let (_folder, attempt) = attempt();
    assert_eq!(attempt.usage(), None);
    let usage = |cpu_seconds, max_rss_mib| Usage { cpu_seconds, max_rss_mib };
    for (slice, rank, used) in [
        (Some(1), 0, usage(10.0, 100.0)),
        (Some(1), 1, usage(10.0, 50.0)),
        (Some(12), 0, usage(30.0, 120.0)),
        (None, 0, usage(1.0, 20.0)),
    ] {
        attempt.write_usage(slice, rank, used).unwrap();
    }
    assert_eq!(attempt.usage(), Some(usage(51.0, 150.0)));
}

#[test]
fn progress_is_the_sum_over_slices_until_the_collecting_run_speaks() {
    let (_folder, attempt) = attempt();
    assert_eq!(attempt.progress().unwrap(), None);
    for (slice, done, total) in [(2, 3, 5), (10, 1, 6)] {
        let mut writer = attempt.event_writer(Some(slice)).unwrap();
        writer.write(EventKind::Phase { name: "movies".into(), total }).unwrap();
        writer.write(EventKind::Progress { done, total }).unwrap();
    }
    assert_eq!(attempt.slices(), [2, 10]);
    let now = attempt.progress().unwrap().unwrap();
    assert_eq!((now.phase.as_deref(), now.done, now.total), (Some("movies"), 4, 11));
    let mut writer = attempt.event_writer(None).unwrap();
    writer.write(EventKind::Progress { done: 7, total: 11 }).unwrap();
    assert_eq!(attempt.progress().unwrap().unwrap().done, 7);
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a command that outlives its caller is what this is about")]
fn a_submission_is_under_way_until_its_command_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let attempt = AttemptDir::new(folder.path(), 1);
    attempt.create().unwrap();
    assert!(!attempt.is_being_submitted(), "it has not begun");
    let mark = attempt.begin_submission().unwrap();
    let mut command = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    drop(mark);
    assert!(attempt.is_being_submitted(), "the command lives");
    command.kill().unwrap();
    command.wait().unwrap();
    assert!(!attempt.is_being_submitted());
}
