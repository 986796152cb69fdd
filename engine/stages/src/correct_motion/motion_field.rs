//! The motion of a movie: how far every point of the specimen has moved in every frame.
//!
//! Displacements are in pixels of the movie, from frame 0: the specimen point that lies at `x` in the first frame used
//! lies at `x + u(x, f)` in frame `f`, so `u(x, 0) = 0` everywhere and the corrected micrograph has the geometry of the
//! first frame.

use serde::{Deserialize, Serialize};
use vitreous_compute::movie::field::{FrameMotion, displacement};
pub use vitreous_compute::movie::field::{MODES, modes};
use vitreous_compute::ops::motion_correlation::Pair;

/// Displacements of a movie: a quadratic function of the position for every frame.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MotionField {
    /// Columns of a frame, pixels.
    pub width: usize,
    /// Rows of a frame, pixels.
    pub height: usize,
    /// Per frame and axis (x, y): coefficients of [`modes`], pixels.
    pub coefficients: Vec<FrameMotion>,
}

impl MotionField {
    /// A field from coefficients in any gauge: those of frame 0 are subtracted from all.
    pub fn new(width: usize, height: usize, mut coefficients: Vec<FrameMotion>) -> Self {
        if let Some(first) = coefficients.first().copied() {
            for frame in &mut coefficients {
                for axis in 0..2 {
                    for mode in 0..MODES {
                        frame[axis][mode] -= first[axis][mode];
                    }
                }
            }
        }
        Self { width, height, coefficients }
    }

    /// Frames.
    pub fn frames(&self) -> usize {
        self.coefficients.len()
    }

    /// Displacement of the point at pixel `(x, y)` in frame `frame`, pixels.
    pub fn at(&self, frame: usize, x: f64, y: f64) -> Pair {
        displacement(&self.coefficients[frame], [self.width, self.height], x, y)
    }

    /// Displacement of the middle of the frame: the global track.
    pub fn centre_track(&self) -> Vec<Pair> {
        self.coefficients.iter().map(|c| [c[0][0], c[1][0]]).collect()
    }

    /// Whether any frame is deformed, not only displaced.
    pub fn is_local(&self) -> bool {
        self.coefficients.iter().flatten().any(|c| c[1..].iter().any(|v| *v != 0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field() -> MotionField {
        let frame = |f: f64| {
            [
                [3.0 + f, 0.2 * f, -0.1 * f, 0.05 * f, 0.0, 0.02 * f * f],
                [1.0 - f, 0.0, 0.3 * f, 0.0, 0.1, 0.0],
            ]
        };
        MotionField::new(200, 100, (0..8).map(|f| frame(f64::from(f))).collect())
    }

    #[test]
    fn nothing_moves_in_frame_0() {
        for (x, y) in [(0.0, 0.0), (99.5, 49.5), (199.0, 3.0)] {
            assert_eq!(field().at(0, x, y), [0.0, 0.0]);
        }
        assert_eq!(field().at(3, 99.5, 49.5), [3.0, -3.0]);
    }
}
