//! The radial basis: for each angular frequency the few combinations of rings in which the reference's views differ.
//!
//! For frequency m the modes of all views, weighted so that their squares are nats, span a space of low dimension. Its
//! principal axes are the eigenvectors of the *real part* of their covariance: a real basis is what lets the antipodal
//! view be the complex conjugate also after projection.

use crate::likelihood::spectrum_at;
use crate::ops::pose_search::Truncation;
use crate::polar::PolarGrid;
use nalgebra::{DMatrix, SymmetricEigen};
use rayon::prelude::*;

/// Lower bound on the mean squared CTF in the metric, so that whitening does not blow up where it vanishes.
const CTF_POWER_FLOOR: f64 = 0.1;

/// See the module.
#[derive(Debug, Clone)]
pub struct RadialBasis {
    /// First coefficient of each m; the rank at the end.
    offsets: Vec<usize>,
    /// Per m: `[ring][k]`.
    vectors: Vec<Vec<f32>>,
    /// Square root of the metric `W = <c²> 2π w r / s2` per ring.
    root_metric: Vec<f64>,
}

/// An eigenvector, before the cut.
struct Axis {
    m: usize,
    energy: f64,
    vector: Vec<f64>,
}

impl RadialBasis {
    /// The basis of views whose modes are `modes`: one list per direction, `[ring][m]` as [`PolarGrid`] counts.
    /// `None` if there is no energy at all.
    pub fn new(
        grid: &PolarGrid,
        modes: &[Vec<[f32; 2]>],
        ctf_power: &[f64],
        noise: &[f64],
        truncation: Truncation,
    ) -> Option<Self> {
        let metric: Vec<f64> = grid
            .rings
            .iter()
            .map(|ring| {
                let power = spectrum_at(ctf_power, ring.radius).max(CTF_POWER_FLOOR);
                power * std::f64::consts::TAU * ring.weight * ring.radius
                    / spectrum_at(noise, ring.radius).max(f64::MIN_POSITIVE)
            })
            .collect();
        let root_metric: Vec<f64> = metric.iter().map(|w| w.sqrt()).collect();
        let per_m: Vec<Vec<Axis>> = (0..grid.m_count())
            .into_par_iter()
            .map(|m| principal_axes(grid, modes, &root_metric, m))
            .collect();
        let mut axes: Vec<Axis> = per_m.into_iter().flatten().collect();
        let total: f64 = axes.iter().map(|axis| axis.energy).sum();
        let directional = total - mean_energy(grid, modes, &metric);
        if !total.is_finite() || total <= 0.0 {
            return None;
        }
        let allowed = truncation.nats.min(truncation.fraction * directional.max(1e-6 * total));
        axes.sort_by(|a, b| a.energy.total_cmp(&b.energy));
        let mut lost = 0.0;
        let dropped = axes
            .iter()
            .take_while(|axis| {
                lost += axis.energy.max(0.0);
                lost < allowed
            })
            .count();
        Some(Self::assemble(axes.split_off(dropped), grid.rings.len(), root_metric))
    }

    fn assemble(axes: Vec<Axis>, rings: usize, root_metric: Vec<f64>) -> Self {
        let m_count = axes.iter().map(|axis| axis.m + 1).max().unwrap_or(1);
        let mut per_m: Vec<Vec<Axis>> = (0..m_count).map(|_| Vec::new()).collect();
        // largest first within an m
        for axis in axes.into_iter().rev() {
            let m = axis.m;
            per_m[m].push(axis);
        }
        let mut offsets = vec![0];
        let mut vectors = Vec::with_capacity(m_count);
        for list in &per_m {
            offsets.push(offsets[offsets.len() - 1] + list.len());
            vectors
                .push((0..rings).flat_map(|j| list.iter().map(move |axis| axis.vector[j] as f32)).collect());
        }
        Self { offsets, vectors, root_metric }
    }

