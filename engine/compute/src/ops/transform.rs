//! Family `transform`: two-dimensional Fourier transforms of many real images of one size.
//!
//! # Contract
//! - Input: images `[ny, nx]` of one size, any unit, or their half transforms ([`HalfImage`], `[ny, nx/2 + 1]`).
//! - Output: [`Transform::forward`] gives `F(q) = Σ image(p) exp(-2πi q·(p - p₀)/n)`, unnormalised; p₀ is what
//!   [`PhaseOrigin`] says. [`Transform::inverse`] undoes it, with the factor `1/(ny nx)`. Conventions and layout are those
//!   of [`crate::fourier`].
//! - Edge rule: imaginary parts at the zero and (even nx) the Nyquist column, which a real image's transform of its rows
//!   cannot have once the columns are done, are dropped. An image without pixels has a transform of zeros.
//! - Determinism: bitwise, for any number of threads and whatever other images are in the batch.
//! - Allowed error against a double-precision sum: NMSE 1e-12, largest error 1e-5 of the largest value.

use crate::device::Device;
use crate::fourier::HalfImage;
use ndarray::{Array2, ArrayView2};
use vitreous_model::conventions::centre;

/// Pixel from which phases are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PhaseOrigin {
    /// Pixel (0, 0), as in [`HalfImage::of`]: micrographs, tiles.
    Corner,
    /// The centre pixel `(ny/2, nx/2)`, as in [`HalfImage::of_box`]: particle images.
    Centre,
}

impl PhaseOrigin {
    /// Row and column of an image of `ny × nx` pixels.
    pub fn pixel(self, ny: usize, nx: usize) -> [usize; 2] {
        match self {
            Self::Corner => [0, 0],
            Self::Centre => [centre(ny), centre(nx)],
        }
    }
}

/// Why nothing was transformed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TransformError {
    /// Images of a batch are not of one size.
    #[error(
        "image {image} of the batch has {found_y}×{found_x} px, the first {first_y}×{first_x}; transform images of each \
         size apart"
    )]
    Sizes {
        /// Number in the batch, from 0.
        image: usize,
        /// Its rows.
        found_y: usize,
        /// Its columns.
        found_x: usize,
        /// Rows of the first.
        first_y: usize,
        /// Columns of the first.
        first_x: usize,
    },
}

/// Rows and columns of all images, `[0, 0]` of none.
///
/// # Errors
/// They differ.
pub fn common_size(
    sizes: impl IntoIterator<Item = (usize, usize)>,
) -> Result<(usize, usize), TransformError> {
    let mut sizes = sizes.into_iter().enumerate();
    let Some((_, first)) = sizes.next() else { return Ok((0, 0)) };
    match sizes.find(|(_, size)| *size != first) {
        None => Ok(first),
        Some((image, (found_y, found_x))) => {
            Err(TransformError::Sizes { image, found_y, found_x, first_y: first.0, first_x: first.1 })
        }
    }
}

/// The family.
pub trait Transform: Device {
    /// The transforms of images `[ny, nx]`.
    ///
    /// # Errors
    /// They are not of one size.
    fn forward(
        &self,
        images: &[ArrayView2<'_, f32>],
        origin: PhaseOrigin,
    ) -> Result<Vec<HalfImage>, TransformError>;

    /// The images `[ny, nx]` of transforms.
    ///
    /// # Errors
    /// They are not of one size.
    fn inverse(&self, halves: &[HalfImage], origin: PhaseOrigin) -> Result<Vec<Array2<f32>>, TransformError>;
}
