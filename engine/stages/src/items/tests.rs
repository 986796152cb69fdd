use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use vitreous_compute::comm::{Solo, Threads};
use vitreous_kernels_cuda::AnyDevice;

fn items(n: usize) -> Vec<Item> {
    (0..n).map(|i| Item { name: format!("item{i}"), fingerprint: "1".into() }).collect()
}

fn run(
    dir: &std::path::Path,
    items: &[Item],
    stop_after: usize,
    calls: &AtomicUsize,
) -> Result<Vec<Outcome<u64>>, StageError> {
    let stop = || calls.load(Ordering::Relaxed) >= stop_after;
    let ctx = Ctx::new(dir, dir, &AnyDevice::Cpu, &Solo, &|_| {}, &stop);
    for_each_item(&ctx, "things", items, 0.5, |i| {
        calls.fetch_add(1, Ordering::Relaxed);
        if i == 3 { Err(StageError::input("is broken", "")) } else { Ok(i as u64 * 10) }
    })
}

#[test]
fn stop_and_resume_does_each_item_once_and_keeps_order() {
    let dir = tempfile::tempdir().unwrap();
    let calls = AtomicUsize::new(0);
    assert!(matches!(run(dir.path(), &items(6), 2, &calls), Err(StageError::Stopped)));
    // a line torn by a kill
    let log = dir.path().join("records/things-0000.jsonl");
    let mut text = std::fs::read_to_string(&log).unwrap();
    text.push_str("{\"item\":\"item5\",\"finger");
    #[allow(clippy::disallowed_methods)]
    std::fs::write(&log, text).unwrap();
    let outcomes = run(dir.path(), &items(6), usize::MAX, &calls).unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 6);
    let values: Vec<_> =
        outcomes.iter().map(|o| if let Outcome::Done(v) = o { Some(*v) } else { None }).collect();
    assert_eq!(values, [Some(0), Some(10), Some(20), None, Some(40), Some(50)]);
    run(dir.path(), &items(6), usize::MAX, &calls).unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 6, "nothing is done twice");
}

#[test]
fn a_changed_fingerprint_means_do_it_again() {
    let dir = tempfile::tempdir().unwrap();
    let calls = AtomicUsize::new(0);
    run(dir.path(), &items(3), usize::MAX, &calls).unwrap();
    let mut changed = items(3);
    changed[1].fingerprint = "2".into();
    run(dir.path(), &changed, usize::MAX, &calls).unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 4);
}

#[test]
fn too_many_bad_items_fail_the_job() {
    let dir = tempfile::tempdir().unwrap();
    let ctx = Ctx::new(dir.path(), dir.path(), &AnyDevice::Cpu, &Solo, &|_| {}, &|| false);
    let error = for_each_item::<u64>(&ctx, "things", &items(4), 0.25, |i| {
        if i < 2 { Err(StageError::input("is broken", "")) } else { Ok(1) }
    })
    .unwrap_err();
    assert!(error.to_string().starts_with("2 of 4 things failed"), "{error}");
    assert_eq!(ctx.skipped().len(), 2);
}

/// Outcomes of `n` items where item `i` gives `10 i`, done in a slice or whole, and which of them were worked on.
fn run_part(
    dir: &std::path::Path,
    slice: Option<&str>,
    items: &[Item],
    ranks: usize,
    stop_after: usize,
) -> (Vec<Result<Vec<Outcome<u64>>, StageError>>, Vec<usize>) {
    let worked = std::sync::Mutex::new(Vec::new());
    let stop = || worked.lock().unwrap().len() >= stop_after;
    let results = Threads::run(ranks, |comm| {
        let mut ctx = Ctx::new(dir, dir, &AnyDevice::Cpu, comm, &|_| {}, &stop);
        ctx.slice = slice.map(|text| text.parse().unwrap());
        ctx.writer = format!("s{}", ctx.slice.map_or(0, crate::Slice::number));
        for_each_item(&ctx, "things", items, 0.5, |i| {
            worked.lock().unwrap().push(i);
            let number: u64 = items[i].name.trim_start_matches("item").parse().unwrap();
            Ok(number * 10)
        })
    });
    let mut worked = worked.into_inner().unwrap();
    worked.sort_unstable();
    (results, worked)
}

fn values(outcomes: &[Outcome<u64>]) -> Vec<u64> {
    let value = |outcome: &Outcome<u64>| match outcome {
        Outcome::Done(value) => *value,
        Outcome::Skipped(reason) => panic!("{reason}"),
    };
    outcomes.iter().map(value).collect()
}

#[test]
fn slices_do_their_items_and_the_run_that_collects_does_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let items = items(8);
    let (results, worked) = run_part(dir.path(), Some("2/3"), &items, 2, usize::MAX);
    assert_eq!(worked, [1, 4, 7]);
    for result in results {
        assert!(matches!(result, Err(StageError::SliceDone { items: 3, .. })), "{result:?}");
    }
    // stopped after one of its three items, and repeated
    let (results, worked) = run_part(dir.path(), Some("1/3"), &items, 1, 1);
    assert!(matches!(results[0], Err(StageError::Stopped)), "{results:?}");
    assert_eq!(worked, [0]);
    assert_eq!(run_part(dir.path(), Some("1/3"), &items, 1, usize::MAX).1, [3, 6]);
    // slice 3 never ran
    let (results, worked) = run_part(dir.path(), None, &items, 2, usize::MAX);
    assert_eq!(worked, [2, 5]);
    assert_eq!(values(results[0].as_ref().unwrap()), [0, 10, 20, 30, 40, 50, 60, 70]);
}

