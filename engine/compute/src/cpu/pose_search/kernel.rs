//! The inner loop of the search: for a block of directions (one per lane) and all shifts of one image, the angular
//! spectrum of logL as small real matrix products, its transform over the in-plane angle, and the maximum.
//!
//! The mirror pair costs eight real operations per radial mode: with y = yr + i yi of the image and p of the reference,
//! `RR = Σ yr pr, II = Σ yi pi, IR = Σ yi pr, RI = Σ yr pi` give both
//! `S_m(d) = (RR + II) + i (IR - RI)` and `S_m(-d) = (RR - II) + i (IR + RI)`, since `p'_m = conj p_m`. Both real
//! functions of psi come from one complex transform of `Z_m = conj S_m(d) + i conj S_m(-d)`,
//! `Z_-m = S_m(d) + i S_m(-d)`: its real part is logL along d, its imaginary part along -d.

use super::lane_fft::LaneFft;
use super::lanes::Lanes;
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

/// Which two views share a lane, and with it a transform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairing {
    /// A direction and its antipode, whose modes are the conjugates: half the products serve both.
    Mirror,
    /// Any two references: first those of the lanes, then as many again.
    Two,
}

/// What the kernel needs for one block of directions and one image.
#[derive(Debug, Clone, Copy)]
pub struct BlockJob<'a> {
    /// Transform over the in-plane angle.
    pub fft: &'a LaneFft,
    /// First radial coefficient of each m, and their number at the end: `[m_count + 1]`.
    pub offsets: &'a [usize],
    /// What a lane holds.
    pub pairing: Pairing,
    /// Radial coefficients of the block: `[rank][re, im][lanes]`; of two references `[rank][2][re, im][lanes]`.
    pub reference: &'a [f32],
    /// Angular powers of the block's views: `[ring][order of NORM_ORDERS][re, im][lanes]`; of two references
    /// `[ring][order][2][re, im][lanes]`.
    pub powers: &'a [f32],
    /// The image at all shifts.
    pub rows: &'a Rows,
    /// Whether scores are maximised over the amplitude.
    pub free_amplitude: bool,
    /// Whether exp(logL) is summed.
    pub evidence: bool,
}

/// Best pose per view of a block: first one view of each lane, then the other: `[2 · lanes]`.
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

/// See [`super::simd::Simd::search_block`]; `NR` rows at a time.
#[inline(always)]
pub fn search_block<V: Lanes, const NR: usize>(
    job: &BlockJob<'_>,
    scratch: &mut KernelScratch,
    best: &mut BlockBest,
) {
    let n = job.fft.points();
    let size = 2 * n * V::COUNT;
    scratch.front.grow(NR * size);
    scratch.back.grow(size);
    let norm = match job.pairing {
        Pairing::Mirror => norm_spectrum::<V>(job),
        Pairing::Two => norm_spectrum_of_two::<V>(job),
    };
    for first in (0..job.rows.count).step_by(NR) {
        let spectra = &mut scratch.front.floats_mut()[..NR * size];
        match job.pairing {
            Pairing::Mirror => spectra_of_rows::<V, NR>(job, first, spectra),
            Pairing::Two => spectra_of_two::<V, NR>(job, first, spectra),
        }
        for (lane_row, front) in spectra.chunks_exact_mut(size).enumerate().take(job.rows.count - first) {
            let back = &mut scratch.back.floats_mut()[..size];
            if !job.free_amplitude {
                subtract_norm(&norm, front, n);
            }
            let in_back = job.fft.transform::<V>(front, back);
            reduce::<V>(job, if in_back { back } else { front }, norm[0][0], first + lane_row, best);
        }
    }
}

/// Per order of [`NORM_ORDERS`] the four vectors `n_Q(d) + i n_Q(-d)` and `conj n_Q(d) + i conj n_Q(-d)`.
pub(in crate::cpu) type Norm<V> = [[V; 4]; 3];

