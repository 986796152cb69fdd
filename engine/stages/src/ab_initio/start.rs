//! One start: the march from random poses, the halves that check it, and the joint map.

use super::batch::{self, Drawn, Reference, Seeds};
use super::checkpoint::{self, Course, State};
use super::images::{SMALL_SET, WorkingImages};
use super::map_state::{
    PADDING, agreement, filtered_map, grid, map_of, no_sums, remember, without_radial_mean,
};
use super::schedule::{LOCKED_EFFECTIVE_POSES, Phase, Schedule, Step};
use crate::{Ctx, StageError};
use ndarray::Array3;
use rand::RngExt;
use rand::seq::index;
use vitreous_compute::map_alignment::{find_axes, resampled, symmetrised};
use vitreous_compute::ops::insert::{Insert, SliceSums};
use vitreous_compute::ops::pose_search::{PoseSearch, Scoring};
use vitreous_compute::reconstruct::tau2_from_fsc;
use vitreous_jobs::ab_initio::{AbInitio, Impose};
use vitreous_model::event::EventKind;
use vitreous_model::pose::Rotation;
use vitreous_model::symmetry::PointGroup;

/// Mini-batches between two checkpoints.
const CHECKPOINT_EVERY: usize = 10;
/// Where halves stop agreeing.
const LEAST_FSC: f64 = 0.143;
/// Fourier pixels by which the band goes beyond where halves agree, so that it can grow.
const BEYOND_AGREEMENT: f64 = 2.0;

/// What every step of a run needs.
pub struct Job<'a, D> {
    /// Of the run.
    pub ctx: &'a Ctx<'a>,
    /// The device.
    pub device: &'a D,
    /// The parameters.
    pub params: &'a AbInitio,
    /// The particles.
    pub images: &'a WorkingImages,
    /// The plan.
    pub schedule: Schedule,
    /// Everything a checkpoint depends on.
    pub fingerprint: String,
}

