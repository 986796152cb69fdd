//! From references and images to poses: search, refinement, and what is left over as noise.

use super::chunks::Chunks;
use super::data::{Data, scrambled};
use super::schedule::{Radii, SEARCH_WORTHWHILE, shifts};
use super::state::{ParticleState, State};
use crate::{Ctx, StageError};
use ndarray::Array3;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use vitreous_compute::directions::{Directions, symmetric_angle_rad};
use vitreous_compute::fourier::{HalfImage, HalfVolume};
use vitreous_compute::likelihood::{ImageModel, LatticeCtf, spectrum_at};
use vitreous_compute::ops::align::{
    Align, AlignImage, AlignLevel, Alignment, PixelPose, ShellSums, ShiftPrior,
};
use vitreous_compute::ops::pose_search::{
    PoseSearch, Scoring, SearchImage, Truncation, ViewScores, ViewsRequest,
};
use vitreous_jobs::refine_homogeneous::{RefineHomogeneous, Search};
use vitreous_model::half_set::HalfSet;
use vitreous_model::pose::{Pose, Rotation};

/// Candidates of the search that are refined in the first iterations …
const FIRST_CANDIDATES: usize = 8;
/// … and later, beside the last pose.
const LATER_CANDIDATES: usize = 3;

/// Poses that go on from the first band of the refinement to the last: at weak signals the first one cannot tell which is
/// right, and with two of them particles stayed in wrong modes (apoferritin, BENCHMARKS.md).
const COARSE_KEPT: usize = 4;
/// Poses that come out of the last band: the modes with which a particle may enter the map.
const MODES_KEPT: usize = 2;

/// Candidates are at least this many steps of the grid apart.
const SEPARATION_STEPS: f64 = 1.6;

/// A pose that turned by more than this many steps of the grid has jumped.
const JUMP_STEPS: f64 = 0.5;

/// A second pose with less of the evidence than this is left out: it would cost an insertion and change nothing.
const LEAST_SHARE: f64 = 0.05;

/// First shell that tells amplitudes: below it the ice's gradient and the mask have their say.
const LEAST_FIT_SHELL: usize = 3;

/// Chunks from which the first reference's amplitude is found.
const CALIBRATION_CHUNKS: usize = 4;

/// CTFs of which the mean square is taken.
const CTF_SAMPLE: usize = 64;

/// Why a device could not do its part.
fn device_error(error: impl std::fmt::Display) -> StageError {
    StageError::input(error.to_string(), "")
}

/// The reference of one half, prepared.
pub struct Reference<D: PoseSearch> {
    slicer: D::Slicer,
    views: Option<D::Views>,
}

/// One iteration's work on particles.
pub struct Expectation<'a, D: PoseSearch + Align> {
    pub device: &'a D,
    pub data: &'a Data,
    pub params: &'a RefineHomogeneous,
    pub state: &'a State,
    pub radii: Radii,
    pub references: [Reference<D>; 2],
}

/// What came of a chunk.
pub struct ChunkOutcome {
    /// Its particles.
    pub particles: Vec<ParticleState>,
    /// Mean residual power by shell of the working box, summed over particles, per half and group: `[half · groups + group][shell]`.
    pub residual: Vec<Vec<f64>>,
    /// Cross term and norm term of each particle at its pose with amplitude 1, where the reference is well known, nats.
    pub fits: Vec<[f64; 2]>,
}

/// A map whose transform has the values of `map`'s, on another box of the same edge.
pub fn on_working_box(map: &Array3<f32>, box_px: usize) -> Array3<f32> {
    let n = map.dim().0;
    if n == box_px {
        return map.clone();
    }
    let ratio = (n as f64 / box_px as f64).powi(3) as f32;
    HalfVolume::of_box(map.view()).resized(box_px).into_box() * ratio
}

/// An image's transform cropped to a working box, values kept.
pub fn cropped(image: &HalfImage, box_px: usize) -> HalfImage {
    let n = image.nx();
    let mut out = image.resized(box_px, box_px);
    let factor = (n as f64 / box_px as f64).powi(2) as f32;
    if box_px != n {
        out.data_mut().mapv_inplace(|value| value * factor);
    }
    out
}

