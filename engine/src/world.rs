//! The ranks of this job: found, checked against what the launcher and the submission said, never guessed.

use anyhow::{Context, bail};
use std::collections::BTreeMap;
use vitreous_compute::comm::Comm;

/// Variables by which launchers tell a process how many of its kind they started, in the order of trust. Slurm's is
/// set inside `srun` only; a batch script itself has `SLURM_NTASKS`, which says nothing about this process.
const WORLD_SIZE: [&str; 5] =
    ["OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE", "PMI_SIZE", "PALS_SIZE", "SLURM_STEP_NUM_TASKS"];

/// How many processes the launcher started, and by which variable it said so; `None` outside any launcher.
pub fn launched(variable: &dyn Fn(&str) -> Option<String>) -> Option<(usize, &'static str)> {
    let number = |name: &&'static str| variable(name)?.trim().parse().ok().map(|n| (n, *name));
    WORLD_SIZE.iter().find_map(number)
}

/// Variables by which launchers tell a process its number among those they started.
const RANK: [&str; 5] =
    ["OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK", "PMI_RANK", "PALS_RANKID", "SLURM_PROCID"];

/// Number of this process by the launcher that started several; `None` outside any launcher.
pub fn launched_rank(variable: &dyn Fn(&str) -> Option<String>) -> Option<usize> {
    launched(variable)?;
    RANK.iter().find_map(|name| variable(name)?.trim().parse().ok())
}

/// Refuses a world that is not what was asked for: N jobs of one rank each would all write the same files.
///
/// # Errors
/// What is wrong, quoting both numbers, with a hint.
pub fn check(
    size: usize,
    launched: Option<(usize, &str)>,
    asked: Option<usize>,
    has_mpi: bool,
) -> anyhow::Result<()> {
    if let Some((expected, variable)) = launched.filter(|(expected, _)| *expected != size) {
        if !has_mpi {
            bail!(
                "this process is one of {expected} ranks ({variable}={expected}), but this engine was built without MPI\n\
                 hint: build it with `cargo build --release -p vitreous-engine --features mpi`, or start one process \
                 and give it threads"
            );
        }
        bail!(
            "the launcher started {expected} ranks ({variable}={expected}), but MPI sees {size}\n\
             hint: use the mpirun or srun of the MPI library that the engine was built with \
             (`vitreous-engine version` names it)"
        );
    }
    if let Some(asked) = asked.filter(|asked| *asked != size) {
        bail!(
            "{asked} ranks were asked for, but there are {size}\n\
             hint: start it with `mpirun -n {asked}`; the lane's `launcher` may be missing"
        );
    }
    Ok(())
}

/// How many ranks run on this rank's host, itself included. Called by every rank.
///
/// # Errors
/// Never for a working [`Comm`].
pub fn ranks_on_host(comm: &dyn Comm, host: &str) -> anyhow::Result<usize> {
    let mut all = serde_json::to_vec(&comm.gather(host.as_bytes())).context("names of hosts")?;
    comm.broadcast(0, &mut all);
    let hosts: Vec<Vec<u8>> = serde_json::from_slice(&all).context("names of hosts")?;
    let mut count = BTreeMap::new();
    for name in hosts {
        *count.entry(name).or_insert(0) += 1;
    }
    Ok(count.get(host.as_bytes()).copied().unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitreous_compute::comm::Threads;

    #[test]
    fn the_launcher_is_believed_in_the_order_of_trust() {
        let environment = |pairs: &'static [(&str, &str)]| {
            move |name: &str| pairs.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_string())
        };
        assert_eq!(launched(&environment(&[])), None);
        assert_eq!(launched(&environment(&[("SLURM_NTASKS", "4")])), None, "a batch script, not a step");
        assert_eq!(
            launched(&environment(&[("SLURM_STEP_NUM_TASKS", "4")])),
            Some((4, "SLURM_STEP_NUM_TASKS"))
        );
        let step = environment(&[("SLURM_STEP_NUM_TASKS", "4"), ("SLURM_PROCID", "2")]);
        assert_eq!(launched_rank(&step), Some(2));
        assert_eq!(launched_rank(&environment(&[("SLURM_PROCID", "0")])), None, "a batch script");
        let mpirun_in_slurm = environment(&[("SLURM_STEP_NUM_TASKS", "1"), ("OMPI_COMM_WORLD_SIZE", "8")]);
        assert_eq!(launched(&mpirun_in_slurm), Some((8, "OMPI_COMM_WORLD_SIZE")));
    }

    #[test]
    fn a_world_of_another_size_is_refused_with_both_numbers() {
        assert!(check(1, None, None, false).is_ok());
        assert!(check(3, Some((3, "PMI_SIZE")), Some(3), true).is_ok());
        let text = |result: anyhow::Result<()>| result.expect_err("should be refused").to_string();
        let message = text(check(1, Some((3, "OMPI_COMM_WORLD_SIZE")), None, false));
        assert!(
            message.contains("OMPI_COMM_WORLD_SIZE=3") && message.contains("--features mpi"),
            "{message}"
        );
        let message = text(check(1, Some((3, "OMPI_COMM_WORLD_SIZE")), None, true));
        assert!(message.contains("MPI sees 1"), "{message}");
        let message = text(check(1, None, Some(4), true));
        assert!(message.contains("mpirun -n 4"), "{message}");
    }

    #[test]
    fn ranks_are_counted_by_host() {
        let counts = Threads::run(3, |comm| {
            ranks_on_host(comm, if comm.rank() == 1 { "b" } else { "a" }).expect("should count")
        });
        assert_eq!(counts, [2, 1, 2]);
    }
}
