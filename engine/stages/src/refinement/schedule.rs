//! Which frequencies, boxes, steps and shifts an iteration uses, and when it is enough: pure functions of what is known.

use vitreous_compute::fourier::next_5_smooth;
use vitreous_compute::ops::pose_search::ShiftGrid;

/// Particle diameter over resolution up to which the exhaustive search goes: beyond it the grid would have to be finer,
/// and refinement needs no better start.
const SEARCH_SIZE_OVER_RESOLUTION: f64 = 14.0;

/// The same for the first band of the refinement, whose basin has to hold the search's grid error.
const COARSE_SIZE_OVER_RESOLUTION: f64 = 10.0;

/// Fourier pixels used beyond the last shell known to hold signal; the Wiener filter weighs them down.
const ALIGN_MARGIN_PX: f64 = 2.0;

/// Least radius of any band: below it nothing tells views apart.
const LEAST_RADIUS_PX: f64 = 5.0;

/// Shells reconstructed beyond the band, so that an improvement can be seen: at least this many …
const GROWTH_PX: f64 = 8.0;
/// … and this share of the band.
const GROWTH: f64 = 0.3;

/// Iterations without a gain of resolution after which refinement ends.
const PATIENCE: u32 = 2;

/// Refinement goes on while more than this share of the particles leave the neighbourhood of their pose …
const UNSETTLED: f64 = 0.05;

/// … but not for more than so many iterations without a gain: junk never settles.
const LAST_PATIENCE: u32 = 6;

/// A gain of resolution counts if it is at least this share of the radius reached (and at least a shell).
const WORTHWHILE_GAIN: f64 = 0.03;

/// A change of pose is still worth an iteration while its median falls by more than this share per iteration …
const WORTHWHILE_CHANGE: f64 = 0.2;

/// … and is more than this, radians times the radius reached: a tenth of what the band can resolve at the edge of a
/// particle that fills its box.
const LEAST_CHANGE: f64 = 0.1;

/// Share of particles that must come from the search, and not from their last pose, for the search to be repeated.
pub const SEARCH_WORTHWHILE: f64 = 0.01;

/// Sizes of the problem.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Geometry {
    /// Box edge of the images, pixels.
    pub n: usize,
    /// Pixel size, Å.
    pub pixel_size_a: f64,
    /// Diameter of the particle, Å.
    pub diameter_a: f64,
}

impl Geometry {
    /// Edge of the box, Å.
    pub fn edge_a(&self) -> f64 {
        self.n as f64 * self.pixel_size_a
    }

    /// Pixel size in a box of `box_px` pixels of the same edge, Å.
    pub fn pixel_in(&self, box_px: usize) -> f64 {
        self.edge_a() / box_px as f64
    }
}

/// Radii of one iteration, Fourier pixels, and its working box.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Radii {
    /// Band of the exhaustive search.
    pub search: f64,
    /// First band of the refinement.
    pub coarse: f64,
    /// Last band of the refinement.
    pub full: f64,
    /// Edge of the box to which images and references are cropped in Fourier space, pixels.
    pub box_px: usize,
}

/// Radii for a reference that is known to radius `resolved` (FSC 0.143) and well known to `well_resolved` (FSC 0.5).
pub fn radii(geometry: &Geometry, resolved: f64, well_resolved: f64) -> Radii {
    let n = geometry.n;
    let limit = (0.5 * n as f64 - 4.0).max(2.0);
    let size = geometry.edge_a() / geometry.diameter_a;
    let full = (resolved + ALIGN_MARGIN_PX).max(LEAST_RADIUS_PX).min(limit);
    let search = (well_resolved + ALIGN_MARGIN_PX)
        .min(SEARCH_SIZE_OVER_RESOLUTION * size)
        .max(LEAST_RADIUS_PX)
        .min(full);
    let coarse = (COARSE_SIZE_OVER_RESOLUTION * size).max(LEAST_RADIUS_PX).min(full);
    let reach = full + GROWTH_PX.max(GROWTH * full) + 2.0;
    // an even length of small factors
    let box_px = (2 * next_5_smooth(reach.ceil() as usize)).min(n);
    Radii { search, coarse, full, box_px }
}

/// Shifts to search in iteration `iteration` (from 1), pixels of the working box: the whole range at first, half of it
/// next, then one step about where the particle was.
pub fn shifts(iteration: u32, range_a: f64, pixel_a: f64, box_px: usize, search_radius: f64) -> ShiftGrid {
    let step = ShiftGrid::safe_step_px(box_px, search_radius);
    let range = match iteration {
        0 | 1 => range_a / pixel_a,
        2 => 0.5 * range_a / pixel_a,
        _ => 0.0,
    };
    let range = if range_a > 0.0 { range.max(1.01 * step) } else { 0.0 };
    ShiftGrid::disc(range, step)
}

