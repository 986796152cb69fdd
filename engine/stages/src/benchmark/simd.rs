//! Multiplications and additions in registers, compiled for AVX-512, for AVX2 with FMA, and for the baseline.
#![allow(unsafe_code)]

use std::hint::black_box;

/// Rounds of one call: some milliseconds.
const ROUNDS: usize = 200_000;

/// Multiplies and adds floats in registers and returns the number of operations, each multiplication and each addition
/// counted; with which instructions is the second.
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
    (rounds::<4, 10>(|a, b, c| a * b + c), "baseline")
}

/// 24 chains of 16 lanes and two constants fill most of 32 registers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
fn with_avx512() -> f64 {
    rounds::<16, 24>(|a, b, c| a.mul_add(b, c))
}

/// 12 chains of 8 lanes and two constants fill most of 16 registers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn with_avx2() -> f64 {
    rounds::<8, 12>(|a, b, c| a.mul_add(b, c))
}

/// `CHAINS` sums of `LANES` lanes that do not wait for each other: x ← f x + t, which goes to 1.
#[inline(always)]
fn rounds<const LANES: usize, const CHAINS: usize>(multiply_add: impl Fn(f32, f32, f32) -> f32) -> f64 {
    let (factor, term) = (black_box([0.75f32; LANES]), black_box([0.25f32; LANES]));
    let mut sums = [[0.0f32; LANES]; CHAINS];
    for _ in 0..ROUNDS {
        for sum in &mut sums {
            for lane in 0..LANES {
                sum[lane] = multiply_add(sum[lane], factor[lane], term[lane]);
            }
        }
    }
    black_box(sums);
    (2 * ROUNDS * LANES * CHAINS) as f64
}
