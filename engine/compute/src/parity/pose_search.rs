//! Cases of [`crate::ops::pose_search`]: the search against formula (1) summed over the lattice with exact slices.

use super::Outcome;
use super::phantom::{Oracle, Phantom, Truth};
use crate::directions::Directions;
use crate::fourier::HalfImage;
use crate::likelihood::ImageModel;
use crate::ops::pose_search::{
    PoseSearch, Scoring, SearchGeometry, SearchImage, ShiftGrid, Truncation, ViewScores, ViewsRequest,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use vitreous_model::pose::Rotation;
use vitreous_model::symmetry::PointGroup;

/// Root mean square error of logL over views, nats: polar sum 0.3, radial basis 0.25, interpolation of the volume 0.1,
/// in quadrature (measured 0.13 to 0.44).
const RMS_BOUND: f64 = 0.5;

/// Largest error, nats: the same sources at their tails (measured 0.5 to 1.5).
const LARGEST_BOUND: f64 = 2.0;

/// How far the true logL of the pose found may lie under the best of the grid, nats: two errors of nearly equal poses.
const REGRET_BOUND: f64 = 1.0;

/// What is compared in one setting.
pub struct Case {
    /// Name.
    pub name: &'static str,
    /// Box edge, pixels.
    pub n: usize,
    /// End of the band.
    pub rmax: f64,
    /// Step of directions, degrees.
    pub step_deg: f64,
    /// Shifts to try.
    pub shifts: ShiftGrid,
    /// Images.
    pub images: usize,
    /// Energy `2 Σ |P|²/s2` of a slice, nats.
    pub energy: f64,
    /// Amplitude of the particles and of the model.
    pub amplitude: f64,
    /// Whether every pose of the grid is evaluated exactly; else only the winners of every ninth view.
    pub exhaustive: bool,
}

/// The cases: small ones exhaustively (odd box, scaled amplitude), production sizes on samples of the views.
pub fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "box 40, rmax 8, all poses",
            n: 40,
            rmax: 8.0,
            step_deg: 15.0,
            shifts: ShiftGrid::disc(2.0, 2.0),
            images: 4,
            energy: 400.0,
            amplitude: 1.0,
            exhaustive: true,
        },
        Case {
            name: "odd box 45, rmax 9, amplitude 0.7, all poses",
            n: 45,
            rmax: 9.0,
            step_deg: 15.0,
            shifts: ShiftGrid::disc(2.0, 2.0),
            images: 4,
            energy: 800.0,
            amplitude: 0.7,
            exhaustive: true,
        },
        Case {
            name: "box 96, rmax 12",
            n: 96,
            rmax: 12.0,
            step_deg: 7.5,
            shifts: ShiftGrid::disc(4.5, 2.0),
            images: 4,
            energy: 650.0,
            amplitude: 1.0,
            exhaustive: false,
        },
        Case {
            name: "box 96, rmax 24",
            n: 96,
            rmax: 24.0,
            step_deg: 7.5,
            shifts: ShiftGrid::disc(4.5, 2.0),
            images: 4,
            energy: 1300.0,
            amplitude: 1.0,
            exhaustive: false,
        },
    ]
}

/// A case made real: object, images, and how they were made.
pub struct Setting {
    /// The object.
    pub phantom: Phantom,
    /// Images.
    pub images: Vec<HalfImage>,
    /// Their truth.
    pub truths: Vec<Truth>,
    /// s2 by shell (white).
    pub noise: Vec<f64>,
    /// Directions.
    pub directions: Directions,
}

impl Case {
    /// Seeded objects and images.
    pub fn setting(&self) -> Setting {
        let phantom = Phantom::new(self.n, 0.56, 14, 11);
        let variance = phantom.variance_for_energy(self.rmax, self.energy);
        let mut rng = ChaCha8Rng::seed_from_u64(5 + self.n as u64);
        let reach = self.shifts.reach_px().min(4.0);
        let truths: Vec<Truth> = (0..self.images)
            .map(|_| Truth { amplitude: self.amplitude, ..Truth::random(reach, &mut rng) })
            .collect();
        let images = truths.iter().map(|truth| phantom.image(truth, variance, &mut rng)).collect();
        let noise = vec![variance * (self.n * self.n) as f64; self.n / 2 + 1];
        let orientation = Rotation::from_rotation_vector([0.4, -0.3, 0.9]);
        Setting {
            phantom,
            images,
            truths,
            noise,
            directions: Directions::new(self.step_deg, PointGroup::C1, orientation),
        }
    }

    /// What is asked of the device.
    pub fn request<'a>(&'a self, setting: &'a Setting) -> ViewsRequest<'a> {
        ViewsRequest {
            rmax: self.rmax,
            diameter_px: setting.phantom.diameter_px,
            directions: &setting.directions,
            shifts: &self.shifts,
            ctf_power: &[0.5],
            noise: &setting.noise,
            truncation: Truncation::default(),
            scoring: Scoring::Likelihood,
            evidence: self.exhaustive,
        }
    }

