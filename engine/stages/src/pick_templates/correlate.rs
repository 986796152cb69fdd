//! How much every place of a micrograph looks like the best template.

use super::bank::Bank;
use crate::micrograph::median_of;
use crate::picking::binned::Binned;
use crate::picking::contamination::box_mean;
use ndarray::{Array2, s};
use vitreous_compute::fourier::{
    HalfImage, high_pass_weight, low_pass_weight, next_5_smooth, radius_of, shell_power,
};
use vitreous_compute::ops::template_correlation::{CorrelationTile, Search, TemplateCorrelation};
use vitreous_model::conventions::signed_frequency;
use vitreous_model::ctf::CtfParams;

/// Bins of spatial frequency from 0 to the corner, for sums over directions.
const BINS: usize = 512;
/// Largest frequency of an image, the corner of its transform, cycles per pixel.
const CORNER: f64 = std::f64::consts::FRAC_1_SQRT_2;
/// Shells on either side over which the power of a micrograph is smoothed.
const SMOOTHED: usize = 3;
/// Width of the edges of the band, as a part of the frequency.
const EDGE: f64 = 0.15;

/// The band of frequencies that counts, Å.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Band {
    pub high_pass_a: f64,
    pub low_pass_a: f64,
}

impl Band {
    /// Weight of frequency `u` (1/Å).
    fn weight(&self, u: f64) -> f64 {
        let (low, high) = (1.0 / self.high_pass_a, 1.0 / self.low_pass_a);
        low_pass_weight(u, high, EDGE * high) * high_pass_weight(u, low, EDGE * low)
    }
}

/// The best score of every place, in standard deviations of the noise, and the entry of the bank that gives it.
#[derive(Debug, Clone)]
pub(super) struct Best {
    pub score: Array2<f32>,
    pub entry: Array2<u32>,
}

/// A micrograph filtered so that its correlation with a template is that of the whitened two, margins all around.
struct Prepared {
    /// Whitened, times CTF and band once more; `[ny, nx]` with the margin.
    filtered: Array2<f32>,
    /// What `|T|²` counts in a template's norm, by bin of frequency.
    weight: Vec<f64>,
    /// Standard deviation of the whitened micrograph within a diameter, over the usual one; at least 1. `[height, width]`.
    roughness: Array2<f32>,
    margin: usize,
}

/// Normalised cross-correlation with every entry of `bank`, whose `templates` the device has.
///
/// The micrograph is whitened (divided by the root of its own power spectrum), which makes the correlation the best
/// linear detector in coloured noise; the template's contrast transfer is that of this micrograph. A score is
/// `Σ X T / |T|` of the whitened two over the local standard deviation, so it is 1 standard deviation of noise whatever
/// the template. Empty places are not raised: the local standard deviation counts from the usual one up.
pub(super) fn correlate<D: TemplateCorrelation>(
    device: &D,
    binned: &Binned,
    bank: &Bank,
    templates: &D::Bank,
    ctf: Option<&CtfParams>,
    band: Band,
    diameter_px: f64,
) -> Best {
    let prepared = prepare(binned, ctf, band, diameter_px, bank.box_px);
    let norms: Vec<f32> =
        bank.power.iter().map(|power| norm(power, &prepared.weight, bank.tile_px)).collect();
    let (height, width) = binned.image.dim();
    let step = bank.tile_px - bank.box_px;
    let origins: Vec<(usize, usize)> =
        (0..height).step_by(step).flat_map(|y| (0..width).step_by(step).map(move |x| (y, x))).collect();
    let tiles: Vec<CorrelationTile> = origins
        .iter()
        .map(|&(y, x)| CorrelationTile {
            pixels: tile_at(&prepared, bank, y, x),
            size: [step.min(height - y), step.min(width - x)],
        })
        .collect();
    let scales: Vec<f32> = bank.entries.iter().map(|entry| 1.0 / norms[entry.view as usize]).collect();
    let search = Search { first: [bank.box_px / 2; 2], scales: &scales };
    let matches = device.best_matches(templates, &tiles, search).expect("tiles should be those of the bank");
    let mut best = Best { score: Array2::zeros((height, width)), entry: Array2::zeros((height, width)) };
    for ((y, x), tile) in origins.into_iter().zip(matches) {
        let (h, w) = tile.score.dim();
        best.score.slice_mut(s![y..y + h, x..x + w]).assign(&tile.score);
        best.entry.slice_mut(s![y..y + h, x..x + w]).assign(&tile.template);
    }
    best.score.zip_mut_with(&prepared.roughness, |score, rough| *score /= rough);
    best
}

