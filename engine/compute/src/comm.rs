//! Communication between ranks: alone, as threads of one process, or over MPI (implemented in the engine).

use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// A group of ranks that run the same program.
///
/// Collectives must be called by every rank in the same order. Sums are taken in the order of ranks, so a result does
/// not depend on timing.
pub trait Comm: Send + Sync {
    /// This rank, from 0.
    fn rank(&self) -> usize;

    /// Number of ranks.
    fn size(&self) -> usize;

    /// Waits for all.
    fn barrier(&self);

    /// Bytes of rank `root` for every rank.
    fn broadcast(&self, root: usize, bytes: &mut Vec<u8>);

    /// Bytes of every rank, in order, at rank 0; an empty list elsewhere.
    fn gather(&self, bytes: &[u8]) -> Vec<Vec<u8>>;

    /// Element-wise sum over ranks, in rank order, for every rank. All slices are of one length.
    fn sum_in_place(&self, values: &mut [f64]);

    /// Element-wise sum over ranks of integers (exact in any order), for every rank.
    fn sum_in_place_i64(&self, values: &mut [i64]);

    /// Largest value of all ranks, for every rank.
    fn max(&self, value: f64) -> f64 {
        let mut all: Vec<u8> = self.gather(&value.to_le_bytes()).concat();
        self.broadcast(0, &mut all);
        all.chunks_exact(8)
            .filter_map(|chunk| chunk.try_into().ok())
            .map(f64::from_le_bytes)
            .fold(f64::NEG_INFINITY, f64::max)
    }
}

/// One rank.
#[derive(Debug, Clone, Copy, Default)]
pub struct Solo;

impl Comm for Solo {
    fn rank(&self) -> usize {
        0
    }
    fn size(&self) -> usize {
        1
    }
    fn barrier(&self) {}
    fn broadcast(&self, _root: usize, _bytes: &mut Vec<u8>) {}
    fn gather(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
        vec![bytes.to_vec()]
    }
    fn sum_in_place(&self, _values: &mut [f64]) {}
    fn sum_in_place_i64(&self, _values: &mut [i64]) {}
}

/// What the ranks of one [`Threads`] group share.
#[derive(Debug)]
struct Meeting {
    state: Mutex<MeetingState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct MeetingState {
    /// What each rank brought to the exchange that is under way.
    brought: Vec<Option<Vec<u8>>>,
    /// Number of exchanges that are over.
    round: u64,
    /// What was brought to the last exchange, by rank.
    result: Arc<Vec<Vec<u8>>>,
    /// The first rank that ended: whoever waits for it would wait for ever.
    gone: Option<usize>,
}

/// Several ranks as threads of one process: the real collectives without MPI, for tests and for one machine.
///
/// ```
/// use vitreous_compute::comm::{Comm, Threads};
/// let sums = Threads::run(3, |comm| {
///     let mut values = [comm.rank() as f64, 1.0];
///     comm.sum_in_place(&mut values);
///     values
/// });
/// assert_eq!(sums, [[3.0, 3.0]; 3]);
/// ```
#[derive(Debug)]
pub struct Threads {
    rank: usize,
    size: usize,
    meeting: Arc<Meeting>,
}

impl Threads {
    /// A group of `size` ranks, in order; each is moved to a thread of its own.
    pub fn group(size: usize) -> Vec<Self> {
        let state = MeetingState { brought: vec![None; size], ..Default::default() };
        let meeting = Arc::new(Meeting { state: Mutex::new(state), changed: Condvar::new() });
        (0..size).map(|rank| Self { rank, size, meeting: Arc::clone(&meeting) }).collect()
    }

