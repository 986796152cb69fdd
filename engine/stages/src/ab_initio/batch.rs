//! One mini-batch: poses drawn from the posterior over the grid, and the images inserted with them.

use super::images::WorkingImage;
use super::schedule::Step;
use crate::StageError;
use rand::distr::weighted::WeightedIndex;
use rand::prelude::Distribution;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use vitreous_compute::comm::Comm;
use vitreous_compute::directions::Directions;
use vitreous_compute::fourier::radius_of;
use vitreous_compute::likelihood::{ImageModel, spectrum_at};
use vitreous_compute::ops::grid::PaddedGrid;
use vitreous_compute::ops::insert::{FixedGrid, FixedPoint, Insert};
use vitreous_compute::ops::pose_search::{
    PoseSearch, Scoring, SearchGeometry, SearchImage, ShiftGrid, Truncation, ViewScores, ViewsRequest,
};
use vitreous_compute::slices::{PosedImage, SliceBuffer};
use vitreous_model::pose::Rotation;
use vitreous_model::symmetry::PointGroup;

/// Poses drawn per particle.
const DRAWS: usize = 6;
/// Only the best so many views of a particle can be drawn.
const BEST_VIEWS: usize = 60;
/// How much of a direction's mean score over the batch is taken off before views are compared, while the amplitude is
/// free: it keeps all particles from falling onto the few views with the largest norm.
const BALANCE: f64 = 0.9;
/// Scores are summed over ranks in steps of 2⁻²⁰ nats, exactly, so that the sum does not depend on their number.
const SCORE_STEPS: f64 = (1u64 << 20) as f64;
/// Mean of c² over an oscillating CTF; the metric of the radial basis need not be exact.
const MEAN_CTF_POWER: f64 = 0.5;
/// Images inserted at a time.
const INSERTED_AT_ONCE: usize = 128;
/// Fourier pixels beyond the band that are inserted too: the band grows by at most one a mini-batch, so what it comes to
/// has been summed for some mini-batches.
const BAND_MARGIN: f64 = 4.0;

/// A pose drawn for a particle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drawn {
    /// Place in the list of images.
    pub image: usize,
    /// Orientation.
    pub rotation: Rotation,
    /// Where the particle lies, pixels of the working box.
    pub shift_px: [f64; 2],
    /// Share of the particle's draws that fell on it.
    pub share: f64,
}

/// Which random numbers a choice gets: independent of ranks, threads and of everything drawn before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seeds {
    /// Of the job.
    pub job: u64,
    /// Number of the start.
    pub start: u64,
    /// Number of the mini-batch.
    pub batch: u64,
}

impl Seeds {
    /// The generator for item `id` (a particle, or 0 for the batch itself).
    pub fn generator(&self, id: u64) -> ChaCha8Rng {
        let mut bytes = [0; 32];
        for (chunk, part) in bytes.chunks_exact_mut(8).zip([self.job, self.start, self.batch, id]) {
            chunk.copy_from_slice(&part.to_le_bytes());
        }
        ChaCha8Rng::from_seed(bytes)
    }
}

/// A rotation uniform over all rotations (Shoemake 1992: a normalised Gaussian quaternion is uniform).
pub fn random_rotation(random: &mut ChaCha8Rng) -> Rotation {
    use std::f64::consts::TAU;
    let (u, a, b): (f64, f64, f64) =
        (random.random(), TAU * random.random::<f64>(), TAU * random.random::<f64>());
    let (inner, outer) = ((1.0 - u).sqrt(), u.sqrt());
    Rotation::new(inner * a.sin(), inner * a.cos(), outer * b.sin(), outer * b.cos())
}

/// What a search needs besides the images.
pub struct Reference<'a, D: PoseSearch> {
    /// The device.
    pub device: &'a D,
    /// The map, ready for slicing.
    pub slicer: D::Slicer,
    /// Pixel size of the working box, Å.
    pub pixel_size_a: f64,
    /// Particle diameter, pixels.
    pub diameter_px: f64,
    /// Band, Fourier pixels.
    pub rmax: f64,
    /// Noise variance by shell.
    pub noise: &'a [f64],
    /// Symmetry of the map.
    pub group: PointGroup,
}

