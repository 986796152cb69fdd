//! The sequence: survey, iterations, outputs.

use super::averages::{Averager, ClassImage, centre_of_mass};
use super::checkpoint::{self, Found, IterationRecord, State};
use super::images::{SUM_MARGIN, WorkingImages};
use super::report::{self, Story};
use super::schedule::Schedule;
use super::step::Pass;
use crate::{Ctx, StageError};
use ndarray::Array2;
use rand::SeedableRng;
use rand::seq::index;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use std::sync::Arc;
use vitreous_compute::fourier::HalfImage;
use vitreous_compute::likelihood::{LatticeCtf, band_end};
use vitreous_compute::ops::classify2d::{ClassSums, Classify2d as ClassifyOp, SumsLayout};
use vitreous_compute::polar::PolarGrid;
use vitreous_formats::{mrc, table};
use vitreous_jobs::classify_2d::Classify2d;
use vitreous_model::class_average::{ClassAverage, ClassAverages};
use vitreous_model::conventions::signed_frequency;
use vitreous_model::event::EventKind;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::params::Validate;
use vitreous_model::particle::{ClassAssignment, ParticleSet};
use vitreous_model::pose::{Pose, Rotation};
use vitreous_model::report::Report;

/// Images that a class begins as.
const FIRST_IMAGES: usize = 4;
/// Added to Σ c² of a first average, so that zeros of the CTF stay quiet.
const FIRST_WIENER: f64 = 0.5;
/// Averages are moved when their centre of mass is further from the middle than this, pixels of the working box.
const LEAST_MOVE_PX: f64 = 0.3;
/// A class with less than this part of the mean number of particles is empty.
const EMPTY_BELOW: f64 = 0.1;
/// At most this part of the classes is filled anew after an iteration.
const MOST_REFILLED: f64 = 0.2;
/// Correlation of halves at which a class counts as resolved.
const RESOLVED_AT: f64 = 0.5;
/// Fewer particles than this per class make no average.
const LEAST_PER_CLASS: usize = 2;

/// Runs the job on one rank.
///
/// # Errors
/// Unfit inputs, images that fail, files that cannot be written, a request to stop.
pub fn run<D: ClassifyOp>(ctx: &Ctx<'_>, device: &D) -> Result<Report, StageError> {
    let params: Classify2d = ctx.params()?;
    params.validate()?;
    let input = ctx.input("particles")?;
    let set = table::particles::read(&input.path)?;
    let diameter_a = diameter(&params, &set)?;
    let edge_a = f64::from(set.box_px) * set.pixel_size_a;
    let largest = f64::from(set.box_px) / 2.0 - 6.0;
    let rmax = (edge_a / params.resolution).min(largest).max(4.0);
    let images = WorkingImages::survey(ctx, &set, rmax, params.max_bad_fraction)?;
    check_count(&params, images.usable.len())?;
    let schedule =
        Schedule::new(&params, images.box_px, images.pixel_size_a, diameter_a, images.usable.len());
    let job = Job {
        ctx,
        device,
        params: &params,
        images: &images,
        layout: layout(&params, &images, &schedule),
        schedule,
    };
    let fingerprint = fingerprint(&params, &set);
    let mut state = match checkpoint::load(ctx, &fingerprint, images.usable.len(), &job.layout) {
        Some(state) => {
            ctx.say(EventKind::Message { text: format!("going on after iteration {}", state.iteration) });
            state
        }
        None => job.first_state(),
    };
    while state.iteration < schedule.iterations {
        ctx.check_stop_together()?;
        state = job.iterate(state)?;
        checkpoint::save(ctx, &fingerprint, &state)?;
        ctx.say(EventKind::Checkpoint);
    }
    job.finish(&set, diameter_a, &state)
}

