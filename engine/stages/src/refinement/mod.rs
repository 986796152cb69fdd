//! Refinement of poses and maps by gold standard, in one class or several: the engine of `refine-homogeneous`,
//! `refine-nonuniform`, `refine-local` and `refine-heterogeneous`. It knows [`Settings`] and writes nothing but its checkpoint;
//! [`rigid`] is the whole job of those that refine one rigid structure.
//!
//! Each half of the data has a reference per class. A particle is compared with those of its own half only; the halves share
//! masks, the resolution by their FSC and the maps below the joining resolution.

pub mod checkpoint;
pub mod chunks;
pub mod classes;
pub mod course;
pub mod data;
pub mod expectation;
pub mod maximisation;
pub mod results;
pub mod rigid;
mod rigid_report;
pub mod schedule;
#[cfg(test)]
pub mod simulated;
pub mod state;

use vitreous_compute::ops::align::Align;
use vitreous_compute::ops::insert::Insert;
use vitreous_compute::ops::pose_search::PoseSearch;
use vitreous_jobs::refinement::{self, Masking, Regularisation, Search};
use vitreous_model::ewald::Curvature;
use vitreous_model::symmetry::PointGroup;

/// What a device must be able to do.
pub trait Engine: PoseSearch + Align + Insert {}
impl<D: PoseSearch + Align + Insert> Engine for D {}

/// How far from the pose it came with a particle may go.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Locality {
    /// Standard deviation of rotations about each axis, radians.
    pub rotation_sigma_rad: f64,
    /// Standard deviation of the shift of the fulcrum along each axis, Å.
    pub shift_sigma_a: f64,
    /// The point that the structure turns about, Å from the first voxel; the middle of the mask where it is not given.
    pub fulcrum_a: Option<[f64; 3]>,
}

/// What a job asks of the refinement.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Point group of every class.
    pub symmetry: PointGroup,
    /// Number of classes.
    pub classes: usize,
    /// Low-pass filter of the starting maps, Å.
    pub initial_lowpass_a: f64,
    /// Nothing finer is compared, Å, where there is such a limit.
    pub finest_a: Option<f64>,
    /// Diameter of the particle, Å; 0.8 of the box where it is not given.
    pub diameter_a: Option<f64>,
    /// Most iterations.
    pub max_iterations: u32,
    /// Where poses are looked for.
    pub search: Search,
    /// Step of the search over directions, degrees.
    pub angular_step_deg: f64,
    /// Range of the search over shifts in the first iterations, Å.
    pub shift_range_a: f64,
    /// What maps are masked with when no mask is given.
    pub masking: Masking,
    /// Prior about the poses of the input; without it there is one on the shift, as wide as shifts are.
    pub locality: Option<Locality>,
    /// How maps are filtered.
    pub regularisation: Regularisation,
    /// Whether amplitudes of groups are estimated.
    pub amplitudes: bool,
    /// Most poses with which a particle enters the map of a single class.
    pub modes: usize,
    /// Padding of the grids in Fourier space, where it is given.
    pub padding: Option<f64>,
    /// Curvature of the Ewald sphere that maps are corrected for; what they are compared with stays flat.
    pub curvature: Option<Curvature>,
    /// Frequencies below this, Å, are averaged between the halves.
    pub join_halves_below_a: f64,
    /// Use the half-sets of the input particles, if they have them.
    pub keep_half_sets: bool,
    /// Seed of the split into halves and classes and of the direction grids.
    pub seed: u64,
    /// Images are kept in memory up to this size, GiB.
    pub image_cache_gib: f64,
    /// The largest fraction of particles that may be unreadable.
    pub max_bad_fraction: f64,
}

impl Settings {
    /// Padding of the grids of a working box of `box_px` pixels.
    pub fn padding_of(&self, box_px: usize) -> f64 {
        refinement::padding(self.padding, box_px)
    }
}
