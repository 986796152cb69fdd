//! Tables in, tables out.

use super::choose::{Decision, choose, usual_detail};
use super::report;
use crate::{Ctx, StageError};
use ndarray::Array2;
use std::collections::HashSet;
use vitreous_formats::{open_image, table};
use vitreous_jobs::select_2d::Select2d;
use vitreous_model::class_average::ClassAverages;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::params::Validate;
use vitreous_model::particle::{Particle, ParticleSet};
use vitreous_model::report::Report;

/// Runs the job; all of it on rank 0.
///
/// # Errors
/// Inputs that are broken or do not belong together; no particle left.
pub fn run(ctx: &Ctx<'_>) -> Result<Report, StageError> {
    let params: Select2d = ctx.params()?;
    params.validate()?;
    if !ctx.is_root() {
        return Ok(Report::new(""));
    }
    let particles = ctx.input("particles")?;
    let set = table::particles::read(&particles.path)?;
    let averages = table::class_averages::read(&ctx.input("class-averages")?.path)?;
    check_classes(&set, &averages)?;
    let decisions = choose(&params, &averages.classes)?;
    let kept: HashSet<u32> = decisions.iter().filter(|d| d.reason.is_none()).map(|d| d.number).collect();
    let is_kept = |particle: &Particle| {
        particle.class.is_some_and(|class| {
            // a probability that is not known does not count against it
            let likely = class.probability.is_nan() || class.probability >= params.min_probability;
            kept.contains(&class.number) && likely
        })
    };
    let (good, rejected): (Vec<Particle>, Vec<Particle>) = set.particles.iter().cloned().partition(is_kept);
    if good.is_empty() {
        return Err(StageError::input(
            format!("no particle is left of {}", set.particles.len()),
            "name the classes to keep (--classes), or ask for less (--min-detail 0)",
        ));
    }
    let images = read_averages(ctx, &averages)?;
    write(ctx, &set, &averages, &decisions, good.clone(), rejected)?;
    Ok(report::report(&report::Story {
        averages: &averages,
        images: &images,
        decisions: &decisions,
        usual_detail: usual_detail(&averages.classes),
        kept: good.len(),
        total: set.particles.len(),
        job: &particles.job,
    }))
}

fn check_classes(set: &ParticleSet, averages: &ClassAverages) -> Result<(), StageError> {
    let known: HashSet<u32> = averages.classes.iter().map(|class| class.number).collect();
    let classes: HashSet<u32> = set.particles.iter().filter_map(|p| p.class.map(|c| c.number)).collect();
    if classes.is_empty() {
        return Err(StageError::input(
            "no particle has a class",
            "give the particles that classify-2d made, with the averages of the same job",
        ));
    }
    match classes.iter().filter(|class| !known.contains(class)).min() {
        None => Ok(()),
        Some(class) => Err(StageError::input(
            format!("there are particles of class {class}, but no average of it"),
            "give particles and averages of the same classify-2d job",
        )),
    }
}

/// The averages' images, by row of the table.
fn read_averages(ctx: &Ctx<'_>, averages: &ClassAverages) -> Result<Vec<Array2<f32>>, StageError> {
    let source = open_image(&ctx.resolve(&averages.stack_path))?;
    let n = averages.box_px as usize;
    let header = source.header();
    let last = averages.classes.iter().map(|class| class.stack_index as usize + 1).max().unwrap_or(0);
    if (header.width, header.height) != (n, n) || header.frames < last {
        return Err(StageError::input(
            format!(
                "{}: {} images of {} × {} px, the table says {last} of {n} × {n}",
                averages.stack_path, header.frames, header.width, header.height
            ),
            "the stack was changed; run classify-2d again",
        ));
    }
    let read = |index: u32| -> Result<Array2<f32>, StageError> {
        let mut image = Array2::zeros((n, n));
        source
            .read_frame_at(index as usize, image.as_slice_mut().expect("a new image should be contiguous"))?;
        Ok(image)
    };
    averages.classes.iter().map(|class| read(class.stack_index)).collect()
}

fn write(
    ctx: &Ctx<'_>,
    set: &ParticleSet,
    averages: &ClassAverages,
    decisions: &[Decision],
    good: Vec<Particle>,
    rejected: Vec<Particle>,
) -> Result<(), StageError> {
    let sized =
        |output: Output| Output { pixel_size_a: Some(set.pixel_size_a), box_px: Some(set.box_px), ..output };
    for (slot, file, particles) in
        [("particles", "particles.h5", good), ("rejected", "rejected.h5", rejected)]
    {
        let part = ParticleSet { particles, ..set.clone() };
        ctx.create_at_path(file, |path| table::particles::write(path, &part))?;
        ctx.output(sized(Output::new(slot, Kind::Particles, file, part.particles.len() as u64)));
    }
    let kept = decisions.iter().zip(&averages.classes).filter(|(decision, _)| decision.reason.is_none());
    let classes = kept.map(|(_, class)| *class).collect();
    let part = ClassAverages { classes, ..averages.clone() };
    ctx.create_at_path("class-averages.h5", |path| table::class_averages::write(path, &part))?;
    let count = part.classes.len() as u64;
    ctx.output(sized(Output::new("class-averages", Kind::ClassAverages, "class-averages.h5", count)));
    Ok(())
}
