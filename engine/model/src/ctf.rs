//! The contrast transfer function of one particle or micrograph.

use crate::units::{Degrees, Kilovolt, Millimetre};
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// Parameters of the contrast transfer function; the formula and its signs are in [`crate::conventions`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CtfParams {
    /// Defocus along the azimuth, Å, underfocus positive.
    pub defocus_u_a: f64,
    /// Defocus at right angles to the azimuth, Å.
    pub defocus_v_a: f64,
    /// Angle from the x axis to the direction of `defocus_u_a`.
    pub astigmatism_angle: Degrees,
    /// Phase shift of a phase plate; folded modulo 360, never 180 (that would flip the contrast).
    pub phase_shift: Degrees,
    /// Acceleration voltage.
    pub voltage: Kilovolt,
    /// Spherical aberration.
    pub cs: Millimetre,
    /// Amplitude contrast as a fraction.
    pub amplitude_contrast: f64,
}

impl CtfParams {
    /// The function at spatial frequency `u` (1/Å) in the direction `azimuth_rad` from the x axis.
    pub fn value(&self, u: f64, azimuth_rad: f64) -> f64 {
        self.phase(u, azimuth_rad).sin()
    }

    /// The argument of the sine in [`CtfParams::value`], radians.
    pub fn phase(&self, u: f64, azimuth_rad: f64) -> f64 {
        let lambda = self.voltage.wavelength_a();
        let cs_a = self.cs.0 * 1e7;
        let u2 = u * u;
        PI * lambda * self.defocus_a(azimuth_rad) * u2 - 0.5 * PI * cs_a * lambda.powi(3) * u2 * u2
            + self.phase_shift.radians()
            + self.amplitude_contrast.asin()
    }

    /// Defocus in Å in the direction `azimuth_rad`.
    pub fn defocus_a(&self, azimuth_rad: f64) -> f64 {
        let mean = 0.5 * (self.defocus_u_a + self.defocus_v_a);
        let half_difference = 0.5 * (self.defocus_u_a - self.defocus_v_a);
        mean + half_difference * (2.0 * (azimuth_rad - self.astigmatism_angle.radians())).cos()
    }
}
