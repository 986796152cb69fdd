//! Micrographs that a STAR file of RELION or a dataset of CryoSPARC lists, with what it says of them.

use crate::exposure_files::star::{StarPaths, refusal};
use crate::exposure_files::{self, Unfit, find};
use crate::{Ctx, StageError};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use vitreous_formats::cryosparc::convert::{ImportOptions, exposures_of};
use vitreous_formats::cryosparc::{CsError, CsPath, EXPOSURE, group_files, read_joined};
use vitreous_formats::star::convert::{Fallback, Imported, read_micrographs, read_movie_record};
use vitreous_formats::{FormatError, ImageHeader};
use vitreous_jobs::import_micrographs::ImportMicrographs;
use vitreous_model::exposure::{Exposure, ExposureSet, MicrographSource};

/// The micrographs of a list whose files are there.
pub(super) struct Listed {
    /// They, with the sizes of their files.
    pub set: ExposureSet,
    /// Remarks for the report.
    pub notes: Vec<String>,
    /// Columns or fields without a place here.
    pub ignored: Vec<String>,
}

/// Those of a STAR file.
///
/// # Errors
/// A file that cannot be read, or too many micrographs that cannot.
pub(super) fn of_star(ctx: &Ctx<'_>, params: &ImportMicrographs, star: &Path) -> Result<Listed, StageError> {
    let star = ctx.resolve(&star.to_string_lossy());
    let paths = StarPaths::new(ctx, &star, params.root.as_deref());
    let imported = read_micrographs(&star, &|path| paths.resolve(path)).map_err(|error| {
        refusal(
            &error,
            "a STAR file of micrographs of RELION 3.1 or later, such as CtfFind/job003/micrographs_ctf.star",
        )
    })?;
    let mut listed = whole(ctx, params, imported)?;
    let remark = motion_in_angstroms(ctx, &mut listed.set);
    listed.notes.extend(remark);
    Ok(listed)
}

/// Brings accumulated motion to Å: RELION 3.1.3 writes it in pixels of the movie, whatever its label says. The file of a
/// movie's motion tells which it is; says so if something was changed.
fn motion_in_angstroms(ctx: &Ctx<'_>, set: &mut ExposureSet) -> Option<String> {
    /// Stated lengths and those from the shifts agree to this fraction: shifts are printed to five digits.
    const SAME: f64 = 1e-2;
    let known = set.exposures.iter().find_map(|exposure| {
        let (motion, micrograph) = (exposure.motion.as_ref()?, exposure.micrograph.as_ref()?);
        let path = &micrograph.motion_star_path;
        let record = (!path.is_empty()).then(|| read_movie_record(&ctx.resolve(path)).ok())??;
        (record.path_px() > 0.0 && record.pixel_size_a > 0.0).then_some((motion.total_a, record))
    });
    let (stated, record) = known?;
    let is = |length: f64| (stated / length - 1.0).abs() < SAME;
    let path_px = record.path_px();
    if !is(path_px) || is(path_px * record.pixel_size_a) {
        return None;
    }
    let factor = record.pixel_size_a;
    for motion in set.exposures.iter_mut().filter_map(|exposure| exposure.motion.as_mut()) {
        for length in [&mut motion.total_a, &mut motion.early_a, &mut motion.late_a] {
            *length *= factor;
        }
    }
    Some(format!(
        "accumulated motion is in pixels in this file, as RELION 3.1 writes it: brought to Å by {factor}"
    ))
}

/// Those of a dataset, its passthrough files or its group.
///
/// # Errors
/// Files that cannot be read, do not belong together, or lack what is needed; too many micrographs that cannot be read.
pub(super) fn of_dataset(
    ctx: &Ctx<'_>,
    params: &ImportMicrographs,
    dataset: &Path,
) -> Result<Listed, StageError> {
    let path = ctx.resolve(&dataset.to_string_lossy());
    let files = if path.extension().is_some_and(|end| end == "csg") {
        group_files(&path, EXPOSURE).map_err(refused)?
    } else {
        let mut files = vec![path.clone()];
        if let Some(pattern) = &params.passthrough {
            files.extend(find(ctx, "passthrough", pattern, Some(&path))?);
        }
        files
    };
    let (dataset, twice) = read_joined(&files).map_err(refused)?;
    let paths = StarPaths::new(ctx, &path, params.root.as_deref());
    let resolve = |named: CsPath<'_>| match (named.is_beside, path.parent()) {
        // of a group, and so beside its files
        (true, Some(folder)) => exposure_files::table_path(ctx, &named.below(folder)),
        _ => paths.resolve(named.path),
    };
    let fallback = Fallback {
        pixel_size_a: params.pixel_size,
        voltage_kv: params.voltage,
        cs_mm: params.cs,
        amplitude_contrast: params.amplitude_contrast,
    };
    let options = ImportOptions { resolve: &resolve, fallback, mirrored: None };
    let mut imported = exposures_of(&dataset, &options).map_err(refused)?;
    imported.notes.extend(twice);
    whole(ctx, params, imported)
}

