//! Family `insert`: Fourier slices added into a padded grid (back-projection).
//!
//! # Contract
//! - Input: a [`SliceBatch`] of half images of a box of `n`: numerator `X_t c / σ²` (`X_t` the image with its particle
//!   back in the centre, `c` its CTF, `σ²` the variance `E|noise|²` of its complex coefficients) and weight `c² / σ²`,
//!   with the rotation of each. Unit and scale are the caller's; both share one.
//! - Output: on the grid of [`PaddedGrid`] the sums over all images and over both Friedel mates of every coefficient,
//!   spread over the eight neighbours of `R (qx, qy, b q²) · scale` with the weights of linear interpolation; b, the bend
//!   of a slice, is 0 for one that is flat, and that of the Ewald sphere for one that is not.
//! - Which coefficients: `0 ≤ |q| ≤ rmax` ([`PaddedGrid::radius`]); of the pairs within the column `qx = 0` the one
//!   with `qy > 0`. Of the coefficient at zero, its own mate, the real part counts once. Radii that would reach beyond the grid are
//!   left out, by the largest bend of the batch ([`SliceBatch::row_ends`]).
//! - Layout: fixed-point integers `[kz, ky, kx, 3]` (re, im, weight) in units of [`FixedPoint`]; only the mate with
//!   `kx ≥ 0` is stored, the plane `kx = 0` is completed by [`FixedGrid::to_sums`].
//! - Determinism: coordinates, weights and products are single-precision operations in a stated order without
//!   contraction, rounded to integers (to nearest, ties to even) before they are added; so the result is bitwise the
//!   same for any device, number of threads or ranks, and order of images.
//! - Allowed error against a double-precision sum: NMSE 1e-8, largest error 1e-3 of the largest sum (a coordinate is
//!   off by up to 3e-5 of a grid step at 256 steps from the origin).

use super::grid::PaddedGrid;
use crate::device::Device;
use ndarray::{Array3, ArrayView3, Axis};
use num_complex::Complex32;
use rayon::prelude::*;
use vitreous_model::pose::Rotation;

/// Largest single contribution in fixed point: it is rounded in f64 by adding 1.5·2⁵², exact below 2⁵¹.
pub const LARGEST_CONTRIBUTION: f64 = (1u64 << 50) as f64;

/// Largest sum in fixed point, a factor 2 below the end of i64.
const LARGEST_SUM: f64 = (1u64 << 62) as f64;

/// Why nothing was inserted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InsertError {
    /// Arrays of a batch do not agree.
    #[error("a batch of {rotations} rotations for boxes of {n} px has {what} of shape {found:?}")]
    Shape {
        /// Which array.
        what: &'static str,
        /// Its shape.
        found: [usize; 3],
        /// Rotations in the batch.
        rotations: usize,
        /// Box edge of the grid.
        n: usize,
    },
    /// A value is beyond what the fixed-point scale was made for, or not a number.
    #[error(
        "image {image} of the batch holds a {what} of {value:e}, but the sums were set up for at most {limit:e}; \
         leave the image out, or set the limit of FixedPoint higher"
    )]
    TooLarge {
        /// Image in the batch, from 0.
        image: usize,
        /// `numerator`, `weight` or `bend`.
        what: &'static str,
        /// The value found.
        value: f32,
        /// The largest allowed.
        limit: f64,
    },
    /// The device failed.
    #[error("the device could not insert: {0}")]
    Device(String),
}

/// Scale of the fixed-point sums: powers of two, so that scaling a float is exact.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FixedPoint {
    numerator: f32,
    weight: f32,
}

impl FixedPoint {
    /// For numerators of at most `largest_numerator` (each of re and im) and weights of at most `largest_weight`, and
    /// sums over at most `images` images of all ranks.
    ///
    /// The coefficients of an image lie at least a grid step apart, so it gives one grid point less than twice its
    /// largest value, and completing the plane `kx = 0` doubles that: a factor 4 keeps sums below 2⁶². For a million
    /// images a step is then 2⁻⁴⁰ of the largest value.
    /// Limits that are not positive and finite are taken as 1.
    pub fn new(largest_numerator: f64, largest_weight: f64, images: u64) -> Self {
        let step = |largest: f64| {
            let largest = if largest.is_finite() && largest > 0.0 { largest } else { 1.0 };
            let room = (LARGEST_SUM / (4.0 * images.max(1) as f64)).min(LARGEST_CONTRIBUTION);
            // the power of two at or below, within the exponents of f32
            (room / largest).log2().floor().clamp(-100.0, 100.0).exp2() as f32
        };
        Self { numerator: step(largest_numerator), weight: step(largest_weight) }
    }

