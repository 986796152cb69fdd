//! The polar grid of a band: rings of Fourier radius 1, 2, … with angles over half a turn, and the angular frequencies
//! a projection of a particle of given size can have on each.

use crate::likelihood::{band_end, band_window};
use num_complex::Complex64;
use std::f64::consts::PI;

/// Samples on one ring: angles `π i / count`, i = 0 .. count; the other half turn is the complex conjugate.
#[derive(Debug, Clone)]
pub struct Ring {
    /// Radius, Fourier pixels.
    pub radius: f64,
    /// Band weight w.
    pub weight: f64,
    /// Number of angles; even.
    pub count: usize,
    /// Index of the first sample in lists over all rings.
    pub first: usize,
    /// Index of frequency 0 in lists of the modes of all rings.
    pub first_mode: usize,
    m_count: usize,
    /// `[m][i = 0 ..= count/2]`: factors for the sum and the difference of samples i and count - i.
    angular: Vec<[f32; 2]>,
    /// `[i]`: cos 2θ, -sin 2θ, cos 4θ, -sin 4θ over count.
    orders: Vec<[f32; 4]>,
}

impl Ring {
    fn new(radius: f64, weight: f64, count: usize, first: usize, first_mode: usize, m_count: usize) -> Self {
        let h = count / 2;
        let angular = (0..m_count)
            .flat_map(|m| (0..=h).map(move |i| (m, i)))
            .map(|(m, i)| {
                // whole turns are taken off exactly
                let (sin, cos) = (PI * ((m * i) % (2 * count)) as f64 / count as f64).sin_cos();
                let (a, b) = if m % 2 == 0 { (cos, -sin) } else { (sin, cos) };
                [(a / count as f64) as f32, (b / count as f64) as f32]
            })
            .collect();
        let orders = (0..count)
            .map(|i| {
                let angle = 2.0 * PI * i as f64 / count as f64;
                let ((s2, c2), (s4, c4)) = (angle.sin_cos(), (2.0 * angle).sin_cos());
                [c2, -s2, c4, -s4].map(|v| (v / count as f64) as f32)
            })
            .collect();
        Self { radius, weight, count, first, first_mode, m_count, angular, orders }
    }

    /// Number of angular frequencies, m = 0 .. m_count.
    pub fn m_count(&self) -> usize {
        self.m_count
    }

    /// Factors of frequency m for i = 0 ..= count/2.
    ///
    /// With s and d the sum and the difference of samples i and count - i (a sample alone at both ends), the mode is
    /// `a_m = Σ_i f_i s_i + i Σ_i g_i d_i`, s and d of the real parts for even m, of the imaginary parts for odd m:
    /// X(θ + π) = conj X(θ) makes the real part even and the imaginary part odd under half a turn.
    #[inline(always)]
    pub fn angular_row(&self, m: usize) -> &[[f32; 2]] {
        let length = self.count / 2 + 1;
        &self.angular[m * length..(m + 1) * length]
    }

    /// The angular orders 0, 2 and 4 (re, im) of a real function of period π given at the angles of the ring: of a
    /// squared CTF or of the power of a slice.
    pub fn even_orders(&self, values: impl IntoIterator<Item = f32>) -> [[f32; 2]; 3] {
        let mut sums = [[0f32; 2]; 3];
        for (value, [c2, s2, c4, s4]) in values.into_iter().zip(&self.orders) {
            sums[0][0] += value / self.count as f32;
            sums[1][0] += value * c2;
            sums[1][1] += value * s2;
            sums[2][0] += value * c4;
            sums[2][1] += value * s4;
        }
        sums
    }

    /// The samples (`[count]`) of a function with the given modes, m = 0, 1, …: the inverse of [`Ring::modes`].
    pub fn of_modes(&self, modes: &[Complex64]) -> Vec<Complex64> {
        let turn = PI / self.count as f64;
        (0..self.count)
            .map(|i| {
                let step = Complex64::cis(turn * i as f64);
                let mut phase = Complex64::ONE;
                let (mut even, mut odd) = (0.0, 0.0);
                for (m, mode) in modes.iter().enumerate() {
                    // a_m e^{imθ} + (-1)^m conj(a_m e^{imθ})
                    let term = mode * phase;
                    match m {
                        0 => even += term.re,
                        _ if m % 2 == 0 => even += 2.0 * term.re,
                        _ => odd += 2.0 * term.im,
                    }
                    phase *= step;
                }
                Complex64::new(even, odd)
            })
            .collect()
    }

    /// The angular modes of `samples` (`[count]`, re and im), m = 0 .. m_count.
    pub fn modes(&self, samples: &[[f32; 2]]) -> Vec<[f32; 2]> {
        let h = self.count / 2;
        let pair = |i: usize| if i == 0 || i == h { None } else { Some(samples[self.count - i]) };
        (0..self.m_count)
            .map(|m| {
                let part = m % 2;
                let mut mode = [0f32; 2];
                for (i, factors) in self.angular_row(m).iter().enumerate() {
                    let low = samples[i][part];
                    let (sum, difference) =
                        pair(i).map_or((low, low), |high| (low + high[part], low - high[part]));
                    mode[0] += factors[0] * sum;
                    mode[1] += factors[1] * difference;
                }
                mode
            })
            .collect()
    }
}

