//! Finding and registering files of exposures: what the import of movies and of micrographs have in common.

use crate::{Ctx, StageError};
use ndarray::Array2;
use rayon::prelude::*;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use vitreous_formats::{FormatError, FrameSource, ImageHeader, open_image};
use vitreous_model::event::EventKind;
use vitreous_model::exposure::OpticsGroup;
use vitreous_model::params::BadParam;
use vitreous_model::units::{Kilovolt, Millimetre};

pub(crate) mod names;
pub mod star;

#[cfg(test)]
mod tests;

/// Headers read between two looks at the stop flag.
const HEADERS_AT_ONCE: usize = 256;
/// Amplitude contrast of proteins in ice at 300 kV when none is given: the usual assumption of the field.
const AMPLITUDE_CONTRAST: f64 = 0.1;
/// Pixel sizes of headers that differ by less are the same: cells are f32 quotients.
const PIXEL_TOLERANCE: f64 = 1e-3;
/// Columns of a thumbnail.
const THUMBNAIL_PX: usize = 400;

/// The files that match the pattern given as parameter `key`, sorted; relative patterns count from the project.
/// `except` (the gain reference) is left out.
///
/// # Errors
/// A pattern that is broken or matches no file.
pub fn find(
    ctx: &Ctx<'_>,
    key: &str,
    pattern: &Path,
    except: Option<&Path>,
) -> Result<Vec<PathBuf>, StageError> {
    let files = find_any(ctx, key, pattern, except)?;
    if files.is_empty() {
        let hint =
            format!("relative patterns count from {}; quote them in the shell", ctx.project_dir.display());
        return Err(BadParam::new(key, pattern.to_string_lossy(), "matches no file").hint(hint).into());
    }
    Ok(files)
}

/// The same where it is no failure that there are none yet.
///
/// # Errors
/// A pattern that is broken or names a folder.
pub fn find_any(
    ctx: &Ctx<'_>,
    key: &str,
    pattern: &Path,
    except: Option<&Path>,
) -> Result<Vec<PathBuf>, StageError> {
    let given = pattern.to_string_lossy().into_owned();
    let literal = ctx.resolve(&given);
    if literal.is_file() {
        return Ok(vec![literal]);
    }
    // characters of the project's own path that mean something in patterns are meant as they are
    let project = glob::Pattern::escape(&ctx.project_dir.to_string_lossy());
    let full = Path::new(&project).join(pattern);
    let broken = |error: glob::PatternError| BadParam::new(key, &given, format!("is no pattern: {error}"));
    let except = except.and_then(|path| path.canonicalize().ok());
    let is_excepted = |path: &Path| except.is_some() && path.canonicalize().ok() == except;
    let mut files: Vec<PathBuf> = glob::glob(&full.to_string_lossy())
        .map_err(broken)?
        .filter_map(Result::ok)
        .filter(|path| path.is_file() && !is_excepted(path))
        .collect();
    files.sort();
    if files.is_empty() && literal.is_dir() {
        let hint = format!("it is a folder: name the files in it, e.g. '{given}/*.tif'");
        return Err(BadParam::new(key, given, "matches no file").hint(hint).into());
    }
    Ok(files)
}

/// How a file is named in tables: relative to the project if it lies inside, else absolute.
pub fn table_path(ctx: &Ctx<'_>, path: &Path) -> String {
    path.strip_prefix(&ctx.project_dir).unwrap_or(path).to_string_lossy().into_owned()
}

/// A unique name for each file: the one it is known by, else its stem; where that is taken, with its folder's name before
/// it or a number after it. Known names stay taken, whether their files are in the list or not.
pub fn unique_names(files: &[PathBuf], known: &HashMap<PathBuf, String>) -> Vec<String> {
    let text =
        |part: Option<&std::ffi::OsStr>| part.map(|p| p.to_string_lossy().into_owned()).unwrap_or_default();
    let mut taken: HashSet<String> = known.values().cloned().collect();
    let mut names = Vec::with_capacity(files.len());
    for file in files {
        let stem = text(file.file_stem());
        let folder = text(file.parent().and_then(Path::file_name));
        let name = known.get(file).cloned().unwrap_or_else(|| {
            std::iter::once(stem.clone())
                .chain(std::iter::once(format!("{folder}-{stem}")))
                .chain((2..).map(|number| format!("{stem}-{number}")))
                .find(|name| !taken.contains(name))
                .expect("numbers should not run out")
        });
        taken.insert(name.clone());
        names.push(name);
    }
    names
}

/// The header of every file, in order, read on all threads; `what` names the files in the plural.
///
/// # Errors
/// [`StageError::Stopped`] when asked to stop.
pub fn read_headers(
    ctx: &Ctx<'_>,
    what: &str,
    files: &[PathBuf],
) -> Result<Vec<Result<ImageHeader, FormatError>>, StageError> {
    let total = files.len() as u64;
    ctx.say(EventKind::Phase { name: what.to_string(), total });
    let mut headers = Vec::with_capacity(files.len());
    for some in files.chunks(HEADERS_AT_ONCE) {
        ctx.check_stop()?;
        headers
            .par_extend(some.par_iter().map(|path| open_image(path).map(|source| source.header().clone())));
        ctx.say(EventKind::Progress { done: headers.len() as u64, total });
    }
    Ok(headers)
}

