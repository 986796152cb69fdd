//! Particle images of a known structure in white noise.

use super::exposure::{apply_ctf, random_ctf};
use super::micelle::Micelle;
use super::potential::{Conformation, Potential};
use super::random::{Purpose, normal, rotation, stream, uniform};
use ndarray::{Array2, s};
use num_complex::Complex32;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;
use vitreous_compute::fourier::HalfImage;
use vitreous_model::aberrations::Aberrations;
use vitreous_model::conventions::{centre, signed_frequency};
use vitreous_model::ctf::CtfParams;
use vitreous_model::ewald::Curvature;
use vitreous_model::pose::{Pose, Rotation};

/// Images from which the signal's variance is taken.
const VARIANCE_IMAGES: u64 = 24;

/// What all images have in common.
pub struct ImageSetup<'a> {
    /// Box edge of the images, pixels.
    pub box_px: usize,
    /// Makes projections in the images' box, or in a larger one of which images are the middle.
    pub potential: &'a Potential<'a>,
    /// Pixel size, Å.
    pub pixel_a: f64,
    /// Range of the mean defocus, and largest astigmatism, Å.
    pub defocus_a: [f64; 3],
    /// CTF without defocus.
    pub optics: CtfParams,
    /// Further errors of the lenses.
    pub aberrations: Aberrations,
    /// Whether each layer of the particle has the defocus of its height.
    pub layers: bool,
    /// Largest displacement along x and y, Å.
    pub shift_a: f64,
    /// Standard deviation of the moving part's turn about each axis, radians.
    pub moving_rad: f64,
    /// Point that it turns about, Å from the centre, if anything moves.
    pub hinge_a: Option<[f64; 3]>,
    /// Detergent.
    pub micelle: Option<&'a Micelle>,
    /// Seed of everything.
    pub seed: u64,
}

/// The truth of an image.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ImageTruth {
    /// Its CTF.
    pub ctf: CtfParams,
    /// Its pose.
    pub pose: Pose,
    /// By how much its moving part has turned, in the volume's frame.
    pub turn: Rotation,
}

impl ImageTruth {
    /// The pose of the moving part, which turned about `hinge_a`.
    ///
    /// A point x of it lies at `δ(x - h) + h`, which an image shows at `R⁻¹(δ(x - h) + h) + t`: the pose `δ⁻¹ R`, moved by
    /// `R⁻¹(h - δ h)`.
    pub fn moving_pose(&self, hinge_a: [f64; 3]) -> Pose {
        let turned = self.turn.apply(hinge_a);
        let moved = self.pose.rotation.inverse().apply([0, 1, 2].map(|i| hinge_a[i] - turned[i]));
        Pose {
            rotation: self.turn.inverse() * self.pose.rotation,
            shift_a: [0, 1].map(|i| self.pose.shift_a[i] + moved[i]),
        }
    }
}