#[test]
fn a_slice_without_items_is_done_and_no_items_at_all_are_no_failure() {
    let dir = tempfile::tempdir().unwrap();
    let (results, worked) = run_part(dir.path(), Some("5/5"), &items(3), 2, usize::MAX);
    assert!(matches!(results[1], Err(StageError::SliceDone { items: 0, .. })) && worked.is_empty());
    let (results, _) = run_part(dir.path(), None, &[], 2, usize::MAX);
    assert!(results.iter().all(|result| result.as_ref().is_ok_and(Vec::is_empty)), "{results:?}");
}

#[test]
fn a_list_that_has_grown_and_changed_its_order_has_only_new_items_done() {
    let dir = tempfile::tempdir().unwrap();
    let mut list = items(4);
    run_part(dir.path(), None, &list, 1, usize::MAX);
    list.reverse();
    list.insert(2, items(10).remove(9));
    let (results, worked) = run_part(dir.path(), None, &list, 1, usize::MAX);
    assert_eq!(worked, [2], "the new one stands third");
    assert_eq!(values(results[0].as_ref().unwrap()), [30, 20, 90, 10, 0]);
}

#[test]
fn done_in_one_log_counts_more_than_left_out_in_a_later_one() {
    let dir = tempfile::tempdir().unwrap();
    let attempt = |writer: &str, readable: bool| {
        let mut ctx = Ctx::new(dir.path(), dir.path(), &AnyDevice::Cpu, &Solo, &|_| {}, &|| false);
        ctx.writer = writer.into();
        // both look at an empty folder, as two processes at one time would
        ctx.job_dir = dir.path().join(writer);
        for_each_item(&ctx, "things", &items(1), 1.0, |_| {
            if readable { Ok(7u64) } else { Err(StageError::input("the file server does not answer", "")) }
        })
    };
    let _ = (attempt("a", true), attempt("b", false));
    std::fs::create_dir(dir.path().join("records")).unwrap();
    for writer in ["a", "b"] {
        let name = format!("records/things-{writer}-0000.jsonl");
        std::fs::copy(dir.path().join(writer).join(&name), dir.path().join(&name)).unwrap();
    }
    let ctx = Ctx::new(dir.path(), dir.path(), &AnyDevice::Cpu, &Solo, &|_| {}, &|| false);
    let outcomes =
        for_each_item(&ctx, "things", &items(1), 0.0, |_| -> Result<u64, _> { panic!("is known") });
    assert_eq!(values(&outcomes.unwrap()), [7]);
}

#[test]
fn a_superseded_run_writes_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let calls = AtomicUsize::new(0);
    let superseded = || calls.load(Ordering::Relaxed) >= 2;
    let mut ctx = Ctx::new(dir.path(), dir.path(), &AnyDevice::Cpu, &Solo, &|_| {}, &|| false);
    ctx.superseded = &superseded;
    let result = for_each_item(&ctx, "things", &items(4), 0.5, |i| {
        calls.fetch_add(1, Ordering::Relaxed);
        Ok(i as u64)
    });
    assert!(matches!(result, Err(StageError::Superseded)), "{result:?}");
    let log = std::fs::read_to_string(dir.path().join("records/things-0000.jsonl")).unwrap();
    assert_eq!(log.lines().filter(|line| !line.is_empty()).count(), 1, "the second came too late: {log}");
    let refused = ctx.create("table.txt", |_| -> Result<(), StageError> { Ok(()) });
    assert!(matches!(refused, Err(StageError::Superseded)));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "only the folder of records");
}

#[test]
fn work_that_runs_ahead_is_finished_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let go = |ctx: &Ctx<'_>| {
        let mut finished = Vec::new();
        let outcomes = for_each_item_ahead(
            ctx,
            "things",
            &items(8),
            0.5,
            3,
            |i| {
                most.fetch_max(running.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                // later items are ready first
                std::thread::sleep(std::time::Duration::from_millis(8 - i as u64));
                running.fetch_sub(1, Ordering::Relaxed);
                if i == 3 { Err(StageError::input("is broken", "")) } else { Ok(i as u64) }
            },
            |i, value| {
                finished.push(i);
                Ok(10 * value)
            },
        );
        (outcomes, finished)
    };
    let ctx = Ctx::new(dir.path(), dir.path(), &AnyDevice::Cpu, &Solo, &|_| {}, &|| false);
    let (outcomes, finished) = go(&ctx);
    assert_eq!(finished, [0, 1, 2, 4, 5, 6, 7]);
    let values: Vec<_> =
        outcomes.unwrap().iter().map(|o| if let Outcome::Done(v) = o { Some(*v) } else { None }).collect();
    assert_eq!(values, [Some(0), Some(10), Some(20), None, Some(40), Some(50), Some(60), Some(70)]);
    assert!(most.load(Ordering::Relaxed) <= 3);
    // on a thread of the pool, were it the only one
    let elsewhere = tempfile::tempdir().unwrap();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    pool.install(|| {
        let ctx = Ctx::new(elsewhere.path(), elsewhere.path(), &AnyDevice::Cpu, &Solo, &|_| {}, &|| false);
        assert_eq!(go(&ctx).1, [0, 1, 2, 4, 5, 6, 7]);
    });
}
