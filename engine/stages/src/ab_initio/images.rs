//! The particle images a run works on: a random subset, cropped in Fourier space to the band it needs.

use crate::particle_images::{ParticleImages, UnfitParticle};
use crate::{Ctx, StageError};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use vitreous_compute::fourier::{HalfImage, next_5_smooth, shell_power};
use vitreous_model::ctf::CtfParams;
use vitreous_model::particle::ParticleSet;

/// More particles than this tell a map of 12 Å nothing new.
const MOST_PARTICLES: usize = 20_000;
/// Fewer cannot make a map.
const LEAST_PARTICLES: usize = 20;
/// Sets of fewer particles are small: none are held out, and every second start has the point group imposed from its
/// first mini-batch on.
pub const SMALL_SET: usize = 500;
/// Fraction of the particles, and the most of them, kept back to judge maps with.
const HELD_OUT: (f64, usize) = (0.1, 300);

/// One particle.
pub struct WorkingImage {
    /// Its transform on the working box, phases from the centre.
    pub image: HalfImage,
    /// Its CTF.
    pub ctf: Option<CtfParams>,
    /// Its number in the set, which seeds its random choices.
    pub id: u64,
}

/// The images of a run.
pub struct WorkingImages {
    /// Those maps are made from, in random order.
    pub training: Vec<WorkingImage>,
    /// Those maps are judged with; none of a small set, which needs all its particles.
    pub held_out: Vec<WorkingImage>,
    /// Edge of the working box, pixels.
    pub box_px: usize,
    /// Pixel size on it, Å.
    pub pixel_size_a: f64,
    /// Mean `|X|²` by shell of all images: the first guess of the noise.
    pub mean_power: Vec<f64>,
    source: ParticleImages,
}

impl WorkingImages {
    /// Reads a particle; `None` for one that cannot be used.
    pub fn read(&self, set: &ParticleSet, index: usize) -> Option<WorkingImage> {
        self.source.has(index).then(|| read_one(&self.source, set, index, self.box_px).ok()).flatten()
    }
}

/// The working box: even, of a fast length, with a margin over the band so that interpolation errors at its edge stay
/// outside.
pub fn working_box(box_px: usize, pixel_size_a: f64, final_resolution_a: f64) -> usize {
    let rmax = box_px as f64 * pixel_size_a / final_resolution_a;
    let wanted = 2.4 * (rmax + 4.0);
    (2 * next_5_smooth((wanted / 2.0).ceil() as usize)).max(32).min(box_px)
}

/// Reads the images. Unfit particles are skipped and listed.
///
/// # Errors
/// Fewer than [`LEAST_PARTICLES`] usable particles, or more unfit than fit ones.
pub fn read(
    ctx: &Ctx<'_>,
    set: &ParticleSet,
    final_resolution_a: f64,
    seed: u64,
) -> Result<WorkingImages, StageError> {
    let (source, mut unfit) = ParticleImages::open_corrected(ctx, set);
    let mut order: Vec<usize> = (0..set.particles.len()).filter(|&index| source.has(index)).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    order.truncate(MOST_PARTICLES);
    let box_px = working_box(source.box_px(), set.pixel_size_a, final_resolution_a);
    let read: Vec<Result<WorkingImage, UnfitParticle>> =
        order.par_iter().map(|&index| read_one(&source, set, index, box_px)).collect();
    let mut training = Vec::with_capacity(read.len());
    for image in read {
        match image {
            Ok(image) => training.push(image),
            Err(particle) => unfit.push(particle),
        }
    }
    unfit.sort_by_key(|particle| particle.index);
    ParticleImages::accept(ctx, &unfit, set.particles.len(), 0.5)?;
    if training.len() < LEAST_PARTICLES {
        return Err(StageError::input(
            format!("{} readable particles are too few for a map", training.len()),
            "pick more particles; some hundreds are needed even for large complexes",
        ));
    }
    let mean_power = mean_power(&training);
    let held_out = if training.len() < SMALL_SET {
        0
    } else {
        ((training.len() as f64 * HELD_OUT.0) as usize).min(HELD_OUT.1)
    };
    let held_out = training.split_off(training.len() - held_out);
    let pixel_size_a = set.pixel_size_a * source.box_px() as f64 / box_px as f64;
    Ok(WorkingImages { training, held_out, box_px, pixel_size_a, mean_power, source })
}

fn read_one(
    source: &ParticleImages,
    set: &ParticleSet,
    index: usize,
    box_px: usize,
) -> Result<WorkingImage, UnfitParticle> {
    let pixels = source.read_fit(index).map_err(|reason| UnfitParticle::of(set, index, reason))?;
    let particle = &set.particles[index];
    let image = HalfImage::of_box(pixels.view()).resized(box_px, box_px);
    Ok(WorkingImage { image, ctf: particle.ctf, id: particle.id })
}

fn mean_power(images: &[WorkingImage]) -> Vec<f64> {
    let spectra: Vec<Vec<f64>> = images.par_iter().map(|image| shell_power(&image.image)).collect();
    let mut mean = vec![0.0; spectra.first().map_or(0, Vec::len)];
    for spectrum in &spectra {
        for (sum, value) in mean.iter_mut().zip(spectrum) {
            *sum += value / spectra.len() as f64;
        }
    }
    // a shell without power would get infinite weight
    let floor = 1e-6 * mean.iter().copied().fold(0.0, f64::max);
    mean.iter_mut().for_each(|value| *value = value.max(floor));
    mean
}
