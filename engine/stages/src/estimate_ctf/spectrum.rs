//! The power spectrum of a micrograph: the mean over half-overlapping tiles.

use super::Unfit;
use ndarray::{Array2, ArrayView2, Zip, s};
use rayon::prelude::*;
use vitreous_compute::fourier::{HalfImage, next_5_smooth};
use vitreous_model::conventions::signed_frequency;

/// Nyquist limit to which spectra of finely sampled micrographs are cropped; nothing beyond it is fitted.
const NYQUIST_A: f64 = 2.8;
/// Smallest edge of a spectrum, pixels.
const LEAST_TILE: usize = 64;
/// Part of a tile's edge over which it is faded out, against leakage along the axes.
const FADE: f64 = 0.1;
/// Tiles summed by one task; fixed, so that sums do not depend on the number of threads.
const CHUNK: usize = 8;

/// A power spectrum.
#[derive(Debug, Clone)]
pub(super) struct Spectrum {
    /// Mean `|F|²` of tiles with mean 0 and variance 1; shape `[tile, tile/2 + 1]`, corner layout.
    pub power: Array2<f64>,
    /// Edge of the full spectrum, pixels.
    pub tile: usize,
    /// Pixel size that belongs to `tile`: a Fourier pixel is `1 / (tile · pixel_size_a)`.
    pub pixel_size_a: f64,
}

impl Spectrum {
    /// Edge of a tile in Å.
    pub fn edge_a(&self) -> f64 {
        self.tile as f64 * self.pixel_size_a
    }
}

/// Averages the spectra of the tiles of a micrograph `[height, width]`.
///
/// `tile` is the edge of the result. Micrographs of finer pixels than half of [`NYQUIST_A`] are cut into larger tiles,
/// whose spectra are cropped; small micrographs into smaller ones.
///
/// # Errors
/// [`Unfit::TooSmall`], [`Unfit::Flat`].
pub(super) fn of_micrograph(
    pixels: ArrayView2<'_, f32>,
    pixel_size_a: f64,
    tile: usize,
) -> Result<Spectrum, Unfit> {
    let (height, width) = pixels.dim();
    let coarsening = (0.5 * NYQUIST_A / pixel_size_a).max(1.0);
    let least = (LEAST_TILE as f64 * coarsening).ceil() as usize;
    let wanted = even_5_smooth((tile as f64 * coarsening).round() as usize);
    let cut = wanted.min(largest_even_5_smooth(height.min(width)));
    if cut < least {
        return Err(Unfit::TooSmall { width, height, least });
    }
    let tile = if coarsening > 1.0 { 2 * (0.5 * cut as f64 / coarsening).round() as usize } else { cut };
    let corners: Vec<[usize; 2]> = starts(height, cut)
        .into_iter()
        .flat_map(|y| starts(width, cut).into_iter().map(move |x| [y, x]))
        .collect();
    let window = window(cut);
    let sums: Vec<(Array2<f64>, usize)> = corners
        .par_chunks(CHUNK)
        .map(|chunk| {
            let mut sum = Array2::zeros((tile, tile / 2 + 1));
            let mut count = 0;
            for &[y, x] in chunk {
                if let Some(cut_out) = windowed(pixels.slice(s![y..y + cut, x..x + cut]), &window) {
                    add_power(&mut sum, &HalfImage::of(cut_out.view()));
                    count += 1;
                }
            }
            (sum, count)
        })
        .collect();
    let mut power = Array2::zeros((tile, tile / 2 + 1));
    let mut count = 0;
    for (sum, n) in sums {
        power += &sum;
        count += n;
    }
    if count == 0 {
        return Err(Unfit::Flat);
    }
    power /= count as f64;
    Ok(Spectrum { power, tile, pixel_size_a: pixel_size_a * cut as f64 / tile as f64 })
}

fn even_5_smooth(n: usize) -> usize {
    2 * next_5_smooth(n.div_ceil(2))
}

/// The largest `2 · 5-smooth` number up to `n`, 0 if there is none.
fn largest_even_5_smooth(n: usize) -> usize {
    (1..=n / 2).rev().find(|&half| next_5_smooth(half) == half).map_or(0, |half| 2 * half)
}

