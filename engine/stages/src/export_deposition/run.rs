//! The sequence: maps on one grid, their FSC, the records of the jobs behind them; then the files. Rank 0 does all of it.

use super::history::History;
use super::maps::Maps;
use super::{methods, report, table};
use crate::{Ctx, StageError};
use std::collections::BTreeMap;
use std::io::Write;
use vitreous_compute::fsc::{CorrectedFsc, corrected_fsc};
use vitreous_formats::fsc_xml::FscCurve;
use vitreous_jobs::export_deposition::ExportDeposition;
use vitreous_model::conventions::resolution_at;
use vitreous_model::event::EventKind;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::params::Validate;
use vitreous_model::report::Report;

/// What the maps and parameters say.
pub(super) struct Found {
    /// Name of the structure.
    pub name: String,
    /// Edge of the box, voxels.
    pub n: usize,
    /// Voxel edge, Å.
    pub voxel_a: f64,
    /// Position of the first voxel, Å.
    pub origin_a: [f64; 3],
    /// Contour level, if one was given.
    pub contour: Option<f64>,
    /// FSC of the halves.
    pub fsc: CorrectedFsc,
    /// Where it falls under 0.143, Å.
    pub resolution_a: f64,
    /// Whether it falls under it at all.
    pub fell: bool,
    /// The mask was made here.
    pub own_mask: bool,
    /// The job that made the map from particles.
    pub maker: Option<String>,
    /// The job that sharpened the primary map.
    pub sharpener: Option<String>,
}

/// Does the job.
///
/// # Errors
/// Maps that are missing, broken, or not on one grid; files that cannot be written.
pub(super) fn run(ctx: &Ctx<'_>) -> Result<Report, StageError> {
    let params: ExportDeposition = ctx.params()?;
    params.validate()?;
    if !ctx.is_root() {
        return Ok(Report::new(""));
    }
    ctx.say(EventKind::Phase { name: "deposition".into(), total: 0 });
    let maps = Maps::load(ctx)?;
    let history = History { jobs: (ctx.lineage)() };
    let found = found(ctx, &params, &maps, &history)?;
    ctx.check_stop()?;
    let mut files = maps.write(ctx, &params.prefix)?;
    files.extend(write_curves(ctx, &params.prefix, &found)?);
    let rows = table::rows(&history, &found);
    let mut write = |file: &str, text: String| {
        files.push(file.to_string());
        ctx.create(file, |out| {
            out.write_all(text.as_bytes()).map_err(|source| StageError::io(&ctx.job_dir.join(file), source))
        })
    };
    write("table.md", table::markdown(&rows))?;
    write("table.json", format!("{:#}\n", table::records(&rows)))?;
    write("methods.md", methods::text(&history, &found))?;
    let parts: BTreeMap<String, String> =
        files.iter().map(|file| (file.replace('.', "-"), file.clone())).collect();
    ctx.output(Output {
        pixel_size_a: Some(maps.voxel_a),
        box_px: Some(maps.n() as u32),
        parts,
        ..Output::new("files", Kind::Files, &files[0], files.len() as u64)
    });
    Ok(report::report(&maps, &found, &rows, &history, &files))
}

fn found(
    ctx: &Ctx<'_>,
    params: &ExportDeposition,
    maps: &Maps,
    history: &History,
) -> Result<Found, StageError> {
    let [one, two, mask] = ["_half_map_1.map", "_half_map_2.map", "_msk_1.map"].map(|suffix| maps.of(suffix));
    let fsc = corrected_fsc(one.view(), two.view(), mask.view(), params.seed);
    let (resolution_a, fell) = resolution_at(&fsc.corrected, 0.143, maps.n(), maps.voxel_a);
    let sharpener = ctx.optional_input("sharpened").map(|input| input.job.clone());
    Ok(Found {
        name: params.name.clone(),
        n: maps.n(),
        voxel_a: maps.voxel_a,
        origin_a: maps.origin_a,
        contour: params.contour,
        fsc,
        resolution_a,
        fell,
        own_mask: maps.own_mask,
        maker: history.maker(&ctx.input("volume")?.job).map(|job| job.job.clone()),
        sharpener: sharpener.filter(|name| history.job(name).is_some_and(|job| job.job_type == "sharpen")),
    })
}

/// The curve that the resolution is read from, and the two that it comes from.
fn write_curves(ctx: &Ctx<'_>, prefix: &str, found: &Found) -> Result<Vec<String>, StageError> {
    let of = if found.name.is_empty() { String::new() } else { format!(" of {}", found.name) };
    let mut files = Vec::new();
    for (end, what, curve) in [
        ("fsc", "masked, corrected for the mask", &found.fsc.corrected),
        ("fsc_masked", "masked", &found.fsc.masked),
        ("fsc_unmasked", "without mask", &found.fsc.unmasked),
    ] {
        let title = format!("FSC of the half maps{of}, {what}");
        let curve = FscCurve::of_shells(&title, curve, found.n, found.voxel_a);
        let file = format!("{prefix}_{end}.xml");
        ctx.create(&file, |out| {
            curve.write(out).map_err(|source| StageError::io(&ctx.job_dir.join(&file), source))
        })?;
        files.push(file);
    }
    Ok(files)
}
