//! The part of a padded transform that a band needs, laid out for trilinear look-ups in any direction.

use crate::fourier::HalfVolume;
use vitreous_model::pose::Matrix3;

/// A cropped copy of a padded half transform: `x = 0 ..= reach + 1`, `y, z = -reach ..= reach`, x fastest, real and
/// imaginary parts interleaved. A look-up at negative x reads the Friedel mate.
#[derive(Debug, Clone)]
pub struct SliceVolume {
    values: Vec<f32>,
    reach: usize,
    padding: f32,
}

/// A value of the transform and its derivatives along the volume's axes per Fourier pixel of the unpadded box.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ValueAndGradient {
    /// Real and imaginary part.
    pub value: [f32; 2],
    /// d/dkx, d/dky, d/dkz of the real and of the imaginary part.
    pub gradient: [[f32; 2]; 3],
}

impl SliceVolume {
    /// The part of `volume`, the padded transform of a box of `box_px`, within radius `r_end` Fourier pixels of that box.
    pub fn new(volume: &HalfVolume, box_px: usize, r_end: f64) -> Self {
        let padding = volume.n() as f64 / box_px.max(1) as f64;
        let reach = (r_end * padding).ceil() as usize + 2;
        let edge = 2 * reach + 1;
        let row = reach + 2;
        let (n, half) = (volume.n(), volume.n() / 2);
        let mut values = vec![0f32; 2 * edge * edge * row];
        let data = volume.data();
        // frequencies the transform does not hold stay zero
        let index = |i: usize| {
            let q = i as isize - reach as isize;
            (2 * q.unsigned_abs() <= n).then(|| q.rem_euclid(n.max(1) as isize) as usize)
        };
        for (iz, plane) in values.chunks_exact_mut(2 * edge * row).enumerate() {
            let Some(z) = index(iz) else { continue };
            for (iy, line) in plane.chunks_exact_mut(2 * row).enumerate() {
                let Some(y) = index(iy) else { continue };
                for (x, pair) in line.chunks_exact_mut(2).enumerate().take(half + 1) {
                    let value = data[[z, y, x]];
                    pair.copy_from_slice(&[value.re, value.im]);
                }
            }
        }
        Self { values, reach, padding: padding as f32 }
    }

    /// The matrix that takes Fourier pixels `(qx, qy)` of the image to grid units of this volume: the first two columns
    /// of `rotation`, times the padding.
    #[inline(always)]
    pub fn slice_axes(&self, rotation: &Matrix3) -> [[f32; 3]; 2] {
        let scaled = |column: usize| [0, 1, 2].map(|row: usize| rotation[row][column] as f32 * self.padding);
        [scaled(0), scaled(1)]
    }

    /// Padding factor of the grid.
    pub fn padding(&self) -> f32 {
        self.padding
    }

    /// Whether every point of a slice to radius `r` Fourier pixels lies on the grid.
    pub fn covers(&self, r: f64) -> bool {
        (r * f64::from(self.padding)).ceil() as usize + 2 <= self.reach
    }

    /// Offset of the cell's lowest corner, fractions, and -1 if the Friedel mate is read.
    #[inline(always)]
    fn cell(&self, k: [f32; 3]) -> (usize, [f32; 3], f32) {
        let sign = if k[0] < 0.0 { -1.0 } else { 1.0 };
        let reach = self.reach as f32;
        let (x, y, z) = (k[0] * sign, k[1] * sign + reach, k[2] * sign + reach);
        let (ix, iy, iz) = (x as usize, y as usize, z as usize);
        let edge = 2 * self.reach + 1;
        let offset = 2 * ((iz * edge + iy) * (self.reach + 2) + ix);
        (offset, [x - ix as f32, y - iy as f32, z - iz as f32], sign)
    }

    /// The four rows of a cell, each two neighbours along x: `[re, im, re, im]` at (z, y), (z, y+1), (z+1, y),
    /// (z+1, y+1).
    #[inline(always)]
    fn corners(&self, offset: usize) -> [[f32; 4]; 4] {
        let row = 2 * (self.reach + 2);
        let plane = row * (2 * self.reach + 1);
        [0, row, plane, plane + row].map(|step| {
            let at = offset + step;
            match self.values.get(at..at + 4) {
                Some(&[a, b, c, d]) => [a, b, c, d],
                _ => [0.0; 4],
            }
        })
    }

