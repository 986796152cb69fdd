//! By how much the stated pixel size of a map is wrong, from a map of the same structure whose pixel size is right.
//!
//! Of each shell of the map only an amplitude is taken as unknown: it holds the reference, scaled and filtered by any
//! function of the frequency, and noise. With the best amplitude the log-likelihood of a scale is
//! `Σ n C² / (1 - C²)`, up to a factor that is the same for all scales: n coefficients a shell, C the FSC with the scaled reference, the
//! denominator that of the noise, which does not depend on the scale and is taken from where the scan began. The map stays
//! on its grid, and its noise favours no scale; a correlation of voxels would favour large ones, since noise keeps its variance
//! when a map is scaled and the structure does not.

use ndarray::{Array3, ArrayView3};
use vitreous_compute::fourier::resample_volume;
use vitreous_compute::fsc::fsc_of_maps;
use vitreous_compute::map_alignment::align;
use vitreous_compute::mask::sphere;
use vitreous_compute::regrid::regridded;

/// Largest edge of the maps that are compared. Half a voxel at the edge of a particle of 100 voxels is a percent, and
/// the phases of many coefficients tell a twentieth of that.
const LARGEST_EDGE: usize = 128;
/// Radius of the spherical mask of both maps and width of its edge, as fractions of the box.
const SPHERE: (f64, f64) = (0.4, 0.08);
/// Factors that are tried to either side of the middle of a scan.
const TO_EITHER_SIDE: i32 = 10;
/// Steps of the second and third scan, by which a factor is known to about a hundredth of them.
const FINE_STEPS: [f64; 2] = [2e-3, 5e-4];
/// Noise of a shell is taken to be at least this share of its power: interpolation makes as much.
const LEAST_NOISE: f64 = 0.01;

/// A cubic map `[n, n, n]` with its voxel edge.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scaled<'a> {
    /// The map.
    pub map: ArrayView3<'a, f32>,
    /// Å.
    pub voxel_a: f64,
}

/// What a calibration found.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Calibration {
    /// The true voxel edge over the stated one.
    pub factor: f64,
    /// Standard error of the factor, from the bend of the likelihood at its top.
    pub error: f64,
    /// Real-space correlation of the maps with the voxel edge found.
    pub correlation: f64,
    /// Factors of the first scan, and the log-likelihood at each over the best one's.
    pub scan: Vec<(f64, f64)>,
    /// The best factor of the first scan is its first or its last.
    pub is_at_end: bool,
}

/// Finds the factor, from `1 - reach` to `1 + reach`, by which the voxels of `map` must grow for it to fit `reference` best.
/// The map is laid on the reference (rotation and shift), which is then scaled about the centre of its box, step by step; then both
/// again from the factor found, in finer steps. The top of a scan is that of the parabola through its best three points.
pub(super) fn calibrate(map: Scaled<'_>, reference: Scaled<'_>, reach: f64) -> Calibration {
    let n = map.map.dim().0.min(LARGEST_EDGE);
    let voxel_a = map.voxel_a * map.map.dim().0 as f64 / n as f64;
    let map = resample_volume(map.map, n);
    let mask = sphere(n, SPHERE.0 * n as f64, SPHERE.1 * n as f64);
    // voxels that are larger than stated show a smaller structure
    let scaled = |factor: f64| regridded(reference.map, [reference.voxel_a / factor; 3], n, voxel_a, 0.0);
    let scan = |middle: f64, step: f64| {
        let here = scaled(middle);
        let alignment = align(here.view(), map.view(), false);
        let laid = alignment.apply(map.view());
        let curve = |reference: &Array3<f32>| fsc_of_maps(laid.view(), reference.view(), Some(mask.view()));
        let noise: Vec<f64> = curve(&here).iter().map(|c| (1.0 - c * c).max(LEAST_NOISE)).collect();
        let at = |factor: f64| (factor, log_likelihood(&curve(&scaled(factor)), &noise));
        let points = (-TO_EITHER_SIDE..=TO_EITHER_SIDE).map(|k| at(middle + f64::from(k) * step));
        (points.collect::<Vec<_>>(), alignment.correlation)
    };
    let (mut first, mut correlation) = scan(1.0, reach / f64::from(TO_EITHER_SIDE));
    let Top { at: mut factor, is_at_end, .. } = top(&first);
    let mut bend = 0.0;
    for step in FINE_STEPS {
        let (points, fits) = scan(factor, step);
        let top = top(&points);
        (factor, bend, correlation) = (top.at, top.bend, fits);
    }
    let error = standard_error(bend, f64::from(mask.mean().unwrap_or(1.0)));
    let most = first.iter().fold(f64::MIN_POSITIVE, |most, point| most.max(point.1));
    first.iter_mut().for_each(|point| point.1 /= most);
    Calibration { factor, error, correlation, scan: first, is_at_end }
}

/// Log-likelihood of a scale, but for a common factor, from the FSC by shell and the noise's share of each shell's power.
fn log_likelihood(curve: &[f64], noise: &[f64]) -> f64 {
    let shells = curve.iter().zip(noise).enumerate();
    shells.map(|(shell, (c, noise))| (shell as f64 * c.max(0.0)).powi(2) / noise).sum()
}

/// Standard error of a scale at whose top the log-likelihood, as [`log_likelihood`] has it, bends by `bend`. A shell of radius s
/// has 4π s² coefficients, of which a mask that leaves a share of the box leaves that share independent, and each adds half
/// its term.
fn standard_error(bend: f64, share_of_box: f64) -> f64 {
    let information = -bend * 0.5 * 4.0 * std::f64::consts::PI * share_of_box;
    if information > 0.0 { information.sqrt().recip() } else { f64::INFINITY }
}

/// The top of a curve.
struct Top {
    /// Where.
    at: f64,
    /// Second derivative there.
    bend: f64,
    /// The best point is the first or the last.
    is_at_end: bool,
}

/// The top of a curve of points at equal distances: of the parabola through the best three.
fn top(points: &[(f64, f64)]) -> Top {
    let best = (0..points.len()).max_by(|&a, &b| points[a].1.total_cmp(&points[b].1)).unwrap_or(0);
    let (Some(before), Some(after)) = (best.checked_sub(1).map(|at| points[at]), points.get(best + 1)) else {
        return Top { at: points[best].0, bend: 0.0, is_at_end: true };
    };
    let (x, y) = points[best];
    let step = after.0 - x;
    let bend = before.1 - 2.0 * y + after.1;
    let part = if bend < 0.0 { 0.5 * (before.1 - after.1) / bend } else { 0.0 };
    Top { at: x + part * step, bend: bend / (step * step), is_at_end: false }
}
