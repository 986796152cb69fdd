//! The likelihood of a pose, and the pieces every implementation of it shares: the band window, the noise spectrum and
//! the contrast transfer function on a lattice of Fourier pixels.
//!
//! # The formula
//! With the image's coefficients X(q), its CTF c(q), the reference's slice `P_R(q) = V(R (qx, qy, 0))` and the shift t
//! in pixels, the log-likelihood relative to pure noise is, in nats,
//! ```text
//! logL(R, t) = Σ_{q ∈ H} w(q)/s2(q) · [ 2 Re( X e^{+2πi q·t/N} · c · conj P_R ) - c² |P_R|² ]                 (1)
//! ```
//! H is one of each Friedel pair without DC. All transforms are unnormalised with the phase origin at the centre of the
//! box ([`vitreous_model::conventions`]); q is in Fourier pixels of the box of N pixels. `s2 = E|n|²` is the variance of a
//! complex noise coefficient (each of its parts has half of it), in the squared units of the unnormalised transform.

use crate::fourier::HalfImage;
use vitreous_model::aberrations::EvenPhase;
use vitreous_model::ctf::CtfParams;

/// An image and what is known of how it was made, apart from its pose.
#[derive(Debug, Clone, Copy)]
pub struct ImageModel<'a> {
    /// Transform of the image, phase origin at the centre, not masked.
    pub image: &'a HalfImage,
    /// Its CTF; `None` is 1 everywhere.
    pub ctf: Option<&'a CtfParams>,
    /// Pixel size, Å.
    pub pixel_size_a: f64,
    /// Noise variance s2 by shell from 0, of the unnormalised transform.
    pub noise: &'a [f64],
    /// Amplitude of the particle relative to the reference.
    pub amplitude: f64,
}

impl ImageModel<'_> {
    /// The CTF as a function of Fourier pixels.
    pub fn lattice_ctf(&self) -> LatticeCtf {
        LatticeCtf::new(self.ctf, self.image.nx(), self.pixel_size_a)
    }
}

/// Width in Fourier pixels of the raised cosine at the upper edge of the band.
pub const BAND_EDGE_PX: f64 = 3.0;

/// Where the raised cosine at the lower edge reaches 1, in Fourier pixels. Without it the polar and the lattice form of
/// (1) differ by 2 nats where they agree to 1 with it.
pub const HIGH_PASS_PX: f64 = 3.0;

/// The weight w at radius `r` Fourier pixels of a band that ends softly at `rmax`: 0 at DC, 1 inside, 1/2 at `rmax`,
/// 0 from `rmax + 1.5` on.
///
/// ```
/// use vitreous_compute::likelihood::band_window;
/// assert_eq!([0.0, 3.0, 18.0, 21.5].map(|r| band_window(r, 20.0)), [0.0, 1.0, 1.0, 0.0]);
/// assert!((band_window(20.0, 20.0) - 0.5).abs() < 1e-12);
/// ```
pub fn band_window(r: f64, rmax: f64) -> f64 {
    let raised = |x: f64| 0.5 - 0.5 * (std::f64::consts::PI * x.clamp(0.0, 1.0)).cos();
    raised(r / HIGH_PASS_PX) * raised((rmax + 0.5 * BAND_EDGE_PX - r) / BAND_EDGE_PX)
}

/// The largest radius with a weight in a band that ends at `rmax`, in whole Fourier pixels.
pub fn band_end(rmax: f64) -> usize {
    (rmax + 0.5 * BAND_EDGE_PX).ceil().max(1.0) as usize - 1
}

/// A value at radius `r` of a spectrum given by shell (shell 0 first), linear between shells, constant after the last.
/// An empty spectrum is 1 everywhere.
pub fn spectrum_at(shells: &[f64], r: f64) -> f64 {
    let Some(&last) = shells.last() else { return 1.0 };
    let low = r.max(0.0) as usize;
    if low + 1 >= shells.len() {
        return last;
    }
    let fraction = r - low as f64;
    shells[low] * (1.0 - fraction) + shells[low + 1] * fraction
}

