//! The course of a refinement: start or resume, and iterate to the end.

use super::checkpoint;
use super::chunks::Chunks;
use super::classes::{self, Draw};
use super::data::Data;
use super::expectation::{ChunkOutcome, Expectation, worth_searching};
use super::maximisation::{Accumulation, HalfMaps, LEAST_NOISE, amplitudes_from, noise_from, shift_sigma_a};
use super::schedule::{Progress, radii};
use super::state::{ClassState, IterationRecord, ParticleState, State};
use super::{Engine, Settings};
use crate::{Ctx, StageError};
use std::io::Write;
use vitreous_compute::ops::pose_search::Scoring;
use vitreous_jobs::refinement::Search;
use vitreous_model::event::EventKind;

/// Numbers of a chunk in an exchange: particles, their fits, then residual powers list by list.
fn to_numbers(outcome: &ChunkOutcome) -> Vec<f64> {
    let mut numbers = Vec::new();
    outcome.particles.iter().for_each(|particle| particle.write(&mut numbers));
    numbers.extend(outcome.fits.iter().flatten().chain(outcome.residual.iter().flatten()));
    numbers
}

/// `None` if they are not as many as they should be.
fn from_numbers(mut numbers: &[f64], particles: usize, lists: usize) -> Option<ChunkOutcome> {
    let particles = (0..particles).map(|_| ParticleState::read(&mut numbers)).collect::<Option<Vec<_>>>()?;
    let (fits, rest) = numbers.split_at_checked(particles.len() * 2)?;
    let shells = (rest.len() / lists.max(1)).max(1);
    Some(ChunkOutcome {
        residual: rest.chunks_exact(shells).map(<[f64]>::to_vec).collect(),
        fits: fits.as_chunks().0.to_vec(),
        particles,
    })
}

/// Iterates to the end, from the checkpoint if there is one of this refinement. All ranks get the same state.
///
/// # Errors
/// Images that fail, files that cannot be written, a request to stop.
pub fn run<D: Engine>(
    ctx: &Ctx<'_>,
    device: &D,
    data: &Data,
    settings: &Settings,
    chunks: &Chunks<'_>,
) -> Result<State, StageError> {
    let mut state = match resumed(ctx, data)? {
        Some(state) => state,
        None => first_state(ctx, device, data, settings, chunks)?,
    };
    while !state.ended {
        ctx.check_stop_together()?;
        state = iterate(ctx, device, data, settings, chunks, &state)?;
        ctx.say(EventKind::Checkpoint);
    }
    Ok(state)
}

/// The state of the checkpoint, if there is one of this very refinement. All ranks get what rank 0 reads.
fn resumed(ctx: &Ctx<'_>, data: &Data) -> Result<Option<State>, StageError> {
    let path = ctx.job_dir.join(checkpoint::FILE);
    let mut bytes = Vec::new();
    if ctx.is_root() {
        match std::fs::read(&path) {
            Ok(found) => bytes = found,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => log::warn!("{}: {error}; starting from the first iteration", path.display()),
        }
    }
    ctx.comm.broadcast(0, &mut bytes);
    let state = checkpoint::decode(&bytes, data.fingerprint);
    match &state {
        Some(state) => {
            ctx.say(EventKind::Message { text: format!("going on after iteration {}", state.iteration) })
        }
        None if !bytes.is_empty() => ctx.say(EventKind::Message {
            text: "the checkpoint belongs to other inputs or parameters; starting from the first iteration"
                .into(),
        }),
        None => {}
    }
    Ok(state)
}

/// The state before the first iteration: the starting map on the scale of the images, noise as the images' power.
fn first_state<D: Engine>(
    ctx: &Ctx<'_>,
    device: &D,
    data: &Data,
    settings: &Settings,
    chunks: &Chunks<'_>,
) -> Result<State, StageError> {
    let start_radius = data.geometry.edge_a() / settings.initial_lowpass_a;
    let local = settings.search == Search::Local;
    let mut state = State {
        iteration: 0,
        classified: 0,
        refills: 0,
        ended: false,
        search: !local,
        resolved: start_radius,
        well_resolved: start_radius,
        shift_sigma_a: (0.5 * settings.shift_range_a).max(data.geometry.pixel_size_a),
        progress: Progress::start(),
        particles: (0..data.usable.len()).map(|which| data.first_particle(which, settings.search)).collect(),
        noise: data.power.iter().chain(&data.power).map(|p| without_zeros(p)).collect(),
        amplitudes: vec![1.0; 2 * data.amplitude_names.len()],
        classes: data
            .starts
            .iter()
            .map(|start| ClassState {
                maps: [start.clone(), start.clone()],
                mask: data.sphere.clone(),
                fsc: Vec::new(),
            })
            .collect(),
        history: Vec::new(),
    };
    if local {
        state.shift_sigma_a = shift_sigma_a(&state, &data.geometry);
    }
    ctx.say(EventKind::Phase { name: "scale of the starting map".into(), total: 0 });
    let radii = radii(&data.geometry, state.resolved, state.well_resolved);
    let scoring = state.search.then_some(Scoring::FreeAmplitude);
    let amplitudes =
        Expectation::new(device, data, settings, &state, radii, scoring)?.amplitudes(ctx, chunks)?;
    for (number, (class, amplitude)) in state.classes.iter_mut().zip(amplitudes).enumerate() {
        let Some(amplitude) = amplitude else {
            return Err(StageError::input(
                format!(
                    "the particles do not resemble starting map {} at all (their best correlation with it is not positive)",
                    number + 1
                ),
                "check that particles are white on black, that map and particles show the same thing, and the pixel sizes",
            ));
        };
        class.maps.iter_mut().for_each(|map| map.mapv_inplace(|v| v * amplitude as f32));
    }
    Ok(state)
}

