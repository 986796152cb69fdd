//! Contract: refinement of poses by Levenberg–Marquardt on five parameters, and what is measured at a pose.
//!
//! # Definitions
//! The function is formula (1) of [`crate::likelihood`] plus a Gaussian prior on the shift. The parameters are a rotation
//! vector w in the *image's* frame, `R ← R exp([w]×)` (right multiplication, so w_z turns the image in its plane), in
//! radians, and the shift in pixels: `(w_x, w_y, w_z, t_x, t_y)`. With `G = Rᵀ ∇V` at `k = R q` the derivatives of the
//! slice are `dP/dw = (G_z q_y, -G_z q_x, G_y q_x - G_x q_y)`; the derivative by t is that of the phase.
//! The Hessian is Gauss–Newton's, `H_ab = Σ (2w/s2) Re(d_a conj d_b)`; its inverse is the covariance of the pose.
//!
//! # Allowed error (checked by [`crate::parity::align`])
//! Linear interpolation of the padded transform is wrong by about 1 % (rms): logL within 1 % of its span, gradients
//! within 5 % of their length. A pose refined from a start inside the basin loses less than half a nat of logL against
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

/// A Gaussian prior on the shift.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ShiftPrior {
    /// Its mean, pixels.
    pub centre_px: [f64; 2],
    /// Its standard deviation along each axis, pixels; infinite for none.
    pub sigma_px: f64,
}

impl ShiftPrior {
    /// No prior.
    pub const NONE: Self = Self { centre_px: [0.0, 0.0], sigma_px: f64::INFINITY };
}

/// One image to align.
#[derive(Debug, Clone, Copy)]
pub struct AlignImage<'a> {
    /// The image and what is known of how it was made.
    pub model: ImageModel<'a>,
    /// Poses to start from.
    pub starts: &'a [PixelPose],
    /// Prior.
    pub prior: ShiftPrior,
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
