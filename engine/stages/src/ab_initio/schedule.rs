//! What each mini-batch does: band, grid, temperature and memory, as functions of how far the run is.

use vitreous_compute::ops::pose_search::Scoring;
use vitreous_jobs::ab_initio::AbInitio;

/// Ends of the schedule that depend on the particle, and how the run goes between them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// Mini-batches planned.
    pub batches: usize,
    /// Band of the first mini-batch, Fourier pixels.
    pub first_rmax: f64,
    /// Band of the last one.
    pub last_rmax: f64,
    /// Particle diameter, pixels of the working box.
    pub diameter_px: f64,
    /// Working box, pixels.
    pub box_px: usize,
    /// Particles that may be drawn.
    pub particles: usize,
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

/// Part of the run after which scores are full likelihoods.
const LIKELIHOOD_FROM: f64 = 0.8;
/// Range of shifts as a fraction of the particle's diameter: what pickers miss the centre by.
const SHIFT_RANGE: f64 = 0.08;
/// Particle diameters per resolution from which the finer grid is used: the ratio at which 10° is no longer enough.
const FINE_GRID_FROM: f64 = 6.0;
/// The band does not grow while this many poses of a particle are still likely on average: the map has to catch up.
pub const UNLOCKED_EFFECTIVE_POSES: f64 = 12.0;
/// A run that ends with more likely poses than this has not converged.
pub const CONVERGED_EFFECTIVE_POSES: f64 = 10.0;

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
        Self {
            batches: params.batches as usize,
            first_rmax: (box_a / params.initial_resolution).clamp(4.0, largest),
            last_rmax: (box_a / params.final_resolution).clamp(4.0, largest),
            diameter_px: diameter_a / pixel_size_a,
            box_px,
            particles,
        }
    }

    /// Mini-batches after which a run that has not converged is given up.
    pub fn most_batches(&self) -> usize {
        self.batches + self.batches / 2
    }

    /// The band planned for a mini-batch: flat for a tenth of the run, then growing evenly until [`LIKELIHOOD_FROM`].
    pub fn planned_rmax(&self, batch: usize) -> f64 {
        let done = batch as f64 / self.batches as f64;
        let grown = ((done - 0.1) / (LIKELIHOOD_FROM - 0.1)).clamp(0.0, 1.0);
        self.first_rmax + grown * (self.last_rmax - self.first_rmax)
    }

    /// The band of the next mini-batch: as planned, but it waits at its size for the map to lock in.
    pub fn next_rmax(&self, batch: usize, current: f64, effective_poses: f64) -> f64 {
        let planned = self.planned_rmax(batch);
        if planned <= current || effective_poses > UNLOCKED_EFFECTIVE_POSES && current > self.first_rmax + 2.0
        {
            return current;
        }
        planned.min(current + 1.0)
    }

    /// What mini-batch `batch` does in the band `rmax`.
    pub fn step(&self, batch: usize, rmax: f64) -> Step {
        let done = (batch as f64 / self.batches as f64).min(1.0);
        let late = done >= LIKELIHOOD_FROM;
        let size = if late { 1000 } else { 200 + (300.0 * done) as usize };
        let size = size.min(self.particles);
        // late poses are good: what is kept need only make up for the particles that are not in the batch
        let late_memory = (1.0 - size as f64 / self.particles as f64).clamp(0.3, 0.9);
        let diameters_per_resolution = self.diameter_px * rmax / self.box_px as f64;
        Step {
            size,
            angular_step_deg: if late {
                5.0
            } else if diameters_per_resolution > FINE_GRID_FROM {
                7.5
            } else {
                10.0
            },
            shift_range_px: SHIFT_RANGE * self.diameter_px,
            temperature: 1.0 + 2.0 * (1.0 - done / 0.6).max(0.0),
            memory: if late { late_memory } else { 0.5 + 0.4 * (done / LIKELIHOOD_FROM) },
            scoring: if late { Scoring::Likelihood } else { Scoring::FreeAmplitude },
        }
    }
}
