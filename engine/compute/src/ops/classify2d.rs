//! Contract: one step of 2-D classification by expectation–maximisation, in polar Fourier coordinates.
//!
//! *Expectation*: for each image, formula (1) of [`crate::likelihood`] is evaluated for every class average, in-plane
//! angle and shift of a product grid; the posterior over all of them is `exp(logL / T) · prior`. *Maximisation*: the
//! image, turned and shifted back by every pose that holds a share of the posterior, is added to its class.
//!
//! # Definitions
//! * A class average is an image without CTF, `[box, box]`, its particle at the centre.
//! * `psi = 2π j / n_psi`: an image shows its class turned by psi, so that at `(r, θ)` of the image's transform stands
//!   the average's value at `(r, θ + psi)`; the pose is `Rz(psi)`, the class number its third dimension.
//! * Shifts count from the image's `centre_px`, as in [`crate::ops::pose_search`].
//!
//! # Sums
//! Per class, half, ring and angular frequency m of a [`PolarGrid`], with the reference noise `s_0(r)` of
//! [`SumsLayout`] and image weights g:
//! ```text
//! N_m(r) = Σ g e^{-i m psi} (X e^{+2πi q·t/N} c √s_0 / s2)_m(r)     D_Q(r) = Σ g e^{-i Q psi} (c² s_0 / s2)_Q(r)
//! ```
//! Q = 0, 2, 4. Both are sums of integers (steps of 2⁻³²), so they are the same for any number of threads and ranks and
//! any order of images.
//!
//! # Allowed error (checked by [`crate::parity::classify2d`])
//! Scores as in [`crate::ops::pose_search`]: rms 0.5, at most 2 nats; the average of images at known poses against the
//! exact slice: 2 % in squared error over the band.

use crate::device::Device;
use crate::likelihood::spectrum_at;
use crate::ops::pose_search::{PoseSearchError, SearchImage, ShiftGrid, Truncation};
use crate::polar::PolarGrid;
use ndarray::Array2;
use num_complex::Complex64;
use std::sync::Arc;

/// Steps per unit of the integer sums: whitened contributions are of the order of 1, at most some hundreds, and 2²¹
/// images of them fit.
const STEPS: f64 = (1u64 << 32) as f64;

/// Real numbers per ring of the weights: D_0, then D_2 and D_4 as (re, im).
const WEIGHTS_PER_RING: usize = 5;

/// What the sums are over.
#[derive(Debug, Clone)]
pub struct SumsLayout {
    /// Number of classes.
    pub classes: usize,
    /// Rings and their angular frequencies; a band inside it fills the first rings.
    pub grid: Arc<PolarGrid>,
    /// Noise by shell that the sums are in units of; any spectrum near that of the images.
    pub reference_noise: Arc<Vec<f64>>,
}

impl SumsLayout {
    /// Numbers per class and half: modes, weights, and the sum of g.
    fn block(&self) -> usize {
        2 * self.grid.modes() + WEIGHTS_PER_RING * self.grid.rings.len() + 1
    }

    /// Numbers of all classes and halves.
    pub fn len(&self) -> usize {
        2 * self.classes * self.block()
    }

    /// Whether there is no class.
    pub fn is_empty(&self) -> bool {
        self.classes == 0
    }

    fn start(&self, class: usize, half: usize) -> usize {
        (2 * class + half) * self.block()
    }

    /// `√s_0` at a ring.
    pub fn root_noise(&self, ring: usize) -> f64 {
        spectrum_at(&self.reference_noise, self.grid.rings[ring].radius).max(f64::MIN_POSITIVE).sqrt()
    }
}

/// Integer sums of a batch.
#[derive(Debug, Clone)]
pub struct FixedSums {
    layout: SumsLayout,
    values: Vec<i64>,
}

/// What one image gives to one class: modes of the first rings, weights of as many, and its share.
#[derive(Debug, Clone, Default)]
pub struct Contribution {
    /// N_m(r), `[mode]` of the first rings, as [`PolarGrid`] counts.
    pub modes: Vec<[f32; 2]>,
    /// D_0, D_2 and D_4 per ring.
    pub weights: Vec<[f32; WEIGHTS_PER_RING]>,
    /// Σ g.
    pub share: f32,
}

impl FixedSums {
    /// Nothing yet.
    pub fn zeros(layout: SumsLayout) -> Self {
        let values = vec![0; layout.len()];
        Self { layout, values }
    }

