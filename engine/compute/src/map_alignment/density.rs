//! A map that can be read anywhere, and fixed points at which two maps are compared.

use super::Placement;
use crate::fourier::{next_5_smooth, resample_volume};
use ndarray::{Array3, ArrayView3};
use rayon::prelude::*;

/// A cubic map `[n, n, n]` read by trilinear interpolation; zero outside.
pub(super) struct Density {
    n: usize,
    voxels: Vec<f32>,
}

impl Density {
    /// A copy of the map on `n` voxels an edge.
    pub(super) fn new(map: ArrayView3<'_, f32>, n: usize) -> Self {
        let resized = if map.dim().0 == n { map.to_owned() } else { resample_volume(map, n) };
        Self { n, voxels: resized.as_standard_layout().iter().copied().collect() }
    }

    /// Value at a point in voxels from the box centre, (x, y, z).
    #[inline]
    pub(super) fn at(&self, point: [f64; 3]) -> f32 {
        let centre = (self.n / 2) as f64;
        let mut base = [0usize; 3];
        let mut fraction = [0f32; 3];
        for axis in 0..3 {
            let position = point[axis] + centre;
            if position < 0.0 || position >= (self.n - 1) as f64 {
                return 0.0;
            }
            base[axis] = position as usize;
            fraction[axis] = (position - base[axis] as f64) as f32;
        }
        let row = |z: usize, y: usize| {
            let start = (z * self.n + y) * self.n + base[0];
            self.voxels[start] + fraction[0] * (self.voxels[start + 1] - self.voxels[start])
        };
        let plane = |z: usize| {
            let low = row(z, base[1]);
            low + fraction[1] * (row(z, base[1] + 1) - low)
        };
        let low = plane(base[2]);
        low + fraction[2] * (plane(base[2] + 1) - low)
    }

    /// Where the density's weight lies, voxels from the box centre: mean position of what exceeds `mean + sd` inside the
    /// inscribed sphere.
    pub(super) fn centre_of_mass(&self) -> [f64; 3] {
        let count = self.voxels.len() as f64;
        let mean = self.voxels.iter().map(|&v| f64::from(v)).sum::<f64>() / count;
        let variance = self.voxels.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / count;
        let level = mean + variance.sqrt();
        let mut sum = [0.0; 3];
        let mut weight = 0.0;
        for point in ball(self.n, 0.5 * self.n as f64 - 1.0, 1) {
            let excess = f64::from(self.at(point)) - level;
            if excess > 0.0 {
                weight += excess;
                for axis in 0..3 {
                    sum[axis] += excess * point[axis];
                }
            }
        }
        if weight > 0.0 { sum.map(|s| s / weight) } else { [0.0; 3] }
    }
}

/// Grid points inside a sphere about the centre, every `stride`-th along each axis, voxels from the centre.
pub(super) fn ball(n: usize, radius: f64, stride: usize) -> Vec<[f64; 3]> {
    let centre = (n / 2) as f64;
    let axis: Vec<f64> = (0..n).step_by(stride).map(|i| i as f64 - centre).collect();
    let mut points = Vec::new();
    for &z in &axis {
        for &y in &axis {
            for &x in &axis {
                if x * x + y * y + z * z <= radius * radius {
                    points.push([x, y, z]);
                }
            }
        }
    }
    points
}

/// Pearson correlation of two lists of values; 0 where one is constant.
pub(super) fn correlation(a: impl Iterator<Item = (f32, f32)>) -> f64 {
    let (mut n, mut sa, mut sb, mut saa, mut sbb, mut sab) = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
    for (x, y) in a {
        let (x, y) = (f64::from(x), f64::from(y));
        n += 1.0;
        sa += x;
        sb += y;
        saa += x * x;
        sbb += y * y;
        sab += x * y;
    }
    let variance = (saa - sa * sa / n) * (sbb - sb * sb / n);
    if variance > 0.0 { (sab - sa * sb / n) / variance.sqrt() } else { 0.0 }
}

/// The map read through a placement: `out(x) = V(R x + t)`, same box. Interpolated on a grid twice as fine (zero-padded
/// in Fourier space) by Catmull–Rom splines, so that frequencies up to Nyquist keep their phase. Points outside the box
/// are zero.
pub fn resampled(map: ArrayView3<'_, f32>, placement: &Placement) -> Array3<f32> {
    let n = map.dim().0;
    let fine_n = next_5_smooth(2 * n);
    let scale = fine_n as f64 / n as f64;
    let fine = resample_volume(map, fine_n);
    let fine = fine.as_slice().expect("a new volume should be contiguous");
    let (matrix, centre, fine_centre) = (placement.rotation.matrix(), (n / 2) as f64, (fine_n / 2) as f64);
    let mut out = Array3::<f32>::zeros((n, n, n));
    out.as_slice_mut()
        .expect("a new volume should be contiguous")
        .par_chunks_mut(n * n)
        .enumerate()
        .for_each(|(z, plane)| {
            for (i, value) in plane.iter_mut().enumerate() {
                let p = [(i % n) as f64 - centre, (i / n) as f64 - centre, z as f64 - centre];
                let q = [0, 1, 2].map(|a| {
                    let turned = matrix[a][0] * p[0] + matrix[a][1] * p[1] + matrix[a][2] * p[2];
                    (turned + placement.shift_px[a]) * scale + fine_centre
                });
                *value = cubic(fine, fine_n, q);
            }
        });
    out
}

/// Catmull–Rom interpolation of a cubic array at voxel coordinates (x, y, z); zero where the 4³ neighbourhood sticks out.
fn cubic(voxels: &[f32], n: usize, at: [f64; 3]) -> f32 {
    let mut base = [0usize; 3];
    let mut weights = [[0f32; 4]; 3];
    for axis in 0..3 {
        let floor = at[axis].floor();
        if floor < 1.0 || floor + 2.0 >= n as f64 {
            return 0.0;
        }
        base[axis] = floor as usize - 1;
        let t = (at[axis] - floor) as f32;
        let (t2, t3) = (t * t, t * t * t);
        weights[axis] = [
            0.5 * (-t + 2.0 * t2 - t3),
            0.5 * (2.0 - 5.0 * t2 + 3.0 * t3),
            0.5 * (t + 4.0 * t2 - 3.0 * t3),
            0.5 * (t3 - t2),
        ];
    }
    let mut sum = 0.0;
    for (k, wz) in weights[2].iter().enumerate() {
        for (j, wy) in weights[1].iter().enumerate() {
            let start = ((base[2] + k) * n + base[1] + j) * n + base[0];
            let row: f32 = voxels[start..start + 4].iter().zip(&weights[0]).map(|(v, w)| v * w).sum();
            sum += wz * wy * row;
        }
    }
    sum
}
