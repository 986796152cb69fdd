//! Polar cells of the half plane of a power spectrum.

use crate::fourier::{friedel_count, radius_of};
use ndarray::Array2;
use num_complex::Complex32;
use std::f64::consts::PI;
use std::sync::{Arc, Mutex, PoisonError};
use vitreous_model::conventions::{shell_of, signed_frequency};

/// Sectors of the half circle: 3° each, in which the CTF of any sane astigmatism is constant.
pub const SECTORS: usize = 60;

/// Which pixel of a tile's spectrum lies in which cell: cells of one Fourier pixel times [`SECTORS`] sectors, index
/// `ring · SECTORS + sector`.
#[derive(Debug, Clone, PartialEq)]
pub struct SpectrumCells {
    /// Edge of the tile whose spectrum it is, pixels.
    pub tile: usize,
    /// Rings, from 0.
    pub rings: usize,
    /// Edge of a tile, Å: ring r has the frequency r / edge.
    pub edge_a: f64,
    /// Mean squared frequency of a cell's pixels, 1/Å².
    pub k2: Vec<f64>,
    /// Mean azimuth from the x axis, radians, in `[0, π)`.
    pub azimuth: Vec<f64>,
    /// Pixels of the half plane in the cell, each a value of its own.
    pub pixels: Vec<f64>,
    /// Cell of each pixel of the half transform `[tile, tile/2 + 1]`; [`SpectrumCells::len`] for those outside.
    pub cell_of: Vec<u32>,
}

/// The grid that was used last: micrographs of a set have the same.
static LAST: Mutex<Option<(u64, Arc<SpectrumCells>)>> = Mutex::new(None);

impl SpectrumCells {
    /// As [`SpectrumCells::new`]; made once for micrographs of one kind after the other.
    pub fn shared(tile: usize, pixel_size_a: f64) -> Arc<Self> {
        let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((bits, grid)) = &*last
            && (*bits, grid.tile) == (pixel_size_a.to_bits(), tile)
        {
            return Arc::clone(grid);
        }
        let grid = Arc::new(Self::new(tile, pixel_size_a));
        *last = Some((pixel_size_a.to_bits(), Arc::clone(&grid)));
        grid
    }

    /// The cells of spectra of tiles of `tile` pixels of `pixel_size_a`.
    pub fn new(tile: usize, pixel_size_a: f64) -> Self {
        let rings = tile / 2;
        let cells = rings * SECTORS;
        let edge_a = tile as f64 * pixel_size_a;
        let columns = tile / 2 + 1;
        let (mut k2, mut azimuth, mut pixels) = (vec![0.0; cells], vec![0.0; cells], vec![0.0; cells]);
        let mut cell_of = vec![cells as u32; tile * columns];
        for (y, x) in (0..tile).flat_map(|y| (0..columns).map(move |x| (y, x))) {
            let radius = radius_of(y, x, tile, tile);
            let ring = shell_of(radius);
            let qy = signed_frequency(y, tile);
            // of the columns that hold both members of a Friedel pair, half is enough
            let twin = friedel_count(x, tile) == 1 && qy <= 0;
            if ring >= rings || twin {
                continue;
            }
            let angle = (qy as f64).atan2(x as f64).rem_euclid(PI);
            let sector = ((angle / PI * SECTORS as f64) as usize).min(SECTORS - 1);
            let cell = ring * SECTORS + sector;
            k2[cell] += (radius / edge_a).powi(2);
            azimuth[cell] += angle;
            pixels[cell] += 1.0;
            cell_of[y * columns + x] = cell as u32;
        }
        for cell in 0..cells {
            let n = f64::max(pixels[cell], 1.0);
            k2[cell] /= n;
            azimuth[cell] /= n;
        }
        Self { tile, rings, edge_a, k2, azimuth, pixels, cell_of }
    }

    /// Number of cells.
    pub fn len(&self) -> usize {
        self.pixels.len()
    }

    /// Whether there are none: tiles of less than two pixels have none.
    pub fn is_empty(&self) -> bool {
        self.pixels.is_empty()
    }

    /// Mean power by cell of the central part of a half transform (corner layout, of at least `tile` rows); 0 where a
    /// cell has no pixel.
    pub fn power_of(&self, half: &Array2<Complex32>) -> Vec<f32> {
        let columns = self.tile / 2 + 1;
        let mut sums = vec![0.0f32; self.len() + 1];
        for (y, cells) in self.cell_of.chunks(columns).enumerate() {
            let source = signed_frequency(y, self.tile).rem_euclid(half.nrows() as isize) as usize;
            for (value, &cell) in half.row(source).iter().zip(cells) {
                sums[cell as usize] += value.norm_sqr();
            }
        }
        sums.truncate(self.len());
        sums.iter_mut().zip(&self.pixels).for_each(|(sum, n)| *sum /= f64::max(*n, 1.0) as f32);
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_independent_pixel_is_in_one_cell_at_its_place() {
        let grid = SpectrumCells::new(256, 1.5);
        let expected = (1..256)
            .flat_map(|y| (0..129).map(move |x| (signed_frequency(y, 256), x)))
            .chain((1..129).map(|x| (0, x)))
            .filter(|&(qy, x)| !(x == 0 && qy <= 0) && shell_of((qy as f64).hypot(f64::from(x))) < 128)
            .count();
        assert_eq!(grid.pixels.iter().sum::<f64>(), expected as f64);
        for ring in [10, 60, 120] {
            for sector in 0..SECTORS {
                let cell = ring * SECTORS + sector;
                if grid.pixels[cell] > 0.0 {
                    let k = grid.k2[cell].sqrt() * grid.edge_a;
                    assert!((k - ring as f64).abs() <= 0.5, "{k}");
                    let angle = grid.azimuth[cell] / PI * SECTORS as f64 - sector as f64;
                    assert!((-1e-9..1.0 + 1e-9).contains(&angle), "{angle}");
                }
            }
        }
    }

    #[test]
    fn the_power_of_a_larger_transform_is_that_of_its_central_part() {
        let grid = SpectrumCells::new(64, 1.5);
        let wide = Array2::from_shape_fn((96, 49), |(y, x)| {
            Complex32::new(signed_frequency(y, 96) as f32, 2.0 * x as f32)
        });
        let narrow = Array2::from_shape_fn((64, 33), |(y, x)| {
            Complex32::new(signed_frequency(y, 64) as f32, 2.0 * x as f32)
        });
        assert_eq!(grid.power_of(&wide), grid.power_of(&narrow));
    }
}
