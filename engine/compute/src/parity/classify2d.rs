//! Cases of [`crate::ops::classify2d`]: scores and evidence against formula (1) summed over the lattice for every class,
//! angle and shift; averages of images at known poses against exact slices.

use super::phantom::{Oracle, Phantom, Truth};
use super::{Outcome, nmse};
use crate::fourier::HalfImage;
use crate::likelihood::ImageModel;
use crate::ops::classify2d::{Assignment, ClassesRequest, Classify2d, FixedSums, SumsLayout};
use crate::ops::pose_search::{PoseSearchError, SearchImage, ShiftGrid, Truncation};
use crate::polar::PolarGrid;
use ndarray::Array2;
use num_complex::Complex64;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use std::f64::consts::PI;
use std::sync::Arc;
use vitreous_model::pose::Rotation;

/// Largest error of the best score and of the evidence, nats: as in pose search (measured 0.2 to 0.9).
const NATS_BOUND: f64 = 2.0;

/// How far the true logL of the pose found may lie under the best of the grid, nats.
const REGRET_BOUND: f64 = 1.0;

/// Error of an average over the power of the slice, over the band: samples of the image 1e-3, the CTF's azimuthal orders
/// beyond 4 and the circular mask the rest (measured 0.004 to 0.01).
const AVERAGE_BOUND: f64 = 0.02;

/// One setting.
struct Case {
    name: &'static str,
    n: usize,
    rmax: f64,
    classes: usize,
    /// Energy of a slice, nats.
    energy: f64,
    /// Images for the scores, and per class for the averages.
    images: usize,
    averaged: usize,
}

fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "box 40, 3 classes",
            n: 40,
            rmax: 8.0,
            classes: 3,
            energy: 300.0,
            images: 6,
            averaged: 60,
        },
        Case {
            name: "odd box 45, 5 classes",
            n: 45,
            rmax: 9.0,
            classes: 5,
            energy: 600.0,
            images: 5,
            averaged: 40,
        },
        Case {
            name: "box 64, 37 classes",
            n: 64,
            rmax: 12.0,
            classes: 37,
            energy: 600.0,
            images: 3,
            averaged: 8,
        },
    ]
}

/// What prepares averages: usually [`Classify2d::prepare_classes`], or one of a device's ways to do it.
pub type Prepare<'a, D> =
    &'a dyn Fn(&ClassesRequest<'_>) -> Result<<D as Classify2d>::Classes, PoseSearchError>;

/// All cases on one device, averages prepared by `prepare`.
///
/// # Panics
/// When the device refuses a case.
pub fn run<D: Classify2d>(device: &D, prepare: Prepare<'_, D>) -> Vec<Outcome> {
    cases().iter().flat_map(|case| run_case(device, prepare, case)).collect()
}

fn run_case<D: Classify2d>(device: &D, prepare: Prepare<'_, D>, case: &Case) -> Vec<Outcome> {
    let mut rng = ChaCha8Rng::seed_from_u64(7 + case.n as u64);
    let phantom = Phantom::new(case.n, 0.56, 14, 11);
    let rotations: Vec<Rotation> = (0..case.classes).map(|_| Truth::random(0.0, &mut rng).rotation).collect();
    let averages: Vec<Array2<f32>> = rotations.iter().map(|&r| slice_image(&phantom, r, &mut rng)).collect();
    let variance = phantom.variance_for_energy(case.rmax, case.energy);
    let noise = vec![variance * (case.n * case.n) as f64; case.n / 2 + 1];
    let shifts = ShiftGrid::disc(3.0, 1.5);
    let rings = case.rmax as usize + 4;
    let grid = PolarGrid::of_rings(case.n, rings, phantom.diameter_px, 0.0);
    let layout = SumsLayout {
        classes: case.classes,
        grid: Arc::new(grid),
        reference_noise: Arc::new(noise.iter().map(|v| 1.3 * v).collect()),
    };
    let log_prior: Vec<f64> = (0..case.classes).map(|class| -0.1 * class as f64).collect();
    let request = ClassesRequest {
        averages: &averages,
        log_prior: &log_prior,
        rmax: case.rmax,
        diameter_px: phantom.diameter_px,
        shifts: &shifts,
        ctf_power: &[0.5],
        noise: &noise,
        truncation: Truncation::default(),
        temperature: 1.0,
        layout: &layout,
        summed_rings: rings,
    };
    let classes = prepare(&request).expect("the case should be valid");
    let setting = Setting { case, phantom, rotations, noise, shifts, log_prior, layout };
    let angles = device.angles(&classes);
    let mut outcomes = setting.scores(device, &classes, angles, variance, &mut rng);
    outcomes.push(setting.averages(device, &classes, angles, &mut rng));
    outcomes
}

