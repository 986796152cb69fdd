//! One image as the kernel wants it: for every shift a row of radial coefficients.
//!
//! The image's polar samples, times CTF and weights, are turned by each shift's phases, transformed along the angle
//! (only the frequencies the reference has, by a folded real matrix product) and projected on the radial basis.

use super::basis::RadialBasis;
use super::lanes::Lanes;
use crate::likelihood::spectrum_at;
use crate::polar::{PolarGrid, Ring};
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

/// Turns an image's samples into what [`shifted_rows`] takes, and fills the norm: `transfer` is its CTF, times its
/// amplitude, at all samples. Samples beyond the grid's rings stay as they are.
pub fn whiten(
    grid: &PolarGrid,
    root_metric: &[f64],
    noise: &[f64],
    transfer: &[f32],
    samples: &mut [Complex32],
    norm: &mut Vec<[[f32; 2]; 3]>,
) {
    use std::f64::consts::{PI, TAU};
    norm.clear();
    for (ring, root) in grid.rings.iter().zip(root_metric) {
        let over_noise =
            ring.weight * ring.radius / spectrum_at(noise, ring.radius).max(f64::from(f32::MIN_POSITIVE));
        let factor = (TAU * over_noise / root) as f32;
        let range = ring.first..ring.first + ring.count;
        let transfer = &transfer[range.clone()];
        samples[range].iter_mut().zip(transfer).for_each(|(sample, c)| *sample *= factor * c);
        let orders = ring.even_orders(transfer.iter().map(|c| c * c));
        norm.push(orders.map(|part| part.map(|v| (PI * over_noise) as f32 * v)));
    }
}

/// `ln` of a Gaussian prior on shifts of standard deviation `sigma_px`.
pub fn log_prior_of_shifts(shifts: &[[f64; 2]], sigma_px: f64) -> Vec<f32> {
    let two_variance = 2.0 * sigma_px.max(1e-3).powi(2);
    shifts.iter().map(|t| (-(t[0] * t[0] + t[1] * t[1]) / two_variance) as f32).collect()
}

/// Buffers of [`shifted_rows`].
#[derive(Debug, Clone, Default)]
pub struct RowsScratch {
    /// Sums and differences of opposite samples of one ring, `[h + 1][u sum, u difference, v sum, v difference][8]`.
    folded: Vec<f32>,
}

/// Angular frequencies of one parity that are summed together, so that the sums do not wait for each other.
const TOGETHER: usize = 4;

/// See [`super::simd::Simd::shifted_rows`]. Fills `re`, `im`, `count` and `padded` of `rows`. Vectors are of
/// [`ROW_PADDING`] lanes.
#[inline(always)]
pub fn shifted_rows<V: Lanes>(job: &RowJob<'_>, scratch: &mut RowsScratch, rows: &mut Rows) {
    debug_assert_eq!(V::COUNT, ROW_PADDING, "phases should be stored in chunks of the lanes");
    rows.count = job.phases.count;
    rows.padded = job.phases.chunks * ROW_PADDING;
    let size = job.basis.rank() * rows.padded;
    for list in [&mut rows.re, &mut rows.im] {
        list.clear();
        list.resize(size, 0.0);
    }
    for ring in 0..job.grid.rings.len() {
        for chunk in 0..job.phases.chunks {
            fold_ring::<V>(&job.grid.rings[ring], job.phases, job.samples, chunk, &mut scratch.folded);
            for parity in 0..2 {
                project_ring::<V>(job, ring, chunk, parity, &scratch.folded, rows);
            }
        }
    }
}

/// What [`shifted_modes`] works on.
#[derive(Debug, Clone, Copy)]
pub struct ModesJob<'a> {
    /// Rings wanted.
    pub grid: &'a PolarGrid,
    /// Shifts.
    pub phases: &'a ShiftPhases,
    /// Samples.
    pub samples: &'a [Complex32],
    /// Which shifts, in chunks of [`ROW_PADDING`].
    pub chunk: usize,
}

