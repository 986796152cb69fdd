//! The low frequencies of an image that carry its motion: a rectangular piece of a half spectrum, as two planes.

use crate::fourier::HalfImage;
use std::f64::consts::TAU;

/// Columns of a band are padded to a multiple of this, so that the inner loops run over whole vectors.
pub const LANES: usize = 8;

/// Which Fourier coefficients of images of one size are kept: `ky = -ky_max ..= ky_max` (rows), `kx = 0 ..= kx_max`
/// (columns, padded with zeros to a multiple of [`LANES`]).
#[derive(Debug, Clone)]
pub struct Band {
    /// Columns of the images, pixels.
    pub nx: usize,
    /// Rows of the images, pixels.
    pub ny: usize,
    /// Largest kx.
    pub kx_max: usize,
    /// Largest |ky|.
    pub ky_max: usize,
    /// Coefficients of a row, padding included.
    pub stride: usize,
    /// `2π kx / nx` of each column, radians per pixel of shift; 0 for padding.
    pub omega_x: Vec<f32>,
    /// `2π ky / ny` of each row, radians per pixel of shift.
    pub omega_y: Vec<f32>,
}

impl Band {
    /// All frequencies of an `nx × ny` image up to `cutoff` cycles per pixel along either axis, without the Nyquist
    /// row and column (their sign is ambiguous, so they have no phase under a shift).
    pub fn new(nx: usize, ny: usize, cutoff: f64) -> Self {
        let limit = |n: usize| ((cutoff * n as f64).floor() as usize).clamp(1, ((n - 1) / 2).max(1));
        let (kx_max, ky_max) = (limit(nx), limit(ny));
        let stride = (kx_max + 1).next_multiple_of(LANES);
        let omega = |k: f64, n: usize| (TAU * k / n as f64) as f32;
        let omega_x = (0..stride).map(|k| if k <= kx_max { omega(k as f64, nx) } else { 0.0 }).collect();
        let omega_y = (0..=2 * ky_max).map(|row| omega(row as f64 - ky_max as f64, ny)).collect();
        Self { nx, ny, kx_max, ky_max, stride, omega_x, omega_y }
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        2 * self.ky_max + 1
    }

    /// Coefficients, padding included.
    pub fn len(&self) -> usize {
        self.rows() * self.stride
    }

    /// Whether there are no coefficients; a band of an image has some.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Cuts the band out of the transform of an image of [`Band::ny`] × [`Band::nx`] pixels.
    pub fn crop_half(&self, half: &HalfImage) -> Spectrum {
        let mut out = Spectrum { re: vec![0.0; self.len()], im: vec![0.0; self.len()] };
        let data = half.data();
        for row in 0..self.rows() {
            let y = (row + self.ny - self.ky_max) % self.ny;
            for (x, value) in data.row(y).iter().take(self.kx_max + 1).enumerate() {
                out.re[row * self.stride + x] = value.re;
                out.im[row * self.stride + x] = value.im;
            }
        }
        out
    }

    /// A weight for every coefficient from a function of the frequency (cycles per pixel). Zero for the padding, for
    /// the mean, and for the half of the column `kx = 0` that is the conjugate of the other half, so that every
    /// independent coefficient counts once.
    pub fn weights(&self, of_frequency: impl Fn(f64) -> f64) -> Vec<f32> {
        let mut weights = vec![0.0; self.len()];
        for row in 0..self.rows() {
            let ky = row as f64 - self.ky_max as f64;
            for kx in 0..=self.kx_max {
                if kx > 0 || ky > 0.0 {
                    let frequency = (kx as f64 / self.nx as f64).hypot(ky / self.ny as f64);
                    weights[row * self.stride + kx] = of_frequency(frequency) as f32;
                }
            }
        }
        weights
    }

    /// The ring of every coefficient, `round(frequency · 2 · rings)` with the frequency in cycles per pixel, so that
    /// ring `rings` is the Nyquist frequency; `u16::MAX` for coefficients that [`Band::weights`] leaves out or that lie
    /// beyond Nyquist.
    pub fn rings(&self, rings: usize) -> Vec<u16> {
        self.weights(|frequency| {
            let ring = (frequency * 2.0 * rings as f64).round();
            if ring <= rings as f64 { ring + 1.0 } else { 0.0 }
        })
        .into_iter()
        .map(|code| if code > 0.0 { code as u16 - 1 } else { u16::MAX })
        .collect()
    }
}

/// The coefficients of a [`Band`], real and imaginary parts apart, row by row.
#[derive(Debug, Clone)]
pub struct Spectrum {
    /// Real parts.
    pub re: Vec<f32>,
    /// Imaginary parts.
    pub im: Vec<f32>,
}
