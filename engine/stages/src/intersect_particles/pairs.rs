//! Which particles of two sets are the same.

use crate::particle_sets::{ImageId, Stacks};
use crate::picking::places::Place;
use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use vitreous_model::particle::Particle;

/// What two sets have in common.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Common {
    /// Of every particle of the first set: the second has it too.
    pub first: Vec<bool>,
    /// The same the other way round.
    pub second: Vec<bool>,
    /// How far paired places lie apart, Å; empty where images were compared.
    pub distances_a: Vec<f64>,
}

/// Compares images: two particles are the same if they are one image of one stack.
pub(super) fn by_image(
    first: &[Particle],
    second: &[Particle],
    absolute: &dyn Fn(&str) -> PathBuf,
) -> Common {
    let mut stacks = Stacks::new(absolute);
    let mut images =
        |set: &[Particle]| set.iter().map(|particle| stacks.image_of(particle)).collect::<Vec<ImageId>>();
    let (a, b) = (images(first), images(second));
    let has = |those: &[ImageId], these: &[ImageId]| {
        let known: HashSet<&ImageId> = those.iter().collect();
        these.iter().map(|image| known.contains(image)).collect()
    };
    Common { first: has(&b, &a), second: has(&a, &b), distances_a: Vec::new() }
}

/// Compares places: of all pairs on one micrograph that are no farther apart than `most_a` (Å) the closest is made first,
/// then the closest of what is left; every particle is in one pair at most. A particle of unknown place is in none.
pub(super) fn by_place(first: &[Place<'_>], second: &[Place<'_>], most_a: f64) -> Common {
    let (here, there) = (on_micrographs(first), on_micrographs(second));
    let mut common = Common {
        first: vec![false; first.len()],
        second: vec![false; second.len()],
        distances_a: Vec::new(),
    };
    for (micrograph, a) in &here {
        let Some(b) = there.get(micrograph) else { continue };
        let mut close = pairs_within(a, b, most_a);
        close.sort_by(|p, q| p.distance_a.total_cmp(&q.distance_a).then(p.indices.cmp(&q.indices)));
        for Pair { distance_a, indices: [i, j] } in close {
            if common.first[i] || common.second[j] {
                continue;
            }
            common.first[i] = true;
            common.second[j] = true;
            common.distances_a.push(distance_a);
        }
    }
    common
}

/// A place and whose it is.
type Placed = (usize, [f64; 2]);

struct Pair {
    distance_a: f64,
    /// Places in the first and the second set.
    indices: [usize; 2],
}

/// Places by micrograph, from left to right.
fn on_micrographs<'a>(places: &[Place<'a>]) -> BTreeMap<&'a str, Vec<Placed>> {
    let mut all: BTreeMap<&str, Vec<Placed>> = BTreeMap::new();
    for (index, place) in places.iter().enumerate() {
        if let Some((micrograph, at)) = place {
            all.entry(micrograph).or_default().push((index, *at));
        }
    }
    all.values_mut().for_each(|here| here.sort_by(|a, b| a.1[0].total_cmp(&b.1[0]).then(a.0.cmp(&b.0))));
    all
}

/// All pairs of places, both lists from left to right, that are no farther apart than `most_a`.
fn pairs_within(a: &[Placed], b: &[Placed], most_a: f64) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for &(i, from) in a {
        let start = b.partition_point(|(_, to)| to[0] < from[0] - most_a);
        for &(j, to) in b[start..].iter().take_while(|(_, to)| to[0] <= from[0] + most_a) {
            let distance_a = (to[0] - from[0]).hypot(to[1] - from[1]);
            if distance_a <= most_a {
                pairs.push(Pair { distance_a, indices: [i, j] });
            }
        }
    }
    pairs
}
