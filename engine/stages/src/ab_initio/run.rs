//! The sequence: several starts, the best of them finished, the outputs.

use super::checkpoint::{Course, State};
use super::classes;
use super::images;
use super::report::{self, Story};
use super::schedule::Schedule;
use super::start::{Job, Progress};
use crate::{Ctx, StageError};
use ndarray::Array3;
use vitreous_compute::fourier::resample_volume;
use vitreous_compute::map_alignment::rigid::mirrored;
use vitreous_compute::ops::insert::Insert;
use vitreous_compute::ops::pose_search::PoseSearch;
use vitreous_formats::{mrc, table};
use vitreous_jobs::ab_initio::AbInitio;
use vitreous_model::event::EventKind;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::particle::ParticleSet;
use vitreous_model::report::Report;

/// Further starts, for each one asked for, while none has converged.
const MORE_STARTS: usize = 2;

/// Runs the job on one rank.
pub fn run<D: PoseSearch + Insert>(ctx: &Ctx<'_>, device: &D) -> Result<Report, StageError> {
    let params: AbInitio = ctx.params()?;
    let input = ctx.input("particles")?;
    let mut set = table::particles::read(&input.path)?;
    let diameter_a = params.diameter.unwrap_or(0.8 * f64::from(set.box_px) * set.pixel_size_a);
    check_diameter(diameter_a, &set)?;
    let images = images::read(ctx, &set, params.final_resolution, params.seed)?;
    let schedule =
        Schedule::new(&params, images.box_px, images.pixel_size_a, diameter_a, images.training.len());
    let fingerprint = fingerprint(&params, &set);
    let job = Job { ctx, device, params: &params, images: &images, schedule, fingerprint };
    let (starts, best, state) = all_starts(&job)?;
    let rmax = report::agreed_band(&state.course, &schedule);
    let mut order = vec![0];
    if params.classes > 1 {
        let found = job.assign(&set, &state, rmax)?;
        order = classes::by_size(&found, schedule.classes);
        classes::write_into(&mut set, &found, &order);
    }
    let maps = job.maps(&state, rmax);
    let full: Vec<Array3<f32>> = order
        .iter()
        .map(|&class| resample_volume(maps[class].view(), set.box_px as usize))
        .map(|map| if params.flip_hand { mirrored(map.view()) } else { map })
        .collect();
    write_outputs(ctx, &set, &full)?;
    let story = Story {
        starts: &starts,
        best,
        schedule: &schedule,
        from_start: job.is_imposed_from_start(best),
        order: &order,
        maps: &full,
        set: &set,
        images: &images,
    };
    Ok(report::report(&params, &story))
}

/// Marches and finishes the starts asked for. When none has converged, further ones are made until one does,
/// [`MORE_STARTS`] times as many at most. Returns how each went, which is the best (one that has converged before any that
/// has not, then by the agreement of its halves), and its state.
///
/// All are finished: the halves tell maps apart that held-out scores after the march do not (CFTR with 30 % junk, ten
/// starts: the halves' mean FSC was 0.59 to 0.63 of wrong maps and 0.70 to 0.73 of right ones, the scores overlapped).
fn all_starts<D: PoseSearch + Insert>(job: &Job<'_, D>) -> Result<(Vec<Course>, usize, State), StageError> {
    let (schedule, count) = (&job.schedule, job.planned_starts());
    let total = (count * (schedule.march() + schedule.halves() + schedule.joint())) as u64;
    job.ctx.say(EventKind::Phase { name: "mini-batches".into(), total });
    let mut done = Progress { done: 0, total: &total };
    let mut courses: Vec<Course> = Vec::new();
    let mut best: Option<(usize, State)> = None;
    let mut has_converged = false;
    for start in 0..(1 + MORE_STARTS) * count {
        if has_converged && start >= count {
            break;
        }
        // one state all the way, not read back from its checkpoint: only rank 0 writes that, and another may not see it
        let mut state = marched(job, start, &mut done)?;
        job.finish(start, &mut state, &mut done)?;
        courses.push(state.course.clone());
        let rank =
            |course: &Course| (report::has_converged(course, schedule), report::quality(course, schedule));
        let own = rank(&state.course);
        has_converged |= own.0;
        let agreed = report::resolution(&state.course, schedule, job.images.pixel_size_a);
        let text = format!("start {}: halves agree to {agreed:.1} Å", start + 1);
        job.ctx.say(EventKind::Message { text });
        if best.as_ref().is_none_or(|(_, kept)| own > rank(&kept.course)) {
            best = Some((start, state));
        }
    }
    let (best, state) = best.expect("validation should ask for at least one start");
    Ok((courses, best, state))
}

fn marched<D: PoseSearch + Insert>(
    job: &Job<'_, D>,
    start: usize,
    done: &mut Progress<'_>,
) -> Result<State, StageError> {
    let mut state = job.open(start);
    job.march(start, &mut state, done)?;
    if let Some(score) = state.course.held_out_score {
        let text = format!("start {}: held-out score {score:.1} nats per particle", start + 1);
        job.ctx.say(EventKind::Message { text });
    }
    Ok(state)
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
    let AbInitio { symmetry, impose, classes, .. } = params;
    format!(
        "3|{diameter:?}|{batches}|{initial_resolution}|{final_resolution}|{seed}|{symmetry}|{impose:?}|{classes}|{}|\
         {ids:x}",
        set.particles.len()
    )
}

fn write_outputs(ctx: &Ctx<'_>, set: &ParticleSet, maps: &[Array3<f32>]) -> Result<(), StageError> {
    if !ctx.is_root() {
        return Ok(());
    }
    let sized =
        |output: Output| Output { pixel_size_a: Some(set.pixel_size_a), box_px: Some(set.box_px), ..output };
    for (number, map) in maps.iter().enumerate() {
        let (slot, file) = match number {
            0 => ("volume".to_string(), "map.mrc".to_string()),
            _ => (format!("volume_{}", number + 1), format!("map_{}.mrc", number + 1)),
        };
        ctx.create_at_path(&file, |path| mrc::write_volume(path, map, set.pixel_size_a))?;
        ctx.output(sized(Output::new(&slot, Kind::Volume, &file, 1)));
    }
    ctx.create_at_path("particles.h5", |path| table::particles::write(path, set))?;
    let count = set.particles.len() as u64;
    ctx.output(sized(Output::new("particles", Kind::Particles, "particles.h5", count)));
    Ok(())
}
