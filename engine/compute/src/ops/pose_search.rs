//! Contract: exhaustive pose search of images against one reference volume.
//!
//! For each image, formula (1) of [`crate::likelihood`] is evaluated at every pose of a product grid: viewing direction
//! (and its antipode, the mirror pair) × in-plane angle × shift. Only the best pose of each view is kept.
//!
//! # Definitions
//! * View `2 i` looks along direction i of [`Directions`], view `2 i + 1` along its antipode:
//!   `R = R_i · Rz(psi)` and `R = R_i · diag(-1, 1, -1) · Rz(psi)`.
//! * `psi = 2π j / n_psi`, j = 0 .. n_psi.
//! * A shift of the grid counts from the image's `centre_px`; both are where the particle lies relative to the centre of
//!   its box, in pixels.
//!
//! # Allowed error (checked by [`crate::parity::pose_search`])
//! Against (1) summed over the lattice with exact slices: rms 0.5 nats and at most 2 nats where logL spans some hundred
//! nats; the winner's true logL within 1 nat of the best on the grid. The error's main sources are the polar sum (0.1 to
//! 0.3: what the CTF spreads outside the box's circle is lost), the truncated radial basis (0.25 at the default
//! tolerance) and the interpolation of the volume.
//!
//! # Determinism
//! An image's scores depend on nothing but the image and the views: not on batch, thread or rank. They may differ in
//! the last bits between processors with and without FMA.

use crate::directions::{Directions, symmetric_angle_rad};
use crate::likelihood::ImageModel;
use crate::ops::project::Project;
use vitreous_model::pose::Rotation;

/// Why a search cannot be set up.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PoseSearchError {
    /// The band or particle does not fit the box.
    #[error(
        "a pose search to radius {rmax:.1} px with a particle of {diameter_px:.1} px does not fit a box of {box_px} px \
         whose slices reach {reach:.1} px (need 2 <= radius <= reach - 1.5 and 0 < diameter <= box); choose a lower \
         resolution or a larger box"
    )]
    BandOutsideBox {
        /// Box edge, pixels.
        box_px: usize,
        /// Radius to which slices are held, Fourier pixels.
        reach: f64,
        /// Band limit, Fourier pixels.
        rmax: f64,
        /// Particle diameter, pixels.
        diameter_px: f64,
    },
    /// Nothing to search.
    #[error("a pose search needs at least one {0}")]
    Empty(&'static str),
    /// The reference holds nothing that tells directions apart.
    #[error(
        "the reference has no signal between radius 1 and {rmax:.1} px; is the map empty or masked away?"
    )]
    NoSignal {
        /// Band limit, Fourier pixels.
        rmax: f64,
    },
}

/// Shifts to try, in pixels: points of a square grid inside a disc, smallest first.
#[derive(Debug, Clone, PartialEq)]
pub struct ShiftGrid {
    /// `(x, y)` in pixels.
    pub list: Vec<[f64; 2]>,
}

impl ShiftGrid {
    /// No shift but zero.
    pub fn zero() -> Self {
        Self { list: vec![[0.0, 0.0]] }
    }

    /// The multiples of `step_px` no further than `range_px` from zero.
    ///
    /// ```
    /// use vitreous_compute::ops::pose_search::ShiftGrid;
    /// assert_eq!(ShiftGrid::disc(4.5, 2.0).list.len(), 21);
    /// ```
    pub fn disc(range_px: f64, step_px: f64) -> Self {
        let steps = (range_px / step_px.max(1e-3)).floor().clamp(0.0, 32.0) as i32;
        let mut list: Vec<[f64; 2]> = (-steps..=steps)
            .flat_map(|y| (-steps..=steps).map(move |x| [f64::from(x) * step_px, f64::from(y) * step_px]))
            .filter(|t| t[0].hypot(t[1]) <= range_px + 1e-9)
            .collect();
        list.sort_by(|a, b| a[0].hypot(a[1]).total_cmp(&b[0].hypot(b[1])));
        Self { list }
    }

    /// The coarsest step, in pixels, that loses no particle in a band that ends at `rmax` in a box of `box_px`:
    /// `0.6 N / (2 rmax)` (measured: half as much again loses 7 % of noisy images).
    pub fn safe_step_px(box_px: usize, rmax: f64) -> f64 {
        0.6 * box_px as f64 / (2.0 * rmax)
    }