/// The grid.
#[derive(Debug, Clone)]
pub struct PolarGrid {
    /// Box edge, pixels.
    pub box_px: usize,
    /// Rings of radius 1, 2, … with a weight.
    pub rings: Vec<Ring>,
}

impl PolarGrid {
    /// Rings for a band that ends at `rmax`, a particle of `diameter_px` and shifts up to `reach_px`.
    ///
    /// A ring of radius r needs as many angles per turn as the product of the image (as wide as the box), the shift's
    /// phase and the reference has angular frequencies: `π r (1 + D/N) + 2π r |t|/N` for shifts over 5 px, and a margin
    /// of 20 for the tails of the Bessel functions.
    pub fn new(box_px: usize, rmax: f64, diameter_px: f64, reach_px: f64) -> Self {
        Self::weighted(box_px, band_end(rmax), |r| band_window(r, rmax), diameter_px, reach_px)
    }

    /// The rings 1 to `count`, all of weight 1; each is the one that [`PolarGrid::new`] makes for the same particle and
    /// shifts.
    pub fn of_rings(box_px: usize, count: usize, diameter_px: f64, reach_px: f64) -> Self {
        Self::weighted(box_px, count, |_| 1.0, diameter_px, reach_px)
    }

    fn weighted(
        box_px: usize,
        count: usize,
        weight: impl Fn(f64) -> f64,
        diameter_px: f64,
        reach_px: f64,
    ) -> Self {
        /// Frequencies beyond the nominal limit that are kept.
        const MODE_MARGIN: f64 = 2.0;
        /// Share by which the particle may be larger than stated.
        const DIAMETER_MARGIN: f64 = 1.1;
        let size = (DIAMETER_MARGIN * diameter_px / box_px as f64).min(1.0);
        let shift = if reach_px > 5.0 { 2.0 * reach_px / box_px as f64 } else { 0.0 };
        let (mut first, mut first_mode) = (0, 0);
        let rings = (1..=count)
            .map(|radius| {
                let r = radius as f64;
                let per_turn = PI * (r + 2.0) * (1.0 + size + shift) + 20.0;
                let samples = 4 * (per_turn / 8.0).ceil() as usize;
                let m_count = (PI * r * size + MODE_MARGIN).floor() as usize + 1;
                let ring = Ring::new(r, weight(r), samples, first, first_mode, m_count);
                first += samples;
                first_mode += m_count;
                ring
            })
            .collect();
        Self { box_px, rings }
    }

    /// Samples on all rings.
    pub fn samples(&self) -> usize {
        self.rings.last().map_or(0, |ring| ring.first + ring.count)
    }

    /// Modes of all rings.
    pub fn modes(&self) -> usize {
        self.rings.last().map_or(0, |ring| ring.first_mode + ring.m_count)
    }

    /// Number of angular frequencies of the outermost ring.
    pub fn m_count(&self) -> usize {
        self.rings.last().map_or(0, Ring::m_count)
    }

    /// All samples in order, `(qx, qy)` in Fourier pixels.
    pub fn points(&self) -> impl Iterator<Item = [f64; 2]> + '_ {
        self.rings.iter().flat_map(|ring| {
            (0..ring.count).map(|i| {
                let (s, c) = (PI * i as f64 / ring.count as f64).sin_cos();
                [ring.radius * c, ring.radius * s]
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_the_fourier_coefficients_of_the_whole_turn() {
        let grid = PolarGrid::new(64, 10.0, 40.0, 0.0);
        let ring = grid.rings.last().unwrap();
        // X(θ) = Σ_m a_m e^{imθ} with a_{-m} = (-1)^m conj a_m
        let known = |m: usize| [(m as f64 * 0.7).cos(), if m == 0 { 0.0 } else { (m as f64 * 1.3).sin() }];
        let samples: Vec<[f32; 2]> = (0..ring.count)
            .map(|i| {
                let theta = PI * i as f64 / ring.count as f64;
                let mut sum = [0f64; 2];
                for m in 0..ring.m_count() {
                    let ([a, b], (s, c)) = (known(m), (m as f64 * theta).sin_cos());
                    sum[0] += a * c - b * s;
                    sum[1] += a * s + b * c;
                    if m > 0 {
                        // (-1)^m (a - ib)(c - is)
                        let sign = if m % 2 == 0 { 1.0 } else { -1.0 };
                        sum[0] += sign * (a * c - b * s);
                        sum[1] -= sign * (a * s + b * c);
                    }
                }
                sum.map(|v| v as f32)
            })
            .collect();
        for (m, mode) in ring.modes(&samples).iter().enumerate() {
            let want = known(m);
            let error = (f64::from(mode[0]) - want[0]).hypot(f64::from(mode[1]) - want[1]);
            assert!(error < 1e-5, "{m}: {mode:?} {want:?}");
        }
        let modes: Vec<Complex64> =
            (0..ring.m_count()).map(known).map(|[re, im]| Complex64::new(re, im)).collect();
        for (sample, again) in samples.iter().zip(ring.of_modes(&modes)) {
            let error = (f64::from(sample[0]) - again.re).hypot(f64::from(sample[1]) - again.im);
            assert!(error < 1e-5, "{sample:?} {again}");
        }
    }
}
