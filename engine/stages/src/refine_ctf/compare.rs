//! An image beside a slice of the map.

use super::lattice::Lattice;
use num_complex::Complex32;
use std::f64::consts::TAU;
use vitreous_compute::cpu::project::Projector;
use vitreous_compute::fourier::HalfImage;
use vitreous_compute::likelihood::LatticeCtf;
use vitreous_model::conventions::signed_frequency;
use vitreous_model::ctf::CtfParams;
use vitreous_model::pose::Pose;

/// How images are weighed.
#[derive(Debug, Clone)]
pub struct Weights {
    /// One over the variance of the noise, by shell.
    pub over_noise: Vec<f32>,
    /// Amplitude of the particles relative to the map.
    pub amplitude: f32,
}

/// Numbers of each point of a lattice.
#[derive(Debug, Clone, Default)]
pub struct Compared {
    /// `X conj(P) / σ²`, the amplitude in P, nats.
    pub cross: Vec<Complex32>,
    /// `|P|² / σ²`, nats.
    pub norm: Vec<f32>,
    /// Cosine and sine of the argument χ of the CTF, as a complex number `exp(iχ)`.
    pub turn: Vec<Complex32>,
    /// Change of P per Fourier pixel along x and y, over σ; empty if not wanted.
    pub gradient: Vec<[Complex32; 2]>,
    /// X and P over σ, where the gradient is wanted.
    pub both: Vec<[Complex32; 2]>,
    /// `|X|²` of each shell, summed over its points.
    pub power: Vec<f64>,
}

impl Compared {
    /// Brings an image's transform (phases from the centre) and the map's slice of its pose together.
    pub fn new(
        lattice: &Lattice,
        map: &Projector,
        image: &HalfImage,
        (ctf, pose): (&CtfParams, &Pose),
        weights: &Weights,
        with_gradient: bool,
    ) -> Self {
        let n = lattice.n;
        let ctf = LatticeCtf::new(Some(ctf), n, lattice.pixel_a);
        let rotation = pose.rotation.matrix();
        let axes = [0, 1].map(|column: usize| [0, 1, 2].map(|row: usize| rotation[row][column] as f32));
        let ramp = |axis: usize, count: usize| -> Vec<Complex32> {
            let turns = pose.shift_a[axis] / (lattice.pixel_a * n as f64);
            let at = |i: usize| {
                let (sin, cos) = (TAU * signed_frequency(i, n) as f64 * turns).sin_cos();
                Complex32::new(cos as f32, sin as f32)
            };
            (0..count).map(at).collect()
        };
        let (along_x, along_y) = (ramp(0, n / 2 + 1), ramp(1, n));
        let count = lattice.points.len();
        let mut out = Self {
            cross: Vec::with_capacity(count),
            norm: Vec::with_capacity(count),
            turn: Vec::with_capacity(count),
            power: vec![0.0; lattice.shells()],
            ..Self::default()
        };
        let data = image.data();
        for point in &lattice.points {
            let [y, x] = point.place.map(|i| i as usize);
            let [qx, qy] = point.q;
            let seen = data[[y, x]] * (along_x[x] * along_y[y]);
            let k = [0, 1, 2].map(|i: usize| axes[0][i] * qx + axes[1][i] * qy);
            let shell = point.shell as usize;
            let weight = weights.over_noise[shell];
            let value = if with_gradient {
                let (value, gradient) = map.value_and_gradient(k);
                let scale = weights.amplitude * weight.sqrt();
                let along = |axis: [f32; 3]| {
                    (gradient[0] * axis[0] + gradient[1] * axis[1] + gradient[2] * axis[2]) * scale
                };
                out.gradient.push([along(axes[0]), along(axes[1])]);
                out.both.push([seen * weight.sqrt(), value * scale]);
                value
            } else {
                map.value(k)
            };
            let value = value * weights.amplitude;
            out.power[shell] += f64::from(seen.norm_sqr());
            out.cross.push(seen * value.conj() * weight);
            out.norm.push(value.norm_sqr() * weight);
            let (sin, cos) = ctf.sin_cos(qx.into(), qy.into());
            out.turn.push(Complex32::new(cos, sin));
        }
        out
    }

    /// Adds a phase that depends on the bin of |k|² to the argument of the CTF.
    pub fn advance(&mut self, lattice: &Lattice, phase: impl Fn(usize) -> f64) {
        let turns: Vec<Complex32> = (0..lattice.bins)
            .map(|bin| {
                let (sin, cos) = phase(bin).sin_cos();
                Complex32::new(cos as f32, sin as f32)
            })
            .collect();
        for (value, point) in self.turn.iter_mut().zip(&lattice.points) {
            *value *= turns[point.bin as usize];
        }
    }

    /// Log-likelihood relative to noise alone, nats.
    pub fn log_likelihood(&self) -> f64 {
        let points = self.cross.iter().zip(&self.norm).zip(&self.turn);
        points.map(|((cross, norm), turn)| f64::from((2.0 * cross.re - norm * turn.im) * turn.im)).sum()
    }

    /// By shell: `Re X c conj(P)`, `c² |P|²` in the map's units, and `|X|²`: what amplitude and noise follow from.
    pub fn shell_sums(&self, lattice: &Lattice) -> Vec<[f64; 3]> {
        let mut sums: Vec<[f64; 3]> = self.power.iter().map(|&power| [0.0, 0.0, power]).collect();
        for (((point, cross), norm), turn) in
            lattice.points.iter().zip(&self.cross).zip(&self.norm).zip(&self.turn)
        {
            let sum = &mut sums[point.shell as usize];
            sum[0] += f64::from(cross.re * turn.im);
            sum[1] += f64::from(norm * turn.im * turn.im);
        }
        sums
    }
}
