//! What of Fourier space a set of views samples, and what that costs (Baldwin & Lyumkis 2020, Prog. Biophys. Mol. Biol.
//! 150:160).

use super::{cells, dot};
use vitreous_model::pose::Rotation;

/// Cells of equal area in which views are counted, bands and sectors: 3.8° wide at the equator.
const VIEW_CELLS: (usize, usize) = (48, 96);

/// Directions of Fourier space that are judged, bands and sectors.
const PROBED: (usize, usize) = (40, 40);

/// A slice samples the directions within this of its plane (the sine of the angle): about the width of a cell of views.
const SLICE_SINE: f64 = 0.05;

/// How evenly views sample Fourier space.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// Sampling compensation factor: `1 / (⟨s⟩ ⟨1/s⟩)` over the directions that are sampled: 1 for uniform views, 8/π²
    /// = 0.81 for all views around an axis. Noise in the map is `1/SCF` times that of uniform views.
    pub compensation_factor: f64,
    /// Part of the directions that no view samples.
    pub unsampled: f64,
    /// Views by cell of equal area, `[band][sector]`, band 0 about +z.
    pub views: Vec<Vec<f64>>,
}

impl Sampling {
    /// Of views `rotations` (image frame to volume frame), repeated by the symmetry's `operators`.
    pub fn of(rotations: impl Iterator<Item = Rotation>, operators: &[Rotation]) -> Self {
        let (bands, sectors) = VIEW_CELLS;
        let mut views = vec![vec![0.0; sectors]; bands];
        for rotation in rotations {
            for &operator in operators {
                let [x, y, z] = (operator * rotation).apply([0.0, 0.0, 1.0]);
                let band = ((1.0 - z) / 2.0 * bands as f64) as usize;
                let turn = y.atan2(x) / std::f64::consts::TAU;
                let sector = ((turn - turn.floor()) * sectors as f64) as usize;
                views[band.min(bands - 1)][sector.min(sectors - 1)] += 1.0;
            }
        }
        let axes = cells(bands, sectors);
        let filled: Vec<([f64; 3], f64)> =
            axes.into_iter().zip(views.iter().flatten().copied()).filter(|(_, count)| *count > 0.0).collect();
        // s is the same for opposite directions
        let probed = cells(PROBED.0, PROBED.1).into_iter().filter(|direction| direction[2] > 0.0);
        let samples: Vec<f64> = probed
            .map(|direction| {
                let near = filled.iter().filter(|(axis, _)| dot(*axis, direction).abs() <= SLICE_SINE);
                near.map(|(_, count)| count).sum()
            })
            .collect();
        let sampled: Vec<f64> = samples.iter().copied().filter(|&s| s > 0.0).collect();
        let count = sampled.len() as f64;
        let mean = sampled.iter().sum::<f64>() / count;
        let mean_inverse = sampled.iter().map(|s| 1.0 / s).sum::<f64>() / count;
        Self {
            compensation_factor: if count > 0.0 { 1.0 / (mean * mean_inverse) } else { 0.0 },
            unsampled: 1.0 - count / samples.len() as f64,
            views,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    fn views(tilt: impl Fn(f64) -> f64) -> Vec<Rotation> {
        let mut random = ChaCha8Rng::seed_from_u64(4);
        (0..60_000)
            .map(|_| {
                let (rot, u): (f64, f64) = (random.random_range(0.0..360.0), random.random());
                Rotation::from_euler_zyz_deg(rot, tilt(u), 0.0)
            })
            .collect()
    }

    fn of(views: Vec<Rotation>) -> Sampling {
        Sampling::of(views.into_iter(), &[Rotation::IDENTITY])
    }

    #[test]
    fn known_distributions_have_their_factors() {
        let uniform = of(views(|u| (1.0 - 2.0 * u).acos().to_degrees()));
        assert!((uniform.compensation_factor - 1.0).abs() < 0.02 && uniform.unsampled == 0.0, "{uniform:?}");
        assert_eq!(uniform.views.iter().flatten().sum::<f64>(), 60_000.0);
        // all around one axis: 8/π²
        let around = of(views(|_| 90.0)).compensation_factor;
        assert!((around - 8.0 / std::f64::consts::PI.powi(2)).abs() < 0.03, "{around}");
        // from above within 10°: a double cone of 80° half-angle is not seen
        let above = of(views(|u| 10.0 * u));
        assert!((above.unsampled - 80f64.to_radians().cos().mul_add(-1.0, 1.0)).abs() < 0.1, "{above:?}");
    }
}
