//! One iteration's pass through its particles: classes, places and sums.

use super::averages::detail_from;
use super::checkpoint::Found;
use super::images::{CHUNK, WorkingImage, WorkingImages};
use super::schedule::{Schedule, Search, Step};
use crate::ranks::share;
use crate::{Ctx, StageError};
use ndarray::Array2;
use std::sync::Arc;
use vitreous_compute::likelihood::ImageModel;
use vitreous_compute::ops::classify2d::{
    Assignment, ClassSums, ClassesRequest, Classify2d, FixedSums, SumsLayout,
};
use vitreous_compute::ops::pose_search::{SearchImage, Truncation};
use vitreous_compute::spectra::shrunk;
use vitreous_model::event::EventKind;

/// Mean of c² over an oscillating CTF; the metric of the radial basis need not be exact.
const MEAN_CTF_POWER: f64 = 0.5;

/// Standard deviation of the prior on shifts, as a part of the range of the wide search.
const SHIFT_SIGMA_OF_RANGE: f64 = 0.5;

/// Power is summed over particles in steps of this part of the noise, as integers.
const POWER_STEPS: f64 = (1u64 << 24) as f64;

/// Particles from which on a group's own noise outweighs that of all.
const ENOUGH_FOR_NOISE: f64 = 300.0;

/// The noise is at least this part of the images' power.
const LEAST_NOISE: f64 = 0.05;

/// What a pass needs.
pub struct Pass<'a, D: Classify2d> {
    /// Surroundings.
    pub ctx: &'a Ctx<'a>,
    /// Device.
    pub device: &'a D,
    /// Images.
    pub images: &'a WorkingImages<'a>,
    /// Plan.
    pub schedule: &'a Schedule,
    /// What this iteration does.
    pub step: &'a Step,
    /// What the sums are over.
    pub layout: &'a SumsLayout,
    /// Noise per optics group.
    pub noise: &'a [Vec<f64>],
    /// What is known of every particle.
    pub known: &'a [Option<Found>],
}

/// What came of it.
pub struct Outcome {
    /// Sums of all ranks.
    pub sums: ClassSums,
    /// By particle of the batch, in its order.
    pub found: Vec<Found>,
    /// Noise per optics group.
    pub noise: Vec<Vec<f64>>,
    /// Mean number of poses the posterior of a particle was spread over.
    pub effective_poses: f64,
}

/// Sums over particles of the images' power and of what the classes explain of it, `[group][shell]`.
struct Powers {
    sums: Vec<i64>,
    counts: Vec<i64>,
    shells: usize,
}