/// The angular modes of all rings at the shifts of one chunk, `[mode][re, im][8]`, as [`PolarGrid`] counts modes.
#[inline(always)]
pub fn shifted_modes<V: Lanes>(job: &ModesJob<'_>, scratch: &mut RowsScratch, modes: &mut Vec<f32>) {
    debug_assert_eq!(V::COUNT, ROW_PADDING, "phases should be stored in chunks of the lanes");
    modes.clear();
    modes.resize(job.grid.modes() * 2 * V::COUNT, 0.0);
    for ring in &job.grid.rings {
        fold_ring::<V>(ring, job.phases, job.samples, job.chunk, &mut scratch.folded);
        for m in 0..ring.m_count() {
            let mut sums = [V::splat(0.0); 2];
            for (i, &[f, g]) in ring.angular_row(m).iter().enumerate() {
                let at = 4 * i + 2 * (m % 2);
                sums[0] = V::splat(f).times_plus(V::at(&scratch.folded, at), sums[0]);
                sums[1] = V::splat(g).times_plus(V::at(&scratch.folded, at + 1), sums[1]);
            }
            let at = 2 * (ring.first_mode + m);
            sums[0].put(modes, at);
            sums[1].put(modes, at + 1);
        }
    }
}

/// Applies the phases of a chunk of shifts to a ring and folds sample i with sample n - i.
#[inline(always)]
fn fold_ring<V: Lanes>(
    ring: &Ring,
    phases: &ShiftPhases,
    samples: &[Complex32],
    chunk: usize,
    folded: &mut Vec<f32>,
) {
    let h = ring.count / 2;
    folded.resize((h + 1) * 4 * V::COUNT, 0.0);
    for i in [0, h] {
        let [u, v] = turned_sample::<V>(phases, samples, ring.first + i, chunk);
        u.put(folded, 4 * i);
        u.put(folded, 4 * i + 1);
        v.put(folded, 4 * i + 2);
        v.put(folded, 4 * i + 3);
    }
    for i in 1..h {
        let low = turned_sample::<V>(phases, samples, ring.first + i, chunk);
        let high = turned_sample::<V>(phases, samples, ring.first + ring.count - i, chunk);
        low[0].plus(high[0]).put(folded, 4 * i);
        low[0].minus(high[0]).put(folded, 4 * i + 1);
        low[1].plus(high[1]).put(folded, 4 * i + 2);
        low[1].minus(high[1]).put(folded, 4 * i + 3);
    }
}

/// A sample at the shifts of a chunk: real and imaginary parts. (A function, since closures are compiled without their
/// caller's instruction set.)
#[inline(always)]
fn turned_sample<V: Lanes>(
    phases: &ShiftPhases,
    samples: &[Complex32],
    sample: usize,
    chunk: usize,
) -> [V; 2] {
    let x = samples[sample];
    let (re, im) = (V::splat(x.re), V::splat(x.im));
    let at = 2 * (sample * phases.chunks + chunk);
    let (c, s) = (V::at(&phases.values, at), V::at(&phases.values, at + 1));
    [s.times_from(im, c.times(re)), s.times_plus(re, c.times(im))]
}

/// Adds a ring's angular modes of one parity, projected on the radial basis, to the rows of a chunk. Even orders come
/// from the real parts of the samples, odd ones from the imaginary parts.
#[inline(always)]
fn project_ring<V: Lanes>(
    job: &RowJob<'_>,
    ring_index: usize,
    chunk: usize,
    parity: usize,
    folded: &[f32],
    rows: &mut Rows,
) {
    let ring = &job.grid.rings[ring_index];
    let m_count = job.basis.m_count().min(ring.m_count());
    let points = ring.count / 2 + 1;
    for first in (parity..m_count).step_by(2 * TOGETHER) {
        // frequencies past the end repeat the last one and are not used
        let orders: [usize; TOGETHER] = std::array::from_fn(|t| {
            let m = first + 2 * t;
            if m < m_count { m } else { first }
        });
        let tables = orders.map(|m| &ring.angular_row(m)[..points]);
        let mut sums = [[V::splat(0.0); 2]; TOGETHER];
        for i in 0..points {
            let at = 4 * i + 2 * parity;
            let (sum, difference) = (V::at(folded, at), V::at(folded, at + 1));
            for t in 0..TOGETHER {
                let [f, g] = tables[t][i];
                sums[t][0] = V::splat(f).times_plus(sum, sums[t][0]);
                sums[t][1] = V::splat(g).times_plus(difference, sums[t][1]);
            }
        }
        for (&m, sum) in orders.iter().zip(&sums).take((m_count - first).div_ceil(2)) {
            let (at, coefficients) = job.basis.coefficients(m, ring_index);
            for (k, &u) in coefficients.iter().enumerate() {
                let element = (at + k) * job.phases.chunks + chunk;
                let u = V::splat(u);
                u.times_plus(sum[0], V::at(&rows.re, element)).put(&mut rows.re, element);
                u.times_plus(sum[1], V::at(&rows.im, element)).put(&mut rows.im, element);
            }
        }
    }
}
