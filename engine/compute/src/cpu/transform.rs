//! CPU twin of family `transform`. Contract: [`crate::ops::transform`].

use crate::device::Cpu;
use crate::fourier::HalfImage;
use crate::ops::transform::{PhaseOrigin, Transform, TransformError, common_size};
use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;

impl Transform for Cpu {
    fn forward(
        &self,
        images: &[ArrayView2<'_, f32>],
        origin: PhaseOrigin,
    ) -> Result<Vec<HalfImage>, TransformError> {
        common_size(images.iter().map(ArrayView2::dim))?;
        Ok(images.par_iter().map(|image| forward_of(*image, origin)).collect())
    }

    fn inverse(&self, halves: &[HalfImage], origin: PhaseOrigin) -> Result<Vec<Array2<f32>>, TransformError> {
        common_size(halves.iter().map(|half| (half.ny(), half.nx())))?;
        Ok(halves.par_iter().map(|half| inverse_of(half, origin)).collect())
    }
}

/// The transform of one image.
pub fn forward_of(image: ArrayView2<'_, f32>, origin: PhaseOrigin) -> HalfImage {
    match origin {
        PhaseOrigin::Corner => HalfImage::of(image),
        PhaseOrigin::Centre => HalfImage::of_box(image),
    }
}

/// The image of one transform.
pub fn inverse_of(half: &HalfImage, origin: PhaseOrigin) -> Array2<f32> {
    match origin {
        PhaseOrigin::Corner => half.clone().into_pixels(),
        PhaseOrigin::Centre => half.clone().into_box(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parity;

    #[test]
    fn parity_on_the_cpu() {
        parity::assert_all(&parity::transform::run(&Cpu));
    }
}