/// The norm terms of a block: `n_Q(d) = Σ_j g_jQ conj(|P_j|²)_Q`, for the antipode without the conjugation.
#[inline(always)]
fn norm_spectrum<V: Lanes>(job: &BlockJob<'_>) -> Norm<V> {
    let zero = V::splat(0.0);
    // per order: Σ gr pr, Σ gi pi, Σ gi pr, Σ gr pi
    let mut sums = [[zero; 4]; 3];
    for (ring, weights) in job.rows.norm.iter().enumerate() {
        for order in 0..3 {
            let (gr, gi) = (V::splat(weights[order][0]), V::splat(weights[order][1]));
            let at = 6 * ring + 2 * order;
            let (pr, pi) = (V::at(job.powers, at), V::at(job.powers, at + 1));
            let out = &mut sums[order];
            out[0] = gr.times_plus(pr, out[0]);
            out[1] = gi.times_plus(pi, out[1]);
            out[2] = gi.times_plus(pr, out[2]);
            out[3] = gr.times_plus(pi, out[3]);
        }
    }
    sums.map(|[rr, ii, ir, ri]| {
        // n(d) = g conj p, n(-d) = g p
        packed_norm([rr.plus(ii), ir.minus(ri)], [rr.minus(ii), ir.plus(ri)])
    })
}

/// The norm terms of two references, each `n_Q = Σ_j g_jQ conj(|P_j|²)_Q`.
#[inline(always)]
fn norm_spectrum_of_two<V: Lanes>(job: &BlockJob<'_>) -> Norm<V> {
    let mut sums = [[[V::splat(0.0); 2]; 2]; 3];
    for (ring, weights) in job.rows.norm.iter().enumerate() {
        for order in 0..3 {
            let (gr, gi) = (V::splat(weights[order][0]), V::splat(weights[order][1]));
            for side in 0..2 {
                let at = 12 * ring + 4 * order + 2 * side;
                let (pr, pi) = (V::at(job.powers, at), V::at(job.powers, at + 1));
                let [re, im] = &mut sums[order][side];
                *re = gr.times_plus(pr, gi.times_plus(pi, *re));
                *im = gr.times_from(pi, gi.times_plus(pr, *im));
            }
        }
    }
    sums.map(|[first, second]| packed_norm(first, second))
}

/// What [`subtract_norm`] takes off for the norms `[re, im]` of the two views of a lane.
#[inline(always)]
pub(in crate::cpu) fn packed_norm<V: Lanes>([dr, di]: [V; 2], [er, ei]: [V; 2]) -> [V; 4] {
    [dr.minus(ei), di.plus(er), dr.plus(ei), er.minus(di)]
}

/// Z_Q and Z_-Q lose the norm: n_Q goes with `e^{-iQψ}`, so to Z_-Q, and its conjugate to Z_Q.
#[inline(always)]
pub(in crate::cpu) fn subtract_norm<V: Lanes>(norm: &Norm<V>, spectrum: &mut [f32], n: usize) {
    take_off(spectrum, 0, norm[0][0]);
    take_off(spectrum, 1, norm[0][1]);
    for order in 1..NORM_ORDERS.len() {
        let q = NORM_ORDERS[order];
        take_off(spectrum, 2 * q, norm[order][2]);
        take_off(spectrum, 2 * q + 1, norm[order][3]);
        take_off(spectrum, 2 * (n - q), norm[order][0]);
        take_off(spectrum, 2 * (n - q) + 1, norm[order][1]);
    }
}

/// Subtracts from one vector of a list. (A function: closures are compiled without their caller's instruction set.)
#[inline(always)]
fn take_off<V: Lanes>(list: &mut [f32], element: usize, value: V) {
    V::at(list, element).minus(value).put(list, element);
}

/// The packed cross spectra of rows `first .. first + NR`, one after the other, `[NR][n][re, im]`.
#[inline(always)]
fn spectra_of_rows<V: Lanes, const NR: usize>(job: &BlockJob<'_>, first: usize, spectra: &mut [f32]) {
    let n = job.fft.points();
    let rows = job.rows;
    let size = 2 * n * V::COUNT;
    let m_count = job.offsets.len() - 1;
    for m in 0..m_count {
        let mut sums = [[V::splat(0.0); 4]; NR];
        for k in job.offsets[m]..job.offsets[m + 1] {
            let (pr, pi) = (V::at(job.reference, 2 * k), V::at(job.reference, 2 * k + 1));
            let at = k * rows.padded + first;
            let (yr, yi) = (&rows.re[at..at + NR], &rows.im[at..at + NR]);
            for r in 0..NR {
                let (yr, yi) = (V::splat(yr[r]), V::splat(yi[r]));
                sums[r][0] = yr.times_plus(pr, sums[r][0]);
                sums[r][1] = yi.times_plus(pi, sums[r][1]);
                sums[r][2] = yi.times_plus(pr, sums[r][2]);
                sums[r][3] = yr.times_plus(pi, sums[r][3]);
            }
        }
        for r in 0..NR {
            pack_pair(sums[r], m, n, &mut spectra[r * size..(r + 1) * size]);
        }
    }
    for spectrum in spectra.chunks_exact_mut(size) {
        spectrum[2 * m_count * V::COUNT..2 * (n + 1 - m_count) * V::COUNT].fill(0.0);
    }
}

