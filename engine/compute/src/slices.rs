//! From particle images to what is inserted: `X_t c / σ²` and `c² / σ²`, as one flat slice or as the two of the Ewald sphere.

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
use vitreous_model::ewald::{Curvature, likeness, offset_per_a};
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

/// That images are inserted on both caps of the Ewald sphere ([`vitreous_model::ewald`]).
///
/// The cap of P gets `X_t P* / σ²`, the other one `X_t P / σ²`: the adjoint of how they make the image. Both get the weight
/// `(1 - g cos 2θ) / 4σ²`, the mean of what the image says of a cap when the other one is expected to be g times the same:
/// g, the likeness of the caps, is 1 where the sphere is flat, and both weights are `c² / 2σ²`, two halves of a flat slice;
/// where the caps are strangers it is 0, and each is known by `|P|² = 1/4`, whatever the CTF.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ewald {
    /// Which way it is curved.
    pub curvature: Curvature,
    /// Diameter of the particle, Å.
    pub diameter_a: f64,
}

/// Arrays for a batch of slices, to be used again and again.
#[derive(Debug, Default)]
pub struct SliceBuffer {
    ewald: Option<Ewald>,
    numerator: Array3<Complex32>,
    weight: Array3<f32>,
    rotations: Vec<Rotation>,
    bends: Vec<f32>,
}

/// One slice of an image.
#[derive(Clone, Copy)]
enum Cap {
    /// All of it.
    Flat,
    /// That of P.
    First,
    /// That of P*.
    Second,
}

impl SliceBuffer {
    /// For flat slices, or for two caps an image.
    pub fn new(ewald: Option<Ewald>) -> Self {
        Self { ewald, ..Self::default() }
    }

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
        let caps: &[Cap] = if self.ewald.is_some() { &[Cap::First, Cap::Second] } else { &[Cap::Flat] };
        let slices: Vec<(&PosedImage<'_>, Cap)> =
            images.iter().flat_map(|posed| caps.iter().map(move |&cap| (posed, cap))).collect();
        let shape = (slices.len(), n, n / 2 + 1);
        if self.numerator.dim() != shape {
            self.numerator = Array3::zeros(shape);
            self.weight = Array3::zeros(shape);
        }
        self.rotations = slices.iter().map(|(posed, _)| posed.rotation).collect();
        self.bends.clear();
        if let Some(ewald) = self.ewald {
            let edge_a = n as f64 * pixel_size_a;
            self.bends.extend(slices.iter().map(|(posed, cap)| bend(ewald.curvature, posed, *cap, edge_a)));
        }
        let mut row_ends = grid.row_ends(rmax);
        if n.is_multiple_of(2) && n > 0 {
            row_ends.iter_mut().for_each(|end| *end = (*end).min(n / 2));
            row_ends[n / 2] = 0;
        }
        let ewald = self.ewald;
        let arrays = self.numerator.outer_iter_mut().into_par_iter().zip(self.weight.outer_iter_mut());
        arrays.zip(slices.par_iter()).for_each(|((mut numerator, mut weight), &(posed, cap))| {
            assert_eq!((posed.image.ny(), posed.image.nx()), (n, n), "an image should be of the grid's box");
            let ctf = LatticeCtf::new(posed.ctf, n, pixel_size_a);
            let likeness = likeness_by_shell(ewald, posed.ctf, n, pixel_size_a);
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
                    let a = posed.amplitude as f32;
                    let radius = radius_of(y, x, n, n);
                    let over_noise = (posed.share / spectrum_at(posed.noise, radius)) as f32;
                    let centred = source[x] * (along_x[x] * along_y);
                    if let Cap::Flat = cap {
                        let c = a * ctf.value(x as f64, qy);
                        numerator[[y, x]] = centred * (c * over_noise);
                        weight[[y, x]] = c * c * over_noise;
                        continue;
                    }
                    let (sin, cos) = ctf.sin_cos(x as f64, qy);
                    // the conjugate of P = exp(iθ) / 2i, or P
                    let side = if let Cap::First = cap { cos } else { -cos };
                    numerator[[y, x]] = centred * Complex32::new(sin, side) * (0.5 * a * over_noise);
                    let g = spectrum_at(&likeness, radius) as f32;
                    weight[[y, x]] = 0.25 * (1.0 - g * (1.0 - 2.0 * sin * sin)) * a * a * over_noise;
                }
                numerator.slice_mut(s![y, end..]).fill(Complex32::ZERO);
                weight.slice_mut(s![y, end..]).fill(0.0);
            }
        });
        SliceBatch {
            numerator: self.numerator.view(),
            weight: self.weight.view(),
            rotations: &self.rotations,
            bends: &self.bends,
            rmax,
        }
    }
}

/// By how much the slice of a cap is bent in a box of `edge_a` Å, 1 / Fourier pixel. Without a CTF nothing is known of the
/// electrons, and the slice is flat.
fn bend(curvature: Curvature, posed: &PosedImage<'_>, cap: Cap, edge_a: f64) -> f32 {
    let Some(ctf) = posed.ctf else { return 0.0 };
    let of_first = -curvature.sign() * edge_a * offset_per_a(ctf.voltage.wavelength_a(), 1.0 / edge_a);
    match cap {
        Cap::Flat => 0.0,
        Cap::First => of_first as f32,
        Cap::Second => -of_first as f32,
    }
}