impl<'a, D: PoseSearch + Align> Expectation<'a, D> {
    /// Prepares the references of `state`, for searching with `scoring` if given.
    ///
    /// # Errors
    /// A reference the device refuses.
    pub fn new(
        device: &'a D,
        data: &'a Data,
        params: &'a RefineHomogeneous,
        state: &'a State,
        radii: Radii,
        scoring: Option<Scoring>,
    ) -> Result<Self, StageError> {
        let iteration = state.iteration + 1;
        let pixel_a = data.geometry.pixel_in(radii.box_px);
        let directions =
            Directions::new(params.angular_step, params.symmetry, grid_orientation(params.seed, iteration));
        let grid = shifts(iteration, params.shift_range, pixel_a, radii.box_px, radii.search);
        let ctf_power = mean_ctf_power(data);
        let prepare = |half: HalfSet| -> Result<Reference<D>, StageError> {
            let map = on_working_box(&(&state.maps[half.index()] * &state.mask), radii.box_px);
            let slicer = device
                .slicer(map.view(), params.padding_of(radii.box_px), 0.5 * radii.box_px as f64)
                .map_err(device_error)?;
            let views = match scoring {
                None => None,
                Some(scoring) => {
                    let request = ViewsRequest {
                        rmax: radii.search,
                        diameter_px: (data.geometry.diameter_a / pixel_a).min(radii.box_px as f64),
                        directions: &directions,
                        shifts: &grid,
                        ctf_power: &ctf_power,
                        noise: &state.noise[half.index() * data.group_count],
                        truncation: Truncation::default(),
                        scoring,
                        evidence: false,
                    };
                    Some(device.prepare_views(&slicer, &request).map_err(device_error)?)
                }
            };
            Ok(Reference { slicer, views })
        };
        Ok(Self {
            device,
            data,
            params,
            state,
            radii,
            references: [prepare(HalfSet::One)?, prepare(HalfSet::Two)?],
        })
    }

    fn pixel_a(&self) -> f64 {
        self.data.geometry.pixel_in(self.radii.box_px)
    }

    /// Whether nothing is known of poses yet.
    fn is_first(&self) -> bool {
        self.state.iteration == 0 && self.params.search == Search::Global
    }

    fn model<'b>(&'b self, which: usize, image: &'b HalfImage) -> ImageModel<'b> {
        ImageModel {
            image,
            ctf: self.data.ctf(which),
            pixel_size_a: self.pixel_a(),
            noise: &self.state.noise[self.data.noise_index(which)],
            amplitude: self.state.amplitudes[self.data.amplitude_index(which)],
        }
    }

    fn last_pose(&self, which: usize) -> PixelPose {
        let pose = self.state.particles[which].pose;
        PixelPose { rotation: pose.rotation, shift_px: pose.shift_a.map(|a| a / self.pixel_a()) }
    }

    /// Poses from which each particle is refined, best guess first.
    fn starts(
        &self,
        half: HalfSet,
        which: &[usize],
        images: &[HalfImage],
        count: usize,
    ) -> Vec<Vec<PixelPose>> {
        let last = |which: usize| if self.is_first() { Vec::new() } else { vec![self.last_pose(which)] };
        let Some(views) = &self.references[half.index()].views else {
            return which.iter().map(|&which| last(which)).collect();
        };
        let sigma_px =
            if self.is_first() { self.state.shift_sigma_a / self.pixel_a() } else { f64::INFINITY };
        let searched: Vec<SearchImage<'_>> = which
            .iter()
            .zip(images)
            .map(|(&which, image)| SearchImage {
                model: self.model(which, image),
                centre_px: if self.is_first() { [0.0, 0.0] } else { self.last_pose(which).shift_px },
                shift_sigma_px: sigma_px,
            })
            .collect();
        let scores = self.device.score_views(views, &searched);
        let geometry = self.device.geometry(views);
        let separation = (SEPARATION_STEPS * self.params.angular_step).to_radians();
        let found = |(index, scores): (usize, &ViewScores)| {
            let mut starts = last(which[index]);
            let candidates = scores.candidates(geometry, searched[index].centre_px, count, separation);
            starts
                .extend(candidates.iter().map(|c| PixelPose { rotation: c.rotation, shift_px: c.shift_px }));
            starts
        };
        scores.par_iter().enumerate().map(found).collect()
    }

