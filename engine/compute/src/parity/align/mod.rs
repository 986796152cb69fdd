//! Cases of [`crate::ops::align`]: logL and gradients against formula (1) with exact slices and its central
//! differences, refinement from perturbed poses against refinement from the truth; and, tightly, all sums against the same
//! sums in f64 over the interpolated reference.

mod interpolated;

use super::Outcome;
use super::phantom::{Oracle, Phantom, Truth};
use crate::fourier::HalfImage;
use crate::likelihood::ImageModel;
use crate::ops::align::{Align, AlignImage, AlignLevel, PARAMETERS, PixelPose, PosePrior};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use vitreous_model::pose::Rotation;

/// Error of logL as a fraction of the energy of a slice: linear interpolation is 1 % off (rms), and so is its square.
const LOG_LIKELIHOOD_BOUND: f64 = 0.02;

/// Error of the gradient as a fraction of its length, root mean square over poses: the gradient of the interpolation is
/// constant along each axis of a cell (measured 0.04 to 0.08).
const GRADIENT_BOUND: f64 = 0.1;

/// Error of the Hessian's diagonal, relative: as the gradient, squared and summed over all points
/// (measured 0.03 to 0.08, the worst of 20 images).
const HESSIAN_BOUND: f64 = 0.1;

/// logL in nats that refinement from a perturbed pose may lose against refinement from the truth.
const REGRET_BOUND: f64 = 0.5;

/// Mean squared error of the refined parameters over what the covariance promises: 1 on average where noise is all;
/// with 100 squared numbers up to 1.5, and the interpolation's error adds as much again in the smallest box, where a
/// slice holds few points (measured 1.0 to 2.4).
const COVARIANCE_BOUND: f64 = 3.0;

/// Box edges, with the band of each.
const SIZES: [(usize, f64); 3] = [(32, 9.0), (45, 14.0), (80, 30.0)];

/// Images per size.
const IMAGES: usize = 20;

/// Energy of a slice, nats.
const ENERGY: f64 = 2000.0;

/// Objects, images and what they were made with.
struct Setting {
    phantom: Phantom,
    images: Vec<HalfImage>,
    truths: Vec<Truth>,
    noise: Vec<f64>,
    rmax: f64,
}

fn setting(n: usize, rmax: f64) -> Setting {
    let phantom = Phantom::new(n, 0.5, 20, 3);
    let variance = phantom.variance_for_energy(rmax, ENERGY);
    let mut rng = ChaCha8Rng::seed_from_u64(n as u64);
    let truths: Vec<Truth> =
        (0..IMAGES).map(|_| Truth { amplitude: 0.8, ..Truth::random(0.05 * n as f64, &mut rng) }).collect();
    let images = truths.iter().map(|truth| phantom.image(truth, variance, &mut rng)).collect();
    let noise = vec![variance * (n * n) as f64; n / 2 + 1];
    Setting { phantom, images, truths, noise, rmax }
}

impl Setting {
    fn align_images<'a>(&'a self, starts: &'a [Vec<PixelPose>], prior: PosePrior) -> Vec<AlignImage<'a>> {
        self.images
            .iter()
            .zip(&self.truths)
            .zip(starts)
            .map(|((image, truth), starts)| AlignImage {
                model: ImageModel {
                    image,
                    ctf: truth.ctf.as_ref(),
                    pixel_size_a: self.phantom.pixel_size_a(),
                    noise: &self.noise,
                    amplitude: truth.amplitude,
                },
                starts,
                prior,
            })
            .collect()
    }

    /// Exact logL of image `index` at a pose.
    fn exact(&self, index: usize, pose: PixelPose) -> f64 {
        let truth = &self.truths[index];
        let oracle = Oracle {
            phantom: &self.phantom,
            image: &self.images[index],
            ctf: truth.ctf.as_ref(),
            amplitude: truth.amplitude,
            noise: &self.noise,
            rmax: self.rmax,
        };
        oracle.log_likelihoods(pose.rotation, &[pose.shift_px])[0]
    }

