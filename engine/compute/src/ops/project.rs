//! Family `project`: slices through the transform of a volume (projection images in Fourier space).
//!
//! # Contract
//! - Input: a real cubic volume `[n, n, n]` (`z, y, x`), any unit. It is divided by the window of linear interpolation
//!   ([`PaddedGrid::window`]), padded with zeros, transformed with phases from the centre voxel, and interpolated
//!   linearly on the padded grid.
//! - Output: `P_R(q) = V̂(R (qx, qy, 0))` for `|q| ≤ rmax` ([`PaddedGrid::radius`]) as a half image `[n, n/2 + 1]`,
//!   phases from the centre of the box, unnormalised (it equals the transform of the sum of the rotated volume along
//!   z); zero at larger radii. The conventions are those of [`vitreous_model::conventions`].
//! - Edge rule: radii that would read beyond the padded grid are zero.
//! - Determinism: bitwise, for any number of threads.
//! - Allowed error against linear interpolation in f64: NMSE 1e-10, largest error 1e-4 of the largest coefficient
//!   (single-precision coordinates: 3e-5 of a grid step at 256 steps from the origin). Against the exact transform
//!   the rms error at padding 2 is about 1 % at half Nyquist for a particle that fills 0.56 of its box.

use super::grid::PaddedGrid;
use crate::device::Device;
use crate::fourier::HalfImage;
use ndarray::ArrayView3;
use vitreous_model::pose::Rotation;

/// Why there are no slices.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ProjectError {
    /// The volume is not a cube.
    #[error("a volume of {0}×{1}×{2} voxels is not cubic; pad or crop it first")]
    NotCubic(usize, usize, usize),
    /// The output is not of the volume's size.
    #[error("a slice of a box of {expected} px does not fit into an image of {found_y}×{found_x} px")]
    WrongSize {
        /// Box edge of the volume.
        expected: usize,
        /// Rows found.
        found_y: usize,
        /// Columns found.
        found_x: usize,
    },
    /// The device failed.
    #[error("the device could not project: {0}")]
    Device(String),
}

/// The family.
pub trait Project: Device {
    /// A volume prepared for slicing, on the device.
    type Slicer: Send + Sync;

    /// Prepares a cubic volume `[n, n, n]` for slices up to `rmax` Fourier pixels on a grid padded `pad` times.
    ///
    /// # Errors
    /// The volume is not cubic, or the device lacks memory.
    fn slicer(&self, volume: ArrayView3<'_, f32>, pad: f64, rmax: f64) -> Result<Self::Slicer, ProjectError>;

    /// The grid of a prepared volume.
    fn slicer_grid(&self, slicer: &Self::Slicer) -> PaddedGrid;

    /// One slice per rotation, up to `rmax` Fourier pixels.
    ///
    /// # Errors
    /// The device failed.
    fn slices(
        &self,
        slicer: &Self::Slicer,
        rotations: &[Rotation],
        rmax: f64,
    ) -> Result<Vec<HalfImage>, ProjectError>;
}
