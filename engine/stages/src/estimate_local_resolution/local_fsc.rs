//! FSC of two half maps in a window round every voxel, band by band.
//!
//! The FSC of a window (Cardone, Heymann & Steven 2013, J. Struct. Biol. 184:226) compares the halves' coefficients of one
//! shell. By Parseval's theorem the sums over a shell are sums over the window's voxels of the maps band-passed to it:
//! `FSC(x) = ⟨m a b⟩ / sqrt(⟨m a²⟩ ⟨m b²⟩)`, with a, b the band-passed halves, m the mask and ⟨⟩ the mean under a Gaussian
//! window about x. That is eight transforms a band for all voxels, instead of two small ones a voxel.

use ndarray::{Array3, ArrayView3, Zip};
use std::f64::consts::{LN_2, PI};
use vitreous_compute::fourier::{HalfVolume, shell_power_volume};

/// Full width at half maximum of a band's power, relative to its centre: the band-pass then smears the halves by about
/// two and a half wavelengths, less than the window does.
const BAND_WIDTH: f64 = 0.25;
/// Bands to a width: between them the FSC, which a band averages, is a line.
const BANDS_A_WIDTH: f64 = 2.0;
/// The highest band's centre over Nyquist's frequency: half its width then lies within the box's sphere.
const HIGHEST: f64 = 0.9;

/// Centres of the bands in Fourier pixels of a box of `n`, a constant factor apart, from `lowest` up.
pub(super) fn bands(n: usize, lowest: f64) -> Vec<f64> {
    let highest = HIGHEST * 0.5 * n as f64;
    let steps = ((highest / lowest).ln() / (BAND_WIDTH / BANDS_A_WIDTH).ln_1p()).ceil().max(1.0) as usize;
    let factor = (highest / lowest).powf(1.0 / steps as f64);
    (0..=steps).map(|step| lowest * factor.powi(step as i32)).collect()
}

/// Two halves of a map, prepared for bands.
pub(super) struct Pair<'a> {
    transforms: [HalfVolume; 2],
    /// What every shell is multiplied by, so that none outweighs others of its band.
    flat: Vec<f64>,
    mask: ArrayView3<'a, f32>,
}

impl<'a> Pair<'a> {
    /// Half maps and a mask (0 to 1), `[n, n, n]` all.
    pub fn new(halves: &[Array3<f32>; 2], mask: ArrayView3<'a, f32>) -> Self {
        let transforms = halves.each_ref().map(|half| HalfVolume::of_box(half.view()));
        let [one, two] = transforms.each_ref().map(shell_power_volume);
        // the number of coefficients grows with the square of the radius
        let flat = |(shell, (a, b)): (usize, (&f64, &f64))| {
            let total = (a + b) * (shell as f64).powi(2);
            if total > 0.0 { total.sqrt().recip() } else { 0.0 }
        };
        let flat = one.iter().zip(&two).enumerate().map(flat).collect();
        Self { transforms, flat, mask }
    }

    /// FSC in the window about every voxel, `[n, n, n]`, in the band about `radius` Fourier pixels. `window` is the full
    /// width at half maximum of the window in wavelengths. 0 where the mask leaves nothing.
    pub fn fsc(&self, radius: f64, window: f64) -> Array3<f32> {
        let n = self.mask.dim().0;
        let [a, b] = self.transforms.each_ref().map(|transform| {
            let mut band = transform.clone();
            band.weigh(|r| band_weight(r, radius) * at(&self.flat, r));
            band.into_box()
        });
        // exp(-x²/2s²) is half at x = s sqrt(2 ln 2)
        let deviation = window * n as f64 / radius / (8.0 * LN_2).sqrt();
        let mean = |product: Array3<f32>| {
            let mut half = HalfVolume::of(product.view());
            half.weigh(|r| (-2.0 * (PI * deviation * r / n as f64).powi(2)).exp());
            half.into_voxels()
        };
        let mut cross = mean(&a * &b * self.mask);
        let one = mean(&a * &a * self.mask);
        let two = mean(&b * &b * self.mask);
        // under this a mean is rounding of the transforms
        let least = 1e-5 * one.iter().chain(&two).copied().fold(0f32, f32::max);
        Zip::from(&mut cross).and(&one).and(&two).par_for_each(|value, &one, &two| {
            *value = if one > least && two > least { *value / (one * two).sqrt() } else { 0.0 };
        });
        cross
    }
}

/// Amplitude of the band about `centre` at radius `r`: a Gaussian of ln r.
fn band_weight(r: f64, centre: f64) -> f64 {
    if r <= 0.0 {
        return 0.0;
    }
    // power is half at the factor 1 ± BAND_WIDTH/2, so amplitude is sqrt(1/2) there
    let from_centre = (r / centre).ln() / (0.5 * BAND_WIDTH).ln_1p();
    (-0.5 * LN_2 * from_centre * from_centre).exp()
}

/// A list by shell at the shell of radius `r`; 0 beyond.
fn at(by_shell: &[f64], r: f64) -> f64 {
    by_shell.get(r.round() as usize).copied().unwrap_or(0.0)
}

/// Where curves that are told point by point first fall under a threshold, voxel by voxel.
pub(super) struct Crossings {
    threshold: f32,
    /// Fourier radius of the crossing; infinite where there was none yet.
    radius: Array3<f32>,
    /// The last point.
    last: Option<(f64, Array3<f32>)>,
}

impl Crossings {
    /// Before the first point; `inside` says which voxels are asked for.
    pub fn new(threshold: f64, inside: &Array3<bool>) -> Self {
        let radius = inside.mapv(|is_inside| if is_inside { f32::INFINITY } else { 0.0 });
        Self { threshold: threshold as f32, radius, last: None }
    }

    /// The curves at the next Fourier radius, larger than the last one. Between points they are lines over the logarithm of
    /// the radius. Returns whether a curve has yet to cross.
    pub fn add(&mut self, radius: f64, values: Array3<f32>) -> bool {
        let threshold = self.threshold;
        match &self.last {
            None => Zip::from(&mut self.radius).and(&values).par_for_each(|found, &value| {
                if found.is_infinite() && value < threshold {
                    *found = radius as f32;
                }
            }),
            Some((last_radius, last)) => {
                let step = (radius / last_radius).ln();
                Zip::from(&mut self.radius).and(last).and(&values).par_for_each(|found, &before, &value| {
                    if found.is_infinite() && value < threshold {
                        let part = f64::from((before - threshold) / (before - value));
                        *found = (last_radius * (part * step).exp()) as f32;
                    }
                });
            }
        }
        self.last = Some((radius, values));
        self.radius.iter().any(|found| found.is_infinite())
    }

    /// Fourier radii of the crossings; `highest` where there was none; 0 where none was asked for.
    pub fn finish(self, highest: f64) -> Array3<f32> {
        self.radius.mapv_into(|found| if found.is_infinite() { highest as f32 } else { found })
    }
}
