//! An engine that finds itself under a launcher that it cannot join the others of says so, and writes nothing.

mod harness;

use harness::{Scratch, finish, mpirun, wrong_mpirun};
use serde_json::json;

#[test]
fn another_librarys_launcher_is_named_as_such() {
    let scratch = Scratch::new();
    harness::small_particles(&scratch, 20);
    let job = scratch.job("reconstruct", &[("particles", "J1.particles")], json!({}));
    let path = job.path().to_string_lossy().into_owned();
    let Some(mut command) = wrong_mpirun(3, &["run", &path]) else { return };
    let ended = finish(command.spawn().expect("the launcher should start"));
    println!("{}", ended.stderr);
    assert!(ended.code.is_some_and(|code| code != 0), "{ended:?}");
    let variable = ["OMPI_COMM_WORLD_SIZE=3", "PMI_SIZE=3"];
    assert!(variable.iter().any(|said| ended.stderr.contains(said)), "{}", ended.stderr);
    let hint =
        if cfg!(feature = "mpi") { "use the mpirun or srun of the MPI library" } else { "--features mpi" };
    assert!(ended.stderr.contains(hint), "{}", ended.stderr);
    assert!(job.outputs().expect("should read").is_none() && !job.path().join("effective.json").exists());
}

#[test]
fn another_number_of_ranks_than_was_asked_for_is_refused() {
    let scratch = Scratch::new();
    harness::small_particles(&scratch, 20);
    let job = scratch.job("reconstruct", &[("particles", "J1.particles")], json!({}));
    let path = job.path().to_string_lossy().into_owned();
    let Some(mut command) = mpirun(2, &["run", &path, "--ranks", "4"]) else { return };
    let ended = finish(command.spawn().expect("the launcher should start"));
    assert!(ended.code.is_some_and(|code| code != 0), "{ended:?}");
    assert!(ended.stderr.contains("4 ranks were asked for, but there are 2"), "{}", ended.stderr);
    assert!(job.outputs().expect("should read").is_none());
}
