//! Family `tile_spectra`: power spectra of the half-overlapping tiles of a micrograph, by polar cell.
//!
//! # Contract
//! - Input: a micrograph `[height, width]` in any unit, [`Tiling`] (where tiles of `cut × cut` pixels lie, and the weights by
//!   which each is faded out at its edges), and [`SpectrumCells`], which say which coefficient belongs to which cell, of
//!   the central `tile` rows and columns of a tile's transform (`tile ≤ cut`).
//! - Output: of every tile, in the order of the tiling, the mean over each cell's coefficients of `|F|²`, F the
//!   unnormalised transform of the tile brought to mean 0 and variance 1 and multiplied by its weights; 0 where a cell has
//!   no coefficient. `None` for a flat tile: one whose variance is below 1e-12 of its squared mean, or 0.
//! - Determinism: bitwise, for any number of threads and whatever other tiles are in a batch.
//! - Allowed error against double precision: NMSE 1e-11 over a tile's cells, largest error 1e-5 of the largest cell.

use crate::device::Device;
use crate::spectrum_cells::SpectrumCells;
use ndarray::ArrayView2;

/// Variance of a tile, in squared means, below which it is flat: rounding of equal large values leaves a little.
pub const FLAT_VARIANCE: f64 = 1e-12;

/// Why there are no spectra.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TileSpectraError {
    /// The tiling is that of an image of another size.
    #[error("the tiles are those of an image of {tiled_y}×{tiled_x} px, this one has {found_y}×{found_x} px")]
    OtherImage {
        /// Rows of the tiling's image.
        tiled_y: usize,
        /// Columns of the tiling's image.
        tiled_x: usize,
        /// Rows of the image given.
        found_y: usize,
        /// Columns of the image given.
        found_x: usize,
    },
    /// The cells are those of larger tiles.
    #[error("tiles of {cut} px have no spectra of {tile} px")]
    LargerCells {
        /// Edge of the tiles.
        cut: usize,
        /// Edge of the spectra.
        tile: usize,
    },
}

/// Where the tiles of a micrograph lie, and how they are faded out.
#[derive(Debug, Clone, PartialEq)]
pub struct Tiling {
    height: usize,
    width: usize,
    cut: usize,
    corners: Vec<[usize; 2]>,
    window: Vec<f32>,
}

impl Tiling {
    /// The fewest tiles of `cut` pixels that cover an image of `height × width` pixels with at least half an overlap, each
    /// faded out over the part `fade` of its edge, against leakage along the axes. None if `cut` is 0 or the image smaller.
    pub fn half_overlapping(height: usize, width: usize, cut: usize, fade: f64) -> Self {
        let corners = if cut == 0 || height.min(width) < cut {
            Vec::new()
        } else {
            let columns = starts(width, cut);
            starts(height, cut).into_iter().flat_map(|y| columns.iter().map(move |&x| [x, y])).collect()
        };
        Self { height, width, cut, corners, window: window(cut, fade) }
    }

    /// Edge of a tile, pixels.
    pub fn cut(&self) -> usize {
        self.cut
    }

    /// First pixel (x, y) of each tile.
    pub fn corners(&self) -> &[[usize; 2]] {
        &self.corners
    }

    /// Weight by row and by column of a tile: a raised cosine at both ends, 1 between.
    pub fn window(&self) -> &[f32] {
        &self.window
    }

    /// Checks that the tiles lie within an image, and have the spectra of the cells.
    ///
    /// # Errors
    /// The conditions of [`TileSpectraError`].
    pub fn check(&self, pixels: &ArrayView2<'_, f32>, cells: &SpectrumCells) -> Result<(), TileSpectraError> {
        let (found_y, found_x) = pixels.dim();
        if (found_y, found_x) != (self.height, self.width) {
            let (tiled_y, tiled_x) = (self.height, self.width);
            return Err(TileSpectraError::OtherImage { tiled_y, tiled_x, found_y, found_x });
        }
        if cells.tile > self.cut {
            return Err(TileSpectraError::LargerCells { cut: self.cut, tile: cells.tile });
        }
        Ok(())
    }
}

/// First pixels of the fewest tiles that cover `length` with at least half an overlap.
fn starts(length: usize, tile: usize) -> Vec<usize> {
    let last = length - tile;
    let steps = (2 * last).div_ceil(tile);
    (0..=steps).map(|i| (i * last).checked_div(steps).unwrap_or(0)).collect()
}

/// Raised cosine at both ends, 1 between.
fn window(n: usize, fade: f64) -> Vec<f32> {
    let fade = (fade * n as f64).max(1.0);
    let weight = |i: usize| {
        let from_edge = (i.min(n - 1 - i) as f64 + 0.5) / fade;
        (0.5 - 0.5 * (std::f64::consts::PI * from_edge.min(1.0)).cos()) as f32
    };
    (0..n).map(weight).collect()
}

/// The family.
pub trait TileSpectra: Device {
    /// Mean power by cell of each tile; `None` for a flat one.
    ///
    /// # Errors
    /// As [`Tiling::check`].
    fn tile_spectra(
        &self,
        pixels: ArrayView2<'_, f32>,
        tiling: &Tiling,
        cells: &SpectrumCells,
    ) -> Result<Vec<Option<Vec<f32>>>, TileSpectraError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_the_image_and_overlap_by_half() {
        assert_eq!(starts(512, 512), [0]);
        assert_eq!(starts(1024, 512), [0, 256, 512]);
        assert_eq!(starts(1000, 512), [0, 244, 488]);
        let tiling = Tiling::half_overlapping(8, 12, 8, 0.1);
        assert_eq!(tiling.corners(), [[0, 0], [4, 0]]);
        assert!(Tiling::half_overlapping(7, 12, 8, 0.1).corners().is_empty());
    }
}