/// How alike the caps are, by shell; nothing for flat slices.
fn likeness_by_shell(ewald: Option<Ewald>, ctf: Option<&CtfParams>, n: usize, pixel_size_a: f64) -> Vec<f64> {
    let Some(ewald) = ewald else { return Vec::new() };
    let wavelength_a = ctf.map_or(0.0, |ctf| ctf.voltage.wavelength_a());
    let edge_a = n as f64 * pixel_size_a;
    let at = |shell: usize| likeness(ewald.diameter_a, offset_per_a(wavelength_a, shell as f64 / edge_a));
    (0..=n).map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parity::insert::Batch;
    use crate::parity::symmetric_phantom::SymmetricPhantom;
    use vitreous_model::symmetry::PointGroup;
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

    /// Optics with a phase that turns a few times within a box of 24 pixels of 3 Å.
    fn ctf_at(kilovolt: f64, defocus_a: f64) -> CtfParams {
        CtfParams {
            defocus_u_a: defocus_a,
            defocus_v_a: defocus_a,
            astigmatism_angle: Degrees(0.0),
            phase_shift: Degrees(0.0),
            voltage: Kilovolt(kilovolt),
            cs: Millimetre(0.0),
            amplitude_contrast: 0.1,
            even: Default::default(),
        }
    }

    #[test]
    fn two_caps_of_a_flat_sphere_are_one_flat_slice() {
        let n = 24;
        let noise = Batch::noise(n, 12.0, 1, 4);
        let image =
            HalfImage::from_data(n, noise.numerator.index_axis(ndarray::Axis(0), 0).to_owned()).unwrap();
        // so fast that nothing is curved
        let ctf = ctf_at(1e6, 3e6);
        let posed = PosedImage {
            image: &image,
            ctf: Some(&ctf),
            rotation: Rotation::IDENTITY,
            shift_px: [0.7, 0.2],
            noise: &[],
            amplitude: 0.9,
            share: 1.0,
        };
        let grid = PaddedGrid::new(n, 2.0, 11.0);
        let mut flat = SliceBuffer::default();
        let flat = flat.fill(&grid, 11.0, 3.0, &[posed]);
        for curvature in [Curvature::Forward, Curvature::Reversed] {
            let mut caps = SliceBuffer::new(Some(Ewald { curvature, diameter_a: 50.0 }));
            let caps = caps.fill(&grid, 11.0, 3.0, &[posed]);
            assert_eq!(caps.numerator.dim().0, 2);
            assert!(caps.bends.iter().all(|bend| bend.abs() < 1e-6) && caps.bends[0] == -caps.bends[1]);
            for ((y, x), &whole) in flat.numerator.index_axis(ndarray::Axis(0), 0).indexed_iter() {
                let sum = caps.numerator[[0, y, x]] + caps.numerator[[1, y, x]];
                assert!((sum - whole).norm() < 1e-5);
                let weight = caps.weight[[0, y, x]] + caps.weight[[1, y, x]];
                assert!((weight - flat.weight[[0, y, x]]).abs() < 1e-5);
            }
        }
    }

    /// Images of a thick object come back by the curvature that they were made with, layer by layer, and by no other.
    #[test]
    fn caps_lie_where_layers_of_their_own_defocus_put_them() {
        use crate::ops::insert::{FixedPoint, Insert};
        use crate::parity::project::rotations;
        let (n, pixel_a, rmax) = (24, 3.0, 10.0);
        let phantom = SymmetricPhantom::new(n, 12, 0.8, 9.0, PointGroup::C1, 5);
        let views = rotations(1500, 3);
        // slow electrons: at the last shells the phase differs by one and a half radians between the top and the middle
        let ctfs: Vec<CtfParams> =
            (0..views.len()).map(|i| ctf_at(0.1, 75.0 + (i % 40) as f64 * 5.0)).collect();
        let images: Vec<HalfImage> = views
            .iter()
            .zip(&ctfs)
            .map(|(view, ctf)| phantom.thick_image(*view, rmax, ctf, Curvature::Reversed, pixel_a))
            .collect();
        let truth = phantom.transform();
        let posed: Vec<PosedImage<'_>> = images
            .iter()
            .zip(&ctfs)
            .zip(&views)
            .map(|((image, ctf), &rotation)| PosedImage {
                image,
                ctf: Some(ctf),
                rotation,
                shift_px: [0.0; 2],
                noise: &[],
                amplitude: 1.0,
                share: 1.0,
            })
            .collect();
        let agreement = |ewald: Option<Ewald>| {
            let grid = PaddedGrid::for_sums(n, 2.0, rmax);
            let mut sums = crate::device::Cpu.accumulator(grid, FixedPoint::new(100.0, 1.0, 3000)).unwrap();
            let mut buffer = SliceBuffer::new(ewald);
            crate::device::Cpu.insert(&mut sums, &buffer.fill(&grid, rmax, pixel_a, &posed)).unwrap();
            let map = crate::device::Cpu.collect(sums).unwrap().to_sums().map(None, rmax);
            crate::fsc::fsc(&crate::fourier::HalfVolume::of_box(map.view()), &truth)
        };
        let with = |curvature| agreement(Some(Ewald { curvature, diameter_a: 60.0 }));
        let (flat, right, wrong) = (agreement(None), with(Curvature::Reversed), with(Curvature::Forward));
        assert!((2..=9).all(|shell| right[shell] > 0.99), "{right:.3?}");
        assert!(flat[9] < right[9] && wrong[9] < 0.8, "{} {} {}", flat[9], right[9], wrong[9]);
    }
}
