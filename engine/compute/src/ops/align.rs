//! Contract: refinement of poses by Levenberg–Marquardt on five parameters, and what is measured at a pose.
//!
//! # Definitions
//! The function is formula (1) of [`crate::likelihood`] plus a Gaussian prior ([`PosePrior`]). The parameters are a rotation
//! vector w in the *image's* frame, `R ← R exp([w]×)` (right multiplication, so w_z turns the image in its plane), in
//! radians, and the shift in pixels: `(w_x, w_y, w_z, t_x, t_y)`. With `G = Rᵀ ∇V` at `k = R q` the derivatives of the
//! slice are `dP/dw = (G_z q_y, -G_z q_x, G_y q_x - G_x q_y)`; the derivative by t is that of the phase.
//! The Hessian is Gauss–Newton's, `H_ab = Σ (2w/s2) Re(d_a conj d_b)`; its inverse is the covariance of the pose.
//!
//! # Allowed error (checked by [`crate::parity::align`])
//! Against the same sums in f64 over the interpolated reference: logL and sums by shell within 1e-5 of the sum of what is
//! summed, derivatives within 3e-4. Linear interpolation of the padded transform itself is wrong by about 1 % (rms): logL
//! within 1 % of its span, gradients within 5 % of their length. A pose refined from a start inside the basin loses less than half a nat of logL against
//! one refined from the truth.
//!
//! # Determinism
//! An image's result depends on nothing but the image, its starts and the reference: not on batch, thread or rank.

use crate::likelihood::ImageModel;
use crate::ops::project::Project;
use vitreous_model::pose::Rotation;

/// Parameters of a pose.
pub const PARAMETERS: usize = 5;

/// A pose with the shift in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PixelPose {
    /// Image frame to volume frame.
    pub rotation: Rotation,
    /// Where the particle lies, pixels from the centre of its box.
    pub shift_px: [f64; 2],
}

/// One band of the refinement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AlignLevel {
    /// End of the band, Fourier pixels.
    pub rmax: f64,
    /// How many of the best poses go on from here.
    pub keep: usize,
}

/// A Gaussian prior about a pose: on the rotation vector between the two, and on where the particle shows a point that it
/// turns about.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PosePrior {
    /// Its mean.
    pub mean: PixelPose,
    /// Its standard deviation about each axis, radians; infinite for none.
    pub rotation_sigma_rad: f64,
    /// The standard deviation along each axis of where the fulcrum lies in the image, pixels; infinite for none.
    pub shift_sigma_px: f64,
    /// The fulcrum, pixels from the volume's centre. Where it is 0, the prior is one on the shift.
    pub fulcrum_px: [f64; 3],
}

impl PosePrior {
    /// No prior.
    pub const NONE: Self = Self::of_shift(f64::INFINITY);

    /// A prior on the shift about 0, and none on the rotation.
    pub const fn of_shift(sigma_px: f64) -> Self {
        Self {
            mean: PixelPose { rotation: Rotation::IDENTITY, shift_px: [0.0; 2] },
            rotation_sigma_rad: f64::INFINITY,
            shift_sigma_px: sigma_px,
            fulcrum_px: [0.0; 3],
        }
    }

    /// Where a pose shows the fulcrum, pixels from the image's centre, and how far it lies above the image's plane.
    fn fulcrum_at(&self, pose: &PixelPose) -> [f64; 3] {
        let [x, y, z] = pose.rotation.inverse().apply(self.fulcrum_px);
        [x + pose.shift_px[0], y + pose.shift_px[1], z]
    }

    /// Adds it and its derivatives at `pose`.
    ///
    /// The rotation vector r of `mean⁻¹ R` has `∂ ½|r|² = r` exactly; the Hessian is taken for that of small r. The fulcrum's
    /// place p moves by `p × w`.
    pub fn add_to(&self, pose: &PixelPose, found: &mut NormalEquations) {
        if self.shift_sigma_px.is_finite() {
            let precision = 1.0 / self.shift_sigma_px.max(1e-3).powi(2);
            let (here, mean) = (self.fulcrum_at(pose), self.fulcrum_at(&self.mean));
            let p = [here[0] - pose.shift_px[0], here[1] - pose.shift_px[1], here[2]];
            let by_parameters = [[0.0, -p[2], p[1], 1.0, 0.0], [p[2], 0.0, -p[0], 0.0, 1.0]];
            for (axis, derivative) in by_parameters.iter().enumerate() {
                let offset = here[axis] - mean[axis];
                found.log_likelihood -= 0.5 * precision * offset * offset;
                for a in 0..PARAMETERS {
                    found.gradient[a] -= precision * offset * derivative[a];
                    for b in 0..PARAMETERS {
                        found.hessian[a][b] += precision * derivative[a] * derivative[b];
                    }
                }
            }
        }
        if self.rotation_sigma_rad.is_finite() {
            let precision = 1.0 / self.rotation_sigma_rad.max(1e-6).powi(2);
            let turn = (self.mean.rotation.inverse() * pose.rotation).to_rotation_vector();
            for axis in 0..3 {
                found.log_likelihood -= 0.5 * precision * turn[axis] * turn[axis];
                found.gradient[axis] -= precision * turn[axis];
                found.hessian[axis][axis] += precision;
            }
        }
    }
}

/// One image to align.
#[derive(Debug, Clone, Copy)]
pub struct AlignImage<'a> {
    /// The image and what is known of how it was made.
    pub model: ImageModel<'a>,
    /// Poses to start from.
    pub starts: &'a [PixelPose],
    /// Prior.
    pub prior: PosePrior,
}

