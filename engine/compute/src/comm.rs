//! Communication between ranks: alone, as threads of one process, or over MPI (implemented in the engine).

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
