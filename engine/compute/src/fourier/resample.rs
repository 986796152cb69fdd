//! Resampling by cropping or padding the transform: exact for what both grids can hold.

use super::{HalfImage, HalfVolume};
use ndarray::{Array2, Array3, ArrayView2, ArrayView3, Axis};
use num_complex::Complex32;
use vitreous_model::conventions::signed_frequency;

/// The smallest number from `n` on that has no prime factor over 5 (transform lengths that are fast).
///
/// ```
/// use vitreous_compute::fourier::next_5_smooth;
/// assert_eq!([0, 1, 7, 97, 121, 4092].map(next_5_smooth), [1, 1, 8, 100, 125, 4096]);
/// ```
pub fn next_5_smooth(n: usize) -> usize {
    let smooth = |mut m: usize| {
        for factor in [2, 3, 5] {
            while m.is_multiple_of(factor) {
                m /= factor;
            }
        }
        m == 1
    };
    (n.max(1)..).find(|&m| smooth(m)).unwrap_or(n)
}

/// Resamples an image `[ny, nx]` to `[target_ny, target_nx]` pixels of the same area, grey values kept: pixel `i` of
/// the result lies at `i · nx / target_nx` of the source (pixel 0 stays pixel 0). Micrographs and frames.
pub fn resample_image(image: ArrayView2<'_, f32>, target_ny: usize, target_nx: usize) -> Array2<f32> {
    HalfImage::of(image).resized(target_ny, target_nx).into_pixels()
}

/// Resamples a square box to `target_n` pixels, grey values kept, centre pixel on centre pixel also where a size is
/// odd. Particle images.
pub fn resample_box(image: ArrayView2<'_, f32>, target_n: usize) -> Array2<f32> {
    HalfImage::of_box(image).resized(target_n, target_n).into_box()
}

/// Resamples a cubic volume to `target_n` voxels an edge, values kept, centre on centre.
pub fn resample_volume(volume: ArrayView3<'_, f32>, target_n: usize) -> Array3<f32> {
    HalfVolume::of_box(volume).resized(target_n).into_box()
}

/// Where index `i` of an axis of `n` points goes on one of `target` points, with which factor; a Nyquist coefficient
/// of an even axis is half at `+n/2` and half at `-n/2` on a larger axis, and the sum of both on a smaller one.
pub(super) fn places(n: usize, target: usize) -> Vec<(usize, usize, f32)> {
    let wrap = |q: isize| q.rem_euclid(target as isize) as usize;
    let mut list = Vec::with_capacity(n + 1);
    for i in 0..n {
        let q = signed_frequency(i, n);
        let nyquist = n.is_multiple_of(2) && i == n / 2;
        if nyquist && target > n {
            list.push((i, wrap(q), 0.5));
            list.push((i, wrap(-q), 0.5));
        } else if 2 * q.unsigned_abs() <= target {
            list.push((i, wrap(q), 1.0));
        }
    }
    list
}

impl HalfImage {
    /// The transform of the image on another grid of the same area: coefficients cropped or padded with zeros, and
    /// scaled by the ratio of pixel counts so that grey values stay. The phase origin stays where it is.
    pub fn resized(&self, target_ny: usize, target_nx: usize) -> Self {
        let (ny, nx) = (self.ny(), self.nx());
        if (ny, nx) == (target_ny, target_nx) || ny * nx == 0 || target_ny * target_nx == 0 {
            return if (ny, nx) == (target_ny, target_nx) {
                self.clone()
            } else {
                Self::zeros(target_ny, target_nx)
            };
        }
        let scale = ((target_ny as f64 * target_nx as f64) / (ny as f64 * nx as f64)) as f32;
        let mut out = Self::zeros(target_ny, target_nx);
        let columns = (nx / 2).min(target_nx / 2) + 1;
        let x_factor = padding_factor(nx, target_nx);
        // a column that becomes the Nyquist of a smaller even axis also holds the mates of its negative
        let folded = target_nx < nx && target_nx.is_multiple_of(2);
        let mut data = out.data_mut();
        for (from, to, factor) in places(ny, target_ny) {
            let mirror = (ny - from) % ny;
            for x in 0..columns {
                let mut value = self.data()[[from, x]];
                if folded && x == target_nx / 2 {
                    value += self.data()[[mirror, x]].conj();
                }
                if x == nx / 2 {
                    value *= x_factor;
                }
                data[[to, x]] += value * (scale * factor);
            }
        }
        out
    }
}

impl HalfVolume {
    /// The transform of the volume on `target_n` voxels an edge of the same extent; as [`HalfImage::resized`].
    pub fn resized(&self, target_n: usize) -> Self {
        let n = self.n();
        if n == target_n || n * target_n == 0 {
            return if n == target_n { self.clone() } else { Self::zeros(target_n) };
        }
        let scale = (target_n as f64 / n as f64).powi(3) as f32;
        let mut out = Self::zeros(target_n);
        let columns = (n / 2).min(target_n / 2) + 1;
        let x_factor = padding_factor(n, target_n);
        let folded = target_n < n && target_n.is_multiple_of(2);
        let list = places(n, target_n);
        for &(from_z, to_z, factor_z) in &list {
            let source = self.data().index_axis(Axis(0), from_z);
            let mirrored = self.data().index_axis(Axis(0), (n - from_z) % n);
            let mut data = out.data_mut();
            let mut target = data.index_axis_mut(Axis(0), to_z);
            for &(from, to, factor_y) in &list {
                let mirror = (n - from) % n;
                for x in 0..columns {
                    let mut value: Complex32 = source[[from, x]];
                    if folded && x == target_n / 2 {
                        value += mirrored[[mirror, x]].conj();
                    }
                    if x == n / 2 {
                        value *= x_factor;
                    }
                    target[[to, x]] += value * (scale * factor_z * factor_y);
                }
            }
        }
        out
    }
}

/// Factor for the last column of an axis of `n` points when the axis grows.
fn padding_factor(n: usize, target: usize) -> f32 {
    if n.is_multiple_of(2) && target > n { 0.5 } else { 1.0 }
}