/// [`spectra_of_rows`] for two references a lane.
#[inline(always)]
fn spectra_of_two<V: Lanes, const NR: usize>(job: &BlockJob<'_>, first: usize, spectra: &mut [f32]) {
    let n = job.fft.points();
    let rows = job.rows;
    let size = 2 * n * V::COUNT;
    let m_count = job.offsets.len() - 1;
    for m in 0..m_count {
        // S = Σ y conj p of either reference: re, im
        let mut sums = [[V::splat(0.0); 4]; NR];
        for k in job.offsets[m]..job.offsets[m + 1] {
            let mut p = [V::splat(0.0); 4];
            for part in 0..4 {
                p[part] = V::at(job.reference, 4 * k + part);
            }
            let at = k * rows.padded + first;
            let (yr, yi) = (&rows.re[at..at + NR], &rows.im[at..at + NR]);
            for r in 0..NR {
                let (yr, yi) = (V::splat(yr[r]), V::splat(yi[r]));
                for side in 0..2 {
                    let (pr, pi) = (p[2 * side], p[2 * side + 1]);
                    sums[r][2 * side] = yi.times_plus(pi, yr.times_plus(pr, sums[r][2 * side]));
                    sums[r][2 * side + 1] = yr.times_from(pi, yi.times_plus(pr, sums[r][2 * side + 1]));
                }
            }
        }
        for r in 0..NR {
            pack_two(sums[r], m, n, &mut spectra[r * size..(r + 1) * size]);
        }
    }
    for spectrum in spectra.chunks_exact_mut(size) {
        spectrum[2 * m_count * V::COUNT..2 * (n + 1 - m_count) * V::COUNT].fill(0.0);
    }
}

/// Stores `Z_m = conj S + i conj T` and `Z_-m = S + i T` of the sums S and T of two references.
#[inline(always)]
pub(in crate::cpu) fn pack_two<V: Lanes>([sr, si, tr, ti]: [V; 4], m: usize, n: usize, spectrum: &mut [f32]) {
    if m == 0 {
        sr.put(spectrum, 0);
        tr.put(spectrum, 1);
        return;
    }
    sr.plus(ti).put(spectrum, 2 * m);
    tr.minus(si).put(spectrum, 2 * m + 1);
    sr.minus(ti).put(spectrum, 2 * (n - m));
    si.plus(tr).put(spectrum, 2 * (n - m) + 1);
}

/// Stores Z_m and Z_-m of a mirror pair.
#[inline(always)]
fn pack_pair<V: Lanes>([rr, ii, ir, ri]: [V; 4], m: usize, n: usize, spectrum: &mut [f32]) {
    let (a, c) = (rr.plus(ii), rr.minus(ii));
    if m == 0 {
        // m = 0 counts once: only the real parts of S_0 matter
        a.put(spectrum, 0);
        c.put(spectrum, 1);
        return;
    }
    let (b, e) = (ir.minus(ri), ir.plus(ri));
    a.plus(e).put(spectrum, 2 * m);
    c.minus(b).put(spectrum, 2 * m + 1);
    a.minus(e).put(spectrum, 2 * (n - m));
    b.plus(c).put(spectrum, 2 * (n - m) + 1);
}

