//! Where the symmetry axes of a map lie.

use super::density::{Density, ball, correlation, resampled};
use super::pattern_search::{Steps, climb};
use super::{Placement, even_rotations};
use ndarray::{Array3, ArrayView3};
use rayon::prelude::*;
use vitreous_model::pose::Rotation;
use vitreous_model::symmetry::PointGroup;

/// Edge of the maps on which axes are sought.
const COARSE_EDGE: usize = 32;
/// Rotations tried: 10° apart.
const COARSE_ROTATIONS: usize = 15_000;
/// Best rotations that are followed up.
const FOLLOWED: usize = 12;
/// Largest edge of the map on which the axes are refined.
const FINE_EDGE: usize = 64;
/// Operators compared at most, spread over the group; more add cost but no information.
const MOST_OPERATORS: usize = 5;

/// The setting of a map with respect to a point group.
#[derive(Debug, Clone, PartialEq)]
pub struct SymmetryAxes {
    /// Reading the map at `R x + t` brings its axes to where the group's conventions want them.
    pub placement: Placement,
    /// Mean correlation of the map with itself turned by the group's operators; 1 for perfect symmetry.
    pub correlation: f64,
}

/// Finds the axes of `group` in a map `[n, n, n]`. For C1 there is nothing to find: the identity.
pub fn find_axes(map: ArrayView3<'_, f32>, group: PointGroup) -> SymmetryAxes {
    if group.order() == 1 {
        return SymmetryAxes { placement: Placement::turned(Rotation::IDENTITY), correlation: 1.0 };
    }
    let n = map.dim().0;
    let operators = spread(group);
    let coarse_n = COARSE_EDGE.min(n);
    let coarse = SelfComparison::new(map, coarse_n, 2, &operators);
    let centre = coarse.density.centre_of_mass();
    let mut tried: Vec<(f64, Placement)> = even_rotations(COARSE_ROTATIONS)
        .collect::<Vec<_>>()
        .into_par_iter()
        .map(|rotation| {
            let placement = Placement { rotation, shift_px: centre };
            (coarse.score(&placement), placement)
        })
        .collect();
    tried.sort_by(|a, b| b.0.total_cmp(&a.0));
    let dense = SelfComparison::new(map, coarse_n, 1, &operators);
    let steps = Steps { first_deg: 5.0, last_deg: 0.4, first_px: 1.0 };
    let mut climbed: Vec<(Placement, f64)> = tried[..FOLLOWED]
        .par_iter()
        .map(|(_, placement)| climb(*placement, steps, |candidate| dense.score(candidate)))
        .collect();
    climbed.sort_by(|a, b| b.1.total_cmp(&a.1));
    let fine_n = FINE_EDGE.min(n);
    let fine = SelfComparison::new(map, fine_n, 1, &operators);
    let start = climbed[0].0.rescaled(fine_n as f64 / coarse_n as f64);
    let steps = Steps { first_deg: 0.8, last_deg: 0.05, first_px: 0.5 };
    let (placement, correlation) = climb(start, steps, |candidate| fine.score(candidate));
    SymmetryAxes { placement: placement.rescaled(n as f64 / fine_n as f64), correlation }
}

/// The mean of a map over the operators of a group in its usual setting.
pub fn symmetrised(map: ArrayView3<'_, f32>, group: PointGroup) -> Array3<f32> {
    let operators = group.rotations();
    let mut sum = map.to_owned();
    for &operator in &operators[1..] {
        sum += &resampled(map, &Placement::turned(operator));
    }
    sum /= operators.len() as f32;
    sum
}

/// Operators other than the identity, at most [`MOST_OPERATORS`], spread over the group's list.
fn spread(group: PointGroup) -> Vec<Rotation> {
    let all = &group.rotations()[1..];
    let step = all.len().div_ceil(MOST_OPERATORS);
    all.iter().copied().step_by(step.max(1)).collect()
}

/// A map, the points of a ball, and the operators under which it is compared with itself.
struct SelfComparison<'a> {
    density: Density,
    points: Vec<[f64; 3]>,
    operators: &'a [Rotation],
}

impl<'a> SelfComparison<'a> {
    fn new(map: ArrayView3<'_, f32>, n: usize, stride: usize, operators: &'a [Rotation]) -> Self {
        Self { density: Density::new(map, n), points: ball(n, 0.45 * n as f64, stride), operators }
    }

    /// V(R x + t) at every point x.
    fn read(&self, rotation: Rotation, t: [f64; 3]) -> impl Iterator<Item = f32> {
        let m = rotation.matrix();
        let turned =
            move |p: &[f64; 3]| [0, 1, 2].map(|a| m[a][0] * p[0] + m[a][1] * p[1] + m[a][2] * p[2] + t[a]);
        self.points.iter().map(move |p| self.density.at(turned(p)))
    }

    /// Mean over operators g of the correlation of V(R x + t) with V(R g x + t).
    fn score(&self, placement: &Placement) -> f64 {
        let own: Vec<f32> = self.read(placement.rotation, placement.shift_px).collect();
        let sum: f64 = self
            .operators
            .iter()
            .map(|&operator| {
                let turned = self.read(placement.rotation * operator, placement.shift_px);
                correlation(own.iter().copied().zip(turned))
            })
            .sum();
        sum / self.operators.len() as f64
    }
}
