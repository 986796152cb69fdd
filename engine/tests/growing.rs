//! A pipeline that follows a running microscope: every job is run again as movies come, does only what is new, and ends
//! with what one run over all movies makes.

mod harness;

use harness::{Scratch, assert_same_results, outputs, run};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use vitreous_project::JobDir;

/// Puts movies of the simulation into the folder that is watched.
fn deliver(scratch: &Scratch, numbers: &[u32]) {
    let root = scratch.project.root();
    std::fs::create_dir_all(root.join("raw")).expect("should create");
    for number in numbers {
        let name = format!("movie_{number:04}.tif");
        std::fs::copy(root.join("J0001-simulate/movies").join(&name), root.join("raw").join(&name))
            .expect("should copy");
    }
}

/// The import and the jobs behind it, not run yet.
fn pipeline(scratch: &Scratch) -> Vec<JobDir> {
    let import = json!({
        "watch": "raw", "gain": "J0001-simulate/gain.mrc", "settle_s": 0.0, "pixel_size": 2.0,
        "voltage": 300.0, "cs": 2.7, "dose_per_frame": 3.0,
    });
    let ctf = json!({"tile": 128, "min_defocus": 5000.0, "max_defocus": 30000.0, "max_resolution": 6.0});
    let steps: [(&str, &[(&str, &str)], Value); 5] = [
        ("import-movies", &[], import),
        ("correct-motion", &[("movies", "J2.movies")], json!({"patches_x": 1, "patches_y": 1})),
        ("estimate-ctf", &[("micrographs", "J3.micrographs")], ctf),
        ("pick-blobs", &[("micrographs", "J4.micrographs")], json!({"diameter": 80.0, "threshold": 1.0})),
        (
            "extract-particles",
            &[("micrographs", "J5.micrographs"), ("picks", "J5.picks")],
            json!({"box_size": 48, "background_diameter": 80.0}),
        ),
    ];
    steps.into_iter().map(|(job_type, inputs, params)| scratch.job(job_type, inputs, params)).collect()
}

fn run_all(jobs: &[JobDir], attempt: u32) {
    for job in jobs {
        run(job, &["--attempt", &attempt.to_string(), "--threads", "2"]).succeeded(job);
    }
}

/// Items that an attempt of a job has done.
fn done_in(job: &JobDir, attempt: u32) -> BTreeSet<String> {
    let entries = std::fs::read_dir(job.file("records")).into_iter().flatten();
    let paths = entries.map(|entry| entry.expect("should list").path());
    let of_attempt = |path: &std::path::PathBuf| path.to_string_lossy().contains(&format!("-a{attempt:02}-"));
    let mut items = BTreeSet::new();
    for path in paths.filter(of_attempt) {
        let text = std::fs::read_to_string(&path).expect("should read");
        for line in text.lines().filter(|line| !line.is_empty()) {
            let record: Value = serde_json::from_str(line).expect("should be JSON");
            items.insert(record["item"].as_str().expect("should be named").to_string());
        }
    }
    items
}

#[test]
fn jobs_behind_a_running_microscope_do_only_what_is_new() {
    let scratch = Scratch::new();
    harness::small_movies(&scratch);
    let jobs = pipeline(&scratch);
    let twin = scratch.twin();
    run_all(&jobs, 1);
    for job in &jobs {
        assert!(outputs(job).iter().all(|output| output.count == 0), "{}", job.path().display());
        assert!(done_in(job, 1).is_empty());
    }
    deliver(&scratch, &[2, 4]);
    // not yet what it will be: as a movie that was taken before it was whole
    let raw = scratch.project.root().join("raw");
    std::fs::copy(
        scratch.project.root().join("J0001-simulate/movies/movie_0003.tif"),
        raw.join("movie_0004.tif"),
    )
    .expect("should copy");
    run_all(&jobs, 2);
    deliver(&scratch, &[1, 3, 4, 5]);
    run_all(&jobs, 3);
    let names = |numbers: &[u32]| -> BTreeSet<String> {
        numbers.iter().map(|number| format!("movie_{number:04}")).collect()
    };
    for job in &jobs[1..] {
        let which = job.path().display();
        assert_eq!(done_in(job, 2), names(&[2, 4]), "{which}: the first movies");
        assert_eq!(
            done_in(job, 3),
            names(&[1, 3, 4, 5]),
            "{which}: only the new ones, though they stand between the old, and the one that changed"
        );
    }
    // the same by one run over all movies
    deliver(&twin, &[1, 2, 3, 4, 5]);
    let at_once: Vec<JobDir> = jobs
        .iter()
        .map(|job| {
            let name = job.path().file_name().expect("should have a name");
            JobDir::open(&twin.project.root().join(name)).expect("should open")
        })
        .collect();
    run_all(&at_once, 1);
    for (grown, whole) in jobs.iter().zip(&at_once) {
        assert!(outputs(grown)[0].count >= 5, "{}: {:?}", grown.path().display(), outputs(grown));
        if grown.spec().job_type != "import-movies" {
            assert_same_results(whole, grown);
        }
    }
}

#[test]
fn slices_of_a_job_without_items_are_done_at_once() {
    let scratch = Scratch::new();
    harness::small_movies(&scratch);
    let jobs = pipeline(&scratch);
    run_all(&jobs[..1], 1);
    for job in &jobs[1..] {
        run(job, &["--attempt", "1", "--slice", "2/3"]).succeeded(job);
        assert!(job.outputs().expect("should read").is_none());
        run(job, &["--attempt", "1"]).succeeded(job);
    }
}
