//! From particle images to what is inserted: `X_t c / σ²` and `c² / σ²`.

use crate::fourier::{HalfImage, radius_of};
use crate::likelihood::{LatticeCtf, spectrum_at};
use crate::ops::grid::PaddedGrid;
use crate::ops::insert::SliceBatch;
use ndarray::{Array3, s};
use num_complex::Complex32;
use rayon::prelude::*;
use std::f64::consts::TAU;
use vitreous_model::conventions::signed_frequency;
use vitreous_model::ctf::CtfParams;
use vitreous_model::pose::Rotation;

/// One image in one pose.
#[derive(Debug, Clone, Copy)]
pub struct PosedImage<'a> {
    /// Transform of the image, phases from the centre of the box.
    pub image: &'a HalfImage,
    /// Its CTF; `None` is 1 everywhere.
    pub ctf: Option<&'a CtfParams>,
    /// Image frame to volume frame.
    pub rotation: Rotation,
    /// Where the particle's centre lies relative to the centre of the box, (x, y) in pixels.
    pub shift_px: [f64; 2],
    /// Noise variance σ² by shell from 0, of the unnormalised transform; empty: 1.
    pub noise: &'a [f64],
    /// Amplitude of the particle relative to the map, a factor of its CTF.
    pub amplitude: f64,
    /// Weight of this pose, 1 for the only one.
    pub share: f64,
}

/// Arrays for a batch of slices, to be used again and again.
#[derive(Debug, Default)]
pub struct SliceBuffer {
    numerator: Array3<Complex32>,
    weight: Array3<f32>,
    rotations: Vec<Rotation>,
}

impl SliceBuffer {
    /// Weighs images of `pixel_size_a` Å for insertion into `grid` up to `rmax` Fourier pixels, on all threads. Coefficients
    /// at Nyquist's frequency in x or y are left out: each is the sum of two, and cannot be shifted.
    ///
    /// # Panics
    /// When an image is not of the grid's box.
    pub fn fill(
        &mut self,
        grid: &PaddedGrid,
        rmax: f64,
        pixel_size_a: f64,
        images: &[PosedImage<'_>],
    ) -> SliceBatch<'_> {
        let n = grid.n();
        let shape = (images.len(), n, n / 2 + 1);
        if self.numerator.dim() != shape {
            self.numerator = Array3::zeros(shape);
            self.weight = Array3::zeros(shape);
        }
        self.rotations = images.iter().map(|posed| posed.rotation).collect();
        let mut row_ends = grid.row_ends(rmax);
        if n.is_multiple_of(2) && n > 0 {
            row_ends.iter_mut().for_each(|end| *end = (*end).min(n / 2));
            row_ends[n / 2] = 0;
        }
        let slices = self.numerator.outer_iter_mut().into_par_iter().zip(self.weight.outer_iter_mut());
        slices.zip(images.par_iter()).for_each(|((mut numerator, mut weight), posed)| {
            assert_eq!((posed.image.ny(), posed.image.nx()), (n, n), "an image should be of the grid's box");
            let ctf = LatticeCtf::new(posed.ctf, n, pixel_size_a);
            let back = |q: f64, shift_px: f64| {
                let (sin, cos) = (TAU * q * shift_px / n as f64).sin_cos();
                Complex32::new(cos as f32, sin as f32)
            };
            let along_x: Vec<Complex32> = (0..=n / 2).map(|x| back(x as f64, posed.shift_px[0])).collect();
            for (y, &end) in row_ends.iter().enumerate() {
                let qy = signed_frequency(y, n) as f64;
                let along_y = back(qy, posed.shift_px[1]);
                let source = posed.image.data().row(y);
                for x in 0..end {
                    let c = posed.amplitude as f32 * ctf.value(x as f64, qy);
                    let over_noise = (posed.share / spectrum_at(posed.noise, radius_of(y, x, n, n))) as f32;
                    numerator[[y, x]] = source[x] * (along_x[x] * along_y) * (c * over_noise);
                    weight[[y, x]] = c * c * over_noise;
                }
                numerator.slice_mut(s![y, end..]).fill(Complex32::ZERO);
                weight.slice_mut(s![y, end..]).fill(0.0);
            }
        });
        SliceBatch {
            numerator: self.numerator.view(),
            weight: self.weight.view(),
            rotations: &self.rotations,
            rmax,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parity::insert::Batch;
    use vitreous_model::units::{Degrees, Kilovolt, Millimetre};

    #[test]
    fn slices_are_shifted_back_and_weighted() {
        let n = 16;
        let noise = Batch::noise(n, 8.0, 1, 3);
        let image =
            HalfImage::from_data(n, noise.numerator.index_axis(ndarray::Axis(0), 0).to_owned()).unwrap();
        let ctf = CtfParams {
            defocus_u_a: 8000.0,
            defocus_v_a: 7000.0,
            astigmatism_angle: Degrees(20.0),
            phase_shift: Degrees(0.0),
            voltage: Kilovolt(300.0),
            cs: Millimetre(2.7),
            amplitude_contrast: 0.1,
            even: Default::default(),
        };
        let spectrum: Vec<f64> = (0..9).map(|s| 2.0 + s as f64).collect();
        let posed = PosedImage {
            image: &image,
            ctf: Some(&ctf),
            rotation: Rotation::IDENTITY,
            shift_px: [1.3, -0.4],
            noise: &spectrum,
            amplitude: 1.3,
            share: 0.5,
        };
        let grid = PaddedGrid::new(n, 2.0, 6.0);
        let mut buffer = SliceBuffer::default();
        let batch = buffer.fill(&grid, 6.0, 3.0, &[posed]);
        let mut moved = image.clone();
        moved.shift(-1.3, 0.4);
        for ((y, x), value) in moved.data().indexed_iter() {
            let (qx, qy) = (x as f64, signed_frequency(y, n) as f64);
            let r = qx.hypot(qy);
            let got = (batch.numerator[[0, y, x]], batch.weight[[0, y, x]]);
            if r > 6.0 {
                assert_eq!(got, (Complex32::ZERO, 0.0));
                continue;
            }
            let c = 1.3 * ctf.value(r / (n as f64 * 3.0), qy.atan2(qx)) as f32;
            let over_noise = (0.5 / (2.0 + r)) as f32;
            assert!((got.0 - value * (c * over_noise)).norm() < 1e-5);
            assert!((got.1 - c * c * over_noise).abs() < 1e-5);
        }
    }
}
