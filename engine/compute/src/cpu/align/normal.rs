//! logL and its derivatives at a pose, and what an image and the reference have in common there: blocks of points are
//! looked up, then summed over lanes.

use super::lattice::{Lattice, LatticeImage};
use super::look_up::{BLOCK, Cells, Looked};
use crate::cpu::project::Projector;
use crate::likelihood::LatticeCtf;
use crate::ops::align::{NormalEquations, PARAMETERS, PixelPose};
use std::f32::consts::PI;

/// Independent entries of the Hessian.
const PAIRS: usize = PARAMETERS * (PARAMETERS + 1) / 2;

/// What [`normal_equations`] works on.
#[derive(Clone, Copy)]
pub struct NormalJob<'a> {
    /// The reference.
    pub projector: &'a Projector,
    /// Where the points lie.
    pub lattice: &'a Lattice,
    /// The image there.
    pub image: &'a LatticeImage,
    /// Band weight over s2 of the points of the band.
    pub weights: &'a [f32],
    /// The pose.
    pub pose: PixelPose,
}

/// Sums over lanes: logL, gradient, upper triangle of the Hessian row by row.
struct Sums<const L: usize> {
    log_likelihood: [f32; L],
    gradient: [[f32; L]; PARAMETERS],
    hessian: [[f32; L]; PAIRS],
}

/// See [`super::simd::normal_equations`]. `L` divides the block.
#[inline(always)]
pub fn normal_equations<const L: usize, const FMA: bool>(job: &NormalJob<'_>) -> NormalEquations {
    let mut total = NormalEquations::default();
    let (mut cells, mut looked) = (Cells::EMPTY, Looked::EMPTY);
    let axes = axes_of(&job.pose);
    let count = job.weights.len();
    for first in (0..count).step_by(BLOCK) {
        let here = BLOCK.min(count - first);
        // places beyond the end of the list look up the origin, with no weight
        let (qx, qy) = (
            lanes_of(&job.lattice.qx[..first + here], first),
            lanes_of(&job.lattice.qy[..first + here], first),
        );
        cells.look_up::<FMA>(job.projector, &axes, [&qx, &qy], &mut looked);
        let mut sums = Sums {
            log_likelihood: [0f32; L],
            gradient: [[0f32; L]; PARAMETERS],
            hessian: [[0f32; L]; PAIRS],
        };
        for lane in (0..here).step_by(L) {
            add_lanes::<L, FMA>(job, first, lane, here, &looked, &mut sums);
        }
        add_block(&sums, &mut total);
    }
    for row in 0..PARAMETERS {
        for column in 0..row {
            total.hessian[row][column] = total.hessian[column][row];
        }
    }
    total
}

/// What an image and the model have in common at the points of a band, point by point.
#[derive(Debug, Clone, Default)]
pub struct Compared {
    /// `|X_t - c P|²`.
    pub residual: Vec<f32>,
    /// `Re(X_t conj(c P))`.
    pub cross: Vec<f32>,
    /// `|c P|²`.
    pub model: Vec<f32>,
}

/// See [`super::simd::compare`]. Points with a radius above `reach` are compared with the model at the origin and mean
/// nothing.
#[inline(always)]
pub fn compare<const FMA: bool>(job: &NormalJob<'_>, count: usize, reach: f64, out: &mut Compared) {
    for list in [&mut out.residual, &mut out.cross, &mut out.model] {
        list.clear();
        list.resize(count.next_multiple_of(BLOCK), 0.0);
    }
    let (mut cells, mut looked) = (Cells::EMPTY, Looked::EMPTY);
    let axes = axes_of(&job.pose);
    let n = job.projector.grid().n() as f32;
    let [tx, ty] = job.pose.shift_px.map(|t| t as f32 / n);
    let reach = reach as f32;
    for first in (0..count).step_by(BLOCK) {
        let all = |list: &[f32]| lanes_of::<BLOCK>(&list[..count.min(list.len())], first);
        let (mut qx, mut qy) = (all(&job.lattice.qx), all(&job.lattice.qy));
        let mut turns = [0f32; BLOCK];
        let radius = all(&job.lattice.radius);
        for l in 0..BLOCK {
            turns[l] = multiply_add::<FMA>(qx[l], tx, qy[l] * ty);
            let inside = if radius[l] <= reach { 1.0 } else { 0.0 };
            (qx[l], qy[l]) = (qx[l] * inside, qy[l] * inside);
        }
        cells.look_up::<FMA>(job.projector, &axes, [&qx, &qy], &mut looked);
        let (cos, sin) = cis::<BLOCK, FMA>(&turns);
        let (re, im, transfer) = (all(&job.image.re), all(&job.image.im), all(&job.image.transfer));
        let place = first..first + BLOCK;
        let lists = out.residual[place.clone()]
            .iter_mut()
            .zip(&mut out.cross[place.clone()])
            .zip(&mut out.model[place]);
        for (l, ((residual, cross), model)) in lists.enumerate() {
            let (xr, xi) = (re[l] * cos[l] - im[l] * sin[l], re[l] * sin[l] + im[l] * cos[l]);
            let (mr, mi) = (transfer[l] * looked.value[0][l], transfer[l] * looked.value[1][l]);
            *residual = (xr - mr) * (xr - mr) + (xi - mi) * (xi - mi);
            *cross = xr * mr + xi * mi;
            *model = mr * mr + mi * mi;
        }
    }
}

