//! How much every place of a micrograph looks like a bright blob of a given diameter.

use super::Unfit;
use crate::micrograph::level_and_spread;
use ndarray::{Array2, ArrayView2, s};
use std::f64::consts::{E, PI};
use vitreous_compute::fourier::{HalfImage, next_5_smooth, radius_of};

/// Pixels of a binned micrograph per smallest diameter, at least: enough for the position to a few per cent of it.
const PIXELS_PER_DIAMETER: f64 = 24.0;
/// Scales between the smallest and the largest diameter differ by at most this factor: neighbours see a disc between
/// them at over 99 % of their response.
const SCALE_FACTOR: f64 = 1.15;
/// Smallest edge of a binned micrograph in units of the largest diameter.
const LEAST_DIAMETERS: f64 = 4.0;

/// A micrograph averaged over squares of `bin` pixels, its level 0, its robust standard deviation 1, particles bright.
#[derive(Debug, Clone)]
pub(super) struct Binned {
    /// `[height, width]`.
    pub image: Array2<f32>,
    /// Edge of the squares, pixels of the micrograph.
    pub bin: usize,
    /// Pixel size, Å.
    pub pixel_size_a: f64,
}

impl Binned {
    /// Bins for a smallest diameter. `white_particles` says that the micrograph shows them bright already.
    ///
    /// # Errors
    /// [`Unfit::TooSmall`] for particles of `max_diameter_a`, [`Unfit::Flat`].
    pub fn of(
        pixels: ArrayView2<'_, f32>,
        pixel_size_a: f64,
        diameter_a: f64,
        max_diameter_a: f64,
        white_particles: bool,
    ) -> Result<Self, Unfit> {
        let (height, width) = pixels.dim();
        let least = (LEAST_DIAMETERS * max_diameter_a / pixel_size_a).ceil() as usize;
        if height.min(width) < least {
            return Err(Unfit::TooSmall { width, height, least, diameter_a: max_diameter_a });
        }
        let bin = ((diameter_a / PIXELS_PER_DIAMETER / pixel_size_a) as usize).max(1);
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
}

/// The response of the scale-normalised Laplacian of a Gaussian, the largest over scales; 1 where a disc of one of the
/// diameters stands 1 above its surroundings. Same shape as `binned.image`.
///
/// A disc of radius r answers most to σ = r/√2, where its centre gives `(r²/σ²) exp(-r²/2σ²) = 2/e` (T. Lindeberg,
/// Int. J. Comput. Vis. 30, 79, 1998).
pub(super) fn blob_response(binned: &Binned, diameter_a: f64, max_diameter_a: f64) -> Array2<f32> {
    let (height, width) = binned.image.dim();
    // mirrored borders keep edges from looking like blobs; the transform is cyclic
    let margin = (max_diameter_a / binned.pixel_size_a).ceil() as usize;
    let (ny, nx) = (next_5_smooth(height + 2 * margin), next_5_smooth(width + 2 * margin));
    let padded = Array2::from_shape_fn((ny, nx), |(y, x)| {
        binned.image[[mirrored(y, margin, height), mirrored(x, margin, width)]]
    });
    let half = HalfImage::of(padded.view());
    let longest = ny.max(nx) as f64;
    let mut best: Option<Array2<f32>> = None;
    for diameter in scales(diameter_a, max_diameter_a) {
        let sigma = 0.5 * diameter / binned.pixel_size_a / std::f64::consts::SQRT_2;
        let mut filtered = half.clone();
        for ((y, x), value) in filtered.data_mut().indexed_iter_mut() {
            let angular = 2.0 * PI * radius_of(y, x, ny, nx) / longest;
            let scaled = (angular * sigma).powi(2);
            *value *= (0.5 * E * scaled * (-0.5 * scaled).exp()) as f32;
        }
        let response = filtered.into_pixels();
        let response = response.slice(s![margin..margin + height, margin..margin + width]);
        match &mut best {
            None => best = Some(response.to_owned()),
            Some(best) => best.zip_mut_with(&response, |most, here| *most = most.max(*here)),
        }
    }
    best.expect("there should be at least one scale")
}

/// Diameters from the smallest to the largest in equal ratios.
fn scales(smallest: f64, largest: f64) -> Vec<f64> {
    let steps = ((largest / smallest).ln() / SCALE_FACTOR.ln()).ceil().max(0.0) as i32;
    let ratio = if steps == 0 { 1.0 } else { (largest / smallest).powf(1.0 / f64::from(steps)) };
    (0..=steps).map(|i| smallest * ratio.powi(i)).collect()
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
    fn a_disc_of_the_diameter_gives_one_at_its_centre() {
        let at = |y: usize, x: usize| (y as f64 - 90.0).hypot(x as f64 - 70.0);
        for (diameter, scales) in [(30.0, (30.0, 30.0)), (40.0, (30.0, 50.0))] {
            let image =
                Array2::from_shape_fn((180, 160), |(y, x)| if at(y, x) < diameter / 2.0 { 1.0 } else { 0.0 });
            let binned = Binned { image, bin: 1, pixel_size_a: 1.0 };
            let response = blob_response(&binned, scales.0, scales.1);
            let ((y, x), most) = response.indexed_iter().max_by(|a, b| a.1.total_cmp(b.1)).unwrap();
            assert_eq!((y, x), (90, 70));
            assert!((0.97..1.02).contains(most), "{diameter}: {most}");
        }
    }

    #[test]
    fn neither_a_ramp_nor_an_edge_is_a_blob() {
        let ramp = Array2::from_shape_fn((200, 220), |(y, x)| 0.01 * x as f32 + 0.02 * y as f32);
        let response = blob_response(&Binned { image: ramp, bin: 1, pixel_size_a: 1.0 }, 20.0, 20.0);
        // the mirrored borders have kinks of slopes 0.01 and 0.02 over a disc of 20 px
        assert!(
            response.iter().all(|v| v.abs() < 0.4),
            "{:?}",
            response.iter().fold(0.0_f32, |a, v| a.max(v.abs()))
        );
    }

    #[test]
    fn binning_inverts_and_normalises_and_places_come_back() {
        let pixels = Array2::from_shape_fn((400, 600), |(y, x)| 1000.0 + ((x * 31 + y * 17) % 97) as f32);
        let dark = Binned::of(pixels.view(), 1.0, 72.0, 72.0, false).unwrap();
        let white = Binned::of(pixels.view(), 1.0, 72.0, 72.0, true).unwrap();
        assert_eq!((dark.bin, dark.pixel_size_a, dark.image.dim()), (3, 3.0, (133, 200)));
        assert!(dark.image.iter().zip(&white.image).all(|(a, b)| (a + b).abs() < 1e-5));
        assert_eq!(dark.unbinned(0.0), 1.0);
        assert_eq!(dark.unbinned(10.0), 31.0);
    }

    #[test]
    fn unfit_micrographs_are_refused() {
        let flat = Array2::from_elem((400, 400), 7.0);
        assert_eq!(Binned::of(flat.view(), 1.0, 50.0, 50.0, false).unwrap_err(), Unfit::Flat);
        let small = Unfit::TooSmall { width: 400, height: 400, least: 800, diameter_a: 200.0 };
        assert_eq!(Binned::of(flat.view(), 1.0, 100.0, 200.0, false).unwrap_err(), small);
    }

    #[test]
    fn scales_cover_the_range() {
        assert_eq!(scales(100.0, 100.0), [100.0]);
        let list = scales(120.0, 180.0);
        assert!((list[0] - 120.0).abs() < 1e-9 && (list[list.len() - 1] - 180.0).abs() < 1e-9);
        assert!(list.windows(2).all(|pair| pair[1] / pair[0] <= SCALE_FACTOR + 1e-9));
    }
}
