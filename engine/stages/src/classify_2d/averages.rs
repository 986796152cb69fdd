//! From sums to class averages: how far two halves of a class agree, the Wiener filter that follows, and the image.

use ndarray::Array2;
use num_complex::{Complex32, Complex64};
use rayon::prelude::*;
use vitreous_compute::mask;
use vitreous_compute::ops::classify2d::{ClassSums, RingSums};
use vitreous_compute::polar::{ImageSampler, PolarGrid};
use vitreous_model::conventions::centre;

/// Part of a ring's mean weight added to each weight before halves are compared, so that a zero of the CTF that all
/// images share does not drown the rest in noise.
const COMPARISON_FLOOR: f64 = 0.05;

/// A class of this many particles trusts its own signal-to-noise as much as that of all classes together.
const OWN_COUNTS_FROM: f64 = 30.0;

/// Largest correlation that is believed.
const LARGEST_CORRELATION: f64 = 0.999;

/// Signal-to-noise of a ring where halves do not agree: it is then all but left out.
const LEAST_SSNR: f64 = 1e-4;

/// Detail is what is finer than one over this many of the diameter.
const DETAIL_FROM_DIAMETERS: f64 = 4.0;

/// Radius from which on a ring counts as detail, Fourier pixels.
pub fn detail_from(box_px: usize, diameter_px: f64) -> f64 {
    DETAIL_FROM_DIAMETERS * box_px as f64 / diameter_px
}

/// Width of the mask's edge, pixels.
pub const MASK_EDGE_PX: f64 = 4.0;

/// Density from which on a pixel counts towards the centre of mass, as a part of the largest.
const MASS_LEVEL: f64 = 0.2;

/// One class average.
#[derive(Debug, Clone)]
pub struct ClassImage {
    /// The average on the working box, masked.
    pub image: Array2<f32>,
    /// Fourier ring correlation of its halves, by ring from radius 1, smoothed over three.
    pub correlation: Vec<f64>,
    /// Spectral signal-to-noise of the whole average, by ring.
    pub ssnr: Vec<f64>,
    /// What a particle's own noise in the average adds to its likelihood by detail, nats.
    pub own_noise: f64,
    /// Sum of posterior shares.
    pub share: f64,
}

impl ClassImage {
    /// Radius of the last ring before the correlation falls under `threshold`, Fourier pixels; 0 if it never holds.
    pub fn resolved(&self, threshold: f64) -> f64 {
        self.correlation.iter().take_while(|&&c| c >= threshold).count() as f64
    }
}

/// What makes averages from sums.
pub struct Averager {
    grid: PolarGrid,
    sampler: ImageSampler,
    mask: Array2<f32>,
    radius_px: f64,
}

/// Agreement of the halves of one class, before it is judged.
struct Agreement {
    /// Re Σ A conj B, Σ|A|², Σ|B|² by ring.
    rings: Vec<[f64; 3]>,
    share: f64,
}

impl Averager {
    /// For the first `rings` rings of the layout's grid and a particle of `diameter_px`.
    pub fn new(sums: &ClassSums, rings: usize, diameter_px: f64) -> Self {
        let layout = &sums.layout().grid;
        let grid = PolarGrid {
            box_px: layout.box_px,
            rings: layout.rings[..rings.min(layout.rings.len())].to_vec(),
        };
        let n = grid.box_px;
        let radius_px = (0.5 * diameter_px).min(0.5 * n as f64 - MASK_EDGE_PX).max(1.0);
        Self {
            sampler: ImageSampler::new(&grid, grid.rings.len() as f64),
            mask: mask::disc(n, radius_px, MASK_EDGE_PX),
            grid,
            radius_px,
        }
    }

    /// The averages of all classes.
    pub fn averages(&self, sums: &ClassSums) -> Vec<ClassImage> {
        let classes = sums.layout().classes;
        let agreements: Vec<Agreement> =
            (0..classes).into_par_iter().map(|class| self.agreement(sums, class)).collect();
        let shared = pooled_ssnr(&agreements);
        agreements
            .par_iter()
            .enumerate()
            .map(|(class, own)| self.average(sums, class, own, &shared))
            .collect()
    }

