//! Viewing directions: quasi-uniform points on the part of the sphere that no symmetry and no mirror makes equivalent.
//!
//! A search evaluates the views from `d` and from `-d` together (the mirror pair of [`crate::ops::pose_search`]), so
//! directions are needed only in a cell of the group `G × {±1}`. The cell here is the set of points that lie nearer to
//! a fixed generic axis than any of their equivalents do, with a rim around it: the grid does not continue across the
//! cell's border by itself.

use vitreous_model::pose::Rotation;
use vitreous_model::symmetry::PointGroup;

/// Square degrees of the whole sphere.
pub const SPHERE_SQUARE_DEG: f64 = 41_252.961_249_419_27;

/// The rim kept outside the cell, in steps: half of the largest gap between neighbours of the spiral (about 0.9 step).
const RIM_STEPS: f64 = 0.45;

/// The axis whose nearest points form the cell: on no symmetry element of any group in its usual setting.
const CELL_AXIS: [f64; 3] = [0.195_360_5, 0.113_467_2, 0.974_145_6];

/// One viewing direction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Direction {
    /// Takes the image frame to the volume frame at in-plane angle 0; the third column is the direction.
    pub rotation: Rotation,
    /// Share of this direction in an integral over the sphere: one over the number of its equivalents in the list's
    /// region, so that directions in the rim are not counted twice.
    pub weight: f64,
}

/// A quasi-uniform set of directions.
#[derive(Debug, Clone, PartialEq)]
pub struct Directions {
    /// Root of the area per direction, degrees.
    pub step_deg: f64,
    /// The symmetry whose asymmetric unit is covered.
    pub group: PointGroup,
    /// The directions; with their antipodes they cover the sphere up to symmetry.
    pub list: Vec<Direction>,
}

impl Directions {
    /// Directions with one per `step_deg²` square degrees, of the Fibonacci spiral turned by `orientation`: a new random
    /// orientation per iteration keeps the grid from printing through into the map.
    ///
    /// `step_deg` is clamped to 0.2..=60.
    ///
    /// ```
    /// use vitreous_compute::directions::Directions;
    /// use vitreous_model::{pose::Rotation, symmetry::PointGroup};
    /// let half_sphere = Directions::new(7.5, PointGroup::C1, Rotation::IDENTITY);
    /// // 41253 / 7.5² / 2 = 367 and the rim
    /// assert!((367..440).contains(&half_sphere.list.len()));
    /// ```
    pub fn new(step_deg: f64, group: PointGroup, orientation: Rotation) -> Self {
        let step_deg = step_deg.clamp(0.2, 60.0);
        let rim_rad = RIM_STEPS * step_deg.to_radians();
        let operators: Vec<Rotation> = group.rotations();
        let count = (SPHERE_SQUARE_DEG / (step_deg * step_deg)).ceil() as usize;
        let list = (0..count)
            .filter_map(|index| {
                let rotation = orientation * spiral_frame(index, count);
                let equivalents = equivalents_in_region(&operators, view_axis(rotation), rim_rad)?;
                Some(Direction { rotation, weight: 1.0 / equivalents as f64 })
            })
            .collect();
        Self { step_deg, group, list }
    }
}

/// The axis along which a rotation looks: its third column.
pub fn view_axis(rotation: Rotation) -> [f64; 3] {
    rotation.apply([0.0, 0.0, 1.0])
}

/// The frame at point `index` of a Fibonacci spiral of `count` points.
fn spiral_frame(index: usize, count: usize) -> Rotation {
    /// The golden angle, `180° (3 - √5)`.
    const GOLDEN_ANGLE_DEG: f64 = 137.507_764_050_037_85;
    let z = 1.0 - (2 * index + 1) as f64 / count as f64;
    let tilt_deg = z.clamp(-1.0, 1.0).acos().to_degrees();
    Rotation::from_euler_zyz_deg((index as f64 * GOLDEN_ANGLE_DEG) % 360.0, tilt_deg, 0.0)
}

/// How many equivalents of `axis` under the group and the inversion lie in the cell or its rim; `None` if `axis`
/// itself does not.
fn equivalents_in_region(operators: &[Rotation], axis: [f64; 3], rim_rad: f64) -> Option<usize> {
    let angle = |v: [f64; 3], sign: f64| {
        let dot = v.iter().zip(CELL_AXIS).map(|(a, b)| a * b).sum::<f64>();
        (sign * dot).clamp(-1.0, 1.0).acos()
    };
    let angles: Vec<f64> = operators
        .iter()
        .flat_map(|operator| {
            let turned = operator.apply(axis);
            [angle(turned, 1.0), angle(turned, -1.0)]
        })
        .collect();
    let nearest = angles.iter().copied().fold(f64::INFINITY, f64::min);
    // a point at distance x outside the cell's border is at most 2x further from the axis than its equivalent inside
    let limit = nearest + 2.0 * rim_rad;
    (angles[0] <= limit).then(|| angles.iter().filter(|&&a| a <= limit).count())
}

/// The smallest angle in radians between two rotations over the group's operators.
pub fn symmetric_angle_rad(operators: &[Rotation], a: Rotation, b: Rotation) -> f64 {
    operators.iter().map(|&operator| (operator * a).angle_to_rad(b)).fold(f64::INFINITY, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    fn random_axis(rng: &mut ChaCha8Rng) -> [f64; 3] {
        let z: f64 = rng.random_range(-1.0..1.0);
        let (s, c) = rng.random_range(0.0..std::f64::consts::TAU).sin_cos();
        let r = (1.0 - z * z).sqrt();
        [r * c, r * s, z]
    }

    /// The largest angle, degrees, from a random axis to the nearest listed direction or its antipode.
    fn worst_gap_deg(directions: &Directions, rng: &mut ChaCha8Rng) -> f64 {
        let operators = directions.group.rotations();
        (0..300)
            .map(|_| {
                let axis = random_axis(rng);
                let best = directions.list.iter().map(|direction| {
                    let d = view_axis(direction.rotation);
                    let cosine =
                        |g: &Rotation| g.apply(axis).iter().zip(d).map(|(a, b)| a * b).sum::<f64>().abs();
                    operators.iter().map(cosine).fold(0.0, f64::max)
                });
                best.fold(0.0, f64::max).min(1.0).acos().to_degrees()
            })
            .fold(0.0, f64::max)
    }

    #[test]
    fn every_axis_has_a_direction_within_a_step() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for name in ["C1", "C4", "D2", "D7", "T", "O", "I1", "I2"] {
            for seed in 0..3 {
                let orientation = Rotation::from_rotation_vector([0.3 * f64::from(seed), 0.2, -0.5]);
                let directions = Directions::new(7.5, name.parse().unwrap(), orientation);
                let gap = worst_gap_deg(&directions, &mut rng);
                assert!(gap < 7.5, "{name}: {gap}");
            }
        }
    }

    #[test]
    fn weights_sum_to_the_cell_area() {
        for name in ["C1", "C3", "D2", "O", "I1", "I2"] {
            let group: PointGroup = name.parse().unwrap();
            let directions = Directions::new(2.0, group, Rotation::from_rotation_vector([0.1, 0.7, 0.2]));
            let covered = directions.list.iter().map(|d| d.weight).sum::<f64>() * 2.0 * group.order() as f64;
            let whole = SPHERE_SQUARE_DEG / 4.0;
            assert!((covered / whole - 1.0).abs() < 0.1, "{name}: {covered} of {whole}");
        }
    }
}
