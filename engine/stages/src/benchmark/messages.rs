//! What ranks exchange, and how long that takes. [`Comm`] has collectives only, so these are measured: the smallest messages
//! tell the latency, the largest the bandwidth.

use super::measured::at_least_a_tick;
use serde::{Deserialize, Serialize};
use std::time::Instant;
use vitreous_compute::comm::Comm;

/// Repeats of an exchange, at least and at most.
const REPEATS: [f64; 2] = [5.0, 2000.0];
/// Each message is so many times the one before.
const STEP: usize = 32;
const MIB: usize = 1 << 20;

/// An exchange that was timed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Exchange {
    /// What was done.
    pub what: String,
    /// Bytes that each rank gives, or gets.
    pub bytes: usize,
    /// Time until the last rank was done, of every repeat, µs.
    pub times_us: Vec<f64>,
}

/// Times all exchanges. Every rank calls it; what comes back at rank 0 counts.
pub(super) fn measure(comm: &dyn Comm, seconds: f64, largest_mib: u32) -> Vec<Exchange> {
    if comm.size() == 1 {
        return Vec::new();
    }
    let mut exchanges = vec![timed(comm, "barrier", 0, seconds, || comm.barrier())];
    let mut bytes = 8;
    while bytes <= largest_mib as usize * MIB {
        let mut values = vec![1.0f64; bytes / 8];
        exchanges.push(timed(comm, "sum over ranks", bytes, seconds, || {
            comm.sum_in_place(&mut values);
            // else they would grow without end
            values.fill(1.0);
        }));
        let message = vec![7u8; bytes];
        exchanges.push(timed(comm, "broadcast", bytes, seconds, || {
            let mut given = if comm.rank() == 0 { message.clone() } else { Vec::new() };
            comm.broadcast(0, &mut given);
            std::hint::black_box(&given);
        }));
        // rank 0 has to hold what all give
        if bytes * comm.size() <= largest_mib as usize * MIB {
            exchanges.push(timed(comm, "gather", bytes, seconds, || {
                std::hint::black_box(comm.gather(&message));
            }));
        }
        bytes *= STEP;
    }
    exchanges
}

/// Repeats an exchange as often on every rank, each time from a common start.
fn timed(comm: &dyn Comm, what: &str, bytes: usize, seconds: f64, mut exchange: impl FnMut()) -> Exchange {
    let mut once = || {
        comm.barrier();
        let start = Instant::now();
        exchange();
        1e6 * at_least_a_tick(start.elapsed())
    };
    let first_us = comm.max(once());
    let repeats = (1e6 * seconds / first_us).clamp(REPEATS[0], REPEATS[1]) as usize;
    let mine: Vec<f64> = (0..repeats).map(|_| once()).collect();
    let all = crate::ranks::share(comm, &mine);
    let slowest = |repeat: usize| all.iter().map(|times| times[repeat]).fold(0.0, f64::max);
    Exchange { what: what.into(), bytes, times_us: (0..repeats).map(slowest).collect() }
}
