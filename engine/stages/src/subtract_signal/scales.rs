//! The scale of the map in each image: least squares over the band, drawn to the usual scale of the set by as much as noise
//! makes it unsure.

use serde::{Deserialize, Serialize};
use vitreous_compute::fourier::{HalfImage, friedel_count, radius_of};
use vitreous_model::conventions::shell_of;

/// Times that noise and usual scale are found from each other: the signal is a small part of an image's power.
const ROUNDS: usize = 5;

/// Sums of an image X and its model M (the projection of the whole structure times CTF) by shell, from shell 1 on: the mean
/// of an image says nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ImageSums {
    /// Place of the particle in the set.
    pub index: usize,
    /// `Σ Re(X conj M)`.
    cross: Vec<f64>,
    /// `Σ |M|²`.
    model: Vec<f64>,
    /// `Σ |X|²`.
    power: Vec<f64>,
    /// Coefficients.
    count: Vec<f64>,
}

impl ImageSums {
    /// Of transforms of one box, up to radius `band_px`.
    pub fn new(index: usize, image: &HalfImage, model: &HalfImage, band_px: f64) -> Self {
        let (ny, nx) = (image.ny(), image.nx());
        let shells = shell_of(band_px) + 1;
        let mut sums = vec![[0.0; 4]; shells];
        for (((y, x), value), projected) in image.data().indexed_iter().zip(model.data()) {
            let radius = radius_of(y, x, ny, nx);
            let shell = shell_of(radius);
            if radius > band_px || shell == 0 {
                continue;
            }
            let times = friedel_count(x, nx) as f64;
            let terms = [(value * projected.conj()).re, projected.norm_sqr(), value.norm_sqr(), 1.0];
            sums[shell].iter_mut().zip(terms).for_each(|(sum, term)| *sum += times * f64::from(term));
        }
        let list = |which: usize| sums[1..].iter().map(|shell| shell[which]).collect();
        Self { index, cross: list(0), model: list(1), power: list(2), count: list(3) }
    }

    /// `Σ cross/σ²` and `Σ model/σ²`.
    fn weighed(&self, noise: &[f64]) -> [f64; 2] {
        let over = |list: &[f64]| list.iter().zip(noise).map(|(value, noise)| value / noise).sum();
        [over(&self.cross), over(&self.model)]
    }
}

/// What a sample of a set's images says of scales.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scales {
    /// Variance of a coefficient of the noise by shell, from shell 1 on.
    noise: Vec<f64>,
    /// The usual scale.
    pub mean: f64,
    /// Standard deviation of the particles' true scales.
    pub sd: f64,
    /// How unsure the scale of one particle is by its own image alone, usually.
    pub error: f64,
}

impl Scales {
    /// From sums over some images; `None` where these do not have anything of the map.
    pub fn of(sample: &[ImageSums]) -> Option<Self> {
        let shells = sample.first()?.cross.len();
        let mean_over = |of: &dyn Fn(&ImageSums, usize) -> f64| -> Vec<f64> {
            let shell = |shell: usize| {
                let count: f64 = sample.iter().map(|sums| sums.count[shell]).sum();
                let total: f64 = sample.iter().map(|sums| of(sums, shell)).sum();
                (total / count.max(1.0)).max(f64::MIN_POSITIVE)
            };
            (0..shells).map(shell).collect()
        };
        // at first no scale is known; a map with more than the images have must not count as sure where they have nothing
        let total = |of: &dyn Fn(&ImageSums) -> f64| sample.iter().map(of).sum::<f64>();
        let power = total(&|sums| sums.power.iter().sum());
        let most = power / total(&|sums| sums.model.iter().sum()).max(f64::MIN_POSITIVE);
        let mut noise = mean_over(&|sums, shell| sums.power[shell] + most * sums.model[shell]);
        let mut mean = 0.0;
        for _ in 0..ROUNDS {
            let weighed = sample.iter().map(|sums| sums.weighed(&noise));
            let [cross, model] = weighed.fold([0.0; 2], |[a, b], [c, d]| [a + c, b + d]);
            mean = cross / model;
            if !(mean > 0.0 && mean.is_finite()) {
                return None;
            }
            noise = mean_over(&|sums, shell| {
                let (cross, model) = (sums.cross[shell], sums.model[shell]);
                (sums.power[shell] - 2.0 * mean * cross + mean * mean * model).max(1e-6 * sums.power[shell])
            });
        }
        // E (A/B - mean)² = sd² + 1/B, each particle weighing by B
        let (mut scatter, mut weight) = (0.0, 0.0);
        for sums in sample {
            let [cross, model] = sums.weighed(&noise);
            if model > 0.0 {
                scatter += model * (cross / model - mean).powi(2) - 1.0;
                weight += model;
            }
        }
        let usual = weight / sample.len() as f64;
        Some(Self { noise, mean, sd: (scatter / weight).max(0.0).sqrt(), error: usual.sqrt().recip() })
    }

    /// The scale of a particle: its own by least squares, `A/B` of variance `1/B`, and the usual one, each by its certainty.
    pub fn of_particle(&self, sums: &ImageSums) -> f64 {
        let [cross, model] = sums.weighed(&self.noise);
        let variance = self.sd * self.sd;
        (variance * cross + self.mean) / (variance * model + 1.0)
    }
}
