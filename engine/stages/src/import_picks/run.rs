//! Files of picks → table of picks. Every rank reads them (that is quick), rank 0 writes.

use super::read::{Given, Place, read};
use super::report;
use crate::exposure_files::names::Names;
use crate::{Ctx, StageError, exposure_files, micrograph};
use std::collections::BTreeMap;
use vitreous_formats::table;
use vitreous_jobs::import_picks::{ImportPicks, YOrigin};
use vitreous_model::exposure::ExposureSet;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::particle::{Pick, PickSet};
use vitreous_model::report::Report;

/// What became of the positions that were given.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    /// Picks of each exposure, by its index.
    pub picks: BTreeMap<usize, Vec<Pick>>,
    /// Names that mean no exposure, with the number of their picks.
    pub unknown: BTreeMap<String, usize>,
    /// Exposures with picks outside of the micrograph, and how many.
    pub outside: BTreeMap<usize, usize>,
    /// Picks under the least score.
    pub weak: usize,
}

/// The stage.
pub(super) fn run(ctx: &Ctx<'_>) -> Result<Report, StageError> {
    let params: ImportPicks = ctx.params()?;
    params.validate()?;
    let pattern = params.picks.as_deref().ok_or_else(|| BadParam::new("picks", "", "is required"))?;
    let diameter_a = params.diameter.ok_or_else(|| BadParam::new("diameter", "", "is required"))?;
    let set = micrograph::read_set(ctx)?;
    let mut given = Vec::new();
    let files = exposure_files::find(ctx, "picks", pattern, None)?;
    for file in &files {
        ctx.check_stop()?;
        given.extend(read(file)?);
    }
    if let (true, Some(first)) = (given.is_empty(), files.first()) {
        let others =
            if files.len() > 1 { format!(", nor do the {} others", files.len() - 1) } else { String::new() };
        return Err(StageError::input(
            format!("{}: holds no positions{others}", first.display()),
            "give the files that the picker wrote its positions to",
        ));
    }
    let sorted = sort(&set, &given, &params)?;
    leave_out(ctx, &set, &sorted, given.len(), params.max_bad_fraction)?;
    if !ctx.is_root() {
        return Ok(Report::new(""));
    }
    let report = report::make(ctx, &set, &sorted, diameter_a);
    write(ctx, sorted, diameter_a)?;
    Ok(report)
}

/// Finds the exposure and the pixel of every position.
fn sort(set: &ExposureSet, given: &[Given], params: &ImportPicks) -> Result<Sorted, StageError> {
    let names = Names::of(set);
    let mut sorted = Sorted::default();
    let mut found: BTreeMap<&str, Option<usize>> = BTreeMap::new();
    for one in given {
        if params.min_score.is_some_and(|least| one.score < least) {
            sorted.weak += 1;
            continue;
        }
        let exposure = *found.entry(&one.micrograph).or_insert_with(|| names.find(&one.micrograph));
        let source = exposure.and_then(|index| Some((index, set.exposures[index].micrograph.as_ref()?)));
        let Some((index, source)) = source else {
            *sorted.unknown.entry(one.micrograph.clone()).or_default() += 1;
            continue;
        };
        let size_px = [f64::from(source.width), f64::from(source.height)];
        let [x_px, y_px] = match &one.place {
            Place::Pixels(at) => at.map(|v| v * params.scale),
            Place::Fraction(pick) => pick.position_px(size_px, is_mirrored(params)?),
        };
        if (0.0..size_px[0]).contains(&x_px) && (0.0..size_px[1]).contains(&y_px) {
            let exposure = set.exposures[index].name.clone();
            sorted.picks.entry(index).or_default().push(Pick { exposure, x_px, y_px, score: one.score });
        } else {
            *sorted.outside.entry(index).or_default() += 1;
        }
    }
    Ok(sorted)
}

/// Whether y runs the other way than here; only CryoSPARC's files leave that open.
fn is_mirrored(params: &ImportPicks) -> Result<bool, StageError> {
    let origin = params.y_origin.ok_or_else(|| {
        BadParam::new("y_origin", "", "is required for .cs files").hint(
            "give --y-origin first-row for micrographs that CryoSPARC summed, last-row for others, and look at the \
             pictures of the report",
        )
    })?;
    Ok(origin == YOrigin::LastRow)
}

/// Lists what is left out, or refuses it all when there is too much of it.
fn leave_out(
    ctx: &Ctx<'_>,
    set: &ExposureSet,
    sorted: &Sorted,
    total: usize,
    max_bad_fraction: f64,
) -> Result<(), StageError> {
    let plural = |n: usize| if n == 1 { "pick".to_string() } else { format!("{n} picks") };
    let unknown = sorted.unknown.iter().map(|(name, n)| {
        (format!("{} of {name}", plural(*n)), "no micrograph of the input has this name".to_string())
    });
    let outside = sorted.outside.iter().map(|(index, n)| {
        let exposure = &set.exposures[*index];
        let size = exposure.micrograph.as_ref().map_or([0, 0], |m| [m.width, m.height]);
        let why = format!("outside of its {} × {} px (is `scale` right?)", size[0], size[1]);
        (format!("{} of {}", plural(*n), exposure.name), why)
    });
    let all: Vec<(String, String)> = unknown.chain(outside).collect();
    let bad = sorted.unknown.values().chain(sorted.outside.values()).sum::<usize>();
    let considered = total - sorted.weak;
    if let Some((item, why)) = all.first().filter(|_| bad as f64 > max_bad_fraction * considered as f64) {
        return Err(StageError::TooManyBad {
            what: "picks".into(),
            bad,
            total: considered,
            allowed: max_bad_fraction,
            first: format!("{item}: {why}"),
        });
    }
    if ctx.is_root() {
        all.into_iter().for_each(|(item, why)| ctx.skip(item, why));
    }
    Ok(())
}

fn write(ctx: &Ctx<'_>, sorted: Sorted, diameter_a: f64) -> Result<(), StageError> {
    const FILE: &str = "picks.h5";
    let picks: Vec<Pick> = sorted.picks.into_values().flatten().collect();
    let count = picks.len() as u64;
    ctx.create_at_path(FILE, |path| {
        table::picks::write(path, &PickSet { diameter_a, picks, ..PickSet::default() })
    })?;
    ctx.output(Output::new("picks", Kind::Picks, FILE, count));
    Ok(())
}
