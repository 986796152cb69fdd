//! Family `motion_correlation`: how well the frames of a stack agree, and how their agreement changes when they are moved.
//!
//! # Contract
//! - Input: stacks of spectra `F_f` ([`Spectrum`], the coefficients of a [`Band`]) with as many frames each, a displacement `d_f`
//!   of every frame of every stack, x and y, pixels of the band's images.
//! - Aligned: `A_f = F_f exp(+i ω·d_f)` with `ω` of the band; `R = Σ_f A_f` of a stack. The phases along x and y are
//!   computed in double precision and rounded, then all is single precision: `(turn · column) F`, `turn` the phase along y;
//!   frames are added in order.
//! - Of every frame the [`Measure`] at its present displacement, from `G = conj(R - A_f) A_f` and `P = |R - A_f|² |A_f|²`:
//!   value `Σ w Re G`, slope `-Σ w ω Im G`, curvature `Σ w ω² Re G`, variance of the slope `½ Σ w² ω² P`. Within a row the
//!   columns of every lane of [`LANES`](crate::movie::band::LANES) are summed in single precision, in order; lanes, then
//!   rows, are added in double precision.
//! - The [`RingPower`] of all stacks together: squared magnitudes in single precision, summed by ring in double precision.
//! - Of every frame of one stack the [`CorrelationImage`] with the sum of the others, `w = exp(-2 B s²)/power` at frequency s,
//!   `power` being that of the frames by ring, normalised by [`RingPower::whitening`].
//! - Determinism: for one device the same bits for any number of threads, and for a stack whatever others are there. Measures
//!   are bitwise the same for all devices; the powers of rings are not (they differ by their order of adding, in the last
//!   digits of double precision).
//! - Allowed error against double precision, relative to the sums of magnitudes: 3e-6 for measures and correlation images;
//!   1e-6 for powers of rings relative to the largest.

use crate::device::Device;
use crate::movie::band::{Band, Spectrum};
use crate::movie::correlation_image::CorrelationImage;
use crate::movie::ring_power::RingPower;

/// A displacement or a pair of numbers by axis: x, y.
pub type Pair = [f64; 2];

/// Slope and curvature of a frame's correlation with the others, per axis.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Measure {
    /// The correlation itself, in units of the weights times power.
    pub value: f64,
    /// Slope `∂C/∂δ`, per pixel.
    pub slope: Pair,
    /// Curvature `-∂²C/∂δ²`, per square pixel; positive at a peak.
    pub curvature: Pair,
    /// Variance of the slope from noise, per square pixel: `½ Σ w² ω² |R|² |A|²`.
    pub slope_variance: Pair,
}

/// What is to be measured of stacks.
#[derive(Debug, Clone, Copy)]
pub enum Wanted<'a> {
    /// The power by ring of sums and frames.
    AllPower,
    /// That of sums only.
    Power,
    /// That of sums, and the measures of all frames with these weights, one per coefficient of the band.
    Measures(&'a [f32]),
}

/// The family.
pub trait MotionCorrelation: Device {
    /// Stacks of spectra on the device.
    type Stacks: Send + Sync;

    /// Takes stacks of spectra of a band, all with as many frames; powers are by rings `0 ..= rings`, the last at the Nyquist
    /// frequency ([`Band::rings`]).
    fn motion_stacks(&self, band: &Band, rings: usize, spectra: Vec<Vec<Spectrum>>) -> Self::Stacks;

    /// Measures all stacks at the displacements `[stack][frame]`. The measures are `[stack][frame]`, none if they are not
    /// wanted; what is not wanted of the power is 0.
    fn measure_stacks(
        &self,
        stacks: &Self::Stacks,
        displacements: &[Vec<Pair>],
        wanted: Wanted<'_>,
    ) -> (Vec<Vec<Measure>>, RingPower);

    /// The correlation image of every frame of the first stack, moved back by its displacement, within `limit` pixels of there.
    /// `b_factor` is B, square pixels.
    fn correlation_images(
        &self,
        stacks: &mut Self::Stacks,
        displacements: &[Pair],
        b_factor: f64,
        limit: f64,
    ) -> Vec<CorrelationImage>;
}

/// Cosine and sine of `first`, `first + step`, …, by rotation (some hundred of them are exact to 1e-13).
pub fn turns(first: f64, step: f64) -> impl Iterator<Item = (f64, f64)> {
    let ((sin, cos), (sin_step, cos_step)) = (first.sin_cos(), step.sin_cos());
    std::iter::successors(Some((cos, sin)), move |(cos, sin)| {
        Some((cos * cos_step - sin * sin_step, sin * cos_step + cos * sin_step))
    })
}

/// Cosine and sine of the phases of a displacement along the columns of a band.
pub fn column_turns(band: &Band, displacement: Pair) -> impl Iterator<Item = [f32; 2]> {
    let first = band.omega_x.get(1).map_or(0.0, |omega| f64::from(*omega));
    let along_x = turns(0.0, first * displacement[0]).take(band.omega_x.len());
    along_x.map(|(cos, sin)| [cos as f32, sin as f32])
}

/// Cosine and sine of the phases of a displacement along the rows of a band.
pub fn row_turns(band: &Band, displacement: Pair) -> impl Iterator<Item = [f32; 2]> {
    let middle = f64::from(band.omega_y[band.ky_max]) * displacement[1];
    let step = f64::from(band.omega_y[band.ky_max + 1]) * displacement[1] - middle;
    let along_y = turns(-(band.ky_max as f64) * step, step).take(band.rows());
    along_y.map(|(cos, sin)| [cos as f32, sin as f32])
}