/// What the end of a refinement depends on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Best radius at FSC 0.143 so far, Fourier pixels.
    pub best_resolved: f64,
    /// Iterations since it last grew.
    pub stalled: u32,
    /// Median change of rotation in the last iteration, degrees.
    pub change_deg: f64,
}

impl Progress {
    /// Before the first iteration.
    pub fn start() -> Self {
        Self { best_resolved: 0.0, stalled: 0, change_deg: f64::INFINITY }
    }

    /// After an iteration that reached `resolved`, changed rotations by `change_deg` (median) and saw the share `jumped` of
    /// the particles leave the neighbourhood of their pose; and whether refinement may end.
    pub fn advanced(&self, resolved: f64, change_deg: f64, jumped: f64) -> (Self, bool) {
        let grew = resolved >= self.best_resolved + (WORTHWHILE_GAIN * self.best_resolved).max(1.0);
        let settling = change_deg < (1.0 - WORTHWHILE_CHANGE) * self.change_deg
            && change_deg.to_radians() * resolved > LEAST_CHANGE;
        let stalled = if grew { 0 } else { self.stalled + 1 };
        let next = Self { best_resolved: self.best_resolved.max(resolved), stalled, change_deg };
        let unsettled = jumped > UNSETTLED && stalled < LAST_PATIENCE;
        (next, stalled >= PATIENCE && !settling && !unsettled)
    }
}

/// The last shell before an FSC curve first falls below `threshold`, Fourier pixels, counting from shell `from`.
pub fn radius_at(fsc: &[f64], threshold: f64, from: usize) -> f64 {
    let first = from.max(1);
    let last = fsc.len().saturating_sub(1);
    // `!(>=)`, so that NaN counts as a fall
    let fall = (first..=last).find(|&shell| fsc[shell].is_nan() || fsc[shell] < threshold);
    fall.map_or(last, |shell| shell - 1) as f64
}

#[cfg(test)]
mod unit {
    use super::*;

    const GEOMETRY: Geometry = Geometry { n: 96, pixel_size_a: 1.8, diameter_a: 130.0 };

    #[test]
    fn radii_grow_with_resolution_and_stay_inside_the_box() {
        let first = radii(&GEOMETRY, 6.9, 5.0);
        assert!(first.full < 9.0 && first.search <= first.full && first.coarse <= first.full);
        assert!(first.box_px < 60 && first.box_px.is_multiple_of(2));
        let late = radii(&GEOMETRY, 47.0, 44.0);
        assert_eq!(late.box_px, 96);
        assert!(late.full <= 44.0);
        // 14 times the resolution is the particle's size: 172.8 / 130 * 14
        assert!((late.search - 18.6).abs() < 0.1 && late.coarse < late.search);
        let tiny = radii(&Geometry { n: 16, ..GEOMETRY }, 100.0, 100.0);
        assert!(tiny.full <= 4.0 && tiny.box_px == 16);
    }

    #[test]
    fn the_shift_search_closes_in() {
        let counts = [1, 2, 3].map(|iteration| shifts(iteration, 10.0, 1.8, 96, 18.0).list.len());
        assert!(counts[0] > counts[1] && counts[1] > counts[2] && counts[2] == 5, "{counts:?}");
        assert_eq!(shifts(1, 0.0, 1.8, 96, 18.0).list.len(), 1);
    }

    #[test]
    fn refinement_ends_when_nothing_moves_any_more() {
        let (progress, done) = Progress::start().advanced(10.0, 20.0, 0.0);
        assert!(!done);
        let (progress, done) = progress.advanced(10.0, 5.0, 0.0);
        assert!(!done);
        let (progress, done) = progress.advanced(9.0, 2.0, 0.0);
        // no gain twice, but poses still settle
        assert!(!done);
        assert!(progress.advanced(10.0, 1.9, 0.0).1);
        assert!(!progress.advanced(11.0, 1.9, 0.0).1);
        // changes that no longer matter end it, however they fall
        assert!(progress.advanced(10.0, 0.1, 0.0).1);
        // one particle in ten still jumps: it goes on, though not for ever
        assert!(!progress.advanced(10.0, 1.9, 0.1).1);
        let tired = Progress { stalled: LAST_PATIENCE - 1, ..progress };
        assert!(tired.advanced(10.0, 1.9, 0.1).1);
    }

    #[test]
    fn a_curve_is_followed_to_its_first_fall() {
        let fsc = [1.0, 0.9, 0.8, 0.1, 0.9, f64::NAN];
        assert_eq!(radius_at(&fsc, 0.143, 1), 2.0);
        assert_eq!(radius_at(&fsc[..3], 0.143, 1), 2.0);
        assert_eq!(radius_at(&[1.0, 0.0], 0.143, 1), 0.0);
        assert_eq!(radius_at(&[1.0, 1.0, f64::NAN], 0.143, 1), 1.0);
    }
}
