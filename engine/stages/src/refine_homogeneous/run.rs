//! The course of a refinement: start or resume, iterate, and finish at full size.

use super::checkpoint;
use super::chunks::Chunks;
use super::data::Data;
use super::expectation::{ChunkOutcome, Expectation, worth_searching};
use super::maximisation::{Accumulation, HalfMaps, LEAST_NOISE, amplitudes_from, noise_from, shift_sigma_a};
use super::report;
use super::schedule::{Progress, radii};
use super::state::{IterationRecord, ParticleState, State};
use crate::{Ctx, StageError};
use ndarray::Array3;
use std::io::Write;
use vitreous_compute::ops::align::Align;
use vitreous_compute::ops::insert::Insert;
use vitreous_compute::ops::pose_search::{PoseSearch, Scoring};
use vitreous_formats::mrc::write_volume_to;
use vitreous_formats::table::particles;
use vitreous_jobs::refine_homogeneous::{RefineHomogeneous, Search};
use vitreous_model::event::EventKind;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::params::Validate;
use vitreous_model::particle::ParticleSet;
use vitreous_model::report::Report;

/// What a device must be able to do.
pub trait Engine: PoseSearch + Align + Insert {}
impl<D: PoseSearch + Align + Insert> Engine for D {}

/// Numbers of a chunk in an exchange: particles, their fits, then residual powers list by list.
fn to_numbers(outcome: &ChunkOutcome) -> Vec<f64> {
    let particles = outcome.particles.iter().flat_map(|particle| particle.to_numbers());
    let particles = particles.chain(outcome.fits.iter().flatten().copied());
    particles.chain(outcome.residual.iter().flatten().copied()).collect()
}

fn from_numbers(numbers: &[f64], particles: usize, lists: usize) -> ChunkOutcome {
    let (head, tail) = numbers.split_at((particles * ParticleState::NUMBERS).min(numbers.len()));
    let (fits, tail) = tail.split_at((particles * 2).min(tail.len()));
    let shells = (tail.len() / lists.max(1)).max(1);
    ChunkOutcome {
        particles: head.as_chunks().0.iter().map(ParticleState::from_numbers).collect(),
        residual: tail.chunks_exact(shells).map(<[f64]>::to_vec).collect(),
        fits: fits.as_chunks().0.to_vec(),
    }
}

