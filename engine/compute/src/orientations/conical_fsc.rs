//! FSC within cones of Fourier space (Tan et al. 2017, Nat. Methods 14:793, whose 3-D FSC it is an average of).

use super::dot;
use crate::fourier::{HalfVolume, friedel_count, shells};
use ndarray::Axis;
use rayon::prelude::*;
use vitreous_model::conventions::{shell_of, signed_frequency};

/// Planes summed together, in order: the result does not depend on threads.
const PLANES: usize = 16;

/// FSC by shell within `half_angle_rad` of each direction or its opposite, `[direction][shell]`; NaN where a shell has nothing
/// in the cone, as the first ones.
/// Directions are unit vectors (x, y, z).
///
/// # Panics
/// When the boxes differ.
pub fn conical_fsc(
    a: &HalfVolume,
    b: &HalfVolume,
    directions: &[[f64; 3]],
    half_angle_rad: f64,
) -> Vec<Vec<f64>> {
    assert_eq!(a.n(), b.n(), "maps to be correlated should have one box");
    let n = a.n();
    let least = half_angle_rad.cos();
    let groups: Vec<usize> = (0..n).step_by(PLANES).collect();
    let sums: Vec<Vec<[f64; 3]>> = groups
        .into_par_iter()
        .map(|first| {
            let mut sums = vec![[0.0; 3]; directions.len() * shells(n)];
            for z in first..(first + PLANES).min(n) {
                add_plane(a, b, z, directions, least, &mut sums);
            }
            sums
        })
        .collect();
    (0..directions.len() * shells(n))
        .map(|at| sums.iter().fold([0.0; 3], |sum, group| [0, 1, 2].map(|i| sum[i] + group[at][i])))
        .map(|[cross, one, two]| if one * two > 0.0 { cross / (one * two).sqrt() } else { f64::NAN })
        .collect::<Vec<f64>>()
        .chunks(shells(n))
        .map(<[f64]>::to_vec)
        .collect()
}

/// Adds `Re a b*`, `|a|²`, `|b|²` of one plane, `[direction][shell]`.
fn add_plane(
    a: &HalfVolume,
    b: &HalfVolume,
    z: usize,
    directions: &[[f64; 3]],
    least: f64,
    sums: &mut [[f64; 3]],
) {
    let n = a.n();
    let qz = signed_frequency(z, n) as f64;
    let other = b.data().index_axis(Axis(0), z);
    for ((y, x), value) in a.data().index_axis(Axis(0), z).indexed_iter() {
        let q = [x as f64, signed_frequency(y, n) as f64, qz];
        let r = dot(q, q).sqrt();
        let shell = shell_of(r);
        if shell == 0 || shell >= shells(n) {
            continue;
        }
        let times = friedel_count(x, n) as f64;
        let second = other[[y, x]];
        let terms = [(value * second.conj()).re, value.norm_sqr(), second.norm_sqr()];
        let terms = terms.map(|term| times * f64::from(term));
        for (index, &direction) in directions.iter().enumerate() {
            if dot(q, direction).abs() >= least * r {
                let sum = &mut sums[index * shells(n) + shell];
                (0..3).for_each(|i| sum[i] += terms[i]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array3;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use rand_distr::StandardNormal;

    fn noise(n: usize, seed: u64) -> Array3<f32> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        Array3::from_shape_simple_fn((n, n, n), || random.sample(StandardNormal))
    }

    #[test]
    fn a_missing_cone_is_seen_where_it_is() {
        let n = 32;
        let common = HalfVolume::of_box(noise(n, 1).view());
        // the halves share all but a cone of 40° about z, where each has noise of its own
        let half = |seed: u64| {
            let own = HalfVolume::of_box(noise(n, seed).view());
            let mut half = common.clone();
            for ((z, y, x), value) in half.data_mut().indexed_iter_mut() {
                let (qz, qy) = (signed_frequency(z, n) as f64, signed_frequency(y, n) as f64);
                let r = (qz * qz + qy * qy + (x * x) as f64).sqrt();
                if qz.abs() >= r * 40f64.to_radians().cos() {
                    *value = own.data()[[z, y, x]];
                }
            }
            half
        };
        let directions = [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]];
        let found = conical_fsc(&half(2), &half(3), &directions, 20f64.to_radians());
        let mean = |curve: &[f64]| curve[4..15].iter().sum::<f64>() / 11.0;
        assert!(mean(&found[0]).abs() < 0.15, "{:?}", found[0]);
        assert!(mean(&found[1]) > 0.999 && mean(&found[2]) > 0.999);
        assert_eq!(found[0].len(), shells(n));
    }
}