    /// Steps per unit of the numerator.
    pub fn numerator_steps(&self) -> f32 {
        self.numerator
    }

    /// Steps per unit of the weight.
    pub fn weight_steps(&self) -> f32 {
        self.weight
    }

    /// Largest allowed numerator, per component.
    pub fn largest_numerator(&self) -> f64 {
        LARGEST_CONTRIBUTION / f64::from(self.numerator)
    }

    /// Largest allowed weight.
    pub fn largest_weight(&self) -> f64 {
        LARGEST_CONTRIBUTION / f64::from(self.weight)
    }
}

/// Slices to insert.
#[derive(Debug, Clone, Copy)]
pub struct SliceBatch<'a> {
    /// `X_t c / σ²`, `[images, n, n/2 + 1]`, corner layout, phases from the centre of the box.
    pub numerator: ArrayView3<'a, Complex32>,
    /// `c² / σ²`, the same shape, not negative.
    pub weight: ArrayView3<'a, f32>,
    /// Image frame to volume frame, one per image.
    pub rotations: &'a [Rotation],
    /// Bend of each slice, 1 / Fourier pixel: a coefficient at q lies at z = bend · q² of the image frame. Empty: all are flat.
    pub bends: &'a [f32],
    /// Largest radius, Fourier pixels.
    pub rmax: f64,
}

impl SliceBatch<'_> {
    /// Bend of the slice of an image.
    pub fn bend(&self, image: usize) -> f32 {
        self.bends.get(image).copied().unwrap_or(0.0)
    }

    /// For every row of a half image, how many of its first coefficients are inserted.
    pub fn row_ends(&self, grid: &PaddedGrid) -> Vec<usize> {
        grid.row_ends(self.radius(grid))
    }

    /// The largest radius inserted, Fourier pixels: a bent slice reaches further from the origin than a flat one.
    pub fn radius(&self, grid: &PaddedGrid) -> f64 {
        let bend = self.bends.iter().fold(0.0, |most: f64, &bend| most.max(f64::from(bend).abs()));
        let reach = grid.radius(f64::INFINITY);
        // at a radius below reach / √(1 + (b reach)²) the point is nearer than reach; the last part for rounding
        let flat = if bend > 0.0 { (1.0 - 1e-6) * reach / 1f64.hypot(bend * reach) } else { reach };
        self.rmax.min(flat)
    }

    /// Checks shapes, and that every value fits the scale and is a number.
    ///
    /// # Errors
    /// The first that does not.
    pub fn check(&self, grid: &PaddedGrid, scale: &FixedPoint) -> Result<(), InsertError> {
        let n = grid.n();
        let shape = (self.rotations.len(), n, n / 2 + 1);
        if !self.bends.is_empty() && self.bends.len() != self.rotations.len() {
            let rotations = self.rotations.len();
            return Err(InsertError::Shape { what: "bends", found: [self.bends.len(), 1, 1], rotations, n });
        }
        if let Some((image, &value)) =
            self.bends.iter().enumerate().find(|(_, bend)| !(-1.0..=1.0).contains(*bend))
        {
            return Err(InsertError::TooLarge { image, what: "bend", value, limit: 1.0 });
        }
        for (what, found) in [("numerators", self.numerator.dim()), ("weights", self.weight.dim())] {
            if found != shape {
                let (a, b, c) = found;
                let rotations = self.rotations.len();
                return Err(InsertError::Shape { what, found: [a, b, c], rotations, n });
            }
        }
        for image in 0..self.rotations.len() {
            let components = self.numerator.index_axis(Axis(0), image);
            let limit = scale.largest_numerator();
            if let Some(value) = first_over(components.iter().flat_map(|v| [v.re, v.im]), -limit, limit) {
                return Err(InsertError::TooLarge { image, what: "numerator", value, limit });
            }
            let limit = scale.largest_weight();
            if let Some(value) =
                first_over(self.weight.index_axis(Axis(0), image).iter().copied(), 0.0, limit)
            {
                return Err(InsertError::TooLarge { image, what: "weight", value, limit });
            }
        }
        Ok(())
    }
}