/// Takes the scores of one row, `[n][view d, view -d]`, into the running best.
#[inline(always)]
fn reduce<V: Lanes>(job: &BlockJob<'_>, scores: &[f32], norm: V, row: usize, best: &mut BlockBest) {
    /// The widest vector.
    const WIDEST: usize = 16;
    let mut top = [V::splat(f32::NEG_INFINITY); 2];
    let mut arg = [V::index(0); 2];
    for psi in 0..job.fft.points() {
        for side in 0..2 {
            V::keep_larger(
                V::at(scores, 2 * psi + side),
                V::index(psi as u32),
                &mut top[side],
                &mut arg[side],
            );
        }
    }
    let mut norms = [0f32; WIDEST];
    norm.put(&mut norms, 0);
    for side in 0..2 {
        let (mut values, mut angles, mut sums) = ([0f32; WIDEST], [0u32; WIDEST], [0f32; WIDEST]);
        top[side].put(&mut values, 0);
        V::put_index(arg[side], &mut angles);
        if job.evidence {
            sum_of_exp(scores, job.fft.points(), side, top[side]).put(&mut sums, 0);
        }
        let found = RowBest { values: &values, angles: &angles, sums: &sums, norms: &norms, row };
        best.take(job, &found, side * V::COUNT, V::COUNT);
    }
}

/// The best of one row, by lane.
struct RowBest<'a> {
    values: &'a [f32],
    angles: &'a [u32],
    sums: &'a [f32],
    norms: &'a [f32],
    row: usize,
}

impl BlockBest {
    /// Takes a row over where it is better; entries from `first` on are its lanes.
    #[inline(always)]
    fn take(&mut self, job: &BlockJob<'_>, found: &RowBest<'_>, first: usize, lanes: usize) {
        let prior = job.rows.log_prior[found.row];
        for l in 0..lanes {
            let at = first + l;
            let raw = found.values[l];
            // A²/(4B); the packed norm of order 0 is (n(d), n(-d)), which are real and the same in a mirror pair
            let value = if job.free_amplitude {
                prior + raw * raw.max(0.0) / (4.0 * found.norms[l]).max(f32::MIN_POSITIVE)
            } else {
                prior + raw
            };
            if job.evidence {
                let larger = self.value[at].max(value);
                let before =
                    if self.sum[at] > 0.0 { self.sum[at] * (self.value[at] - larger).exp() } else { 0.0 };
                self.sum[at] = before + found.sums[l] * (value - larger).exp();
            }
            if value > self.value[at] {
                self.value[at] = value;
                self.psi[at] = found.angles[l];
                self.row[at] = found.row as u32;
            }
        }
    }
}

/// `Σ exp(score - top)` over the in-plane angle.
#[inline(always)]
fn sum_of_exp<V: Lanes>(scores: &[f32], angles: usize, side: usize, top: V) -> V {
    let mut sum = V::splat(0.0);
    for psi in 0..angles {
        sum = sum.plus(exp_of_negative(V::at(scores, 2 * psi + side).minus(top)));
    }
    sum
}

/// exp(x) for x ≤ 0 to 5e-6 relative, about 1e-38 below -87. The power of two is put together from its bits, the rest is
/// a Taylor series on ±ln(2)/2.
#[inline(always)]
fn exp_of_negative<V: Lanes>(x: V) -> V {
    /// Adding and taking away 1.5·2²³ rounds to a whole number.
    const ROUNDER: f32 = 12_582_912.0;
    let (mut clamped, mut unused) = (V::splat(-87.0), V::index(0));
    V::keep_larger(x, unused, &mut clamped, &mut unused);
    let rounder = V::splat(ROUNDER);
    let whole = clamped.times_plus(V::splat(std::f32::consts::LOG2_E), rounder).minus(rounder);
    let r = whole.times_from(V::splat(std::f32::consts::LN_2), clamped);
    let mut series = V::splat(1.0 / 720.0);
    for factor in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        series = series.times_plus(r, V::splat(factor));
    }
    series.times(whole.power_of_two())
}

#[cfg(test)]
mod tests {
    use super::super::lanes::Portable;
    use super::*;

    #[test]
    fn exponentials_are_close() {
        for i in 0..8700 {
            let x = -(i as f32) * 0.01;
            let mut out = [0f32; 8];
            exp_of_negative(Portable::splat(x)).put(&mut out, 0);
            let want = f64::from(x).exp();
            assert!((f64::from(out[3]) - want).abs() <= 5e-6 * want, "{x}: {} {want}", out[3]);
        }
        let mut out = [0f32; 8];
        exp_of_negative(Portable::splat(-1000.0)).put(&mut out, 0);
        assert!(out[0] < 1e-37);
    }
}
