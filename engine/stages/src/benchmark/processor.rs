//! Arithmetic and Fourier transforms of a rank's processor.

use super::measured::{Measured, rates};
use super::simd::multiply_add;
use ndarray::Array2;
use rayon::prelude::*;
use vitreous_compute::fourier::HalfImage;

/// Operations in a gigaflop.
const GIGA: f64 = 1e9;
/// Edge of the images that are transformed, pixels: that of a particle of 400 Å at 0.8 Å.
const IMAGE_PX: usize = 512;
/// Images of one repeat on each thread.
const IMAGES: usize = 4;

/// All of it.
pub(super) fn measure(seconds: f64, threads: usize) -> Vec<Measured> {
    let one = rates(seconds, || multiply_add().0 / GIGA);
    let all = rates(seconds, || rayon::broadcast(|_| multiply_add().0 / GIGA).into_iter().sum());
    vec![
        Measured::rate("multiply-add, one thread", "GFLOP/s", one),
        Measured::rate("multiply-add, all threads", "GFLOP/s", all),
        Measured::rate(
            format!("Fourier transforms of {IMAGE_PX} × {IMAGE_PX} px, all threads"),
            "GFLOP/s",
            transforms(seconds, threads),
        ),
    ]
}

/// Operations of a real transform, 2.5 N log2 N, in 10⁹ a second.
fn transforms(seconds: f64, threads: usize) -> Vec<f64> {
    let image = Array2::from_shape_fn((IMAGE_PX, IMAGE_PX), |(y, x)| ((x * 31 + y * 17) % 101) as f32 - 50.0);
    let pixels = (IMAGE_PX * IMAGE_PX) as f64;
    let each = 2.5 * pixels * pixels.log2();
    let count = IMAGES * threads.max(1);
    rates(seconds, || {
        (0..count).into_par_iter().for_each(|_| {
            std::hint::black_box(HalfImage::of_box(image.view()));
        });
        count as f64 * each / GIGA
    })
}
