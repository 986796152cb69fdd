//! The sequence: several starts, the best map, its symmetry, the outputs.

use super::batch::{self, Drawn, Reference, Seeds};
use super::checkpoint::{self, Course, Finished};
use super::images::{self, WorkingImages};
use super::map_state::{PADDING, grid, map_of, no_sums, remember, without_radial_mean};
use super::report::{self, Story};
use super::schedule::{CONVERGED_EFFECTIVE_POSES, Schedule, Step};
use crate::{Ctx, StageError};
use ndarray::Array3;
use rand::seq::index;
use vitreous_compute::fourier::resample_volume;
use vitreous_compute::map_alignment::{find_axes, resampled, symmetrised};
use vitreous_compute::ops::insert::{Insert, SliceSums};
use vitreous_compute::ops::pose_search::{PoseSearch, Scoring};
use vitreous_formats::{mrc, table};
use vitreous_jobs::ab_initio::AbInitio;
use vitreous_model::event::EventKind;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::particle::ParticleSet;
use vitreous_model::report::Report;
use vitreous_model::symmetry::PointGroup;

/// Mini-batches between two checkpoints.
const CHECKPOINT_EVERY: usize = 10;
/// Mini-batches with the symmetry imposed, as a fraction of those before.
const SYMMETRIC_FRACTION: f64 = 0.25;
/// What is left of the earlier sums in those.
const SYMMETRIC_MEMORY: f64 = 0.5;
/// A map that correlates less with itself turned does not have the symmetry asked for.
const LEAST_SYMMETRY: f64 = 0.5;

/// Runs the job on one rank.
pub fn run<D: PoseSearch + Insert>(ctx: &Ctx<'_>, device: &D) -> Result<Report, StageError> {
    let params: AbInitio = ctx.params()?;
    let input = ctx.input("particles")?;
    let set = table::particles::read(&input.path)?;
    let diameter_a = params.diameter.unwrap_or(0.8 * f64::from(set.box_px) * set.pixel_size_a);
    check_diameter(diameter_a, &set)?;
    let images = images::read(ctx, &set, params.final_resolution, params.seed)?;
    let schedule =
        Schedule::new(&params, images.box_px, images.pixel_size_a, diameter_a, images.training.len());
    let job = Job { ctx, device, params: &params, images: &images, schedule };
    let fingerprint = fingerprint(&params, &set);
    let mut starts = Vec::new();
    let total = (params.starts as usize * schedule.batches) as u64;
    ctx.say(EventKind::Phase { name: "mini-batches".into(), total });
    for start in 0..params.starts as usize {
        starts.push(job.start(start, &fingerprint)?);
    }
    let best = (0..starts.len())
        .max_by(|&a, &b| starts[a].0.held_out_score.total_cmp(&starts[b].0.held_out_score))
        .expect("validation should ask for at least one start");
    let (finished, sums) = &starts[best];
    let rmax = finished.course.rmax.last().copied().unwrap_or(schedule.last_rmax);
    let map = map_of(sums, rmax, schedule.diameter_px);
    let (map, axes) = job.symmetric(map, rmax, &finished.course)?;
    let full = resample_volume(map.view(), set.box_px as usize);
    write_outputs(ctx, &set, &full)?;
    let finished: Vec<Finished> = starts.into_iter().map(|(finished, _)| finished).collect();
    let story =
        Story { starts: &finished, best, schedule: &schedule, axes, map: &full, set: &set, images: &images };
    Ok(report::report(&params, &story))
}

fn check_diameter(diameter_a: f64, set: &ParticleSet) -> Result<(), StageError> {
    let edge_a = f64::from(set.box_px) * set.pixel_size_a;
    if diameter_a <= edge_a {
        return Ok(());
    }
    Err(StageError::input(
        format!("parameter `diameter` is {diameter_a} Å, larger than the particles' box of {edge_a:.1} Å"),
        "give the diameter of the particle, or extract with a larger box",
    ))
}

/// Everything a checkpoint depends on.
fn fingerprint(params: &AbInitio, set: &ParticleSet) -> String {
    let ids = set.particles.iter().fold(0u64, |hash, p| (hash ^ p.id).wrapping_mul(0x0100_0000_01b3));
    let AbInitio { diameter, batches, initial_resolution, final_resolution, seed, .. } = params;
    format!(
        "1|{diameter:?}|{batches}|{initial_resolution}|{final_resolution}|{seed}|{}|{ids:x}",
        set.particles.len()
    )
}

/// What every step of a run needs.
struct Job<'a, D> {
    ctx: &'a Ctx<'a>,
    device: &'a D,
    params: &'a AbInitio,
    images: &'a WorkingImages,
    schedule: Schedule,
}

