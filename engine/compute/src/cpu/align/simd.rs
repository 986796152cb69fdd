//! Runs the alignment's kernel as wide as the processor allows; see [`crate::cpu::pose_search::simd`].
#![allow(unsafe_code)]

use super::normal::{NormalJob, normal_equations as kernel};
use crate::cpu::pose_search::simd::Simd;
use crate::ops::align::NormalEquations;

/// logL and its derivatives, without the prior.
pub fn normal_equations(simd: Simd, job: &NormalJob<'_>) -> NormalEquations {
    match simd {
        // SAFETY: `Avx512` and `Avx2` are made only after the processor was asked.
        #[cfg(target_arch = "x86_64")]
        Simd::Avx512 => unsafe { avx512(job) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Simd::Avx2 => unsafe { avx2(job) },
        _ => kernel::<8, false>(job),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx2,fma")]
fn avx512(job: &NormalJob<'_>) -> NormalEquations {
    kernel::<16, true>(job)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(job: &NormalJob<'_>) -> NormalEquations {
    kernel::<8, true>(job)
}
