//! Copies of particles under a point group, and how to tell that particles are copies.

use crate::particle_sets::ImageId;
use std::collections::HashMap;
use std::hash::Hash;
use vitreous_model::half_set::HalfSet;
use vitreous_model::particle::Particle;
use vitreous_model::pose::{Pose, Rotation};
use vitreous_model::symmetry::PointGroup;

/// Poses that differ from copies of each other by less are copies: tables keep rotations as floats, RELION's angles in
/// six digits.
const SAME_ROTATION_RAD: f64 = 1e-4;

/// The copies of a particle with a pose, one for each rotation g of the group, the identity first: a map of this symmetry
/// obeys `V(g x) = V(x)`, so that the pose `g R` shows the same image as R. The centre of the map stays where it is, and so
/// the shift does. All copies are of the half `half`. Copy k of particle `id` is number `id · order + k`; `None` if that is
/// no number of 64 bits.
pub(super) fn copies(particle: &Particle, rotations: &[Rotation], half: HalfSet) -> Option<Vec<Particle>> {
    let first = particle.id.checked_mul(rotations.len() as u64)?;
    let mut all = Vec::with_capacity(rotations.len());
    for (k, &g) in rotations.iter().enumerate() {
        let turned = |pose: Pose| Pose { rotation: g * pose.rotation, ..pose };
        all.push(Particle {
            id: first.checked_add(k as u64)?,
            pose: particle.pose.map(turned),
            half: Some(half),
            ..particle.clone()
        });
    }
    Some(all)
}

/// Two particles of one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Again {
    /// Places of both in the set.
    pub indices: [usize; 2],
    /// Their poses are equivalent under the group, but not the same.
    pub are_equivalent: bool,
}

/// The first two particles of one image, if there are any: of one image of a stack (`images`, by particle), or picked at
/// the very same place, which tells images that were written anew.
pub(super) fn first_again(
    particles: &[Particle],
    images: impl Iterator<Item = ImageId>,
    group: PointGroup,
) -> Option<Again> {
    let by_image = first_repeated(images);
    let place = |particle: &Particle| {
        let pick = particle.pick.as_ref()?;
        Some((pick.exposure.clone(), pick.x_px.to_bits(), pick.y_px.to_bits()))
    };
    let indices = by_image.or_else(|| {
        let placed =
            particles.iter().enumerate().filter_map(|(index, particle)| Some((index, place(particle)?)));
        first_repeated_of(placed)
    })?;
    let [one, two] = indices.map(|index| particles[index].pose.map(|pose| pose.rotation));
    let are_equivalent = one.zip(two).is_some_and(|(one, two)| {
        let is_same = |rotation: Rotation| rotation.angle_to_rad(two) < SAME_ROTATION_RAD;
        !is_same(one) && group.rotations().into_iter().any(|g| is_same(g * one))
    });
    Some(Again { indices, are_equivalent })
}

fn first_repeated<K: Hash + Eq>(keys: impl Iterator<Item = K>) -> Option<[usize; 2]> {
    first_repeated_of(keys.enumerate())
}

fn first_repeated_of<K: Hash + Eq>(keys: impl Iterator<Item = (usize, K)>) -> Option<[usize; 2]> {
    let mut seen = HashMap::new();
    for (index, key) in keys {
        if let Some(first) = seen.insert(key, index) {
            return Some([first, index]);
        }
    }
    None
}