impl<D: PoseSearch> Reference<'_, D> {
    /// Prepares the views of a mini-batch, in a grid turned at random.
    ///
    /// # Errors
    /// A reference without signal, or a band that does not fit.
    pub fn views(&self, step: &Step, orientation: Rotation, evidence: bool) -> Result<D::Views, StageError> {
        let box_px = self.device.slicer_grid(&self.slicer).n();
        let directions = Directions::new(step.angular_step_deg, self.group, orientation);
        let shifts = ShiftGrid::disc(step.shift_range_px, ShiftGrid::safe_step_px(box_px, self.rmax));
        let ctf_power = vec![MEAN_CTF_POWER; self.noise.len()];
        let request = ViewsRequest {
            rmax: self.rmax,
            diameter_px: self.diameter_px,
            directions: &directions,
            shifts: &shifts,
            ctf_power: &ctf_power,
            noise: self.noise,
            truncation: Truncation::default(),
            scoring: step.scoring,
            evidence,
        };
        self.device.prepare_views(&self.slicer, &request).map_err(|error| {
            StageError::input(error.to_string(), "check that the particles hold signal, then retry")
        })
    }

    /// The images as the search takes them.
    pub fn search_images<'b>(&'b self, images: &[&'b WorkingImage]) -> Vec<SearchImage<'b>> {
        let image = |image: &&'b WorkingImage| SearchImage {
            model: ImageModel {
                image: &image.image,
                ctf: image.ctf.as_ref(),
                pixel_size_a: self.pixel_size_a,
                noise: self.noise,
                amplitude: 1.0,
            },
            centre_px: [0.0; 2],
            shift_sigma_px: f64::INFINITY,
        };
        images.iter().map(image).collect()
    }
}

/// Poses drawn for this rank's particles of a batch, and how many poses of a particle were still likely on average
/// over all ranks.
pub fn draw_poses<D: PoseSearch>(
    comm: &dyn Comm,
    views: &D::Views,
    reference: &Reference<'_, D>,
    images: &[WorkingImage],
    mine: &[usize],
    step: &Step,
    seeds: Seeds,
) -> (Vec<Drawn>, f64) {
    let chosen: Vec<&WorkingImage> = mine.iter().map(|&index| &images[index]).collect();
    let device = reference.device;
    let scores = device.score_views(views, &reference.search_images(&chosen));
    let geometry = device.geometry(views);
    let offsets = match step.scoring {
        Scoring::FreeAmplitude => mean_scores(comm, &scores, geometry.views()),
        Scoring::Likelihood => vec![0.0; geometry.views()],
    };
    let mut drawn = Vec::new();
    let mut effective = [0, mine.len() as i64];
    for (&index, scores) in mine.iter().zip(&scores) {
        let mut random = seeds.generator(images[index].id + 1);
        let (poses, likely) = draw(scores, geometry, &offsets, step.temperature, &mut random);
        effective[0] += (likely * SCORE_STEPS) as i64;
        drawn.extend(poses.into_iter().map(|(rotation, shift_px, share)| Drawn {
            image: index,
            rotation,
            shift_px,
            share,
        }));
    }
    comm.sum_in_place_i64(&mut effective);
    (drawn, effective[0] as f64 / SCORE_STEPS / effective[1].max(1) as f64)
}

/// [`BALANCE`] times the mean best score of each view over the batch on all ranks.
fn mean_scores(comm: &dyn Comm, scores: &[ViewScores], views: usize) -> Vec<f64> {
    let mut sums = vec![0i64; views + 1];
    for image in scores {
        for (sum, &best) in sums.iter_mut().zip(&image.best) {
            *sum += (f64::from(best) * SCORE_STEPS) as i64;
        }
        sums[views] += 1;
    }
    comm.sum_in_place_i64(&mut sums);
    let count = sums[views].max(1) as f64;
    sums[..views].iter().map(|&sum| BALANCE * sum as f64 / SCORE_STEPS / count).collect()
}

type SharedPose = (Rotation, [f64; 2], f64);