    /// New poses of a chunk's particles `range`, whose whole-box transforms are `images`.
    pub fn of_chunk(&self, range: std::ops::Range<usize>, images: &[HalfImage]) -> ChunkOutcome {
        let shells = self.radii.box_px / 2 + 1;
        let mut particles = vec![ParticleState::unknown(); range.len()];
        let mut residual = vec![vec![0.0; shells]; self.state.noise.len()];
        let mut fits = vec![[0.0; 2]; range.len()];
        for half in HalfSet::BOTH {
            let which: Vec<usize> = range.clone().filter(|&which| self.data.halves[which] == half).collect();
            let images: Vec<HalfImage> = which
                .par_iter()
                .map(|&which| cropped(&images[which - range.start], self.radii.box_px))
                .collect();
            let found = self.of_half(half, &which, &images);
            for ((&which, particle), found) in which.iter().zip(found.0).zip(&found.1) {
                particles[which - range.start] = particle;
                fits[which - range.start] = self.fit(which, found);
                let sums = &mut residual[self.data.noise_index(which)];
                let power = found.residual.iter().zip(&found.points);
                sums.iter_mut().zip(power).for_each(|(sum, (value, points))| *sum += value / points.max(1.0));
            }
        }
        ChunkOutcome { particles, residual, fits }
    }

    /// What is known of a particle whose best pose is `best`, with the next best one.
    fn refined(
        &self,
        which: usize,
        best: &Alignment,
        next: Option<&Alignment>,
        operators: &[Rotation],
    ) -> ParticleState {
        let pose = |found: &Alignment| Pose {
            rotation: found.pose.rotation,
            shift_a: found.pose.shift_px.map(|px| px * self.pixel_a()),
        };
        let before = self.state.particles[which].pose.rotation;
        let change_deg = if self.is_first() {
            f64::NAN
        } else {
            symmetric_angle_rad(operators, best.pose.rotation, before).to_degrees()
        };
        let share = |next: &Alignment| 1.0 / (1.0 + (best.evidence() - next.evidence()).exp());
        let next = next.filter(|next| self.params.modes > 1 && share(next) > LEAST_SHARE);
        ParticleState {
            pose: pose(best),
            other: next.map_or_else(Pose::default, pose),
            other_share: next.map_or(0.0, share),
            log_likelihood: best.log_likelihood,
            change_deg,
            jumped: change_deg > JUMP_STEPS * self.params.angular_step,
        }
    }

    /// Cross and norm term from sums by shell.
    fn fit(&self, which: usize, sums: &ShellSums) -> [f64; 2] {
        let noise = &self.state.noise[self.data.noise_index(which)];
        let last = self.state.well_resolved.max(LEAST_FIT_SHELL as f64 + 1.0) as usize;
        let over = |list: &[f64]| -> f64 {
            let shells = LEAST_FIT_SHELL..(last + 1).min(list.len());
            shells.map(|shell| list[shell] / spectrum_at(noise, shell as f64)).sum()
        };
        [over(&sums.cross), over(&sums.model)]
    }

    /// New poses of particles of one half, and what images and models have in common at them.
    fn of_half(
        &self,
        half: HalfSet,
        which: &[usize],
        images: &[HalfImage],
    ) -> (Vec<ParticleState>, Vec<ShellSums>) {
        let slicer = &self.references[half.index()].slicer;
        let count = if self.state.iteration < 2 { FIRST_CANDIDATES } else { LATER_CANDIDATES };
        let starts = self.starts(half, which, images, count);
        let prior = ShiftPrior { centre_px: [0.0, 0.0], sigma_px: self.state.shift_sigma_a / self.pixel_a() };
        let image = |index: usize, starts| AlignImage {
            model: self.model(which[index], &images[index]),
            starts,
            prior,
        };
        let requests: Vec<AlignImage<'_>> =
            starts.iter().enumerate().map(|(index, starts)| image(index, starts.as_slice())).collect();
        let levels = [
            AlignLevel { rmax: self.radii.coarse, keep: COARSE_KEPT },
            AlignLevel { rmax: self.radii.full, keep: MODES_KEPT },
        ];
        let aligned = self.device.align(slicer, &levels, &requests);
        let operators = self.params.symmetry.rotations();
        let particles: Vec<ParticleState> = aligned
            .iter()
            .zip(which)
            .map(|(found, &which)| match found.first() {
                None => self.state.particles[which],
                Some(best) => self.refined(which, best, found.get(1), &operators),
            })
            .collect();
        let finals: Vec<[PixelPose; 1]> = aligned
            .iter()
            .zip(which)
            .map(|(found, &which)| [found.first().map_or_else(|| self.last_pose(which), |best| best.pose)])
            .collect();
        let requests: Vec<AlignImage<'_>> =
            finals.iter().enumerate().map(|(index, pose)| image(index, pose.as_slice())).collect();
        (particles, self.device.shell_sums(slicer, self.radii.full, &requests))
    }