impl<D: PoseSearch + Insert> Job<'_, D> {
    /// One start, from its checkpoint if there is one.
    fn start(&self, start: usize, fingerprint: &str) -> Result<(Finished, SliceSums), StageError> {
        let grid = grid(self.images.box_px);
        let saved = checkpoint::load(self.ctx, start, fingerprint, grid);
        // every rank must have read the file before rank 0 replaces it
        self.ctx.comm.barrier();
        let (mut course, mut sums) = match saved {
            Some(saved) => match saved.finished {
                Some(finished) => return Ok((finished, saved.sums)),
                None => (saved.course, saved.sums),
            },
            None => {
                let noise = self.images.mean_power.clone();
                (Course { noise, ..Course::default() }, no_sums(grid))
            }
        };
        while !self.is_over(&course) {
            let number = course.rmax.len();
            self.mini_batch(start, &mut course, &mut sums)?;
            let done = (start * self.schedule.batches + number + 1) as u64;
            let total = u64::from(self.params.starts) * self.schedule.batches as u64;
            self.ctx.say(EventKind::Progress { done: done.min(total), total });
            let stop = self.stop_everywhere();
            if stop || (number + 1) % CHECKPOINT_EVERY == 0 {
                checkpoint::save(self.ctx, start, fingerprint, &course, &sums, None)?;
                self.ctx.say(EventKind::Checkpoint);
            }
            if stop {
                return Err(StageError::Stopped);
            }
        }
        let converged = course.effective_poses.last().is_some_and(|&n| n < CONVERGED_EFFECTIVE_POSES);
        let held_out_score = self.held_out_score(&course, &sums)?;
        let finished = Finished { course, held_out_score, converged };
        checkpoint::save(self.ctx, start, fingerprint, &finished.course, &sums, Some(&finished))?;
        let text = format!("start {}: held-out score {held_out_score:.1} nats per particle", start + 1);
        self.ctx.say(EventKind::Message { text });
        Ok((finished, sums))
    }

    /// Whether any rank was asked to stop: all must leave together.
    fn stop_everywhere(&self) -> bool {
        let mut asked = [i64::from((self.ctx.stop)())];
        self.ctx.comm.sum_in_place_i64(&mut asked);
        asked[0] > 0
    }

    fn is_over(&self, course: &Course) -> bool {
        let done = course.rmax.len();
        let locked = course.effective_poses.last().is_some_and(|&n| n < CONVERGED_EFFECTIVE_POSES);
        let at_end = course.rmax.last().is_some_and(|&rmax| rmax >= self.schedule.last_rmax - 1e-6);
        done >= self.schedule.most_batches() || done >= self.schedule.batches && locked && at_end
    }

    fn mini_batch(&self, start: usize, course: &mut Course, sums: &mut SliceSums) -> Result<(), StageError> {
        let number = course.rmax.len();
        let seeds = Seeds { job: self.params.seed, start: start as u64, batch: number as u64 };
        let rmax = match (course.rmax.last(), course.effective_poses.last()) {
            (Some(&rmax), Some(&likely)) => self.schedule.next_rmax(number, rmax, likely),
            _ => self.schedule.first_rmax,
        };
        let step = self.schedule.step(number, rmax);
        let mine = self.dealt(step.size, seeds);
        let (drawn, likely) = if number == 0 {
            (random_poses(self.images, &mine, seeds), f64::from(u16::MAX))
        } else {
            let map = map_of(sums, rmax, self.schedule.diameter_px);
            self.draw(&map, rmax, &course.noise, &step, PointGroup::C1, &mine, seeds)?
        };
        let batch = batch::insert(
            self.device,
            self.ctx.comm,
            sums.grid,
            &self.images.training,
            self.images.pixel_size_a,
            &course.noise,
            rmax,
            &drawn,
        )?;
        remember(sums, step.memory, &batch.to_sums());
        course.rmax.push(rmax);
        course.effective_poses.push(likely);
        Ok(())
    }

    /// This rank's share of a random batch.
    fn dealt(&self, size: usize, seeds: Seeds) -> Vec<usize> {
        let chosen = index::sample(&mut seeds.generator(0), self.images.training.len(), size).into_vec();
        chosen.into_iter().skip(self.ctx.comm.rank()).step_by(self.ctx.comm.size()).collect()
    }

    fn draw(
        &self,
        map: &Array3<f32>,
        rmax: f64,
        noise: &[f64],
        step: &Step,
        group: PointGroup,
        mine: &[usize],
        seeds: Seeds,
    ) -> Result<(Vec<Drawn>, f64), StageError> {
        let reference = match step.scoring {
            Scoring::Likelihood => self.reference(map, rmax, noise, group)?,
            Scoring::FreeAmplitude => self.reference(&without_radial_mean(map), rmax, noise, group)?,
        };
        let orientation = batch::random_rotation(&mut seeds.generator(0));
        let views = reference.views(step, orientation, false)?;
        let images = &self.images.training;
        Ok(batch::draw_poses(self.ctx.comm, &views, &reference, images, mine, step, seeds))
    }

    fn reference<'b>(
        &'b self,
        map: &Array3<f32>,
        rmax: f64,
        noise: &'b [f64],
        group: PointGroup,
    ) -> Result<Reference<'b, D>, StageError> {
        // the search reads a little beyond its band
        let slicer = self.device.slicer(map.view(), PADDING, rmax + 3.0);
        Ok(Reference {
            device: self.device,
            slicer: slicer.map_err(|error| StageError::input(error.to_string(), ""))?,
            pixel_size_a: self.images.pixel_size_a,
            diameter_px: self.schedule.diameter_px,
            rmax,
            noise,
            group,
        })
    }

    /// Mean log evidence of the held-out particles, nats.
    fn held_out_score(&self, course: &Course, sums: &SliceSums) -> Result<f64, StageError> {
        let rmax = course.rmax.last().copied().unwrap_or(self.schedule.last_rmax);
        let map = map_of(sums, rmax, self.schedule.diameter_px);
        // one noise and one band for all starts, so that scores can be compared
        let reference =
            self.reference(&map, self.schedule.last_rmax, &self.images.mean_power, PointGroup::C1)?;
        let step = Step { scoring: Scoring::Likelihood, ..self.schedule.step(self.schedule.batches, rmax) };
        let orientation = vitreous_model::pose::Rotation::IDENTITY;
        let views = reference.views(&step, orientation, true)?;
        let (rank, size) = (self.ctx.comm.rank(), self.ctx.comm.size());
        let mine: Vec<_> = self.images.held_out.iter().skip(rank).step_by(size).collect();
        let scores = self.device.score_views(&views, &reference.search_images(&mine));
        let geometry = self.device.geometry(&views);
        // exact sums, whatever the number of ranks
        let nats = |score: f64| if score.is_finite() { (score * 1e6) as i64 } else { 0 };
        let mut total = [scores.iter().map(|score| nats(score.log_evidence(geometry))).sum::<i64>()];
        self.ctx.comm.sum_in_place_i64(&mut total);
        Ok(total[0] as f64 / 1e6 / self.images.held_out.len() as f64)
    }

    /// Turns the map so that its axes lie where the point group has them, and goes on with the symmetry imposed.
    /// Returns the correlation of the map with itself under the group.
    fn symmetric(
        &self,
        map: Array3<f32>,
        rmax: f64,
        course: &Course,
    ) -> Result<(Array3<f32>, Option<f64>), StageError> {
        let group = self.params.symmetry;
        if group == PointGroup::C1 {
            return Ok((map, None));
        }
        let axes = find_axes(map.view(), group);
        let text = format!("{group}: the map correlates to {:.2} with itself turned", axes.correlation);
        self.ctx.say(EventKind::Message { text });
        let mut map = symmetrised(resampled(map.view(), &axes.placement).view(), group);
        let mut sums = no_sums(grid(self.images.box_px));
        let more = (SYMMETRIC_FRACTION * self.schedule.batches as f64).ceil() as usize;
        for number in 0..more {
            let batch = (self.schedule.most_batches() + number) as u64;
            let seeds = Seeds { job: self.params.seed, start: u64::MAX, batch };
            let step = self.schedule.step(self.schedule.batches, rmax);
            let mine = self.dealt(step.size, seeds);
            let (drawn, _) = self.draw(&map, rmax, &course.noise, &step, group, &mine, seeds)?;
            let (images, pixel_size_a) = (&self.images.training, self.images.pixel_size_a);
            let (device, comm) = (self.device, self.ctx.comm);
            let batch =
                batch::insert(device, comm, sums.grid, images, pixel_size_a, &course.noise, rmax, &drawn)?;
            remember(&mut sums, SYMMETRIC_MEMORY, &batch.to_sums().symmetrised(group));
            map = map_of(&sums, rmax, self.schedule.diameter_px);
            if self.stop_everywhere() {
                return Err(StageError::Stopped);
            }
        }
        Ok((map, Some(axes.correlation)))
    }
}

