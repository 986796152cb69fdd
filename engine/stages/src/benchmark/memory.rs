//! Bandwidth of a rank's memory: copy and triad as in STREAM (McCalpin 1995), on all threads.

use super::measured::{Measured, rates};
use rayon::prelude::*;

/// Bytes in a GB.
const GIGA: f64 = 1e9;
/// Bytes in a MiB.
const MIB: usize = 1 << 20;
/// Elements that a thread works on at a time.
const PIECE: usize = 1 << 16;

/// Copies and adds three arrays that take `memory_mib` together.
pub(super) fn measure(seconds: f64, memory_mib: u32) -> Vec<Measured> {
    let length = memory_mib as usize * MIB / 3 / size_of::<f64>();
    // each array is touched first by the threads that will use it, so that it lies near them
    let filled = |value: f64| {
        let mut array = vec![0.0f64; length];
        array.par_chunks_mut(PIECE).for_each(|piece| piece.fill(value));
        array
    };
    let (mut a, b, c) = (filled(0.0), filled(1.0), filled(2.0));
    let bytes = (length * size_of::<f64>()) as f64;
    let copied = rates(seconds, || {
        a.par_chunks_mut(PIECE).zip(b.par_chunks(PIECE)).for_each(|(a, b)| a.copy_from_slice(b));
        2.0 * bytes / GIGA
    });
    let added = rates(seconds, || {
        let pieces = a.par_chunks_mut(PIECE).zip(b.par_chunks(PIECE)).zip(c.par_chunks(PIECE));
        pieces.for_each(|((a, b), c)| {
            a.iter_mut().zip(b).zip(c).for_each(|((a, b), c)| *a = *b + 3.0 * *c);
        });
        3.0 * bytes / GIGA
    });
    std::hint::black_box(&a);
    vec![
        Measured::rate("memory, copy, all threads", "GB/s", copied),
        Measured::rate("memory, triad, all threads", "GB/s", added),
    ]
}
