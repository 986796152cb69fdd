//! The coefficients of an image that are compared: one of each Friedel pair in a ring of radii, without Nyquist's.

use std::f64::consts::PI;
use vitreous_model::conventions::{frequency_per_a, shell_of, signed_frequency};

/// Largest change of phase over a bin of |k|² at the largest defocus offset, rad.
const BIN_PHASE: f64 = 0.15;
/// Fewest bins of |k|².
const FEWEST_BINS: usize = 32;

/// One coefficient.
#[derive(Debug, Clone, Copy)]
pub struct Point {
    /// Row and column in a half transform.
    pub place: [u32; 2],
    /// Fourier pixels along x and y.
    pub q: [f32; 2],
    /// Its shell.
    pub shell: u32,
    /// Its bin of |k|².
    pub bin: u32,
    /// Cosine and sine of twice its azimuth.
    pub twice: [f32; 2],
}

/// The coefficients, in the order of rows.
#[derive(Debug, Clone)]
pub struct Lattice {
    /// Box edge, pixels.
    pub n: usize,
    /// Pixel size, Å.
    pub pixel_a: f64,
    /// Largest radius, Fourier pixels.
    pub rmax: f64,
    /// The coefficients.
    pub points: Vec<Point>,
    /// Bins of |k|², equally wide up to the largest radius.
    pub bins: usize,
}

impl Lattice {
    /// Radii from `rmin` to `rmax` Fourier pixels; bins for defocus offsets up to `largest_a` Å at a wavelength.
    pub fn new(n: usize, pixel_a: f64, [rmin, rmax]: [f64; 2], largest_a: f64, wavelength_a: f64) -> Self {
        let rmax = rmax.min((n / 2) as f64 - 1.0);
        let phase = PI * wavelength_a * largest_a * frequency_per_a(rmax, n, pixel_a).powi(2);
        let bins = ((phase / BIN_PHASE).ceil() as usize).max(FEWEST_BINS);
        let mut points = Vec::new();
        for y in 0..n {
            let qy = signed_frequency(y, n);
            for x in 0..n / 2 {
                let (qx, qy) = (x as f64, qy as f64);
                let r2 = qx * qx + qy * qy;
                let is_mate = x == 0 && qy <= 0.0;
                if is_mate || r2 < rmin * rmin || r2 > rmax * rmax {
                    continue;
                }
                let bin = ((r2 / (rmax * rmax) * bins as f64) as usize).min(bins - 1);
                points.push(Point {
                    place: [y as u32, x as u32],
                    q: [qx as f32, qy as f32],
                    shell: shell_of(r2.sqrt()) as u32,
                    bin: bin as u32,
                    twice: [((qx * qx - qy * qy) / r2) as f32, (2.0 * qx * qy / r2) as f32],
                });
            }
        }
        Self { n, pixel_a, rmax, points, bins }
    }

    /// Shells, from 0 to the last that is compared.
    pub fn shells(&self) -> usize {
        shell_of(self.rmax) + 1
    }

    /// The largest |k|, 1/Å.
    pub fn kmax(&self) -> f64 {
        frequency_per_a(self.rmax, self.n, self.pixel_a)
    }

    /// By bin: the phase that an Å of defocus adds in its middle, rad.
    pub fn phase_per_a(&self, wavelength_a: f64) -> Vec<f64> {
        let per_bin = PI * wavelength_a * self.kmax().powi(2) / self.bins as f64;
        (0..self.bins).map(|bin| per_bin * (bin as f64 + 0.5)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_is_there_once() {
        let lattice = Lattice::new(32, 2.0, [2.0, 12.0], 1000.0, 0.02);
        let mut seen = std::collections::HashSet::new();
        for point in &lattice.points {
            let [x, y] = point.q.map(|q| q as i32);
            assert!(seen.insert((x, y)) && !seen.contains(&(-x, -y)), "{x} {y}");
        }
        let inside = |x: i32, y: i32| (4..=144).contains(&(x * x + y * y));
        let all =
            (-16..16).flat_map(|x| (-16..16).map(move |y| (x, y))).filter(|&(x, y)| inside(x, y)).count();
        assert_eq!(2 * lattice.points.len(), all);
        assert_eq!(lattice.shells(), 13);
        let phase = lattice.phase_per_a(0.02);
        let last = PI * 0.02 * (12.0f64 / 64.0).powi(2);
        assert!(phase[0] > 0.0 && (phase[lattice.bins - 1] / last - 1.0).abs() < 0.02);
    }
}
