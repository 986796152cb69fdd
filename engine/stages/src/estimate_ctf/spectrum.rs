//! The power spectra of a micrograph's half-overlapping tiles, in polar cells.

use super::Unfit;
use ndarray::ArrayView2;
use std::sync::Arc;
use vitreous_compute::fourier::next_5_smooth;
use vitreous_compute::ops::tile_spectra::{self, Tiling};
use vitreous_compute::spectrum_cells::SpectrumCells;

/// Nyquist limit to which spectra of finely sampled micrographs are cropped; nothing beyond it is fitted.
const NYQUIST_A: f64 = 2.8;
/// Smallest edge of a spectrum, pixels.
const LEAST_TILE: usize = 64;
/// Part of a tile's edge over which it is faded out, against leakage along the axes.
const FADE: f64 = 0.1;

/// The power spectra of a micrograph's tiles.
#[derive(Debug, Clone)]
pub(super) struct TileSpectra {
    /// The cells.
    pub grid: Arc<SpectrumCells>,
    /// Tiles that are not flat.
    pub tiles: Vec<TilePower>,
    /// How many independent values a pixel of one tile's spectrum stands for: less than 1, for tiles overlap.
    pub samples: f64,
}

/// The power spectrum of one tile, of mean 0 and variance 1.
#[derive(Debug, Clone)]
pub(super) struct TilePower {
    /// Its middle, from the micrograph's middle, Å (x, y).
    pub centre_a: [f64; 2],
    /// Mean `|F|²` by cell.
    pub power: Vec<f32>,
}

/// The spectra of the tiles of a micrograph `[height, width]`.
///
/// `tile` is the edge of a spectrum. Micrographs of finer pixels than half of [`NYQUIST_A`] are cut into larger tiles,
/// whose spectra are cropped; small micrographs into smaller ones.
///
/// # Errors
/// [`Unfit::TooSmall`], [`Unfit::Flat`].
pub(super) fn of_micrograph<D: tile_spectra::TileSpectra>(
    device: &D,
    pixels: ArrayView2<'_, f32>,
    pixel_size_a: f64,
    tile: usize,
) -> Result<TileSpectra, Unfit> {
    let (height, width) = pixels.dim();
    let coarsening = (0.5 * NYQUIST_A / pixel_size_a).max(1.0);
    let least = (LEAST_TILE as f64 * coarsening).ceil() as usize;
    let wanted = even_5_smooth((tile as f64 * coarsening).round() as usize);
    let cut = wanted.min(largest_even_5_smooth(height.min(width)));
    if cut < least {
        return Err(Unfit::TooSmall { width, height, least });
    }
    let tile = if coarsening > 1.0 { 2 * (0.5 * cut as f64 / coarsening).round() as usize } else { cut };
    let grid = SpectrumCells::shared(tile, pixel_size_a * cut as f64 / tile as f64);
    let tiling = Tiling::half_overlapping(height, width, cut, FADE);
    let middle = [0.5 * (width - cut) as f64, 0.5 * (height - cut) as f64];
    let spectra =
        device.tile_spectra(pixels, &tiling, &grid).expect("the tiles should be those of the image");
    let tiles = tiling.corners().iter().zip(spectra).filter_map(|(&[x, y], power)| {
        let centre_a = [(x as f64 - middle[0]) * pixel_size_a, (y as f64 - middle[1]) * pixel_size_a];
        Some(TilePower { centre_a, power: power? })
    });
    let tiles: Vec<TilePower> = tiles.collect();
    if tiles.is_empty() {
        return Err(Unfit::Flat);
    }
    let samples = (height * width) as f64 / (cut * cut * tiling.corners().len()) as f64;
    Ok(TileSpectra { grid, tiles, samples: samples.min(1.0) })
}

impl TileSpectra {
    /// Mean power of all tiles by cell.
    pub fn mean(&self) -> Vec<f64> {
        let mut mean = vec![0.0; self.grid.len()];
        for tile in &self.tiles {
            mean.iter_mut().zip(&tile.power).for_each(|(sum, power)| *sum += f64::from(*power));
        }
        mean.iter_mut().for_each(|sum| *sum /= self.tiles.len() as f64);
        mean
    }
}

fn even_5_smooth(n: usize) -> usize {
    2 * next_5_smooth(n.div_ceil(2))
}

/// The largest `2 · 5-smooth` number up to `n`, 0 if there is none.
fn largest_even_5_smooth(n: usize) -> usize {
    (1..=n / 2).rev().find(|&half| next_5_smooth(half) == half).map_or(0, |half| 2 * half)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;
    use vitreous_compute::device::Cpu;

    #[test]
    fn tiles_have_edges_that_transform_fast() {
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
            let spectra = of_micrograph(&Cpu, pixels.view(), pixel_size_a, 256).unwrap();
            let grid = &spectra.grid;
            assert!(0.5 * grid.edge_a / grid.rings as f64 >= pixel_size_a);
            assert!(grid.edge_a / grid.rings as f64 <= NYQUIST_A.max(4.01));
            let mean = spectra.mean();
            let at = (0..mean.len()).max_by(|a, b| mean[*a].total_cmp(&mean[*b])).unwrap();
            let (k, azimuth) = (grid.k2[at].sqrt(), grid.azimuth[at]);
            assert!((k - 0.1f64.hypot(0.05)).abs() < 0.6 / grid.edge_a, "{pixel_size_a}: {k}");
            assert!((azimuth - 0.05f64.atan2(0.1)).abs() < 0.03, "{pixel_size_a}: {azimuth}");
        }
    }

    #[test]
    fn unfit_images_are_refused() {
        let flat = Array2::from_elem((600, 600), 1234.5);
        assert_eq!(of_micrograph(&Cpu, flat.view(), 1.0, 512).unwrap_err(), Unfit::Flat);
        let small = Array2::from_elem((50, 600), 1.0);
        assert_eq!(
            of_micrograph(&Cpu, small.view(), 0.7, 512).unwrap_err(),
            Unfit::TooSmall { width: 600, height: 50, least: 128 }
        );
    }
}
