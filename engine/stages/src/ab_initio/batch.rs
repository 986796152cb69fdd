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
pub const DRAWS: usize = 6;
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
    /// Map it was drawn from.
    pub class: usize,
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
    /// The class it is the map of.
    pub class: usize,
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

/// Poses drawn for this rank's particles of a batch from the views of all classes, and how many poses of a particle
/// were still likely: the sum over this rank's particles, in [`SCORE_STEPS`].
pub fn draw_poses<D: PoseSearch>(
    comm: &dyn Comm,
    classes: &[(Reference<'_, D>, D::Views)],
    images: &[WorkingImage],
    mine: &[usize],
    step: &Step,
    seeds: Seeds,
) -> (Vec<Drawn>, i64) {
    let chosen: Vec<&WorkingImage> = mine.iter().map(|&index| &images[index]).collect();
    let searched = classes.iter().map(|(reference, views)| {
        let scores = reference.device.score_views(views, &reference.search_images(&chosen));
        let geometry = reference.device.geometry(views);
        let offsets = match step.scoring {
            Scoring::FreeAmplitude => mean_scores(comm, &scores, geometry.views()),
            Scoring::Likelihood => vec![0.0; geometry.views()],
        };
        Searched { class: reference.class, scores, geometry, offsets }
    });
    let searched: Vec<Searched<'_>> = searched.collect();
    let mut drawn = Vec::new();
    let mut effective = 0;
    for (number, &image) in mine.iter().enumerate() {
        let mut random = seeds.generator(images[image].id + 1);
        let (poses, likely) = draw(&searched, number, image, step.temperature, &mut random);
        effective += (likely * SCORE_STEPS) as i64;
        drawn.extend(poses);
    }
    (drawn, effective)
}

/// Log evidence of each image under each of `count` classes, nats: `[image][class]`. The views were prepared for
/// evidence; a class without any has none.
pub fn log_evidence<D: PoseSearch>(
    classes: &[(Reference<'_, D>, D::Views)],
    count: usize,
    images: &[&WorkingImage],
) -> Vec<Vec<f64>> {
    let mut evidence = vec![vec![f64::NEG_INFINITY; count]; images.len()];
    for (reference, views) in classes {
        let geometry = reference.device.geometry(views);
        let scores = reference.device.score_views(views, &reference.search_images(images));
        for (of_image, scores) in evidence.iter_mut().zip(&scores) {
            of_image[reference.class] = scores.log_evidence(geometry);
        }
    }
    evidence
}

/// `ln` of the mean of exp(x).
pub fn log_mean_exp(values: &[f64]) -> f64 {
    let top = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if !top.is_finite() {
        return top;
    }
    top + (values.iter().map(|value| (value - top).exp()).sum::<f64>() / values.len() as f64).ln()
}

/// The mean over all ranks of what [`draw_poses`] counted for `particles` on this one.
pub fn mean_likely(comm: &dyn Comm, likely: i64, particles: usize) -> f64 {
    let mut sums = [likely, particles as i64];
    comm.sum_in_place_i64(&mut sums);
    sums[0] as f64 / SCORE_STEPS / sums[1].max(1) as f64
}

/// Scores of a batch with the views of one class.
struct Searched<'a> {
    class: usize,
    scores: Vec<ViewScores>,
    geometry: &'a SearchGeometry,
    /// By view, taken off its scores.
    offsets: Vec<f64>,
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

/// Draws poses of particle `number` of a batch by their probability; also the effective number of likely ones, `1/Σp²`.
fn draw(
    classes: &[Searched<'_>],
    number: usize,
    image: usize,
    temperature: f64,
    random: &mut ChaCha8Rng,
) -> (Vec<Drawn>, f64) {
    let scored = classes.iter().enumerate().flat_map(|(place, searched)| {
        let best = searched.scores[number].best.iter().zip(&searched.offsets).enumerate();
        best.map(move |(view, (&best, offset))| (f64::from(best) - offset, place, view))
    });
    let mut views: Vec<(f64, usize, usize)> = scored.filter(|(score, ..)| score.is_finite()).collect();
    views.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    views.truncate(BEST_VIEWS);
    let Some(&(top, ..)) = views.first() else { return (Vec::new(), 0.0) };
    let weights: Vec<f64> = views.iter().map(|(score, ..)| ((score - top) / temperature).exp()).collect();
    let total: f64 = weights.iter().sum();
    let effective = total * total / weights.iter().map(|w| w * w).sum::<f64>();
    let Ok(distribution) = WeightedIndex::new(&weights) else { return (Vec::new(), 0.0) };
    let mut counts = vec![0usize; views.len()];
    for _ in 0..DRAWS {
        counts[distribution.sample(random)] += 1;
    }
    let poses = views.iter().zip(counts).filter(|(_, count)| *count > 0).map(|(&(_, place, view), count)| {
        let Searched { class, scores, geometry, .. } = &classes[place];
        let scores = &scores[number];
        Drawn {
            image,
            class: *class,
            rotation: geometry.rotation(view, scores.psi[view].into()),
            shift_px: geometry.shifts.list[usize::from(scores.shift[view])],
            share: count as f64 / DRAWS as f64,
        }
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
            amplitude: 1.0,
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