fn diameter(params: &Classify2d, set: &ParticleSet) -> Result<f64, StageError> {
    let edge_a = f64::from(set.box_px) * set.pixel_size_a;
    let diameter_a = params.diameter.unwrap_or(0.8 * edge_a);
    if diameter_a <= edge_a {
        return Ok(diameter_a);
    }
    Err(StageError::input(
        format!("parameter `diameter` is {diameter_a} Å, larger than the particles' box of {edge_a:.1} Å"),
        "give the diameter of the particle, or extract with a larger box",
    ))
}

fn check_count(params: &Classify2d, usable: usize) -> Result<(), StageError> {
    let needed = LEAST_PER_CLASS * params.classes as usize;
    if usable >= needed {
        return Ok(());
    }
    Err(StageError::input(
        format!("{usable} usable particles for {} classes; at least {needed} are needed", params.classes),
        "ask for fewer classes: 50 to 200 particles a class are usual",
    ))
}

fn layout(params: &Classify2d, images: &WorkingImages<'_>, schedule: &Schedule) -> SumsLayout {
    let rings = (band_end(schedule.last_rmax) + SUM_MARGIN).min(images.box_px / 2 - 1);
    SumsLayout {
        classes: params.classes as usize,
        grid: Arc::new(PolarGrid::of_rings(images.box_px, rings, schedule.diameter_px, 0.0)),
        reference_noise: Arc::new(images.mean_power()),
    }
}

/// Everything a checkpoint depends on.
fn fingerprint(params: &Classify2d, set: &ParticleSet) -> String {
    let ids = set.particles.iter().fold(0u64, |hash, p| (hash ^ p.id).wrapping_mul(0x0100_0000_01b3));
    let Classify2d {
        classes,
        diameter,
        iterations,
        resolution,
        shift_range,
        batch_per_class,
        recentre,
        seed,
        ..
    } = params;
    format!(
        "2|{classes}|{diameter:?}|{iterations}|{resolution}|{shift_range:?}|{batch_per_class}|{recentre}|{seed}|{}|{ids:x}",
        set.particles.len()
    )
}

/// What every step of a run needs.
struct Job<'a, D> {
    ctx: &'a Ctx<'a>,
    device: &'a D,
    params: &'a Classify2d,
    images: &'a WorkingImages<'a>,
    layout: SumsLayout,
    schedule: Schedule,
}

