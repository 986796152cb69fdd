//! One image as the kernel wants it: for every shift a row of radial coefficients.
//!
//! The image's polar samples, times CTF and weights, are turned by each shift's phases, transformed along the angle
//! (only the frequencies the reference has, by a folded real matrix product) and projected on the radial basis.

use super::basis::RadialBasis;
use super::lane_fft::multiply_add;
use super::polar::PolarGrid;
use num_complex::Complex32;

/// Rows are stored in multiples of this many.
pub const ROW_PADDING: usize = 8;

/// Phases `e^{+2πi q·t/N}` of all shifts at all polar samples: `[sample][chunk of 8 shifts][re, im][8]`.
#[derive(Debug, Clone)]
pub struct ShiftPhases {
    values: Vec<f32>,
    chunks: usize,
    count: usize,
}

impl ShiftPhases {
    /// For shifts in pixels of the box.
    pub fn new(grid: &PolarGrid, shifts: &[[f64; 2]]) -> Self {
        use std::f64::consts::TAU;
        let chunks = shifts.len().div_ceil(ROW_PADDING);
        let mut values = vec![0f32; grid.samples() * chunks * 2 * ROW_PADDING];
        for ([qx, qy], table) in grid.points().zip(values.chunks_exact_mut(chunks * 2 * ROW_PADDING)) {
            for (index, t) in shifts.iter().enumerate() {
                let turns = (qx * t[0] + qy * t[1]) / grid.box_px as f64;
                let (sin, cos) = (TAU * (turns - turns.round())).sin_cos();
                let at = (index / ROW_PADDING) * 2 * ROW_PADDING + index % ROW_PADDING;
                table[at] = cos as f32;
                table[at + ROW_PADDING] = sin as f32;
            }
        }
        Self { values, chunks, count: shifts.len() }
    }
}

/// What [`shifted_rows`] works on.
#[derive(Debug, Clone, Copy)]
pub struct RowJob<'a> {
    /// Where the samples lie.
    pub grid: &'a PolarGrid,
    /// Radial basis of the reference.
    pub basis: &'a RadialBasis,
    /// Shifts.
    pub phases: &'a ShiftPhases,
    /// Samples times CTF and `2π w r / s2 / sqrt(W)`: `[samples]`.
    pub samples: &'a [Complex32],
}

/// Radial coefficients of one image at all shifts, and its part of the norm.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    /// Number of shifts.
    pub count: usize,
    /// The same rounded up; the rest is zero.
    pub padded: usize,
    /// Real parts, `[rank][padded]`.
    pub re: Vec<f32>,
    /// Imaginary parts, `[rank][padded]`.
    pub im: Vec<f32>,
    /// `π w r / s2 · (c²)_Q` per ring and order 0, 2, 4, as (re, im).
    pub norm: Vec<[[f32; 2]; 3]>,
    /// Log of the prior of each shift, `[count]`.
    pub log_prior: Vec<f32>,
}

/// Buffers of [`shifted_rows`].
#[derive(Debug, Clone, Default)]
pub struct RowsScratch {
    /// Sums and differences of opposite samples of one ring, `[h + 1][u sum, u difference, v sum, v difference][8]`.
    folded: Vec<[[f32; ROW_PADDING]; 4]>,
}

/// See [`super::simd::Simd::shifted_rows`]. Fills `re`, `im`, `count` and `padded` of `rows`. `L` is [`ROW_PADDING`].
#[inline(always)]
pub fn shifted_rows<const L: usize, const FMA: bool>(
    job: &RowJob<'_>,
    scratch: &mut RowsScratch,
    rows: &mut Rows,
) {
    debug_assert_eq!(L, ROW_PADDING, "phases should be stored in chunks of the lanes");
    rows.count = job.phases.count;
    rows.padded = job.phases.chunks * L;
    let size = job.basis.rank() * rows.padded;
    for list in [&mut rows.re, &mut rows.im] {
        list.clear();
        list.resize(size, 0.0);
    }
    for ring in 0..job.grid.rings.len() {
        for chunk in 0..job.phases.chunks {
            fold_ring::<FMA>(job, ring, chunk, &mut scratch.folded);
            project_ring::<FMA>(job, ring, chunk, &scratch.folded, rows);
        }
    }
}

/// Applies the phases of a chunk of shifts to a ring and folds sample i with sample n - i.
#[inline(always)]
fn fold_ring<const FMA: bool>(
    job: &RowJob<'_>,
    ring: usize,
    chunk: usize,
    folded: &mut Vec<[[f32; ROW_PADDING]; 4]>,
) {
    let ring = &job.grid.rings[ring];
    let h = ring.count / 2;
    folded.clear();
    folded.resize(h + 1, [[0.0; ROW_PADDING]; 4]);
    let stride = job.phases.chunks * 2 * ROW_PADDING;
    let turned = |i: usize| {
        let x = job.samples[ring.first + i];
        let at = (ring.first + i) * stride + chunk * 2 * ROW_PADDING;
        let table = job.phases.values[at..at + 2 * ROW_PADDING].as_chunks::<ROW_PADDING>().0;
        let mut out = [[0f32; ROW_PADDING]; 2];
        for l in 0..ROW_PADDING {
            let (c, s) = (table[0][l], table[1][l]);
            out[0][l] = multiply_add::<FMA>(-s, x.im, c * x.re);
            out[1][l] = multiply_add::<FMA>(s, x.re, c * x.im);
        }
        out
    };
    for i in [0, h] {
        let [u, v] = turned(i);
        folded[i] = [u, u, v, v];
    }
    for i in 1..h {
        let (low, high) = (turned(i), turned(ring.count - i));
        let out = &mut folded[i];
        for l in 0..ROW_PADDING {
            out[0][l] = low[0][l] + high[0][l];
            out[1][l] = low[0][l] - high[0][l];
            out[2][l] = low[1][l] + high[1][l];
            out[3][l] = low[1][l] - high[1][l];
        }
    }
}

/// Adds a ring's angular modes, projected on the radial basis, to the rows of a chunk.
#[inline(always)]
fn project_ring<const FMA: bool>(
    job: &RowJob<'_>,
    ring_index: usize,
    chunk: usize,
    folded: &[[[f32; ROW_PADDING]; 4]],
    rows: &mut Rows,
) {
    let ring = &job.grid.rings[ring_index];
    let m_count = job.basis.m_count().min(ring.m_count());
    for m in 0..m_count {
        // even orders come from the real parts of the samples, odd ones from the imaginary parts
        let part = if m % 2 == 0 { 0 } else { 2 };
        let mut re = [0f32; ROW_PADDING];
        let mut im = [0f32; ROW_PADDING];
        for (pair, values) in ring.angular_row(m).iter().zip(folded) {
            for l in 0..ROW_PADDING {
                re[l] = multiply_add::<FMA>(pair[0], values[part][l], re[l]);
                im[l] = multiply_add::<FMA>(pair[1], values[part + 1][l], im[l]);
            }
        }
        let (first, coefficients) = job.basis.coefficients(m, ring_index);
        for (k, &u) in coefficients.iter().enumerate() {
            let at = (first + k) * rows.padded + chunk * ROW_PADDING;
            let out_re = &mut rows.re[at..at + ROW_PADDING];
            let out_im = &mut rows.im[at..at + ROW_PADDING];
            for l in 0..ROW_PADDING {
                out_re[l] = multiply_add::<FMA>(u, re[l], out_re[l]);
                out_im[l] = multiply_add::<FMA>(u, im[l], out_im[l]);
            }
        }
    }
}
