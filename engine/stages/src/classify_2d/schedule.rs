//! What each iteration does: pure functions of its number and of what is known.

use vitreous_compute::ops::pose_search::ShiftGrid;
use vitreous_jobs::classify_2d::Classify2d;

/// Particle diameter over resolution of the first iterations: outlines only.
const FIRST_SIZE_OVER_RESOLUTION: f64 = 5.0;

/// The band reaches its end after this part of the iterations.
const FULL_BAND_AFTER: f64 = 0.7;

/// Particles are looked for over the whole range of shifts in this part of the iterations; then about where they were.
const WIDE_UNTIL: f64 = 0.4;

/// Most steps of the wide search from its centre: 37 shifts. It has a coarser band for that, if need be.
const MOST_WIDE_STEPS: f64 = 3.45;

/// Range of the search about a known place, in its steps: 13 shifts.
const NARROW_STEPS: f64 = 2.05;

/// Range of shifts where none is given, as a part of the diameter.
const SHIFT_RANGE_OF_DIAMETER: f64 = 0.1;

/// Iterations at the end that go through all particles: the first finds where they are, the second classifies them.
pub const FULL_ITERATIONS: usize = 2;

/// Temperature of the first iteration; it falls to 1 by [`WIDE_UNTIL`].
const FIRST_TEMPERATURE: f64 = 2.0;

/// Rings beyond those that most classes agree on that are used at most.
const BAND_AHEAD_OF_AGREEMENT: f64 = 4.0;

/// The plan of a run; lengths in pixels of the working box.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// Iterations.
    pub iterations: usize,
    /// Particles.
    pub particles: usize,
    /// Particles of a mini-batch.
    pub batch: usize,
    /// First band.
    pub first_rmax: f64,
    /// Last band.
    pub last_rmax: f64,
    /// Range of the wide search.
    pub shift_range_px: f64,
    /// Edge of the working box.
    pub box_px: usize,
    /// Diameter of the particle.
    pub diameter_px: f64,
}

/// What an iteration does.
#[derive(Debug, Clone)]
pub struct Step {
    /// Particles it goes through.
    pub size: usize,
    /// Band.
    pub rmax: f64,
    /// Scores are divided by this before they become probabilities.
    pub temperature: f64,
    /// What is left of the earlier sums.
    pub memory: f64,
    /// Whether places found before are used.
    pub narrow: bool,
    /// Whether an empty class may take half of a full one beforehand.
    pub may_split: bool,
}

/// A search over shifts, and the band it goes with.
#[derive(Debug, Clone)]
pub struct Search {
    /// Band.
    pub rmax: f64,
    /// Shifts.
    pub shifts: ShiftGrid,
}

impl Schedule {
    /// For images of `box_px` pixels of `pixel_size_a`.
    pub fn new(
        params: &Classify2d,
        box_px: usize,
        pixel_size_a: f64,
        diameter_a: f64,
        particles: usize,
    ) -> Self {
        let box_a = box_px as f64 * pixel_size_a;
        let largest = box_px as f64 / 2.0 - 5.0;
        let last_rmax = (box_a / params.resolution).clamp(4.0, largest);
        let range_a = params.shift_range.unwrap_or(SHIFT_RANGE_OF_DIAMETER * diameter_a);
        Self {
            iterations: params.iterations as usize,
            particles,
            batch: (params.classes as usize * params.batch_per_class as usize).min(particles),
            first_rmax: (FIRST_SIZE_OVER_RESOLUTION * box_a / diameter_a).clamp(4.0, last_rmax),
            last_rmax,
            shift_range_px: range_a / pixel_size_a,
            box_px,
            diameter_px: diameter_a / pixel_size_a,
        }
    }

    /// What iteration `number` (from 0) does; `resolved` is the radius to which most classes agree.
    pub fn step(&self, number: usize, resolved: Option<f64>) -> Step {
        let full = number + FULL_ITERATIONS >= self.iterations;
        let before = self.iterations.saturating_sub(FULL_ITERATIONS).max(1);
        let done = number as f64 / before as f64;
        let size = if full { self.particles } else { self.batch };
        let grown = (done / FULL_BAND_AFTER).min(1.0);
        let planned = self.first_rmax + grown * (self.last_rmax - self.first_rmax);
        let allowed = resolved.map_or(planned, |r| (r + BAND_AHEAD_OF_AGREEMENT).max(self.first_rmax));
        Step {
            size,
            rmax: planned.min(allowed),
            temperature: 1.0 + (FIRST_TEMPERATURE - 1.0) * (1.0 - done / WIDE_UNTIL).max(0.0),
            // what is kept makes up for the particles that are not in the batch
            memory: (1.0 - size as f64 / self.particles as f64).min(0.9),
            narrow: done >= WIDE_UNTIL,
            may_split: done < FULL_BAND_AFTER,
        }
    }

    /// The search for particles of which no place is known, within the band `rmax`.
    pub fn wide(&self, rmax: f64) -> Search {
        let coarsest = self.shift_range_px / MOST_WIDE_STEPS;
        let step = ShiftGrid::safe_step_px(self.box_px, rmax).max(coarsest).max(0.25);
        let rmax =
            rmax.min(rmax * ShiftGrid::safe_step_px(self.box_px, rmax) / step).max(self.first_rmax.min(rmax));
        Search { rmax, shifts: ShiftGrid::disc(self.shift_range_px, step) }
    }

    /// The search about a known place.
    pub fn narrow(&self, rmax: f64) -> Search {
        let step = ShiftGrid::safe_step_px(self.box_px, rmax);
        Search { rmax, shifts: ShiftGrid::disc(NARROW_STEPS * step, step) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(particles: usize) -> Schedule {
        let params = Classify2d { classes: 20, ..Classify2d::default() };
        Schedule::new(&params, 72, 3.0, 150.0, particles)
    }

    #[test]
    fn small_sets_are_used_whole_and_large_ones_at_the_end() {
        let small = schedule(1500);
        assert!((0..25).all(|i| small.step(i, None).size == 1500 && small.step(i, None).memory == 0.0));
        let large = schedule(100_000);
        let sizes: Vec<usize> = (0..25).map(|i| large.step(i, None).size).collect();
        assert!(sizes[..23].iter().all(|&size| size == 2000) && sizes[23..] == [100_000; 2]);
        assert!((large.step(5, None).memory, large.step(24, None).memory) == (0.9, 0.0));
    }

    #[test]
    fn bands_grow_to_the_end_and_wait_for_classes_to_agree() {
        let schedule = schedule(1500);
        let bands: Vec<f64> = (0..25).map(|i| schedule.step(i, None).rmax).collect();
        assert!(bands.is_sorted() && bands[0] == schedule.first_rmax && bands[24] == 27.0);
        assert_eq!(schedule.step(20, Some(9.0)).rmax, 13.0);
    }

    #[test]
    fn searches_have_few_shifts_and_steps_that_suit_their_band() {
        let schedule = schedule(1500);
        for rmax in [7.2, 15.0, 27.0] {
            let (wide, narrow) = (schedule.wide(rmax), schedule.narrow(rmax));
            assert!(wide.shifts.list.len() <= 37 && narrow.shifts.list.len() == 13, "{rmax}");
            assert!(wide.rmax <= narrow.rmax && wide.rmax >= schedule.first_rmax);
            assert!(
                (wide.shifts.reach_px() - schedule.shift_range_px).abs() < 0.35 * schedule.shift_range_px
            );
        }
    }
}
