//! Control of the refinement of poses ([`crate::ops::align`]) by Levenberg–Marquardt: damping, steps, when a climb ends,
//! and which of an image's poses go on from band to band.
//!
//! Nothing is evaluated here: a device asks each [`Climb`] for the pose at which it wants the normal equations and gives
//! it what it found there, one climb after another or all of them in step.

use crate::ops::align::{Alignment, NormalEquations, PARAMETERS, PixelPose};
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

/// What climbs must know of their band.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClimbBand {
    /// End of the band, Fourier pixels.
    pub rmax: f64,
    /// How many of an image's best poses go on from here.
    pub keep: usize,
    /// Box edge, pixels.
    pub box_px: usize,
}

impl ClimbBand {
    /// Whether two poses are the same at this band.
    fn same(&self, a: &PixelPose, b: &PixelPose) -> bool {
        let turn = a.rotation.angle_to_rad(b.rotation) * self.rmax / TAU;
        let shift = (a.shift_px[0] - b.shift_px[0]).hypot(a.shift_px[1] - b.shift_px[1]) * self.rmax
            / self.box_px as f64;
        turn < SAME_POSE && shift < SAME_POSE
    }
}

/// Levenberg–Marquardt from one start in one band.
#[derive(Debug, Clone, PartialEq)]
pub struct Climb {
    band: ClimbBand,
    /// The best pose so far, and what was found there.
    best: PixelPose,
    here: NormalEquations,
    proposal: Option<PixelPose>,
    damping: f64,
    evaluations: u32,
    /// Evaluations in bands before.
    spent: u32,
}

impl Climb {
    /// From `start`, for which `spent` evaluations were made in other bands.
    fn new(band: ClimbBand, (start, spent): (PixelPose, u32)) -> Self {
        let here = NormalEquations::default();
        let proposal = Some(start);
        Self { band, best: start, here, proposal, damping: FIRST_DAMPING, evaluations: 0, spent }
    }

    /// Where the climb wants the normal equations; `None` when it has ended.
    pub fn proposal(&self) -> Option<PixelPose> {
        self.proposal
    }