    /// The images to search with; every second one counts its shifts from a centre off the middle.
    pub fn search_images<'a>(&self, setting: &'a Setting) -> Vec<SearchImage<'a>> {
        (setting.images.iter().zip(&setting.truths).enumerate())
            .map(|(index, (image, truth))| SearchImage {
                model: ImageModel {
                    image,
                    ctf: truth.ctf.as_ref(),
                    pixel_size_a: setting.phantom.pixel_size_a(),
                    noise: &setting.noise,
                    amplitude: self.amplitude,
                },
                centre_px: if index % 2 == 1 { [1.25, -0.5] } else { [0.0, 0.0] },
                shift_sigma_px: 8.0,
            })
            .collect()
    }
}

/// All cases on one device.
///
/// # Panics
/// When the device refuses a case.
pub fn run<D: PoseSearch>(device: &D) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for case in cases() {
        let setting = case.setting();
        let slicer = device
            .slicer(setting.phantom.volume().view(), 2.0, case.rmax + 2.0)
            .expect("the phantom should be a cube");
        let views = device.prepare_views(&slicer, &case.request(&setting)).expect("the case should be valid");
        let images = case.search_images(&setting);
        let scores = device.score_views(&views, &images);
        compare(&case, &setting, device.geometry(&views), &images, &scores, &mut outcomes);
    }
    outcomes
}

/// Errors of one case against the oracle.
fn compare(
    case: &Case,
    setting: &Setting,
    geometry: &SearchGeometry,
    images: &[SearchImage<'_>],
    scores: &[ViewScores],
    outcomes: &mut Vec<Outcome>,
) {
    let mut errors = Vec::new();
    let mut regrets = Vec::new();
    let mut evidence_errors = Vec::new();
    for (image, scores) in images.iter().zip(scores) {
        let exact = ExactScores { setting, case, geometry, image };
        let stride = if case.exhaustive { 1 } else { 9 };
        let winner = top_view(scores);
        let views: Vec<usize> = (0..geometry.views()).step_by(stride).chain([winner]).collect();
        let exact_best: Vec<(f64, f64, f64)> =
            views.par_iter().map(|&view| exact.of_view(view, scores, case.exhaustive)).collect();
        errors.extend(views.iter().zip(&exact_best).map(|(&v, &(at, _, _))| f64::from(scores.best[v]) - at));
        if case.exhaustive {
            let best = exact_best.iter().map(|&(_, top, _)| top).fold(f64::NEG_INFINITY, f64::max);
            regrets.push(best - exact_best[exact_best.len() - 1].0);
            let sums =
                views.iter().zip(&exact_best).map(|(&v, &(_, _, sum))| f64::from(scores.log_sum[v]) - sum);
            evidence_errors.extend(sums);
        }
    }
    let rms = (errors.iter().map(|e| e * e).sum::<f64>() / errors.len() as f64).sqrt();
    let largest = |list: &[f64]| list.iter().map(|e| e.abs()).fold(0.0, f64::max);
    let mut push = |measure, error, bound| {
        outcomes.push(Outcome { case: case.name.to_string(), measure, error, bound });
    };
    push("rms error of logL, nats", rms, RMS_BOUND);
    push("largest error of logL, nats", largest(&errors), LARGEST_BOUND);
    if case.exhaustive {
        push("logL lost by the winner, nats", largest(&regrets), REGRET_BOUND);
        push("largest error of the log sums, nats", largest(&evidence_errors), LARGEST_BOUND);
    }
}

/// The view with the best score.
fn top_view(scores: &ViewScores) -> usize {
    (0..scores.best.len()).max_by(|&a, &b| scores.best[a].total_cmp(&scores.best[b])).unwrap_or(0)
}

/// The oracle on the poses of a search.
struct ExactScores<'a> {
    setting: &'a Setting,
    case: &'a Case,
    geometry: &'a SearchGeometry,
    image: &'a SearchImage<'a>,
}

impl ExactScores<'_> {
    /// The exact score of the pose found for a view and, if `all`, the best and the log sum of all poses of the view.
    fn of_view(&self, view: usize, scores: &ViewScores, all: bool) -> (f64, f64, f64) {
        let oracle = Oracle {
            phantom: &self.setting.phantom,
            image: self.image.model.image,
            ctf: self.image.model.ctf,
            amplitude: self.image.model.amplitude,
            noise: &self.setting.noise,
            rmax: self.case.rmax,
        };
        let found = (usize::from(scores.psi[view]), usize::from(scores.shift[view]));
        let angles = if all { (0..self.geometry.n_psi).collect() } else { vec![found.0] };
        let shifts: Vec<[f64; 2]> = self
            .geometry
            .shifts
            .list
            .iter()
            .map(|t| [t[0] + self.image.centre_px[0], t[1] + self.image.centre_px[1]])
            .collect();
        let (mut at, mut values) = (f64::NAN, Vec::new());
        for psi in angles {
            let rotation = self.geometry.rotation(view, psi);
            for (shift, value) in oracle.log_likelihoods(rotation, &shifts).into_iter().enumerate() {
                let t = self.geometry.shifts.list[shift];
                let prior = -(t[0] * t[0] + t[1] * t[1]) / (2.0 * self.image.shift_sigma_px.powi(2));
                values.push(value + prior);
                if (psi, shift) == found {
                    at = value + prior;
                }
            }
        }
        let top = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum = top + values.iter().map(|v| (v - top).exp()).sum::<f64>().ln();
        (at, top, sum)
    }
}
