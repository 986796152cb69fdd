use super::compared::{Compared, RankFigures};
use super::measured::{Measured, median, rates};
use super::messages::{self, Exchange};
use super::{Benchmark, disk, report, simd};
use crate::machine::Seen;
use crate::{Ctx, Stage, StageError};
use serde_json::{Value, json};
use std::path::Path;
use vitreous_compute::comm::{Comm, Solo, Threads};
use vitreous_jobs::{JobType, benchmark};
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::event::EventKind;
use vitreous_model::report::{Cell, Report};
use vitreous_model::resources::InputSummary;

#[test]
fn impossible_parameters_are_refused() {
    for (key, value) in [
        ("seconds", json!(0.0)),
        ("seconds", json!(601.0)),
        ("memory", json!(2)),
        ("disk", json!(2_000_000)),
        ("message", json!(0)),
        ("message", json!(1025)),
        ("slow", json!(0.0)),
        ("slow", json!(1.0)),
    ] {
        assert_eq!(benchmark::JOB.check(&json!({key: value})).unwrap_err().key, key, "{value}");
    }
    assert!(benchmark::JOB.check(&json!({"disk": 0})).is_ok());
}

#[test]
fn memory_and_time_grow_with_what_is_measured() {
    let needed = |params: Value| {
        let params = benchmark::JOB.check(&params).unwrap();
        benchmark::JOB.resources(&params, &InputSummary::default())
    };
    let usual = needed(Value::Null);
    assert_eq!((usual.mem_mib, usual.walltime_s), (512 + 384 + 64, 1800 + 20 + 230));
    let more = needed(json!({"memory": 1000, "disk": 2560, "seconds": 10.0}));
    assert_eq!((more.mem_mib, more.walltime_s), (512 + 1000 + 64, 1800 + 200 + 2304));
}

#[test]
fn the_page_has_the_parameters() {
    let table = vitreous_jobs::page::parameter_table(&benchmark::JOB);
    assert!(include_str!("README.md").contains(table.trim_end()), "put this into README.md:\n{table}");
}

#[test]
fn medians_and_repeats() {
    assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
    assert_eq!(median([4.0, 1.0].into_iter()), 2.5);
    assert!(median(std::iter::empty()).is_nan());
    let mut calls = 0;
    let found = rates(0.0, || {
        calls += 1;
        1.0
    });
    assert_eq!((calls, found.len()), (4, 3), "once for nothing, then three times");
    assert!(simd::multiply_add().0 > 1e6);
}

fn figures(host: &str, values: &[(&str, f64)]) -> RankFigures {
    let seen = Seen {
        host: host.into(),
        processor: "A".into(),
        kernel: "6".into(),
        device: "CPU".into(),
        threads: 2,
        memory_mib: Some(1000),
    };
    let measured = |(what, value): &(&str, f64)| match what.contains("wait") {
        true => Measured::time(*what, "µs", vec![*value; 3]),
        false => Measured::rate(*what, "GB/s", vec![*value; 3]),
    };
    RankFigures {
        seen,
        vectors: "AVX2".into(),
        measured: values.iter().map(measured).collect(),
        refused: Vec::new(),
        file_systems: Vec::new(),
    }
}

/// What must be flagged is flagged: a slow rank by a rate, another by a time; others are not.
#[test]
fn ranks_far_behind_the_median_are_named() {
    let ranks = [
        figures("n1", &[("memory, triad", 10.0), ("wait", 100.0)]),
        figures("n1", &[("memory, triad", 9.0), ("wait", 110.0)]),
        figures("n2", &[("memory, triad", 5.0), ("wait", 100.0)]),
        figures("n3", &[("memory, triad", 10.0), ("wait", 300.0)]),
    ];
    let all = Compared::all(&ranks);
    assert_eq!(all[0].slow(0.8), [(2, 5.0 / 9.5)]);
    assert_eq!(all[1].slow(0.8).iter().map(|(rank, _)| *rank).collect::<Vec<_>>(), [3]);
    assert!(all[0].slow(0.5).is_empty());
    let report = report::make(&ranks, &[], 0.8);
    assert_eq!(report.title, "Speed of 3 hosts; some are slow");
    let slow: Vec<&String> = report.notes.iter().filter(|note| note.starts_with("SLOW")).collect();
    assert_eq!(slow.len(), 2, "{slow:?}");
    assert!(slow[0].contains("rank 2 on n2: memory, triad reaches 53 %"), "{slow:?}");
    let flagged = report.tables[1].rows.iter().filter(|row| row[8] == Cell::Text("SLOW".into())).count();
    assert_eq!((report.tables[1].rows.len(), flagged), (8, 2));
    assert!(report::make(&ranks[..2], &[], 0.8).title.starts_with("Speed of 1 host"));
}

