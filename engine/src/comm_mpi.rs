//! Ranks over MPI. Built with the cargo feature `mpi`.
//!
//! Sums of floating-point numbers are gathered and added in the order of ranks, so that they do not depend on the
//! reduction tree a library happens to choose; sums of integers are exact in any order and left to the library.
//! MPI counts are 32-bit: everything goes in pieces below that.
//!
//! MPI libraries wait by asking again and again. Ranks seldom come to a collective together (one draws a map while the others have
//! nothing to do), and a rank that waits so for the others takes a core from them, or from a neighbour. Before each collective
//! they therefore meet, and who is early sleeps.

use mpi::Threading;
use mpi::collective::SystemOperation;
use mpi::datatype::PartitionMut;
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives, Root};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use vitreous_compute::comm::Comm;

/// Most bytes or elements in one MPI call.
const PIECE: usize = 1 << 26;

/// A rank that waits for the others looks again after this time, then after twice as long, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_micros(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(1);

/// The world communicator. Calls are serialised, so any one thread at a time may make them.
pub struct MpiComm {
    rank: usize,
    size: usize,
    piece: usize,
    turn: Mutex<()>,
}

/// Starts MPI. The universe must be kept until the end of the program: dropping it finalises MPI.
///
/// # Errors
/// When MPI runs already or its library cannot serialise calls from several threads.
pub fn start() -> anyhow::Result<(Universe, MpiComm)> {
    let (universe, threading) = mpi::initialize_with_threading(Threading::Serialized)
        .ok_or_else(|| anyhow::anyhow!("MPI was started twice in this process"))?;
    anyhow::ensure!(
        threading >= Threading::Serialized,
        "this MPI library gives only {threading:?} threading, and the engine needs Serialized\n\
         hint: use an MPI built with thread support"
    );
    let world = universe.world();
    let comm = MpiComm {
        rank: world.rank() as usize,
        size: world.size() as usize,
        piece: PIECE,
        turn: Mutex::new(()),
    };
    Ok((universe, comm))
}

/// Name and version of the MPI library.
pub fn library() -> String {
    mpi::environment::library_version()
        .unwrap_or_default()
        .lines()
        .next()
        .unwrap_or_default()
        .trim()
        .to_string()
}

/// Ends every rank of the job: one that failed alone would leave the others waiting for it.
pub fn abort(code: i32) -> ! {
    SimpleCommunicator::world().abort(code)
}

impl MpiComm {
    /// The communicator, for as long as no other thread may use it, once all ranks have come for it.
    fn world(&self) -> (MutexGuard<'_, ()>, SimpleCommunicator) {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let world = SimpleCommunicator::world();
        let (mut meeting, mut pause) = (world.immediate_barrier(), FIRST_PAUSE);
        while let Err(others_are_missing) = meeting.test() {
            meeting = others_are_missing;
            std::thread::sleep(pause);
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
        (turn, world)
    }
}

/// The same bytes, but nothing has an address of its own: an empty vector's is 1, which is how OpenMPI's headers write
/// `MPI_IN_PLACE`.
fn addressed(bytes: &[u8]) -> &[u8] {
    static NOTHING: [u8; 1] = [0];
    if bytes.is_empty() { &NOTHING[..0] } else { bytes }
}

impl Comm for MpiComm {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn barrier(&self) {
        drop(self.world());
    }

    fn broadcast(&self, root: usize, bytes: &mut Vec<u8>) {
        let (_turn, world) = self.world();
        let process = world.process_at_rank(root as i32);
        let mut length = bytes.len() as u64;
        process.broadcast_into(&mut length);
        bytes.resize(length as usize, 0);
        for piece in bytes.chunks_mut(self.piece) {
            process.broadcast_into(piece);
        }
    }

    fn gather(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let (_turn, world) = self.world();
        let mut lengths = vec![0u64; self.size];
        world.all_gather_into(&(bytes.len() as u64), &mut lengths[..]);
        let longest = lengths.iter().max().copied().unwrap_or(0) as usize;
        let root = world.process_at_rank(0);
        let mut gathered = vec![Vec::new(); if self.rank == 0 { self.size } else { 0 }];
        let piece = (self.piece / self.size).max(1);
        for start in (0..longest).step_by(piece) {
            let part_of = |length: usize| start.min(length)..(start + piece).min(length);
            let mine = addressed(&bytes[part_of(bytes.len())]);
            if self.rank != 0 {
                root.gather_varcount_into(mine);
                continue;
            }
            let counts: Vec<i32> = lengths.iter().map(|&n| part_of(n as usize).len() as i32).collect();
            let offsets: Vec<i32> = counts
                .iter()
                .scan(0, |sum, count| {
                    *sum += count;
                    Some(*sum - count)
                })
                .collect();
            let mut buffer = vec![0u8; counts.iter().sum::<i32>() as usize];
            root.gather_varcount_into_root(
                mine,
                &mut PartitionMut::new(&mut buffer[..], &counts[..], &offsets[..]),
            );
            for (rank, (&offset, &count)) in offsets.iter().zip(&counts).enumerate() {
                gathered[rank].extend_from_slice(&buffer[offset as usize..(offset + count) as usize]);
            }
        }
        gathered
    }

    fn sum_in_place(&self, values: &mut [f64]) {
        let (_turn, world) = self.world();
        let root = world.process_at_rank(0);
        for piece in values.chunks_mut((self.piece / self.size).max(1)) {
            if self.rank == 0 {
                let mut all = vec![0f64; piece.len() * self.size];
                root.gather_into_root(&*piece, &mut all[..]);
                piece.fill(0.0);
                for one in all.chunks_exact(piece.len()) {
                    piece.iter_mut().zip(one).for_each(|(sum, value)| *sum += value);
                }
            } else {
                root.gather_into(&*piece);
            }
            root.broadcast_into(piece);
        }
    }

    fn sum_in_place_i64(&self, values: &mut [i64]) {
        let (_turn, world) = self.world();
        for piece in values.chunks_mut(self.piece) {
            let mine = piece.to_vec();
            world.all_reduce_into(&mine[..], piece, SystemOperation::sum());
        }
    }
}
