//! Defocus of a particle and astigmatism of a micrograph.
//!
//! With χ the argument of the CTF, `δ = π λ |k|² dz`, B the sum over a bin of |k|² of `2 X conj(P)/σ² exp(iχ)` (real part
//! of the first factor) and A that of `|P|²/σ² exp(2iχ)`, the log-likelihood is `Im Σ B exp(iδ) + ½ Re Σ A exp(2iδ)` plus
//! what does not depend on dz: a hundred bins in place of thousands of coefficients.

use super::compare::Compared;
use super::lattice::Lattice;
use num_complex::Complex64;
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// Offsets are looked for up to this many standard deviations of the prior.
const REACH_SD: f64 = 4.0;
/// Change of phase from one offset to the next at the largest |k|, rad; the likelihood has twice of it.
const STEP_PHASE: f64 = 0.5;
/// Steps of Newton's method at the best offset of the scan.
const NEWTON_STEPS: usize = 4;

/// The likelihood as a function of defocus, in bins of |k|².
#[derive(Debug, Clone)]
pub struct Quadratures {
    first: Vec<Complex64>,
    second: Vec<Complex64>,
}

/// The best defocus offset.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Offset {
    /// What is to be added to the defocus, Å.
    pub offset_a: f64,
    /// Standard error, Å.
    pub error_a: f64,
    /// Gain of log-likelihood over no offset, nats.
    pub gain: f64,
}

/// The largest offset that is looked for, Å.
pub fn largest_offset_a(sd_a: f64) -> f64 {
    REACH_SD * sd_a
}

impl Quadratures {
    /// Those of an image.
    pub fn of(lattice: &Lattice, compared: &Compared) -> Self {
        let mut new =
            Self { first: vec![Complex64::ZERO; lattice.bins], second: vec![Complex64::ZERO; lattice.bins] };
        let points = lattice.points.iter().zip(&compared.cross).zip(&compared.norm).zip(&compared.turn);
        for (((point, cross), norm), turn) in points {
            let bin = point.bin as usize;
            let (re, im) = (f64::from(turn.re), f64::from(turn.im));
            let (cross, norm) = (2.0 * f64::from(cross.re), f64::from(*norm));
            new.first[bin] += Complex64::new(cross * re, cross * im);
            new.second[bin] += Complex64::new(norm * (re * re - im * im), norm * 2.0 * re * im);
        }
        new
    }

    /// Log-likelihood of an offset of `offset_a` Å but for a constant, its slope and its curvature per Å.
    fn at(&self, phase_per_a: &[f64], offset_a: f64) -> [f64; 3] {
        let mut sums = [0.0; 3];
        for ((first, second), per_a) in self.first.iter().zip(&self.second).zip(phase_per_a) {
            let turn = Complex64::cis(per_a * offset_a);
            let (first, second) = (first * turn, second * turn * turn);
            sums[0] += first.im + 0.5 * second.re;
            sums[1] += per_a * (first.re - second.im);
            sums[2] -= per_a * per_a * (first.im + 2.0 * second.re);
        }
        sums
    }

    /// The offset of the largest posterior, for a prior of mean `mean_a` and standard deviation `sd_a` Å.
    pub fn best(&self, phase_per_a: &[f64], mean_a: f64, sd_a: f64) -> Offset {
        let prior = |offset_a: f64| -0.5 * ((offset_a - mean_a) / sd_a).powi(2);
        let largest = phase_per_a.last().copied().unwrap_or(1.0);
        let reach = largest_offset_a(sd_a);
        let steps = (reach * largest / STEP_PHASE).ceil().max(1.0);
        let step_a = reach / steps;
        let mut turned: Vec<(Complex64, Complex64)> =
            self.first.iter().copied().zip(self.second.iter().copied()).collect();
        let start = mean_a - reach;
        let turns: Vec<Complex64> = phase_per_a.iter().map(|per_a| Complex64::cis(per_a * step_a)).collect();
        for ((first, second), per_a) in turned.iter_mut().zip(phase_per_a) {
            let turn = Complex64::cis(per_a * start);
            (*first, *second) = (*first * turn, *second * turn * turn);
        }
        let (mut best, mut most) = (mean_a, f64::NEG_INFINITY);
        for index in 0..=(2.0 * steps) as usize {
            let offset_a = start + index as f64 * step_a;
            let mut sum = prior(offset_a);
            for ((first, second), turn) in turned.iter_mut().zip(&turns) {
                sum += first.im + 0.5 * second.re;
                (*first, *second) = (*first * turn, *second * turn * turn);
            }
            if sum > most {
                (best, most) = (offset_a, sum);
            }
        }
        self.refined(phase_per_a, [best, mean_a, sd_a], step_a)
    }

