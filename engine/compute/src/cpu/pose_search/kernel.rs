//! The inner loop of the search: for a block of directions (one per lane) and all shifts of one image, the angular
//! spectrum of logL as small real matrix products, its transform over the in-plane angle, and the maximum.
//!
//! The mirror pair costs eight real operations per radial mode: with y = yr + i yi of the image and p of the reference,
//! `RR = Σ yr pr, II = Σ yi pi, IR = Σ yi pr, RI = Σ yr pi` give both
//! `S_m(d) = (RR + II) + i (IR - RI)` and `S_m(-d) = (RR - II) + i (IR + RI)`, since `p'_m = conj p_m`. Both real
//! functions of psi come from one complex transform of `Z_m = conj S_m(d) + i conj S_m(-d)`,
//! `Z_-m = S_m(d) + i S_m(-d)`: its real part is logL along d, its imaginary part along -d.

use super::lane_fft::{LaneFft, multiply_add};
use super::rows::Rows;
use bytemuck::{Pod, Zeroable};

/// Highest angular order of the astigmatic norm.
pub const NORM_ORDERS: [usize; 3] = [0, 2, 4];

/// Sixteen floats on one cache line, so that lane arrays never straddle two.
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct Line([f32; 16]);

/// A buffer of floats that starts on a cache line.
#[derive(Debug, Clone, Default)]
pub struct AlignedFloats(Vec<Line>);

impl AlignedFloats {
    /// At least `count` zeros.
    pub fn zeros(count: usize) -> Self {
        Self(vec![Line([0.0; 16]); count.div_ceil(16)])
    }

    /// Makes room for `count` floats; new ones are zero.
    pub fn grow(&mut self, count: usize) {
        if self.0.len() * 16 < count {
            self.0.resize(count.div_ceil(16), Line([0.0; 16]));
        }
    }

    /// The floats.
    pub fn floats(&self) -> &[f32] {
        bytemuck::cast_slice(&self.0)
    }

    /// The floats, to be changed.
    pub fn floats_mut(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(&mut self.0)
    }
}

/// What the kernel needs for one block of directions and one image.
#[derive(Debug, Clone, Copy)]
pub struct BlockJob<'a> {
    /// Transform over the in-plane angle.
    pub fft: &'a LaneFft,
    /// First radial coefficient of each m, and their number at the end: `[m_count + 1]`.
    pub offsets: &'a [usize],
    /// Radial coefficients of the block: `[rank][re, im][lanes]`.
    pub reference: &'a [f32],
    /// Angular powers of the block's views: `[ring][order of NORM_ORDERS][re, im][lanes]`.
    pub powers: &'a [f32],
    /// The image at all shifts.
    pub rows: &'a Rows,
    /// Whether scores are maximised over the amplitude.
    pub free_amplitude: bool,
    /// Whether exp(logL) is summed.
    pub evidence: bool,
}

/// Best pose per view of a block: first the directions of the lanes, then their antipodes: `[2 · lanes]`.
#[derive(Debug, Clone, Default)]
pub struct BlockBest {
    /// Score, nats.
    pub value: Vec<f32>,
    /// In-plane angle.
    pub psi: Vec<u32>,
    /// Row (shift).
    pub row: Vec<u32>,
    /// `Σ exp(score - value)` so far.
    pub sum: Vec<f32>,
}

impl BlockBest {
    /// Forgets everything, for `lanes` directions.
    pub fn reset(&mut self, lanes: usize) {
        for list in [&mut self.psi, &mut self.row] {
            list.clear();
            list.resize(2 * lanes, 0);
        }
        self.value.clear();
        self.value.resize(2 * lanes, f32::NEG_INFINITY);
        self.sum.clear();
        self.sum.resize(2 * lanes, 0.0);
    }
}

/// Spectra under work.
#[derive(Debug, Clone, Default)]
pub struct KernelScratch {
    front: AlignedFloats,
    back: AlignedFloats,
}

/// See [`super::simd::Simd::search_block`]. `L` lanes, `NR` rows at a time.
#[inline(always)]
pub fn search_block<const L: usize, const NR: usize, const FMA: bool>(
    job: &BlockJob<'_>,
    scratch: &mut KernelScratch,
    best: &mut BlockBest,
) {
    let n = job.fft.points();
    let size = 2 * n * L;
    scratch.front.grow(NR * size);
    scratch.back.grow(size);
    let norm = norm_spectrum::<L, FMA>(job);
    for first in (0..job.rows.count).step_by(NR) {
        let spectra = &mut scratch.front.floats_mut()[..NR * size];
        spectra_of_rows::<L, NR, FMA>(job, first, spectra.as_chunks_mut::<L>().0);
        for (lane_row, spectrum) in spectra.chunks_exact_mut(size).enumerate().take(job.rows.count - first) {
            let front = spectrum.as_chunks_mut::<L>().0;
            let back = scratch.back.floats_mut()[..size].as_chunks_mut::<L>().0;
            if !job.free_amplitude {
                subtract_norm(&norm, front, n);
            }
            let in_back = job.fft.transform::<L, FMA>(front, back);
            let scores: &[[f32; L]] = if in_back { back } else { front };
            reduce::<L, FMA>(job, scores, &norm[0], first + lane_row, best);
        }
    }
}

