//! Normalisation of a particle image by its background: what lies outside a circle round the particle.

use nalgebra::{Matrix3, Vector3};
use ndarray::Array2;
use vitreous_model::conventions::centre;

/// The background of boxes of one size, with what a fit of a plane to it needs.
#[derive(Debug, Clone)]
pub struct Background {
    n: usize,
    /// Which pixels `[n, n]` are background.
    is_background: Vec<bool>,
    count: usize,
    /// Inverse of the normal matrix of the plane `a x + b y + c`.
    inverse: Matrix3<f64>,
}

impl Background {
    /// The pixels of a box of edge `n` that are farther than `radius_px` from its centre pixel `n / 2`; `None` if
    /// they are too few to fit a plane to.
    pub fn outside(n: usize, radius_px: f64) -> Option<Self> {
        let outside = |i: usize| {
            let [x, y] = position(i, n);
            x * x + y * y > radius_px * radius_px
        };
        let is_background: Vec<bool> = (0..n * n).map(outside).collect();
        let mut normal = Matrix3::zeros();
        for i in (0..n * n).filter(|&i| is_background[i]) {
            let terms = terms(i, n);
            normal += terms * terms.transpose();
        }
        let count = is_background.iter().filter(|is| **is).count();
        let inverse = normal.try_inverse().filter(|_| count > 3)?;
        Some(Self { n, is_background, count, inverse })
    }

    /// Subtracts the plane that fits the background best and scales the image `[n, n]` so that the background has mean
    /// 0 and standard deviation 1; `sign` -1 inverts the contrast. Sums run in the order of pixels, in f64.
    /// `false`, and the image is useless, if the background is flat (a masked or saturated region).
    #[must_use]
    pub fn normalise(&self, image: &mut Array2<f32>, sign: f64) -> bool {
        let pixels = image.as_slice_mut().expect("a particle image should be contiguous");
        let mut moments = Vector3::zeros();
        for (i, &value) in pixels.iter().enumerate().filter(|(i, _)| self.is_background[*i]) {
            moments += terms(i, self.n) * f64::from(value);
        }
        let plane = self.inverse * moments;
        let mut squares = 0.0;
        for (i, value) in pixels.iter_mut().enumerate() {
            let flat = f64::from(*value) - plane.dot(&terms(i, self.n));
            *value = flat as f32;
            if self.is_background[i] {
                squares += flat * flat;
            }
        }
        let deviation = (squares / self.count as f64).sqrt();
        // rounding of a constant leaves some 1e-7 of the level; a true deviation is far above
        let level = plane[2].abs();
        if deviation.is_nan() || deviation <= 1e-6 * level || deviation == 0.0 {
            return false;
        }
        let scale = (sign / deviation) as f32;
        pixels.iter_mut().for_each(|value| *value *= scale);
        true
    }
}

/// Column and row of pixel `i` from the centre.
fn position(i: usize, n: usize) -> [f64; 2] {
    let from_centre = |k: usize| k as f64 - centre(n) as f64;
    [from_centre(i % n), from_centre(i / n)]
}

/// The terms of the plane at pixel `i`: x, y in box edges, 1.
fn terms(i: usize, n: usize) -> Vector3<f64> {
    let [x, y] = position(i, n);
    Vector3::new(x / n as f64, y / n as f64, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};

    /// Uniform noise on a steep plane with a dark disk in the middle.
    fn box_with_particle(n: usize, radius: f64) -> Array2<f32> {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(3);
        Array2::from_shape_fn((n, n), |(y, x)| {
            let [dx, dy] = position(y * n + x, n);
            let particle = if dx * dx + dy * dy <= radius * radius { -30.0 } else { 0.0 };
            1000.0 + 3.0 * x as f32 - 2.0 * y as f32 + particle + rng.random_range(-1.0..1.0)
        })
    }

    #[test]
    fn background_becomes_flat_with_mean_0_and_deviation_1() {
        for n in [32, 33] {
            let mut image = box_with_particle(n, 8.0);
            let background = Background::outside(n, 10.0).unwrap();
            assert!(background.normalise(&mut image, -1.0));
            let outside: Vec<f64> = image
                .iter()
                .zip(&background.is_background)
                .filter(|(_, is)| **is)
                .map(|(v, _)| f64::from(*v))
                .collect();
            let mean = outside.iter().sum::<f64>() / outside.len() as f64;
            let deviation =
                (outside.iter().map(|v| v * v).sum::<f64>() / outside.len() as f64 - mean * mean).sqrt();
            assert!(mean.abs() < 1e-4 && (deviation - 1.0).abs() < 1e-4, "{mean} {deviation}");
            // uniform noise of width 2 has deviation 1/√3; the disk was 30 below
            let middle = f64::from(image[[n / 2, n / 2]]);
            assert!((middle - 30.0 * 3f64.sqrt()).abs() < 3.0, "{middle}");
        }
    }

    #[test]
    fn flat_boxes_and_circles_that_fill_the_box_are_refused() {
        let background = Background::outside(16, 6.0).unwrap();
        assert!(!background.normalise(&mut Array2::from_elem((16, 16), 7.3), -1.0));
        assert!(!background.normalise(&mut Array2::zeros((16, 16)), 1.0));
        assert!(Background::outside(16, 12.0).is_none());
    }
}
