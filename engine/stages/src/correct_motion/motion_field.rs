//! The motion of a movie: how far every point of the specimen has moved in every frame.
//!
//! Displacements are in pixels of the movie, from frame 0: the specimen point that lies at `x` in the first frame used
//! lies at `x + u(x, f)` in frame `f`, so `u(x, 0) = 0` everywhere and the corrected micrograph has the geometry of the
//! first frame.

use super::correlation::Pair;
use serde::{Deserialize, Serialize};

/// Monomials of the position: `1, X, Y, X², Y², XY`, with X and Y from -1 to 1 over the frame.
pub const MODES: usize = 6;

/// Values of the monomials at `(x, y)`, each from -1 to 1.
pub fn modes(x: f64, y: f64) -> [f64; MODES] {
    [1.0, x, y, x * x, y * y, x * y]
}

/// Displacements of a movie: a quadratic function of the position for every frame.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MotionField {
    /// Columns of a frame, pixels.
    pub width: usize,
    /// Rows of a frame, pixels.
    pub height: usize,
    /// Per frame and axis (x, y): coefficients of [`modes`], pixels.
    pub coefficients: Vec<[[f64; MODES]; 2]>,
}

impl MotionField {
    /// A field from coefficients in any gauge: those of frame 0 are subtracted from all.
    pub fn new(width: usize, height: usize, mut coefficients: Vec<[[f64; MODES]; 2]>) -> Self {
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

    /// Position `(x, y)` in pixels as X, Y from -1 to 1.
    pub fn normalised(&self, x: f64, y: f64) -> (f64, f64) {
        let unit = |v: f64, n: usize| (2.0 * v - (n as f64 - 1.0)) / n as f64;
        (unit(x, self.width), unit(y, self.height))
    }

    /// Displacement of the point at pixel `(x, y)` in frame `frame`, pixels.
    pub fn at(&self, frame: usize, x: f64, y: f64) -> Pair {
        let (x, y) = self.normalised(x, y);
        let modes = modes(x, y);
        self.coefficients[frame].map(|c| c.iter().zip(modes).map(|(c, m)| c * m).sum())
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
