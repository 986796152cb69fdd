//! `check-ranks`: whether the launcher, the network and MPI do what the engine needs, in a second. What a lane's probe
//! job runs.

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use vitreous_compute::comm::Comm;

/// Elements in the collectives: uneven, so that pieces do not come out even.
const LENGTH: usize = 10_007;

/// Tries every collective and returns, on every rank, who took part. Called by every rank.
///
/// # Errors
/// The first collective that gave a wrong answer.
pub fn check(comm: &dyn Comm, host: &str) -> anyhow::Result<Value> {
    let (rank, size) = (comm.rank(), comm.size());
    comm.barrier();
    let pattern =
        |seed: usize, length: usize| (0..length).map(|i| ((i * 31 + seed * 7) % 251) as u8).collect();
    let told: Vec<u8> = pattern(size, LENGTH);
    for root in 0..size {
        let mut bytes = if rank == root { told.clone() } else { Vec::new() };
        comm.broadcast(root, &mut bytes);
        ensure!(bytes == told, "rank {rank} did not get what rank {root} broadcast");
    }
    // each rank in turn has nothing to send
    for without in 0..size {
        let length = |r: usize| if r == without { 0 } else { (r + 1) * LENGTH / size };
        let mine: Vec<u8> = pattern(rank, length(rank));
        let gathered = comm.gather(&mine);
        if rank == 0 {
            let expected: Vec<Vec<u8>> = (0..size).map(|r| pattern(r, length(r))).collect();
            ensure!(gathered == expected, "rank 0 did not gather what the others sent");
        }
    }
    // 1e16 swallows the small terms unless they are added in the order of ranks
    let term = |r: usize, i: usize| if i % 3 == r % 3 { 1e16 } else { (r + i) as f64 };
    let mut sums: Vec<f64> = (0..LENGTH).map(|i| term(rank, i)).collect();
    comm.sum_in_place(&mut sums);
    let in_order = |i: usize| (0..size).fold(0.0, |sum, r| sum + term(r, i));
    let wrong = sums.iter().enumerate().find(|(i, sum)| **sum != in_order(*i));
    ensure!(wrong.is_none(), "sums are not taken in the order of ranks: {wrong:?}");
    let mut counts: Vec<i64> = (0..LENGTH).map(|i| (rank * LENGTH + i) as i64).collect();
    comm.sum_in_place_i64(&mut counts);
    let exact = |i: usize| (0..size).map(|r| (r * LENGTH + i) as i64).sum::<i64>();
    ensure!(counts.iter().enumerate().all(|(i, sum)| *sum == exact(i)), "sums of integers are wrong");
    ensure!(comm.max(rank as f64) == (size - 1) as f64, "the largest rank is not known to rank {rank}");
    let mut hosts = serde_json::to_vec(&comm.gather(host.as_bytes()))?;
    comm.broadcast(0, &mut hosts);
    let hosts: Vec<Vec<u8>> = serde_json::from_slice(&hosts).context("names of hosts")?;
    let hosts: Vec<_> = hosts.iter().map(|host| String::from_utf8_lossy(host).into_owned()).collect();
    Ok(json!({"ranks": size, "hosts": hosts}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitreous_compute::comm::Threads;

    #[test]
    fn ranks_as_threads_pass() {
        for size in [1, 3] {
            let found = Threads::run(size, |comm| check(comm, "here").expect("should pass"));
            assert!(found.iter().all(|value| value["ranks"] == size && value["hosts"][0] == "here"));
        }
    }
}