/// A spectrum that can be divided by.
fn without_zeros(power: &[f64]) -> Vec<f64> {
    let floor = power.iter().copied().fold(0.0, f64::max) * 1e-9;
    power.iter().map(|p| p.max(floor).max(LEAST_NOISE)).collect()
}

/// One iteration; the new state is written and the same on all ranks.
fn iterate<D: Engine>(
    ctx: &Ctx<'_>,
    device: &D,
    data: &Data,
    settings: &Settings,
    chunks: &Chunks<'_>,
    state: &State,
) -> Result<State, StageError> {
    let radii = radii(&data.geometry, state.resolved, state.well_resolved);
    let name = format!("iteration {}", state.iteration + 1);
    ctx.say(EventKind::Phase { name, total: data.usable.len() as u64 });
    let scoring = state.search.then_some(Scoring::Likelihood);
    let expectation = Expectation::new(device, data, settings, state, radii, scoring)?;
    let draw = draw(data, settings, state);
    let classes = if let Some(Draw::Split(classes)) = draw { classes } else { state.classes.len() };
    let mut accumulation = Accumulation::new(device, data, settings, state, radii.box_px, 0..classes)?;
    let mut lists = Vec::new();
    chunks.for_each(ctx, chunks.count(), |chunk, images| {
        let range = chunks.range(chunk);
        let mut outcome = expectation.of_chunk(range.clone(), images);
        if let Some(draw) = draw {
            for (particle, which) in outcome.particles.iter_mut().zip(range.clone()) {
                if let Some(class) = draw.class_of(particle.class(), data.id(which), settings.seed) {
                    *particle = classes::put_into(particle, class);
                }
            }
        }
        accumulation.add(range, images, &outcome.particles)?;
        lists.push(to_numbers(&outcome));
        Ok(())
    })?;
    drop(expectation);
    let outcomes: Option<Vec<ChunkOutcome>> = chunks
        .share(ctx.comm, &lists, chunks.count())
        .iter()
        .enumerate()
        .map(|(chunk, numbers)| from_numbers(numbers, chunks.range(chunk).len(), state.noise.len()))
        .collect();
    let outcomes = outcomes.ok_or_else(not_whole)?;
    let grids = accumulation.collect(ctx)?;
    let mut bytes = Vec::new();
    if ctx.is_root() {
        let maps: Vec<HalfMaps> = grids
            .into_iter()
            .map(|grids| HalfMaps::new(ctx, data, settings, grids, state.resolved))
            .collect();
        let mut next = next_state(data, settings, chunks, state, &outcomes, &maps, radii.full);
        if let Some(Draw::Refill { from, into, before }) = draw {
            // as after the split: what chance made needs its time
            (next.classified, next.refills, next.ended) = (1, before + 1, false);
            let text = format!("class {} was empty and got half of class {}", into + 1, from + 1);
            ctx.say(EventKind::Message { text });
        }
        bytes = checkpoint::encode(&next, data.fingerprint);
        ctx.create(checkpoint::FILE, |out| {
            out.write_all(&bytes).map_err(|e| StageError::io(&ctx.job_dir, e))
        })?;
        tell(ctx, &next);
    }
    ctx.comm.broadcast(0, &mut bytes);
    checkpoint::decode(&bytes, data.fingerprint).ok_or_else(not_whole)
}

fn not_whole() -> StageError {
    StageError::input(
        "the state of the iteration did not arrive whole",
        "run all ranks with the same program",
    )
}

