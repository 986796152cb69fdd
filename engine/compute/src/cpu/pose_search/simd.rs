//! Chooses at run time how wide the search's kernels run. The kernels are generic over [`super::lanes::Lanes`]; here they
//! are compiled once per instruction set.
#![allow(unsafe_code)]

use super::kernel::{BlockBest, BlockJob, KernelScratch, search_block};
use super::lanes::Portable;
#[cfg(target_arch = "x86_64")]
use super::lanes::{Avx2, Avx512};
use super::rows::{ModesJob, RowJob, Rows, RowsScratch, shifted_modes, shifted_rows};
use crate::cpu::classify2d::scores::{ClassJob, ScoresScratch, scores_of_class};

/// What the processor offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Simd {
    /// 16 lanes with fused multiply-add, 32 registers.
    Avx512,
    /// 8 lanes with fused multiply-add, 16 registers.
    Avx2,
    /// What the compiler makes of 8 lanes without either.
    Portable,
}

impl Simd {
    /// The widest the processor offers.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("fma")
            {
                return Self::Avx512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Self::Avx2;
            }
        }
        Self::Portable
    }

    /// All that this processor can run, for tests.
    pub fn available() -> Vec<Self> {
        match Self::detect() {
            Self::Avx512 => vec![Self::Avx512, Self::Avx2, Self::Portable],
            Self::Avx2 => vec![Self::Avx2, Self::Portable],
            Self::Portable => vec![Self::Portable],
        }
    }

    /// Directions evaluated together.
    pub fn lanes(self) -> usize {
        match self {
            Self::Avx512 => 16,
            Self::Avx2 | Self::Portable => 8,
        }
    }

    /// The best poses of one block of directions; `best` holds `2 · lanes` entries.
    pub fn search_block(self, job: &BlockJob<'_>, scratch: &mut KernelScratch, best: &mut BlockBest) {
        match self {
            // SAFETY: `Avx512` and `Avx2` are made by `detect` and `available` only, after the processor was asked.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { search_block_avx512(job, scratch, best) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { search_block_avx2(job, scratch, best) },
            _ => search_block::<Portable, 2>(job, scratch, best),
        }
    }

    /// The radial coefficients of one image at all shifts.
    pub fn shifted_rows(self, job: &RowJob<'_>, scratch: &mut RowsScratch, rows: &mut Rows) {
        match self {
            // SAFETY: as in `search_block`.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { shifted_rows_avx512(job, scratch, rows) },
            // SAFETY: as in `search_block`.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { shifted_rows_avx2(job, scratch, rows) },
            _ => shifted_rows::<Portable>(job, scratch, rows),
        }
    }

    /// The angular modes of one image at the shifts of one chunk.
    pub fn shifted_modes(self, job: &ModesJob<'_>, scratch: &mut RowsScratch, modes: &mut Vec<f32>) {
        match self {
            // SAFETY: as in `search_block`.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 | Self::Avx2 => unsafe { shifted_modes_avx2(job, scratch, modes) },
            _ => shifted_modes::<Portable>(job, scratch, modes),
        }
    }

    /// All scores of one class average for one image.
    pub fn scores_of_class(self, job: &ClassJob<'_>, scratch: &mut ScoresScratch, scores: &mut Vec<f32>) {
        match self {
            // SAFETY: as in `search_block`.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 | Self::Avx2 => unsafe { scores_of_class_avx2(job, scratch, scores) },
            _ => scores_of_class::<Portable>(job, scratch, scores),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx2,fma")]
fn search_block_avx512(job: &BlockJob<'_>, scratch: &mut KernelScratch, best: &mut BlockBest) {
    search_block::<Avx512, 4>(job, scratch, best);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn search_block_avx2(job: &BlockJob<'_>, scratch: &mut KernelScratch, best: &mut BlockBest) {
    search_block::<Avx2, 2>(job, scratch, best);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx2,fma")]
fn shifted_rows_avx512(job: &RowJob<'_>, scratch: &mut RowsScratch, rows: &mut Rows) {
    shifted_rows::<Avx2>(job, scratch, rows);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn shifted_rows_avx2(job: &RowJob<'_>, scratch: &mut RowsScratch, rows: &mut Rows) {
    shifted_rows::<Avx2>(job, scratch, rows);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn shifted_modes_avx2(job: &ModesJob<'_>, scratch: &mut RowsScratch, modes: &mut Vec<f32>) {
    shifted_modes::<Avx2>(job, scratch, modes);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn scores_of_class_avx2(job: &ClassJob<'_>, scratch: &mut ScoresScratch, scores: &mut Vec<f32>) {
    scores_of_class::<Avx2>(job, scratch, scores);
}
