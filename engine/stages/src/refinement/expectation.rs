//! From references and images to poses: search, refinement, and what is left over as noise.

use super::chunks::Chunks;
use super::classes::{self, Standing};
use super::data::{Data, scrambled};
use super::schedule::{Radii, SEARCH_WORTHWHILE, shifts};
use super::state::{ClassState, Mode, ParticleState, State};
use super::{Locality, Settings};
use crate::{Ctx, StageError};
use ndarray::Array3;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use vitreous_compute::directions::{Directions, symmetric_angle_rad};
use vitreous_compute::fourier::{HalfImage, HalfVolume};
use vitreous_compute::likelihood::{ImageModel, LatticeCtf, spectrum_at};
use vitreous_compute::ops::align::{
    Align, AlignImage, AlignLevel, Alignment, PixelPose, PosePrior, ShellSums,
};
use vitreous_compute::ops::pose_search::{
    PoseSearch, Scoring, SearchImage, Truncation, ViewScores, ViewsRequest,
};
use vitreous_jobs::refinement::Search;
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

/// Iterations in which a local refinement also starts from poses about the one that was given: while the reference is coarse,
/// and the first poses refined to it are of its other particles.
const LOOKS_ABOUT: u32 = 2;

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

/// The reference of one class and half, prepared.
pub struct Reference<D: PoseSearch> {
    slicer: D::Slicer,
    views: Option<D::Views>,
    standing: Standing,
}