    /// Length of the longest shift, pixels.
    pub fn reach_px(&self) -> f64 {
        self.list.iter().map(|t| t[0].hypot(t[1])).fold(0.0, f64::max)
    }
}

/// Energy of the reference, in nats of logL, that the truncated radial basis may lose.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Truncation {
    /// Absolute bound, nats.
    pub nats: f64,
    /// Bound as a fraction of the energy that depends on direction. Essential for weak references: an absolute
    /// tolerance alone would drop every angular mode of the first map of an ab-initio run.
    pub fraction: f64,
}

impl Default for Truncation {
    fn default() -> Self {
        Self { nats: 0.1, fraction: 0.01 }
    }
}

/// How a view's best pose is scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scoring {
    /// (1) with the given amplitude.
    #[default]
    Likelihood,
    /// (1) maximised over the amplitude of the reference: A²/(4B) for a positive cross term A, the norm B taken without
    /// astigmatism. For first references whose scale means nothing.
    FreeAmplitude,
}

/// What a search is to cover.
#[derive(Debug, Clone)]
pub struct ViewsRequest<'a> {
    /// End of the band, Fourier pixels of the box.
    pub rmax: f64,
    /// Diameter of the particle, pixels: bounds the angular frequencies.
    pub diameter_px: f64,
    /// Directions to look along.
    pub directions: &'a Directions,
    /// Shifts to try.
    pub shifts: &'a ShiftGrid,
    /// Mean of c² over the images, by shell from 0: with `noise` the metric of the radial basis, which need not be exact.
    pub ctf_power: &'a [f64],
    /// Mean of s2 over the images, by shell from 0.
    pub noise: &'a [f64],
    /// Accuracy of the radial basis.
    pub truncation: Truncation,
    /// Scores.
    pub scoring: Scoring,
    /// Also sum exp(logL) over in-plane angles and shifts, for [`ViewScores::log_sum`].
    pub evidence: bool,
}

/// One image to search with.
#[derive(Debug, Clone, Copy)]
pub struct SearchImage<'a> {
    /// The image and what is known of how it was made.
    pub model: ImageModel<'a>,
    /// Where the particle is thought to lie, pixels from the centre of the box; the shift grid counts from here.
    pub centre_px: [f64; 2],
    /// Standard deviation in pixels of a Gaussian prior on the shift about `centre_px`; infinite for none.
    pub shift_sigma_px: f64,
}

/// The geometry of a search, and what its indices mean.
#[derive(Debug, Clone)]
pub struct SearchGeometry {
    /// Directions.
    pub directions: Directions,
    /// Number of in-plane angles.
    pub n_psi: usize,
    /// Shifts.
    pub shifts: ShiftGrid,
    /// Operators of the symmetry.
    pub operators: Vec<Rotation>,
}

impl SearchGeometry {
    /// The rotation of in-plane angle `psi` of view `view`.
    pub fn rotation(&self, view: usize, psi: usize) -> Rotation {
        let frame = self.directions.list[view / 2].rotation;
        // diag(-1, 1, -1): half a turn about y
        let frame = if view % 2 == 1 { frame * Rotation::new(0.0, 0.0, 1.0, 0.0) } else { frame };
        let half_angle = std::f64::consts::PI * psi as f64 / self.n_psi as f64;
        frame * Rotation::new(half_angle.cos(), 0.0, 0.0, half_angle.sin())
    }

    /// Number of views: two per direction.
    pub fn views(&self) -> usize {
        2 * self.directions.list.len()
    }

    /// In-plane step, degrees.
    pub fn psi_step_deg(&self) -> f64 {
        360.0 / self.n_psi as f64
    }
}

/// What a search found for one image: per view, its best pose. All vectors are `[views]`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ViewScores {
    /// Best score over in-plane angles and shifts, nats, prior included.
    pub best: Vec<f32>,
    /// In-plane angle of it.
    pub psi: Vec<u16>,
    /// Shift of it.
    pub shift: Vec<u16>,
    /// `ln Σ exp(logL)` over in-plane angles and shifts; empty unless asked for.
    pub log_sum: Vec<f32>,
}

