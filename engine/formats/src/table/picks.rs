//! Tables of picked positions: kind `picks`, group `picks`, attribute `diameter_a`.

use super::{ColumnDef, GroupReader, Table, TableError, TableReader, TableWriter};
use std::path::Path;
use vitreous_model::outputs::Kind;
use vitreous_model::particle::{Pick, PickSet, Surroundings, TemplateMatch};

const GROUP: &str = "picks";
const DIAMETER: &str = "diameter_a";
const EXPOSURE: ColumnDef = ColumnDef::new("exposure", "", "Name of the exposure; empty: unknown origin");
const X: ColumnDef =
    ColumnDef::new("x_px", "px", "Column of the centre in the micrograph; the first pixel's is 0");
const Y: ColumnDef = ColumnDef::new("y_px", "px", "Row of the centre; row 0 is the first stored row");
const SCORE: ColumnDef = ColumnDef::new("pick_score", "", "Score of the picker, larger is better; NaN: none");
const TEMPLATE: ColumnDef = ColumnDef::new("template", "", "Template that fits best, from 0");
const ANGLE: ColumnDef =
    ColumnDef::new("template_angle_deg", "deg", "Angle by which it is turned in the plane, from x towards y");
const LOCAL_SD: ColumnDef = ColumnDef::new(
    "local_sd",
    "",
    "Standard deviation within a diameter, over the micrograph's usual one; NaN: not known",
);
const LOCAL_MEAN: ColumnDef = ColumnDef::new(
    "local_mean",
    "sd",
    "Mean within a diameter above the micrograph's level, particles bright, in its standard deviations",
);

/// Writes picks.
///
/// # Errors
/// The library's refusal.
pub fn write(path: &Path, set: &PickSet) -> Result<(), TableError> {
    let mut writer = TableWriter::create(path, Kind::Picks.name())?;
    writer.attribute(DIAMETER, set.diameter_a)?;
    let mut table = Table::new(GROUP);
    push(&mut table, set.picks.iter().map(Some));
    if !set.matches.is_empty() {
        table.u32(TEMPLATE, set.matches.iter().map(|found| found.template));
        table.f64(ANGLE, set.matches.iter().map(|found| found.angle_deg));
    }
    if !set.surroundings.is_empty() {
        table.f64(LOCAL_SD, set.surroundings.iter().map(|around| around.local_sd));
        table.f64(LOCAL_MEAN, set.surroundings.iter().map(|around| around.local_mean));
    }
    writer.write(&table)?;
    writer.finish()
}

/// Reads picks.
///
/// # Errors
/// A file that is absent, broken, of another kind, lacks a column, or a pick without exposure.
pub fn read(path: &Path) -> Result<PickSet, TableError> {
    let file = TableReader::open_kind(path, &[Kind::Picks.name()])?;
    let group = file.group(GROUP)?;
    let pick = |(row, pick): (usize, Option<Pick>)| {
        pick.ok_or_else(|| group.bad(EXPOSURE, row, "no name", "the name of an exposure"))
    };
    let picks = read_columns(&group)?.into_iter().enumerate().map(pick).collect::<Result<_, _>>()?;
    let matches = if group.has(TEMPLATE.name) {
        let (templates, angles) = (group.u32(TEMPLATE)?, group.f64(ANGLE)?);
        let fit = |(template, angle_deg)| TemplateMatch { template, angle_deg };
        templates.into_iter().zip(angles).map(fit).collect()
    } else {
        Vec::new()
    };
    let surroundings = if group.has(LOCAL_SD.name) {
        let (sds, means) = (group.f64(LOCAL_SD)?, group.f64(LOCAL_MEAN)?);
        let around = |(local_sd, local_mean)| Surroundings { local_sd, local_mean };
        sds.into_iter().zip(means).map(around).collect()
    } else {
        Vec::new()
    };
    Ok(PickSet { diameter_a: file.attribute(DIAMETER)?, picks, matches, surroundings })
}

/// Adds the four columns; an empty name where there is no pick.
pub(super) fn push<'a>(table: &mut Table, rows: impl Iterator<Item = Option<&'a Pick>> + Clone) {
    let number = |value: fn(&Pick) -> f64| rows.clone().map(move |pick| pick.map_or(f64::NAN, value));
    table.text(EXPOSURE, rows.clone().map(|pick| pick.map_or("", |p| p.exposure.as_str())));
    table.f64(X, number(|p| p.x_px));
    table.f64(Y, number(|p| p.y_px));
    table.f64(SCORE, number(|p| p.score));
}

/// Reads them back.
pub(super) fn read_columns(group: &GroupReader<'_>) -> Result<Vec<Option<Pick>>, TableError> {
    let (names, x, y, score) = (group.text(EXPOSURE)?, group.f64(X)?, group.f64(Y)?, group.f64(SCORE)?);
    let row = |(i, exposure): (usize, String)| {
        (!exposure.is_empty()).then(|| Pick { exposure, x_px: x[i], y_px: y[i], score: score[i] })
    };
    Ok(names.into_iter().enumerate().map(row).collect())
}