/// Does the job on this rank.
///
/// # Errors
/// Unfit inputs, images that fail, files that cannot be written, a request to stop.
pub fn run<D: Engine>(ctx: &Ctx<'_>, device: &D) -> Result<Report, StageError> {
    let params: RefineHomogeneous = ctx.params()?;
    params.validate()?;
    let data = Data::load(ctx, &params)?;
    let chunks = Chunks::new(&data, ctx.comm);
    let mut state = match resumed(ctx, &data)? {
        Some(state) => state,
        None => first_state(ctx, device, &data, &params, &chunks)?,
    };
    while !state.ended {
        ctx.check_stop_together()?;
        state = iterate(ctx, device, &data, &params, &chunks, &state)?;
        ctx.say(EventKind::Checkpoint);
    }
    finish(ctx, device, &data, &params, &chunks, &state)
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
    params: &RefineHomogeneous,
    chunks: &Chunks<'_>,
) -> Result<State, StageError> {
    let start_radius = data.geometry.edge_a() / params.initial_lowpass;
    let local = params.search == Search::Local;
    let mut state = State {
        iteration: 0,
        ended: false,
        search: !local,
        resolved: start_radius,
        well_resolved: start_radius,
        shift_sigma_a: (0.5 * params.shift_range).max(data.geometry.pixel_size_a),
        progress: Progress::start(),
        particles: (0..data.usable.len()).map(|which| data.first_particle(which, params.search)).collect(),
        noise: data.power.iter().chain(&data.power).map(|p| without_zeros(p)).collect(),
        amplitudes: vec![1.0; 2 * data.amplitude_names.len()],
        maps: [data.start.clone(), data.start.clone()],
        mask: data.sphere.clone(),
        fsc: Vec::new(),
        history: Vec::new(),
    };
    if local {
        state.shift_sigma_a = shift_sigma_a(&state, &data.geometry);
    }
    ctx.say(EventKind::Phase { name: "scale of the starting map".into(), total: 0 });
    let radii = radii(&data.geometry, state.resolved, state.well_resolved);
    let amplitude = Expectation::new(
        device,
        data,
        params,
        &state,
        radii,
        state.search.then_some(Scoring::FreeAmplitude),
    )?
    .amplitude(ctx, chunks)?;
    let Some(amplitude) = amplitude else {
        return Err(StageError::input(
            "the particles do not resemble the starting map at all (their best correlation with it is not positive)",
            "check that particles are white on black, that map and particles show the same thing, and the pixel sizes",
        ));
    };
    state.maps.iter_mut().for_each(|map| map.mapv_inplace(|v| v * amplitude as f32));
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
    params: &RefineHomogeneous,
    chunks: &Chunks<'_>,
    state: &State,
) -> Result<State, StageError> {
    let radii = radii(&data.geometry, state.resolved, state.well_resolved);
    let name = format!("iteration {}", state.iteration + 1);
    ctx.say(EventKind::Phase { name, total: data.usable.len() as u64 });
    let scoring = state.search.then_some(Scoring::Likelihood);
    let expectation = Expectation::new(device, data, params, state, radii, scoring)?;
    let mut accumulation = Accumulation::new(device, data, params, state, radii.box_px)?;
    let mut lists = Vec::new();
    chunks.for_each(ctx, chunks.count(), |chunk, images| {
        let outcome = expectation.of_chunk(chunks.range(chunk), images);
        accumulation.add(chunks.range(chunk), images, &outcome.particles)?;
        lists.push(to_numbers(&outcome));
        Ok(())
    })?;
    drop(expectation);
    let outcomes: Vec<ChunkOutcome> = chunks
        .share(ctx.comm, &lists, chunks.count())
        .iter()
        .enumerate()
        .map(|(chunk, numbers)| from_numbers(numbers, chunks.range(chunk).len(), state.noise.len()))
        .collect();
    let grids = accumulation.collect(ctx)?;
    let mut bytes = Vec::new();
    if ctx.is_root() {
        let maps = HalfMaps::new(ctx, data, params, grids, state.resolved);
        let next = next_state(data, params, chunks, state, &outcomes, &maps, radii.full);
        bytes = checkpoint::encode(&next, data.fingerprint);
        ctx.create(checkpoint::FILE, |out| {
            out.write_all(&bytes).map_err(|e| StageError::io(&ctx.job_dir, e))
        })?;
        tell(ctx, &next);
    }
    ctx.comm.broadcast(0, &mut bytes);
    checkpoint::decode(&bytes, data.fingerprint).ok_or_else(|| {
        StageError::input(
            "the state of the iteration did not arrive whole",
            "run all ranks with the same program",
        )
    })
}

