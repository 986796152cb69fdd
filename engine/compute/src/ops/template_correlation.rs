//! Family `template_correlation`: at every place of a tile of a micrograph, the template that fits best.
//!
//! # Contract
//! - Input: [`Templates`], half transforms of templates on a tile of `n × n` pixels, each with its centre pixel at (0, 0) of
//!   the tile; and [`CorrelationTile`]s, filtered pixels of the same size, with a scale for each template. Units are the
//!   caller's.
//! - Output: for each of a tile's places p (a rectangle of pixels from [`Search::first`] on) the largest over all templates
//!   t of `scale_t Σ_x tile(x) t(x - p)`, cyclically, and which template gives it; of equal ones the first. Where no score
//!   is above `-∞` (not a number), it is `-∞`, and the template 0.
//! - Determinism: bitwise, for any number of threads and whatever other tiles are in a batch.
//! - Allowed error against double precision: scores 1e-5 of the largest score of all templates and places; the template
//!   is one whose score is as near to the best.

use crate::device::Device;
use ndarray::Array2;
use num_complex::Complex32;

/// Why nothing was correlated.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CorrelationError {
    /// Transforms do not have the size of a tile.
    #[error("{templates} templates on tiles of {tile} px have {expected} coefficients, these have {found}")]
    Templates {
        /// How many.
        templates: usize,
        /// Edge of a tile, pixels.
        tile: usize,
        /// Coefficients of as many transforms.
        expected: usize,
        /// Coefficients found.
        found: usize,
    },
    /// There is not one scale for each template.
    #[error("{templates} templates need as many scales, not {scales}")]
    Scales {
        /// How many templates.
        templates: usize,
        /// How many scales.
        scales: usize,
    },
    /// A tile has another size than the templates', or places beyond its edge.
    #[error(
        "tile {index} has {height}×{width} px and places from {first:?} on, {size:?} of them; templates are on tiles of \
         {tile} px"
    )]
    Tile {
        /// Number of the tile, from 0.
        index: usize,
        /// Its rows.
        height: usize,
        /// Its columns.
        width: usize,
        /// First place (row, column).
        first: [usize; 2],
        /// Rows and columns of places.
        size: [usize; 2],
        /// Edge of the templates' tiles.
        tile: usize,
    },
}

/// Half transforms of templates on a tile.
#[derive(Debug, Clone, PartialEq)]
pub struct Templates {
    tile: usize,
    count: usize,
    coefficients: Vec<Complex32>,
}

impl Templates {
    /// `count` transforms, one after the other: `[count, tile, tile/2 + 1]`, corner layout.
    ///
    /// # Errors
    /// There are not as many coefficients.
    pub fn new(tile: usize, count: usize, coefficients: Vec<Complex32>) -> Result<Self, CorrelationError> {
        let (expected, found) = (count * tile * (tile / 2 + 1), coefficients.len());
        if found != expected {
            return Err(CorrelationError::Templates { templates: count, tile, expected, found });
        }
        Ok(Self { tile, count, coefficients })
    }

    /// Edge of a tile, pixels.
    pub fn tile(&self) -> usize {
        self.tile
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Coefficients of one.
    pub fn coefficients_each(&self) -> usize {
        self.tile * (self.tile / 2 + 1)
    }

    /// All coefficients, `[count, tile, tile/2 + 1]`.
    pub fn coefficients(&self) -> &[Complex32] {
        &self.coefficients
    }

    /// One transform, `[tile, tile/2 + 1]`.
    pub fn transform(&self, index: usize) -> &[Complex32] {
        let each = self.coefficients_each();
        &self.coefficients[index * each..(index + 1) * each]
    }
}

/// A part of a micrograph to be searched.
#[derive(Debug, Clone, PartialEq)]
pub struct CorrelationTile {
    /// Filtered pixels, `[n, n]`.
    pub pixels: Array2<f32>,
    /// Rows and columns of its places.
    pub size: [usize; 2],
}

/// What all tiles of a search share.
#[derive(Debug, Clone, Copy)]
pub struct Search<'a> {
    /// First place (row, column) of a tile.
    pub first: [usize; 2],
    /// By template: what its scores are multiplied with.
    pub scales: &'a [f32],
}

impl Search<'_> {
    /// Checks tiles and scales against the templates.
    ///
    /// # Errors
    /// The conditions of [`CorrelationError`].
    pub fn check(&self, templates: &Templates, tiles: &[CorrelationTile]) -> Result<(), CorrelationError> {
        if self.scales.len() != templates.len() {
            return Err(CorrelationError::Scales { templates: templates.len(), scales: self.scales.len() });
        }
        let tile = templates.tile();
        let fits = |one: &CorrelationTile| {
            let places = one.size.contains(&0) || (0..2).all(|i| self.first[i] + one.size[i] <= tile);
            one.pixels.dim() == (tile, tile) && places
        };
        match tiles.iter().position(|one| !fits(one)) {
            None => Ok(()),
            Some(index) => {
                let (height, width) = tiles[index].pixels.dim();
                let (first, size) = (self.first, tiles[index].size);
                Err(CorrelationError::Tile { index, height, width, first, size, tile })
            }
        }
    }
}

/// The best of all templates at every place of a tile.
#[derive(Debug, Clone, PartialEq)]
pub struct BestMatch {
    /// Its score.
    pub score: Array2<f32>,
    /// Its number.
    pub template: Array2<u32>,
}

impl BestMatch {
    /// Nothing found at so many places.
    pub fn none(size: [usize; 2]) -> Self {
        Self { score: Array2::from_elem(size, f32::NEG_INFINITY), template: Array2::zeros(size) }
    }
}

/// The family.
pub trait TemplateCorrelation: Device {
    /// Templates where the device can use them for one micrograph after the other.
    type Bank: Send + Sync;

    /// Makes templates ready.
    fn bank(&self, templates: Templates) -> Self::Bank;

    /// The best match at every place of each tile.
    ///
    /// # Errors
    /// As [`Search::check`].
    fn best_matches(
        &self,
        bank: &Self::Bank,
        tiles: &[CorrelationTile],
        search: Search<'_>,
    ) -> Result<Vec<BestMatch>, CorrelationError>;
}