#[test]
fn waiting_is_what_the_slowest_costs_the_others() {
    let ranks = [figures("a", &[("x", 2.0)]), figures("b", &[("x", 1.0)])];
    // times 0.5 and 1: on average a quarter of the time is spent waiting
    assert!((Compared::all(&ranks)[0].waiting() - 0.25).abs() < 1e-12);
    assert_eq!(Compared::all(&ranks[..1])[0].waiting(), 0.0);
}

#[test]
fn a_disk_that_could_not_be_measured_or_is_memory_is_told() {
    let mut one = figures(
        "n1",
        &[("project, read, cache dropped", 9.0), ("project, read again, from the cache", 10.0)],
    );
    one.file_systems = vec![("project".into(), "ext".into()), ("scratch".into(), disk::IN_MEMORY.into())];
    one.refused = vec![("scratch".into(), "Permission denied".into())];
    let notes = report::make(&[one], &[], 0.8).notes.join("\n");
    assert!(notes.contains("n1: scratch was not measured: Permission denied"), "{notes}");
    assert!(notes.contains("some cache still held it") && notes.contains("kept in memory"), "{notes}");
}

/// Runs the job with little of everything; it is asked to stop if `stop`.
fn run(folder: &Path, comm: &dyn Comm, scratch: Option<&Path>, stop: bool) -> Result<Report, StageError> {
    let stop = || stop;
    let mut ctx = Ctx::new(folder, folder, &AnyDevice::Cpu, comm, &|_: EventKind| {}, &stop);
    ctx.params = json!({"seconds": 0.01, "memory": 3, "disk": 1, "message": 1});
    ctx.host = "node1".into();
    ctx.scratch_dir = scratch.map(Into::into);
    Benchmark.run(&ctx)
}

#[test]
fn every_rank_measures_everything_and_one_a_host_its_disks() {
    let (project, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for ranks in [1, 3] {
        let reports =
            Threads::run(ranks, |comm| run(project.path(), comm, Some(scratch.path()), false).unwrap());
        let report = &reports[0];
        assert_eq!(report.get("ranks"), Some(ranks as f64));
        let measured = report.data["measurements"].as_array().unwrap();
        assert!(
            measured.iter().all(|row| row["median"].as_f64().is_some_and(|value| value > 0.0)),
            "{measured:?}"
        );
        let of_disks = measured.iter().filter(|row| {
            let what = row["measurement"].as_str().unwrap();
            what.starts_with("project") || what.starts_with("scratch")
        });
        assert_eq!(of_disks.count(), 14, "seven values of each of two disks");
        assert_eq!(measured.len(), 14 + 11 * ranks);
        assert_eq!(report.data.contains_key("exchanges"), ranks > 1);
        let shown = serde_json::to_string(report).unwrap();
        assert!(!shown.contains(&project.path().display().to_string()), "no paths");
    }
    for folder in [project.path(), scratch.path()] {
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0, "files of measurements are gone");
    }
}

#[test]
fn a_scratch_that_is_not_there_is_told_and_no_failure() {
    let project = tempfile::tempdir().unwrap();
    let missing = project.path().join("no/such");
    let report = run(project.path(), &Solo, Some(&missing), false).unwrap();
    assert!(
        report.notes.iter().any(|note| note.contains("scratch was not measured: No such file")),
        "{:?}",
        report.notes
    );
}

#[test]
fn all_ranks_stop_together() {
    let project = tempfile::tempdir().unwrap();
    let ends = Threads::run(2, |comm| run(project.path(), comm, None, comm.rank() == 1));
    assert!(ends.iter().all(|end| matches!(end, Err(StageError::Stopped))), "{ends:?}");
}

#[test]
fn exchanges_go_up_to_the_largest_message() {
    let all = Threads::run(2, |comm| messages::measure(comm, 0.001, 1));
    let sizes: Vec<(&str, usize)> =
        all[0].iter().map(|Exchange { what, bytes, .. }| (what.as_str(), *bytes)).collect();
    assert_eq!(sizes[0], ("barrier", 0));
    assert_eq!(sizes.iter().map(|(_, bytes)| *bytes).max(), Some(8 * 32 * 32 * 32));
    assert!(all[0].iter().all(|exchange| exchange.times_us.len() >= 5));
    assert!(messages::measure(&Solo, 0.001, 1).is_empty());
}
