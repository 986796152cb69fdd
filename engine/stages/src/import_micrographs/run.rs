//! Headers of all micrographs → table of exposures. Every rank reads them (that is quick), rank 0 writes.

use super::listed::{self, Listed};
use super::report;
use crate::exposure_files::{self, Unfit};
use crate::{Ctx, StageError};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use vitreous_formats::table::exposures;
use vitreous_formats::{FormatError, ImageHeader};
use vitreous_jobs::import_micrographs::ImportMicrographs;
use vitreous_model::exposure::{Exposure, ExposureSet, MicrographSource, OpticsGroup};
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::params::BadParam;
use vitreous_model::report::Report;

/// Name of the table in the job's folder.
const TABLE: &str = "micrographs.h5";

/// Does the job.
///
/// # Errors
/// Parameters that are missing, no micrographs, too many that are none.
pub fn run(ctx: &Ctx<'_>) -> Result<Report, StageError> {
    let params: ImportMicrographs = ctx.params()?;
    let listed = match (&params.micrographs, &params.star, &params.dataset) {
        (Some(pattern), ..) => matching(ctx, &params, pattern)?,
        (None, Some(star), _) => listed::of_star(ctx, &params, star)?,
        (None, None, Some(dataset)) => listed::of_dataset(ctx, &params, dataset)?,
        (None, None, None) => return Err(BadParam::new("micrographs", "", "is required").into()),
    };
    if !ctx.is_root() {
        return Ok(Report::new("Micrographs"));
    }
    let set = &listed.set;
    ctx.create_at_path(TABLE, |path| exposures::write(path, Kind::Micrographs, set))?;
    let micrographs = || set.exposures.iter().filter_map(|exposure| exposure.micrograph.as_ref());
    let size = exposure_files::most_common(micrographs().map(|m| [m.width, m.height]));
    ctx.output(Output {
        pixel_size_a: micrographs().next().map(|m| m.pixel_size_a),
        frame_px: size,
        ..Output::new("micrographs", Kind::Micrographs, TABLE, set.exposures.len() as u64)
    });
    report::make(ctx, &params, &listed)
}

/// The files that match a pattern, in one optics group.
fn matching(ctx: &Ctx<'_>, params: &ImportMicrographs, pattern: &Path) -> Result<Listed, StageError> {
    let files = exposure_files::find(ctx, "micrographs", pattern, None)?;
    let headers = exposure_files::read_headers(ctx, "micrographs", &files)?;
    let (good, unfit) = sort(&files, headers);
    exposure_files::leave_out(ctx, "micrographs", &unfit, files.len(), params.max_bad_fraction)?;
    let stated = good.iter().filter_map(|(_, header)| header.pixel_size_a);
    let pixel_size_a = exposure_files::pixel_size(params.pixel_size, stated)?;
    let optics = exposure_files::optics_group(
        &params.optics_group,
        params.voltage,
        params.cs,
        params.amplitude_contrast,
        pixel_size_a,
    )?;
    let set = exposure_set(ctx, &good, optics);
    let mut notes = Vec::new();
    if params.amplitude_contrast.is_none() {
        notes.push("No amplitude contrast was given: 0.1 is assumed.".into());
    }
    Ok(Listed { set, notes, ignored: Vec::new() })
}

/// Single images with their headers, and the rest. Sizes may differ: cameras are turned now and then.
fn sort(
    files: &[PathBuf],
    headers: Vec<Result<ImageHeader, FormatError>>,
) -> (Vec<(PathBuf, ImageHeader)>, Vec<Unfit>) {
    let (mut good, mut unfit) = (Vec::new(), Vec::new());
    for (file, header) in files.iter().zip(headers) {
        let reason = match header {
            Ok(header) if header.frames == 1 => {
                good.push((file.clone(), header));
                continue;
            }
            Ok(header) => {
                format!(
                    "it has {} frames, expected 1 (movies are registered with import-movies)",
                    header.frames
                )
            }
            Err(error) => error.to_string(),
        };
        unfit.push((file.display().to_string(), reason));
    }
    (good, unfit)
}

fn exposure_set(ctx: &Ctx<'_>, good: &[(PathBuf, ImageHeader)], optics: OpticsGroup) -> ExposureSet {
    let files: Vec<PathBuf> = good.iter().map(|(file, _)| file.clone()).collect();
    let exposures = exposure_files::unique_names(&files, &HashMap::new())
        .into_iter()
        .zip(good)
        .map(|(name, (file, header))| Exposure {
            name,
            optics_group: optics.number,
            movie: None,
            micrograph: Some(MicrographSource {
                path: exposure_files::table_path(ctx, file),
                width: header.width as u32,
                height: header.height as u32,
                pixel_size_a: optics.movie_pixel_size_a,
                unweighted_path: String::new(),
                motion_star_path: String::new(),
            }),
            motion: None,
            ctf: None,
        })
        .collect();
    ExposureSet { optics: vec![optics], exposures }
}