fn prepare(
    binned: &Binned,
    ctf: Option<&CtfParams>,
    band: Band,
    diameter_px: f64,
    margin: usize,
) -> Prepared {
    let (height, width) = binned.image.dim();
    let (ny, nx) = (next_5_smooth(height + 2 * margin), next_5_smooth(width + 2 * margin));
    let mut half = HalfImage::of(binned.mirrored(margin, ny, nx).view());
    let longest = ny.max(nx) as f64;
    let power = smoothed(&shell_power(&half));
    // a whitened micrograph without band has variance 1
    let points = (ny * nx) as f64;
    let power_of = |radius: f64| (power[(radius.round() as usize).min(power.len() - 1)] / points).max(1e-30);
    let frequency = |radius: f64| radius / longest;
    let mut whitened = half.clone();
    for ((y, x), value) in whitened.data_mut().indexed_iter_mut() {
        let radius = radius_of(y, x, ny, nx);
        *value *= (band.weight(frequency(radius) / binned.pixel_size_a) / power_of(radius).sqrt()) as f32;
    }
    let mut sums = vec![[0.0_f64; 2]; BINS];
    for ((y, x), value) in half.data_mut().indexed_iter_mut() {
        let radius = radius_of(y, x, ny, nx);
        let u = frequency(radius) / binned.pixel_size_a;
        let azimuth = (signed_frequency(y, ny) as f64 / ny as f64).atan2(x as f64 / nx as f64);
        let transfer = ctf.map_or(1.0, |ctf| ctf.value(u, azimuth));
        let filter = transfer * band.weight(u).powi(2) / power_of(radius);
        *value *= filter as f32;
        let bin = bin_of(frequency(radius));
        sums[bin][0] += filter * transfer;
        sums[bin][1] += 1.0;
    }
    let weight = sums.into_iter().map(|[sum, count]| if count > 0.0 { sum / count } else { 0.0 }).collect();
    let whitened = whitened.into_pixels();
    let inside = s![margin..margin + height, margin..margin + width];
    let squares = whitened.slice(inside).mapv(|v| v * v);
    let mut roughness = box_mean(&squares, diameter_px.round() as usize).mapv(|v| v.max(0.0).sqrt());
    let usual = median_of(&mut roughness.iter().copied().collect::<Vec<f32>>()).max(f32::MIN_POSITIVE);
    roughness.mapv_inplace(|v| (v / usual).max(1.0));
    Prepared { filtered: half.into_pixels(), weight, roughness, margin }
}

/// The tile whose first valid output is pixel (y, x) of the micrograph; 0 beyond the margin.
fn tile_at(prepared: &Prepared, bank: &Bank, y: usize, x: usize) -> Array2<f32> {
    let (ny, nx) = prepared.filtered.dim();
    let first = |at: usize| at + prepared.margin - bank.box_px / 2;
    let (top, left) = (first(y), first(x));
    let mut tile = Array2::zeros((bank.tile_px, bank.tile_px));
    let (rows, columns) = (bank.tile_px.min(ny - top), bank.tile_px.min(nx - left));
    tile.slice_mut(s![..rows, ..columns])
        .assign(&prepared.filtered.slice(s![top..top + rows, left..left + columns]));
    tile
}

/// `|T|` of a whitened template with its contrast transfer; `power` by radius on a tile of `n` pixels.
fn norm(power: &[f64], weight: &[f64], n: usize) -> f32 {
    let sum: f64 = power
        .iter()
        .enumerate()
        .map(|(radius, power)| power * weight[bin_of(radius as f64 / n as f64)])
        .sum();
    (sum.max(0.0).sqrt() / n as f64).max(f64::from(f32::MIN_POSITIVE)) as f32
}

/// The bin of a frequency, cycles per pixel.
fn bin_of(frequency: f64) -> usize {
    ((frequency / CORNER * BINS as f64) as usize).min(BINS - 1)
}

/// Means over neighbouring shells; the mean of the image (shell 0) counts nowhere.
fn smoothed(power: &[f64]) -> Vec<f64> {
    (0..power.len())
        .map(|i| {
            let from = i.saturating_sub(SMOOTHED).max(1).min(power.len() - 1);
            let to = (i + SMOOTHED + 1).min(power.len()).max(from + 1);
            power[from..to].iter().sum::<f64>() / (to - from) as f64
        })
        .collect()
}