/// A pose worth refining.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Its rotation.
    pub rotation: Rotation,
    /// Where the particle lies, pixels from the centre of the box.
    pub shift_px: [f64; 2],
    /// Its score, nats.
    pub score: f64,
    /// View it belongs to.
    pub view: usize,
}

impl ViewScores {
    /// The best `count` poses no two of which are nearer than `separation_rad` up to symmetry, best first. Ties go to
    /// the lower view.
    pub fn candidates(
        &self,
        geometry: &SearchGeometry,
        centre_px: [f64; 2],
        count: usize,
        separation_rad: f64,
    ) -> Vec<Candidate> {
        let mut order: Vec<usize> =
            (0..self.best.len()).filter(|&view| self.best[view].is_finite()).collect();
        order.sort_by(|&a, &b| self.best[b].total_cmp(&self.best[a]).then(a.cmp(&b)));
        let mut kept: Vec<Candidate> = Vec::with_capacity(count);
        for view in order {
            if kept.len() >= count {
                break;
            }
            let rotation = geometry.rotation(view, self.psi[view].into());
            let near = |other: &Candidate| {
                symmetric_angle_rad(&geometry.operators, rotation, other.rotation) < separation_rad
            };
            if kept.iter().any(near) {
                continue;
            }
            let shift = geometry.shifts.list[usize::from(self.shift[view])];
            kept.push(Candidate {
                rotation,
                shift_px: [centre_px[0] + shift[0], centre_px[1] + shift[1]],
                score: self.best[view].into(),
                view,
            });
        }
        kept
    }

    /// `ln` of the mean of exp(logL) over the whole grid, directions weighted by their share of the sphere: the log of
    /// the evidence under a flat prior. Minus infinity unless the search was asked for evidence.
    pub fn log_evidence(&self, geometry: &SearchGeometry) -> f64 {
        let top = self.log_sum.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if !top.is_finite() {
            return f64::NEG_INFINITY;
        }
        let mut sum = 0.0;
        let mut poses = 0.0;
        for (view, &log_sum) in self.log_sum.iter().enumerate() {
            let weight = geometry.directions.list[view / 2].weight;
            sum += weight * f64::from(log_sum - top).exp();
            poses += weight * (geometry.n_psi * geometry.shifts.list.len()) as f64;
        }
        f64::from(top) + (sum / poses).ln()
    }
}

/// The operation.
pub trait PoseSearch: Project {
    /// A reference prepared for searching.
    type Views: Send + Sync;

    /// Prepares a reference. `slicer` holds radii up to `request.rmax + 1.5` at least.
    ///
    /// # Errors
    /// [`PoseSearchError`] if the request makes no sense.
    fn prepare_views(
        &self,
        slicer: &Self::Slicer,
        request: &ViewsRequest<'_>,
    ) -> Result<Self::Views, PoseSearchError>;

    /// What the indices in scores mean.
    fn geometry<'a>(&self, views: &'a Self::Views) -> &'a SearchGeometry;

    /// Scores of each image, in order. Images are of the box the views were prepared for.
    fn score_views(&self, views: &Self::Views, images: &[SearchImage<'_>]) -> Vec<ViewScores>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitreous_model::symmetry::PointGroup;

    #[test]
    fn candidates_keep_their_distance_and_order() {
        let directions = Directions::new(15.0, PointGroup::C1, Rotation::IDENTITY);
        let views = 2 * directions.list.len();
        let geometry = SearchGeometry {
            directions,
            n_psi: 24,
            shifts: ShiftGrid::disc(2.0, 2.0),
            operators: PointGroup::C1.rotations(),
        };
        let scores = ViewScores {
            best: (0..views).map(|v| (v as f32 * 0.7).sin()).collect(),
            psi: vec![3; views],
            shift: vec![1; views],
            log_sum: Vec::new(),
        };
        let separation = 24f64.to_radians();
        let found = scores.candidates(&geometry, [1.0, -1.0], 5, separation);
        assert_eq!(found.len(), 5);
        for (i, a) in found.iter().enumerate() {
            assert_eq!(a.shift_px, [1.0 + geometry.shifts.list[1][0], -1.0 + geometry.shifts.list[1][1]]);
            for b in &found[..i] {
                assert!(b.score >= a.score && a.rotation.angle_to_rad(b.rotation) >= separation);
            }
        }
    }
}