impl<D: ClassifyOp> Job<'_, D> {
    fn first_state(&self) -> State {
        State {
            iteration: 0,
            found: vec![None; self.images.usable.len()],
            noise: self.images.power.clone(),
            sums: ClassSums::zeros(self.layout.clone()),
            rings: 0,
            history: Vec::new(),
        }
    }

    /// The generator of an iteration's random choices.
    fn generator(&self, iteration: usize) -> ChaCha8Rng {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&self.params.seed.to_le_bytes());
        bytes[8..16].copy_from_slice(&(iteration as u64).to_le_bytes());
        ChaCha8Rng::from_seed(bytes)
    }

    fn iterate(&self, mut state: State) -> Result<State, StageError> {
        let found = if state.iteration > 0 { self.centred_averages(&mut state) } else { Vec::new() };
        let resolved = (!found.is_empty()).then(|| mean_resolved(&found));
        let step = self.schedule.step(state.iteration, resolved);
        let name = format!("iteration {} of {}", state.iteration + 1, self.schedule.iterations);
        self.ctx.say(EventKind::Phase { name, total: step.size as u64 });
        let mut batch =
            index::sample(&mut self.generator(state.iteration), self.images.usable.len(), step.size)
                .into_vec();
        batch.sort_unstable();
        let averages = if state.iteration == 0 {
            self.first_averages(&batch, step.rmax)?
        } else {
            self.references(&mut state, found, step.may_split)
        };
        let rings = (band_end(step.rmax) + SUM_MARGIN).min(self.layout.grid.rings.len());
        let pass = Pass {
            ctx: self.ctx,
            device: self.device,
            images: self.images,
            schedule: &self.schedule,
            step: &step,
            layout: &self.layout,
            noise: &state.noise,
            known: &state.found,
        };
        let outcome = pass.run(&averages, &batch, rings)?;
        let record = record(step.rmax, &batch, &state.found, &outcome.found, outcome.effective_poses);
        batch.iter().zip(&outcome.found).for_each(|(&which, found)| state.found[which] = Some(*found));
        state.sums.remember(step.memory, &outcome.sums);
        state.rings = rings.max(if step.memory > 0.0 { state.rings } else { 0 });
        state.noise = outcome.noise;
        state.iteration += 1;
        self.tell(&record);
        state.history.push(record);
        Ok(state)
    }

    fn averager(&self, state: &State) -> Averager {
        Averager::new(&state.sums, state.rings, self.schedule.diameter_px)
    }

    /// The class averages, brought to the middle.
    fn centred_averages(&self, state: &mut State) -> Vec<ClassImage> {
        let averager = self.averager(state);
        let found = averager.averages(&state.sums);
        if self.params.recentre && self.bring_to_middle(state, &found) {
            return averager.averages(&state.sums);
        }
        found
    }

    /// What the next search compares with: the averages, those of empty classes replaced by halves of full ones.
    fn references(&self, state: &mut State, found: Vec<ClassImage>, may_split: bool) -> Vec<Array2<f32>> {
        let averager = self.averager(state);
        let pairs = if may_split { splits(&found) } else { Vec::new() };
        let half_of = |(full, empty): (usize, usize)| {
            (full, empty, [0, 1].map(|half| averager.of_half(&state.sums, full, half, &found[full])))
        };
        let halves: Vec<(usize, usize, [Array2<f32>; 2])> = pairs.into_iter().map(half_of).collect();
        let mut references: Vec<Array2<f32>> = found.into_iter().map(|class| class.image).collect();
        for (full, empty, [first, second]) in halves {
            references[full] = first;
            references[empty] = second;
            state.sums.clear(empty);
        }
        references
    }

    /// Moves the sums of classes that lie off the middle, and the places of their particles with them. Whether any did.
    fn bring_to_middle(&self, state: &mut State, found: &[ClassImage]) -> bool {
        let range = self.schedule.shift_range_px;
        let moves: Vec<Option<[f64; 2]>> = found
            .iter()
            .map(|class| {
                let [x, y] = centre_of_mass(&class.image).map(|px| px.clamp(-range, range));
                (x.hypot(y) > LEAST_MOVE_PX).then_some([x, y])
            })
            .collect();
        for (class, by) in moves.iter().enumerate() {
            if let Some([x, y]) = *by {
                state.sums.shift(class, [-x, -y]);
            }
        }
        for particle in state.found.iter_mut().flatten() {
            let Some([x, y]) = moves[particle.class as usize] else { continue };
            // the image shows its class turned by -psi
            let (s, c) = particle.psi_rad.sin_cos();
            particle.shift_a[0] += (c * x + s * y) * self.images.pixel_size_a;
            particle.shift_a[1] += (c * y - s * x) * self.images.pixel_size_a;
        }
        moves.iter().any(Option::is_some)
    }

    /// What classes begin as: averages of a few images as they lie.
    fn first_averages(&self, batch: &[usize], rmax: f64) -> Result<Vec<Array2<f32>>, StageError> {
        let classes = self.layout.classes;
        let wanted = FIRST_IMAGES.min(batch.len() / classes).max(1);
        let mut random = self.generator(usize::MAX);
        let chosen = index::sample(&mut random, batch.len(), wanted * classes).into_vec();
        let averager =
            Averager::new(&ClassSums::zeros(self.layout.clone()), usize::MAX, self.schedule.diameter_px);
        let average = |chosen: &[usize]| -> Result<Array2<f32>, StageError> {
            let which: Vec<usize> = chosen.iter().map(|&place| batch[place]).collect();
            Ok(averager.masked(self.average_as_they_lie(&which, rmax)?))
        };
        chosen.par_chunks(wanted).map(average).collect()
    }

    /// `Σ c X / (Σ c² + const)` within the band.
    fn average_as_they_lie(&self, which: &[usize], rmax: f64) -> Result<Array2<f32>, StageError> {
        let n = self.images.box_px;
        let mut sum = HalfImage::zeros_box(n);
        let mut weight = Array2::<f32>::from_elem(sum.data().dim(), FIRST_WIENER as f32);
        for (image, &which) in self.images.read(which)?.iter().zip(which) {
            let ctf = LatticeCtf::new(self.images.ctf(which), n, self.images.pixel_size_a);
            for (((y, x), value), total) in image.transform.data().indexed_iter().zip(sum.data_mut()) {
                let c = ctf.value(x as f64, signed_frequency(y, n) as f64);
                *total += value * c;
                weight[[y, x]] += c * c;
            }
        }
        for (((y, x), value), weight) in sum.data_mut().indexed_iter_mut().zip(&weight) {
            let r = (x as f64).hypot(signed_frequency(y, n) as f64);
            *value = if r > 0.0 && r <= rmax { *value / *weight } else { num_complex::Complex32::ZERO };
        }
        Ok(sum.into_box())
    }

    fn tell(&self, record: &IterationRecord) {
        let box_a = self.layout.grid.box_px as f64 * self.images.pixel_size_a;
        let figures = [
            ("resolution used", box_a / record.rmax, "Å"),
            ("mean log evidence", record.log_evidence, "nat"),
            ("particles that changed class", 100.0 * record.changed.unwrap_or(f64::NAN), "%"),
        ];
        for (name, value, unit) in figures {
            if value.is_finite() {
                self.ctx.say(EventKind::Figure { name: name.into(), value, unit: unit.into() });
            }
        }
    }

    fn finish(&self, set: &ParticleSet, diameter_a: f64, state: &State) -> Result<Report, StageError> {
        let images = self.averager(state).averages(&state.sums);
        let classes = self.class_table(&images, state);
        let n = set.box_px as usize;
        let full: Vec<Array2<f32>> = images
            .par_iter()
            .map(|class| HalfImage::of_box(class.image.view()).resized(n, n).into_box())
            .collect();
        let averages = ClassAverages {
            stack_path: self.ctx.table_path("class-averages.mrcs"),
            box_px: set.box_px,
            pixel_size_a: set.pixel_size_a,
            diameter_a,
            classes,
        };
        let sorted = self.sorted_set(set, state);
        if self.ctx.is_root() {
            self.write(&averages, &full, &sorted)?;
        }
        Ok(report::report(&Story {
            averages: &averages,
            images: &full,
            history: &state.history,
            box_a: self.layout.grid.box_px as f64 * self.images.pixel_size_a,
            job: &self.ctx.job,
            set: &sorted,
        }))
    }

    fn class_table(&self, images: &[ClassImage], state: &State) -> Vec<ClassAverage> {
        let box_a = self.layout.grid.box_px as f64 * self.images.pixel_size_a;
        let mut counts = vec![(0u64, 0.0, 0.0); images.len()];
        for found in state.found.iter().flatten() {
            let (count, probability, detail) = &mut counts[found.class as usize];
            *count += 1;
            *probability += found.probability;
            *detail += found.detail;
        }
        let class = |(index, (image, &(particles, probability, detail))): (
            usize,
            (&ClassImage, &(u64, f64, f64)),
        )| {
            let resolved = image.resolved(RESOLVED_AT);
            ClassAverage {
                number: index as u32 + 1,
                stack_index: index as u32,
                particles,
                probability: if particles > 0 { probability / particles as f64 } else { f64::NAN },
                resolution_a: if resolved > 0.0 { box_a / resolved } else { f64::INFINITY },
                detail: if particles > 0 { detail / particles as f64 - image.own_noise } else { 0.0 },
            }
        };
        images.iter().zip(&counts).enumerate().map(class).collect()
    }

    /// The usable particles with their classes and poses in the plane.
    fn sorted_set(&self, set: &ParticleSet, state: &State) -> ParticleSet {
        let particle = |(&index, found): (&usize, &Option<Found>)| {
            let mut particle = set.particles[index].clone();
            if let Some(found) = found {
                let half = 0.5 * found.psi_rad;
                let rotation = Rotation::new(half.cos(), 0.0, 0.0, half.sin());
                particle.pose = Some(Pose { rotation, shift_a: found.shift_a });
                particle.class =
                    Some(ClassAssignment { number: found.class + 1, probability: found.probability });
                particle.log_likelihood = found.log_evidence;
            }
            particle
        };
        let particles = self.images.usable.iter().zip(&state.found).map(particle).collect();
        ParticleSet { particles, ..set.clone() }
    }

    fn write(
        &self,
        averages: &ClassAverages,
        images: &[Array2<f32>],
        set: &ParticleSet,
    ) -> Result<(), StageError> {
        let (n, pixel_a) = (set.box_px as usize, set.pixel_size_a);
        self.ctx.create_at_path("class-averages.mrcs", |path| -> Result<(), StageError> {
            let mut writer = mrc::MrcWriter::create(path, mrc::MrcSpec::images(n, n, pixel_a))?;
            for image in images {
                writer
                    .append(image.as_standard_layout().as_slice().expect("a standard layout is a slice"))?;
            }
            writer.finish()?;
            Ok(())
        })?;
        self.ctx.create_at_path("class-averages.h5", |path| table::class_averages::write(path, averages))?;
        self.ctx.create_at_path("particles.h5", |path| table::particles::write(path, set))?;
        let sized =
            |output: Output| Output { pixel_size_a: Some(pixel_a), box_px: Some(set.box_px), ..output };
        let count = set.particles.len() as u64;
        self.ctx.output(sized(Output::new("particles", Kind::Particles, "particles.h5", count)));
        let mut output = sized(Output::new(
            "class-averages",
            Kind::ClassAverages,
            "class-averages.h5",
            averages.classes.len() as u64,
        ));
        output.parts.insert("stack".into(), "class-averages.mrcs".into());
        self.ctx.output(output);
        Ok(())
    }
}

