//! To which class each particle of the whole set belongs.

use super::batch;
use super::checkpoint::State;
use super::images::WorkingImage;
use super::start::Job;
use crate::StageError;
use rayon::prelude::*;
use vitreous_compute::ops::insert::Insert;
use vitreous_compute::ops::pose_search::PoseSearch;
use vitreous_model::particle::{ClassAssignment, ParticleSet};
use vitreous_model::pose::Rotation;

/// Particles compared at a time by a rank.
const AT_ONCE: usize = 256;
/// Probabilities are exchanged between ranks in steps of a millionth.
const PROBABILITY_STEPS: f64 = 1e6;

impl<D: PoseSearch + Insert> Job<'_, D> {
    /// The most probable class of each particle of `set`, from 0, and its probability; `None` for unusable ones. All
    /// poses and classes are equally likely beforehand.
    ///
    /// # Errors
    /// Maps that cannot be searched with.
    pub fn assign(
        &self,
        set: &ParticleSet,
        state: &State,
        rmax: f64,
    ) -> Result<Vec<Option<(usize, f64)>>, StageError> {
        let maps = self.maps(state, rmax);
        let step = self.schedule.late_step(true, rmax);
        let classes = self.prepared(&maps, rmax, &step, self.params.symmetry, Rotation::IDENTITY, true)?;
        let (rank, size) = (self.ctx.comm.rank(), self.ctx.comm.size());
        let mine: Vec<usize> = (0..set.particles.len()).skip(rank).step_by(size).collect();
        // class + 1 and probability of each particle; only one rank's are not zero
        let mut found = vec![0i64; 2 * set.particles.len()];
        for chunk in mine.chunks(AT_ONCE) {
            let images: Vec<(usize, WorkingImage)> =
                chunk.par_iter().filter_map(|&index| Some((index, self.images.read(set, index)?))).collect();
            let views: Vec<&WorkingImage> = images.iter().map(|(_, image)| image).collect();
            let evidence = batch::log_evidence(&classes, maps.len(), &views);
            for ((index, _), scores) in images.iter().zip(&evidence) {
                let Some((class, probability)) = most_probable(scores) else { continue };
                found[2 * index] = class as i64 + 1;
                found[2 * index + 1] = (probability * PROBABILITY_STEPS) as i64;
            }
        }
        self.ctx.comm.sum_in_place_i64(&mut found);
        let class =
            |pair: &[i64]| (pair[0] > 0).then(|| (pair[0] as usize - 1, pair[1] as f64 / PROBABILITY_STEPS));
        Ok(found.chunks_exact(2).map(class).collect())
    }
}

fn most_probable(scores: &[f64]) -> Option<(usize, f64)> {
    let best = (0..scores.len()).max_by(|&a, &b| scores[a].total_cmp(&scores[b]))?;
    let sum: f64 = scores.iter().map(|score| (score - scores[best]).exp()).sum();
    scores[best].is_finite().then(|| (best, 1.0 / sum))
}

/// The classes in the order of their particles, most first.
pub fn by_size(found: &[Option<(usize, f64)>], classes: usize) -> Vec<usize> {
    let count = |class: usize| found.iter().flatten().filter(|(of, _)| *of == class).count();
    let mut order: Vec<usize> = (0..classes).collect();
    order.sort_by_key(|&class| (std::cmp::Reverse(count(class)), class));
    order
}

/// Writes the classes into the set, numbered from 1 in `order`.
pub fn write_into(set: &mut ParticleSet, found: &[Option<(usize, f64)>], order: &[usize]) {
    for (particle, found) in set.particles.iter_mut().zip(found) {
        particle.class = found.and_then(|(class, probability)| {
            let place = order.iter().position(|&of| of == class)?;
            Some(ClassAssignment { number: place as u32 + 1, probability })
        });
    }
}