/// A refined pose.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Alignment {
    /// The pose.
    pub pose: PixelPose,
    /// logL and prior at the pose in the last band, nats.
    pub log_likelihood: f64,
    /// `-∂² logL`, in the order of the parameters.
    pub hessian: [[f64; PARAMETERS]; PARAMETERS],
    /// Evaluations of logL and its derivatives spent on it in all bands.
    pub evaluations: u32,
}

impl Alignment {
    /// Logarithm of the integral of the likelihood over the mode at this pose, up to a constant, nats: Laplace's
    /// approximation `logL - ½ ln det H`. Where the Hessian is no maximum's, logL.
    pub fn evidence(&self) -> f64 {
        let hessian = nalgebra::SMatrix::<f64, PARAMETERS, PARAMETERS>::from_fn(|a, b| self.hessian[a][b]);
        let log_det = hessian.cholesky().map(|c| 2.0 * c.l().diagonal().map(f64::ln).sum());
        self.log_likelihood - 0.5 * log_det.unwrap_or(0.0)
    }
}

/// logL and its derivatives at a pose.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct NormalEquations {
    /// logL, prior included, nats.
    pub log_likelihood: f64,
    /// `∂ logL`.
    pub gradient: [f64; PARAMETERS],
    /// Gauss–Newton's `-∂² logL`, symmetric.
    pub hessian: [[f64; PARAMETERS]; PARAMETERS],
}

/// Sums over the half plane at a pose by FSC shell, `[shells]` from 0; shells beyond the band compare with no model.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ShellSums {
    /// `Σ |X_t - a c P|²`.
    pub residual: Vec<f64>,
    /// `Σ Re(X_t conj(c P))`, without the amplitude.
    pub cross: Vec<f64>,
    /// `Σ |c P|²`, without the amplitude.
    pub model: Vec<f64>,
    /// Points of the shell.
    pub points: Vec<f64>,
}

/// The operation. Slicers hold radii up to the largest `rmax + 1.5` at least; levels with an `rmax` they do not cover
/// end where the slicer does.
pub trait Align: Project {
    /// Refines each image's starts through the bands of `levels`, each from where the one before ended. Per image the
    /// poses that were kept at the last level, best first; none if it had no starts or there are no levels.
    fn align(
        &self,
        slicer: &Self::Slicer,
        levels: &[AlignLevel],
        images: &[AlignImage<'_>],
    ) -> Vec<Vec<Alignment>>;

    /// logL and its derivatives of each image at its first start, in the band to `rmax`.
    fn normal_equations(
        &self,
        slicer: &Self::Slicer,
        rmax: f64,
        images: &[AlignImage<'_>],
    ) -> Vec<NormalEquations>;

    /// Sums by shell of each image at its first start; the model is taken up to `rmax` (sharply), shells go to Nyquist.
    fn shell_sums(&self, slicer: &Self::Slicer, rmax: f64, images: &[AlignImage<'_>]) -> Vec<ShellSums>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prior_s_gradient_is_its_derivative() {
        let prior = PosePrior {
            mean: PixelPose { rotation: Rotation::new(0.3, -0.5, 0.7, 0.2), shift_px: [1.5, -2.0] },
            rotation_sigma_rad: 0.2,
            shift_sigma_px: 1.7,
            fulcrum_px: [12.0, -7.0, 20.0],
        };
        let turned = Rotation::from_rotation_vector([0.1, -0.25, 0.3]);
        let pose = PixelPose { rotation: prior.mean.rotation * turned, shift_px: [2.5, 0.5] };
        let at = |w: [f64; 3], t: [f64; 2]| {
            let mut found = NormalEquations::default();
            let rotation = pose.rotation * Rotation::from_rotation_vector(w);
            let shift_px = [pose.shift_px[0] + t[0], pose.shift_px[1] + t[1]];
            prior.add_to(&PixelPose { rotation, shift_px }, &mut found);
            found
        };
        let here = at([0.0; 3], [0.0; 2]);
        const H: f64 = 1e-5;
        for a in 0..PARAMETERS {
            let step = |h: f64| {
                let mut v = [0.0; PARAMETERS];
                v[a] = h;
                at([v[0], v[1], v[2]], [v[3], v[4]]).log_likelihood
            };
            let derivative = (step(H) - step(-H)) / (2.0 * H);
            assert!((derivative - here.gradient[a]).abs() < 1e-4, "{a}: {derivative} {:?}", here.gradient);
        }
        // turning about the fulcrum costs nothing but the turn
        let mut about = NormalEquations::default();
        let place = |rotation: Rotation| rotation.inverse().apply(prior.fulcrum_px);
        let (before, after) = (place(prior.mean.rotation), place(pose.rotation));
        let shift_px = [0, 1].map(|i| prior.mean.shift_px[i] + before[i] - after[i]);
        prior.add_to(&PixelPose { rotation: pose.rotation, shift_px }, &mut about);
        let turn = 0.1f64.powi(2) + 0.25f64.powi(2) + 0.3f64.powi(2);
        assert!((about.log_likelihood + 0.5 * turn / 0.04).abs() < 1e-9, "{}", about.log_likelihood);
        let mut none = NormalEquations::default();
        PosePrior::NONE.add_to(&pose, &mut none);
        assert_eq!(none, NormalEquations::default());
    }
}
