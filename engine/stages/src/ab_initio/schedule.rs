//! What each mini-batch does: phase, band, grid, temperature and memory, as functions of how far a start is.

use super::images::SMALL_SET;
use vitreous_compute::ops::pose_search::Scoring;
use vitreous_jobs::ab_initio::AbInitio;

/// Parts of a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// From random poses, the band growing.
    March,
    /// Two halves of the particles, each with its own map, from the map so far at a low resolution: what they then
    /// agree on beyond it is signal.
    Halves,
    /// All particles with one map, filtered by the halves' agreement.
    Joint,
}

/// Ends of the schedule that depend on the particle, and how the run goes between them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// Mini-batches planned.
    pub batches: usize,
    /// Band of the first mini-batch of the first start, Fourier pixels.
    pub first_rmax: f64,
    /// Band of the last one.
    pub last_rmax: f64,
    /// Band of the map that the halves begin with. At the first resolution many maps look like their mirror image, and
    /// halves that begin there can stay a mixture of both hands (3 of 10 seeds of CFTR with junk; apoferritin's do from
    /// the finer band, too, after a march that began coarse). A small set begins there all the same: it reaches little
    /// beyond, and its agreement has to mean something.
    pub halves_rmax: f64,
    /// Particle diameter, pixels of the working box.
    pub diameter_px: f64,
    /// Working box, pixels.
    pub box_px: usize,
    /// Particles that may be drawn.
    pub particles: usize,
    /// Maps.
    pub classes: usize,
}

/// One mini-batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Particles.
    pub size: usize,
    /// Root of the area per direction, degrees.
    pub angular_step_deg: f64,
    /// Range of shifts, pixels of the working box.
    pub shift_range_px: f64,
    /// Scores are divided by it before they become probabilities.
    pub temperature: f64,
    /// What is left of the earlier sums.
    pub memory: f64,
    /// How scores are made. While the map's scale means nothing its amplitude is free.
    pub scoring: Scoring,
}

/// Part of a start that is [`Phase::March`]; of the rest, [`HALVES`] are [`Phase::Halves`].
const MARCH: f64 = 0.75;
/// See [`MARCH`].
const HALVES: f64 = 0.75;
/// Range of shifts as a fraction of the particle's diameter: what pickers miss the centre by.
const SHIFT_RANGE: f64 = 0.08;
/// Particle diameters per resolution from which the finer grid is used: the ratio at which 10° is no longer enough.
const FINE_GRID_FROM: f64 = 6.0;
/// Likewise for the finest.
const FINEST_GRID_FROM: f64 = 9.0;
/// Part of a small set that a mini-batch of the march holds, so that batches differ and a start does not settle in the
/// first poor map it comes to. Of 121 particles of beta-galactosidase 2 of 4 starts were right with half the set in a
/// batch, 2 of 6 with all of it: no proof that it matters.
const MARCHED_AT_MOST: f64 = 0.5;
/// Particles of a mini-batch of the last two phases.
const LATE_SIZE: usize = 1000;
/// The band does not grow while this many poses of a particle are still likely on average: the map has to catch up.
pub const UNLOCKED_EFFECTIVE_POSES: f64 = 12.0;
/// A march that ends with more likely poses than this goes on, and a map with more has not converged.
pub const LOCKED_EFFECTIVE_POSES: f64 = 10.0;

impl Schedule {
    /// For images of `box_px` pixels of `pixel_size_a`, of which `particles` may be drawn.
    pub fn new(
        params: &AbInitio,
        box_px: usize,
        pixel_size_a: f64,
        diameter_a: f64,
        particles: usize,
    ) -> Self {
        let box_a = box_px as f64 * pixel_size_a;
        let largest = box_px as f64 / 2.0 - 3.0;
        let first_rmax = (box_a / params.initial_resolution).clamp(4.0, largest);
        let last_rmax = (box_a / params.final_resolution).clamp(4.0, largest);
        Self {
            batches: params.batches as usize,
            first_rmax,
            last_rmax,
            halves_rmax: if particles < SMALL_SET { first_rmax } else { (first_rmax * last_rmax).sqrt() },
            diameter_px: diameter_a / pixel_size_a,
            box_px,
            particles,
            classes: params.classes as usize,
        }
    }

    /// Mini-batches of [`Phase::March`].
    pub fn march(&self) -> usize {
        ((MARCH * self.batches as f64).ceil() as usize).max(2)
    }

    /// Mini-batches of [`Phase::March`] after which one that has not locked in goes on to the next phase all the same.
    pub fn longest_march(&self) -> usize {
        self.march() + self.batches / 2
    }

    /// Mini-batches of [`Phase::Halves`].
    pub fn halves(&self) -> usize {
        ((HALVES * (self.batches.saturating_sub(self.march())) as f64).floor() as usize).max(2)
    }