impl<D: PoseSearch + Insert> Job<'_, D> {
    /// Starts that are made in any case: of a small set with a point group at least one of either kind.
    pub fn planned_starts(&self) -> usize {
        let starts = self.params.starts as usize;
        if self.takes_turns() { starts.max(2) } else { starts }
    }

    /// Whether a start has the point group imposed from its first mini-batch on.
    pub fn is_imposed_from_start(&self, start: usize) -> bool {
        match self.params.impose {
            Impose::Auto => self.takes_turns() && start % 2 == 1,
            Impose::Start => true,
            Impose::Map => false,
        }
    }

    /// Of small sets nobody can tell beforehand which way leads to the map: weak particles make none without their
    /// symmetry, and strong ones that have it imposed on nothing can end in a mixture of both hands.
    fn takes_turns(&self) -> bool {
        let has_group = self.params.symmetry != PointGroup::C1;
        self.params.impose == Impose::Auto && has_group && self.images.training.len() < SMALL_SET
    }

    /// A start as its checkpoint has it, or a new one.
    pub fn open(&self, start: usize) -> State {
        let grid = grid(self.images.box_px);
        let saved = checkpoint::load(self.ctx, start, &self.fingerprint, grid);
        // every rank must have read the file before rank 0 replaces it
        self.ctx.comm.barrier();
        let fresh = || (0..self.schedule.classes).map(|_| no_sums(grid)).collect();
        saved.unwrap_or_else(|| State { course: Course::default(), sums: fresh() })
    }

    /// Takes a start to the end of its march.
    ///
    /// # Errors
    /// A stop, or particles that cannot be used.
    pub fn march(&self, start: usize, state: &mut State, done: &mut Progress<'_>) -> Result<(), StageError> {
        while state.course.march_end.is_none() {
            self.mini_batch(start, state, Phase::March, 0)?;
            if self.is_marched(start, &state.course) {
                state.course.march_end = Some(state.course.rmax.len());
                state.course.held_out_score = self.held_out_score(start, state)?;
            }
            self.after_batch(start, state, done)?;
        }
        Ok(())
    }

    /// Takes a marched start to its end.
    ///
    /// # Errors
    /// A stop, or particles that cannot be used.
    pub fn finish(&self, start: usize, state: &mut State, done: &mut Progress<'_>) -> Result<(), StageError> {
        while let Some((phase, index)) = self.late_phase(&state.course) {
            self.mini_batch(start, state, phase, index)?;
            self.after_batch(start, state, done)?;
        }
        Ok(())
    }

    /// Phase of the next mini-batch after the march and its number in it; `None` at the end.
    fn late_phase(&self, course: &Course) -> Option<(Phase, usize)> {
        let done = course.rmax.len() - course.march_end?;
        let halves = self.schedule.halves();
        match done {
            _ if done < halves => Some((Phase::Halves, done)),
            _ if done < halves + self.schedule.joint() => Some((Phase::Joint, done - halves)),
            _ => None,
        }
    }

    fn after_batch(&self, start: usize, state: &State, done: &mut Progress<'_>) -> Result<(), StageError> {
        done.one_more(self.ctx);
        let stop = self.stop_everywhere();
        let (batches, marched) = (state.course.rmax.len(), state.course.march_end);
        let is_end =
            marched == Some(batches) || marched.is_some() && self.late_phase(&state.course).is_none();
        if stop || is_end || batches.is_multiple_of(CHECKPOINT_EVERY) {
            checkpoint::save(self.ctx, start, &self.fingerprint, state)?;
            self.ctx.say(EventKind::Checkpoint);
        }
        if stop { Err(StageError::Stopped) } else { Ok(()) }
    }

    /// Whether any rank was asked to stop: all must leave together.
    fn stop_everywhere(&self) -> bool {
        let mut asked = [i64::from((self.ctx.stop)())];
        self.ctx.comm.sum_in_place_i64(&mut asked);
        asked[0] > 0
    }

    fn is_marched(&self, start: usize, course: &Course) -> bool {
        let done = course.rmax.len();
        let locked = course.effective_poses.last().is_some_and(|&n| n < LOCKED_EFFECTIVE_POSES);
        let at_end =
            course.rmax.last().is_some_and(|&rmax| rmax >= self.schedule.planned_rmax(start, done) - 1e-6);
        done >= self.schedule.longest_march() || done >= self.schedule.march() && locked && at_end
    }

    fn mini_batch(
        &self,
        start: usize,
        state: &mut State,
        phase: Phase,
        index: usize,
    ) -> Result<(), StageError> {
        let number = state.course.rmax.len();
        let seeds = Seeds { job: self.params.seed, start: start as u64, batch: number as u64 };
        let rmax = self.next_band(start, &state.course, phase, index);
        let step = match phase {
            Phase::March => self.schedule.march_step(number, rmax),
            Phase::Halves | Phase::Joint => {
                self.schedule.late_step(phase == Phase::Halves && index == 0, rmax)
            }
        };
        let mine = self.dealt(step.size, seeds);
        let group = self.group(start, phase);
        let (drawn, likely) = if number == 0 {
            (self.random_poses(&mine, seeds), f64::from(u16::MAX))
        } else {
            let references = self.references(start, state, phase, index, rmax)?;
            self.draw(&references, rmax, &step, group, &mine, seeds)?
        };
        self.prepare_sums(state, phase, index);
        let band = if phase == Phase::March { rmax } else { self.schedule.last_rmax };
        self.add(state, &step, group, band, &drawn)?;
        if phase == Phase::Halves {
            let halves = state.sums.chunks_exact(2);
            state.course.fsc = halves.map(|half| agreement(half, self.schedule.diameter_px)).collect();
        }
        state.course.rmax.push(rmax);
        state.course.effective_poses.push(likely);
        Ok(())
    }

    fn group(&self, start: usize, phase: Phase) -> PointGroup {
        let imposed = self.is_imposed_from_start(start) || phase != Phase::March;
        if imposed { self.params.symmetry } else { PointGroup::C1 }
    }

    fn next_band(&self, start: usize, course: &Course, phase: Phase, index: usize) -> f64 {
        let schedule = &self.schedule;
        if phase == Phase::March {
            return match (course.rmax.last(), course.effective_poses.last()) {
                (Some(&rmax), Some(&likely)) => schedule.next_rmax(start, course.rmax.len(), rmax, likely),
                _ => schedule.march_from(start),
            };
        }
        if phase == Phase::Halves && index == 0 {
            return schedule.halves_rmax;
        }
        let agreed = course.fsc.iter().map(|fsc| agreed_radius(fsc, LEAST_FSC)).fold(0.0, f64::max);
        (agreed + BEYOND_AGREEMENT).clamp(schedule.halves_rmax, schedule.last_rmax)
    }

    /// This rank's share of a random batch.
    fn dealt(&self, size: usize, seeds: Seeds) -> Vec<usize> {
        let chosen = index::sample(&mut seeds.generator(0), self.images.training.len(), size).into_vec();
        chosen.into_iter().skip(self.ctx.comm.rank()).step_by(self.ctx.comm.size()).collect()
    }

    fn random_poses(&self, mine: &[usize], seeds: Seeds) -> Vec<Drawn> {
        let pose = |&image: &usize| {
            let mut random = seeds.generator(self.images.training[image].id + 1);
            let rotation = batch::random_rotation(&mut random);
            let class = random.random_range(0..self.schedule.classes);
            Drawn { image, class, rotation, shift_px: [0.0; 2], share: 1.0 }
        };
        mine.iter().map(pose).collect()
    }

    /// The maps to search with: by set of particles (all, or the two halves) and class.
    fn references(
        &self,
        start: usize,
        state: &mut State,
        phase: Phase,
        index: usize,
        rmax: f64,
    ) -> Result<Vec<Vec<Array3<f32>>>, StageError> {
        let diameter_px = self.schedule.diameter_px;
        match (phase, index) {
            (Phase::March, _) => {
                let maps =
                    state.sums.iter().map(|sums| without_radial_mean(&map_of(sums, rmax, diameter_px)));
                Ok(vec![maps.collect()])
            }
            (Phase::Halves, 0) => {
                let maps = self.marched_maps(start, state);
                Ok(vec![maps.clone(), maps])
            }
            (Phase::Halves, _) => {
                let map = |(class, half): (usize, usize)| {
                    let sums = &state.sums[2 * class..2 * class + 2];
                    let tau2 = half_tau2(&state.course.fsc[class], sums);
                    filtered_map(&sums[half], &tau2, rmax, diameter_px)
                };
                let classes = self.schedule.classes;
                Ok((0..2).map(|half| (0..classes).map(|class| map((class, half))).collect()).collect())
            }
            (Phase::Joint, _) => Ok(vec![self.maps(state, rmax)]),
        }
    }

    /// The maps of the march at the resolution the halves begin with, turned so that their axes lie where the point group
    /// has them.
    fn marched_maps(&self, start: usize, state: &mut State) -> Vec<Array3<f32>> {
        let (group, schedule) = (self.params.symmetry, &self.schedule);
        if self.is_imposed_from_start(start) || group == PointGroup::C1 {
            let low = |sums: &SliceSums| map_of(sums, schedule.halves_rmax, schedule.diameter_px);
            return state.sums.iter().map(low).collect();
        }
        let rmax = state.course.rmax.last().copied().unwrap_or_else(|| schedule.march_from(start));
        let placed: Vec<_> = state
            .sums
            .iter()
            .map(|sums| {
                let axes = find_axes(map_of(sums, rmax, schedule.diameter_px).view(), group);
                let low = map_of(sums, schedule.halves_rmax, schedule.diameter_px);
                let map = symmetrised(resampled(low.view(), &axes.placement).view(), group);
                (map, axes.correlation)
            })
            .collect();
        state.course.axes = placed.iter().map(|(_, correlation)| *correlation).collect();
        let shown: Vec<String> = state.course.axes.iter().map(|c| format!("{c:.2}")).collect();
        let text = format!("{group}: the map correlates to {} with itself turned", shown.join(", "));
        self.ctx.say(EventKind::Message { text });
        placed.into_iter().map(|(map, _)| map).collect()
    }

    /// The joint maps, filtered by the halves' agreement, up to `rmax` Fourier pixels.
    pub fn maps(&self, state: &State, rmax: f64) -> Vec<Array3<f32>> {
        let map = |class: usize| {
            let fsc = &state.course.fsc[class];
            let has_halves = state.sums.len() == 2 * self.schedule.classes;
            let (sums, tau2) = if has_halves {
                let halves = &state.sums[2 * class..2 * class + 2];
                let mut sums = halves[0].clone();
                sums.add(&halves[1]);
                (sums, half_tau2(fsc, halves))
            } else {
                let sums = state.sums[class].clone();
                let half_weight: Vec<f64> = sums.shell_weight().iter().map(|w| 0.5 * w).collect();
                let tau2 = tau2_from_fsc(&until_fall(fsc), &half_weight, 1.0);
                (sums, tau2)
            };
            filtered_map(&sums, &tau2, rmax, self.schedule.diameter_px)
        };
        (0..self.schedule.classes).map(map).collect()
    }

    /// Makes the list of sums that of a phase.
    fn prepare_sums(&self, state: &mut State, phase: Phase, index: usize) {
        match (phase, index) {
            (Phase::Halves, 0) => {
                let grid = grid(self.images.box_px);
                state.sums = (0..2 * self.schedule.classes).map(|_| no_sums(grid)).collect();
            }
            (Phase::Joint, 0) => {
                let mut halves = std::mem::take(&mut state.sums).into_iter();
                while let (Some(mut sums), Some(other)) = (halves.next(), halves.next()) {
                    sums.add(&other);
                    state.sums.push(sums);
                }
            }
            _ => {}
        }
    }

    /// Draws poses against `references`, by set and class.
    fn draw(
        &self,
        references: &[Vec<Array3<f32>>],
        rmax: f64,
        step: &Step,
        group: PointGroup,
        mine: &[usize],
        seeds: Seeds,
    ) -> Result<(Vec<Drawn>, f64), StageError> {
        let orientation = batch::random_rotation(&mut seeds.generator(0));
        let (mut drawn, mut likely) = (Vec::new(), 0);
        for (set, maps) in references.iter().enumerate() {
            let of_set: Vec<usize> =
                mine.iter().copied().filter(|image| image % references.len() == set).collect();
            let classes = self.prepared(maps, rmax, step, group, orientation, false)?;
            let images = &self.images.training;
            let (poses, count) = batch::draw_poses(self.ctx.comm, &classes, images, &of_set, step, seeds);
            // maps of halves lie side by side
            let slot = |pose: Drawn| Drawn { class: references.len() * pose.class + set, ..pose };
            drawn.extend(poses.into_iter().map(slot));
            likely += count;
        }
        Ok((drawn, batch::mean_likely(self.ctx.comm, likely, mine.len())))
    }

    /// Maps made ready for a search.
    pub fn prepared(
        &self,
        maps: &[Array3<f32>],
        rmax: f64,
        step: &Step,
        group: PointGroup,
        orientation: Rotation,
        evidence: bool,
    ) -> Result<Vec<(Reference<'_, D>, D::Views)>, StageError> {
        let prepare = |(class, map): (usize, &Array3<f32>)| {
            // the search reads a little beyond its band
            let slicer = self.device.slicer(map.view(), PADDING, rmax + 3.0);
            let reference = Reference {
                class,
                device: self.device,
                slicer: slicer.map_err(|error| StageError::input(error.to_string(), ""))?,
                pixel_size_a: self.images.pixel_size_a,
                diameter_px: self.schedule.diameter_px,
                rmax,
                noise: &self.images.mean_power,
                group,
            };
            let views = reference.views(step, orientation, evidence)?;
            Ok((reference, views))
        };
        // of several classes one may have lost all its particles
        let lives =
            |(_, map): &(usize, &Array3<f32>)| maps.len() == 1 || map.iter().any(|&value| value != 0.0);
        maps.iter().enumerate().filter(lives).map(prepare).collect()
    }

    /// Inserts drawn poses into what is left of the sums.
    fn add(
        &self,
        state: &mut State,
        step: &Step,
        group: PointGroup,
        band: f64,
        drawn: &[Drawn],
    ) -> Result<(), StageError> {
        let (images, pixel_size_a) = (&self.images.training, self.images.pixel_size_a);
        let mut shares = Vec::new();
        for (slot, sums) in state.sums.iter_mut().enumerate() {
            let of_slot: Vec<Drawn> = drawn.iter().filter(|pose| pose.class == slot).copied().collect();
            let share: f64 = of_slot.iter().map(|pose| pose.share * batch::DRAWS as f64).sum();
            let mut total = [share.round() as i64];
            self.ctx.comm.sum_in_place_i64(&mut total);
            shares.push(total[0] as f64);
            if total[0] == 0 {
                continue;
            }
            let (device, comm, noise) = (self.device, self.ctx.comm, &self.images.mean_power);
            let batch = batch::insert(device, comm, sums.grid, images, pixel_size_a, noise, band, &of_slot)?;
            remember(sums, step.memory, &batch.to_sums().symmetrised(group));
        }
        let of_class = shares.len() / self.schedule.classes;
        let all: f64 = shares.iter().sum::<f64>().max(1.0);
        state.course.shares =
            shares.chunks_exact(of_class).map(|part| part.iter().sum::<f64>() / all).collect();
        Ok(())
    }

    /// Mean log evidence of the held-out particles, nats; `None` without any.
    fn held_out_score(&self, start: usize, state: &State) -> Result<Option<f64>, StageError> {
        let held_out = &self.images.held_out;
        if held_out.is_empty() {
            return Ok(None);
        }
        let rmax = state.course.rmax.last().copied().unwrap_or(self.schedule.last_rmax);
        let maps: Vec<_> =
            state.sums.iter().map(|sums| map_of(sums, rmax, self.schedule.diameter_px)).collect();
        // one band for all starts, so that scores can be compared
        let last = self.schedule.last_rmax;
        let step = Step { scoring: Scoring::Likelihood, ..self.schedule.late_step(true, last) };
        let classes =
            self.prepared(&maps, last, &step, self.group(start, Phase::March), Rotation::IDENTITY, true)?;
        let (rank, size) = (self.ctx.comm.rank(), self.ctx.comm.size());
        let mine: Vec<_> = held_out.iter().skip(rank).step_by(size).collect();
        let evidence = batch::log_evidence(&classes, maps.len(), &mine);
        // exact sums, whatever the number of ranks
        let nats = |scores: &Vec<f64>| {
            let score = batch::log_mean_exp(scores);
            if score.is_finite() { (score * 1e6) as i64 } else { 0 }
        };
        let mut total = [evidence.iter().map(nats).sum::<i64>()];
        self.ctx.comm.sum_in_place_i64(&mut total);
        Ok(Some(total[0] as f64 / 1e6 / held_out.len() as f64))
    }
}