/// `n_Q(d) + i n_Q(-d)` and `conj n_Q(d) + i conj n_Q(-d)` for the orders of [`NORM_ORDERS`]; for order 0 the second is
/// not used.
type Norm<const L: usize> = [[[f32; L]; 4]; 3];

/// The norm terms of a block: `n_Q(d) = Σ_j g_jQ conj(|P_j|²)_Q`, for the antipode without the conjugation.
#[inline(always)]
fn norm_spectrum<const L: usize, const FMA: bool>(job: &BlockJob<'_>) -> Norm<L> {
    // per order: Σ gr pr, Σ gi pi, Σ gi pr, Σ gr pi
    let mut sums = [[[0f32; L]; 4]; 3];
    for (weights, powers) in job.rows.norm.iter().zip(job.powers.as_chunks::<L>().0.chunks_exact(6)) {
        for order in 0..3 {
            let [gr, gi] = weights[order];
            let (pr, pi) = (&powers[2 * order], &powers[2 * order + 1]);
            let out = &mut sums[order];
            for l in 0..L {
                out[0][l] = multiply_add::<FMA>(gr, pr[l], out[0][l]);
                out[1][l] = multiply_add::<FMA>(gi, pi[l], out[1][l]);
                out[2][l] = multiply_add::<FMA>(gi, pr[l], out[2][l]);
                out[3][l] = multiply_add::<FMA>(gr, pi[l], out[3][l]);
            }
        }
    }
    let mut norm = [[[0f32; L]; 4]; 3];
    for order in 0..3 {
        let [rr, ii, ir, ri] = sums[order];
        for l in 0..L {
            // n(d) = g conj p, n(-d) = g p
            let (dr, di) = (rr[l] + ii[l], ir[l] - ri[l]);
            let (er, ei) = (rr[l] - ii[l], ir[l] + ri[l]);
            norm[order][0][l] = dr - ei;
            norm[order][1][l] = di + er;
            norm[order][2][l] = dr + ei;
            norm[order][3][l] = er - di;
        }
    }
    norm
}

/// Z_Q and Z_-Q lose the norm (module documentation of ALGORITHMS: with `Z_-Q` goes `n_Q`, with `Z_Q` its conjugate).
#[inline(always)]
fn subtract_norm<const L: usize>(norm: &Norm<L>, spectrum: &mut [[f32; L]], n: usize) {
    for l in 0..L {
        spectrum[0][l] -= norm[0][0][l];
        spectrum[1][l] -= norm[0][1][l];
    }
    for (order, q) in NORM_ORDERS.into_iter().enumerate().skip(1) {
        let minus = n - q;
        for l in 0..L {
            spectrum[2 * q][l] -= norm[order][2][l];
            spectrum[2 * q + 1][l] -= norm[order][3][l];
            spectrum[2 * minus][l] -= norm[order][0][l];
            spectrum[2 * minus + 1][l] -= norm[order][1][l];
        }
    }
}

/// The packed cross spectra of rows `first .. first + NR`, one after the other, `[NR][n][re, im]`.
#[inline(always)]
fn spectra_of_rows<const L: usize, const NR: usize, const FMA: bool>(
    job: &BlockJob<'_>,
    first: usize,
    spectra: &mut [[f32; L]],
) {
    let n = job.fft.points();
    let rows = job.rows;
    let reference = job.reference.as_chunks::<L>().0;
    let m_count = job.offsets.len() - 1;
    for m in 0..m_count {
        let (start, end) = (job.offsets[m], job.offsets[m + 1]);
        let mut sums = [[[0f32; L]; 4]; NR];
        for (k, pair) in reference[2 * start..2 * end].chunks_exact(2).enumerate() {
            let (pr, pi) = (&pair[0], &pair[1]);
            let at = (start + k) * rows.padded + first;
            let (yr, yi) = (&rows.re[at..at + NR], &rows.im[at..at + NR]);
            for r in 0..NR {
                for l in 0..L {
                    sums[r][0][l] = multiply_add::<FMA>(yr[r], pr[l], sums[r][0][l]);
                    sums[r][1][l] = multiply_add::<FMA>(yi[r], pi[l], sums[r][1][l]);
                    sums[r][2][l] = multiply_add::<FMA>(yi[r], pr[l], sums[r][2][l]);
                    sums[r][3][l] = multiply_add::<FMA>(yr[r], pi[l], sums[r][3][l]);
                }
            }
        }
        for (sum, spectrum) in sums.iter().zip(spectra.chunks_exact_mut(2 * n)) {
            pack_pair(sum, m, spectrum);
        }
    }
    for spectrum in spectra.chunks_exact_mut(2 * n) {
        spectrum[2 * m_count..2 * (n + 1 - m_count)].fill([0.0; L]);
    }
}

