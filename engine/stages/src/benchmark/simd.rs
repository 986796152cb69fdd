//! Multiplications and additions in registers, compiled for AVX-512, for AVX2 with FMA, and for the baseline.
#![allow(unsafe_code)]

use std::hint::black_box;

/// Rounds of one call: some milliseconds.
const ROUNDS: usize = 200_000;

/// Multiplies and adds floats in registers and returns the number of operations, each multiplication and each addition
/// counted, and the vectors that it used.
pub(super) fn multiply_add() -> (f64, &'static str) {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("fma") {
            // SAFETY: the processor was just found to have all that `with_avx512` needs.
            return (unsafe { with_avx512() }, "AVX-512");
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the processor was just found to have all that `with_avx2` needs.
            return (unsafe { with_avx2() }, "AVX2");
        }
    }
    (baseline(), "the baseline's vectors")
}

/// Operations of chains of so many lanes.
fn operations(lanes: usize, chains: usize) -> f64 {
    (2 * ROUNDS * lanes * chains) as f64
}

/// Sums that do not wait for each other, x ← f x + t, which goes to 1: 24 of them and two constants fill most of 32
/// registers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn with_avx512() -> f64 {
    use std::arch::x86_64::{_mm512_add_ps, _mm512_fmadd_ps, _mm512_set1_ps};
    const CHAINS: usize = 24;
    let (factor, term) = (_mm512_set1_ps(black_box(0.75)), _mm512_set1_ps(black_box(0.25)));
    let mut sums = [term; CHAINS];
    for _ in 0..ROUNDS {
        for sum in &mut sums {
            *sum = _mm512_fmadd_ps(*sum, factor, term);
        }
    }
    let mut total = term;
    for sum in sums {
        total = _mm512_add_ps(total, sum);
    }
    black_box(total);
    operations(16, CHAINS)
}

/// The same with 12 sums, for 16 registers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn with_avx2() -> f64 {
    use std::arch::x86_64::{_mm256_add_ps, _mm256_fmadd_ps, _mm256_set1_ps};
    const CHAINS: usize = 12;
    let (factor, term) = (_mm256_set1_ps(black_box(0.75)), _mm256_set1_ps(black_box(0.25)));
    let mut sums = [term; CHAINS];
    for _ in 0..ROUNDS {
        for sum in &mut sums {
            *sum = _mm256_fmadd_ps(*sum, factor, term);
        }
    }
    let mut total = term;
    for sum in sums {
        total = _mm256_add_ps(total, sum);
    }
    black_box(total);
    operations(8, CHAINS)
}

/// What the compiler makes of it for any processor.
fn baseline() -> f64 {
    const LANES: usize = 4;
    const CHAINS: usize = 10;
    let (factor, term) = (black_box([0.75f32; LANES]), black_box([0.25f32; LANES]));
    let mut sums = [[0.0f32; LANES]; CHAINS];
    for _ in 0..ROUNDS {
        for sum in &mut sums {
            for lane in 0..LANES {
                sum[lane] = sum[lane] * factor[lane] + term[lane];
            }
        }
    }
    black_box(sums);
    operations(LANES, CHAINS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_counts_its_operations() {
        assert_eq!(baseline(), 2.0 * ROUNDS as f64 * 40.0);
        let (operations, vectors) = multiply_add();
        assert!(operations >= baseline() && !vectors.is_empty());
    }
}