/// Draws poses of one particle by their probability; also the effective number of likely ones, `1/Σp²`.
fn draw(
    scores: &ViewScores,
    geometry: &SearchGeometry,
    offsets: &[f64],
    temperature: f64,
    random: &mut ChaCha8Rng,
) -> (Vec<SharedPose>, f64) {
    let mut views: Vec<(f64, usize)> = scores
        .best
        .iter()
        .zip(offsets)
        .enumerate()
        .map(|(view, (&best, offset))| (f64::from(best) - offset, view))
        .collect();
    views.retain(|(score, _)| score.is_finite());
    views.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    views.truncate(BEST_VIEWS);
    let Some(&(top, _)) = views.first() else { return (Vec::new(), 0.0) };
    let weights: Vec<f64> = views.iter().map(|(score, _)| ((score - top) / temperature).exp()).collect();
    let total: f64 = weights.iter().sum();
    let effective = total * total / weights.iter().map(|w| w * w).sum::<f64>();
    let Ok(distribution) = WeightedIndex::new(&weights) else { return (Vec::new(), 0.0) };
    let mut counts = vec![0usize; views.len()];
    for _ in 0..DRAWS {
        counts[distribution.sample(random)] += 1;
    }
    let poses = views.iter().zip(counts).filter(|(_, count)| *count > 0).map(|(&(_, view), count)| {
        let shift = geometry.shifts.list[usize::from(scores.shift[view])];
        (geometry.rotation(view, scores.psi[view].into()), shift, count as f64 / DRAWS as f64)
    });
    (poses.collect(), effective)
}

/// Inserts images at drawn poses, up to a little over the band `rmax`, and sums over ranks: the same integers on every
/// rank.
///
/// # Errors
/// Images whose values are no numbers.
pub fn insert<D: Insert>(
    device: &D,
    comm: &dyn Comm,
    grid: PaddedGrid,
    images: &[WorkingImage],
    pixel_size_a: f64,
    noise: &[f64],
    rmax: f64,
    drawn: &[Drawn],
) -> Result<FixedGrid, StageError> {
    let fail = |error: vitreous_compute::ops::insert::InsertError| {
        StageError::input(error.to_string(), "the particle images hold values that cannot be used")
    };
    let scale = fixed_point(comm, grid, images, noise, drawn);
    let mut sums = device.accumulator(grid, scale).map_err(fail)?;
    let mut buffer = SliceBuffer::default();
    for chunk in drawn.chunks(INSERTED_AT_ONCE) {
        let posed = |pose: &Drawn| PosedImage {
            image: &images[pose.image].image,
            ctf: images[pose.image].ctf.as_ref(),
            rotation: pose.rotation,
            shift_px: pose.shift_px,
            noise,
            share: pose.share,
        };
        let posed: Vec<PosedImage<'_>> = chunk.iter().map(posed).collect();
        device
            .insert(&mut sums, &buffer.fill(&grid, rmax + BAND_MARGIN, pixel_size_a, &posed))
            .map_err(fail)?;
    }
    let mut sums = device.collect(sums).map_err(fail)?;
    comm.sum_in_place_i64(sums.data_mut());
    Ok(sums)
}

/// The scale of the sums: the same on every rank, from the largest coefficient over the smallest noise.
fn fixed_point(
    comm: &dyn Comm,
    grid: PaddedGrid,
    images: &[WorkingImage],
    noise: &[f64],
    drawn: &[Drawn],
) -> FixedPoint {
    let n = grid.n();
    let mut largest = 0f64;
    let mut seen = usize::MAX;
    for pose in drawn.iter().filter(|pose| std::mem::replace(&mut seen, pose.image) != pose.image) {
        for ((y, x), value) in images[pose.image].image.data().indexed_iter() {
            let ratio = f64::from(value.norm()) / spectrum_at(noise, radius_of(y, x, n, n));
            largest = largest.max(ratio);
        }
    }
    let largest = comm.max(largest);
    let smallest_noise = noise.iter().copied().fold(f64::INFINITY, f64::min);
    let mut images = [drawn.len() as i64];
    comm.sum_in_place_i64(&mut images);
    FixedPoint::new(1.01 * largest, 1.01 / smallest_noise, images[0].max(1) as u64)
}
