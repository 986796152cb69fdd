//! The contrast transfer function of one particle or micrograph.

use crate::aberrations::EvenPhase;
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
    /// What its optics group adds: higher even aberrations.
    #[serde(default, skip_serializing_if = "EvenPhase::is_none")]
    pub even: EvenPhase,
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
        let phase = PI * lambda * self.defocus_a(azimuth_rad) * u2
            - 0.5 * PI * cs_a * lambda.powi(3) * u2 * u2
            + self.phase_shift.radians()
            + self.amplitude_contrast.asin();
        if self.even.is_none() {
            return phase;
        }
        let (sin, cos) = azimuth_rad.sin_cos();
        phase - self.even.value(u * cos, u * sin)
    }

    /// The function of k that this one is at `M k`, as far as defocus and astigmatism can say it: what is measured on
    /// images of the magnification M.
    ///
    /// ```
    /// use vitreous_model::{ctf::CtfParams, units::*};
    /// let ctf = CtfParams { defocus_u_a: 21000.0, defocus_v_a: 18000.0, astigmatism_angle: Degrees(35.0),
    ///     phase_shift: Degrees(0.0), voltage: Kilovolt(300.0), cs: Millimetre(0.0), amplitude_contrast: 0.1,
    ///     even: Default::default() };
    /// let seen = ctf.seen_through([[1.01, 0.004], [0.002, 0.98]]);
    /// let (kx, ky) = (0.06f64, -0.09f64);
    /// let (mx, my) = (1.01 * kx + 0.004 * ky, 0.002 * kx + 0.98 * ky);
    /// let difference = seen.phase(kx.hypot(ky), ky.atan2(kx)) - ctf.phase(mx.hypot(my), my.atan2(mx));
    /// assert!(difference.abs() < 1e-9);
    /// ```
    pub fn seen_through(&self, [[a, b], [c, d]]: [[f64; 2]; 2]) -> Self {
        let mean = 0.5 * (self.defocus_u_a + self.defocus_v_a);
        let half = 0.5 * (self.defocus_u_a - self.defocus_v_a);
        let (sin, cos) = (2.0 * self.astigmatism_angle.radians()).sin_cos();
        // defocus times k² is a quadratic form
        let (xx, xy, yy) = (mean + half * cos, half * sin, mean - half * cos);
        let new_xx = a * a * xx + 2.0 * a * c * xy + c * c * yy;
        let new_xy = a * b * xx + (a * d + b * c) * xy + c * d * yy;
        let new_yy = b * b * xx + 2.0 * b * d * xy + d * d * yy;
        self.with_defocus(0.5 * (new_xx + new_yy), [0.5 * (new_xx - new_yy), new_xy])
    }

    /// The same with a mean defocus and an astigmatism `a cos 2α + b sin 2α` in direction α, Å.
    pub fn with_defocus(&self, mean_a: f64, [a, b]: [f64; 2]) -> Self {
        let half = a.hypot(b);
        let angle = if half > 0.0 { Degrees(0.5 * b.atan2(a).to_degrees()) } else { self.astigmatism_angle };
        Self { defocus_u_a: mean_a + half, defocus_v_a: mean_a - half, astigmatism_angle: angle, ..*self }
    }

    /// The same with `by_a` Å more of defocus in every direction.
    pub fn with_defocus_raised(&self, by_a: f64) -> Self {
        Self { defocus_u_a: self.defocus_u_a + by_a, defocus_v_a: self.defocus_v_a + by_a, ..*self }
    }

    /// Mean defocus, and astigmatism as in [`CtfParams::with_defocus`], Å.
    pub fn defocus_terms_a(&self) -> (f64, [f64; 2]) {
        let half = 0.5 * (self.defocus_u_a - self.defocus_v_a);
        let (sin, cos) = (2.0 * self.astigmatism_angle.radians()).sin_cos();
        (0.5 * (self.defocus_u_a + self.defocus_v_a), [half * cos, half * sin])
    }

    /// Defocus in Å in the direction `azimuth_rad`.
    pub fn defocus_a(&self, azimuth_rad: f64) -> f64 {
        let mean = 0.5 * (self.defocus_u_a + self.defocus_v_a);
        let half_difference = 0.5 * (self.defocus_u_a - self.defocus_v_a);
        mean + half_difference * (2.0 * (azimuth_rad - self.astigmatism_angle.radians())).cos()
    }
}

/// How much higher or lower the defocus is away from the middle of a micrograph: a plane and a curvature. All 0: flat.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct DefocusSurface {
    /// Å of defocus per Å along x.
    pub gradient_x: f64,
    /// Å of defocus per Å along y.
    pub gradient_y: f64,
    /// Å of defocus per Å² of x².
    pub curvature_xx_per_a: f64,
    /// Å of defocus per Å² of x·y.
    pub curvature_xy_per_a: f64,
    /// Å of defocus per Å² of y².
    pub curvature_yy_per_a: f64,
}

impl DefocusSurface {
    /// What is added to the defocus at `(x, y)` Å from the micrograph's middle, Å.
    ///
    /// ```
    /// use vitreous_model::ctf::DefocusSurface;
    /// let tilted = DefocusSurface { gradient_y: 0.2, curvature_xx_per_a: 1e-5, ..Default::default() };
    /// assert_eq!(tilted.offset_a(0.0, 1000.0), 200.0);
    /// assert_eq!(tilted.offset_a(1000.0, 0.0), 10.0);
    /// ```
    pub fn offset_a(&self, x_a: f64, y_a: f64) -> f64 {
        self.gradient_x * x_a
            + self.gradient_y * y_a
            + self.curvature_xx_per_a * x_a * x_a
            + self.curvature_xy_per_a * x_a * y_a
            + self.curvature_yy_per_a * y_a * y_a
    }

    /// Angle between the specimen and the image plane.
    pub fn tilt(&self) -> Degrees {
        Degrees(self.gradient_x.hypot(self.gradient_y).atan().to_degrees())
    }

    /// Direction of the tilt's axis, along which the defocus stays the same, from the x axis, in `[0°, 180°)`.
    pub fn tilt_axis(&self) -> Degrees {
        // the axis lies a quarter turn before the direction in which the defocus grows
        Degrees((-self.gradient_x).atan2(self.gradient_y).to_degrees().rem_euclid(180.0))
    }
}