/// The value that occurs most often; of several, the one that occurs first.
pub fn most_common<T: PartialEq + Clone>(values: impl IntoIterator<Item = T>) -> Option<T> {
    let mut counts: Vec<(T, usize)> = Vec::new();
    for value in values {
        match counts.iter_mut().find(|(known, _)| *known == value) {
            Some((_, count)) => *count += 1,
            None => counts.push((value, 1)),
        }
    }
    let most = counts.iter().map(|(_, count)| *count).max()?;
    counts.into_iter().find(|(_, count)| *count == most).map(|(value, _)| value)
}

/// The pixel size in Å, as given or as the `stated` ones of the headers agree.
///
/// # Errors
/// None given, and headers that say nothing, disagree, or say 1, which most programs write when they do not know.
pub fn pixel_size(given: Option<f64>, mut stated: impl Iterator<Item = f64>) -> Result<f64, StageError> {
    if let Some(given) = given {
        return Ok(given);
    }
    let required = |why: String| {
        BadParam::new("pixel_size", "", why)
            .hint("give --pixel-size, or set the project's in vitreous.yaml")
            .into()
    };
    let Some(first) = stated.next() else {
        return Err(required("is not in the files' headers either".into()));
    };
    if let Some(other) = stated.find(|other| (other / first - 1.0).abs() > PIXEL_TOLERANCE) {
        return Err(required(format!("differs between headers ({first} and {other} Å)")));
    }
    if first == 1.0 {
        return Err(required("is 1 Å in the headers, which programs write when they do not know it".into()));
    }
    Ok(first)
}

/// Optics group 1 of an import.
///
/// # Errors
/// Voltage or spherical aberration that neither parameter nor project gives.
pub fn optics_group(
    name: &str,
    voltage: Option<f64>,
    cs: Option<f64>,
    amplitude_contrast: Option<f64>,
    movie_pixel_size_a: f64,
) -> Result<OpticsGroup, StageError> {
    let required = |key: &str, value: Option<f64>| {
        value.ok_or_else(|| {
            BadParam::new(key, "", "is required").hint(format!("give --{key}, or set it in vitreous.yaml"))
        })
    };
    Ok(OpticsGroup {
        number: 1,
        name: name.into(),
        voltage: Kilovolt(required("voltage", voltage)?),
        cs: Millimetre(required("cs", cs)?),
        amplitude_contrast: amplitude_contrast.unwrap_or(AMPLITUDE_CONTRAST),
        movie_pixel_size_a,
        aberrations: Default::default(),
    })
}

/// A file that is left out: its name for people and why.
pub type Unfit = (String, String);

/// Lists unfit files as skipped, or refuses them all when there are too many.
///
/// # Errors
/// [`StageError::TooManyBad`] if more than `max_bad_fraction` or all of `total` files are unfit.
pub fn leave_out(
    ctx: &Ctx<'_>,
    what: &str,
    unfit: &[Unfit],
    total: usize,
    max_bad_fraction: f64,
) -> Result<(), StageError> {
    if ctx.is_root() {
        unfit.iter().for_each(|(item, reason)| ctx.skip(item, reason));
    }
    match unfit.first() {
        Some((item, reason))
            if unfit.len() == total || unfit.len() as f64 > max_bad_fraction * total as f64 =>
        {
            Err(StageError::TooManyBad {
                what: what.into(),
                bad: unfit.len(),
                total,
                allowed: max_bad_fraction,
                first: format!("{item}: {reason}"),
            })
        }
        _ => Ok(()),
    }
}

/// The sum of the first `frames` frames, averaged over squares so that the longer edge has at most some 400 pixels.
/// Returns it with the edge of a square in pixels.
///
/// # Errors
/// A file that cannot be read.
pub fn thumbnail(source: &dyn FrameSource, frames: usize) -> Result<(Array2<f32>, usize), FormatError> {
    let header = source.header();
    let step = header.width.max(header.height).div_ceil(THUMBNAIL_PX).max(1);
    let (width, height) = (header.width / step, header.height / step);
    let mut small = Array2::<f32>::zeros((height, width));
    let mut frame = vec![0.0; header.frame_len()];
    for index in 0..frames.min(header.frames) {
        source.read_frame_in_pool(index, &mut frame)?;
        for (y, row) in frame.chunks_exact(header.width).take(height * step).enumerate() {
            for (x, square) in row.chunks_exact(step).take(width).enumerate() {
                small[[y / step, x]] += square.iter().sum::<f32>() / (step * step) as f32;
            }
        }
    }
    Ok((small, step))
}