    fn refined(&self, phase_per_a: &[f64], [start, mean_a, sd_a]: [f64; 3], step_a: f64) -> Offset {
        let mut offset_a = start;
        let precision = sd_a.powi(-2);
        for _ in 0..NEWTON_STEPS {
            let [_, slope, curvature] = self.at(phase_per_a, offset_a);
            let (slope, curvature) = (slope - (offset_a - mean_a) * precision, curvature - precision);
            if curvature < 0.0 {
                offset_a = (offset_a - slope / curvature).clamp(start - step_a, start + step_a);
            }
        }
        let [value, _, curvature] = self.at(phase_per_a, offset_a);
        Offset {
            offset_a,
            error_a: (precision - curvature).max(precision).powf(-0.5),
            gain: value - self.at(phase_per_a, 0.0)[0],
        }
    }
}

/// What an image says of changes of its micrograph's astigmatism, with its own defocus free: gradient and (positive)
/// curvature of the log-likelihood for `a cos 2α + b sin 2α` added to the defocus in direction α, per Å.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct AstigmatismTerms {
    /// Gradient: of a, of b.
    pub gradient: [f64; 2],
    /// Curvature: of a, of a and b, of b.
    pub curvature: [f64; 3],
}

impl AstigmatismTerms {
    /// Those of an image whose CTF has the best defocus; `sd_a` is the prior of the defocus, 0 if it is not free.
    pub fn of(lattice: &Lattice, compared: &Compared, wavelength_a: f64, sd_a: f64) -> Self {
        let per_px2 = PI * wavelength_a * (lattice.n as f64 * lattice.pixel_a).powi(-2);
        let (mut g, mut h) = ([0.0; 3], [[0.0; 3]; 3]);
        let points = lattice.points.iter().zip(&compared.cross).zip(&compared.norm).zip(&compared.turn);
        for (((point, cross), norm), turn) in points {
            let r2 = f64::from(point.q[0] * point.q[0] + point.q[1] * point.q[1]);
            let per_a = per_px2 * r2;
            let basis = [per_a, per_a * f64::from(point.twice[0]), per_a * f64::from(point.twice[1])];
            let slope = f64::from(2.0 * turn.re * (cross.re - norm * turn.im));
            let curvature = f64::from(2.0 * norm * turn.re * turn.re);
            for (i, a) in basis.iter().enumerate() {
                g[i] += slope * a;
                (0..3).for_each(|j| h[i][j] += curvature * a * basis[j]);
            }
        }
        // the defocus goes along freely
        let own = h[0][0] + sd_a.powi(-2);
        let freed = |i: usize, j: usize| h[i][j] - h[i][0] * h[0][j] / own;
        Self {
            gradient: [1, 2].map(|i: usize| g[i] - h[i][0] * g[0] / own),
            curvature: [freed(1, 1), freed(1, 2), freed(2, 2)],
        }
    }

    /// Adds those of another image.
    pub fn add(&mut self, other: &Self) {
        (0..2).for_each(|i| self.gradient[i] += other.gradient[i]);
        (0..3).for_each(|i| self.curvature[i] += other.curvature[i]);
    }

    /// The best change `[a, b]`, Å, for a prior of `sd_a` Å.
    pub fn best_a(&self, sd_a: f64) -> [f64; 2] {
        let [aa, ab, bb] = self.curvature;
        let (aa, bb) = (aa + sd_a.powi(-2), bb + sd_a.powi(-2));
        let determinant = aa * bb - ab * ab;
        let [a, b] = self.gradient;
        [(bb * a - ab * b) / determinant, (aa * b - ab * a) / determinant]
    }
}
