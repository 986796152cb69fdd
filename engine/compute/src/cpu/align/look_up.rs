//! Value and gradient of the reference at a block of points. Each step is a loop over the whole block without branches, so
//! that the compiler makes vectors of it; only fetching the grid's cells goes point by point, a row of a cell (two
//! coefficients) at a time.

use super::normal::multiply_add;
use crate::cpu::project::Projector;

/// Points looked up together.
pub const BLOCK: usize = 64;

/// The reference at a block of points: value (re, im), and gradient along the volume's axes per Fourier pixel.
pub struct Looked {
    /// Values.
    pub value: [[f32; BLOCK]; 2],
    /// Derivatives along x, y and z.
    pub gradient: [[[f32; BLOCK]; 2]; 3],
}

/// Where the points of a block lie in the grid, and the cells there.
pub struct Cells {
    /// Place of the cell's first corner in the grid's list.
    first: [u32; BLOCK],
    /// -1 where the Friedel mate is read, else 1.
    sign: [f32; BLOCK],
    /// Where the point lies in its cell, along x, y and z, in 0..=1.
    within: [[f32; BLOCK]; 3],
    /// The same along y and z, four times each, as `rows` has it.
    spread: [[f32; 4 * BLOCK]; 2],
    /// Corners `(z0,y0), (z0,y1), (z1,y0), (z1,y1)`: re and im at x0, re and im at x1. Later value and derivatives.
    rows: [[f32; 4 * BLOCK]; 4],
}

impl Looked {
    /// Nothing yet.
    pub const EMPTY: Self = Self { value: [[0.0; BLOCK]; 2], gradient: [[[0.0; BLOCK]; 2]; 3] };
}

impl Cells {
    /// Nothing yet.
    pub const EMPTY: Self = Self {
        first: [0; BLOCK],
        sign: [0.0; BLOCK],
        within: [[0.0; BLOCK]; 3],
        spread: [[0.0; 4 * BLOCK]; 2],
        rows: [[0.0; 4 * BLOCK]; 4],
    };

    /// Looks up the points `(qx, qy)`, Fourier pixels, of the slice with the two columns `axes` of its rotation.
    ///
    /// # Panics
    /// Where a point lies outside the held grid.
    #[inline(always)]
    pub fn look_up<const FMA: bool>(
        &mut self,
        projector: &Projector,
        axes: &[[f32; 3]; 2],
        [qx, qy]: [&[f32; BLOCK]; 2],
        looked: &mut Looked,
    ) {
        self.place::<FMA>(projector, axes, qx, qy);
        self.fetch(projector);
        self.along_y_and_z::<FMA>();
        self.along_x::<FMA>(projector.grid().scale() as f32, looked);
    }

    #[inline(always)]
    fn place<const FMA: bool>(
        &mut self,
        projector: &Projector,
        axes: &[[f32; 3]; 2],
        qx: &[f32; BLOCK],
        qy: &[f32; BLOCK],
    ) {
        /// The bits of 2²³ plus a whole number below it are those of 2²³ plus the number.
        const WHOLE: f32 = 8_388_608.0;
        let scale = projector.grid().scale() as f32;
        let axes = axes.map(|axis| axis.map(|v| v * scale));
        let reach = projector.grid().reach();
        let (edge, width, reach) = (2 * reach as u32 + 1, reach as u32 + 1, reach as f32);
        for i in 0..BLOCK {
            let at = |axis: usize| multiply_add::<FMA>(axes[0][axis], qx[i], axes[1][axis] * qy[i]);
            let x = at(0);
            let sign = if x < 0.0 { -1.0 } else { 1.0 };
            let k =
                [x * sign, multiply_add::<FMA>(at(1), sign, reach), multiply_add::<FMA>(at(2), sign, reach)];
            let mut low = [0u32; 3];
            for axis in 0..3 {
                // halves are rounded to even, so a point on a corner may count to the cell below, at its other end
                let whole = (k[axis] - 0.5).max(0.0) + WHOLE;
                low[axis] = whole.to_bits() - WHOLE.to_bits();
                self.within[axis][i] = k[axis] - (whole - WHOLE);
            }
            self.first[i] = (low[2] * edge + low[1]) * width + low[0];
            self.sign[i] = sign;
        }
    }