    /// Adds an image's part to a class and half (0 or 1).
    pub fn add(&mut self, class: usize, half: usize, part: &Contribution) {
        let steps = |value: f32| (f64::from(value) * STEPS) as i64;
        let start = self.layout.start(class, half);
        let modes = 2 * self.layout.grid.modes();
        let weights = WEIGHTS_PER_RING * self.layout.grid.rings.len();
        let (numerator, rest) = self.values[start..].split_at_mut(modes);
        let add = |(sum, &value): (&mut i64, &f32)| *sum += steps(value);
        numerator.iter_mut().zip(part.modes.as_flattened()).for_each(add);
        rest[..weights].iter_mut().zip(part.weights.as_flattened()).for_each(add);
        rest[weights] += steps(part.share);
    }

    /// Adds other sums of the same layout.
    pub fn merge(&mut self, other: &Self) {
        self.values.iter_mut().zip(&other.values).for_each(|(sum, value)| *sum += value);
    }

    /// The integers, to be summed over ranks.
    pub fn values_mut(&mut self) -> &mut [i64] {
        &mut self.values
    }

    /// As real numbers.
    pub fn to_sums(&self) -> ClassSums {
        let values = self.values.iter().map(|&value| value as f64 / STEPS).collect();
        ClassSums { layout: self.layout.clone(), values }
    }
}

/// Sums of any number of batches.
#[derive(Debug, Clone)]
pub struct ClassSums {
    layout: SumsLayout,
    values: Vec<f64>,
}

/// One class's sums on one ring, at the ring's samples.
#[derive(Debug, Clone)]
pub struct RingSums {
    /// N(r, θ), `[count]`.
    pub numerator: Vec<Complex64>,
    /// D(r, θ), `[count]`, never negative.
    pub weight: Vec<f64>,
}

impl ClassSums {
    /// Nothing yet.
    pub fn zeros(layout: SumsLayout) -> Self {
        let values = vec![0.0; layout.len()];
        Self { layout, values }
    }

    /// From numbers kept before; `None` if they are not as many as the layout has.
    pub fn from_values(layout: SumsLayout, values: Vec<f64>) -> Option<Self> {
        (values.len() == layout.len()).then_some(Self { layout, values })
    }

    /// All numbers, to be kept.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// What the sums are over.
    pub fn layout(&self) -> &SumsLayout {
        &self.layout
    }

    /// `memory · self + batch`.
    pub fn remember(&mut self, memory: f64, batch: &Self) {
        self.values.iter_mut().zip(&batch.values).for_each(|(sum, new)| *sum = *sum * memory + new);
    }

    /// Sum of shares of a class in a half.
    pub fn share(&self, class: usize, half: usize) -> f64 {
        self.values[self.layout.start(class, half) + self.layout.block() - 1]
    }

    /// Forgets a class.
    pub fn clear(&mut self, class: usize) {
        let start = self.layout.start(class, 0);
        self.values[start..start + 2 * self.layout.block()].fill(0.0);
    }

    /// Moves what a class shows by `(x, y)` pixels of the box.
    pub fn shift(&mut self, class: usize, by_px: [f64; 2]) {
        let grid = self.layout.grid.clone();
        for half in 0..2 {
            let start = self.layout.start(class, half);
            for ring in &grid.rings {
                let first = start + 2 * ring.first_mode;
                let pairs = self.values[first..first + 2 * ring.m_count()].as_chunks_mut::<2>().0;
                let modes: Vec<Complex64> = pairs.iter().map(|p| Complex64::new(p[0], p[1])).collect();
                let mut samples = ring.of_modes(&modes);
                for (i, sample) in samples.iter_mut().enumerate() {
                    let (s, c) = (std::f64::consts::PI * i as f64 / ring.count as f64).sin_cos();
                    let turns = ring.radius * (c * by_px[0] + s * by_px[1]) / grid.box_px as f64;
                    *sample *= Complex64::cis(-std::f64::consts::TAU * turns);
                }
                let plain: Vec<[f32; 2]> = samples.iter().map(|v| [v.re as f32, v.im as f32]).collect();
                for (pair, mode) in pairs.iter_mut().zip(ring.modes(&plain)) {
                    *pair = mode.map(f64::from);
                }
            }
        }
    }