/// The first value that is not within `low ..= high` (NaN never is).
fn first_over(mut values: impl Iterator<Item = f32>, low: f64, high: f64) -> Option<f32> {
    let (low, high) = (low as f32, high as f32);
    values.find(|value| !(low..=high).contains(value))
}

/// Fixed-point sums on the host.
#[derive(Debug, Clone, PartialEq)]
pub struct FixedGrid {
    grid: PaddedGrid,
    scale: FixedPoint,
    data: Vec<i64>,
}

impl FixedGrid {
    /// All zero.
    pub fn zeros(grid: PaddedGrid, scale: FixedPoint) -> Self {
        Self { grid, scale, data: vec![0; 3 * grid.len()] }
    }

    /// From integers in the layout of the family; `None` if their number does not belong to the grid.
    pub fn from_data(grid: PaddedGrid, scale: FixedPoint, data: Vec<i64>) -> Option<Self> {
        (data.len() == 3 * grid.len()).then_some(Self { grid, scale, data })
    }

    /// The grid.
    pub fn grid(&self) -> &PaddedGrid {
        &self.grid
    }

    /// The scale.
    pub fn scale(&self) -> &FixedPoint {
        &self.scale
    }

    /// The integers, `[kz, ky, kx, 3]`: for checkpoints, and for summing over ranks
    /// ([`crate::comm::Comm::sum_in_place_i64`]).
    pub fn data(&self) -> &[i64] {
        &self.data
    }

    /// The integers, to be changed.
    pub fn data_mut(&mut self) -> &mut [i64] {
        &mut self.data
    }

    /// The sums as floats, with the plane `kx = 0` completed by the mates of its other half.
    pub fn to_sums(&self) -> SliceSums {
        let (edge, _, width) = self.grid.dim();
        let unit =
            [self.scale.numerator, self.scale.numerator, self.scale.weight].map(|s| 1.0 / f64::from(s));
        let voxel = |z: usize, y: usize, x: usize| {
            let i = 3 * ((z * edge + y) * width + x);
            [self.data[i], self.data[i + 1], self.data[i + 2]]
        };
        let mut numerator = Array3::zeros((edge, edge, width));
        let mut weight = Array3::zeros((edge, edge, width));
        let planes = numerator.outer_iter_mut().into_par_iter().zip(weight.outer_iter_mut());
        planes.enumerate().for_each(|(z, (mut numerator, mut weight))| {
            for y in 0..edge {
                for x in 0..width {
                    let mut sum = voxel(z, y, x);
                    if x == 0 {
                        let mate = voxel(edge - 1 - z, edge - 1 - y, 0);
                        sum = [
                            sum[0].wrapping_add(mate[0]),
                            sum[1].wrapping_sub(mate[1]),
                            sum[2].wrapping_add(mate[2]),
                        ];
                    }
                    let [re, im, w] = [0, 1, 2].map(|i| (sum[i] as f64 * unit[i]) as f32);
                    numerator[[y, x]] = Complex32::new(re, im);
                    weight[[y, x]] = w;
                }
            }
        });
        SliceSums { grid: self.grid, numerator, weight }
    }
}

/// Sums of inserted slices: what a reconstruction is made from.
#[derive(Debug, Clone, PartialEq)]
pub struct SliceSums {
    /// The grid.
    pub grid: PaddedGrid,
    /// `Σ X_t c / σ²`, in the layout of [`PaddedGrid`].
    pub numerator: Array3<Complex32>,
    /// `Σ c² / σ²`.
    pub weight: Array3<f32>,
}

/// The family.
pub trait Insert: Device {
    /// Fixed-point sums on the device.
    type Accumulator: Send;

    /// Empty sums.
    ///
    /// # Errors
    /// The device lacks memory.
    fn accumulator(&self, grid: PaddedGrid, scale: FixedPoint) -> Result<Self::Accumulator, InsertError>;

    /// Adds a batch. On an error nothing of the batch was added.
    ///
    /// # Errors
    /// Shapes, values beyond the scale, or the device.
    fn insert(&self, into: &mut Self::Accumulator, batch: &SliceBatch<'_>) -> Result<(), InsertError>;

    /// Brings the sums to the host.
    ///
    /// # Errors
    /// The device failed.
    fn collect(&self, accumulator: Self::Accumulator) -> Result<FixedGrid, InsertError>;
}
