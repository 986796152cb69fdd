//! A map on another grid: another box edge and voxel size around the same centre.
//!
//! The map is taken as the trigonometric polynomial through its voxels (one period is its box) and evaluated at the new
//! voxels, exactly for any ratio of voxel sizes. That is three products with a matrix, one along each axis.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, Array3, ArrayView2, ArrayView3, ArrayViewMut2, Axis, par_azip};
use rayon::prelude::*;
use std::f64::consts::PI;
use vitreous_model::conventions::centre;

/// Voxel sizes that differ by less, relative, are the same: headers hold them as quotients of f32.
const SAME_VOXEL: f64 = 1e-5;

/// The map `[nz, ny, nx]` of voxel edges `voxel_a` (along x, y, z; Å) in a cube of `target_n` voxels of
/// `target_voxel_a` (Å). Box centres coincide; what lies outside the old box is `outside`; frequencies beyond the new
/// Nyquist limit of an axis are left out. Densities keep their values; with equal voxels they are copied.
///
/// ```
/// use ndarray::Array3;
/// use vitreous_compute::regrid::regridded;
/// let map = Array3::from_shape_fn((4, 4, 6), |(z, y, x)| (z + y + x) as f32);
/// let cube = regridded(map.view(), [1.5; 3], 6, 1.5, -1.0);
/// assert_eq!((cube[[1, 1, 0]], cube[[0, 1, 0]]), (map[[0, 0, 0]], -1.0));
/// ```
pub fn regridded(
    map: ArrayView3<'_, f32>,
    voxel_a: [f64; 3],
    target_n: usize,
    target_voxel_a: f64,
    outside: f32,
) -> Array3<f32> {
    let (nz, ny, nx) = map.dim();
    let m = target_n;
    let places = [(nx, voxel_a[0]), (ny, voxel_a[1]), (nz, voxel_a[2])]
        .map(|(n, source_a)| places(n, m, target_voxel_a / source_a));
    let [x, y, z] = [(nx, 0), (ny, 1), (nz, 2)].map(|(n, axis)| weights(n, &places[axis]));
    let along_x =
        by_slab((nz, ny, m), map, Axis(0), |slab, out| general_mat_mul(1.0, slab, &x.t(), 0.0, out));
    let along_y =
        by_slab((nz, m, m), along_x.view(), Axis(0), |slab, out| general_mat_mul(1.0, &y, slab, 0.0, out));
    let mut cube =
        by_slab((m, m, m), along_y.view(), Axis(1), |slab, out| general_mat_mul(1.0, &z, slab, 0.0, out));
    let [x, y, z] = places.each_ref().map(|places| &places.at);
    par_azip!((index (k, j, i), value in &mut cube) {
        if x[i].is_none() || y[j].is_none() || z[k].is_none() {
            *value = outside;
        }
    });
    cube
}

/// A new array of shape `dim`, each of whose slabs across `axis` `fill` makes of the slab of `source` at that place.
fn by_slab(
    dim: (usize, usize, usize),
    source: ArrayView3<'_, f32>,
    axis: Axis,
    fill: impl Fn(&ArrayView2<'_, f32>, &mut ArrayViewMut2<'_, f32>) + Sync,
) -> Array3<f32> {
    let mut out = Array3::zeros(dim);
    let slabs = out.axis_iter_mut(axis).into_par_iter().zip(source.axis_iter(axis).into_par_iter());
    slabs.for_each(|(mut slab, source)| fill(&source, &mut slab));
    out
}

/// Where the new samples of an axis lie among the old ones.
struct Places {
    /// New distance over old.
    step: f64,
    /// In old samples from the first; `None` outside.
    at: Vec<Option<f64>>,
}

/// Places of `m` samples `step` apart among `n` samples one apart; centres coincide.
fn places(n: usize, m: usize, step: f64) -> Places {
    let step = if (step - 1.0).abs() < SAME_VOXEL { 1.0 } else { step };
    let at = |j: usize| (j as f64 - centre(m) as f64) * step + centre(n) as f64;
    let inside = |at: &f64| (-0.5..n as f64 - 0.5).contains(at);
    Places { step, at: (0..m).map(|j| Some(at(j)).filter(inside)).collect() }
}