/// See [`super::simd::transfer`].
#[inline(always)]
pub fn transfer(ctf: &LatticeCtf, amplitude: f32, qx: &[f32], qy: &[f32], out: &mut [f32]) {
    for ((out, &qx), &qy) in out.iter_mut().zip(qx).zip(qy) {
        *out = amplitude * ctf.value(qx.into(), qy.into());
    }
}

/// The two columns of a pose's rotation that span its slice.
#[inline(always)]
fn axes_of(pose: &PixelPose) -> [[f32; 3]; 2] {
    let m = pose.rotation.matrix();
    [0, 1].map(|column: usize| [0, 1, 2].map(|row: usize| m[row][column] as f32))
}

/// `a · b + c`, fused where the processor does so.
#[inline(always)]
pub fn multiply_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// `L` values of a list from `at` on, zeros where it ends.
#[inline(always)]
fn lanes_of<const L: usize>(list: &[f32], at: usize) -> [f32; L] {
    let mut out = [0f32; L];
    if let Some(full) = list.get(at..at + L) {
        out.copy_from_slice(full);
    } else {
        let rest = list.get(at..).unwrap_or(&[]);
        out[..rest.len()].copy_from_slice(rest);
    }
    out
}

/// `e^{2πi x}` for lanes of turns.
#[inline(always)]
fn cis<const L: usize, const FMA: bool>(turns: &[f32; L]) -> ([f32; L], [f32; L]) {
    /// Adding and taking away 1.5·2²³ rounds to a whole number.
    const ROUNDER: f32 = 12_582_912.0;
    let mut cos = [0f32; L];
    let mut sin = [0f32; L];
    for l in 0..L {
        let whole = (turns[l] + ROUNDER) - ROUNDER;
        // half the angle lies in ±π/2, where the Taylor series to x¹¹ and x¹⁰ are good to 5e-7
        let a = PI * (turns[l] - whole);
        let a2 = a * a;
        let mut s = -1.0 / 39_916_800.0;
        for c in [1.0 / 362_880.0, -1.0 / 5040.0, 1.0 / 120.0, -1.0 / 6.0, 1.0] {
            s = multiply_add::<FMA>(s, a2, c);
        }
        let s = s * a;
        let mut c = -1.0 / 3_628_800.0;
        for k in [1.0 / 40_320.0, -1.0 / 720.0, 1.0 / 24.0, -0.5, 1.0] {
            c = multiply_add::<FMA>(c, a2, k);
        }
        cos[l] = 1.0 - 2.0 * s * s;
        sin[l] = 2.0 * s * c;
    }
    (cos, sin)
}