    #[inline(always)]
    fn fetch(&mut self, projector: &Projector) {
        let width = projector.grid().reach() + 1;
        let plane = width * (2 * projector.grid().reach() + 1);
        let data = projector.coefficients();
        let steps = [0, width, plane, plane + width];
        for i in 0..BLOCK {
            let first = self.first[i] as usize;
            for (row, step) in self.rows.iter_mut().zip(steps) {
                let pair = &data[first + step..first + step + 2];
                row[4 * i..4 * i + 4].copy_from_slice(&[pair[0].re, pair[0].im, pair[1].re, pair[1].im]);
            }
            for (axis, spread) in self.spread.iter_mut().enumerate() {
                spread[4 * i..4 * i + 4].copy_from_slice(&[self.within[1 + axis][i]; 4]);
            }
        }
    }

    #[inline(always)]
    fn along_y_and_z<const FMA: bool>(&mut self) {
        let [ty, tz] = &self.spread;
        let [r00, r01, r10, r11] = &mut self.rows;
        for j in 0..4 * BLOCK {
            let (near_dy, far_dy) = (r01[j] - r00[j], r11[j] - r10[j]);
            let near = multiply_add::<FMA>(near_dy, ty[j], r00[j]);
            let far = multiply_add::<FMA>(far_dy, ty[j], r10[j]);
            r00[j] = multiply_add::<FMA>(far - near, tz[j], near);
            r01[j] = multiply_add::<FMA>(far_dy - near_dy, tz[j], near_dy);
            r10[j] = far - near;
        }
    }

    #[inline(always)]
    fn along_x<const FMA: bool>(&mut self, scale: f32, looked: &mut Looked) {
        let [value, dy, dz, _] = &self.rows;
        for part in 0..2 {
            for i in 0..BLOCK {
                let tx = self.within[0][i];
                // V(k) = conj V(-k); its derivative is minus the conjugate of the one at -k
                let signs = [[1.0, self.sign[i]], [self.sign[i], 1.0]];
                let ends = |list: &[f32; 4 * BLOCK]| [list[4 * i + part], list[4 * i + 2 + part]];
                let lerp = |[low, high]: [f32; 2]| multiply_add::<FMA>(high - low, tx, low);
                let [low, high] = ends(value);
                looked.value[part][i] = signs[0][part] * lerp([low, high]);
                let gradient = scale * signs[1][part];
                looked.gradient[0][part][i] = gradient * (high - low);
                looked.gradient[1][part][i] = gradient * lerp(ends(dy));
                looked.gradient[2][part][i] = gradient * lerp(ends(dz));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parity;
    use rand::{RngExt, SeedableRng};
    use vitreous_model::pose::Rotation;

    #[test]
    fn blocks_give_what_single_points_give() {
        let volume = parity::project::blob_volume(24, 1);
        let projector = Projector::new(volume.view(), 2.0).unwrap();
        let largest = projector.coefficients().iter().map(|c| c.norm()).fold(0.0, f32::max);
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(5);
        let (mut cells, mut looked) = (Cells::EMPTY, Looked::EMPTY);
        for turn in 0..20 {
            let rotation = if turn == 0 {
                Rotation::IDENTITY
            } else {
                Rotation::from_rotation_vector([0, 1, 2].map(|_| rng.random_range(-3.0..3.0)))
            };
            let m = rotation.matrix();
            let axes = [0, 1].map(|column: usize| [0, 1, 2].map(|row: usize| m[row][column] as f32));
            let mut q = || std::array::from_fn(|_| rng.random_range(-8.0..8.0f32).round());
            let (qx, qy): ([f32; BLOCK], [f32; BLOCK]) = (q(), q());
            cells.look_up::<false>(&projector, &axes, [&qx, &qy], &mut looked);
            for i in 0..BLOCK {
                // off the corners, where the derivative jumps
                let k = [0, 1, 2].map(|axis| axes[0][axis] * qx[i] + axes[1][axis] * qy[i]);
                let (value, gradient) = projector.value_and_gradient(k);
                let found = num_complex::Complex32::new(looked.value[0][i], looked.value[1][i]);
                assert!((found - value).norm() <= 1e-4 * largest, "value at {k:?}");
                if turn == 0 {
                    continue;
                }
                for (axis, expected) in gradient.iter().enumerate() {
                    let [re, im] = [0, 1].map(|part: usize| looked.gradient[axis][part][i]);
                    let off = (num_complex::Complex32::new(re, im) - expected).norm();
                    let on_corner = k.iter().any(|c| ((2.0 * c).round() - 2.0 * c).abs() < 1e-4);
                    assert!(on_corner || off <= 1e-3 * largest, "axis {axis} at {k:?}");
                }
            }
        }
    }
}