impl ImageSetup<'_> {
    /// The truth of image `index`.
    pub fn truth(&self, index: u64) -> ImageTruth {
        let rng = &mut stream(self.seed, Purpose::Particle, index, 0);
        let ctf = random_ctf(rng, self.optics, self.defocus_a);
        let rotation = rotation(rng);
        let shift_a = [0, 1].map(|_| uniform(rng, -self.shift_a, self.shift_a));
        let mut turn = Rotation::IDENTITY;
        if self.hinge_a.is_some() {
            let rng = &mut stream(self.seed, Purpose::Conformation, index, 0);
            turn = Rotation::from_rotation_vector([0; 3].map(|_| self.moving_rad * normal(rng)));
        }
        ImageTruth { ctf, pose: Pose { rotation, shift_a }, turn }
    }

    /// The image without noise, V·Å, particle white.
    pub fn signal(&self, index: u64, truth: &ImageTruth) -> Array2<f32> {
        let shift_px = truth.pose.shift_a.map(|t| t / self.pixel_a);
        let molecules =
            |micelle: &Micelle| micelle.carbons(&mut stream(self.seed, Purpose::Conformation, index, 1));
        let carbons_a = self.micelle.map(molecules).unwrap_or_default();
        let conformation = Conformation { turn: truth.turn, carbons_a };
        let (matrix, rotation) = (self.aberrations.magnification, truth.pose.rotation);
        let half = if self.layers {
            let thickness_a = self.layer_a();
            let layers =
                self.potential.layers_of(&conformation, rotation, shift_px, matrix, thickness_a).into_iter();
            let seen = layers.map(|(z_a, mut layer)| {
                self.apply_optics(&mut layer, &at_height(truth.ctf, z_a));
                layer
            });
            seen.reduce(|mut sum, layer| {
                sum.data_mut().zip_mut_with(layer.data(), |a, b| *a += b);
                sum
            })
            .expect("there should always be a layer")
        } else {
            let mut half = self.potential.projection_of(&conformation, rotation, shift_px, matrix);
            if self.aberrations.is_none() {
                apply_ctf(&mut half, &truth.ctf, self.pixel_a);
                return half.into_box();
            }
            self.apply_optics(&mut half, &truth.ctf);
            half
        };
        let whole = half.into_box();
        let first = centre(whole.nrows()) - centre(self.box_px);
        whole.slice(s![first..first + self.box_px, first..first + self.box_px]).to_owned()
    }

    /// Distance of layers, Å: the phase of the CTF changes by a quarter of a radian from one to the next at Nyquist's
    /// frequency, so that linear interpolation between them is good to 1 %.
    fn layer_a(&self) -> f64 {
        let nyquist = 0.5 / self.pixel_a;
        0.25 / (PI * self.optics.voltage.wavelength_a() * nyquist * nyquist)
    }

    /// Multiplies a transform by `c exp(-iφ)` at `M k`.
    fn apply_optics(&self, half: &mut HalfImage, ctf: &CtfParams) {
        let (n, edge_a) = (half.ny(), half.ny() as f64 * self.pixel_a);
        let [[a, b], [c, d]] = self.aberrations.magnification;
        let (wavelength_a, cs) = (self.optics.voltage.wavelength_a(), self.optics.cs);
        for ((y, x), value) in half.data_mut().indexed_iter_mut() {
            let (kx, ky) = (x as f64 / edge_a, signed_frequency(y, n) as f64 / edge_a);
            let (kx, ky) = (a * kx + b * ky, c * kx + d * ky);
            let phase = self.aberrations.odd_phase(kx, ky, wavelength_a, cs);
            let size = ctf.value(kx.hypot(ky), ky.atan2(kx));
            *value *= Complex32::from_polar(size as f32, -phase as f32);
        }
    }

    /// By how much the defocus of image `index` is taken wrongly, for a standard deviation of `sd_a` Å.
    pub fn defocus_error_a(&self, index: u64, sd_a: f64) -> f64 {
        sd_a * normal(&mut stream(self.seed, Purpose::DefocusError, index, 0))
    }

    /// Mean variance of the signal over a box, of the first images, (V·Å)².
    pub fn signal_variance(&self, images: u64) -> f64 {
        let count = images.min(VARIANCE_IMAGES);
        let one = |i: u64| variance(&self.signal(i, &self.truth(i)));
        // collected, so that they are added in their order
        let all: Vec<f64> = (0..count).into_par_iter().map(one).collect();
        all.iter().sum::<f64>() / count.max(1) as f64
    }

    /// The image of `index` with noise of variance 1, and the signal scaled by `scale` (1/(V·Å)).
    pub fn image(&self, index: u64, truth: &ImageTruth, scale: f64) -> Array2<f32> {
        let mut image = self.signal(index, truth);
        let rng = &mut stream(self.seed, Purpose::Noise, index, 0);
        image.iter_mut().for_each(|v| *v = (f64::from(*v) * scale + normal(rng)) as f32);
        image
    }
}

/// The CTF of a layer at `z_a` Å of the image frame, whose z points against the beam (`vitreous_model::ewald`).
fn at_height(ctf: CtfParams, z_a: f64) -> CtfParams {
    ctf.with_defocus_raised(Curvature::Forward.sign() * z_a)
}

fn variance(image: &Array2<f32>) -> f64 {
    let count = image.len().max(1) as f64;
    let mean = image.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
    image.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / count
}
