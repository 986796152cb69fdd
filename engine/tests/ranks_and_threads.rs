//! The same job gives the same results for any number of ranks and threads.

mod harness;

use harness::{Scratch, assert_same_results, finish, mpirun, run};
use serde_json::{Value, json};
use vitreous_project::JobDir;

/// Runs a job with one thread, with two, and as three ranks, and holds the results against each other.
fn assert_independent(scratch: &Scratch, job_type: &str, inputs: &[(&str, &str)], params: Value) -> JobDir {
    let twins = [scratch.twin(), scratch.twin()];
    let one = scratch.job(job_type, inputs, params.clone());
    run(&one, &["--threads", "1"]).succeeded(&one);
    let two = twins[0].job(job_type, inputs, params.clone());
    run(&two, &["--threads", "2"]).succeeded(&two);
    assert_same_results(&one, &two);
    let ranks = twins[1].job(job_type, inputs, params);
    let path = ranks.path().to_string_lossy().into_owned();
    if let Some(mut command) = mpirun(3, &["run", &path, "--threads", "1", "--ranks", "3"]) {
        finish(command.spawn().expect("mpirun should start")).succeeded(&ranks);
        assert_same_results(&one, &ranks);
        let effective = ranks.effective().expect("should read").expect("should be there");
        assert_eq!(effective.ranks, 3);
    }
    one
}

#[test]
fn movies_to_fitted_micrographs() {
    let scratch = Scratch::new();
    harness::small_movies(&scratch);
    let motion = json!({"patches_x": 2, "patches_y": 2});
    assert_independent(&scratch, "correct-motion", &[("movies", "J1.movies")], motion);
    let ctf = json!({"tile": 128, "min_defocus": 5000.0, "max_defocus": 30000.0, "max_resolution": 6.0});
    assert_independent(&scratch, "estimate-ctf", &[("micrographs", "J2.micrographs")], ctf);
}

#[test]
fn a_refinement() {
    let scratch = Scratch::new();
    harness::small_particles(&scratch, 120);
    let inputs = [("particles", "J1.particles"), ("volume", "J1.volume")];
    let params = json!({"initial_lowpass": 25.0, "diameter": 100.0, "max_iterations": 3});
    assert_independent(&scratch, "refine-homogeneous", &inputs, params);
}