/// What chance decides in the iteration that follows `state`: into which class each particle goes when the one map is split,
/// or when a class that the split made has lost its particles and there is time to fill it again.
fn draw(data: &Data, settings: &Settings, state: &State) -> Option<Draw> {
    if state.classes.len() < settings.classes {
        // poses that were given need no iterations to be found
        let known = settings.search == Search::Local;
        let now = known || state.iteration + 1 >= classes::ITERATIONS_BEFORE_SPLIT;
        return now.then_some(Draw::Split(settings.classes));
    }
    let from_chance = data.starts.len() < settings.classes;
    let settled = state.classified >= classes::ITERATIONS_AS_A_WHOLE;
    let time = state.iteration + classes::LEAST_ITERATIONS <= settings.max_iterations;
    if !(from_chance && settled && time) {
        return None;
    }
    let shares = classes::shares(&classes::occupancies(data, &state.particles, state.classes.len()));
    Draw::refill(&shares, state.refills)
}

/// The state that follows from an iteration's poses and maps.
fn next_state(
    data: &Data,
    settings: &Settings,
    chunks: &Chunks<'_>,
    state: &State,
    outcomes: &[ChunkOutcome],
    maps: &[HalfMaps],
    band_px: f64,
) -> State {
    let particles: Vec<ParticleState> = outcomes.iter().flat_map(|o| o.particles.iter().cloned()).collect();
    let residual: Vec<Vec<Vec<f64>>> = outcomes.iter().map(|o| o.residual.clone()).collect();
    let fits: Vec<[f64; 2]> = outcomes.iter().flat_map(|o| o.fits.iter().copied()).collect();
    let count = particles.len().max(1) as f64;
    let change_deg = median(particles.iter().map(|p| p.change_deg));
    let jumped = particles.iter().filter(|p| p.jumped).count() as f64 / count;
    let log_likelihood = particles.iter().map(|p| p.log_likelihood).sum::<f64>() / count;
    let moved = particles.iter().filter(|p| p.moved).count() as f64 / count;
    let finest = settings.finest_a.map_or(f64::INFINITY, |finest_a| data.geometry.edge_a() / finest_a);
    let best = |radius: &dyn Fn(&HalfMaps) -> f64| maps.iter().map(radius).fold(0.0, f64::max).min(finest);
    let (resolved, well_resolved) = (best(&HalfMaps::resolved), best(&|class| class.radius_at(0.5)));
    let at_0143 = best(&|class| class.radius_at(0.143));
    let iteration = state.iteration + 1;
    let classified = if maps.len() > 1 { state.classified + 1 } else { 0 };
    let change = if change_deg.is_nan() { f64::INFINITY } else { change_deg };
    let (progress, enough) = state.progress.advanced(resolved, change, jumped.max(moved));
    let is_early = settings.classes > 1 && classified < classes::LEAST_ITERATIONS;
    let mut history = state.history.clone();
    history.push(IterationRecord {
        box_px: maps.first().map_or(0.0, |class| class.mask.dim().0 as f64),
        resolution_a: data.geometry.edge_a() / at_0143.max(1.0),
        band_px,
        change_deg,
        log_likelihood,
        jumped: if iteration > 1 { jumped } else { f64::NAN },
        moved: if classified > 1 { moved } else { f64::NAN },
        shares: classes::shares(&classes::occupancies(data, &particles, maps.len())),
    });
    let mut next = State {
        iteration,
        classified,
        refills: state.refills,
        ended: enough && !is_early || iteration >= settings.max_iterations,
        search: settings.search == Search::Global && worth_searching(iteration, jumped),
        resolved,
        well_resolved,
        shift_sigma_a: 0.0,
        progress,
        particles,
        noise: noise_from(data, chunks, &residual),
        amplitudes: if settings.amplitudes { amplitudes_from(data, &fits) } else { state.amplitudes.clone() },
        classes: maps
            .iter()
            .map(|class| ClassState {
                maps: class.regularised(),
                mask: class.mask.clone(),
                fsc: class.fsc.corrected.clone(),
            })
            .collect(),
        history,
    };
    next.shift_sigma_a = shift_sigma_a(&next, &data.geometry);
    next
}

/// The median of the values that are numbers; NaN if there are none.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.filter(|v| !v.is_nan()).collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn tell(ctx: &Ctx<'_>, state: &State) {
    let Some(last) = state.history.last() else { return };
    let figures = [
        ("resolution (FSC 0.143)", last.resolution_a, "Å"),
        ("median change of rotation", last.change_deg, "°"),
        ("mean log-likelihood", last.log_likelihood, "nat"),
    ];
    for (name, value, unit) in figures {
        if value.is_finite() {
            ctx.say(EventKind::Figure { name: name.into(), value, unit: unit.into() });
        }
    }
}
