//! A bank of low-pass filters, and a map put together from it voxel by voxel.

use ndarray::{Array3, ArrayView3, Zip};
use std::f64::consts::PI;
use vitreous_compute::fourier::{HalfVolume, low_pass_weight};

/// Filters of the bank are at most this factor of resolution apart: over it the response, which falls over [`EDGE`], is
/// close to a line.
const FACTOR: f64 = 1.1;
/// Width of a filter's raised-cosine edge over its radius: half is left at the resolution, nothing 15 % beyond it.
const EDGE: f64 = 0.3;

/// Resolutions in Å from `finest_a` to `coarsest_a`, a constant factor apart.
pub(super) fn levels(finest_a: f64, coarsest_a: f64) -> Vec<f64> {
    let steps = ((coarsest_a / finest_a).ln() / FACTOR.ln()).ceil().max(0.0) as usize;
    let factor = if steps > 0 { (coarsest_a / finest_a).powf(1.0 / steps as f64) } else { 1.0 };
    (0..=steps).map(|step| finest_a * factor.powi(step as i32)).collect()
}

/// Local resolution in Å without gaps: what is 0 or not finite becomes `outside_a`, and the logarithm is smoothed by a
/// Gaussian of standard deviation `smoothing_px` voxels. `[n, n, n]`.
pub(super) fn completed(resolution_a: ArrayView3<'_, f32>, outside_a: f64, smoothing_px: f64) -> Array3<f32> {
    let n = resolution_a.dim().0 as f64;
    let logarithm = resolution_a
        .mapv(|value| if value > 0.0 && value.is_finite() { value } else { outside_a as f32 }.ln());
    if smoothing_px == 0.0 {
        return logarithm.mapv_into(f32::exp);
    }
    let mut half = HalfVolume::of(logarithm.view());
    half.weigh(|r| (-2.0 * (PI * smoothing_px * r / n).powi(2)).exp());
    half.into_voxels().mapv_into(f32::exp)
}

/// A map `[n, n, n]` of voxels of `pixel_a` Å, each voxel low-passed at its `resolution_a` (Å, positive, same shape). Between
/// two filters of `levels` (Å, ascending) the result is a line over the logarithm of the resolution; `after` is told how many
/// are done and may end it.
///
/// # Errors
/// What `after` returns.
pub(super) fn filtered<E>(
    map: ArrayView3<'_, f32>,
    resolution_a: ArrayView3<'_, f32>,
    pixel_a: f64,
    levels: &[f64],
    mut after: impl FnMut(usize) -> Result<(), E>,
) -> Result<Array3<f32>, E> {
    let edge_a = map.dim().0 as f64 * pixel_a;
    let transform = HalfVolume::of_box(map);
    let mut sum = Array3::<f32>::zeros(map.dim());
    for (which, &level_a) in levels.iter().enumerate() {
        let radius = edge_a / level_a;
        let mut half = transform.clone();
        half.weigh(|r| low_pass_weight(r, radius, EDGE * radius));
        let low_passed = half.into_box();
        Zip::from(&mut sum).and(&low_passed).and(resolution_a).par_for_each(|sum, &value, &resolution| {
            *sum += value * share(f64::from(resolution), which, levels) as f32;
        });
        after(which + 1)?;
    }
    Ok(sum)
}

/// How much of level `which` a voxel of this resolution takes: 1 at the level, 0 from its neighbours on; 1 beyond the
/// first and the last.
fn share(resolution_a: f64, which: usize, levels: &[f64]) -> f64 {
    let level = levels[which];
    let neighbour = if resolution_a < level { which.checked_sub(1) } else { Some(which + 1) };
    match neighbour.and_then(|at| levels.get(at)) {
        Some(neighbour) => (1.0 - (resolution_a / level).ln() / (neighbour / level).ln()).clamp(0.0, 1.0),
        None => 1.0,
    }
}