    /// Runs `body` once per rank, each on a thread of its own, and gives back what they returned, by rank.
    ///
    /// # Panics
    /// When a rank panics: with the panic of the lowest such rank, after all have ended. Ranks that wait in a
    /// collective for one that panicked or returned early panic as well instead of waiting for ever.
    pub fn run<T: Send>(size: usize, body: impl Fn(&dyn Comm) -> T + Sync) -> Vec<T> {
        std::thread::scope(|scope| {
            let body = &body;
            let threads: Vec<_> =
                Self::group(size).into_iter().map(|comm| scope.spawn(move || body(&comm))).collect();
            let ended: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
            ended
                .into_iter()
                .map(|end| end.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        })
    }

    /// Brings `bytes` to the meeting and takes home what every rank brought.
    fn exchange(&self, bytes: Vec<u8>) -> Arc<Vec<Vec<u8>>> {
        let mut state = self.meeting.state.lock().unwrap_or_else(PoisonError::into_inner);
        let round = state.round;
        state.brought[self.rank] = Some(bytes);
        if state.brought.iter().all(Option::is_some) {
            state.result = Arc::new(state.brought.iter_mut().filter_map(Option::take).collect());
            state.round += 1;
            self.meeting.changed.notify_all();
        }
        while state.round == round {
            if let Some(gone) = state.gone {
                drop(state);
                panic!("rank {gone} ended while rank {} waited for it in a collective", self.rank);
            }
            state = self.meeting.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Arc::clone(&state.result)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        let mut state = self.meeting.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.gone.get_or_insert(self.rank);
        self.meeting.changed.notify_all();
    }
}

impl Comm for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn barrier(&self) {
        self.exchange(Vec::new());
    }

    fn broadcast(&self, root: usize, bytes: &mut Vec<u8>) {
        let brought = self.exchange(if self.rank == root { std::mem::take(bytes) } else { Vec::new() });
        bytes.clone_from(&brought[root]);
    }

    fn gather(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let brought = self.exchange(bytes.to_vec());
        if self.rank == 0 { brought.to_vec() } else { Vec::new() }
    }

    fn sum_in_place(&self, values: &mut [f64]) {
        let brought = self.exchange(bytemuck::cast_slice(values).to_vec());
        values.fill(0.0);
        for one in brought.iter() {
            assert_eq!(one.len(), size_of_val(values), "ranks sum slices of different lengths");
            for (sum, value) in values.iter_mut().zip(one.chunks_exact(8)) {
                *sum += bytemuck::pod_read_unaligned::<f64>(value);
            }
        }
    }

    fn sum_in_place_i64(&self, values: &mut [i64]) {
        let brought = self.exchange(bytemuck::cast_slice(values).to_vec());
        values.fill(0);
        for one in brought.iter() {
            assert_eq!(one.len(), size_of_val(values), "ranks sum slices of different lengths");
            for (sum, value) in values.iter_mut().zip(one.chunks_exact(8)) {
                *sum = sum.wrapping_add(bytemuck::pod_read_unaligned::<i64>(value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collectives_give_every_rank_the_same_in_the_order_of_ranks() {
        for size in [1, 2, 5] {
            let results = Threads::run(size, |comm| {
                let rank = comm.rank();
                assert_eq!(comm.size(), size);
                let mut told =
                    if rank == size - 1 { b"from the last".to_vec() } else { vec![rank as u8; rank] };
                comm.broadcast(size - 1, &mut told);
                assert_eq!(told, b"from the last");
                let gathered = comm.gather(&vec![rank as u8; rank + 1]);
                let expected: Vec<Vec<u8>> = (0..size).map(|r| vec![r as u8; r + 1]).collect();
                assert_eq!(gathered, if rank == 0 { expected } else { Vec::new() });
                let mut counts = [1i64, rank as i64];
                comm.sum_in_place_i64(&mut counts);
                comm.barrier();
                (counts, comm.max(-(rank as f64)))
            });
            let n = size as i64;
            assert!(results.iter().all(|r| *r == ([n, n * (n - 1) / 2], 0.0)), "{results:?}");
        }
    }

    #[test]
    fn sums_are_taken_in_rank_order_whoever_comes_first() {
        // 1e16 + 1 - 1e16 is 0 in this order and 1 in another
        let terms = [1e16, 1.0, -1e16];
        for round in 0..20u64 {
            let sums = Threads::run(3, |comm| {
                let wait = (comm.rank() as u64 * 7 + round * 5) % 3;
                std::thread::sleep(std::time::Duration::from_micros(100 * wait));
                let mut value = [terms[comm.rank()]];
                comm.sum_in_place(&mut value);
                value[0]
            });
            assert_eq!(sums, [(1e16 + 1.0) - 1e16; 3]);
        }
    }

    #[test]
    fn many_rounds_do_not_mix() {
        Threads::run(4, |comm| {
            for round in 0..500i64 {
                let mut value = [round * (comm.rank() as i64 + 1)];
                comm.sum_in_place_i64(&mut value);
                assert_eq!(value[0], round * 10);
            }
        });
    }

    #[test]
    fn a_rank_that_dies_does_not_leave_the_others_waiting() {
        let outcome = std::panic::catch_unwind(|| {
            Threads::run(3, |comm| {
                assert!(comm.rank() != 0, "planted");
                comm.barrier();
            })
        });
        assert!(outcome.is_err());
    }

    #[test]
    fn alone_is_a_group_of_one() {
        let mut values = [1.5, -2.0];
        Solo.sum_in_place(&mut values);
        assert_eq!(values, [1.5, -2.0]);
        assert_eq!(Solo.gather(b"x"), [b"x".to_vec()]);
        assert_eq!(Solo.max(-3.0), -3.0);
    }
}