    /// Exact gradient by central differences.
    fn exact_gradient(&self, index: usize, pose: PixelPose) -> [f64; PARAMETERS] {
        const H: f64 = 1e-3;
        std::array::from_fn(|a| {
            let at = |h: f64| self.exact(index, stepped(pose, a, h));
            (at(H) - at(-H)) / (2.0 * H)
        })
    }
}

/// `pose` with parameter `a` moved by `h`.
fn stepped(pose: PixelPose, a: usize, h: f64) -> PixelPose {
    let mut w = [0.0; 3];
    let mut shift_px = pose.shift_px;
    if a < 3 {
        w[a] = h;
    } else {
        shift_px[a - 3] += h;
    }
    PixelPose { rotation: pose.rotation * Rotation::from_rotation_vector(w), shift_px }
}

/// The truth moved by up to `fraction` of the basin in every parameter.
fn perturbed(truth: &Truth, rmax: f64, n: usize, fraction: f64, rng: &mut ChaCha8Rng) -> PixelPose {
    let mut unit = || rng.random_range(-1.0..1.0) * fraction;
    // half of a wavelength at the edge of a particle that fills half of the box
    let turn = 1.0 / rmax;
    let shift = 0.25 * n as f64 / rmax;
    let w = [unit() * turn, unit() * turn, unit() * turn];
    let t = [unit() * shift, unit() * shift];
    PixelPose {
        rotation: truth.rotation * Rotation::from_rotation_vector(w),
        shift_px: [truth.shift_px[0] + t[0], truth.shift_px[1] + t[1]],
    }
}

/// All cases on one device.
///
/// # Panics
/// When the device refuses a volume.
pub fn run<D: Align>(device: &D) -> Vec<Outcome> {
    with_exact(device, &SIZES)
}

/// The cases for kernels that run on the host: of those against exact slices, which tell more of the interpolation than of
/// the device, only the smallest box, as they take seconds and planted faults are many.
///
/// # Panics
/// When the device refuses a volume.
pub fn run_small<D: Align>(device: &D) -> Vec<Outcome> {
    with_exact(device, &SIZES[..1])
}

fn with_exact<D: Align>(device: &D, sizes: &[(usize, f64)]) -> Vec<Outcome> {
    let mut outcomes = interpolated::run(device);
    for &(n, rmax) in sizes {
        let setting = setting(n, rmax);
        let slicer = device
            .slicer(setting.phantom.volume().view(), 2.0, 0.5 * n as f64)
            .expect("the phantom should be a cube");
        let mut push = |measure, error, bound| {
            outcomes.push(Outcome { case: format!("box {n}, band to {rmax}"), measure, error, bound });
        };
        let mut rng = ChaCha8Rng::seed_from_u64(77);
        let starts: Vec<Vec<PixelPose>> =
            setting.truths.iter().map(|truth| vec![perturbed(truth, rmax, n, 0.5, &mut rng)]).collect();
        let [value, gradient, hessian] = derivative_errors(device, &slicer, &setting, &starts);
        push("error of logL over energy", value, LOG_LIKELIHOOD_BOUND);
        push("error of the gradient over its length", gradient, GRADIENT_BOUND);
        push("error of the Hessian's diagonal, relative", hessian, HESSIAN_BOUND);
        let (regret, chi2) = refinement_errors(device, &slicer, &setting, &starts);
        push("logL lost against a start at the truth, nats", regret, REGRET_BOUND);
        push("squared error of the pose over its variance", chi2, COVARIANCE_BOUND);
    }
    outcomes
}

