//! An object whose transform is known in closed form, and noisy images of it, for the suites of pose search and alignment.

use crate::fourier::HalfImage;
use crate::likelihood::{LatticeCtf, band_end, band_window, spectrum_at};
use ndarray::{Array2, Array3};
use num_complex::{Complex32, Complex64};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use std::f64::consts::{PI, TAU};
use vitreous_model::conventions::{centre, signed_frequency};
use vitreous_model::ctf::CtfParams;
use vitreous_model::pose::Rotation;
use vitreous_model::units::{Degrees, Kilovolt, Millimetre};

/// Edge of all phantom boxes, Å: wide enough for the delocalisation of the CTF at the resolutions of the cases.
const BOX_A: f64 = 320.0;

/// Standard deviation of a blob, pixels: wide enough that sampling it on voxels folds back less than 1e-4 at half
/// Nyquist.
const BLOB_SIGMA_PX: f64 = 1.1;

/// A sum of equal Gaussian blobs inside a ball.
#[derive(Debug, Clone)]
pub struct Phantom {
    /// Box edge, pixels.
    pub n: usize,
    /// Diameter of the ball, pixels.
    pub diameter_px: f64,
    blobs: Vec<[f64; 3]>,
}

impl Phantom {
    /// `count` blobs in a ball of `fill` times the box.
    pub fn new(n: usize, fill: f64, count: usize, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let radius = 0.5 * fill * n as f64;
        let mut blobs = Vec::with_capacity(count);
        while blobs.len() < count {
            let p = [0, 1, 2].map(|_| rng.random_range(-radius..radius));
            if p.iter().map(|v| v * v).sum::<f64>().sqrt() <= radius - 2.0 * BLOB_SIGMA_PX {
                blobs.push(p);
            }
        }
        Self { n, diameter_px: 2.0 * radius, blobs }
    }

    /// Pixel size of its images, Å.
    pub fn pixel_size_a(&self) -> f64 {
        BOX_A / self.n as f64
    }

    /// The object on voxels, `[n, n, n]`.
    pub fn volume(&self) -> Array3<f32> {
        let c = centre(self.n) as f64;
        Array3::from_shape_fn((self.n, self.n, self.n), |(z, y, x)| {
            let p = [x as f64 - c, y as f64 - c, z as f64 - c];
            let blob = |b: &[f64; 3]| {
                let d2: f64 = (0..3).map(|i| (p[i] - b[i]).powi(2)).sum();
                if d2 > 60.0 { 0.0 } else { (-0.5 * d2 / (BLOB_SIGMA_PX * BLOB_SIGMA_PX)).exp() }
            };
            self.blobs.iter().map(blob).sum::<f64>() as f32
        })
    }

    /// The exact transform of the projection along `rotation` at `(qx, qy)` Fourier pixels.
    pub fn slice(&self, rotation: Rotation, qx: f64, qy: f64) -> Complex64 {
        let k = rotation.apply([qx, qy, 0.0]);
        let q2 = qx * qx + qy * qy;
        let scale = (TAU * BLOB_SIGMA_PX * BLOB_SIGMA_PX).powf(1.5)
            * (-2.0 * (PI * BLOB_SIGMA_PX / self.n as f64).powi(2) * q2).exp();
        self.blobs
            .iter()
            .map(|b| Complex64::cis(-TAU * (k[0] * b[0] + k[1] * b[1] + k[2] * b[2]) / self.n as f64))
            .sum::<Complex64>()
            * scale
    }

    /// An image: exact slice times CTF and amplitude, shifted, plus white noise of variance `pixel_variance`.
    pub fn image(&self, truth: &Truth, pixel_variance: f64, rng: &mut ChaCha8Rng) -> HalfImage {
        let n = self.n;
        let noise = Array2::from_shape_simple_fn((n, n), || {
            let value: f64 = rng.sample(StandardNormal);
            (value * pixel_variance.sqrt()) as f32
        });
        let mut image = HalfImage::of_box(noise.view());
        let ctf = LatticeCtf::new(truth.ctf.as_ref(), n, self.pixel_size_a());
        for ((y, x), value) in image.data_mut().indexed_iter_mut() {
            let (qx, qy) = (x as f64, signed_frequency(y, n) as f64);
            if qx.hypot(qy) >= 0.5 * n as f64 - 1.0 {
                continue;
            }
            let turned = Complex64::cis(-TAU * (qx * truth.shift_px[0] + qy * truth.shift_px[1]) / n as f64);
            let signal = self.slice(truth.rotation, qx, qy)
                * turned
                * (truth.amplitude * f64::from(ctf.value(qx, qy)));
            *value += Complex32::new(signal.re as f32, signal.im as f32);
        }
        image
    }

