//! All scores of one class average for one image: what the posterior is made of. Lanes are shifts.

use crate::cpu::pose_search::kernel::{AlignedFloats, NORM_ORDERS, pack_two, packed_norm, subtract_norm};
use crate::cpu::pose_search::lane_fft::LaneFft;
use crate::cpu::pose_search::lanes::Lanes;
use crate::cpu::pose_search::rows::{ROW_PADDING, Rows};

/// What [`scores_of_class`] works on.
#[derive(Debug, Clone, Copy)]
pub struct ClassJob<'a> {
    /// Transform over the in-plane angle.
    pub fft: &'a LaneFft,
    /// First radial coefficient of each m, and their number at the end: `[m_count + 1]`.
    pub offsets: &'a [usize],
    /// Radial coefficients of the average, `[rank]`.
    pub coefficients: &'a [[f32; 2]],
    /// Angular powers of the average per ring and order of [`NORM_ORDERS`].
    pub powers: &'a [[f32; 2]],
    /// The image at all shifts.
    pub rows: &'a Rows,
}

/// Spectra under work.
#[derive(Debug, Clone, Default)]
pub struct ScoresScratch {
    front: AlignedFloats,
    back: AlignedFloats,
}

/// logL with the shifts' prior, `[chunk][psi][8 shifts]`; minus infinity where there is no shift.
#[inline(always)]
pub fn scores_of_class<V: Lanes>(job: &ClassJob<'_>, scratch: &mut ScoresScratch, scores: &mut Vec<f32>) {
    debug_assert_eq!(V::COUNT, ROW_PADDING, "rows should be padded to the lanes");
    let n = job.fft.points();
    let chunks = job.rows.padded / V::COUNT;
    scratch.front.grow(2 * n * V::COUNT);
    scratch.back.grow(2 * n * V::COUNT);
    scores.clear();
    scores.resize(chunks * n * V::COUNT, f32::NEG_INFINITY);
    let norm = norm_of_class(job).map(|[re, im]| {
        let (re, im) = (V::splat(re), V::splat(im));
        packed_norm([re, im], [re, im])
    });
    for first in (0..chunks).step_by(2) {
        let front = scratch.front.floats_mut();
        spectra_of_chunks::<V>(job, first, front);
        subtract_norm(&norm, front, n);
        let back = scratch.back.floats_mut();
        let found = if job.fft.transform::<V>(front, back) { back } else { front };
        for (side, chunk) in (first..chunks.min(first + 2)).enumerate() {
            let mut prior = [f32::NEG_INFINITY; ROW_PADDING];
            let known = &job.rows.log_prior[chunk * ROW_PADDING..];
            prior.iter_mut().zip(known).for_each(|(to, from)| *to = *from);
            let prior = V::at(&prior, 0);
            for psi in 0..n {
                V::at(found, 2 * psi + side).plus(prior).put(scores, chunk * n + psi);
            }
        }
    }
}

/// `n_Q = Σ_j g_jQ conj(|P_j|²)_Q`, as (re, im).
fn norm_of_class(job: &ClassJob<'_>) -> [[f32; 2]; 3] {
    let mut sums = [[0f32; 2]; 3];
    for (weights, powers) in job.rows.norm.iter().zip(job.powers.chunks_exact(NORM_ORDERS.len())) {
        for ((sum, g), p) in sums.iter_mut().zip(weights).zip(powers) {
            sum[0] += g[0] * p[0] + g[1] * p[1];
            sum[1] += g[1] * p[0] - g[0] * p[1];
        }
    }
    sums
}

/// The packed cross spectra of the chunks `first` and `first + 1` of shifts; of one if there is no second.
#[inline(always)]
fn spectra_of_chunks<V: Lanes>(job: &ClassJob<'_>, first: usize, spectrum: &mut [f32]) {
    let n = job.fft.points();
    let chunks = job.rows.padded / V::COUNT;
    let sides = if first + 1 < chunks { 2 } else { 1 };
    let m_count = job.offsets.len() - 1;
    for m in 0..m_count {
        let mut sums = [V::splat(0.0); 4];
        for k in job.offsets[m]..job.offsets[m + 1] {
            let (pr, pi) = (V::splat(job.coefficients[k][0]), V::splat(job.coefficients[k][1]));
            for side in 0..sides {
                let at = k * chunks + first + side;
                let (yr, yi) = (V::at(&job.rows.re, at), V::at(&job.rows.im, at));
                sums[2 * side] = yi.times_plus(pi, yr.times_plus(pr, sums[2 * side]));
                sums[2 * side + 1] = yr.times_from(pi, yi.times_plus(pr, sums[2 * side + 1]));
            }
        }
        pack_two(sums, m, n, spectrum);
    }
    spectrum[2 * m_count * V::COUNT..2 * (n + 1 - m_count) * V::COUNT].fill(0.0);
}