    /// Goes on with the normal equations at [`Climb::proposal`], prior included.
    pub fn take(&mut self, there: NormalEquations) {
        let Some(candidate) = self.proposal.take() else { return };
        let gain = there.log_likelihood - self.here.log_likelihood;
        self.evaluations += 1;
        if self.evaluations == 1 {
            self.here = there;
        } else if gain > 0.0 {
            (self.best, self.here) = (candidate, there);
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
        if self.evaluations < MAX_EVALUATIONS {
            self.proposal = self.step().map(|step| moved(self.best, &step));
        }
    }

    /// The damped step, shortened to what the band can bear; `None` where the Hessian says nothing.
    fn step(&self) -> Option<[f64; PARAMETERS]> {
        let mut h = SMatrix::<f64, PARAMETERS, PARAMETERS>::from_fn(|a, b| self.here.hessian[a][b]);
        for a in 0..PARAMETERS {
            h[(a, a)] *= 1.0 + self.damping;
        }
        let step = h.cholesky()?.solve(&SVector::<f64, PARAMETERS>::from(self.here.gradient));
        let turn = step.fixed_rows::<3>(0).norm() * self.band.rmax / LONGEST_TURN / 2.0;
        let shift =
            step.fixed_rows::<2>(3).norm() * self.band.rmax / (LONGEST_SHIFT * self.band.box_px as f64);
        let excess = turn.max(shift).max(1.0);
        let step = step / excess;
        step.iter().all(|v| v.is_finite()).then(|| step.into())
    }

    /// The best pose.
    fn end(&self) -> Alignment {
        Alignment {
            pose: self.best,
            log_likelihood: self.here.log_likelihood,
            hessian: self.here.hessian,
            evaluations: self.spent + self.evaluations,
        }
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

/// The climbs of one image through all bands: for each, [`Ascent::begin`], the climbs to their ends, [`Ascent::finish`].
#[derive(Debug, Clone, PartialEq)]
pub struct Ascent {
    /// Poses to begin the next band with, and the evaluations spent on them.
    starts: Vec<(PixelPose, u32)>,
    climbs: Vec<Climb>,
    kept: Vec<Alignment>,
}

impl Ascent {
    /// From the poses `starts`.
    pub fn new(starts: &[PixelPose]) -> Self {
        let starts = starts.iter().map(|&pose| (pose, 0)).collect();
        Self { starts, climbs: Vec::new(), kept: Vec::new() }
    }

    /// Begins a climb in `band` from each pose that was kept.
    pub fn begin(&mut self, band: ClimbBand) {
        self.climbs = self.starts.iter().map(|&start| Climb::new(band, start)).collect();
    }

    /// The climbs of the band.
    pub fn climbs(&self) -> &[Climb] {
        &self.climbs
    }

    /// The climbs of the band, to give them what was found.
    pub fn climbs_mut(&mut self) -> &mut [Climb] {
        &mut self.climbs
    }

    /// Keeps the best poses of the band, each once.
    pub fn finish(&mut self) {
        let Some(band) = self.climbs.first().map(|climb| climb.band) else { return };
        let mut found: Vec<Alignment> = self.climbs.drain(..).map(|climb| climb.end()).collect();
        found.sort_by(|a, b| b.log_likelihood.total_cmp(&a.log_likelihood));
        self.kept.clear();
        for end in found {
            if self.kept.len() < band.keep && !self.kept.iter().any(|other| band.same(&other.pose, &end.pose))
            {
                self.kept.push(end);
            }
        }
        self.starts = self.kept.iter().map(|end| (end.pose, end.evaluations)).collect();
    }

    /// The poses kept in the last band, best first.
    pub fn into_kept(self) -> Vec<Alignment> {
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A parabola in the shift with its summit at (2, -1), 10 nats high.
    fn parabola(pose: PixelPose) -> NormalEquations {
        let [x, y] = [pose.shift_px[0] - 2.0, pose.shift_px[1] + 1.0];
        let mut found =
            NormalEquations { log_likelihood: 10.0 - 2.0 * (x * x + y * y), ..Default::default() };
        (found.gradient[3], found.gradient[4]) = (-4.0 * x, -4.0 * y);
        for a in 0..PARAMETERS {
            found.hessian[a][a] = 4.0;
        }
        found
    }

    fn climbed(ascent: &mut Ascent, at: impl Fn(PixelPose) -> NormalEquations) -> u32 {
        let mut asked = 0;
        for climb in ascent.climbs_mut() {
            while let Some(pose) = climb.proposal() {
                climb.take(at(pose));
                asked += 1;
            }
        }
        asked
    }

    #[test]
    fn a_summit_is_found_and_poses_that_meet_there_are_one() {
        let start = |x: f64| PixelPose { rotation: Rotation::IDENTITY, shift_px: [x, 0.0] };
        let mut ascent = Ascent::new(&[start(0.0), start(3.0), start(1.0)]);
        let mut asked = 0;
        for rmax in [8.0, 16.0] {
            ascent.begin(ClimbBand { rmax, keep: 3, box_px: 64 });
            asked += climbed(&mut ascent, parabola);
            ascent.finish();
        }
        let kept = ascent.into_kept();
        assert_eq!(kept.len(), 1);
        assert!((kept[0].log_likelihood - 10.0).abs() < 0.02, "{kept:?}");
        assert!(kept[0].evaluations < asked && kept[0].evaluations >= 4, "{kept:?} of {asked}");
    }

    #[test]
    fn climbs_end_where_nothing_is_known_and_where_nothing_gains() {
        let band = ClimbBand { rmax: 8.0, keep: 1, box_px: 64 };
        let mut ascent = Ascent::new(&[PixelPose::default()]);
        ascent.begin(band);
        assert_eq!(climbed(&mut ascent, |_| NormalEquations::default()), 1);
        ascent.begin(band);
        let mut worse = 0.0;
        let mut asked = 0;
        while let Some(pose) = ascent.climbs()[0].proposal() {
            worse -= 1.0;
            asked += 1;
            ascent.climbs_mut()[0].take(NormalEquations { log_likelihood: worse, ..parabola(pose) });
        }
        assert_eq!(asked, MAX_EVALUATIONS);
        ascent.finish();
        let kept = ascent.into_kept();
        assert_eq!((kept[0].pose, kept[0].log_likelihood), (PixelPose::default(), -1.0));
    }
}
