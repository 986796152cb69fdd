//! Where one map lies in another, and where the symmetry axes of a map lie.
//!
//! Both are searches over rotations and shifts for the best real-space correlation: a quasi-uniform grid of rotations on
//! coarse maps, then pattern search on finer ones. [`rigid`] aligns two maps, optionally over both hands;
//! [`symmetry_axes`] turns a map so that its axes lie where the conventions of
//! [`vitreous_model::symmetry`] want them.
//!
//! A placement `(R, t)` reads a map V at `R x + t`, x and t in voxels from the box centre.

mod density;
pub mod pattern_search;
pub mod rigid;
pub mod symmetry_axes;

pub use density::resampled;
pub use rigid::{Alignment, align};
pub use symmetry_axes::{SymmetryAxes, find_axes, symmetrised};

use vitreous_model::pose::Rotation;

/// A rotation and a shift: V is read at `R x + t`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placement {
    /// R.
    pub rotation: Rotation,
    /// t in voxels, (x, y, z).
    pub shift_px: [f64; 3],
}

impl Placement {
    /// R and no shift.
    pub fn turned(rotation: Rotation) -> Self {
        Self { rotation, shift_px: [0.0; 3] }
    }

    /// The same placement on a grid whose voxels are `1/factor` as large.
    pub fn rescaled(self, factor: f64) -> Self {
        Self { shift_px: self.shift_px.map(|t| t * factor), ..self }
    }
}

/// `count` rotations spread evenly over all rotations: a super-Fibonacci spiral (Alexa 2022, "Super-Fibonacci spirals:
/// fast, low-discrepancy sampling of SO(3)", CVPR). 15,000 lie about 10° apart.
pub fn even_rotations(count: usize) -> impl Iterator<Item = Rotation> {
    use std::f64::consts::{SQRT_2, TAU};
    /// The positive root of `x⁴ = x + 4`, the constant of the spiral.
    const PSI: f64 = 1.533_751_168_755_204_3;
    (0..count).map(move |i| {
        let s = i as f64 + 0.5;
        let t = s / count as f64;
        let (inner, outer) = (t.sqrt(), (1.0 - t).sqrt());
        let (alpha, beta) = (TAU * s / SQRT_2, TAU * s / PSI);
        Rotation::new(inner * alpha.sin(), inner * alpha.cos(), outer * beta.sin(), outer * beta.cos())
    })
}

#[cfg(test)]
mod tests;
