//! STAR file, dataset or parameters → table of particles. Every rank reads it (that is quick), rank 0 writes.

use super::places::Places;
use super::roots::Roots;
use super::{dataset, parameters, report};
use crate::exposure_files::table_path;
use crate::particle_images::{ParticleImages, UnfitParticle};
use crate::{Ctx, StageError};
use std::collections::HashMap;
use std::path::Path;
use vitreous_formats::open_image;
use vitreous_formats::star::StarError;
use vitreous_formats::star::convert::{Fallback, Imported, read_particles};
use vitreous_formats::table;
use vitreous_jobs::import_particles::ImportParticles;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::particle::ParticleSet;
use vitreous_model::report::Report;

/// Name of the table in the job's folder.
const TABLE: &str = "particles.h5";
/// What to do when images are nowhere.
const GIVE_ROOT: &str = "give --root: the folder that paths in the file are relative to (the project directory of RELION or CryoSPARC)";

/// Does the job.
///
/// # Errors
/// A file that cannot be read or lacks what is needed, or too many missing images.
pub fn run(ctx: &Ctx<'_>) -> Result<Report, StageError> {
    let params: ImportParticles = ctx.params()?;
    params.validate()?;
    let file = params.star.as_deref().or(params.dataset.as_deref()).or(params.par.as_deref());
    let file = file.ok_or_else(|| BadParam::new("star", "", "is required"))?;
    let file = ctx.resolve(&file.to_string_lossy());
    let root = params.root.as_deref().map(|root| ctx.resolve(&root.to_string_lossy()));
    let mut imported = read(ctx, &file, root.as_deref(), &params)?;
    set_box(ctx, &file, &mut imported.value)?;
    let (images, unfit) = ParticleImages::open(ctx, &imported.value);
    leave_out(ctx, &imported.value, &unfit, params.max_bad_fraction)?;
    let places = Places::look(ctx, &mut imported, &images, &file, root.as_deref(), params.y_origin)?;
    let mut index = 0;
    imported.value.particles.retain(|_| {
        index += 1;
        images.has(index - 1)
    });
    if !ctx.is_root() {
        return Ok(Report::new("Particles"));
    }
    let set = &imported.value;
    ctx.create_at_path(TABLE, |path| table::particles::write(path, set))?;
    ctx.output(Output {
        pixel_size_a: Some(set.pixel_size_a),
        box_px: Some(set.box_px),
        ..Output::new("particles", Kind::Particles, TABLE, set.particles.len() as u64)
    });
    let mut report = report::make(ctx, &imported, unfit.len());
    places.tell(&mut report);
    Ok(report)
}

/// Reads the file of whichever kind; paths become absolute or relative to the project.
fn read(
    ctx: &Ctx<'_>,
    file: &Path,
    root: Option<&Path>,
    params: &ImportParticles,
) -> Result<Imported<ParticleSet>, StageError> {
    let fallback = Fallback {
        pixel_size_a: params.pixel_size,
        voltage_kv: params.voltage,
        cs_mm: params.cs,
        amplitude_contrast: params.amplitude_contrast,
    };
    match (&params.dataset, &params.par) {
        (Some(_), _) => return dataset::read(ctx, file, root, params, fallback),
        (None, Some(_)) => return parameters::read(ctx, file, root, params, fallback),
        (None, None) => {}
    }
    let roots = Roots::new(file, root);
    let resolve = |path: &str| table_path(ctx, &roots.absolute(path));
    read_particles(file, &resolve, &fallback).map_err(|error| {
        let hint = match &error {
            StarError::MissingColumn { column, .. } if column.starts_with("rlnVoltage") => "give --voltage",
            StarError::MissingColumn { column, .. } if column.starts_with("rlnSpherical") => "give --cs",
            StarError::MissingColumn { column, .. } if column.starts_with("rlnAmplitude") => {
                "give --amplitude-contrast"
            }
            StarError::MissingColumn { needed_for, .. } if needed_for.contains("pixel size") => {
                "give --pixel-size"
            }
            _ => "give a particles STAR file of RELION, such as run_data.star or particles.star",
        };
        StageError::input(error.to_string(), hint)
    })
}

/// The box of a file that does not say it is that of its first readable stack.
fn set_box(ctx: &Ctx<'_>, file: &Path, set: &mut ParticleSet) -> Result<(), StageError> {
    if set.box_px > 0 {
        return Ok(());
    }
    let header = set
        .particles
        .iter()
        .find_map(|p| Some(open_image(&ctx.resolve(&p.stack_path)).ok()?.header().clone()));
    let header = header.ok_or_else(|| {
        StageError::input(format!("{}: no image stack of it can be read", file.display()), GIVE_ROOT)
    })?;
    if header.width != header.height {
        let what =
            format!("{}: images are {} × {} px, not square", file.display(), header.width, header.height);
        return Err(StageError::input(what, "extract them in square boxes"));
    }
    set.box_px = header.width as u32;
    Ok(())
}

/// Lists unfit particles as skipped, one line a stack, or refuses the set when there are too many.
fn leave_out(
    ctx: &Ctx<'_>,
    set: &ParticleSet,
    unfit: &[UnfitParticle],
    max_bad_fraction: f64,
) -> Result<(), StageError> {
    let (bad, total) = (unfit.len(), set.particles.len());
    let Some(first) = unfit.first() else { return Ok(()) };
    if bad == total {
        let what = format!("none of {total} particles has a usable image; first: {}", first.reason);
        return Err(StageError::input(what, GIVE_ROOT));
    }
    if bad as f64 > max_bad_fraction * total as f64 {
        return Err(StageError::TooManyBad {
            what: "particles".into(),
            bad,
            total,
            allowed: max_bad_fraction,
            first: format!("{}: {}", first.item, first.reason),
        });
    }
    if ctx.is_root() {
        for (stack, count, reason) in by_stack(set, unfit) {
            let particles = if count == 1 { "particle" } else { "particles" };
            ctx.skip(format!("{stack} ({count} {particles})"), reason);
        }
    }
    Ok(())
}

/// Stacks with unfit particles in their order, how many, and the first one's reason.
fn by_stack<'a>(set: &'a ParticleSet, unfit: &'a [UnfitParticle]) -> Vec<(&'a str, usize, &'a str)> {
    let mut stacks: Vec<(&str, usize, &str)> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for particle in unfit {
        let stack = set.particles[particle.index].stack_path.as_str();
        let place = *places.entry(stack).or_insert_with(|| {
            stacks.push((stack, 0, particle.reason.as_str()));
            stacks.len() - 1
        });
        stacks[place].1 += 1;
    }
    stacks
}
