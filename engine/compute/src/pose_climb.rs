//! Levenberg–Marquardt on poses, the same for all devices: it says at which pose logL and its derivatives are wanted next, and
//! whoever drives it computes them, for one pose or for very many at once.

use crate::cpu::align::lattice::Lattice;
use crate::likelihood::BAND_EDGE_PX;
use crate::ops::align::{AlignLevel, Alignment, NormalEquations, PARAMETERS, PixelPose};
use crate::ops::grid::PaddedGrid;
use nalgebra::{SMatrix, SVector};
use std::f64::consts::TAU;
use vitreous_model::pose::Rotation;

/// A step that gains less than this many nats is the last.
const LAST_GAIN_NATS: f64 = 0.02;

/// Evaluations per start and band.
const MAX_EVALUATIONS: u32 = 12;

/// Damping of the first step.
const FIRST_DAMPING: f64 = 1e-3;

/// Longest turn of one step, radians, times the band's radius: a fifth of the angle at which the edge of a particle
/// that fills its box moves by a wavelength.
const LONGEST_TURN: f64 = 0.4;

/// Longest shift of one step, in wavelengths of the band's end.
const LONGEST_SHIFT: f64 = 0.5;

/// Two poses nearer than this fraction of a wavelength at the band's end are one.
const SAME_POSE: f64 = 0.1;

/// How far a band reaches in a box: what a step may be, and which poses are one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Extent {
    /// End of the band, Fourier pixels.
    pub rmax: f64,
    /// Box edge, pixels.
    pub box_px: usize,
}

/// A band on a lattice.
#[derive(Debug, Clone)]
pub struct Band {
    /// How far it reaches.
    pub extent: Extent,
    /// How many of the best poses go on from here.
    pub keep: usize,
    /// Weights of the first points of the lattice; the band has no others.
    pub window: Vec<f32>,
}

impl Band {
    /// The band of a level on a lattice, as far as the reference's `grid` holds it.
    pub fn new(lattice: &Lattice, grid: &PaddedGrid, level: &AlignLevel) -> Self {
        let reach = grid.radius(0.5 * grid.n() as f64);
        // points come by whole rings, so the ring beyond the edge must be on the grid too
        let rmax = level.rmax.min(reach.floor() - 0.5 * BAND_EDGE_PX).max(1.0);
        let extent = Extent { rmax, box_px: grid.n() };
        Self { extent, keep: level.keep.max(1), window: lattice.band(rmax) }
    }
}

/// A climb from one pose.
#[derive(Debug, Clone)]
pub struct Climb {
    pose: PixelPose,
    here: NormalEquations,
    /// The pose that is asked for.
    candidate: Option<PixelPose>,
    damping: f64,
    evaluations: u32,
}

impl Climb {
    /// From `start`.
    pub fn new(start: PixelPose) -> Self {
        Self {
            pose: start,
            here: NormalEquations::default(),
            candidate: Some(start),
            damping: FIRST_DAMPING,
            evaluations: 0,
        }
    }

    /// Where logL and its derivatives are wanted; `None` at the end.
    pub fn next_pose(&self) -> Option<PixelPose> {
        self.candidate
    }

    /// Takes logL and its derivatives at [`Climb::next_pose`], priors included.
    pub fn tell(&mut self, there: NormalEquations, extent: &Extent) {
        let Some(candidate) = self.candidate.take() else { return };
        self.evaluations += 1;
        if self.evaluations == 1 {
            self.here = there;
        } else {
            let gain = there.log_likelihood - self.here.log_likelihood;
            if gain > 0.0 {
                (self.pose, self.here) = (candidate, there);
                self.damping *= 0.2;
                if gain < LAST_GAIN_NATS {
                    return;
                }
            } else {
                if gain > -LAST_GAIN_NATS {
                    return;
                }
                self.damping = 10.0 * self.damping + 0.01;
            }
        }
        if self.evaluations < MAX_EVALUATIONS {
            let step = step(&self.here, self.damping, extent);
            self.candidate = step.map(|step| moved(self.pose, &step));
        }
    }

    /// The best pose found.
    pub fn end(self) -> Alignment {
        Alignment {
            pose: self.pose,
            log_likelihood: self.here.log_likelihood,
            hessian: self.here.hessian,
            evaluations: self.evaluations,
        }
    }
}

/// The damped step, shortened to what the band can bear; `None` where the Hessian says nothing.
fn step(here: &NormalEquations, damping: f64, extent: &Extent) -> Option<[f64; PARAMETERS]> {
    let mut h = SMatrix::<f64, PARAMETERS, PARAMETERS>::from_fn(|a, b| here.hessian[a][b]);
    for a in 0..PARAMETERS {
        h[(a, a)] *= 1.0 + damping;
    }
    let step = h.cholesky()?.solve(&SVector::<f64, PARAMETERS>::from(here.gradient));
    let turn = step.fixed_rows::<3>(0).norm() * extent.rmax / LONGEST_TURN / 2.0;
    let shift = step.fixed_rows::<2>(3).norm() * extent.rmax / (LONGEST_SHIFT * extent.box_px as f64);
    let excess = turn.max(shift).max(1.0);
    let step = step / excess;
    step.iter().all(|v| v.is_finite()).then(|| step.into())
}

/// The pose after a step: `R exp([w]×)`, t + dt.
fn moved(pose: PixelPose, step: &[f64; PARAMETERS]) -> PixelPose {
    let [wx, wy, wz, tx, ty] = *step;
    PixelPose {
        rotation: pose.rotation * Rotation::from_rotation_vector([wx, wy, wz]),
        shift_px: [pose.shift_px[0] + tx, pose.shift_px[1] + ty],
    }
}

/// The best `keep` of the ends of climbs, no two of which are the same pose at this band, best first.
pub fn best_distinct(mut found: Vec<Alignment>, keep: usize, extent: &Extent) -> Vec<Alignment> {
    found.sort_by(|a, b| b.log_likelihood.total_cmp(&a.log_likelihood));
    let mut kept: Vec<Alignment> = Vec::with_capacity(keep.min(found.len()));
    for end in found {
        if kept.len() < keep && !kept.iter().any(|other| is_same(&other.pose, &end.pose, extent)) {
            kept.push(end);
        }
    }
    kept
}

/// Whether two poses are the same at this band.
fn is_same(a: &PixelPose, b: &PixelPose, extent: &Extent) -> bool {
    let turn = a.rotation.angle_to_rad(b.rotation) * extent.rmax / TAU;
    let shift = (a.shift_px[0] - b.shift_px[0]).hypot(a.shift_px[1] - b.shift_px[1]) * extent.rmax
        / extent.box_px as f64;
    turn < SAME_POSE && shift < SAME_POSE
}