/// How much each of `n` old samples counts in each new one: `[places, n]`; zero outside.
fn weights(n: usize, places: &Places) -> Array2<f32> {
    // the highest of the old frequencies, in periods per old box, that the new grid holds
    let highest = (n / 2).min((0.5 * n as f64 / places.step + 1e-9) as usize);
    Array2::from_shape_fn((places.at.len(), n), |(j, i)| {
        let Some(at) = places.at[j] else { return 0.0 };
        if places.step == 1.0 {
            return f32::from(u8::from(at == i as f64));
        }
        kernel(at - i as f64, n, highest) as f32
    })
}

/// `1/n Σ cos(2π k t / n)` over `k` from `-highest` to `highest`, the two at the Nyquist limit of `n` counting one half.
fn kernel(t: f64, n: usize, highest: usize) -> f64 {
    let n_real = n as f64;
    let terms = (2 * highest + 1) as f64;
    let sine = (PI * t / n_real).sin();
    let sum = if sine.abs() < 1e-9 { terms } else { (PI * terms * t / n_real).sin() / sine };
    let halved = if 2 * highest == n { (PI * t).cos() } else { 0.0 };
    (sum - halved) / n_real
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fourier::resample_volume;

    /// Two Gaussian blobs (σ 7 Å) off the centre, in `[nz, ny, nx]` voxels with edges along x, y, z.
    fn blobs(dim: (usize, usize, usize), voxel_a: [f64; 3]) -> Array3<f32> {
        let middle = [dim.2, dim.1, dim.0].map(|n| centre(n) as f64);
        Array3::from_shape_fn(dim, |(z, y, x)| {
            let index = [x, y, z];
            let at: [f64; 3] = std::array::from_fn(|i| (index[i] as f64 - middle[i]) * voxel_a[i]);
            let density =
                |c: [f64; 3]| (-0.5 * (0..3).map(|i| (at[i] - c[i]).powi(2)).sum::<f64>() / 49.0).exp();
            (density([12.0, -5.0, 8.0]) + 0.5 * density([-15.0, 10.0, -4.0])) as f32
        })
    }

    fn worst(a: &Array3<f32>, b: &Array3<f32>) -> f32 {
        assert_eq!(a.dim(), b.dim());
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn a_band_limited_map_is_the_same_on_any_grid() {
        for (dim, voxel_a) in
            [((48, 48, 48), [2.5; 3]), ((50, 46, 49), [2.5; 3]), ((60, 48, 44), [2.5, 2.6, 2.1])]
        {
            let original = blobs(dim, voxel_a);
            for (n, target_a) in [(48, 2.5), (64, 1.7), (36, 3.2), (61, 2.1), (40, 2.5)] {
                let found = regridded(original.view(), voxel_a, n, target_a, 0.0);
                let off = worst(&found, &blobs((n, n, n), [target_a; 3]));
                // sums of f32 products; the blobs have fallen to 1e-6 at the nearest face
                assert!(off <= 5e-6, "{dim:?} → {n} voxels of {target_a} Å: off by {off} of a density of 1");
            }
        }
    }

    #[test]
    fn boxes_of_one_extent_are_those_of_fourier_cropping() {
        use rand::{RngExt, SeedableRng};
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(3);
        for n in [12, 15] {
            let noise = Array3::from_shape_simple_fn((n, n, n), || rng.random_range(-1.0..1.0f32));
            for m in [9, 10, 12, 20, 21] {
                let expected = resample_volume(noise.view(), m);
                // an odd box and an even one do not cover the same: what is outside has no value to compare
                let found = regridded(noise.view(), [1.0; 3], m, n as f64 / m as f64, f32::NAN);
                let inside = found.iter().zip(&expected).filter(|(value, _)| !value.is_nan());
                assert!(inside.clone().count() >= (m - 1).pow(3));
                let off = inside.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(off <= 5e-6, "{n} → {m}: off by {off}");
            }
        }
    }

    #[test]
    fn a_larger_box_is_filled_and_a_smaller_one_cut() {
        let map = blobs((10, 12, 9), [3.0; 3]);
        let larger = regridded(map.view(), [3.0; 3], 16, 3.0, 0.25);
        // centres coincide: 5, 6, 4 on 8
        assert_eq!(larger[[8, 8, 8]], map[[5, 6, 4]]);
        assert_eq!(larger[[3, 2, 4]], map[[0, 0, 0]]);
        assert_eq!([larger[[2, 8, 8]], larger[[8, 1, 8]], larger[[8, 8, 13]]], [0.25; 3]);
        let smaller = regridded(larger.view(), [3.0; 3], 9, 3.000_001, 0.0);
        assert_eq!(smaller[[4, 4, 4]], map[[5, 6, 4]]);
    }
}
