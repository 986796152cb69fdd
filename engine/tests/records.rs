//! What a job leaves behind: effective parameters first, outputs last, events, usage, report.

mod harness;

use harness::{Scratch, bare_engine, events, finish, outputs, report, run};
use serde_json::json;
use vitreous_model::event::EventKind;
use vitreous_model::outputs::Kind;

/// A float MRC image of 64 × 48 pixels.
#[allow(clippy::disallowed_methods, reason = "test data in a temporary folder")]
fn write_micrograph(scratch: &Scratch, name: &str) {
    let mut header = vec![0u8; 1024];
    let mut word = |at: usize, value: [u8; 4]| header[4 * at..4 * at + 4].copy_from_slice(&value);
    for (at, value) in
        [(0, 64i32), (1, 48), (2, 1), (3, 2), (7, 64), (8, 48), (9, 1), (16, 1), (17, 2), (18, 3)]
    {
        word(at, value.to_le_bytes());
    }
    for (at, value) in [(10, 128.0f32), (11, 96.0), (12, 2.0), (13, 90.0), (14, 90.0), (15, 90.0)] {
        word(at, value.to_le_bytes());
    }
    word(52, *b"MAP ");
    word(53, [0x44, 0x44, 0, 0]);
    let pixels = (0..64 * 48u32).flat_map(|i| ((i * 2_654_435_761) as f32 / 1e9).to_le_bytes());
    header.extend(pixels);
    std::fs::write(scratch.project.root().join(name), header).expect("should write");
}

#[test]
fn a_job_leaves_its_records_and_says_what_was_effective() {
    let scratch = Scratch::new();
    write_micrograph(&scratch, "one.mrc");
    write_micrograph(&scratch, "two.mrc");
    let params = json!({"micrographs": "*.mrc", "pixel_size": 2.0, "voltage": 300.0, "cs": 2.7});
    let job = scratch.job("import-micrographs", &[], params);
    run(&job, &["--threads", "1"]).succeeded(&job);
    let effective = job.effective().expect("should read").expect("should be there");
    assert_eq!((effective.threads, effective.ranks, effective.attempt), (1, 1, 1));
    assert_eq!(effective.params["cs"], 2.7);
    assert!(effective.params["max_bad_fraction"].is_number(), "defaults are filled in");
    assert_eq!(effective.versions["vitreous-engine"], env!("CARGO_PKG_VERSION"));
    assert!(effective.command_line.iter().any(|word| word == "run"), "{:?}", effective.command_line);
    let outputs = outputs(&job);
    assert_eq!((outputs[0].kind, outputs[0].count), (Kind::Micrographs, 2));
    let said = events(&job);
    assert!(matches!(said.first(), Some(EventKind::Started { ranks: 1, threads: 1, .. })), "{said:?}");
    assert!(matches!(said.last(), Some(EventKind::Ended { state, .. }) if state == "done"), "{said:?}");
    let usage = job.latest_attempt().expect("should list").and_then(|attempt| attempt.usage());
    assert!(usage.is_some_and(|usage| usage.max_rss_mib > 1.0), "{usage:?}");
    assert!(report(&job)["title"].is_string());
    assert!(job.file("report.html").exists());
}

#[test]
fn the_projects_microscope_is_the_default() {
    let scratch = Scratch::new();
    write_micrograph(&scratch, "one.mrc");
    let yaml = scratch.project.root().join("vitreous.yaml");
    let text = std::fs::read_to_string(&yaml).expect("should read");
    assert!(text.contains("microscope"), "{text}");
    let job = scratch.job("import-micrographs", &[], json!({"micrographs": "*.mrc", "pixel_size": 2.0}));
    let ended = run(&job, &[]);
    assert_ne!(ended.code, Some(0), "no voltage is known");
    assert!(ended.stderr.contains("voltage"), "{}", ended.stderr);
}

#[test]
fn a_broken_input_is_named_and_listed() {
    let scratch = Scratch::new();
    write_micrograph(&scratch, "one.mrc");
    write_micrograph(&scratch, "two.mrc");
    let broken = scratch.project.root().join("two.mrc");
    std::fs::File::options()
        .write(true)
        .open(&broken)
        .and_then(|file| file.set_len(500))
        .expect("should cut");
    let params = json!({"micrographs": "*.mrc", "pixel_size": 2.0, "voltage": 300.0, "cs": 2.7});
    let job = scratch.job("import-micrographs", &[], params);
    run(&job, &[]).succeeded(&job);
    assert_eq!(outputs(&job)[0].count, 1);
    let skipped = &report(&job)["skipped"][0];
    assert!(skipped["item"].as_str().is_some_and(|item| item.contains("two")), "{skipped}");
}

#[test]
fn a_deposition_tells_of_the_jobs_behind_it() {
    let scratch = Scratch::new();
    harness::small_particles(&scratch, 60);
    scratch.done("reconstruct", &[("particles", "J1.truth")], json!({}));
    let job = scratch.done("export-deposition", &[("volume", "J2.volume")], json!({"prefix": "x"}));
    let text = std::fs::read_to_string(job.file("methods.md")).expect("should read");
    let version = env!("CARGO_PKG_VERSION");
    for words in [
        format!("(`simulate`, J1, version {version})"),
        format!("reconstructed from 60 particles, symmetry C1 (`reconstruct`, J2, version {version})"),
    ] {
        assert!(text.contains(&words), "{words}: {text}");
    }
    assert!(outputs(&job)[0].parts.values().all(|file| job.file(file).exists()));
    assert_eq!(report(&job)["table"][8]["value"], "C1", "{}", report(&job)["table"][8]);
}

#[test]
fn a_folder_that_cannot_be_written_is_one_clear_error() {
    let scratch = Scratch::new();
    write_micrograph(&scratch, "one.mrc");
    let params = json!({"micrographs": "*.mrc", "pixel_size": 2.0, "voltage": 300.0, "cs": 2.7});
    let job = scratch.job("import-micrographs", &[], params);
    // a file where the attempt's folder should be: as fatal as a read-only disk, and not passed over by root
    std::fs::File::create(job.path().join("attempt-01")).expect("should create");
    let mut command = bare_engine();
    let ended =
        finish(command.arg("run").arg(job.path()).args(["--attempt", "1"]).spawn().expect("should start"));
    assert_eq!(ended.code, Some(5), "{}", ended.stderr);
    assert!(ended.stderr.starts_with("error: ") && ended.stderr.contains("attempt-01"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}
