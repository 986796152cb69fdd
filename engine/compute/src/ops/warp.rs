//! Family `warp`: frames of a movie read where the motion has carried them, and added to a few weighted sums.
//!
//! # Contract
//! - Input: frames as they were read ([`MovedFrame`]), the gain reference they are multiplied with, the bad pixels of the
//!   detector ([`Defects::replacement`] names the pixel that stands in; 0 where there is none), the motion of every frame in
//!   pixels, x to the right and y up, and its weight in every term.
//! - Output: an [`ImageStack`] with one image per term, of [`WarpPlan::size`] pixels (no less than a frame), in counts times
//!   the gain and the weights, still under the transfer function of the interpolation ([`Transfer`]).
//! - A frame is continued to the size of the sums: pixel `i` of the `length .. period` between its edges is
//!   `last + fade (first - last)`, `fade = (i + 1 - length)/(period + 1 - length)`, along y first and then along x; from there
//!   on it is periodic.
//! - Displacement: constant over tiles of [`TILE`] × [`TILE`] pixels of the output, counted from pixel (0, 0), that of the
//!   frame's polynomial ([`displacement`]) in the middle of the tile (`7.5` pixels from its first), no more than the frame's
//!   width along x and height along y. Its error is at most half a tile times the gradient of the motion.
//! - Interpolation: separable with the taps of [`Kernel::at`]: at every column `c` of the frame the row wanted by the tile *of
//!   the output* in whose columns `c` lies (`line(c) = Σ_j taps_y[j] frame(row + j, c)`), then along that line (`Σ_j taps_x[j]
//!   line(column + j)`), each from `j = 0` on.
//! - Sums: frames are added [`GROUP`] at a time, `sum + ((w0 f0 + w1 f1) + (w2 f2 + w3 f3))`, counted from the first frame of a
//!   call; those that a last group lacks count as 0. So calls of whole groups give the bits of one call.
//! - Determinism: displacements are double precision, all else single precision, in this order without contraction: the result
//!   is bitwise the same for any device and number of threads.
//! - Allowed error against double precision: NMSE 1e-12, largest error 3e-6 of the largest sum.
//!
//! [`Transfer`]: crate::movie::kernel::Transfer
//! [`Kernel::at`]: crate::movie::kernel::Kernel::at

use crate::device::Device;
use crate::fourier::ImageStack;
use crate::movie::detector::{Defects, Detector};
use crate::movie::field::{FrameMotion, displacement};
use crate::movie::frame::RawFrame;
use std::sync::Arc;

/// Pixels along either edge of a tile that has one displacement.
pub const TILE: usize = 16;

/// Frames that are added to the sums at a time, so that the sums pass the cache once for all of them.
pub const GROUP: usize = 4;

/// Why frames were not added.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum WarpError {
    /// Sizes do not agree.
    #[error("{what}: {found}, expected {expected}")]
    Shape {
        /// What has the wrong size.
        what: &'static str,
        /// Its size.
        found: usize,
        /// The size it should have.
        expected: usize,
    },
    /// A motion that is no number.
    #[error("the motion of frame {frame} is not finite")]
    Motion {
        /// Number of the frame.
        frame: usize,
    },
    /// The device failed.
    #[error("the device could not add up frames: {0}")]
    Device(String),
}

/// What all frames of some sums have in common.
#[derive(Debug, Clone)]
pub struct WarpPlan {
    /// The detector.
    pub detector: Detector,
    /// Its bad pixels.
    pub defects: Arc<Defects>,
    /// Columns and rows of the sums.
    pub size: [usize; 2],
    /// Number of sums.
    pub terms: usize,
}

/// A frame to add.
#[derive(Debug, Clone, Copy)]
pub struct MovedFrame<'a> {
    /// The frame, gain not applied.
    pub raw: &'a RawFrame,
    /// Its number in the movie, by which stand-ins for bad pixels take turns.
    pub number: usize,
    /// Its motion: what lies at `x` in the sums lies at `x + u(x)` in the frame.
    pub motion: &'a FrameMotion,
    /// Its weight in every term.
    pub weights: &'a [f32],
}

impl WarpPlan {
    /// Checks that the sums are no smaller than a frame and the gain reference has its size.
    ///
    /// # Errors
    /// The first that is not so.
    pub fn check(&self) -> Result<(), WarpError> {
        let Detector { width, height, gain } = &self.detector;
        for (what, found, expected) in [
            ("columns of the sums are fewer than a frame's", self.size[0], *width),
            ("rows of the sums are fewer than a frame's", self.size[1], *height),
        ] {
            if found < expected {
                return Err(WarpError::Shape { what, found, expected });
            }
        }
        if *width * *height == 0 && self.size != [*width, *height] {
            let what = "pixels of the sums of frames without any";
            return Err(WarpError::Shape { what, found: self.size[0] * self.size[1], expected: 0 });
        }
        match gain {
            Some(gain) => same("pixels of the gain reference", gain.len(), width * height),
            None => Ok(()),
        }
    }

    /// Checks that frames fit.
    ///
    /// # Errors
    /// The first that does not.
    pub fn check_frames(&self, frames: &[MovedFrame<'_>]) -> Result<(), WarpError> {
        let Detector { width, height, .. } = self.detector;
        for frame in frames {
            same("pixels of a frame", frame.raw.pixels(width), width * height)?;
            same("weights of a frame", frame.weights.len(), self.terms)?;
            if !frame.motion.iter().flatten().all(|c| c.is_finite()) {
                return Err(WarpError::Motion { frame: frame.number });
            }
        }
        Ok(())
    }

    /// Displacement in the middle of the tile whose first pixel is `(x, y)`.
    pub fn tile_displacement(&self, motion: &FrameMotion, x: usize, y: usize) -> [f64; 2] {
        let half = (TILE as f64 - 1.0) / 2.0;
        let Detector { width, height, .. } = self.detector;
        let [u, v] = displacement(motion, [width, height], x as f64 + half, y as f64 + half);
        let (width, height) = (width as f64, height as f64);
        [u.clamp(-width, width), v.clamp(-height, height)]
    }
}

fn same(what: &'static str, found: usize, expected: usize) -> Result<(), WarpError> {
    if found == expected { Ok(()) } else { Err(WarpError::Shape { what, found, expected }) }
}

/// How much of the opposite edge there is in pixel `at` of the `length .. period` between the edges.
pub fn fade(at: usize, length: usize, period: usize) -> f32 {
    (at + 1 - length) as f32 / (period + 1 - length) as f32
}

/// The family.
pub trait Warp: Device {
    /// Sums on the device.
    type WarpedSums: Send;

    /// Empty sums.
    ///
    /// # Errors
    /// Sizes that do not agree.
    fn warped_sums(&self, plan: WarpPlan) -> Result<Self::WarpedSums, WarpError>;

    /// Adds frames, in order. Nothing was added if frames do not fit.
    ///
    /// # Errors
    /// Frames that do not fit, or the device; then the sums are lost.
    fn add_warped(&self, into: &mut Self::WarpedSums, frames: &[MovedFrame<'_>]) -> Result<(), WarpError>;

    /// Brings the sums to the host.
    ///
    /// # Errors
    /// The device failed.
    fn collect_warped(&self, sums: Self::WarpedSums) -> Result<ImageStack, WarpError>;
}
