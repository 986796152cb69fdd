//! Goes through this rank's particles and inserts each into the grid of its half.

use crate::particle_images::ParticleImages;
use crate::{Ctx, StageError};
use rand::{RngExt, SeedableRng};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use vitreous_compute::fourier::HalfImage;
use vitreous_compute::ops::grid::PaddedGrid;
use vitreous_compute::ops::insert::{FixedPoint, Insert, InsertError, SliceSums};
use vitreous_compute::slices::{Ewald, PosedImage, SliceBuffer};
use vitreous_model::event::EventKind;
use vitreous_model::half_set::HalfSet;
use vitreous_model::particle::{Particle, ParticleSet};

/// Images read and inserted at once.
const AT_ONCE: usize = 128;
/// Images whose largest coefficient sets the scale of the sums.
const SAMPLE: usize = 256;
/// Coefficients may exceed the largest of the sample by this factor; images beyond are left out as outliers.
const HEADROOM: f64 = 100.0;

/// The sums of both halves, and what could not be used.
pub struct Accumulated {
    /// By half.
    pub sums: [SliceSums; 2],
    /// Particles inserted, by half.
    pub counts: [usize; 2],
    /// Particles left out, in the order of the set.
    pub left_out: Vec<LeftOut>,
}

/// A particle that was left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Its place in the set.
    pub index: usize,
    /// Why.
    pub reason: String,
}

/// The half of a particle: its own, or a throw of a coin that depends on the seed and its number only.
pub fn half_of(particle: &Particle, seed: u64) -> HalfSet {
    particle.half.unwrap_or_else(|| {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(particle.id);
        HalfSet::BOTH[usize::from(rng.random::<bool>())]
    })
}

/// How images are inserted.
#[derive(Debug, Clone, Copy)]
pub struct Insertion {
    /// Largest radius, Fourier pixels.
    pub rmax: f64,
    /// Padding of the grid.
    pub padding: f64,
    /// Curvature of the Ewald sphere; none for flat slices.
    pub ewald: Option<Ewald>,
    /// Seed of the halves of particles that have none.
    pub seed: u64,
}

/// Inserts every particle of `usable` (places in the set, the same on every rank). Every rank returns the sums over all
/// ranks.
///
/// # Errors
/// Asked to stop, or a device that failed.
pub fn accumulate<D: Insert>(
    ctx: &Ctx<'_>,
    device: &D,
    set: &ParticleSet,
    images: &ParticleImages,
    usable: &[usize],
    how: Insertion,
) -> Result<Accumulated, StageError> {
    let Insertion { rmax, padding, ewald, seed } = how;
    let grid = PaddedGrid::for_sums(images.box_px(), padding, rmax);
    let scale = FixedPoint::new(largest_coefficient(ctx, images, usable), 1.0, usable.len() as u64);
    let mine: Vec<usize> = usable.iter().copied().skip(ctx.comm.rank()).step_by(ctx.comm.size()).collect();
    let halves: Result<Vec<_>, _> = HalfSet::BOTH.iter().map(|_| device.accumulator(grid, scale)).collect();
    let (mut halves, mut failure) = match halves {
        Ok(halves) => (halves, None),
        Err(error) => (Vec::new(), Some(cannot_insert(error))),
    };
    let mut left_out = Vec::new();
    let mut counts = [0i64; 2];
    let mut buffer = SliceBuffer::new(ewald);
    ctx.say(EventKind::Phase { name: "insert".into(), total: usable.len() as u64 });
    for (chunk_number, chunk) in mine.chunks(AT_ONCE).enumerate() {
        if failure.is_none() {
            failure = ctx.check_stop().err();
        }
        if failure.is_some() {
            break;
        }
        let read = read_chunk(images, chunk, &scale, &mut left_out);
        for ((half, sums), count) in HalfSet::BOTH.into_iter().zip(&mut halves).zip(&mut counts) {
            let posed: Vec<PosedImage<'_>> = read
                .iter()
                .filter(|(index, _)| half_of(&set.particles[*index], seed) == half)
                .filter_map(|(index, image)| posed(&set.particles[*index], image, set.pixel_size_a))
                .collect();
            match device.insert(sums, &buffer.fill(&grid, rmax, set.pixel_size_a, &posed)) {
                Ok(()) => *count += posed.len() as i64,
                Err(error) => failure = Some(cannot_insert(error)),
            }
        }
        let done = ((chunk_number + 1) * AT_ONCE * ctx.comm.size()).min(usable.len());
        ctx.say(EventKind::Progress { done: done as u64, total: usable.len() as u64 });
    }
    crate::items::agree(ctx, failure)?;
    ctx.comm.sum_in_place_i64(&mut counts);
    let mut sums = Vec::with_capacity(2);
    for half in halves {
        let mut fixed = device.collect(half).map_err(cannot_insert)?;
        ctx.comm.sum_in_place_i64(fixed.data_mut());
        sums.push(fixed.to_sums());
    }
    let sums: [SliceSums; 2] = sums
        .try_into()
        .map_err(|_| StageError::input("the sums of a half are missing", "please report this"))?;
    Ok(Accumulated { sums, counts: counts.map(|count| count as usize), left_out: gathered(ctx, left_out) })
}

