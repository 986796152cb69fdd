//! The padded Fourier grid on which volumes are interpolated and slices are inserted.

use crate::fourier::next_5_smooth;
use vitreous_model::conventions::signed_frequency;
use vitreous_model::pose::Rotation;

/// A cubic Fourier grid finer than a box's own: the transform of the box padded with zeros to `padded_n`.
///
/// Only the half with `kx ≥ 0` is held, and of it only what lies within `reach` of the origin: an array
/// `[2·reach + 1, 2·reach + 1, reach + 1]` over `kz, ky, kx` in grid units, `kz` and `ky` from `-reach` (the origin in
/// the middle, no wrapping), `kx` from 0. A frequency of q Fourier pixels of the box lies at `q · scale()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaddedGrid {
    n: usize,
    padded_n: usize,
    reach: usize,
}

impl PaddedGrid {
    /// For a box of `n` pixels, padded at least `pad` times (to an even length whose transform is fast), for
    /// frequencies up to `rmax` Fourier pixels. Radii that would need points beyond the padded grid are cut:
    /// [`PaddedGrid::radius`] tells.
    pub fn new(n: usize, pad: f64, rmax: f64) -> Self {
        let all = Self::for_sums(n, pad, rmax);
        Self { reach: all.reach.min(all.padded_n / 2), ..all }
    }

    /// The same for sums of slices, which may reach beyond the transform of the padded box: its last points get their
    /// share of coefficients from outside, too.
    pub fn for_sums(n: usize, pad: f64, rmax: f64) -> Self {
        let wanted = (n as f64 * pad.max(1.0)).ceil() as usize;
        // an even length of factors 2, 3 and 5 is twice any such length
        let padded_n = 2 * next_5_smooth(wanted.div_ceil(2).max(1));
        let scale = if n == 0 { 1.0 } else { padded_n as f64 / n as f64 };
        Self { n, padded_n, reach: (rmax.max(0.0) * scale).ceil() as usize + 1 }
    }

    /// Radius of the last FSC shell's end, Fourier pixels of a box of `n`: that of Nyquist is a shell like any other.
    pub fn last_shell_end(n: usize) -> f64 {
        0.5 * n as f64 + 0.5
    }

    /// Box edge, pixels.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Edge of the padded box, pixels.
    pub fn padded_n(&self) -> usize {
        self.padded_n
    }

    /// Grid steps from the origin to the last held point of an axis.
    pub fn reach(&self) -> usize {
        self.reach
    }

    /// Grid steps per Fourier pixel of the box.
    pub fn scale(&self) -> f64 {
        if self.n == 0 { 1.0 } else { self.padded_n as f64 / self.n as f64 }
    }

    /// The largest usable radius for a wish of `rmax`, Fourier pixels of the box.
    pub fn radius(&self, rmax: f64) -> f64 {
        // a point needs the next one of the grid beside it
        rmax.min((self.reach - 1) as f64 / self.scale())
    }

    /// For every row of a half image of the box, how many of its first coefficients have a radius of at most `rmax` (and
    /// are usable, [`PaddedGrid::radius`]).
    pub fn row_ends(&self, rmax: f64) -> Vec<usize> {
        let radius = self.radius(rmax);
        let end = |y: usize| {
            let qy = signed_frequency(y, self.n) as f64;
            let rest = radius * radius - qy * qy;
            if rest < 0.0 { 0 } else { (rest.sqrt() as usize).min(self.n / 2) + 1 }
        };
        (0..self.n).map(end).collect()
    }

    /// The image's x and y axes in the volume, in grid steps per Fourier pixel: two columns of the rotation matrix.
    pub fn image_axes(&self, rotation: Rotation) -> [[f32; 3]; 2] {
        let [x, y, _] = self.slice_axes(rotation, 0.0);
        [x, y]
    }

    /// The image's x and y axes in the volume, in grid steps per Fourier pixel, and the way that a slice of this bend leaves
    /// their plane, in grid steps per Fourier pixel²: the columns of the rotation matrix, the third times `bend`.
    pub fn slice_axes(&self, rotation: Rotation, bend: f32) -> [[f32; 3]; 3] {
        let m = rotation.matrix();
        let column =
            |column: usize, size: f64| [0, 1, 2].map(|row| (m[row][column] * self.scale() * size) as f32);
        [column(0, 1.0), column(1, 1.0), column(2, f64::from(bend))]
    }

    /// Shape of the held array.
    pub fn dim(&self) -> (usize, usize, usize) {
        (2 * self.reach + 1, 2 * self.reach + 1, self.reach + 1)
    }

    /// Points held.
    pub fn len(&self) -> usize {
        let (z, y, x) = self.dim();
        z * y * x
    }

    /// Never: the origin is always held.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// What linear interpolation on this grid does in real space: the window `Π sinc²(x_i / padded_n)` by which a
    /// box must be divided, as its factor along one axis, pixel by pixel (`n` values, 1 at the centre).
    pub fn window(&self) -> Vec<f64> {
        let centre = (self.n / 2) as f64;
        (0..self.n)
            .map(|x| {
                let t = std::f64::consts::PI * (x as f64 - centre) / self.padded_n as f64;
                if t == 0.0 { 1.0 } else { (t.sin() / t).powi(2) }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_hold_what_they_promise() {
        let grid = PaddedGrid::new(64, 2.0, 64.0);
        assert_eq!((grid.padded_n(), grid.reach(), grid.scale()), (128, 64, 2.0));
        assert_eq!(grid.radius(100.0), 31.5);
        let small = PaddedGrid::new(64, 2.0, 10.0);
        assert_eq!((small.reach(), small.dim()), (21, (43, 43, 22)));
        assert!(small.radius(10.0) >= 10.0);
        let sums = PaddedGrid::for_sums(64, 1.5, PaddedGrid::last_shell_end(64));
        assert_eq!((sums.padded_n(), sums.reach()), (96, 50));
        assert!(sums.radius(100.0) >= 32.5);
        let prime = PaddedGrid::new(97, 2.0, 48.0);
        assert_eq!(prime.padded_n(), 200);
        for n in [0, 1, 2, 3] {
            assert!(PaddedGrid::new(n, 1.0, 5.0).reach() >= 1);
        }
    }
}