    /// The transform at grid coordinates `k` (see [`SliceVolume::slice_axes`]); zero outside the grid.
    #[inline(always)]
    pub fn value(&self, k: [f32; 3]) -> [f32; 2] {
        let (offset, [fx, fy, fz], sign) = self.cell(k);
        let [c00, c01, c10, c11] = self.corners(offset);
        let low = mix(c00, c01, fy);
        let high = mix(c10, c11, fy);
        let line = mix(low, high, fz);
        [line[0] + fx * (line[2] - line[0]), sign * (line[1] + fx * (line[3] - line[1]))]
    }

    /// The transform and its gradient at grid coordinates `k`. The gradient is that of the interpolated function.
    #[inline(always)]
    pub fn value_and_gradient(&self, k: [f32; 3]) -> ValueAndGradient {
        let (offset, [fx, fy, fz], sign) = self.cell(k);
        let [c00, c01, c10, c11] = self.corners(offset);
        let low = mix(c00, c01, fy);
        let high = mix(c10, c11, fy);
        let line = mix(low, high, fz);
        let along_z = difference(high, low);
        let along_y = mix(difference(c01, c00), difference(c11, c10), fz);
        let at = |pair: [f32; 4]| [pair[0] + fx * (pair[2] - pair[0]), pair[1] + fx * (pair[3] - pair[1])];
        // V(k) = conj V(-k), so at a mate the value is conjugated and the gradient negated and conjugated
        let scaled = |g: [f32; 2]| [g[0] * self.padding * sign, g[1] * self.padding];
        let value = at(line);
        ValueAndGradient {
            value: [value[0], value[1] * sign],
            gradient: [
                scaled([line[2] - line[0], line[3] - line[1]]),
                scaled(at(along_y)),
                scaled(at(along_z)),
            ],
        }
    }
}

/// `a + f (b - a)`.
#[inline(always)]
fn mix(a: [f32; 4], b: [f32; 4], f: f32) -> [f32; 4] {
    let mut out = [0.0; 4];
    for i in 0..4 {
        out[i] = a[i] + f * (b[i] - a[i]);
    }
    out
}

/// `a - b`.
#[inline(always)]
fn difference(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
    let mut out = [0.0; 4];
    for i in 0..4 {
        out[i] = a[i] - b[i];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array3;
    use vitreous_model::conventions::signed_frequency;
    use vitreous_model::pose::Rotation;

    fn volume() -> HalfVolume {
        let image = Array3::from_shape_fn((16, 16, 16), |(z, y, x)| ((z * 7 + y * 3 + x * x) % 11) as f32 - 5.0);
        HalfVolume::of_box(image.view())
    }

    #[test]
    fn grid_points_and_their_mates_are_exact() {
        let half = volume();
        let slices = SliceVolume::new(&half, 16, 6.0);
        for (z, y, x) in [(0, 0, 0), (1, 2, 3), (14, 3, 4), (13, 12, 0), (2, 15, 5)] {
            let want = half.data()[[z, y, x]];
            let k = [x as f32, signed_frequency(y, 16) as f32, signed_frequency(z, 16) as f32];
            assert_eq!(slices.value(k), [want.re, want.im]);
            let mate = slices.value(k.map(|c| -c));
            assert!((mate[0] - want.re).abs() < 1e-3 && (mate[1] + want.im).abs() < 1e-3, "{mate:?} {want}");
        }
    }

    #[test]
    fn gradients_are_those_of_the_interpolated_function() {
        let half = volume();
        let slices = SliceVolume::new(&half, 8, 3.0);
        for k in [[0.3f32, 1.4, -2.6], [-1.3, 2.2, 0.7], [2.5, -3.4, 1.5]] {
            let found = slices.value_and_gradient(k);
            assert_eq!(found.value, slices.value(k));
            for axis in 0..3 {
                let h = 0.01;
                let (mut up, mut down) = (k, k);
                up[axis] += h;
                down[axis] -= h;
                let (up, down) = (slices.value(up), slices.value(down));
                for part in 0..2 {
                    let expected = (up[part] - down[part]) / (2.0 * h) * slices.padding();
                    let got = found.gradient[axis][part];
                    assert!((got - expected).abs() < 0.02 * (1.0 + expected.abs()), "{k:?} {axis}: {got} {expected}");
                }
            }
        }
    }

    #[test]
    fn a_slice_follows_the_rotation() {
        let slices = SliceVolume::new(&volume(), 8, 3.0);
        let rotation = Rotation::from_euler_zyz_deg(30.0, 50.0, 70.0);
        let [ax, ay] = slices.slice_axes(&rotation.matrix());
        let k = rotation.apply([2.0, -1.0, 0.0]);
        for i in 0..3 {
            assert!((ax[i] * 2.0 - ay[i] - 2.0 * k[i] as f32).abs() < 1e-5);
        }
    }
}
