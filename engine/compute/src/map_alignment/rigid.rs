//! Alignment of one map to another.

use super::density::{Density, ball, correlation, resampled};
use super::pattern_search::{Steps, climb};
use super::{Placement, even_rotations};
use ndarray::{Array3, ArrayView3, s};
use rayon::prelude::*;

/// Edge of the maps on which all rotations are tried.
const COARSE_EDGE: usize = 32;
/// Rotations tried on coarse maps: 10° apart.
const COARSE_ROTATIONS: usize = 15_000;
/// Best coarse rotations that are followed up.
const FOLLOWED: usize = 12;
/// Largest edge of the maps on which the best placement is refined.
const FINE_EDGE: usize = 128;

/// Where a map lies in another.
#[derive(Debug, Clone, PartialEq)]
pub struct Alignment {
    /// The moving map is read at `R x + t` (after mirroring) to lie on the fixed one.
    pub placement: Placement,
    /// The moving map had to be mirrored first (x ↦ -x).
    pub mirrored: bool,
    /// Real-space correlation inside the inscribed sphere.
    pub correlation: f64,
}

impl Alignment {
    /// The moving map laid on the fixed one.
    pub fn apply(&self, moving: ArrayView3<'_, f32>) -> Array3<f32> {
        if self.mirrored {
            resampled(mirrored(moving).view(), &self.placement)
        } else {
            resampled(moving, &self.placement)
        }
    }
}

/// Mirrors a map about the plane x = centre. Voxel 0 of an even box, which has no partner, keeps its value.
pub fn mirrored(map: ArrayView3<'_, f32>) -> Array3<f32> {
    let n = map.dim().2;
    let first = usize::from(n.is_multiple_of(2));
    let mut out = map.to_owned();
    out.slice_mut(s![.., .., first..]).assign(&map.slice(s![.., .., first..;-1]));
    out
}

/// Finds where `moving` lies in `fixed`; both `[n, n, n]` of one box and voxel size. With `both_hands` the mirror image
/// of `moving` is tried too and the better one wins.
pub fn align(fixed: ArrayView3<'_, f32>, moving: ArrayView3<'_, f32>, both_hands: bool) -> Alignment {
    let straight = align_one_hand(fixed, moving, false);
    if !both_hands {
        return straight;
    }
    let turned = align_one_hand(fixed, mirrored(moving).view(), true);
    if turned.correlation > straight.correlation { turned } else { straight }
}

fn align_one_hand(fixed: ArrayView3<'_, f32>, moving: ArrayView3<'_, f32>, mirrored: bool) -> Alignment {
    let n = fixed.dim().0;
    let coarse_n = COARSE_EDGE.min(n);
    let coarse = Pair::new(fixed, moving, coarse_n, 2);
    let offset = coarse.offset();
    let mut tried: Vec<(f64, Placement)> = even_rotations(COARSE_ROTATIONS)
        .collect::<Vec<_>>()
        .into_par_iter()
        .map(|rotation| {
            let placement = offset(rotation);
            (coarse.score(&placement), placement)
        })
        .collect();
    tried.sort_by(|a, b| b.0.total_cmp(&a.0));
    let dense = Pair::new(fixed, moving, coarse_n, 1);
    let steps = Steps { first_deg: 5.0, last_deg: 0.4, first_px: 1.0 };
    let mut climbed: Vec<(Placement, f64)> = tried[..FOLLOWED]
        .par_iter()
        .map(|(_, placement)| climb(*placement, steps, |candidate| dense.score(candidate)))
        .collect();
    climbed.sort_by(|a, b| b.1.total_cmp(&a.1));
    let fine_n = FINE_EDGE.min(n);
    let fine = Pair::new(fixed, moving, fine_n, 1);
    let start = climbed[0].0.rescaled(fine_n as f64 / coarse_n as f64);
    let steps = Steps { first_deg: 0.8, last_deg: 0.02, first_px: 0.5 };
    let (placement, correlation) = climb(start, steps, |candidate| fine.score(candidate));
    Alignment { placement: placement.rescaled(n as f64 / fine_n as f64), mirrored, correlation }
}

/// Two maps on one grid and the points at which they are compared.
struct Pair {
    moving: Density,
    fixed_com: [f64; 3],
    points: Vec<[f64; 3]>,
    fixed_values: Vec<f32>,
}

impl Pair {
    fn new(fixed: ArrayView3<'_, f32>, moving: ArrayView3<'_, f32>, n: usize, stride: usize) -> Self {
        let (fixed, moving) = (Density::new(fixed, n), Density::new(moving, n));
        let points = ball(n, 0.5 * n as f64 - 1.0, stride);
        let fixed_values = points.iter().map(|&point| fixed.at(point)).collect();
        Self { fixed_com: fixed.centre_of_mass(), moving, points, fixed_values }
    }

    /// The placement of a rotation that lays centre of mass on centre of mass.
    fn offset(&self) -> impl Fn(vitreous_model::pose::Rotation) -> Placement + Sync + use<> {
        let (fixed, moving) = (self.fixed_com, self.moving.centre_of_mass());
        move |rotation| {
            let turned = rotation.apply(fixed);
            Placement { rotation, shift_px: [0, 1, 2].map(|a| moving[a] - turned[a]) }
        }
    }

    fn score(&self, placement: &Placement) -> f64 {
        let m = placement.rotation.matrix();
        let t = placement.shift_px;
        correlation(self.points.iter().zip(&self.fixed_values).map(|(p, &value)| {
            let q = [0, 1, 2].map(|a| m[a][0] * p[0] + m[a][1] * p[1] + m[a][2] * p[2] + t[a]);
            (value, self.moving.at(q))
        }))
    }
}
