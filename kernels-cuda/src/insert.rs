//! Family `insert`: the launch of `insert.cu`. Contract: [`vitreous_compute::ops::insert`].
//!
//! The result equals the CPU twin's bit for bit.

use crate::launch::{BLOCK, Launch, MOST_ROWS};
use ndarray::{Axis, Slice};
use num_complex::Complex32;
use std::ops::Range;
use vitreous_compute::ops::grid::PaddedGrid;
use vitreous_compute::ops::insert::{FixedPoint, SliceBatch};

/// PTX of the family.
pub const PTX: &str = include_str!("../ptx/insert.ptx");

/// Name of the kernel.
pub const KERNEL: &str = "insert_slices";

/// Scalars of the kernel; the same struct stands in `insert.cu`.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C)]
pub struct InsertShape {
    /// Images in this launch.
    pub images: i32,
    /// Box edge, pixels.
    pub n: i32,
    /// Grid steps from the origin to the last point.
    pub reach: i32,
    /// Fixed-point steps per unit of the numerator.
    pub numerator_steps: f32,
    /// Fixed-point steps per unit of the weight.
    pub weight_steps: f32,
}

/// The arguments of one launch, in host memory. Arrays are contiguous.
#[derive(Debug, Clone)]
pub struct InsertArguments {
    /// `[images, n, n/2 + 1]`.
    pub numerator: Vec<Complex32>,
    /// `[images, n, n/2 + 1]`.
    pub weight: Vec<f32>,
    /// `[images, 9]`: the image's x, then y axis in the volume, grid steps per Fourier pixel, then the way of the bend, grid
    /// steps per Fourier pixel².
    pub axes: Vec<f32>,
    /// `[n]`: coefficients of a row within the radius.
    pub row_ends: Vec<i32>,
    /// Scalars.
    pub shape: InsertShape,
    /// Geometry.
    pub launch: Launch,
}

/// The images of a batch, in runs that one launch can take.
pub fn runs(batch: &SliceBatch<'_>, most: usize) -> impl Iterator<Item = Range<usize>> {
    let (total, most) = (batch.rotations.len(), most.clamp(1, MOST_ROWS));
    (0..total).step_by(most).map(move |first| first..(first + most).min(total))
}

/// Arguments for the images `run` of a batch that was checked ([`SliceBatch::check`]); `None` if there is nothing to do.
pub fn arguments(
    batch: &SliceBatch<'_>,
    run: Range<usize>,
    grid: &PaddedGrid,
    scale: &FixedPoint,
) -> Option<InsertArguments> {
    let n = grid.n();
    let images = run.len();
    if images == 0 || n == 0 {
        return None;
    }
    let pixels = n * (n / 2 + 1);
    let axes_of = |image: usize| grid.slice_axes(batch.rotations[image], batch.bend(image)).concat();
    let axes = run.clone().flat_map(axes_of).collect();
    Some(InsertArguments {
        numerator: batch.numerator.slice_axis(Axis(0), Slice::from(run.clone())).iter().copied().collect(),
        weight: batch.weight.slice_axis(Axis(0), Slice::from(run)).iter().copied().collect(),
        axes,
        row_ends: batch.row_ends(grid).into_iter().map(|end| end as i32).collect(),
        shape: InsertShape {
            images: images as i32,
            n: n as i32,
            reach: grid.reach() as i32,
            numerator_steps: scale.numerator_steps(),
            weight_steps: scale.weight_steps(),
        },
        launch: Launch {
            kernel: KERNEL,
            grid: [pixels.div_ceil(BLOCK as usize) as u32, images as u32, 1],
            block: [BLOCK, 1, 1],
        },
    })
}