fn refused(error: CsError) -> StageError {
    let hint = match &error {
        CsError::MissingField { .. } => {
            "give the passthrough files of the job with --passthrough, or its exported group (.csg)"
        }
        _ => "",
    };
    StageError::input(error.to_string(), hint)
}

/// Looks at every file: sizes are those of the files, names are made unique, and what is not there is left out.
fn whole(
    ctx: &Ctx<'_>,
    params: &ImportMicrographs,
    imported: Imported<ExposureSet>,
) -> Result<Listed, StageError> {
    let Imported { value: ExposureSet { optics, exposures }, ignored, mut notes, .. } = imported;
    let total = exposures.len();
    let path = |e: &Exposure| e.micrograph.as_ref().map(|m| ctx.resolve(&m.path)).unwrap_or_default();
    let files: Vec<PathBuf> = exposures.iter().map(path).collect();
    let headers = exposure_files::read_headers(ctx, "micrographs", &files)?;
    let (mut good, mut unfit): (Vec<(PathBuf, Exposure)>, Vec<Unfit>) = (Vec::new(), Vec::new());
    let mut resized = 0;
    for ((mut exposure, file), header) in exposures.into_iter().zip(files).zip(headers) {
        match (fit(header), &mut exposure.micrograph) {
            (Ok([width, height]), Some(micrograph)) => {
                resized += usize::from(set_size(micrograph, width, height));
                good.push((file, exposure));
            }
            (Err(reason), _) => unfit.push((file.display().to_string(), reason)),
            (Ok(_), None) => unfit.push((exposure.name, "it has no micrograph".into())),
        }
    }
    exposure_files::leave_out(ctx, "micrographs", &unfit, total, params.max_bad_fraction)?;
    if resized > 0 {
        notes.push(format!(
            "{resized} micrographs have another size than the list says: that of the file was taken"
        ));
    }
    let (files, mut exposures): (Vec<PathBuf>, Vec<Exposure>) = good.into_iter().unzip();
    let names = exposure_files::unique_names(&files, &HashMap::new());
    exposures.iter_mut().zip(names).for_each(|(exposure, name)| exposure.name = name);
    notes.extend(without_lost_files(ctx, &mut exposures));
    Ok(Listed { set: ExposureSet { optics, exposures }, notes, ignored })
}

/// Columns and rows of a file of one image.
fn fit(header: Result<ImageHeader, FormatError>) -> Result<[u32; 2], String> {
    match header {
        Ok(header) if header.frames == 1 => Ok([header.width as u32, header.height as u32]),
        Ok(header) => Err(format!("it has {} frames, expected 1", header.frames)),
        Err(error) => Err(error.to_string()),
    }
}

/// Gives a micrograph the size of its file; true if it had another.
fn set_size(micrograph: &mut MicrographSource, width: u32, height: u32) -> bool {
    let before = (micrograph.width, micrograph.height);
    (micrograph.width, micrograph.height) = (width, height);
    before != (0, 0) && before != (width, height)
}

/// Forgets files beside the micrographs that are not there; says how many.
fn without_lost_files(ctx: &Ctx<'_>, exposures: &mut [Exposure]) -> Vec<String> {
    let lost = |path: &str| !path.is_empty() && !ctx.resolve(path).is_file();
    let (mut unweighted, mut motion) = (0, 0);
    for micrograph in exposures.iter_mut().filter_map(|exposure| exposure.micrograph.as_mut()) {
        for (path, count) in [
            (&mut micrograph.unweighted_path, &mut unweighted),
            (&mut micrograph.motion_star_path, &mut motion),
        ] {
            if lost(path) {
                path.clear();
                *count += 1;
            }
        }
    }
    let words =
        [(unweighted, "sums without dose weights"), (motion, "files of motion (rlnMicrographMetadata)")];
    let note =
        |(count, what): (usize, &str)| format!("{count} {what} are not where the list says, and were left");
    words.into_iter().filter(|(count, _)| *count > 0).map(note).collect()
}