    /// Mini-batches of [`Phase::Joint`].
    pub fn joint(&self) -> usize {
        self.batches.saturating_sub(self.march() + self.halves()).max(1)
    }

    /// The band in which start `start` (from 0) begins its march. Every second one of a set that is not small begins with
    /// the band of the halves: where a particle looks like its mirror image at the first resolution, a march from there
    /// can settle in a mixture of both hands (two starts in three of apoferritin at 35 Å, none of ten seeds at 20.5 Å).
    pub fn march_from(&self, start: usize) -> f64 {
        if start % 2 == 1 { self.halves_rmax } else { self.first_rmax }
    }

    /// The band planned for a mini-batch of the march of a start: flat for an eighth of it, at its end for another, evenly
    /// growing between.
    pub fn planned_rmax(&self, start: usize, batch: usize) -> f64 {
        let done = batch as f64 / self.march() as f64;
        let grown = ((done - 0.125) / 0.75).clamp(0.0, 1.0);
        let first = self.march_from(start);
        first + grown * (self.last_rmax - first)
    }

    /// The band of the next mini-batch of the march: as planned, but it waits at its size for the map to lock in.
    pub fn next_rmax(&self, start: usize, batch: usize, current: f64, effective_poses: f64) -> f64 {
        let planned = self.planned_rmax(start, batch);
        let waits = effective_poses > UNLOCKED_EFFECTIVE_POSES && current > self.march_from(start) + 2.0;
        if planned <= current || waits {
            return current;
        }
        planned.min(current + 1.0)
    }

    /// Mini-batch `batch` of the march in the band `rmax`.
    pub fn march_step(&self, batch: usize, rmax: f64) -> Step {
        let done = (batch as f64 / self.march() as f64).min(1.0);
        let size = (200 + (300.0 * done) as usize) * self.classes.min(4);
        let size = size.min((MARCHED_AT_MOST * self.particles as f64).ceil() as usize);
        Step {
            size,
            angular_step_deg: self.angular_step_deg(rmax).max(7.5),
            shift_range_px: SHIFT_RANGE * self.diameter_px,
            temperature: 1.0 + 2.0 * (1.0 - done / 0.75).max(0.0),
            memory: 0.5 + 0.4 * done,
            scoring: Scoring::FreeAmplitude,
        }
    }

    /// A mini-batch of the last two phases, in the band `rmax`. `is_first` of its phase: it starts from nothing.
    pub fn late_step(&self, is_first: bool, rmax: f64) -> Step {
        let size = (LATE_SIZE * self.classes.min(4)).min(self.particles);
        // late poses are good: what is kept need only make up for the particles that are not in the batch
        let memory = (1.0 - size as f64 / self.particles as f64).clamp(0.0, 0.9);
        Step {
            size,
            angular_step_deg: self.angular_step_deg(rmax),
            shift_range_px: SHIFT_RANGE * self.diameter_px,
            temperature: 1.0,
            memory: if is_first { 0.0 } else { memory },
            scoring: Scoring::Likelihood,
        }
    }

    fn angular_step_deg(&self, rmax: f64) -> f64 {
        let diameters_per_resolution = self.diameter_px * rmax / self.box_px as f64;
        if diameters_per_resolution > FINEST_GRID_FROM {
            5.0
        } else if diameters_per_resolution > FINE_GRID_FROM {
            7.5
        } else {
            10.0
        }
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    fn schedule(particles: usize) -> Schedule {
        Schedule::new(&AbInitio::default(), 64, 3.0, 150.0, particles)
    }

    #[test]
    fn every_second_start_of_a_large_set_begins_finer() {
        let large = schedule(SMALL_SET);
        assert_eq!(large.march_from(0), large.first_rmax);
        // 35 and 12 Å: 20.5 Å
        assert!((64.0 * 3.0 / large.march_from(1) - 20.49).abs() < 0.01, "{large:?}");
        assert_eq!(large.march_from(2), large.first_rmax);
        let small = schedule(SMALL_SET - 1);
        assert_eq!(small.march_from(1), small.first_rmax);
    }

    #[test]
    fn the_band_grows_to_its_end_and_waits_for_the_map() {
        for start in 0..2 {
            let plan = schedule(1000);
            let bands: Vec<f64> = (0..plan.march()).map(|batch| plan.planned_rmax(start, batch)).collect();
            assert_eq!(bands[0], plan.march_from(start));
            assert!(bands.is_sorted());
            assert_eq!(bands[plan.march() - 1], plan.last_rmax);
            let current = plan.march_from(start) + 2.5;
            assert_eq!(plan.next_rmax(start, 40, current, 2.0 * UNLOCKED_EFFECTIVE_POSES), current);
            assert_eq!(plan.next_rmax(start, 40, current, 1.0), current + 1.0);
        }
    }
}