    /// Variance of the noise per pixel at which the energy `2 Σ_H |P|²/s2` of a slice up to `rmax` is `nats`.
    pub fn variance_for_energy(&self, rmax: f64, nats: f64) -> f64 {
        let energy: f64 = half_plane(rmax)
            .map(|(qx, qy)| {
                2.0 * band_window(qx.hypot(qy), rmax) * self.slice(Rotation::IDENTITY, qx, qy).norm_sqr()
            })
            .sum();
        energy / nats / (self.n * self.n) as f64
    }
}

/// How an image was made.
#[derive(Debug, Clone, Copy)]
pub struct Truth {
    /// Rotation.
    pub rotation: Rotation,
    /// Where the particle lies, pixels from the centre.
    pub shift_px: [f64; 2],
    /// Its CTF.
    pub ctf: Option<CtfParams>,
    /// Its amplitude.
    pub amplitude: f64,
}

impl Truth {
    /// A random one: uniform rotation, shift up to `reach_px` along each axis, defocus 0.8 to 2.2 µm with up to 600 Å of
    /// astigmatism.
    pub fn random(reach_px: f64, rng: &mut ChaCha8Rng) -> Self {
        let gauss: [f64; 4] = [0; 4].map(|_| rng.sample(StandardNormal));
        let defocus = rng.random_range(8000.0..22000.0);
        let ctf = CtfParams {
            defocus_u_a: defocus + rng.random_range(0.0..300.0),
            defocus_v_a: defocus - rng.random_range(0.0..300.0),
            astigmatism_angle: Degrees(rng.random_range(-90.0..90.0)),
            phase_shift: Degrees(0.0),
            voltage: Kilovolt(300.0),
            cs: Millimetre(2.7),
            amplitude_contrast: 0.1,
            even: Default::default(),
        };
        Self {
            rotation: Rotation::new(gauss[0], gauss[1], gauss[2], gauss[3]),
            shift_px: [0; 2].map(|_| rng.random_range(-1.0..1.0) * reach_px),
            ctf: Some(ctf),
            amplitude: 1.0,
        }
    }
}

/// One of each Friedel pair of lattice points with a weight in the band, without DC.
pub fn half_plane(rmax: f64) -> impl Iterator<Item = (f64, f64)> {
    let end = band_end(rmax) as i32 + 1;
    (-end..=end)
        .flat_map(move |qy| (0..=end).map(move |qx| (f64::from(qx), f64::from(qy))))
        .filter(move |&(qx, qy)| (qx > 0.0 || qy > 0.0) && band_window(qx.hypot(qy), rmax) > 0.0)
}

/// An image with what is known of it, and formula (1) summed in f64 with exact slices: slow and obvious.
pub struct Oracle<'a> {
    /// The object.
    pub phantom: &'a Phantom,
    /// The image.
    pub image: &'a HalfImage,
    /// Its CTF.
    pub ctf: Option<&'a CtfParams>,
    /// Amplitude of the model.
    pub amplitude: f64,
    /// s2 by shell.
    pub noise: &'a [f64],
    /// End of the band.
    pub rmax: f64,
}

impl Oracle<'_> {
    /// The coefficient of the image at `(qx, qy)`, qx ≥ 0.
    fn coefficient(&self, qx: f64, qy: f64) -> Complex64 {
        let row = (qy as isize).rem_euclid(self.phantom.n as isize) as usize;
        let value = self.image.data()[[row, qx as usize]];
        Complex64::new(value.re.into(), value.im.into())
    }

    /// Formula (1) of [`crate::likelihood`] for one rotation at several shifts.
    pub fn log_likelihoods(&self, rotation: Rotation, shifts: &[[f64; 2]]) -> Vec<f64> {
        let n = self.phantom.n as f64;
        let ctf = LatticeCtf::new(self.ctf, self.phantom.n, self.phantom.pixel_size_a());
        let mut sums = vec![0.0; shifts.len()];
        for (qx, qy) in half_plane(self.rmax) {
            let r = qx.hypot(qy);
            let weight = band_window(r, self.rmax) / spectrum_at(self.noise, r);
            let model =
                self.phantom.slice(rotation, qx, qy) * (self.amplitude * f64::from(ctf.value(qx, qy)));
            let product = self.coefficient(qx, qy) * model.conj();
            for (sum, t) in sums.iter_mut().zip(shifts) {
                let turned = product * Complex64::cis(TAU * (qx * t[0] + qy * t[1]) / n);
                *sum += weight * (2.0 * turned.re - model.norm_sqr());
            }
        }
        sums
    }
}