/// Whether the map has the symmetry it was asked to have.
pub fn has_symmetry(correlation: f64) -> bool {
    correlation >= LEAST_SYMMETRY
}

fn random_poses(images: &WorkingImages, mine: &[usize], seeds: Seeds) -> Vec<Drawn> {
    let pose = |&image: &usize| {
        let rotation = batch::random_rotation(&mut seeds.generator(images.training[image].id + 1));
        Drawn { image, rotation, shift_px: [0.0; 2], share: 1.0 }
    };
    mine.iter().map(pose).collect()
}

fn write_outputs(ctx: &Ctx<'_>, set: &ParticleSet, map: &Array3<f32>) -> Result<(), StageError> {
    if !ctx.is_root() {
        return Ok(());
    }
    ctx.create_at_path("map.mrc", |path| mrc::write_volume(path, map, set.pixel_size_a))?;
    ctx.create_at_path("particles.h5", |path| table::particles::write(path, set))?;
    let sized =
        |output: Output| Output { pixel_size_a: Some(set.pixel_size_a), box_px: Some(set.box_px), ..output };
    ctx.output(sized(Output::new("volume", Kind::Volume, "map.mrc", 1)));
    let count = set.particles.len() as u64;
    ctx.output(sized(Output::new("particles", Kind::Particles, "particles.h5", count)));
    Ok(())
}
