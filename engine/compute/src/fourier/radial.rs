//! Functions of the radius in Fourier space: filters, shells, power spectra.

use super::{HalfImage, HalfVolume, volume};
use ndarray::Axis;
use rayon::prelude::*;
use std::f64::consts::PI;
use vitreous_model::conventions::{shell_of, signed_frequency};

/// Radius in Fourier pixels of coefficient `[y, x]` of a half transform of `ny × nx` pixels. For an image that is not
/// square, pixels are those of its longer edge, so that equal radii are equal spatial frequencies.
pub fn radius_of(y: usize, x: usize, ny: usize, nx: usize) -> f64 {
    let n = ny.max(nx) as f64;
    let qy = signed_frequency(y, ny) as f64 * (n / ny as f64);
    let qx = x as f64 * (n / nx as f64);
    (qy * qy + qx * qx).sqrt()
}

/// Number of shells of a box of `n`: 0 to `n/2`.
pub fn shells(n: usize) -> usize {
    n / 2 + 1
}

/// How many coefficients of the full transform one of column `x` of a half transform stands for: 1 or 2.
pub fn friedel_count(x: usize, nx: usize) -> usize {
    if x == 0 || (nx.is_multiple_of(2) && x == nx / 2) { 1 } else { 2 }
}

/// Raised-cosine low-pass: 1 up to `radius - width/2`, 0 from `radius + width/2`, ½ at `radius`.
pub fn low_pass_weight(r: f64, radius: f64, width: f64) -> f64 {
    let t = if width > 0.0 { (r - radius) / width + 0.5 } else { f64::from(u8::from(r > radius)) };
    match t {
        t if t <= 0.0 => 1.0,
        t if t >= 1.0 => 0.0,
        t => 0.5 * (1.0 + (PI * t).cos()),
    }
}

/// Raised-cosine high-pass: the complement of [`low_pass_weight`].
pub fn high_pass_weight(r: f64, radius: f64, width: f64) -> f64 {
    1.0 - low_pass_weight(r, radius, width)
}

/// Mean `|X|²` by shell (`round(radius)`, 0 to half the longer edge) over the full transform.
pub fn shell_power(half: &HalfImage) -> Vec<f64> {
    let (ny, nx) = (half.ny(), half.nx());
    let count = shells(ny.max(nx));
    let mut sums = vec![[0.0f64; 2]; count];
    for ((y, x), value) in half.data().indexed_iter() {
        if let Some(shell) = sums.get_mut(shell_of(radius_of(y, x, ny, nx))) {
            let times = friedel_count(x, nx) as f64;
            shell[0] += times * f64::from(value.norm_sqr());
            shell[1] += times;
        }
    }
    means(sums)
}

/// Mean `|V|²` by shell (0 to `n/2`) over the full transform; slices are summed in order, so the result does not
/// depend on the number of threads.
pub fn shell_power_volume(half: &HalfVolume) -> Vec<f64> {
    let n = half.n();
    let slices: Vec<Vec<[f64; 2]>> = half
        .data()
        .axis_iter(Axis(0))
        .into_par_iter()
        .enumerate()
        .map(|(z, slice)| {
            let mut sums = vec![[0.0f64; 2]; shells(n)];
            for ((y, x), value) in slice.indexed_iter() {
                if let Some(shell) = sums.get_mut(shell_of(volume::radius(z, y, x, n))) {
                    let times = friedel_count(x, n) as f64;
                    shell[0] += times * f64::from(value.norm_sqr());
                    shell[1] += times;
                }
            }
            sums
        })
        .collect();
    let mut total = vec![[0.0f64; 2]; shells(n)];
    for slice in &slices {
        for (sum, part) in total.iter_mut().zip(slice) {
            sum[0] += part[0];
            sum[1] += part[1];
        }
    }
    means(total)
}

fn means(sums: Vec<[f64; 2]>) -> Vec<f64> {
    sums.into_iter().map(|[sum, count]| if count > 0.0 { sum / count } else { 0.0 }).collect()
}
