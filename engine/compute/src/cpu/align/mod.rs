//! CPU twin of [`crate::ops::align`].
//!
//! | file | |
//! |---|---|
//! | `lattice` | the points of a band and an image's values there |
//! | `look_up` | value and gradient of the reference at a block of points |
//! | `normal` | logL and its derivatives |
//! | `simd` | their width, chosen at run time |

pub mod lattice;
pub mod look_up;
pub mod normal;
pub mod simd;

use crate::cpu::pose_search::simd::Simd;
use crate::cpu::project::Projector;
use crate::device::Cpu;
use crate::likelihood::BAND_EDGE_PX;
use crate::ops::align::{
    Align, AlignImage, AlignLevel, Alignment, NormalEquations, PARAMETERS, PixelPose, PosePrior, ShellSums,
};
use lattice::{Lattice, LatticeImage};
use nalgebra::{SMatrix, SVector};
use normal::{Compared, NormalJob};
use rayon::prelude::*;
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

/// A band on the lattice.
struct Band {
    rmax: f64,
    keep: usize,
    window: Vec<f32>,
}

impl Band {
    fn new(lattice: &Lattice, projector: &Projector, level: &AlignLevel) -> Self {
        let reach = projector.grid().radius(0.5 * projector.grid().n() as f64);
        // points come by whole rings, so the ring beyond the edge must be on the grid too
        let rmax = level.rmax.min(reach.floor() - 0.5 * BAND_EDGE_PX).max(1.0);
        Self { rmax, keep: level.keep.max(1), window: lattice.band(rmax) }
    }
}

/// Buffers of one thread.
#[derive(Default)]
struct Workspace {
    image: LatticeImage,
    weights: Vec<f32>,
    compared: Compared,
}

impl Workspace {
    fn set_band(&mut self, band: &Band) {
        self.weights.clear();
        self.weights.extend(band.window.iter().zip(&self.image.over_noise).map(|(w, over)| w * over));
    }
}

/// One image and the reference, in one band.
struct Problem<'a> {
    projector: &'a Projector,
    lattice: &'a Lattice,
    image: &'a LatticeImage,
    weights: &'a [f32],
    prior: PosePrior,
    rmax: f64,
    simd: Simd,
}

impl Problem<'_> {
    fn evaluate(&self, pose: PixelPose) -> NormalEquations {
        let mut found = simd::normal_equations(
            self.simd,
            &NormalJob {
                projector: self.projector,
                lattice: self.lattice,
                image: self.image,
                weights: self.weights,
                pose,
            },
        );
        self.prior.add_to(&pose, &mut found);
        found
    }

    /// Levenberg–Marquardt from `start`.
    fn climb(&self, start: PixelPose) -> Alignment {
        let mut pose = start;
        let mut here = self.evaluate(pose);
        let mut evaluations = 1;
        let mut damping = FIRST_DAMPING;
        while evaluations < MAX_EVALUATIONS {
            let Some(step) = self.step(&here, damping) else { break };
            let candidate = moved(pose, &step);
            let there = self.evaluate(candidate);
            evaluations += 1;
            let gain = there.log_likelihood - here.log_likelihood;
            if gain > 0.0 {
                (pose, here) = (candidate, there);
                damping *= 0.2;
                if gain < LAST_GAIN_NATS {
                    break;
                }
            } else {
                if gain > -LAST_GAIN_NATS {
                    break;
                }
                damping = 10.0 * damping + 0.01;
            }
        }
        Alignment { pose, log_likelihood: here.log_likelihood, hessian: here.hessian, evaluations }
    }

    /// The damped step, shortened to what the band can bear; `None` where the Hessian says nothing.
    fn step(&self, here: &NormalEquations, damping: f64) -> Option<[f64; PARAMETERS]> {
        let mut h = SMatrix::<f64, PARAMETERS, PARAMETERS>::from_fn(|a, b| here.hessian[a][b]);
        for a in 0..PARAMETERS {
            h[(a, a)] *= 1.0 + damping;
        }
        let step = h.cholesky()?.solve(&SVector::<f64, PARAMETERS>::from(here.gradient));
        let turn = step.fixed_rows::<3>(0).norm() * self.rmax / LONGEST_TURN / 2.0;
        let shift =
            step.fixed_rows::<2>(3).norm() * self.rmax / (LONGEST_SHIFT * self.projector.grid().n() as f64);
        let excess = turn.max(shift).max(1.0);
        let step = step / excess;
        step.iter().all(|v| v.is_finite()).then(|| step.into())
    }

    /// Whether two poses are the same at this band.
    fn same(&self, a: &PixelPose, b: &PixelPose) -> bool {
        let turn = a.rotation.angle_to_rad(b.rotation) * self.rmax / TAU;
        let shift = (a.shift_px[0] - b.shift_px[0]).hypot(a.shift_px[1] - b.shift_px[1]) * self.rmax
            / self.projector.grid().n() as f64;
        turn < SAME_POSE && shift < SAME_POSE
    }
}

/// The pose after a step: `R exp([w]×)`, t + dt.
fn moved(pose: PixelPose, step: &[f64; PARAMETERS]) -> PixelPose {
    let [wx, wy, wz, tx, ty] = *step;
    PixelPose {
        rotation: pose.rotation * Rotation::from_rotation_vector([wx, wy, wz]),
        shift_px: [pose.shift_px[0] + tx, pose.shift_px[1] + ty],
    }
}