/// The exact slice without CTF as an image.
fn slice_image(phantom: &Phantom, rotation: Rotation, rng: &mut ChaCha8Rng) -> Array2<f32> {
    let truth = Truth { rotation, shift_px: [0.0; 2], ctf: None, amplitude: 1.0 };
    phantom.image(&truth, 0.0, rng).into_box()
}

struct Setting<'a> {
    case: &'a Case,
    phantom: Phantom,
    rotations: Vec<Rotation>,
    noise: Vec<f64>,
    shifts: ShiftGrid,
    log_prior: Vec<f64>,
    layout: SumsLayout,
}

/// Standard deviation of the prior on shifts, pixels.
const SHIFT_SIGMA_PX: f64 = 4.0;

impl Setting<'_> {
    fn turned(&self, class: usize, psi_rad: f64) -> Rotation {
        self.rotations[class] * Rotation::new((0.5 * psi_rad).cos(), 0.0, 0.0, (0.5 * psi_rad).sin())
    }

    fn search_image<'b>(
        &'b self,
        image: &'b HalfImage,
        truth: &'b Truth,
        centre: [f64; 2],
    ) -> SearchImage<'b> {
        SearchImage {
            model: ImageModel {
                image,
                ctf: truth.ctf.as_ref(),
                pixel_size_a: self.phantom.pixel_size_a(),
                noise: &self.noise,
                amplitude: 1.0,
            },
            centre_px: centre,
            shift_sigma_px: SHIFT_SIGMA_PX,
        }
    }

    /// Noisy images of random classes at random poses against the oracle.
    fn scores<D: Classify2d>(
        &self,
        device: &D,
        classes: &D::Classes,
        angles: usize,
        variance: f64,
        rng: &mut ChaCha8Rng,
    ) -> Vec<Outcome> {
        let truths: Vec<Truth> = (0..self.case.images)
            .map(|i| {
                let class = i * 7 % self.case.classes;
                let rotation = self.turned(class, rng.random_range(0.0..2.0 * PI));
                Truth { rotation, ..Truth::random(2.0, rng) }
            })
            .collect();
        let images: Vec<HalfImage> =
            truths.iter().map(|truth| self.phantom.image(truth, variance, rng)).collect();
        let centres: Vec<[f64; 2]> =
            (0..images.len()).map(|i| if i % 2 == 1 { [0.75, -0.5] } else { [0.0; 2] }).collect();
        let search: Vec<SearchImage<'_>> = (images.iter().zip(&truths).zip(&centres))
            .map(|((image, truth), &centre)| self.search_image(image, truth, centre))
            .collect();
        let mut sums = FixedSums::zeros(self.layout.clone());
        let found = device.classify(classes, &search, &vec![0; search.len()], &mut sums);
        let mut largest = [0f64; 3];
        for (image, found) in search.iter().zip(&found) {
            for (worst, error) in largest.iter_mut().zip(self.errors(image, found, angles)) {
                *worst = worst.max(error);
            }
        }
        let measures = [
            ("largest error of the best score, nats", NATS_BOUND),
            ("logL lost by the pose found, nats", REGRET_BOUND),
            ("largest error of the evidence, nats", NATS_BOUND),
        ];
        let outcome =
            |((measure, bound), error)| Outcome { case: self.case.name.into(), measure, error, bound };
        measures.into_iter().zip(largest).map(outcome).collect()
    }

    /// Errors of the best score, of the pose found (its true score under the true best) and of the evidence.
    fn errors(&self, image: &SearchImage<'_>, found: &Assignment, angles: usize) -> [f64; 3] {
        let oracle = Oracle {
            phantom: &self.phantom,
            image: image.model.image,
            ctf: image.model.ctf,
            amplitude: 1.0,
            noise: &self.noise,
            rmax: self.case.rmax,
        };
        let shifts: Vec<[f64; 2]> =
            self.shifts.list.iter().map(|t| [t[0] + image.centre_px[0], t[1] + image.centre_px[1]]).collect();
        let poses: Vec<(usize, usize)> =
            (0..self.case.classes).flat_map(|class| (0..angles).map(move |psi| (class, psi))).collect();
        let scored: Vec<Vec<f64>> = poses
            .par_iter()
            .map(|&(class, psi)| {
                let psi_rad = 2.0 * PI * psi as f64 / angles as f64;
                let values = oracle.log_likelihoods(self.turned(class, psi_rad), &shifts);
                let prior = |t: &[f64; 2]| -(t[0] * t[0] + t[1] * t[1]) / (2.0 * SHIFT_SIGMA_PX.powi(2));
                let with_prior = |(value, t)| value + prior(t) + self.log_prior[class];
                values.into_iter().zip(&self.shifts.list).map(with_prior).collect()
            })
            .collect();
        let top = scored.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max);
        let evidence = top + scored.iter().flatten().map(|v| (v - top).exp()).sum::<f64>().ln();
        let psi = (found.psi_rad / (2.0 * PI) * angles as f64).round() as usize % angles;
        let shift = shifts
            .iter()
            .position(|t| (t[0] - found.shift_px[0]).hypot(t[1] - found.shift_px[1]) < 1e-9)
            .expect("the shift found should be one of the grid");
        let there = scored[found.class * angles + psi][shift];
        [(found.best - top).abs(), top - there, (found.log_evidence - evidence).abs()]
    }

    /// Averages of clear images at poses of the grid against the slices.
    fn averages<D: Classify2d>(
        &self,
        device: &D,
        classes: &D::Classes,
        angles: usize,
        rng: &mut ChaCha8Rng,
    ) -> Outcome {
        let truths: Vec<Truth> = (0..self.case.classes * self.case.averaged)
            .map(|i| {
                let psi_rad = 2.0 * PI * rng.random_range(0..angles) as f64 / angles as f64;
                let rotation = self.turned(i % self.case.classes, psi_rad);
                let shift_px = self.shifts.list[rng.random_range(0..self.shifts.list.len())];
                Truth { rotation, shift_px, ..Truth::random(0.0, rng) }
            })
            .collect();
        let images: Vec<HalfImage> = truths.iter().map(|truth| self.phantom.image(truth, 0.0, rng)).collect();
        let search: Vec<SearchImage<'_>> = images
            .iter()
            .zip(&truths)
            .map(|(image, truth)| self.search_image(image, truth, [0.0; 2]))
            .collect();
        let halves: Vec<usize> = (0..search.len()).map(|i| i / self.case.classes % 2).collect();
        let mut sums = FixedSums::zeros(self.layout.clone());
        device.classify(classes, &search, &halves, &mut sums);
        let sums = sums.to_sums();
        let band = 3..self.case.rmax as usize;
        let mut pairs = Vec::new();
        for (class, &rotation) in self.rotations.iter().enumerate() {
            for index in band.clone() {
                let ring = &self.layout.grid.rings[index];
                let found = sums.ring(class, None, index);
                let root = self.layout.root_noise(index);
                for i in 0..ring.count {
                    let (s, c) = (PI * i as f64 / ring.count as f64).sin_cos();
                    let want = self.phantom.slice(rotation, ring.radius * c, ring.radius * s);
                    let got: Complex64 = found.numerator[i] * root / found.weight[i];
                    // per unit of the plane's area
                    let root_area = (ring.radius / ring.count as f64).sqrt();
                    pairs.push((got.re * root_area, want.re * root_area));
                    pairs.push((got.im * root_area, want.im * root_area));
                }
            }
        }
        let error = nmse(pairs.into_iter());
        let measure = "squared error of averages over power";
        Outcome { case: self.case.name.into(), measure, error, bound: AVERAGE_BOUND }
    }
}
