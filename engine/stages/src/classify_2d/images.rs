//! The images of a run, cropped in Fourier space to the band that is used, read on demand and kept while there is room.

use crate::particle_images::{ParticleImages, UnfitParticle};
use crate::particle_sets::optics_groups;
use crate::ranks::{share, share_records};
use crate::{Ctx, StageError};
use rayon::prelude::*;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use vitreous_compute::fourier::{HalfImage, next_5_smooth, shell_power};
use vitreous_compute::likelihood::band_end;
use vitreous_model::ctf::CtfParams;
use vitreous_model::event::EventKind;
use vitreous_model::particle::ParticleSet;

/// Particles read and classified together.
pub const CHUNK: usize = 256;

/// Transforms are kept in memory up to this many bytes per rank.
const CACHE_BYTES: usize = 1 << 30;

/// Fourier pixels of the working box beyond the band, so that interpolation errors at its edge stay outside.
const BOX_MARGIN_PX: usize = 8;

/// Rings beyond the finest band that images are summed on.
pub const SUM_MARGIN: usize = 3;

/// See the module.
pub struct WorkingImages<'a> {
    set: &'a ParticleSet,
    images: ParticleImages,
    /// Places in the set of the particles that can be used.
    pub usable: Vec<usize>,
    /// Optics group of each usable particle, from 0.
    pub groups: Vec<usize>,
    /// Number of optics groups in use.
    pub group_count: usize,
    /// Edge of the working box, pixels.
    pub box_px: usize,
    /// Pixel size on it, Å.
    pub pixel_size_a: f64,
    /// Mean `|X|²` by shell of the images of each group: the first guess of the noise.
    pub power: Vec<Vec<f64>>,
    cache: Mutex<HashMap<usize, Arc<WorkingImage>>>,
    cache_limit: usize,
}

/// One image on the working box.
#[derive(Debug)]
pub struct WorkingImage {
    /// Transform, phases from the centre.
    pub transform: HalfImage,
    /// Its power by shell.
    pub power: Vec<f64>,
}

/// The working box for a band that ends at `rmax` Fourier pixels of a box of `box_px`.
pub fn working_box(box_px: usize, rmax: f64) -> usize {
    let wanted = 2 * (band_end(rmax) + SUM_MARGIN + BOX_MARGIN_PX);
    (2 * next_5_smooth(wanted.div_ceil(2))).min(box_px)
}

impl<'a> WorkingImages<'a> {
    /// Opens the images and reads each once: those that cannot be read or hold nothing are skipped and listed.
    ///
    /// # Errors
    /// More unfit particles than allowed; a request to stop.
    pub fn survey(
        ctx: &Ctx<'_>,
        set: &'a ParticleSet,
        rmax: f64,
        max_bad_fraction: f64,
    ) -> Result<Self, StageError> {
        let (images, mut unfit) = ParticleImages::open_corrected(ctx, set);
        images.bring_near(ctx);
        let any_ctf = set.particles.iter().any(|particle| particle.ctf.is_some());
        for (index, particle) in set.particles.iter().enumerate() {
            if any_ctf && particle.ctf.is_none() && images.has(index) {
                unfit.push(UnfitParticle::of(set, index, "its CTF was never estimated"));
            }
        }
        let box_px = working_box(images.box_px(), rmax);
        let all: Vec<usize> = (0..set.particles.len()).collect();
        let (all_groups, group_count) = optics_groups(set, &all);
        let mut working = Self {
            pixel_size_a: set.pixel_size_a * images.box_px() as f64 / box_px as f64,
            cache_limit: CACHE_BYTES / (box_px * (box_px / 2 + 1) * 8),
            set,
            images,
            usable: Vec::new(),
            groups: Vec::new(),
            group_count,
            box_px,
            power: Vec::new(),
            cache: Mutex::default(),
        };
        let bad: HashSet<usize> = unfit.iter().map(|particle| particle.index).collect();
        unfit.extend(working.read_all(ctx, &bad, &all_groups)?);
        unfit.sort_by_key(|particle| particle.index);
        ParticleImages::accept(ctx, &unfit, set.particles.len(), max_bad_fraction)?;
        let bad: HashSet<usize> = unfit.iter().map(|particle| particle.index).collect();
        working.usable = (0..set.particles.len()).filter(|index| !bad.contains(index)).collect();
        working.groups = working.usable.iter().map(|&index| all_groups[index]).collect();
        Ok(working)
    }