/// First pixels of the fewest tiles that cover `length` with at least half an overlap.
fn starts(length: usize, tile: usize) -> Vec<usize> {
    let last = length - tile;
    let steps = (2 * last).div_ceil(tile);
    (0..=steps).map(|i| (i * last).checked_div(steps).unwrap_or(0)).collect()
}

/// Raised cosine at both ends, 1 between.
fn window(n: usize) -> Vec<f32> {
    let fade = (FADE * n as f64).max(1.0);
    let weight = |i: usize| {
        let from_edge = (i.min(n - 1 - i) as f64 + 0.5) / fade;
        (0.5 - 0.5 * (std::f64::consts::PI * from_edge.min(1.0)).cos()) as f32
    };
    (0..n).map(weight).collect()
}

/// The tile with mean 0 and variance 1, faded at its edges; `None` if it is flat.
fn windowed(tile: ArrayView2<'_, f32>, window: &[f32]) -> Option<Array2<f32>> {
    let n = tile.len() as f64;
    let mean = tile.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
    let variance = tile.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n;
    // rounding of equal large values leaves a little
    if variance <= 1e-12 * mean * mean || variance == 0.0 {
        return None;
    }
    let (mean, scale) = (mean as f32, (1.0 / variance.sqrt()) as f32);
    Some(Array2::from_shape_fn(tile.dim(), |(y, x)| (tile[[y, x]] - mean) * scale * window[y] * window[x]))
}

/// Adds `|F|²` of the central part of `half` that fits into `sum`.
fn add_power(sum: &mut Array2<f64>, half: &HalfImage) {
    let (tile, columns) = sum.dim();
    for (y, row) in sum.outer_iter_mut().enumerate() {
        let source = signed_frequency(y, tile).rem_euclid(half.ny() as isize) as usize;
        let source = half.data().slice(s![source, ..columns]);
        Zip::from(row).and(source).for_each(|out, value| *out += f64::from(value.norm_sqr()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_the_image_and_overlap_by_half() {
        assert_eq!(starts(512, 512), [0]);
        assert_eq!(starts(1024, 512), [0, 256, 512]);
        assert_eq!(starts(1000, 512), [0, 244, 488]);
        assert_eq!([largest_even_5_smooth(1023), largest_even_5_smooth(1)], [1000, 0]);
    }

    #[test]
    fn a_wave_stands_at_its_frequency_whatever_the_cropping() {
        // 10 Å along x, 20 Å along y; fine pixels are cropped to a Nyquist limit of 2.8 Å, coarse ones are not
        for pixel_size_a in [0.5, 0.9, 2.0] {
            let wave = |(y, x): (usize, usize)| {
                let phase = std::f64::consts::TAU * pixel_size_a * (x as f64 / 10.0 + y as f64 / 20.0);
                (100.0 + phase.cos()) as f32
            };
            let pixels = Array2::from_shape_fn((900, 1100), wave);
            let spectrum = of_micrograph(pixels.view(), pixel_size_a, 256).unwrap();
            assert!(
                spectrum.pixel_size_a >= pixel_size_a && 2.0 * spectrum.pixel_size_a < NYQUIST_A.max(4.01)
            );
            let (at, _) = spectrum.power.indexed_iter().max_by(|a, b| a.1.total_cmp(b.1)).unwrap();
            let per_a = 1.0 / spectrum.edge_a();
            let (qx, qy) = (at.1 as f64 * per_a, signed_frequency(at.0, spectrum.tile) as f64 * per_a);
            assert!(
                (qx - 0.1).abs() < 0.6 * per_a && (qy - 0.05).abs() < 0.6 * per_a,
                "{pixel_size_a}: {qx} {qy}"
            );
        }
    }

    #[test]
    fn unfit_images_are_refused() {
        let flat = Array2::from_elem((600, 600), 1234.5);
        assert_eq!(of_micrograph(flat.view(), 1.0, 512).unwrap_err(), Unfit::Flat);
        let small = Array2::from_elem((50, 600), 1.0);
        assert_eq!(
            of_micrograph(small.view(), 0.7, 512).unwrap_err(),
            Unfit::TooSmall { width: 600, height: 50, least: 128 }
        );
    }
}