    /// The average of one half of a class, filtered as the whole is.
    pub fn of_half(&self, sums: &ClassSums, class: usize, half: usize, like: &ClassImage) -> Array2<f32> {
        self.image(sums, class, Some(half), &like.ssnr)
    }

    fn agreement(&self, sums: &ClassSums, class: usize) -> Agreement {
        let share = sums.share(class, 0) + sums.share(class, 1);
        let of_ring = |ring: usize| {
            let [a, b] = [0, 1].map(|half| {
                let RingSums { numerator, weight } = sums.ring(class, Some(half), ring);
                let floor = COMPARISON_FLOOR * weight.iter().sum::<f64>() / weight.len() as f64;
                let value = move |(n, d): (Complex64, f64)| n / (d + floor).max(f64::MIN_POSITIVE);
                numerator.into_iter().zip(weight).map(value).collect::<Vec<_>>()
            });
            let terms = a.iter().zip(&b).map(|(a, b)| [(a * b.conj()).re, a.norm_sqr(), b.norm_sqr()]);
            terms.fold([0.0; 3], |sum, term| [0, 1, 2].map(|i| sum[i] + term[i]))
        };
        Agreement { rings: (0..self.grid.rings.len()).map(of_ring).collect(), share }
    }

    fn average(&self, sums: &ClassSums, class: usize, own: &Agreement, shared: &[f64]) -> ClassImage {
        let correlation = smoothed(&correlations(&own.rings));
        let trust = own.share / (own.share + OWN_COUNTS_FROM);
        let ssnr: Vec<f64> = correlation
            .iter()
            .zip(shared)
            .map(|(&c, &shared)| (trust * ssnr(c) + (1.0 - trust) * shared * own.share).max(LEAST_SSNR))
            .collect();
        ClassImage {
            image: self.image(sums, class, None, &ssnr),
            correlation,
            own_noise: self.own_noise(&ssnr, own.share, detail_from(self.grid.box_px, 2.0 * self.radius_px)),
            ssnr,
            share: own.share,
        }
    }

    /// Nats that a particle's own noise in the average adds to its likelihood beyond the radius `coarsest`:
    /// `(2w - w²)/n` per coefficient of an average of n particles filtered by w, and π r of them on a ring.
    fn own_noise(&self, ssnr: &[f64], share: f64, coarsest: f64) -> f64 {
        let fine = self.grid.rings.iter().zip(ssnr).filter(|(ring, _)| ring.radius >= coarsest);
        let sum: f64 = fine
            .map(|(ring, ssnr)| {
                let w = ssnr / (1.0 + ssnr);
                std::f64::consts::PI * ring.radius * (2.0 * w - w * w)
            })
            .sum();
        sum / share.max(1.0)
    }

    /// The image of a class or of its half, Wiener-filtered and masked; the background outside the mask is its zero.
    fn image(&self, sums: &ClassSums, class: usize, half: Option<usize>, ssnr: &[f64]) -> Array2<f32> {
        let mut samples = Vec::with_capacity(self.grid.samples());
        for (index, ssnr) in ssnr.iter().enumerate() {
            let RingSums { numerator, weight } = sums.ring(class, half, index);
            let mean = weight.iter().sum::<f64>() / weight.len() as f64;
            let root = sums.layout().root_noise(index);
            samples.extend(numerator.iter().zip(&weight).map(|(n, d)| {
                let filtered = d + mean / ssnr;
                // a class that nothing was added to shows nothing
                let value = if filtered > 0.0 { n * (root / filtered) } else { Complex64::ZERO };
                Complex32::new(value.re as f32, value.im as f32)
            }));
        }
        // the layout's rings have the samples of no shifts, which are the sampler's
        self.masked(self.sampler.image_of(&self.grid, &samples))
    }