    /// Reads every image once; ranks share the work and what they find. Fills the groups' power.
    fn read_all(
        &mut self,
        ctx: &Ctx<'_>,
        known_bad: &HashSet<usize>,
        groups: &[usize],
    ) -> Result<Vec<UnfitParticle>, StageError> {
        let total = self.set.particles.len();
        ctx.say(EventKind::Phase { name: "reading images".into(), total: total as u64 });
        let shells = self.box_px / 2 + 1;
        let chunks = total.div_ceil(CHUNK);
        let width = self.group_count * (shells + 1);
        let mut sums: Vec<f64> = Vec::new();
        let mut reasons: Vec<(usize, String)> = Vec::new();
        for chunk in (ctx.comm.rank()..chunks).step_by(ctx.comm.size()) {
            ctx.check_stop()?;
            let range = chunk * CHUNK..((chunk + 1) * CHUNK).min(total);
            let fit: Vec<usize> = range.filter(|index| !known_bad.contains(index)).collect();
            let found: Vec<Result<Arc<WorkingImage>, String>> =
                fit.par_iter().map(|&index| self.image(index)).collect();
            let mut chunk_sums = vec![0.0; width];
            for (&index, found) in fit.iter().zip(found) {
                match found {
                    Ok(image) => {
                        let at = groups[index] * (shells + 1);
                        let sums = &mut chunk_sums[at..at + shells + 1];
                        sums.iter_mut().zip(&image.power).for_each(|(sum, power)| *sum += power);
                        sums[shells] += 1.0;
                    }
                    Err(reason) => reasons.push((index, reason)),
                }
            }
            sums.extend(chunk_sums);
            let done = ((chunk + 1) * CHUNK).min(total) as u64;
            ctx.say(EventKind::Progress { done, total: total as u64 });
        }
        self.power = group_power(&share(ctx.comm, &sums), chunks, self.group_count, shells);
        let reasons = share_records(ctx, &reasons)?;
        Ok(reasons.into_iter().map(|(index, reason)| UnfitParticle::of(self.set, index, reason)).collect())
    }

    /// The image of a particle of the set, kept from earlier or read now.
    fn image(&self, index: usize) -> Result<Arc<WorkingImage>, String> {
        let lock = || self.cache.lock().expect("keeping images should not panic");
        if let Some(image) = lock().get(&index) {
            return Ok(image.clone());
        }
        let pixels = self.images.read_fit(index)?;
        let transform = HalfImage::of_box(pixels.view()).resized(self.box_px, self.box_px);
        let power = shell_power(&transform);
        let image = Arc::new(WorkingImage { transform, power });
        let mut cache = lock();
        if cache.len() < self.cache_limit {
            cache.insert(index, image.clone());
        }
        Ok(image)
    }

    /// The images of usable particles, in order.
    ///
    /// # Errors
    /// An image that could be read before and cannot any more.
    pub fn read(&self, which: &[usize]) -> Result<Vec<Arc<WorkingImage>>, StageError> {
        let one = |&which: &usize| {
            let index = self.usable[which];
            self.image(index).map_err(|reason| {
                let item = UnfitParticle::of(self.set, index, reason);
                StageError::input(
                    format!("{}: {}", item.item, item.reason),
                    "was the stack changed meanwhile?",
                )
            })
        };
        which.par_iter().map(one).collect()
    }

    /// CTF of a usable particle.
    pub fn ctf(&self, which: usize) -> Option<&CtfParams> {
        self.set.particles[self.usable[which]].ctf.as_ref()
    }

    /// Mean power of all groups, each counting as its particles.
    pub fn mean_power(&self) -> Vec<f64> {
        let shells = self.power.first().map_or(0, Vec::len);
        let mut mean = vec![0.0; shells];
        for &group in &self.groups {
            mean.iter_mut().zip(&self.power[group]).for_each(|(sum, power)| *sum += power);
        }
        mean.iter().map(|sum| sum / self.groups.len().max(1) as f64).collect()
    }
}

/// Mean power per group from the chunks' sums of all ranks, added in the order of chunks. A shell without power gets a
/// little, so that it can be divided by.
fn group_power(shared: &[Vec<f64>], chunks: usize, groups: usize, shells: usize) -> Vec<Vec<f64>> {
    let width = groups * (shells + 1);
    let mut total = vec![0.0; width];
    for chunk in 0..chunks {
        let numbers = &shared[chunk % shared.len()][chunk / shared.len() * width..];
        total.iter_mut().zip(numbers).for_each(|(sum, value)| *sum += value);
    }
    let of_group = |sums: &[f64]| {
        let mean: Vec<f64> = sums[..shells].iter().map(|sum| sum / sums[shells].max(1.0)).collect();
        let floor = (1e-6 * mean.iter().copied().fold(0.0, f64::max)).max(f64::MIN_POSITIVE);
        mean.into_iter().map(|value| value.max(floor)).collect()
    };
    total.chunks_exact(shells + 1).map(of_group).collect()
}