impl<D: Classify2d> Pass<'_, D> {
    /// Goes through the particles of `batch` with the class averages; images are added on `rings` rings.
    ///
    /// # Errors
    /// Averages without signal, an image that cannot be read any more.
    pub fn run(
        &self,
        averages: &[Array2<f32>],
        batch: &[usize],
        rings: usize,
    ) -> Result<Outcome, StageError> {
        let searches = [self.schedule.wide(self.step.rmax), self.schedule.narrow(self.step.rmax)];
        let mean_noise = self.mean_noise();
        let prepare = |search: &Search| self.prepare(averages, search, &mean_noise, rings);
        let classes = [prepare(&searches[0])?, prepare(&searches[1])?];
        let mut sums = FixedSums::zeros(self.layout.clone());
        let mut powers = Powers::new(self.noise.len(), self.images.box_px / 2 + 1);
        let mut numbers = Vec::new();
        let chunks: Vec<&[usize]> = batch.chunks(CHUNK).collect();
        let (rank, size) = (self.ctx.comm.rank(), self.ctx.comm.size());
        let mine: Vec<usize> = (rank..chunks.len()).step_by(size).collect();
        let mut next = mine.first().map(|&chunk| self.images.read(chunks[chunk])).transpose()?;
        for (position, &chunk) in mine.iter().enumerate() {
            self.ctx.check_superseded()?;
            let Some(images) = next.take() else { break };
            let ahead = mine.get(position + 1).copied();
            let (assigned, read) = rayon::join(
                || self.classify(&classes, chunks[chunk], &images, &mut sums),
                || ahead.map(|chunk| self.images.read(chunks[chunk])).transpose(),
            );
            next = read?;
            for ((&which, image), assigned) in chunks[chunk].iter().zip(&images).zip(&assigned) {
                powers.add(self.images.groups[which], &image.power, &assigned.explained, &mean_noise);
                numbers.extend(self.found(which, assigned).to_numbers());
                numbers.push(assigned.effective_poses);
            }
            let done = ((chunk + 1) * CHUNK).min(batch.len()) as u64;
            self.ctx.say(EventKind::Progress { done, total: batch.len() as u64 });
        }
        self.ctx.comm.sum_in_place_i64(sums.values_mut());
        self.ctx.comm.sum_in_place_i64(&mut powers.sums);
        self.ctx.comm.sum_in_place_i64(&mut powers.counts);
        let (found, effective_poses) = self.gathered(&numbers, &chunks);
        Ok(Outcome {
            sums: sums.to_sums(),
            found,
            noise: self.new_noise(&powers, &mean_noise),
            effective_poses,
        })
    }

    fn prepare(
        &self,
        averages: &[Array2<f32>],
        search: &Search,
        noise: &[f64],
        rings: usize,
    ) -> Result<D::Classes, StageError> {
        let request = ClassesRequest {
            averages,
            log_prior: &vec![0.0; averages.len()],
            rmax: search.rmax,
            diameter_px: self.schedule.diameter_px,
            shifts: &search.shifts,
            ctf_power: &[MEAN_CTF_POWER],
            noise,
            truncation: Truncation::default(),
            temperature: self.step.temperature,
            layout: self.layout,
            summed_rings: rings,
        };
        self.device.prepare_classes(&request).map_err(|error| {
            StageError::input(error.to_string(), "check that the particles hold signal, then retry")
        })
    }

    /// Classifies a chunk: particles of known place about it, the others over the whole range.
    fn classify(
        &self,
        classes: &[D::Classes; 2],
        chunk: &[usize],
        images: &[Arc<WorkingImage>],
        sums: &mut FixedSums,
    ) -> Vec<Assignment> {
        let mut assigned: Vec<Option<Assignment>> = vec![None; chunk.len()];
        for (narrow, classes) in [false, true].into_iter().zip(classes) {
            let is_narrow = |which: usize| self.step.narrow && self.known[which].is_some();
            let places: Vec<usize> =
                (0..chunk.len()).filter(|&place| is_narrow(chunk[place]) == narrow).collect();
            let search: Vec<SearchImage<'_>> =
                places.iter().map(|&place| self.search_image(chunk[place], &images[place], narrow)).collect();
            // halves only serve to see how far a class agrees with itself
            let halves: Vec<usize> = places.iter().map(|&place| chunk[place] % 2).collect();
            let found = self.device.classify(classes, &search, &halves, sums);
            places.into_iter().zip(found).for_each(|(place, found)| assigned[place] = Some(found));
        }
        assigned.into_iter().flatten().collect()
    }

    fn search_image<'b>(&'b self, which: usize, image: &'b WorkingImage, narrow: bool) -> SearchImage<'b> {
        let place = self.known[which].filter(|_| narrow);
        let model = ImageModel {
            image: &image.transform,
            ctf: self.images.ctf(which),
            pixel_size_a: self.images.pixel_size_a,
            noise: &self.noise[self.images.groups[which]],
            amplitude: 1.0,
        };
        SearchImage {
            model,
            centre_px: place.map_or([0.0; 2], |found| found.shift_a.map(|a| a / self.images.pixel_size_a)),
            shift_sigma_px: if narrow {
                f64::INFINITY
            } else {
                SHIFT_SIGMA_OF_RANGE * self.schedule.shift_range_px
            },
        }
    }

    fn found(&self, which: usize, assigned: &Assignment) -> Found {
        let noise = &self.noise[self.images.groups[which]];
        let coarsest = detail_from(self.schedule.box_px, self.schedule.diameter_px);
        // ring i has radius i + 1, and π r coefficients
        let fine = assigned.explained.iter().enumerate().filter(|(ring, _)| *ring as f64 + 1.0 >= coarsest);
        let detail = fine.map(|(ring, explained)| {
            std::f64::consts::PI * (ring as f64 + 1.0) * explained / noise[ring + 1]
        });
        Found {
            class: assigned.class as u32,
            probability: assigned.probability,
            psi_rad: assigned.psi_rad,
            shift_a: assigned.shift_px.map(|px| px * self.images.pixel_size_a),
            log_evidence: assigned.log_evidence,
            detail: detail.sum(),
        }
    }

    /// What all ranks found, in the order of the batch, and the mean number of effective poses.
    fn gathered(&self, numbers: &[f64], chunks: &[&[usize]]) -> (Vec<Found>, f64) {
        const WIDTH: usize = Found::NUMBERS + 1;
        let shared = share(self.ctx.comm, numbers);
        let mut rest: Vec<&[f64]> = shared.iter().map(Vec::as_slice).collect();
        let mut found = Vec::new();
        let mut effective = 0.0;
        for (index, chunk) in chunks.iter().enumerate() {
            let rank = index % rest.len();
            let (mine, after) = rest[rank].split_at((chunk.len() * WIDTH).min(rest[rank].len()));
            rest[rank] = after;
            for row in mine.as_chunks::<WIDTH>().0 {
                let (poses, numbers) = row.split_last().expect("a row should have numbers");
                effective += poses;
                found.push(Found::from_numbers(numbers.try_into().expect("a row should be a particle's")));
            }
        }
        let count = found.len().max(1) as f64;
        (found, effective / count)
    }

    /// Noise of all groups, each counting as its particles.
    fn mean_noise(&self) -> Vec<f64> {
        let mut mean = vec![0.0; self.noise.first().map_or(0, Vec::len)];
        for &group in &self.images.groups {
            mean.iter_mut().zip(&self.noise[group]).for_each(|(sum, value)| *sum += value);
        }
        mean.iter().map(|sum| sum / self.images.groups.len().max(1) as f64).collect()
    }

    /// Noise as what the classes leave of the images' power. Groups of few particles are drawn towards all.
    fn new_noise(&self, powers: &Powers, mean_noise: &[f64]) -> Vec<Vec<f64>> {
        let all_count = powers.counts.iter().sum::<i64>().max(1) as f64;
        let shells = powers.shells;
        let sum_of = |group: usize, shell: usize| {
            powers.sums[group * shells + shell] as f64 / POWER_STEPS * mean_noise[shell]
        };
        let all: Vec<f64> = (0..shells)
            .map(|shell| (0..self.noise.len()).map(|group| sum_of(group, shell)).sum::<f64>() / all_count)
            .collect();
        (0..self.noise.len())
            .map(|group| {
                let count = powers.counts[group] as f64;
                let own: Vec<f64> = (0..shells).map(|shell| sum_of(group, shell) / count.max(1.0)).collect();
                let floor = self.images.power[group].iter().map(|power| LEAST_NOISE * power);
                let found = shrunk(&own, &all, count, ENOUGH_FOR_NOISE);
                found.into_iter().zip(floor).map(|(value, floor)| value.max(floor)).collect()
            })
            .collect()
    }
}

impl Powers {
    fn new(groups: usize, shells: usize) -> Self {
        Self { sums: vec![0; groups * shells], counts: vec![0; groups], shells }
    }

    /// Adds an image's power less what is explained of it, from ring 1 on, in units of the noise.
    fn add(&mut self, group: usize, power: &[f64], explained: &[f64], noise: &[f64]) {
        let sums = &mut self.sums[group * self.shells..(group + 1) * self.shells];
        for (shell, (sum, power)) in sums.iter_mut().zip(power).enumerate() {
            let explained = shell.checked_sub(1).and_then(|ring| explained.get(ring)).copied().unwrap_or(0.0);
            *sum += ((power - explained) / noise[shell] * POWER_STEPS) as i64;
        }
        self.counts[group] += 1;
    }
}
