use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use vitreous_compute::comm::Solo;
use vitreous_compute::device::Cpu;

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
    let ctx = Ctx::new(dir, dir, &Cpu, &Solo, &|_| {}, &stop);
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
    let ctx = Ctx::new(dir.path(), dir.path(), &Cpu, &Solo, &|_| {}, &|| false);
    let error = for_each_item::<u64>(&ctx, "things", &items(4), 0.25, |i| {
        if i < 2 { Err(StageError::input("is broken", "")) } else { Ok(1) }
    })
    .unwrap_err();
    assert!(error.to_string().starts_with("2 of 4 things failed"), "{error}");
    assert_eq!(ctx.skipped().len(), 2);
}