/// Mini-batches done of those planned.
pub struct Progress<'a> {
    /// Done.
    pub done: u64,
    /// Planned.
    pub total: &'a u64,
}

impl Progress<'_> {
    fn one_more(&mut self, ctx: &Ctx<'_>) {
        self.done += 1;
        ctx.say(EventKind::Progress { done: self.done.min(*self.total), total: *self.total });
    }
}

/// Where an FSC first falls under `threshold`, Fourier pixels.
pub fn agreed_radius(fsc: &[f64], threshold: f64) -> f64 {
    let fall = (1..fsc.len()).find(|&shell| fsc[shell] < threshold).unwrap_or(fsc.len());
    if fall <= 1 || fall >= fsc.len() {
        return (fall - 1) as f64;
    }
    let (above, below) = (fsc[fall - 1], fsc[fall]);
    fall as f64 - 1.0 + (above - threshold) / (above - below).max(1e-9)
}

/// An FSC that is nothing from where it first falls under [`LEAST_FSC`]: what it does later is chance.
fn until_fall(fsc: &[f64]) -> Vec<f64> {
    let fall = agreed_radius(fsc, LEAST_FSC).ceil() as usize + BEYOND_AGREEMENT as usize;
    fsc.iter().enumerate().map(|(shell, &value)| if shell <= fall { value } else { 0.0 }).collect()
}

fn half_tau2(fsc: &[f64], halves: &[SliceSums]) -> Vec<f64> {
    let weights = halves[0].shell_weight().into_iter().zip(halves[1].shell_weight());
    let weight: Vec<f64> = weights.map(|(a, b)| 0.5 * (a + b)).collect();
    tau2_from_fsc(&until_fall(fsc), &weight, 1.0)
}
