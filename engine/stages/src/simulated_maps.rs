//! Maps of which everything is known, for the tests of jobs on maps.

use ndarray::Array3;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use vitreous_compute::fourier::HalfVolume;
use vitreous_compute::mask::sphere;
use vitreous_model::conventions::centre;
use vitreous_model::pose::Rotation;

/// Blobs of one width.
pub(crate) struct Blobs {
    /// Places (x, y, z) from the centre of the box, Å.
    places_a: Vec<[f64; 3]>,
    /// Standard deviation, Å.
    width_a: f64,
}

impl Blobs {
    /// `count` of them at random places in a cube that reaches `reach_a` from the centre.
    pub fn in_cube(count: usize, reach_a: f64, width_a: f64, seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let places = (0..count).map(|_| [0, 1, 2].map(|_| random.random_range(-reach_a..reach_a)));
        Self { places_a: places.collect(), width_a }
    }

    /// On `n` voxels of `voxel_a`: a blob at p lies at `R p + t`.
    pub fn placed(&self, n: usize, voxel_a: f64, rotation: Rotation, shift_a: [f64; 3]) -> Array3<f32> {
        let place = |p: &[f64; 3]| {
            let turned = rotation.apply(*p);
            [0, 1, 2].map(|axis| turned[axis] + shift_a[axis])
        };
        let centres: Vec<[f64; 3]> = self.places_a.iter().map(place).collect();
        Array3::from_shape_fn((n, n, n), |(z, y, x)| {
            let at = [x, y, z].map(|i| (i as f64 - centre(n) as f64) * voxel_a);
            let blob = |c: &[f64; 3]| {
                let d2: f64 = (0..3).map(|axis| (at[axis] - c[axis]).powi(2)).sum();
                (-0.5 * d2 / (self.width_a * self.width_a)).exp()
            };
            centres.iter().map(blob).sum::<f64>() as f32
        })
    }

    /// Where they are, on `n` voxels of `voxel_a`.
    pub fn on_grid(&self, n: usize, voxel_a: f64) -> Array3<f32> {
        self.placed(n, voxel_a, Rotation::IDENTITY, [0.0; 3])
    }
}

/// White density of unit variance on `n` voxels along an edge.
pub(crate) fn white(n: usize, seed: u64) -> Array3<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    Array3::from_shape_simple_fn((n, n, n), || random.sample::<f32, _>(rand_distr::StandardNormal))
}

/// White density whose amplitudes fall as `exp(-B u²/4)`.
pub(crate) fn falling(n: usize, voxel_a: f64, b_factor_a2: f64, seed: u64) -> Array3<f32> {
    let mut half = HalfVolume::of_box(white(n, seed).view());
    half.weigh(|r| (-0.25 * b_factor_a2 * (r / (n as f64 * voxel_a)).powi(2)).exp());
    half.into_box()
}

/// A ball of `radius_px` whose half with x below the centre falls off by one B-factor and the other by another: cut after
/// the fall-off, so that the spectrum of each half is the planted one up to its faces.
pub(crate) fn two_sided_ball(n: usize, voxel_a: f64, radius_px: f64, b_factors_a2: [f64; 2]) -> Array3<f32> {
    let [one, two] =
        [(b_factors_a2[0], 1), (b_factors_a2[1], 2)].map(|(b, seed)| falling(n, voxel_a, b, seed));
    let ball = sphere(n, radius_px, 3.0);
    Array3::from_shape_fn(ball.dim(), |at| ball[at] * if at.2 < n / 2 { one[at] } else { two[at] })
}