/// Refines the starts of one image through all bands.
fn align_one(
    projector: &Projector,
    lattice: &Lattice,
    bands: &[Band],
    image: &AlignImage<'_>,
    work: &mut Workspace,
) -> Vec<Alignment> {
    let largest = bands.iter().map(|band| band.window.len()).max().unwrap_or(0);
    if largest == 0 || image.starts.is_empty() {
        return Vec::new();
    }
    work.image.read(lattice, &image.model, largest, largest);
    let mut starts: Vec<(PixelPose, u32)> = image.starts.iter().map(|&pose| (pose, 0)).collect();
    let mut kept: Vec<Alignment> = Vec::new();
    for band in bands {
        work.set_band(band);
        let problem = Problem {
            projector,
            lattice,
            image: &work.image,
            weights: &work.weights,
            prior: image.prior,
            rmax: band.rmax,
            simd: Simd::detect(),
        };
        let mut found: Vec<Alignment> = starts
            .iter()
            .map(|&(pose, spent)| {
                let mut end = problem.climb(pose);
                end.evaluations += spent;
                end
            })
            .collect();
        found.sort_by(|a, b| b.log_likelihood.total_cmp(&a.log_likelihood));
        kept.clear();
        for end in found {
            if kept.len() < band.keep && !kept.iter().any(|other| problem.same(&other.pose, &end.pose)) {
                kept.push(end);
            }
        }
        starts = kept.iter().map(|end| (end.pose, end.evaluations)).collect();
    }
    kept
}

/// Sums by shell of one image at its first start.
fn sums_of(
    projector: &Projector,
    lattice: &Lattice,
    rmax: f64,
    image: &AlignImage<'_>,
    work: &mut Workspace,
) -> ShellSums {
    let n = projector.grid().n();
    let shells = n / 2 + 1;
    let zeros = || vec![0.0; shells];
    let mut sums = ShellSums { residual: zeros(), cross: zeros(), model: zeros(), points: zeros() };
    let Some(pose) = image.starts.first() else { return sums };
    let reach = projector.grid().radius(rmax);
    let modelled = lattice.points_within(reach);
    work.image.read(lattice, &image.model, lattice.points(), modelled);
    let job = NormalJob { projector, lattice, image: &work.image, weights: &work.weights, pose: *pose };
    simd::compare(Simd::detect(), &job, modelled, reach, &mut work.compared);
    let over = if image.model.amplitude == 0.0 { 0.0 } else { 1.0 / image.model.amplitude };
    for (i, &shell) in lattice.shell.iter().enumerate() {
        let shell = (shell as usize).min(shells - 1);
        sums.points[shell] += 1.0;
        if i < modelled && f64::from(lattice.radius[i]) <= reach {
            sums.residual[shell] += f64::from(work.compared.residual[i]);
            sums.cross[shell] += f64::from(work.compared.cross[i]) * over;
            sums.model[shell] += f64::from(work.compared.model[i]) * over * over;
        } else {
            let (re, im) = (f64::from(work.image.re[i]), f64::from(work.image.im[i]));
            sums.residual[shell] += re * re + im * im;
        }
    }
    sums
}

impl Align for Cpu {
    fn align(
        &self,
        slicer: &Projector,
        levels: &[AlignLevel],
        images: &[AlignImage<'_>],
    ) -> Vec<Vec<Alignment>> {
        let lattice = Lattice::new(slicer.grid().n());
        let bands: Vec<Band> = levels.iter().map(|level| Band::new(&lattice, slicer, level)).collect();
        images
            .par_iter()
            .map_init(Workspace::default, |work, image| align_one(slicer, &lattice, &bands, image, work))
            .collect()
    }

    fn normal_equations(
        &self,
        slicer: &Projector,
        rmax: f64,
        images: &[AlignImage<'_>],
    ) -> Vec<NormalEquations> {
        let lattice = Lattice::new(slicer.grid().n());
        let band = Band::new(&lattice, slicer, &AlignLevel { rmax, keep: 1 });
        let one = |work: &mut Workspace, image: &AlignImage<'_>| {
            work.image.read(&lattice, &image.model, band.window.len(), band.window.len());
            work.set_band(&band);
            let problem = Problem {
                projector: slicer,
                lattice: &lattice,
                image: &work.image,
                weights: &work.weights,
                prior: image.prior,
                rmax: band.rmax,
                simd: Simd::detect(),
            };
            image.starts.first().map_or_else(NormalEquations::default, |&pose| problem.evaluate(pose))
        };
        images.par_iter().map_init(Workspace::default, one).collect()
    }

    fn shell_sums(&self, slicer: &Projector, rmax: f64, images: &[AlignImage<'_>]) -> Vec<ShellSums> {
        let lattice = Lattice::new(slicer.grid().n());
        images
            .par_iter()
            .map_init(Workspace::default, |work, image| sums_of(slicer, &lattice, rmax, image, work))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parity;

    #[test]
    fn parity_on_the_cpu() {
        parity::assert_all(&parity::align::run(&Cpu));
    }
}
