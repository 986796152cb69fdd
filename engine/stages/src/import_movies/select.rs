//! Which files are the movies of an import: those of a pattern, of a STAR file, or those complete by now of a running
//! microscope.

use super::metadata;
use super::run::{Header, Movie, Selection, Shape};
use super::watch::Watch;
use crate::exposure_files::star::{self, StarPaths};
use crate::exposure_files::{self, Unfit};
use crate::{Ctx, StageError};
use rayon::prelude::*;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use vitreous_formats::FormatError;
use vitreous_formats::star::convert::{Fallback, read_movies};
use vitreous_jobs::import_movies::{ImportMovies, Metadata, patterns};
use vitreous_model::acquisition::Acquisition;

/// Metadata files that cannot be read, named one by one; more are counted.
const NAMED: usize = 3;

/// All files that match, which must be whole.
///
/// # Errors
/// No movies, or too many that are unfit.
pub fn matching(
    ctx: &Ctx<'_>,
    params: &ImportMovies,
    pattern: &Path,
    gain_path: Option<&Path>,
) -> Result<Selection, StageError> {
    let mut files = exposure_files::find(ctx, "movies", pattern, gain_path)?;
    files.retain(|path| !metadata::is_metadata(path));
    let (good, unfit) = whole(ctx, params, &files)?;
    exposure_files::leave_out(ctx, "movies", &unfit, files.len(), params.max_bad_fraction)?;
    let mut selection = Selection { names: names(&good, &HashMap::new()), ..Selection::default() };
    (selection.movies, selection.notes) = with_metadata(params, good, |_| None);
    Ok(selection)
}

/// The movies of a STAR file, with its optics groups.
///
/// # Errors
/// A STAR file that cannot be read, no movies, or too many that are unfit.
pub fn of_star(ctx: &Ctx<'_>, params: &ImportMovies, path: &Path) -> Result<Selection, StageError> {
    let path = ctx.resolve(&path.to_string_lossy());
    let fallback = Fallback {
        pixel_size_a: params.pixel_size,
        voltage_kv: params.voltage,
        cs_mm: params.cs,
        amplitude_contrast: params.amplitude_contrast,
    };
    let paths = StarPaths::new(ctx, &path, params.root.as_deref());
    let imported = read_movies(&path, &|path| paths.resolve(path), &fallback).map_err(|error| {
        star::refusal(&error, "a STAR file of movies of RELION, such as Import/job001/movies.star")
    })?;
    let set = imported.value;
    let sources = set.exposures.iter().filter_map(|e| Some((ctx.resolve(&e.movie.as_ref()?.path), e)));
    let (files, rows): (Vec<PathBuf>, Vec<_>) = sources.unzip();
    let by_path: HashMap<&PathBuf, _> = files.iter().zip(&rows).collect();
    let (good, unfit) = whole(ctx, params, &files)?;
    exposure_files::leave_out(ctx, "movies", &unfit, files.len(), params.max_bad_fraction)?;
    let mut selection = Selection { names: names(&good, &HashMap::new()), ..Selection::default() };
    let group = |path: &PathBuf| by_path.get(path).map(|row| row.optics_group);
    (selection.movies, selection.notes) = with_metadata(params, good, group);
    for movie in &mut selection.movies {
        let row = by_path.get(&movie.path).and_then(|row| row.movie.as_ref());
        movie.pre_exposure = row.map_or(0.0, |movie| movie.pre_exposure);
    }
    selection.notes.push(format!("{} optics group(s) from {}.", set.optics.len(), path.display()));
    if !imported.ignored.is_empty() {
        selection.notes.push(format!("Not taken over from the STAR file: {}.", imported.ignored.join(", ")));
    }
    selection.star_optics = set.optics;
    Ok(selection)
}

/// Those that match and are complete by now, under the names they had in earlier runs.
///
/// # Errors
/// Too many movies that are unfit, or a job folder that cannot be written.
pub fn complete(
    ctx: &Ctx<'_>,
    params: &ImportMovies,
    folder: &Path,
    gain_path: Option<&Path>,
) -> Result<Selection, StageError> {
    let mut files = Vec::new();
    for pattern in patterns(folder) {
        files.extend(exposure_files::find_any(ctx, "watch", &pattern, gain_path)?);
    }
    files.retain(|path| !metadata::is_metadata(path));
    files.sort();
    let mut watch = Watch::begin(ctx, files, params.settle_s)?;
    let headers = watch.headers(ctx)?;
    let (good, unfit) = sort(params, watch.settled(), headers)?;
    watch.leave_out(ctx, unfit, params.max_bad_fraction)?;
    let mut selection = Selection {
        names: names(&good, &watch.names(ctx)),
        still_written: Some(watch.still_written()),
        ..Selection::default()
    };
    let known = |path: &PathBuf| watch.known(ctx, path);
    let read = good.into_par_iter().map(|(path, header)| {
        let (acquisition, group) = known(&path);
        let found = acquisition.map(Ok).or_else(|| read_metadata(params, &path));
        (Movie::new(path, header, group), found)
    });
    (selection.movies, selection.notes) = sort_out(read.collect());
    selection.watch = Some(watch);
    Ok(selection)
}

