//! An object with a point group whose transform is known exactly: a sum of Gaussian blobs.

use crate::fourier::{HalfImage, HalfVolume};
use ndarray::Array3;
use num_complex::{Complex32, Complex64};
use rand::{RngExt, SeedableRng};
use std::f64::consts::{PI, TAU};
use vitreous_model::conventions::signed_frequency;
use vitreous_model::ctf::CtfParams;
use vitreous_model::ewald::Curvature;
use vitreous_model::pose::Rotation;
use vitreous_model::symmetry::PointGroup;

/// A sum of Gaussian blobs in a box of `n` voxels, without any symmetry but the one asked for.
#[derive(Debug, Clone)]
pub struct SymmetricPhantom {
    n: usize,
    /// Standard deviation of every blob, voxels.
    width: f64,
    /// Centres relative to the box centre, (x, y, z) in voxels, and integrals.
    blobs: Vec<([f64; 3], f64)>,
}

impl SymmetricPhantom {
    /// `count` seeded blobs of standard deviation `width` voxels within `reach` voxels of the centre, and their images
    /// under the rotations of `group`.
    pub fn new(n: usize, count: usize, width: f64, reach: f64, group: PointGroup, seed: u64) -> Self {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        let mut blobs = Vec::new();
        while blobs.len() < count * group.order() {
            let centre = [0, 1, 2].map(|_| rng.random_range(-reach..reach));
            let mass = rng.random_range(0.5..1.5);
            if centre.iter().map(|c| c * c).sum::<f64>() <= reach * reach {
                blobs.extend(group.rotations().into_iter().map(|g| (g.apply(centre), mass)));
            }
        }
        Self { n, width, blobs }
    }

    /// Box edge.
    pub fn n(&self) -> usize {
        self.n
    }

    /// The transform at `k` = (x, y, z) in Fourier pixels, phases from the centre.
    pub fn coefficient(&self, k: [f64; 3]) -> Complex64 {
        let n = self.n as f64;
        let square: f64 = k.iter().map(|c| c * c).sum();
        let envelope = (-2.0 * PI * PI * self.width * self.width * square / (n * n)).exp();
        let sum: Complex64 = self
            .blobs
            .iter()
            .map(|(c, mass)| *mass * Complex64::cis(-TAU / n * (k[0] * c[0] + k[1] * c[1] + k[2] * c[2])))
            .sum();
        sum * envelope
    }

    /// The exact slice of `rotation`, up to `rmax` Fourier pixels, phases from the centre.
    pub fn slice(&self, rotation: Rotation, rmax: f64) -> HalfImage {
        let mut half = HalfImage::zeros_box(self.n);
        for ((y, x), value) in half.data_mut().indexed_iter_mut() {
            let q = [x as f64, signed_frequency(y, self.n) as f64, 0.0];
            if q[0].hypot(q[1]) <= rmax {
                *value = single(self.coefficient(rotation.apply(q)));
            }
        }
        half
    }

    /// The transform of an image of a thick object: every blob is seen with the defocus of its height in the image frame, for
    /// voxels of `pixel_a` Å. Up to `rmax` Fourier pixels, phases from the centre.
    pub fn thick_image(
        &self,
        rotation: Rotation,
        rmax: f64,
        ctf: &CtfParams,
        curvature: Curvature,
        pixel_a: f64,
    ) -> HalfImage {
        let n = self.n as f64;
        let to_image = rotation.inverse();
        let seen: Vec<([f64; 3], f64)> =
            self.blobs.iter().map(|(c, mass)| (to_image.apply(*c), *mass)).collect();
        let mut half = HalfImage::zeros_box(self.n);
        for ((y, x), value) in half.data_mut().indexed_iter_mut() {
            let q = [x as f64, signed_frequency(y, self.n) as f64];
            let square = q[0] * q[0] + q[1] * q[1];
            if square.sqrt() > rmax {
                continue;
            }
            let envelope = (-2.0 * PI * PI * self.width * self.width * square / (n * n)).exp();
            let (u, azimuth) = (square.sqrt() / (n * pixel_a), q[1].atan2(q[0]));
            let contrast = |z: f64| ctf.with_defocus_raised(curvature.sign() * z * pixel_a).value(u, azimuth);
            let sum: Complex64 = seen
                .iter()
                .map(|(c, mass)| {
                    *mass * contrast(c[2]) * Complex64::cis(-TAU / n * (q[0] * c[0] + q[1] * c[1]))
                })
                .sum();
            *value = single(sum * envelope);
        }
        half
    }

    /// The transform of the object on the box's own grid, phases from the centre, up to Nyquist.
    pub fn transform(&self) -> HalfVolume {
        let n = self.n;
        let data = Array3::from_shape_fn((n, n, n / 2 + 1), |(z, y, x)| {
            let k = [x as f64, signed_frequency(y, n) as f64, signed_frequency(z, n) as f64];
            let inside = k.iter().map(|c| c * c).sum::<f64>().sqrt() < n as f64 / 2.0;
            if inside { single(self.coefficient(k)) } else { Complex32::ZERO }
        });
        HalfVolume::from_data(n, data).expect("the shape should be that of a half volume")
    }

    /// The object band-limited to Nyquist, `[n, n, n]`.
    pub fn volume(&self) -> Array3<f32> {
        self.transform().into_box()
    }
}

fn single(value: Complex64) -> Complex32 {
    Complex32::new(value.re as f32, value.im as f32)
}
