//! The sequence: each kind of measurement on all ranks at the same time, then what they exchange.

use super::compared::RankFigures;
use super::measured::Measured;
use super::simd::multiply_add;
use super::{device, disk, memory, messages, processor, report};
use crate::machine::Seen;
use crate::{Ctx, StageError, ranks};
use std::path::PathBuf;
use vitreous_compute::ops::ceilings::Ceilings;
use vitreous_compute::ops::insert::Insert;
use vitreous_compute::ops::pose_search::PoseSearch;
use vitreous_jobs::benchmark::Benchmark;
use vitreous_model::event::EventKind;
use vitreous_model::params::Validate;
use vitreous_model::report::Report;

pub(super) fn run<D: Ceilings + PoseSearch + Insert>(
    ctx: &Ctx<'_>,
    device: &D,
) -> Result<Report, StageError> {
    let params: Benchmark = ctx.params()?;
    params.validate()?;
    let mut mine = RankFigures {
        seen: Seen::here(ctx),
        vectors: multiply_add().1.into(),
        measured: Vec::new(),
        refused: Vec::new(),
        file_systems: Vec::new(),
    };
    begin(ctx, "processors")?;
    mine.measured.extend(processor::measure(params.seconds, ctx.threads));
    begin(ctx, "memories")?;
    mine.measured.extend(memory::measure(params.seconds, params.memory));
    begin(ctx, "devices")?;
    let (figures, failure) = match device::device_figures(ctx, device, params.seconds) {
        Ok(figures) => (figures, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    crate::items::agree(ctx, failure)?;
    mine.measured.extend(figures);
    begin(ctx, "disks")?;
    if params.disk > 0 && is_first_on_host(ctx)? {
        measure_disks(ctx, &params, &mut mine)?;
    }
    begin(ctx, "messages between ranks")?;
    let exchanges = messages::measure(ctx.comm, params.seconds, params.message);
    let all = ranks::share_records(ctx, &[mine])?;
    Ok(report::make(&all, &exchanges, params.slow))
}

/// Lets all ranks begin together, unless they are to stop.
fn begin(ctx: &Ctx<'_>, what: &str) -> Result<(), StageError> {
    ctx.check_stop_together()?;
    ctx.say(EventKind::Phase { name: format!("measuring {what}"), total: 0 });
    ctx.comm.barrier();
    Ok(())
}

/// Whether no rank before this one is on its host.
fn is_first_on_host(ctx: &Ctx<'_>) -> Result<bool, StageError> {
    let hosts = ranks::share_records(ctx, std::slice::from_ref(&ctx.host))?;
    Ok(hosts.iter().position(|host| *host == ctx.host) == Some(ctx.comm.rank()))
}

/// Measures the project's disk and that of the node's scratch. One that refuses is told, not fatal.
///
/// # Errors
/// A stop.
fn measure_disks(ctx: &Ctx<'_>, params: &Benchmark, mine: &mut RankFigures) -> Result<(), StageError> {
    let places: [(&str, Option<PathBuf>); 2] =
        [("project", Some(ctx.job_dir.clone())), ("scratch", ctx.scratch_dir.clone())];
    for (place, folder) in places {
        let Some(folder) = folder else { continue };
        match disk::measure(ctx, place, &folder, params.disk, params.seconds) {
            Ok(found) => {
                mine.measured.extend::<Vec<Measured>>(found.measured);
                mine.file_systems.push((place.into(), found.file_system));
            }
            // the others wait at the next step, where all stop together
            Err(StageError::Stopped | StageError::Superseded) => return Ok(()),
            Err(error) => {
                let why = match &error {
                    StageError::Io { source, .. } => source.to_string(),
                    other => other.to_string(),
                };
                mine.refused.push((place.into(), why));
            }
        }
    }
    Ok(())
}