/// Reads and transforms images; those that cannot be used are listed.
fn read_chunk(
    images: &ParticleImages,
    chunk: &[usize],
    scale: &FixedPoint,
    left_out: &mut Vec<LeftOut>,
) -> Vec<(usize, HalfImage)> {
    let limit = scale.largest_numerator();
    let read_one = |&index: &usize| -> Result<(usize, HalfImage), LeftOut> {
        let pixels = images.read(index).map_err(|error| LeftOut { index, reason: error.to_string() })?;
        let image = HalfImage::of_box(pixels.view());
        let largest = largest_of(&image);
        if largest <= limit {
            Ok((index, image))
        } else {
            let reason = format!(
                "its largest Fourier coefficient, {largest:.3e}, is over {HEADROOM} times that of the others; \
                 is the image normalised?"
            );
            Err(LeftOut { index, reason })
        }
    };
    let read: Vec<_> = chunk.par_iter().map(read_one).collect();
    read.into_iter().filter_map(|result| result.map_err(|bad| left_out.push(bad)).ok()).collect()
}

fn posed<'a>(particle: &'a Particle, image: &'a HalfImage, pixel_size_a: f64) -> Option<PosedImage<'a>> {
    particle.pose.map(|pose| PosedImage {
        image,
        ctf: particle.ctf.as_ref(),
        rotation: pose.rotation,
        shift_px: pose.shift_a.map(|t| t / pixel_size_a),
        // the noise cancels: it weighs all coefficients of a shell alike
        noise: &[],
        amplitude: 1.0,
        share: 1.0,
    })
}

fn largest_of(image: &HalfImage) -> f64 {
    image.data().iter().map(|v| f64::from(v.re.abs().max(v.im.abs()))).fold(0.0, f64::max)
}

/// The largest coefficient that the sums must hold, from a sample spread over the set; the same on every rank.
fn largest_coefficient(ctx: &Ctx<'_>, images: &ParticleImages, usable: &[usize]) -> f64 {
    let step = usable.len().div_ceil(SAMPLE).max(1);
    let sample: Vec<usize> =
        usable.iter().copied().step_by(step).skip(ctx.comm.rank()).step_by(ctx.comm.size()).collect();
    let mut largest: Vec<f64> = sample
        .par_iter()
        .filter_map(|&index| images.read(index).ok())
        .map(|pixels| largest_of(&HalfImage::of_box(pixels.view())))
        .collect();
    // the median image, so that an outlier in the sample does not set the scale
    largest.sort_by(f64::total_cmp);
    let median = largest.get(largest.len() / 2).copied().unwrap_or(0.0);
    HEADROOM * ctx.comm.max(median)
}

fn cannot_insert(error: InsertError) -> StageError {
    StageError::input(error.to_string(), "if memory is short, ask for more or lower max_resolution")
}

/// What all ranks left out, in the order of the set, on every rank.
fn gathered(ctx: &Ctx<'_>, mine: Vec<LeftOut>) -> Vec<LeftOut> {
    let bytes = serde_json::to_vec(&mine).expect("names and reasons should be JSON");
    let mut all: Vec<LeftOut> = ctx
        .comm
        .gather(&bytes)
        .iter()
        .flat_map(|bytes| {
            serde_json::from_slice::<Vec<LeftOut>>(bytes).expect("ranks should send what they wrote")
        })
        .collect();
    all.sort_by_key(|bad| bad.index);
    let mut bytes = serde_json::to_vec(&all).expect("names and reasons should be JSON");
    ctx.comm.broadcast(0, &mut bytes);
    serde_json::from_slice(&bytes).expect("rank 0 should send what it wrote")
}
