//! The growing map: sums of inserted images with forgetting, and the references made from them.

use ndarray::{Array3, Zip};
use num_complex::Complex32;
use vitreous_compute::fourier::HalfVolume;
use vitreous_compute::fsc::fsc;
use vitreous_compute::mask;
use vitreous_compute::ops::grid::PaddedGrid;
use vitreous_compute::ops::insert::SliceSums;
use vitreous_model::conventions::{shell_of, signed_frequency};

/// Padding of grids: linear insertion and projection at 2 are as good as the images.
pub const PADDING: f64 = 2.0;
/// The prior's variance over the power of the map as it is: weak, so that a young map may still grow.
const PRIOR_OVER_POWER: f64 = 4.0;
/// Width of the mask's edge, pixels of the working box.
const MASK_EDGE_PX: f64 = 4.0;

/// The grid of a working box.
pub fn grid(box_px: usize) -> PaddedGrid {
    PaddedGrid::new(box_px, PADDING, box_px as f64 / 2.0)
}

/// Empty sums.
pub fn no_sums(grid: PaddedGrid) -> SliceSums {
    SliceSums { grid, numerator: Array3::zeros(grid.dim()), weight: Array3::zeros(grid.dim()) }
}

/// `memory · sums + batch`.
pub fn remember(sums: &mut SliceSums, memory: f64, batch: &SliceSums) {
    let memory = memory as f32;
    let numerators = Zip::from(&mut sums.numerator).and(&batch.numerator);
    numerators.for_each(|sum: &mut Complex32, &new| *sum = *sum * memory + new);
    Zip::from(&mut sums.weight).and(&batch.weight).for_each(|sum, &new| *sum = *sum * memory + new);
}

/// The map `[n, n, n]` of sums, regularised by its own power, up to `rmax` Fourier pixels, inside a soft sphere.
pub fn map_of(sums: &SliceSums, rmax: f64, diameter_px: f64) -> Array3<f32> {
    let prior: Vec<f64> = sums.shell_power().iter().map(|power| PRIOR_OVER_POWER * power).collect();
    filtered_map(sums, &prior, rmax, diameter_px)
}

/// The map `[n, n, n]` of sums with the prior `tau2` by shell, up to `rmax` Fourier pixels, inside a soft sphere.
pub fn filtered_map(sums: &SliceSums, tau2: &[f64], rmax: f64, diameter_px: f64) -> Array3<f32> {
    inside(sums.map(Some(tau2), rmax), diameter_px)
}

fn inside(mut map: Array3<f32>, diameter_px: f64) -> Array3<f32> {
    let n = map.dim().0;
    let radius = (0.5 * diameter_px).min(n as f64 / 2.0 - MASK_EDGE_PX);
    map *= &mask::sphere(n, radius, MASK_EDGE_PX);
    map
}

/// FSC by shell of the maps of two halves inside the sphere.
pub fn agreement(halves: &[SliceSums], diameter_px: f64) -> Vec<f64> {
    let transform =
        |sums: &SliceSums| HalfVolume::of_box(inside(sums.map(None, f64::INFINITY), diameter_px).view());
    fsc(&transform(&halves[0]), &transform(&halves[1]))
}

/// The map without the mean over directions of each Fourier shell: that mean carries no orientation, and a free
/// amplitude would be spent on it.
pub fn without_radial_mean(map: &Array3<f32>) -> Array3<f32> {
    let mut transform = HalfVolume::of_box(map.view());
    take_off_radial_mean(&mut transform);
    transform.into_box()
}

fn take_off_radial_mean(volume: &mut HalfVolume) {
    let n = volume.n();
    let shell = |z: usize, y: usize, x: usize| {
        let square = |i: usize| (signed_frequency(i, n) * signed_frequency(i, n)) as f64;
        shell_of((square(z) + square(y) + (x * x) as f64).sqrt())
    };
    // a shell's real parts only: over a whole sphere the mates' imaginary parts cancel
    let mut sums = vec![(0f64, 0f64); n];
    for ((z, y, x), value) in volume.data().indexed_iter() {
        if let Some((sum, count)) = sums.get_mut(shell(z, y, x)) {
            *sum += f64::from(value.re);
            *count += 1.0;
        }
    }
    for ((z, y, x), value) in volume.data_mut().indexed_iter_mut() {
        if let Some(&(sum, count)) = sums.get(shell(z, y, x)) {
            value.re -= (sum / f64::max(count, 1.0)) as f32;
        }
    }
}