    /// The amplitude of the images relative to the references: cross terms over norms at the best poses of a search
    /// that left it free, from the first chunks. `None` if the images do not resemble the reference at all.
    ///
    /// # Errors
    /// Images that cannot be read.
    pub fn amplitude(&self, ctx: &Ctx<'_>, chunks: &Chunks<'_>) -> Result<Option<f64>, StageError> {
        let mut lists = Vec::new();
        chunks.for_each(ctx, CALIBRATION_CHUNKS, |chunk, images| {
            let range = chunks.range(chunk);
            let mut sums = vec![0.0; 2];
            for half in HalfSet::BOTH {
                let which: Vec<usize> =
                    range.clone().filter(|&which| self.data.halves[which] == half).collect();
                let images: Vec<HalfImage> = which
                    .par_iter()
                    .map(|&which| cropped(&images[which - range.start], self.radii.box_px))
                    .collect();
                let starts = self.starts(half, &which, &images, 1);
                let requests: Vec<AlignImage<'_>> = (0..which.len())
                    .map(|index| AlignImage {
                        model: self.model(which[index], &images[index]),
                        starts: &starts[index],
                        prior: ShiftPrior::NONE,
                    })
                    .collect();
                let slicer = &self.references[half.index()].slicer;
                for (found, &which) in
                    self.device.shell_sums(slicer, self.radii.search, &requests).iter().zip(&which)
                {
                    let noise = &self.state.noise[self.data.noise_index(which)];
                    for (shell, (cross, model)) in found.cross.iter().zip(&found.model).enumerate() {
                        let variance = spectrum_at(noise, shell as f64);
                        sums[0] += cross / variance;
                        sums[1] += model / variance;
                    }
                }
            }
            lists.push(sums);
            Ok(())
        })?;
        let all = chunks.share(ctx.comm, &lists, CALIBRATION_CHUNKS);
        let (cross, model) = all.iter().fold((0.0, 0.0), |(a, b), sums| (a + sums[0], b + sums[1]));
        let amplitude = cross / model;
        Ok((amplitude > 0.0 && amplitude.is_finite()).then_some(amplitude))
    }
}

/// Whether another search would pay.
pub fn worth_searching(iteration: u32, jumped: f64) -> bool {
    iteration < 3 || jumped > SEARCH_WORTHWHILE
}

/// A random orientation of the direction grid, from the seed and the iteration.
fn grid_orientation(seed: u64, iteration: u32) -> Rotation {
    let mut rng = ChaCha8Rng::seed_from_u64(scrambled(seed) ^ u64::from(iteration));
    let [w, x, y, z] = [0; 4].map(|_| rng.sample::<f64, _>(rand_distr::StandardNormal));
    Rotation::new(w, x, y, z)
}

/// Mean of c² by shell over a sample of particles, along the x axis.
fn mean_ctf_power(data: &Data) -> Vec<f64> {
    let n = data.geometry.n;
    let stride = data.usable.len().div_ceil(CTF_SAMPLE).max(1);
    let sample: Vec<LatticeCtf> = (0..data.usable.len())
        .step_by(stride)
        .map(|which| LatticeCtf::new(data.ctf(which), n, data.geometry.pixel_size_a))
        .collect();
    (0..n / 2 + 1)
        .map(|shell| {
            let sum: f64 = sample.iter().map(|ctf| f64::from(ctf.value(shell as f64, 0.0)).powi(2)).sum();
            sum / sample.len().max(1) as f64
        })
        .collect()
}
