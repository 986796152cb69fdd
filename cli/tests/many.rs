//! A project of a thousand jobs: `status` must not read them all. The time is printed, not asserted.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    missing_docs,
    reason = "tests start what they test"
)]

mod scene;

use scene::{AT_ONCE, Scene};
use std::path::Path;
use std::time::{Duration, Instant, UNIX_EPOCH};

const JOBS: u32 = 1000;

/// Copies a finished job under other numbers, without the syncs that making so many would cost.
fn multiply(job: &Path) {
    let yaml = std::fs::read_to_string(job.join("job.yaml")).unwrap();
    for number in 2..=JOBS {
        let copy = job.with_file_name(format!("J{number:04}-import-movies"));
        std::fs::create_dir_all(copy.join("attempt-01/claim")).unwrap();
        std::fs::write(copy.join("job.yaml"), yaml.replace("job: J1\n", &format!("job: J{number}\n")))
            .unwrap();
        for name in ["request-01.json", "outputs.json", "attempt-01/intent.json", "attempt-01/exit.json"] {
            std::fs::copy(job.join(name), copy.join(name)).unwrap();
        }
        let long_ago = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        std::fs::File::open(&copy).unwrap().set_modified(long_ago).unwrap();
    }
}

#[test]
fn status_of_a_thousand_jobs() {
    let scene = Scene::new(AT_ONCE, "");
    scene.import(&["--wait"]);
    multiply(&scene.job(1));
    let mut times = Vec::new();
    for _ in 0..4 {
        let started = Instant::now();
        let text = scene.ok(&["status"]);
        times.push(format!("{:.0} ms", started.elapsed().as_secs_f64() * 1e3));
        assert_eq!(text.lines().count(), JOBS as usize);
        assert!(text.lines().all(|line| line.ends_with("done")), "{text}");
    }
    let index = std::fs::metadata(scene.root().join(".vitreous/index.json")).unwrap().len();
    println!(
        "status of {JOBS} jobs: first {}, then {} (index {} KiB)",
        times[0],
        times[1..].join(", "),
        index / 1024
    );
    // the cache is in use: a record that changes behind its back is not read again until the cache is gone
    std::fs::write(scene.job(2).join("attempt-01/exit.json"), "broken").unwrap();
    assert!(scene.ok(&["status", "J2"]).contains("done"));
    std::fs::remove_file(scene.root().join(".vitreous/index.json")).unwrap();
    assert!(scene.ok(&["status", "J2"]).contains("exit.json` cannot be understood"));
}