#[inline(always)]
fn add_lanes<const L: usize, const FMA: bool>(
    job: &NormalJob<'_>,
    first: usize,
    lane: usize,
    here: usize,
    looked: &Looked,
    sums: &mut Sums<L>,
) {
    let at = first + lane;
    let (qx, qy) = (lanes_of::<L>(&job.lattice.qx, at), lanes_of::<L>(&job.lattice.qy, at));
    let mut weight = lanes_of::<L>(job.weights, at);
    for l in 0..L {
        // lanes after the end of the block hold old values
        weight[l] = if lane + l < here { weight[l] } else { 0.0 };
    }
    let transfer = lanes_of::<L>(&job.image.transfer, at);
    let derivatives = derivatives::<L, FMA>(job, lane, looked, &qx, &qy, &transfer);
    let (residual, log_likelihood) = {
        let (re, im) = (lanes_of::<L>(&job.image.re, at), lanes_of::<L>(&job.image.im, at));
        let n = job.projector.grid().n() as f32;
        let [tx, ty] = job.pose.shift_px.map(|t| t as f32 / n);
        let mut turns = [0f32; L];
        for l in 0..L {
            turns[l] = multiply_add::<FMA>(qx[l], tx, qy[l] * ty);
        }
        let (cos, sin) = cis::<L, FMA>(&turns);
        let mut residual = [[0f32; L]; 2];
        let mut log_likelihood = [0f32; L];
        for l in 0..L {
            let (xr, xi) = (re[l] * cos[l] - im[l] * sin[l], re[l] * sin[l] + im[l] * cos[l]);
            let (mr, mi) = (transfer[l] * looked.value[0][lane + l], transfer[l] * looked.value[1][lane + l]);
            residual[0][l] = xr - mr;
            residual[1][l] = xi - mi;
            // 2 Re(X conj M) - |M|²
            log_likelihood[l] = weight[l] * (mr * (2.0 * xr - mr) + mi * (2.0 * xi - mi));
        }
        (residual, log_likelihood)
    };
    for l in 0..L {
        sums.log_likelihood[l] += log_likelihood[l];
    }
    let mut pair = 0;
    for a in 0..PARAMETERS {
        let mut weighted = [[0f32; L]; 2];
        for l in 0..L {
            weighted[0][l] = 2.0 * weight[l] * derivatives[a][0][l];
            weighted[1][l] = 2.0 * weight[l] * derivatives[a][1][l];
        }
        accumulate::<L, FMA>(&weighted, &residual, &mut sums.gradient[a]);
        for b in a..PARAMETERS {
            accumulate::<L, FMA>(&weighted, &derivatives[b], &mut sums.hessian[pair]);
            pair += 1;
        }
    }
}

/// Adds `Re(a conj b)`.
#[inline(always)]
fn accumulate<const L: usize, const FMA: bool>(a: &[[f32; L]; 2], b: &[[f32; L]; 2], sum: &mut [f32; L]) {
    for l in 0..L {
        sum[l] = multiply_add::<FMA>(a[0][l], b[0][l], multiply_add::<FMA>(a[1][l], b[1][l], sum[l]));
    }
}

/// Derivatives of the model `c P e^{-2πi q·t/N}`, moved back by t, by the five parameters.
#[inline(always)]
fn derivatives<const L: usize, const FMA: bool>(
    job: &NormalJob<'_>,
    lane: usize,
    looked: &Looked,
    qx: &[f32; L],
    qy: &[f32; L],
    transfer: &[f32; L],
) -> [[[f32; L]; 2]; PARAMETERS] {
    let m = job.pose.rotation.matrix().map(|row| row.map(|v| v as f32));
    let per_px = 2.0 * PI / job.projector.grid().n() as f32;
    let mut out = [[[0f32; L]; 2]; PARAMETERS];
    for part in 0..2 {
        for l in 0..L {
            let g = [0, 1, 2].map(|axis: usize| transfer[l] * looked.gradient[axis][part][lane + l]);
            let along = |column: usize| g[0] * m[0][column] + g[1] * m[1][column] + g[2] * m[2][column];
            let (gx, gy, gz) = (along(0), along(1), along(2));
            out[0][part][l] = gz * qy[l];
            out[1][part][l] = -gz * qx[l];
            out[2][part][l] = gy * qx[l] - gx * qy[l];
        }
    }
    for l in 0..L {
        let (mr, mi) = (transfer[l] * looked.value[0][lane + l], transfer[l] * looked.value[1][lane + l]);
        // -(2πi q/N) M
        out[3][0][l] = per_px * qx[l] * mi;
        out[3][1][l] = -per_px * qx[l] * mr;
        out[4][0][l] = per_px * qy[l] * mi;
        out[4][1][l] = -per_px * qy[l] * mr;
    }
    out
}

#[inline(always)]
fn add_block<const L: usize>(sums: &Sums<L>, total: &mut NormalEquations) {
    let folded = |lanes: &[f32; L]| lanes.iter().map(|&v| f64::from(v)).sum::<f64>();
    total.log_likelihood += folded(&sums.log_likelihood);
    let mut pair = 0;
    for a in 0..PARAMETERS {
        total.gradient[a] += folded(&sums.gradient[a]);
        for b in a..PARAMETERS {
            total.hessian[a][b] += folded(&sums.hessian[pair]);
            pair += 1;
        }
    }
}
