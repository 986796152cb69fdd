//! A map on another grid: another box edge and pixel size around the same centre.

use crate::cpu::project::Projector;
use crate::fourier::HalfVolume;
use crate::ops::project::ProjectError;
use ndarray::{Array3, ArrayView3, par_azip};
use vitreous_model::conventions::signed_frequency;

/// Padding of the interpolated transform: 3 instead of the usual 2, as this is done once and the errors of
/// interpolation stay in the map.
const PAD: f64 = 3.0;

/// The cubic map `[n, n, n]` of voxel edge `pixel_a` (Å) on a grid of `target_n` voxels of `target_pixel_a` (Å). Box
/// centres coincide; what lies outside the old box is zero; frequencies beyond the old or new Nyquist limit are left out.
/// Densities keep their values.
///
/// # Errors
/// A map that is not cubic.
pub fn regridded(
    map: ArrayView3<'_, f32>,
    pixel_a: f64,
    target_n: usize,
    target_pixel_a: f64,
) -> Result<Array3<f32>, ProjectError> {
    let projector = Projector::new(map, PAD)?;
    let n = map.dim().2;
    let (edge_a, target_edge_a) = (n as f64 * pixel_a, target_n as f64 * target_pixel_a);
    let held = projector.grid().radius(f64::INFINITY) / edge_a;
    let limit = held.min(0.5 / pixel_a).min(0.5 / target_pixel_a);
    // coefficients are sums over voxels: as many times more as voxels are smaller
    let scale = ((pixel_a / target_pixel_a).powi(3)) as f32;
    let mut half = HalfVolume::zeros(target_n);
    par_azip!((index (z, y, x), value in half.data_mut()) {
        let k = [x as f64, signed_frequency(y, target_n) as f64, signed_frequency(z, target_n) as f64];
        let k = k.map(|q| q / target_edge_a);
        if k.iter().map(|c| c * c).sum::<f64>().sqrt() < limit {
            *value = projector.value(k.map(|c| (c * edge_a) as f32)) * scale;
        }
    });
    Ok(half.into_box())
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitreous_model::conventions::centre;

    /// Two Gaussian blobs (σ 7 Å) off the centre.
    fn blobs(n: usize, pixel_a: f64) -> Array3<f32> {
        Array3::from_shape_fn((n, n, n), |(z, y, x)| {
            let at = [x, y, z].map(|i| (i as f64 - centre(n) as f64) * pixel_a);
            let density =
                |c: [f64; 3]| (-0.5 * (0..3).map(|i| (at[i] - c[i]).powi(2)).sum::<f64>() / 49.0).exp();
            (density([12.0, -5.0, 8.0]) + 0.5 * density([-15.0, 10.0, -4.0])) as f32
        })
    }

    #[test]
    fn a_band_limited_map_is_the_same_on_any_grid() {
        let original = blobs(48, 2.5);
        for (n, pixel_a) in [(48, 2.5), (64, 1.7), (36, 3.7), (61, 2.1), (96, 2.5)] {
            let found = regridded(original.view(), 2.5, n, pixel_a).expect("should be cubic");
            let expected = blobs(n, pixel_a);
            let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            // measured: 0.004 on the finest grid, from linear interpolation at padding 3
            assert!(worst <= 0.01, "{n} voxels of {pixel_a} Å: largest difference {worst} of a density of 1");
        }
    }

    #[test]
    fn only_cubes_are_taken() {
        assert!(regridded(Array3::zeros((4, 4, 6)).view(), 1.0, 4, 1.0).is_err());
    }
}