/// How an iteration went.
fn record(
    rmax: f64,
    batch: &[usize],
    before: &[Option<Found>],
    now: &[Found],
    effective_poses: f64,
) -> IterationRecord {
    let pairs = || batch.iter().zip(now).filter_map(|(&which, now)| Some((before[which]?, now)));
    let seen = pairs().count();
    let changed = pairs().filter(|(before, now)| before.class != now.class).count();
    let mut classes: Vec<u32> = now.iter().map(|found| found.class).collect();
    classes.sort_unstable();
    classes.dedup();
    IterationRecord {
        rmax,
        particles: batch.len() as u64,
        log_evidence: now.iter().map(|found| found.log_evidence).sum::<f64>() / now.len().max(1) as f64,
        effective_poses,
        changed: (seen > 0).then(|| changed as f64 / seen as f64),
        filled: classes.len() as u32,
    }
}

/// The radius to which classes agree with themselves, each counting as its particles.
fn mean_resolved(classes: &[ClassImage]) -> f64 {
    let share: f64 = classes.iter().map(|class| class.share).sum();
    let sum: f64 = classes.iter().map(|class| class.share * class.resolved(RESOLVED_AT)).sum();
    if share > 0.0 { sum / share } else { 0.0 }
}

/// Empty classes, each with one of the fullest.
fn splits(classes: &[ClassImage]) -> Vec<(usize, usize)> {
    let mean = classes.iter().map(|class| class.share).sum::<f64>() / classes.len().max(1) as f64;
    let mut order: Vec<usize> = (0..classes.len()).collect();
    order.sort_by(|&a, &b| classes[b].share.total_cmp(&classes[a].share).then(a.cmp(&b)));
    let most = (MOST_REFILLED * classes.len() as f64).ceil() as usize;
    let empty = order.iter().rev().filter(|&&class| classes[class].share < EMPTY_BELOW * mean).take(most);
    let full = order.iter().filter(|&&class| classes[class].share > mean);
    full.copied().zip(empty.copied()).collect()
}