fn names(movies: &[(PathBuf, Header)], known: &HashMap<PathBuf, String>) -> Vec<String> {
    let paths: Vec<PathBuf> = movies.iter().map(|(path, _)| path.clone()).collect();
    exposure_files::unique_names(&paths, known)
}

fn read_metadata(params: &ImportMovies, path: &Path) -> Option<Result<Acquisition, String>> {
    if params.metadata == Metadata::None { None } else { metadata::read(path, params.metadata) }
}

/// Adds to each movie what the file beside it says; returns notes on those that cannot be read.
fn with_metadata(
    params: &ImportMovies,
    good: Vec<(PathBuf, Header)>,
    group: impl Fn(&PathBuf) -> Option<u32> + Sync,
) -> (Vec<Movie>, Vec<String>) {
    let read = good.into_par_iter().map(|(path, header)| {
        let (found, group) = (read_metadata(params, &path), group(&path));
        (Movie::new(path, header, group), found)
    });
    sort_out(read.collect())
}

fn sort_out(read: Vec<(Movie, Option<Result<Acquisition, String>>)>) -> (Vec<Movie>, Vec<String>) {
    let mut bad = Vec::new();
    let mut movies = Vec::with_capacity(read.len());
    for (mut movie, found) in read {
        match found {
            Some(Ok(acquisition)) => movie.acquisition = Some(acquisition),
            Some(Err(why)) => bad.push(why),
            None => {}
        }
        movies.push(movie);
    }
    let more = bad.len().saturating_sub(NAMED);
    bad.truncate(NAMED);
    let mut notes: Vec<String> = bad.into_iter().map(|why| format!("Metadata not used: {why}.")).collect();
    if more > 0 {
        notes.push(format!("{more} more metadata files could not be used."));
    }
    (movies, notes)
}

/// The files that are whole and alike, and the rest.
fn whole(ctx: &Ctx<'_>, params: &ImportMovies, files: &[PathBuf]) -> Result<Sorted, StageError> {
    let headers = exposure_files::read_headers(ctx, "movies", files)?;
    let headers = headers.into_iter().map(|header| header.map(|header| Header::of(&header))).collect();
    sort(params, files, headers)
}

type Sorted = (Vec<(PathBuf, Header)>, Vec<Unfit>);

/// Files that are like most others (or have the number of frames asked for), with their headers, and the rest.
fn sort(
    params: &ImportMovies,
    files: &[PathBuf],
    headers: Vec<Result<Header, FormatError>>,
) -> Result<Sorted, StageError> {
    let wanted = params.frames.map(|frames| frames as usize);
    let shapes = headers.iter().filter_map(|header| header.as_ref().ok()).map(|header| header.shape);
    // of a movie that is being written there may be one frame yet
    let can_be_usual = |shape: &Shape| match wanted {
        Some(frames) => shape.frames == frames,
        None => params.watch.is_none() || shape.frames > 1,
    };
    let usual = exposure_files::most_common(shapes.filter(can_be_usual));
    if wanted.is_none() && usual.is_some_and(|usual| usual.frames == 1) {
        return Err(StageError::input(
            format!("{}: it is a single image, expected a movie of several frames", files[0].display()),
            "aligned images are registered with `vitreous run import-micrographs`",
        ));
    }
    let (mut good, mut unfit) = (Vec::new(), Vec::new());
    for (file, header) in files.iter().zip(headers) {
        let reason = match header {
            Ok(header) if usual == Some(header.shape) => {
                good.push((file.clone(), header));
                continue;
            }
            Ok(header) => {
                let expected = match (usual, wanted) {
                    (Some(usual), _) => usual.in_words(),
                    (None, Some(frames)) => format!("{frames} frames"),
                    (None, None) => "a movie of several frames".into(),
                };
                format!("it has {}, expected {expected}", header.shape.in_words())
            }
            Err(error) => error.to_string(),
        };
        unfit.push((file.display().to_string(), reason));
    }
    Ok((good, unfit))
}