    /// Number of coefficients of a view.
    pub fn rank(&self) -> usize {
        self.offsets[self.offsets.len() - 1]
    }

    /// Number of angular frequencies with a coefficient, counting from 0.
    pub fn m_count(&self) -> usize {
        self.vectors.len()
    }

    /// First coefficient of each m, and the rank: `[m_count + 1]`.
    pub fn offsets(&self) -> &[usize] {
        &self.offsets
    }

    /// Square roots of the metric, per ring.
    pub fn root_metric(&self) -> &[f64] {
        &self.root_metric
    }

    /// Index of the first coefficient of m, and what a unit on `ring` adds to each.
    #[inline(always)]
    pub fn coefficients(&self, m: usize, ring: usize) -> (usize, &[f32]) {
        let count = self.offsets[m + 1] - self.offsets[m];
        (self.offsets[m], &self.vectors[m][ring * count..(ring + 1) * count])
    }

    /// The coefficients of a view with the given modes, `[rank]`.
    pub fn project(&self, grid: &PolarGrid, modes: &[[f32; 2]]) -> Vec<[f32; 2]> {
        let mut out = vec![[0f32; 2]; self.rank()];
        for (index, ring) in grid.rings.iter().enumerate() {
            let root = self.root_metric[index] as f32;
            for m in 0..self.m_count().min(ring.m_count()) {
                let mode = modes[ring.first_mode + m];
                let (first, coefficients) = self.coefficients(m, index);
                for (target, &u) in out[first..].iter_mut().zip(coefficients) {
                    target[0] += u * root * mode[0];
                    target[1] += u * root * mode[1];
                }
            }
        }
        out
    }
}

/// Eigenvectors of the covariance of frequency m over views, with their energies in nats (twice for m > 0, where the
/// negative frequency holds as much).
fn principal_axes(grid: &PolarGrid, modes: &[Vec<[f32; 2]>], root_metric: &[f64], m: usize) -> Vec<Axis> {
    let rings: Vec<usize> = (0..grid.rings.len()).filter(|&j| m < grid.rings[j].m_count()).collect();
    let size = rings.len();
    let mut covariance = DMatrix::<f64>::zeros(size, size);
    let mut values = vec![[0f64; 2]; size];
    for view in modes {
        for (value, &j) in values.iter_mut().zip(&rings) {
            *value = view[grid.rings[j].first_mode + m].map(|v| f64::from(v) * root_metric[j]);
        }
        for a in 0..size {
            for b in 0..=a {
                covariance[(a, b)] += values[a][0] * values[b][0] + values[a][1] * values[b][1];
            }
        }
    }
    for a in 0..size {
        for b in 0..a {
            covariance[(b, a)] = covariance[(a, b)];
        }
    }
    let multiplicity = if m == 0 { 1.0 } else { 2.0 };
    let eigen = SymmetricEigen::new(covariance / modes.len().max(1) as f64);
    (0..size)
        .map(|k| {
            let mut vector = vec![0.0; grid.rings.len()];
            for (index, &j) in rings.iter().enumerate() {
                vector[j] = eigen.eigenvectors[(index, k)];
            }
            Axis { m, energy: multiplicity * eigen.eigenvalues[k], vector }
        })
        .collect()
}

/// Energy in nats of the mean over views of frequency 0: what says nothing about direction.
fn mean_energy(grid: &PolarGrid, modes: &[Vec<[f32; 2]>], metric: &[f64]) -> f64 {
    let count = modes.len().max(1) as f64;
    grid.rings
        .iter()
        .zip(metric)
        .map(|(ring, w)| {
            let sum = modes.iter().fold([0f64; 2], |sum, view| {
                let value = view[ring.first_mode];
                [sum[0] + f64::from(value[0]), sum[1] + f64::from(value[1])]
            });
            w * (sum[0] * sum[0] + sum[1] * sum[1]) / (count * count)
        })
        .sum()
}
