//! A micrograph at the pixel size of a picker.

use super::Unfit;
use crate::micrograph::level_and_spread;
use ndarray::{Array2, ArrayView2, s};

/// Smallest edge of a binned micrograph in units of the largest diameter.
const LEAST_DIAMETERS: f64 = 4.0;

/// A micrograph averaged over squares of `bin` pixels, its level 0, its robust standard deviation 1, particles bright.
#[derive(Debug, Clone)]
pub(crate) struct Binned {
    /// `[height, width]`.
    pub image: Array2<f32>,
    /// Edge of the squares, pixels of the micrograph.
    pub bin: usize,
    /// Pixel size, Å.
    pub pixel_size_a: f64,
}

impl Binned {
    /// Bins to pixels of at most `target_a` where the micrograph's own are smaller. `white_particles` says that the
    /// micrograph shows them bright already.
    ///
    /// # Errors
    /// [`Unfit::TooSmall`] for particles of `max_diameter_a`, [`Unfit::Flat`].
    pub fn of(
        pixels: ArrayView2<'_, f32>,
        pixel_size_a: f64,
        target_a: f64,
        max_diameter_a: f64,
        white_particles: bool,
    ) -> Result<Self, Unfit> {
        let (height, width) = pixels.dim();
        let least = (LEAST_DIAMETERS * max_diameter_a / pixel_size_a).ceil() as usize;
        if height.min(width) < least {
            return Err(Unfit::TooSmall { width, height, least, diameter_a: max_diameter_a });
        }
        let bin = ((target_a / pixel_size_a) as usize).max(1);
        let mut image = Array2::from_shape_fn((height / bin, width / bin), |(y, x)| {
            pixels.slice(s![y * bin..(y + 1) * bin, x * bin..(x + 1) * bin]).sum() / (bin * bin) as f32
        });
        let (level, spread) = level_and_spread(image.as_slice().unwrap_or_default());
        if spread == 0.0 {
            return Err(Unfit::Flat);
        }
        let scale = if white_particles { 1.0 / spread } else { -1.0 / spread };
        image.mapv_inplace(|v| (v - level) * scale);
        Ok(Self { image, bin, pixel_size_a: pixel_size_a * bin as f64 })
    }

    /// The micrograph pixel of a place: the centre of a square lies `(bin - 1) / 2` behind its first pixel.
    pub fn unbinned(&self, at: f64) -> f64 {
        at * self.bin as f64 + 0.5 * (self.bin as f64 - 1.0)
    }

    /// The reverse of [`Self::unbinned`].
    pub fn binned(&self, at: f64) -> f64 {
        (at - 0.5 * (self.bin as f64 - 1.0)) / self.bin as f64
    }

    /// The image with a margin all around, `[ny, nx]`: mirrored at the borders, and on beyond the far margin.
    pub fn mirrored(&self, margin: usize, ny: usize, nx: usize) -> Array2<f32> {
        let (height, width) = self.image.dim();
        Array2::from_shape_fn((ny, nx), |(y, x)| {
            self.image[[mirrored(y, margin, height), mirrored(x, margin, width)]]
        })
    }
}

/// The pixel of `0..n` that stands at place `i` of an axis with mirrored margins; what lies beyond (the filling up to a
/// good length) goes on mirroring.
fn mirrored(i: usize, margin: usize, n: usize) -> usize {
    let at = (i as isize - margin as isize).rem_euclid(2 * n as isize) as usize;
    if at < n { at } else { 2 * n - 1 - at }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binning_inverts_and_normalises_and_places_come_back() {
        let pixels = Array2::from_shape_fn((400, 600), |(y, x)| 1000.0 + ((x * 31 + y * 17) % 97) as f32);
        let dark = Binned::of(pixels.view(), 1.0, 3.0, 72.0, false).unwrap();
        let white = Binned::of(pixels.view(), 1.0, 3.0, 72.0, true).unwrap();
        assert_eq!((dark.bin, dark.pixel_size_a, dark.image.dim()), (3, 3.0, (133, 200)));
        assert!(dark.image.iter().zip(&white.image).all(|(a, b)| (a + b).abs() < 1e-5));
        assert_eq!(dark.unbinned(0.0), 1.0);
        assert_eq!(dark.unbinned(10.0), 31.0);
        assert_eq!((dark.binned(1.0), dark.binned(31.0)), (0.0, 10.0));
    }

    #[test]
    fn unfit_micrographs_are_refused() {
        let flat = Array2::from_elem((400, 400), 7.0);
        assert_eq!(Binned::of(flat.view(), 1.0, 2.0, 50.0, false).unwrap_err(), Unfit::Flat);
        let small = Unfit::TooSmall { width: 400, height: 400, least: 800, diameter_a: 200.0 };
        assert_eq!(Binned::of(flat.view(), 1.0, 4.0, 200.0, false).unwrap_err(), small);
    }
}
