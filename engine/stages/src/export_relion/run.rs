//! Tables → STAR files. It takes seconds, so rank 0 does it alone.

use crate::{Ctx, StageError};
use std::collections::BTreeMap;
use std::path::Path;
use vitreous_formats::open_image;
use vitreous_formats::samples::SampleType;
use vitreous_formats::star::StarError;
use vitreous_formats::star::convert::{coordinate_blocks, micrograph_blocks, particle_blocks};
use vitreous_formats::star::writer::{self, BlockOut};
use vitreous_formats::table;
use vitreous_jobs::export_relion::ExportRelion;
use vitreous_model::exposure::ExposureSet;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::particle::{ParticleSet, Pick};
use vitreous_model::report::Report;

const PARTICLES: &str = "particles.star";
const MICROGRAPHS: &str = "micrographs.star";
const COORDINATES: &str = "coordinates";

/// Does the job.
///
/// # Errors
/// No input, a broken table, or a set that RELION's files cannot hold.
pub fn run(ctx: &Ctx<'_>) -> Result<Report, StageError> {
    let params: ExportRelion = ctx.params()?;
    let mut report = Report::new("Export for RELION");
    if !ctx.is_root() {
        return Ok(report);
    }
    let particles =
        ctx.optional_input("particles").map(|input| table::particles::read(&input.path)).transpose()?;
    let exposures =
        ctx.optional_input("micrographs").map(|input| table::exposures::read(&input.path)).transpose()?;
    if particles.is_none() && exposures.is_none() {
        return Err(StageError::input(
            "there is nothing to export: neither particles nor micrographs were given",
            "name a job that makes them: --particles J9, --micrographs J3",
        ));
    }
    let absolute = |path: &str| ctx.resolve(path).to_string_lossy().into_owned();
    let as_it_is = |path: &str| path.to_string();
    let paths: &dyn Fn(&str) -> String = if params.relative_paths { &as_it_is } else { &absolute };
    let mut files = Vec::new();
    if let Some(set) = &particles {
        let path = ctx.job_dir.join(PARTICLES);
        files.push(write(
            ctx,
            PARTICLES,
            &particle_blocks(&path, set, exposures.as_ref(), paths).map_err(unfit)?,
        )?);
        files.extend(write_coordinates(ctx, set)?);
        report_particles(&mut report, set, exposures.is_some());
        report.notes.extend(half_precision(ctx, set));
    }
    if let Some(set) = &exposures {
        let path = ctx.job_dir.join(MICROGRAPHS);
        files.push(write(ctx, MICROGRAPHS, &micrograph_blocks(&path, set, paths).map_err(unfit)?)?);
        report_micrographs(&mut report, set);
    }
    if params.relative_paths {
        let folder = ctx.project_dir.display();
        report
            .notes
            .push(format!("paths are relative to {folder}: start RELION there, or link that folder's jobs"));
    }
    report.number("files", "Files", files.len() as f64, "");
    let parts: BTreeMap<String, String> = files
        .iter()
        .filter_map(|file| Some((file.strip_suffix(".star")?.replace('/', "-"), file.clone())))
        .collect();
    ctx.output(Output { parts, ..Output::new("files", Kind::Files, &files[0], files.len() as u64) });
    Ok(report)
}

/// A set that RELION's files cannot hold.
fn unfit(error: StarError) -> StageError {
    StageError::input(error.to_string(), "")
}

fn write(ctx: &Ctx<'_>, name: &str, blocks: &[BlockOut]) -> Result<String, StageError> {
    ctx.create(name, |out| match writer::write(out, Path::new(name), blocks) {
        Err(StarError::Io { source, .. }) => Err(StageError::io(&ctx.job_dir.join(name), source)),
        other => other.map_err(unfit),
    })?;
    Ok(name.into())
}

/// One file of positions for each micrograph that has particles.
fn write_coordinates(ctx: &Ctx<'_>, set: &ParticleSet) -> Result<Vec<String>, StageError> {
    let mut by_micrograph: BTreeMap<&str, Vec<&Pick>> = BTreeMap::new();
    for pick in set.particles.iter().filter_map(|particle| particle.pick.as_ref()) {
        by_micrograph.entry(&pick.exposure).or_default().push(pick);
    }
    let file = |(name, picks): (&str, Vec<&Pick>)| {
        write(ctx, &format!("{COORDINATES}/{name}_picks.star"), &coordinate_blocks(picks.into_iter()))
    };
    by_micrograph.into_iter().map(file).collect()
}

fn report_particles(report: &mut Report, set: &ParticleSet, with_micrographs: bool) {
    let count = |test: fn(&vitreous_model::particle::Particle) -> bool| {
        set.particles.iter().filter(|p| test(p)).count()
    };
    report.number("particles", "Particles", set.particles.len() as f64, "");
    let posed = count(|p| p.pose.is_some());
    report.number("with_pose", "With a pose", posed as f64, "");
    if posed > 0 && posed < set.particles.len() {
        let without = set.particles.len() - posed;
        report
            .notes
            .push(format!("{without} particles without a pose were written with zeros, as RELION does"));
    }
    if count(|p| p.pick.is_some()) > 0 && !with_micrographs {
        let note = "micrographs were not given: particles name NAME.mrc, and coordinates are taken to be at the \
                    particles' pixel size";
        report.notes.push(note.into());
    }
    let other = set.particles.iter().find(|p| !p.stack_path.ends_with(".mrcs") && !p.stack_path.is_empty());
    if let Some(particle) = other {
        let path = &particle.stack_path;
        report
            .notes
            .push(format!("RELION takes a file for an image stack by its ending .mrcs; {path} has another"));
    }
}

/// A remark on 16-bit floats, going by the first stack that can be opened: a set is written by one job.
fn half_precision(ctx: &Ctx<'_>, set: &ParticleSet) -> Option<String> {
    let first = set.particles.iter().find_map(|p| open_image(&ctx.resolve(&p.stack_path)).ok())?;
    (first.header().sample == SampleType::Float16).then(|| {
        "images are 16-bit floats (MRC mode 12), which RELION reads from version 4 on; restack-particles writes 32-bit ones"
            .into()
    })
}

fn report_micrographs(report: &mut Report, set: &ExposureSet) {
    let count = |test: fn(&vitreous_model::exposure::Exposure) -> bool| {
        set.exposures.iter().filter(|e| test(e)).count()
    };
    let all = count(|e| e.micrograph.is_some());
    report.number("micrographs", "Micrographs", all as f64, "");
    for (have, what) in [
        (count(|e| e.ctf.is_some()), "CTF"),
        (count(|e| e.motion.is_some()), "motion"),
        (
            count(|e| e.micrograph.as_ref().is_some_and(|m| !m.motion_star_path.is_empty())),
            "motion STAR file",
        ),
    ] {
        if have > 0 && have < all {
            report
                .notes
                .push(format!("only {have} of {all} micrographs have a {what}: its columns were left out"));
        }
    }
}
