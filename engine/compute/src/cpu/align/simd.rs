//! Runs the alignment's kernel as wide as the processor allows; see [`crate::cpu::pose_search::simd`].
#![allow(unsafe_code)]

use super::normal::{
    Compared, NormalJob, compare as comparison, normal_equations as kernel, transfer as transferred,
};
use crate::cpu::pose_search::simd::Simd;
use crate::likelihood::LatticeCtf;
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

/// What an image and the model have in common at the first `count` points, point by point; points beyond `reach` mean
/// nothing. Lists end with some values more than `count`.
pub fn compare(simd: Simd, job: &NormalJob<'_>, count: usize, reach: f64, out: &mut Compared) {
    match simd {
        // SAFETY: `Avx512` and `Avx2` are made only after the processor was asked.
        #[cfg(target_arch = "x86_64")]
        Simd::Avx512 => unsafe { compare_avx512(job, count, reach, out) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Simd::Avx2 => unsafe { compare_avx2(job, count, reach, out) },
        _ => comparison::<false>(job, count, reach, out),
    }
}

/// The CTF times `amplitude` at the points `(qx, qy)`.
pub fn transfer(simd: Simd, ctf: &LatticeCtf, amplitude: f32, qx: &[f32], qy: &[f32], out: &mut [f32]) {
    match simd {
        // SAFETY: `Avx512` and `Avx2` are made only after the processor was asked.
        #[cfg(target_arch = "x86_64")]
        Simd::Avx512 => unsafe { transfer_avx512(ctf, amplitude, qx, qy, out) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Simd::Avx2 => unsafe { transfer_avx2(ctf, amplitude, qx, qy, out) },
        _ => transferred(ctf, amplitude, qx, qy, out),
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

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx2,fma")]
fn compare_avx512(job: &NormalJob<'_>, count: usize, reach: f64, out: &mut Compared) {
    comparison::<true>(job, count, reach, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn compare_avx2(job: &NormalJob<'_>, count: usize, reach: f64, out: &mut Compared) {
    comparison::<true>(job, count, reach, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx2,fma")]
fn transfer_avx512(ctf: &LatticeCtf, amplitude: f32, qx: &[f32], qy: &[f32], out: &mut [f32]) {
    transferred(ctf, amplitude, qx, qy, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn transfer_avx2(ctf: &LatticeCtf, amplitude: f32, qx: &[f32], qy: &[f32], out: &mut [f32]) {
    transferred(ctf, amplitude, qx, qy, out);
}