fn derivative_errors<D: Align>(
    device: &D,
    slicer: &D::Slicer,
    setting: &Setting,
    starts: &[Vec<PixelPose>],
) -> [f64; 3] {
    let found = device.normal_equations(slicer, setting.rmax, &setting.align_images(starts, PosePrior::NONE));
    let truth_starts = truth_starts(setting);
    let at_truth =
        device.normal_equations(slicer, setting.rmax, &setting.align_images(&truth_starts, PosePrior::NONE));
    let errors: Vec<[f64; 3]> = (0..IMAGES)
        .into_par_iter()
        .map(|i| {
            let pose = starts[i][0];
            let exact = setting.exact_gradient(i, pose);
            let scale = |g: &[f64; PARAMETERS]| {
                // parameters in units of their own curvature, so that turns and shifts compare
                (0..PARAMETERS).map(|a| g[a] * g[a] / found[i].hessian[a][a]).sum::<f64>()
            };
            let difference: [f64; PARAMETERS] = std::array::from_fn(|a| found[i].gradient[a] - exact[a]);
            // at the truth the expected curvature of logL is the Hessian; noise adds to single images
            let diagonal = (0..PARAMETERS).map(|a| {
                let h = 2e-3;
                let pose = truth_starts[i][0];
                let middle = noise_free_energy(setting, i, pose, pose);
                let apart = noise_free_energy(setting, i, pose, stepped(pose, a, h));
                (at_truth[i].hessian[a][a] / (2.0 * (middle - apart) / (h * h)) - 1.0).abs()
            });
            [
                (found[i].log_likelihood - setting.exact(i, pose)).abs() / ENERGY,
                scale(&difference) / scale(&exact),
                diagonal.fold(0.0, f64::max),
            ]
        })
        .collect();
    let largest = |which: usize| errors.iter().map(|e| e[which]).fold(0.0, f64::max);
    let gradient = errors.iter().map(|e| e[1]).sum::<f64>() / errors.len() as f64;
    [largest(0), gradient.sqrt(), largest(2)]
}

/// logL at `pose` of the noise-free image at `truth`.
fn noise_free_energy(setting: &Setting, index: usize, truth: PixelPose, pose: PixelPose) -> f64 {
    let made = Truth { rotation: truth.rotation, shift_px: truth.shift_px, ..setting.truths[index] };
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let image = setting.phantom.image(&made, 0.0, &mut rng);
    let oracle = Oracle {
        phantom: &setting.phantom,
        image: &image,
        ctf: made.ctf.as_ref(),
        amplitude: made.amplitude,
        noise: &setting.noise,
        rmax: setting.rmax,
    };
    oracle.log_likelihoods(pose.rotation, &[pose.shift_px])[0]
}

fn truth_starts(setting: &Setting) -> Vec<Vec<PixelPose>> {
    setting
        .truths
        .iter()
        .map(|truth| vec![PixelPose { rotation: truth.rotation, shift_px: truth.shift_px }])
        .collect()
}

/// Worst loss of logL, and mean of squared errors over the covariance.
fn refinement_errors<D: Align>(
    device: &D,
    slicer: &D::Slicer,
    setting: &Setting,
    starts: &[Vec<PixelPose>],
) -> (f64, f64) {
    let levels =
        [AlignLevel { rmax: 0.6 * setting.rmax, keep: 2 }, AlignLevel { rmax: setting.rmax, keep: 1 }];
    let prior = PosePrior::of_shift(0.2 * setting.phantom.n as f64);
    let truths = truth_starts(setting);
    let from_truth = device.align(slicer, &levels, &setting.align_images(&truths, prior));
    let from_starts = device.align(slicer, &levels, &setting.align_images(starts, prior));
    let mut regret = f64::NEG_INFINITY;
    let mut chi2 = 0.0;
    for ((best, found), truth) in from_truth.iter().zip(&from_starts).zip(&setting.truths) {
        let (Some(best), Some(found)) = (best.first(), found.first()) else { return (f64::NAN, f64::NAN) };
        regret = regret.max(best.log_likelihood - found.log_likelihood);
        let w = (found.pose.rotation.inverse() * truth.rotation).to_rotation_vector();
        let error: [f64; PARAMETERS] = [
            w[0],
            w[1],
            w[2],
            truth.shift_px[0] - found.pose.shift_px[0],
            truth.shift_px[1] - found.pose.shift_px[1],
        ];
        for a in 0..PARAMETERS {
            for b in 0..PARAMETERS {
                chi2 += error[a] * found.hessian[a][b] * error[b];
            }
        }
    }
    (regret, chi2 / (PARAMETERS * IMAGES) as f64)
}