/// Stores Z_m and Z_-m.
#[inline(always)]
fn pack_pair<const L: usize>([rr, ii, ir, ri]: &[[f32; L]; 4], m: usize, spectrum: &mut [[f32; L]]) {
    if m == 0 {
        // m = 0 counts once: only the real parts of S_0 matter
        for l in 0..L {
            spectrum[0][l] = rr[l] + ii[l];
            spectrum[1][l] = rr[l] - ii[l];
        }
        return;
    }
    let minus = spectrum.len() / 2 - m;
    for l in 0..L {
        let (a, b) = (rr[l] + ii[l], ir[l] - ri[l]);
        let (c, e) = (rr[l] - ii[l], ir[l] + ri[l]);
        spectrum[2 * m][l] = a + e;
        spectrum[2 * m + 1][l] = c - b;
        spectrum[2 * minus][l] = a - e;
        spectrum[2 * minus + 1][l] = b + c;
    }
}

/// Takes the scores of one row, `[n][view d, view -d]`, into the running best.
#[inline(always)]
fn reduce<const L: usize, const FMA: bool>(
    job: &BlockJob<'_>,
    scores: &[[f32; L]],
    norm: &[[f32; L]; 4],
    row: usize,
    best: &mut BlockBest,
) {
    let mut top = [[f32::NEG_INFINITY; L]; 2];
    let mut arg = [[0u32; L]; 2];
    for (psi, pair) in scores.chunks_exact(2).enumerate() {
        for side in 0..2 {
            for l in 0..L {
                let better = pair[side][l] > top[side][l];
                top[side][l] = if better { pair[side][l] } else { top[side][l] };
                arg[side][l] = if better { psi as u32 } else { arg[side][l] };
            }
        }
    }
    let prior = job.rows.log_prior[row];
    for side in 0..2 {
        let sum = if job.evidence { sum_of_exp::<L, FMA>(scores, side, &top[side]) } else { [0.0; L] };
        for l in 0..L {
            let raw = top[side][l];
            // A²/(4B); the norm without astigmatism is real and the same for both sides
            let free = raw * raw.max(0.0) / (4.0 * norm[0][l]).max(f32::MIN_POSITIVE);
            let value = prior + if job.free_amplitude { free } else { raw };
            let at = side * L + l;
            let better = value > best.value[at];
            if job.evidence {
                let old = best.value[at].max(value);
                let rescaled =
                    if best.sum[at] > 0.0 { best.sum[at] * (best.value[at] - old).exp() } else { 0.0 };
                best.sum[at] = rescaled + sum[l] * (value - old).exp();
            }
            if better {
                best.value[at] = value;
                best.psi[at] = arg[side][l];
                best.row[at] = row as u32;
            }
        }
    }
}

/// `Σ exp(score - top)` over the in-plane angle.
#[inline(always)]
fn sum_of_exp<const L: usize, const FMA: bool>(scores: &[[f32; L]], side: usize, top: &[f32; L]) -> [f32; L] {
    let mut sum = [0f32; L];
    for pair in scores.chunks_exact(2) {
        for l in 0..L {
            sum[l] += exp_of_negative::<FMA>(pair[side][l] - top[l]);
        }
    }
    sum
}

/// exp(x) for x ≤ 0 to 2e-6 relative; 0 under -87. The power of two is put together from its bits, the rest is a
/// Taylor series on ±ln(2)/2.
#[inline(always)]
fn exp_of_negative<const FMA: bool>(x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    const LN_2: f32 = std::f32::consts::LN_2;
    let clamped = x.max(-87.0);
    let whole = (clamped * LOG2_E - 0.5) as i32;
    let r = multiply_add::<FMA>(-LN_2, whole as f32, clamped);
    let mut series = 1.0 / 720.0;
    for factor in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        series = multiply_add::<FMA>(series, r, factor);
    }
    let power = f32::from_bits(((whole + 127) as u32) << 23);
    if x < -87.0 { 0.0 } else { series * power }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_close() {
        for i in 0..8700 {
            let x = -(i as f32) * 0.01;
            let (got, want) = (f64::from(exp_of_negative::<false>(x)), f64::from(x).exp());
            assert!((got - want).abs() <= 5e-6 * want, "{x}: {got} {want}");
        }
        assert_eq!(exp_of_negative::<false>(-1000.0), 0.0);
    }
}