/// The state that follows from an iteration's poses and maps.
fn next_state(
    data: &Data,
    params: &RefineHomogeneous,
    chunks: &Chunks<'_>,
    state: &State,
    outcomes: &[ChunkOutcome],
    maps: &HalfMaps,
    band_px: f64,
) -> State {
    let particles: Vec<ParticleState> = outcomes.iter().flat_map(|o| o.particles.iter().copied()).collect();
    let residual: Vec<Vec<Vec<f64>>> = outcomes.iter().map(|o| o.residual.clone()).collect();
    let fits: Vec<[f64; 2]> = outcomes.iter().flat_map(|o| o.fits.iter().copied()).collect();
    let count = particles.len().max(1) as f64;
    let change_deg = median(particles.iter().map(|p| p.change_deg));
    let jumped = particles.iter().filter(|p| p.jumped).count() as f64 / count;
    let log_likelihood = particles.iter().map(|p| p.log_likelihood).sum::<f64>() / count;
    let (resolved, well_resolved) = (maps.radius_at(0.143), maps.radius_at(0.5));
    let iteration = state.iteration + 1;
    let change = if change_deg.is_nan() { f64::INFINITY } else { change_deg };
    let (progress, enough) = state.progress.advanced(resolved, change, jumped);
    let mut history = state.history.clone();
    history.push(IterationRecord {
        box_px: maps.mask.dim().0 as f64,
        resolution_a: data.geometry.edge_a() / resolved.max(1.0),
        band_px,
        change_deg,
        log_likelihood,
        jumped: if iteration > 1 { jumped } else { f64::NAN },
    });
    let mut next = State {
        iteration,
        ended: enough || iteration >= params.max_iterations,
        search: params.search == Search::Global && worth_searching(iteration, jumped),
        resolved,
        well_resolved,
        shift_sigma_a: 0.0,
        progress,
        particles,
        noise: noise_from(data, chunks, &residual),
        amplitudes: if params.amplitudes { amplitudes_from(data, &fits) } else { state.amplitudes.clone() },
        maps: maps.regularised(),
        mask: maps.mask.clone(),
        fsc: maps.fsc.corrected.clone(),
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

/// Maps from all frequencies at the final poses, and the job's outputs.
fn finish<D: Engine>(
    ctx: &Ctx<'_>,
    device: &D,
    data: &Data,
    params: &RefineHomogeneous,
    chunks: &Chunks<'_>,
    state: &State,
) -> Result<Report, StageError> {
    ctx.say(EventKind::Phase { name: "final maps".into(), total: data.usable.len() as u64 });
    let n = data.geometry.n;
    let mut accumulation = Accumulation::new(device, data, params, state, n)?;
    chunks.for_each(ctx, chunks.count(), |chunk, images| {
        let range = chunks.range(chunk);
        accumulation.add(range.clone(), images, &state.particles[range])
    })?;
    let grids = accumulation.collect(ctx)?;
    if !ctx.is_root() {
        return Ok(Report::new(""));
    }
    let maps = HalfMaps::new(ctx, data, params, grids, state.resolved);
    let combined = maps.combined();
    let set = refined_set(data, state);
    write_outputs(ctx, data, &maps, &combined, &set)?;
    Ok(report::report(ctx, data, params, state, &maps, &combined))
}

/// The particle set with the new poses; unfit particles are left out.
fn refined_set(data: &Data, state: &State) -> ParticleSet {
    let refined = |(which, &index): (usize, &usize)| {
        let mut particle = data.set.particles[index].clone();
        let found = &state.particles[which];
        particle.pose = Some(found.pose);
        particle.log_likelihood = found.log_likelihood;
        particle.half = Some(data.halves[which]);
        particle
    };
    ParticleSet { particles: data.usable.iter().enumerate().map(refined).collect(), ..data.set.clone() }
}

fn write_outputs(
    ctx: &Ctx<'_>,
    data: &Data,
    maps: &HalfMaps,
    combined: &Array3<f32>,
    set: &ParticleSet,
) -> Result<(), StageError> {
    let pixel_a = data.geometry.pixel_size_a;
    let write = |name: &str, map: &Array3<f32>| {
        let path = ctx.job_dir.join(name);
        ctx.create(name, |out| write_volume_to(out, &path, map, pixel_a, [0.0; 3]))
    };
    write("map.mrc", combined)?;
    write("half1.mrc", &maps.plain[0])?;
    write("half2.mrc", &maps.plain[1])?;
    write("mask.mrc", &maps.mask)?;
    ctx.create_at_path("particles.h5", |path| particles::write(path, set))?;
    let sized = |mut output: Output| {
        output.pixel_size_a = Some(pixel_a);
        output.box_px = Some(data.geometry.n as u32);
        output
    };
    let mut volume = sized(Output::new("volume", Kind::Volume, "map.mrc", 1));
    for (role, file) in [("half1", "half1.mrc"), ("half2", "half2.mrc"), ("mask", "mask.mrc")] {
        volume.parts.insert(role.into(), file.into());
    }
    ctx.output(volume);
    ctx.output(sized(Output::new("particles", Kind::Particles, "particles.h5", set.particles.len() as u64)));
    ctx.output(sized(Output::new("mask", Kind::Mask, "mask.mrc", 1)));
    Ok(())
}