/// The contrast transfer function at Fourier pixels of one box: its phase is a polynomial in qx and qy, so that many
/// points cost a few multiplications each.
///
/// ```
/// use vitreous_compute::likelihood::LatticeCtf;
/// use vitreous_model::{ctf::CtfParams, units::*};
/// let ctf = CtfParams { defocus_u_a: 21000.0, defocus_v_a: 18000.0, astigmatism_angle: Degrees(35.0),
///     phase_shift: Degrees(0.0), voltage: Kilovolt(300.0), cs: Millimetre(2.7), amplitude_contrast: 0.1,
///     even: Default::default() };
/// // 0.1 1/Å along 125° in a box of 100 pixels of 2 Å is q = 20 (cos 125°, sin 125°)
/// let (s, c) = f64::to_radians(125.0).sin_cos();
/// let value = LatticeCtf::new(Some(&ctf), 100, 2.0).value(20.0 * c, 20.0 * s);
/// assert!((f64::from(value) + 0.978997).abs() < 3e-6, "{value}");
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LatticeCtf {
    /// Turns per Fourier pixel²: coefficients of qx², qx·qy and qy².
    quadratic: [f64; 3],
    /// Turns per Fourier pixel⁴.
    quartic: f64,
    /// Turns.
    constant: f64,
    /// Turns per Fourier pixel⁴: coefficients of r² (x² - y²), r² · 2xy and the real and imaginary parts of (x + iy)⁴.
    tetragonal: [f64; 4],
    /// Whether one of them is not 0.
    is_tetragonal: bool,
}

impl LatticeCtf {
    /// The function of `ctf` for a box of `box_px` pixels of `pixel_size_a` Å; without parameters it is 1 everywhere.
    pub fn new(ctf: Option<&CtfParams>, box_px: usize, pixel_size_a: f64) -> Self {
        use std::f64::consts::TAU;
        let Some(ctf) = ctf else {
            return Self {
                quadratic: [0.0; 3],
                quartic: 0.0,
                constant: 0.25,
                tetragonal: [0.0; 4],
                is_tetragonal: false,
            };
        };
        let lambda = ctf.voltage.wavelength_a();
        let per_px2 = (box_px as f64 * pixel_size_a).powi(-2);
        let mean = 0.5 * (ctf.defocus_u_a + ctf.defocus_v_a);
        let half_difference = 0.5 * (ctf.defocus_u_a - ctf.defocus_v_a);
        let (s, c) = (2.0 * ctf.astigmatism_angle.radians()).sin_cos();
        let turns = 0.5 * lambda * per_px2;
        let plain = Self {
            quadratic: [
                turns * (mean + half_difference * c),
                turns * 2.0 * half_difference * s,
                turns * (mean - half_difference * c),
            ],
            quartic: -0.25 * ctf.cs.0 * 1e7 * lambda.powi(3) * per_px2 * per_px2,
            constant: (ctf.phase_shift.radians() + ctf.amplitude_contrast.clamp(-1.0, 1.0).asin()) / TAU,
            tetragonal: [0.0; 4],
            is_tetragonal: false,
        };
        if ctf.even.is_none() { plain } else { plain.without(&ctf.even, per_px2) }
    }

    /// The function whose phase is less by an even one; `per_px2` is the square of a Fourier pixel in 1/Å².
    fn without(self, even: &EvenPhase, per_px2: f64) -> Self {
        // the polynomials of `vitreous_model::aberrations::even_zernike`, by powers
        let [z0, z1, z2, z3, z4, z5, z6, z7, z8] = even.zernike.map(|c| c / std::f64::consts::TAU);
        let (round, along) = (2.0 * z2 - 6.0 * z6, z3 - 3.0 * z7);
        let [xx, xy, yy] = self.quadratic;
        let per_px4 = per_px2 * per_px2;
        let tetragonal = [4.0 * z7, 4.0 * z5, z8, z4].map(|c| -c * per_px4);
        Self {
            quadratic: [
                xx - (round + along) * per_px2,
                xy - 2.0 * (z1 - 3.0 * z5) * per_px2,
                yy - (round - along) * per_px2,
            ],
            quartic: self.quartic - 6.0 * z6 * per_px4,
            constant: self.constant - (z0 - z2 + z6),
            tetragonal,
            is_tetragonal: tetragonal.iter().any(|&c| c != 0.0),
        }
    }

    /// The polynomial, in turns per power of a Fourier pixel: coefficients of qx², qx·qy, qy² and r⁴, the constant, and
    /// those of r² (x² - y²), r² · 2xy and the real and imaginary parts of (x + iy)⁴.
    pub fn coefficients(&self) -> [f64; 9] {
        let [xx, xy, yy] = self.quadratic;
        let [a, b, c, d] = self.tetragonal;
        [xx, xy, yy, self.quartic, self.constant, a, b, c, d]
    }