/// One iteration's work on particles.
pub struct Expectation<'a, D: PoseSearch + Align> {
    pub device: &'a D,
    pub data: &'a Data,
    pub settings: &'a Settings,
    pub state: &'a State,
    pub radii: Radii,
    operators: Vec<Rotation>,
    /// By half and class: `[half][class]`.
    pub references: [Vec<Reference<D>>; 2],
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
        settings: &'a Settings,
        state: &'a State,
        radii: Radii,
        scoring: Option<Scoring>,
    ) -> Result<Self, StageError> {
        let iteration = state.iteration + 1;
        let pixel_a = data.geometry.pixel_in(radii.box_px);
        let directions = Directions::new(
            settings.angular_step_deg,
            settings.symmetry,
            grid_orientation(settings.seed, iteration),
        );
        let grid = shifts(iteration, settings.shift_range_a, pixel_a, radii.box_px, radii.search);
        let ctf_power = mean_ctf_power(data);
        let prepare =
            |half: HalfSet, class: &ClassState| -> Result<(D::Slicer, Option<D::Views>), StageError> {
                let map = on_working_box(&(&class.maps[half.index()] * &class.mask), radii.box_px);
                let slicer = device
                    .slicer(map.view(), settings.padding_of(radii.box_px), 0.5 * radii.box_px as f64)
                    .map_err(device_error)?;
                // of several classes one may have lost all its particles
                let lives = state.classes.len() == 1 || map.iter().any(|&value| value != 0.0);
                let Some(scoring) = scoring.filter(|_| lives) else { return Ok((slicer, None)) };
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
                let views = device.prepare_views(&slicer, &request).map_err(device_error)?;
                Ok((slicer, Some(views)))
            };
        let standings = standings(data, settings, state, radii.full);
        let of_half = |half: HalfSet| -> Result<Vec<Reference<D>>, StageError> {
            let reference = |(class, &standing): (&ClassState, &Standing)| {
                let (slicer, views) = prepare(half, class)?;
                Ok(Reference { slicer, views, standing })
            };
            state.classes.iter().zip(&standings[half.index()]).map(reference).collect()
        };
        let references = [of_half(HalfSet::One)?, of_half(HalfSet::Two)?];
        let operators = settings.symmetry.rotations();
        Ok(Self { device, data, settings, state, radii, operators, references })
    }

    fn pixel_a(&self) -> f64 {
        self.data.geometry.pixel_in(self.radii.box_px)
    }

    /// Whether nothing is known of poses yet.
    fn is_first(&self) -> bool {
        self.state.iteration == 0 && self.settings.search == Search::Global
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

    fn in_pixels(&self, pose: &Pose) -> PixelPose {
        PixelPose { rotation: pose.rotation, shift_px: pose.shift_a.map(|a| a / self.pixel_a()) }
    }

    /// The pose a particle had in a class, or its best one where it had none there.
    fn last_pose(&self, which: usize, class: usize) -> PixelPose {
        let particle = &self.state.particles[which];
        self.in_pixels(&particle.in_class(class).map_or_else(|| particle.pose(), |mode| mode.pose))
    }

    /// Poses a particle already has that are worth refining in a class: the one it had there, and its best one, where maps
    /// of classes agree in their orientation.
    fn last_poses(&self, which: usize, class: usize) -> Vec<PixelPose> {
        if self.is_first() {
            return Vec::new();
        }
        let (own, best) =
            (self.last_pose(which, class), self.last_pose(which, self.state.particles[which].class()));
        let apart = symmetric_angle_rad(&self.operators, own.rotation, best.rotation).to_degrees();
        if apart > JUMP_STEPS * self.settings.angular_step_deg { vec![own, best] } else { vec![own] }
    }

    /// Poses from which each particle is refined in a class, best guess first.
    fn starts(
        &self,
        half: HalfSet,
        class: usize,
        which: &[usize],
        images: &[HalfImage],
        count: usize,
    ) -> Vec<Vec<PixelPose>> {
        let Some(views) = &self.references[half.index()][class].views else {
            let about = self.settings.locality.filter(|_| self.state.iteration < LOOKS_ABOUT);
            let starts = |&which: &usize| {
                let mut starts = self.last_poses(which, class);
                starts.extend(about.iter().flat_map(|locality| self.about_given(which, locality)));
                starts
            };
            return which.iter().map(starts).collect();
        };
        let sigma_px =
            if self.is_first() { self.state.shift_sigma_a / self.pixel_a() } else { f64::INFINITY };
        let searched: Vec<SearchImage<'_>> = which
            .iter()
            .zip(images)
            .map(|(&which, image)| SearchImage {
                model: self.model(which, image),
                centre_px: if self.is_first() { [0.0, 0.0] } else { self.last_pose(which, class).shift_px },
                shift_sigma_px: sigma_px,
            })
            .collect();
        let scores = self.device.score_views(views, &searched);
        let geometry = self.device.geometry(views);
        let separation = (SEPARATION_STEPS * self.settings.angular_step_deg).to_radians();
        let found = |(index, scores): (usize, &ViewScores)| {
            let mut starts = self.last_poses(which[index], class);
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

    /// What is known of a particle now that these are its poses, the best first, and that one's logL.
    fn refined(&self, which: usize, modes: Vec<Mode>, log_likelihood: f64) -> ParticleState {
        let before = &self.state.particles[which];
        let class = modes.first().map_or(0, |mode| mode.class);
        let change_deg = match modes.first() {
            Some(best) if !self.is_first() => {
                let last = self.last_pose(which, class).rotation;
                symmetric_angle_rad(&self.operators, best.pose.rotation, last).to_degrees()
            }
            _ => f64::NAN,
        };
        ParticleState {
            modes,
            log_likelihood,
            change_deg,
            jumped: change_deg > JUMP_STEPS * self.settings.angular_step_deg,
            moved: !before.modes.is_empty() && class != before.class(),
        }
    }

    fn pose_of(&self, found: &Alignment) -> Pose {
        Pose { rotation: found.pose.rotation, shift_a: found.pose.shift_px.map(|px| px * self.pixel_a()) }
    }

    /// Of the poses found with the one reference the best and the next, if it has its share of the evidence.
    fn of_one_class(&self, which: usize, found: &[Alignment]) -> ParticleState {
        let Some(best) = found.first() else { return self.state.particles[which].clone() };
        let share = |next: &Alignment| 1.0 / (1.0 + (best.evidence() - next.evidence()).exp());
        let next = found.get(1).filter(|next| self.settings.modes > 1 && share(next) > LEAST_SHARE);
        let mode = |found: &Alignment, share| Mode { class: 0, pose: self.pose_of(found), share };
        let rest = next.map_or(0.0, share);
        let modes = [mode(best, 1.0 - rest)].into_iter().chain(next.map(|next| mode(next, rest))).collect();
        self.refined(which, modes, best.log_likelihood)
    }

    /// Of the poses found with the references of all classes, `found[class]`, the best of each, by evidence and without
    /// what the particle tells of itself.
    fn of_classes(&self, which: usize, found: &[&[Alignment]]) -> ParticleState {
        let before = &self.state.particles[which];
        let references = &self.references[self.data.halves[which].index()];
        let evidence = |(class, found): (usize, &&[Alignment])| {
            let Some(best) = found.first() else { return f64::NEG_INFINITY };
            let Standing { log_prior, own_gain } = references[class].standing;
            let had = before.in_class(class).map_or(0.0, |mode| mode.share);
            best.evidence() + log_prior - had * own_gain
        };
        let evidence: Vec<f64> = found.iter().enumerate().map(evidence).collect();
        if evidence.iter().all(|e| !e.is_finite()) {
            return before.clone();
        }
        let shares = classes::shares_of(&evidence, is_young(self.data, self.state));
        let kept: f64 = shares.iter().filter(|&&share| share > classes::LEAST_SHARE).sum();
        let mode = |(class, found): (usize, &&[Alignment])| {
            let share = if shares[class] > classes::LEAST_SHARE { shares[class] / kept } else { 0.0 };
            Some(Mode { class, pose: self.pose_of(found.first()?), share })
        };
        let mut modes: Vec<Mode> = found.iter().enumerate().filter_map(mode).collect();
        // stable, so that of equal shares the lower class comes first
        modes.sort_by(|a, b| b.share.total_cmp(&a.share));
        let best = modes.first().and_then(|best| found[best.class].first());
        let log_likelihood = best.map_or(f64::NAN, |best| best.log_likelihood);
        self.refined(which, modes, log_likelihood)
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

    /// The prior of a particle: about the pose it came with, or on its shift.
    fn prior(&self, which: usize) -> PosePrior {
        let pixel_a = self.pixel_a();
        match (&self.settings.locality, self.data.given_pose(which)) {
            (Some(locality), Some(given)) => PosePrior {
                mean: self.in_pixels(&given),
                rotation_sigma_rad: locality.rotation_sigma_rad,
                shift_sigma_px: locality.shift_sigma_a / pixel_a,
                fulcrum_px: self.data.fulcrum_a.map(|a| a / pixel_a),
            },
            _ => PosePrior::of_shift(self.state.shift_sigma_a / pixel_a),
        }
    }

    /// Poses about the one a particle came with, turned about the fulcrum by as much as the prior thinks usual: the corners
    /// of a cube and the middles of its faces.
    fn about_given(&self, which: usize, locality: &Locality) -> Vec<PixelPose> {
        let prior = self.prior(which);
        let mut turns = Vec::new();
        for [x, y, z] in (0..27).map(|i| [i % 3 - 1, i / 3 % 3 - 1, i / 9 - 1].map(f64::from)) {
            let length = (x * x + y * y + z * z).sqrt();
            if length == 1.0 || length > 1.5 {
                turns.push([x, y, z].map(|v| v / length * locality.rotation_sigma_rad));
            }
        }
        let place = |rotation: Rotation| rotation.inverse().apply(prior.fulcrum_px);
        let before = place(prior.mean.rotation);
        let turned = |turn: [f64; 3]| {
            let rotation = prior.mean.rotation * Rotation::from_rotation_vector(turn);
            let after = place(rotation);
            let shift_px = [0, 1].map(|i| prior.mean.shift_px[i] + before[i] - after[i]);
            PixelPose { rotation, shift_px }
        };
        turns.into_iter().map(turned).collect()
    }

    fn request<'b>(&'b self, which: usize, image: &'b HalfImage, starts: &'b [PixelPose]) -> AlignImage<'b> {
        AlignImage { model: self.model(which, image), starts, prior: self.prior(which) }
    }

    /// New poses of particles of one half, and what images and models have in common at them.
    fn of_half(
        &self,
        half: HalfSet,
        which: &[usize],
        images: &[HalfImage],
    ) -> (Vec<ParticleState>, Vec<ShellSums>) {
        let references = &self.references[half.index()];
        let count = if self.state.iteration < 2 { FIRST_CANDIDATES } else { LATER_CANDIDATES };
        let levels = [
            AlignLevel { rmax: self.radii.coarse, keep: COARSE_KEPT },
            AlignLevel { rmax: self.radii.full, keep: MODES_KEPT },
        ];
        let aligned: Vec<Vec<Vec<Alignment>>> = references
            .iter()
            .enumerate()
            .map(|(class, reference)| {
                let starts = self.starts(half, class, which, images, count);
                let requests: Vec<AlignImage<'_>> = (0..which.len())
                    .map(|index| self.request(which[index], &images[index], &starts[index]))
                    .collect();
                self.device.align(&reference.slicer, &levels, &requests)
            })
            .collect();
        let particle = |(index, &which): (usize, &usize)| match aligned.as_slice() {
            [one] => self.of_one_class(which, &one[index]),
            all => {
                let found: Vec<&[Alignment]> = all.iter().map(|class| class[index].as_slice()).collect();
                self.of_classes(which, &found)
            }
        };
        let particles: Vec<ParticleState> = which.iter().enumerate().map(particle).collect();
        let sums = self.sums_at(references, which, images, &particles);
        (particles, sums)
    }

    /// Sums by shell of each particle at its best pose with the reference of its class.
    fn sums_at(
        &self,
        references: &[Reference<D>],
        which: &[usize],
        images: &[HalfImage],
        particles: &[ParticleState],
    ) -> Vec<ShellSums> {
        let poses: Vec<[PixelPose; 1]> = particles.iter().map(|p| [self.in_pixels(&p.pose())]).collect();
        let mut sums = vec![ShellSums::default(); which.len()];
        for (class, reference) in references.iter().enumerate() {
            let members: Vec<usize> =
                (0..which.len()).filter(|&index| particles[index].class() == class).collect();
            let requests: Vec<AlignImage<'_>> = members
                .iter()
                .map(|&index| self.request(which[index], &images[index], &poses[index]))
                .collect();
            let found = self.device.shell_sums(&reference.slicer, self.radii.full, &requests);
            members.iter().zip(found).for_each(|(&index, found)| sums[index] = found);
        }
        sums
    }

    /// The amplitude of the images relative to the references of each class: cross terms over norms at the best poses of a
    /// search that left it free, from the first chunks. `None` where the images do not resemble the reference at all.
    ///
    /// # Errors
    /// Images that cannot be read.
    pub fn amplitudes(&self, ctx: &Ctx<'_>, chunks: &Chunks<'_>) -> Result<Vec<Option<f64>>, StageError> {
        let count = self.state.classes.len();
        let mut lists = Vec::new();
        chunks.for_each(ctx, CALIBRATION_CHUNKS, |chunk, images| {
            let range = chunks.range(chunk);
            let mut sums = vec![0.0; 2 * count];
            for half in HalfSet::BOTH {
                let which: Vec<usize> =
                    range.clone().filter(|&which| self.data.halves[which] == half).collect();
                let images: Vec<HalfImage> = which
                    .par_iter()
                    .map(|&which| cropped(&images[which - range.start], self.radii.box_px))
                    .collect();
                for (class, sums) in sums.chunks_exact_mut(2).enumerate() {
                    self.add_fits(half, class, &which, &images, sums);
                }
            }
            lists.push(sums);
            Ok(())
        })?;
        let all = chunks.share(ctx.comm, &lists, CALIBRATION_CHUNKS);
        let amplitude = |class: usize| {
            let (cross, model) =
                all.iter().fold((0.0, 0.0), |(a, b), sums| (a + sums[2 * class], b + sums[2 * class + 1]));
            let amplitude = cross / model;
            (amplitude > 0.0 && amplitude.is_finite()).then_some(amplitude)
        };
        Ok((0..count).map(amplitude).collect())
    }

    /// Adds cross and norm term of images of one half at their best poses with a class, in units of the noise.
    fn add_fits(&self, half: HalfSet, class: usize, which: &[usize], images: &[HalfImage], sums: &mut [f64]) {
        let starts = self.starts(half, class, which, images, 1);
        let requests: Vec<AlignImage<'_>> = (0..which.len())
            .map(|index| AlignImage {
                model: self.model(which[index], &images[index]),
                starts: &starts[index],
                prior: PosePrior::NONE,
            })
            .collect();
        let slicer = &self.references[half.index()][class].slicer;
        for (found, &which) in self.device.shell_sums(slicer, self.radii.search, &requests).iter().zip(which)
        {
            let noise = &self.state.noise[self.data.noise_index(which)];
            for (shell, (cross, model)) in found.cross.iter().zip(&found.model).enumerate() {
                let variance = spectrum_at(noise, shell as f64);
                sums[0] += cross / variance;
                sums[1] += model / variance;
            }
        }
    }
}

/// Whether the classes were made by chance a short while ago, so that particles go to the better one as a whole.
fn is_young(data: &Data, state: &State) -> bool {
    data.starts.len() < state.classes.len() && state.classified < classes::ITERATIONS_AS_A_WHOLE
}

/// How the classes stand, `[half][class]`.
fn standings(data: &Data, settings: &Settings, state: &State, last: f64) -> [Vec<Standing>; 2] {
    let count = state.classes.len();
    let occupancies = classes::occupancies(data, &state.particles, count);
    let shares = classes::shares(&occupancies);
    let joined = (data.geometry.edge_a() / settings.join_halves_below_a).floor() as usize + 1;
    let operators = settings.symmetry.rotations().len();
    let is_young = is_young(data, state);
    HalfSet::BOTH.map(|half| {
        let standing = |(class, known): (usize, &ClassState)| {
            let within = f64::from(known.mask.mean().unwrap_or(1.0));
            let particles = occupancies[half.index()][class];
            Standing {
                // one particle more in each, so that an empty class can fill again
                log_prior: if is_young { 0.0 } else { prior(shares[class], data.usable.len(), count).ln() },
                own_gain: classes::own_gain(&known.fsc, joined, last, within, operators, particles),
            }
        };
        state.classes.iter().enumerate().map(standing).collect()
    })
}

/// The share of a class with one particle more in each.
fn prior(share: f64, particles: usize, classes: usize) -> f64 {
    (share * particles as f64 + 1.0) / (particles + classes) as f64
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