    /// The sums of a class at a ring's samples: of one half, or of both.
    pub fn ring(&self, class: usize, half: Option<usize>, ring_index: usize) -> RingSums {
        let ring = &self.layout.grid.rings[ring_index];
        let mut modes = vec![Complex64::ZERO; ring.m_count()];
        let mut orders = [0.0; WEIGHTS_PER_RING];
        for part in (0..2).filter(|part| half.is_none_or(|half| half == *part)) {
            let start = self.layout.start(class, part);
            let first = start + 2 * ring.first_mode;
            for (mode, pair) in modes.iter_mut().zip(self.values[first..].as_chunks::<2>().0) {
                *mode += Complex64::new(pair[0], pair[1]);
            }
            let first = start + 2 * self.layout.grid.modes() + WEIGHTS_PER_RING * ring_index;
            orders.iter_mut().zip(&self.values[first..]).for_each(|(sum, value)| *sum += value);
        }
        let [zero, two_re, two_im, four_re, four_im] = orders;
        let weight = (0..ring.count).map(|i| {
            let angle = 2.0 * std::f64::consts::PI * i as f64 / ring.count as f64;
            let (two, four) = (Complex64::cis(angle), Complex64::cis(2.0 * angle));
            let even = Complex64::new(two_re, two_im) * two + Complex64::new(four_re, four_im) * four;
            // orders beyond 4 are missing, so that the sum may dip under zero where the true one is small
            (zero + 2.0 * even.re).max(0.02 * zero)
        });
        RingSums { numerator: ring.of_modes(&modes), weight: weight.collect() }
    }
}

/// What one step is to cover.
#[derive(Debug, Clone)]
pub struct ClassesRequest<'a> {
    /// Class averages, `[box, box]` each, masked.
    pub averages: &'a [Array2<f32>],
    /// `ln` of the prior of each class.
    pub log_prior: &'a [f64],
    /// End of the band that poses are found with, Fourier pixels of the box.
    pub rmax: f64,
    /// Diameter of the particle, pixels: bounds the angular frequencies.
    pub diameter_px: f64,
    /// Shifts to try.
    pub shifts: &'a ShiftGrid,
    /// Mean of c² over the images, by shell from 0.
    pub ctf_power: &'a [f64],
    /// Mean of s2 over the images, by shell from 0.
    pub noise: &'a [f64],
    /// Accuracy of the radial basis.
    pub truncation: Truncation,
    /// Scores are divided by it before they become probabilities.
    pub temperature: f64,
    /// Where sums go; its grid reaches at least as far as the band.
    pub layout: &'a SumsLayout,
    /// Rings that images are added to, counted from the innermost.
    pub summed_rings: usize,
}

/// What became of one image.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// Most probable class, from 0.
    pub class: usize,
    /// Its probability.
    pub probability: f64,
    /// Best in-plane angle in it, radians.
    pub psi_rad: f64,
    /// Where the particle lies at the best pose, pixels from the centre of the box.
    pub shift_px: [f64; 2],
    /// `ln` of the posterior's sum, relative to pure noise, nats: the evidence over all poses of the grid, each counting
    /// as one.
    pub log_evidence: f64,
    /// logL of the best pose, prior included, nats.
    pub best: f64,
    /// Number of poses the posterior is spread over: `1 / Σ p²`.
    pub effective_poses: f64,
    /// By ring, the mean over angles of `2 Re(X c conj P) - c² |P|²` under the posterior: what the classes explain of
    /// the image's power.
    pub explained: Vec<f64>,
}

/// The operation.
pub trait Classify2d: Device {
    /// Averages prepared for a step.
    type Classes: Send + Sync;

    /// Prepares averages.
    ///
    /// # Errors
    /// [`PoseSearchError`] if the request makes no sense or all averages are empty.
    fn prepare_classes(&self, request: &ClassesRequest<'_>) -> Result<Self::Classes, PoseSearchError>;

    /// Number of in-plane angles of the grid.
    fn angles(&self, classes: &Self::Classes) -> usize;

    /// Classifies images and adds them to `sums`, image i to half `halves[i]` (0 or 1). Images are of the averages' box.
    fn classify(
        &self,
        classes: &Self::Classes,
        images: &[SearchImage<'_>],
        halves: &[usize],
        sums: &mut FixedSums,
    ) -> Vec<Assignment>;
}