    /// The argument of the sine at `(qx, qy)` Fourier pixels, in turns.
    #[inline(always)]
    pub fn turns(&self, qx: f64, qy: f64) -> f64 {
        let [xx, xy, yy] = self.quadratic;
        let radius2 = qx * qx + qy * qy;
        let turns =
            xx * qx * qx + xy * qx * qy + yy * qy * qy + self.quartic * radius2 * radius2 + self.constant;
        if !self.is_tetragonal {
            return turns;
        }
        let (re2, im2) = (qx * qx - qy * qy, 2.0 * qx * qy);
        let [a, b, c, d] = self.tetragonal;
        turns + radius2 * (a * re2 + b * im2) + c * (re2 * re2 - im2 * im2) + d * 2.0 * re2 * im2
    }

    /// The value at `(qx, qy)` Fourier pixels, to 2e-6.
    #[inline(always)]
    pub fn value(&self, qx: f64, qy: f64) -> f32 {
        sin_of_turns(self.turns(qx, qy))
    }

    /// Sine and cosine of the phase at `(qx, qy)` Fourier pixels, to 2e-6; the sine is the value.
    #[inline(always)]
    pub fn sin_cos(&self, qx: f64, qy: f64) -> (f32, f32) {
        let turns = self.turns(qx, qy);
        (sin_of_turns(turns), sin_of_turns(turns + 0.25))
    }
}

/// `sin(2π x)` to 1e-6: reduced to a quarter turn in f64, then an odd polynomial (its Taylor series to x⁹).
#[inline(always)]
fn sin_of_turns(x: f64) -> f32 {
    /// Adding and taking away 1.5·2⁵² rounds to a whole number, without a call.
    const ROUNDER: f64 = 6_755_399_441_055_744.0;
    let fraction = x - ((x + ROUNDER) - ROUNDER);
    // sin(π - a) = sin(a) folds [-1/2, 1/2] onto [-1/4, 1/4]
    let folded = if fraction.abs() > 0.25 { fraction.signum() * 0.5 - fraction } else { fraction };
    let a = (folded * std::f64::consts::TAU) as f32;
    let a2 = a * a;
    a * (1.0
        + a2 * (-1.0 / 6.0
            + a2 * (1.0 / 120.0 + a2 * (-1.0 / 5040.0 + a2 * (1.0 / 362_880.0 - a2 / 39_916_800.0)))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sines_of_turns_are_sines() {
        for i in -4000..4000 {
            let x = f64::from(i) * 0.0137;
            let error = f64::from(sin_of_turns(x)) - (std::f64::consts::TAU * x).sin();
            assert!(error.abs() < 1e-6, "{x}: {error}");
        }
    }

    #[test]
    fn even_aberrations_on_the_lattice_are_those_of_the_formula() {
        use vitreous_model::units::{Degrees, Kilovolt, Millimetre};
        let zernike = [0.1, -3.0, 2.0, 5.0, 60.0, -40.0, 30.0, 25.0, -80.0];
        let ctf = CtfParams {
            defocus_u_a: 9000.0,
            defocus_v_a: 8500.0,
            astigmatism_angle: Degrees(20.0),
            phase_shift: Degrees(0.0),
            voltage: Kilovolt(300.0),
            cs: Millimetre(2.7),
            amplitude_contrast: 0.1,
            even: EvenPhase { zernike },
        };
        let (n, pixel_a) = (64, 1.3);
        let lattice = LatticeCtf::new(Some(&ctf), n, pixel_a);
        for (qx, qy) in [(3.0f64, -7.0f64), (20.0, 11.0), (0.0, 30.0), (31.0, -5.0)] {
            let u = qx.hypot(qy) / (n as f64 * pixel_a);
            let expected = ctf.value(u, qy.atan2(qx));
            assert!((f64::from(lattice.value(qx, qy)) - expected).abs() < 5e-6, "{qx} {qy}");
        }
    }

    #[test]
    fn spectra_are_linear_between_shells_and_constant_beyond() {
        let shells = [1.0, 3.0, 2.0];
        assert_eq!([0.5, 1.0, 1.5, 9.0].map(|r| spectrum_at(&shells, r)), [2.0, 3.0, 2.5, 2.0]);
        assert_eq!(spectrum_at(&[], 2.0), 1.0);
    }

    #[test]
    fn the_band_ends_where_its_window_does() {
        for rmax in [4.0, 6.3, 20.0, 47.5] {
            let end = band_end(rmax);
            assert!(
                band_window(end as f64, rmax) > 0.0 && band_window(end as f64 + 1.0, rmax) == 0.0,
                "{rmax}"
            );
        }
    }
}