    /// The image with its mean outside the mask taken off, inside the mask.
    pub fn masked(&self, image: Array2<f32>) -> Array2<f32> {
        let n = image.nrows();
        let c = centre(n) as f64;
        let radius = |y: usize, x: usize| (y as f64 - c).hypot(x as f64 - c);
        // the sampler's own mask fades near the edge of the box
        let ring = self.radius_px..(0.5 * n as f64 * 0.93).max(self.radius_px + 1.5);
        let outside: Vec<f32> = image
            .indexed_iter()
            .filter(|&((y, x), _)| ring.contains(&radius(y, x)))
            .map(|(_, &value)| value)
            .collect();
        let background = outside.iter().sum::<f32>() / outside.len().max(1) as f32;
        (image - background) * &self.mask
    }
}

/// `Re Σ A conj B / √(Σ|A|² Σ|B|²)`; 0 where there is nothing.
fn correlations(rings: &[[f64; 3]]) -> Vec<f64> {
    let one = |&[cross, a, b]: &[f64; 3]| if a * b > 0.0 { cross / (a * b).sqrt() } else { 0.0 };
    rings.iter().map(one).collect()
}

/// Weights 1, 2, 1 over neighbours.
fn smoothed(values: &[f64]) -> Vec<f64> {
    let at = |i: usize| values[i.min(values.len() - 1)];
    (0..values.len()).map(|i| 0.25 * at(i.saturating_sub(1)) + 0.5 * at(i) + 0.25 * at(i + 1)).collect()
}

/// Signal-to-noise of the average of two halves that correlate to `c`.
fn ssnr(c: f64) -> f64 {
    let c = c.clamp(0.0, LARGEST_CORRELATION);
    2.0 * c / (1.0 - c)
}

/// Signal-to-noise by ring per particle, of all classes together.
fn pooled_ssnr(agreements: &[Agreement]) -> Vec<f64> {
    let rings = agreements.first().map_or(0, |a| a.rings.len());
    let share: f64 = agreements.iter().map(|a| a.share).sum();
    let filled = agreements.iter().filter(|a| a.share >= 1.0).count().max(1) as f64;
    let mean_share = (share / filled).max(1.0);
    let pooled: Vec<[f64; 3]> = (0..rings)
        .map(|ring| {
            agreements.iter().filter(|a| a.share >= 1.0).fold([0.0; 3], |sum, a| {
                // each class by its particles: an average of few is mostly noise
                [0, 1, 2].map(|i| sum[i] + a.share * a.rings[ring][i])
            })
        })
        .collect();
    smoothed(&correlations(&pooled)).into_iter().map(|c| ssnr(c) / mean_share).collect()
}

/// The centre of mass of what stands out of an average, pixels from the centre of its box.
pub fn centre_of_mass(image: &Array2<f32>) -> [f64; 2] {
    let c = centre(image.nrows()) as f64;
    let level = MASS_LEVEL as f32 * image.iter().copied().fold(0.0, f32::max);
    let (mut mass, mut sum) = (0.0, [0.0; 2]);
    for ((y, x), &value) in image.indexed_iter().filter(|(_, value)| **value > level) {
        let value = f64::from(value);
        mass += value;
        sum[0] += value * (x as f64 - c);
        sum[1] += value * (y as f64 - c);
    }
    if mass > 0.0 { sum.map(|s| s / mass) } else { [0.0; 2] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use vitreous_compute::ops::classify2d::SumsLayout;

    #[test]
    fn a_class_without_particles_is_empty_and_not_nothing_at_all() {
        let layout = SumsLayout {
            classes: 2,
            grid: Arc::new(PolarGrid::of_rings(32, 8, 20.0, 0.0)),
            reference_noise: Arc::new(vec![4000.0; 17]),
        };
        let sums = ClassSums::zeros(layout);
        for class in Averager::new(&sums, 8, 20.0).averages(&sums) {
            assert!(class.image.iter().all(|&value| value == 0.0));
            assert!(class.correlation.iter().all(|&value| value == 0.0) && class.share == 0.0);
            assert_eq!((class.resolved(0.5), class.own_noise.is_finite()), (0.0, true));
        }
    }
}
