//! The sequence: the model, the steps, the checks, the verdict.

use super::checks::Check;
use super::course::{self, Course};
use super::maps::Maps;
use super::particles::{Picked, PoseErrors};
use super::plan::{self, Step, folder};
use super::report::{Story, TO_SEND};
use super::{exposures, particles};
use crate::machine::{self, Seen};
use crate::{Ctx, StageError};
use std::io::Write as _;
use vitreous_jobs::selftest::Selftest;
use vitreous_model::event::EventKind;
use vitreous_model::params::Validate;
use vitreous_model::report::{Figure, Report};

pub(super) fn run(ctx: &Ctx<'_>) -> Result<Report, StageError> {
    let params: Selftest = ctx.params()?;
    params.validate()?;
    write_model(ctx)?;
    let steps = plan::steps(&params, &ctx.table_path(plan::MODEL_FILE));
    let machines = machine::all(ctx)?;
    let course = course::run(ctx, &steps)?;
    judge(ctx, &params, &steps, &course, &machines)
}

/// Writes the molecule, and lets no rank go on before it is there.
fn write_model(ctx: &Ctx<'_>) -> Result<(), StageError> {
    let written = if ctx.is_root() {
        let path = ctx.job_dir.join(plan::MODEL_FILE);
        let io = |source| StageError::io(&path, source);
        ctx.create(plan::MODEL_FILE, |out| out.write_all(plan::MODEL).map_err(io)).map(|_| ())
    } else {
        Ok(())
    };
    crate::items::agree(ctx, written.err())
}

/// Holds what came out against the truth, on rank 0; all ranks end in the same way.
pub(super) fn judge(
    ctx: &Ctx<'_>,
    params: &Selftest,
    steps: &[Step],
    course: &Course,
    machines: &[Seen],
) -> Result<Report, StageError> {
    ctx.say(EventKind::Phase { name: "comparing with the truth".into(), total: 0 });
    let judged = ctx.is_root().then(|| compare(ctx, params, steps, course)).transpose();
    let (compared, failure) = match judged {
        Ok(compared) => (compared, None),
        Err(error) => (None, Some(error)),
    };
    crate::items::agree(ctx, failure)?;
    let mut report = Report::new("Self-test");
    let mut complaint = Vec::new();
    if let Some((checks, figures)) = compared {
        let versions = machine::versions(ctx);
        let story = Story { steps, course, checks: &checks, machines, versions: &versions, figures };
        complaint = story.complaint().unwrap_or_default().into_bytes();
        report = story.report();
    }
    ctx.comm.broadcast(0, &mut complaint);
    if !complaint.is_empty() {
        let what = String::from_utf8_lossy(&complaint).into_owned();
        let hint = format!(
            "`vitreous report` shows every check; to ask for help, send {TO_SEND}; a new self-test tells whether it comes again"
        );
        return Err(StageError::Unmet { what, hint, report: Box::new(report) });
    }
    if ctx.is_root() {
        hand_on(ctx, course);
    }
    Ok(report)
}

/// All checks of what there is, and the pictures.
fn compare(
    ctx: &Ctx<'_>,
    params: &Selftest,
    steps: &[Step],
    course: &Course,
) -> Result<(Vec<Check>, Vec<Figure>), StageError> {
    let tracks = exposures::tracks(ctx, course)?;
    let ctfs = exposures::ctfs(ctx, course)?;
    let picked = Picked::read(ctx, course)?;
    let poses = PoseErrors::read(ctx, course)?;
    let maps = Maps::read(ctx, course)?;
    let mut checks = exposures::simulation(course, params.movies);
    checks.extend(exposures::motion(course, &tracks, params.movies));
    checks.extend(exposures::ctf(course, &ctfs, params.movies));
    checks.extend(picked.iter().flat_map(Picked::checks));
    checks.extend(particles::extraction(course));
    checks.extend(poses.iter().flat_map(PoseErrors::checks));
    checks.extend(maps.checks(course));
    checks.sort_by_key(|check| steps.iter().position(|step| step.job_type == check.job_type));
    let mut figures = maps.figures();
    if let Some(picked) = &picked {
        figures.extend(picked.figure(ctx, course)?);
    }
    figures.extend(exposures::track_figure(&tracks));
    figures.extend(exposures::defocus_figure(&ctfs));
    Ok((checks, figures))
}

/// Declares the refined map with its halves as this job's output.
fn hand_on(ctx: &Ctx<'_>, course: &Course) {
    let Some(volume) = course.output(folder::REFINED, "volume") else { return };
    let mut volume = volume.clone();
    let inside = |file: &str| format!("{}/{file}", folder::REFINED);
    volume.path = inside(&volume.path);
    volume.parts.values_mut().for_each(|file| *file = inside(file));
    ctx.output(volume);
}
