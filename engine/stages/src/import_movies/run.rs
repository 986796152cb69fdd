//! Headers of all movies → table of exposures. Every rank reads them (that is quick), rank 0 writes.

use super::report;
use super::watch::Watch;
use crate::exposure_files::{self, Unfit};
use crate::{Ctx, StageError};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use vitreous_formats::table::exposures;
use vitreous_formats::{FormatError, ImageHeader, gain, open_image};
use vitreous_jobs::import_movies::{ImportMovies, patterns};
use vitreous_model::exposure::{Exposure, ExposureSet, MovieSource, OpticsGroup};
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::params::BadParam;
use vitreous_model::report::Report;

/// Name of the table in the job's folder.
const TABLE: &str = "movies.h5";

/// What an import needs of a movie's header.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Header {
    shape: Shape,
    /// Pixel size in Å as the file says.
    pixel_size_a: Option<f64>,
}

impl Header {
    pub fn of(header: &ImageHeader) -> Self {
        let shape = Shape { width: header.width, height: header.height, frames: header.frames };
        Self { shape, pixel_size_a: header.pixel_size_a }
    }
}

/// What every movie of an import must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Shape {
    width: usize,
    height: usize,
    frames: usize,
}

impl Shape {
    fn in_words(self) -> String {
        format!("{} frames of {} × {} px", self.frames, self.width, self.height)
    }
}

/// The movies that are registered.
struct Selection {
    movies: Vec<(PathBuf, Header)>,
    /// Names of their exposures.
    names: Vec<String>,
    /// `None` if there are no movies yet and it was not given.
    pixel_size_a: Option<f64>,
    /// Movies left for a later run, if a microscope is followed.
    still_written: Option<usize>,
}

/// Does the job.
///
/// # Errors
/// Parameters that are missing, no movies, a gain that does not fit, too many movies unlike the others.
pub fn run(ctx: &Ctx<'_>) -> Result<Report, StageError> {
    let params: ImportMovies = ctx.params()?;
    let pattern = || params.movies.as_deref().ok_or_else(|| BadParam::new("movies", "", "is required"));
    let gain_path = params.gain.as_ref().map(|gain| ctx.resolve(&gain.to_string_lossy()));
    let selection = match (&params.watch, ctx.is_root()) {
        (Some(watch), true) => select_complete(ctx, &params, watch, gain_path.as_deref())?,
        // what is complete depends on the moment: one rank looks
        (Some(_), false) => return Ok(Report::new("Movies")),
        (None, _) => select_all(ctx, &params, pattern()?, gain_path.as_deref())?,
    };
    let pixel_size_a = selection.pixel_size_a;
    let optics = exposure_files::optics_group(
        &params.optics_group,
        params.voltage,
        params.cs,
        params.amplitude_contrast,
        pixel_size_a.unwrap_or(f64::NAN),
    )?;
    let shape = selection.movies.first().map(|(_, header)| header.shape);
    if let Some(gain_path) = &gain_path {
        check_gain(gain_path, params.gain_rotate, shape)?;
    }
    let mut set = exposure_set(ctx, &params, gain_path.as_deref(), &selection, &optics);
    set.optics.extend(pixel_size_a.map(|_| optics));
    if !ctx.is_root() {
        return Ok(Report::new("Movies"));
    }
    ctx.create_at_path(TABLE, |path| exposures::write(path, Kind::Movies, &set))?;
    ctx.output(Output {
        pixel_size_a,
        frame_px: shape.map(|shape| [shape.width as u32, shape.height as u32]),
        frames: shape.map(|shape| shape.frames as u32),
        ..Output::new("movies", Kind::Movies, TABLE, set.exposures.len() as u64)
    });
    report::make(ctx, &params, &set, selection.still_written)
}

/// All files that match, which must be whole.
fn select_all(
    ctx: &Ctx<'_>,
    params: &ImportMovies,
    pattern: &Path,
    gain_path: Option<&Path>,
) -> Result<Selection, StageError> {
    let files = exposure_files::find(ctx, "movies", pattern, gain_path)?;
    let headers = exposure_files::read_headers(ctx, "movies", &files)?;
    let headers = headers.into_iter().map(|header| header.map(|header| Header::of(&header))).collect();
    let (movies, unfit) = sort(params, &files, headers)?;
    exposure_files::leave_out(ctx, "movies", &unfit, files.len(), params.max_bad_fraction)?;
    let stated = movies.iter().filter_map(|(_, header)| header.pixel_size_a);
    let pixel_size_a = Some(exposure_files::pixel_size(params.pixel_size, stated)?);
    let names = exposure_files::unique_names(&paths_of(&movies), &HashMap::new());
    Ok(Selection { movies, names, pixel_size_a, still_written: None })
}

/// Those that match and are complete by now, under the names they had in earlier runs.
fn select_complete(
    ctx: &Ctx<'_>,
    params: &ImportMovies,
    folder: &Path,
    gain_path: Option<&Path>,
) -> Result<Selection, StageError> {
    let mut files = Vec::new();
    for pattern in patterns(folder) {
        files.extend(exposure_files::find_any(ctx, "watch", &pattern, gain_path)?);
    }
    files.sort();
    let mut watch = Watch::begin(ctx, files, params.settle_s)?;
    let headers = watch.headers(ctx)?;
    let (movies, unfit) = sort(params, watch.settled(), headers)?;
    watch.leave_out(ctx, unfit, params.max_bad_fraction)?;
    let stated = movies.iter().filter_map(|(_, header)| header.pixel_size_a);
    let pixel_size_a = match movies.is_empty() {
        true => params.pixel_size,
        false => {
            let stated = watch.pixel_size_a().into_iter().chain(stated);
            Some(exposure_files::pixel_size(params.pixel_size, stated)?)
        }
    };
    let names = exposure_files::unique_names(&paths_of(&movies), &watch.names(ctx));
    let still_written = Some(watch.still_written());
    watch.remember(ctx, &movies, &names, pixel_size_a)?;
    Ok(Selection { movies, names, pixel_size_a, still_written })
}

fn paths_of(movies: &[(PathBuf, Header)]) -> Vec<PathBuf> {
    movies.iter().map(|(path, _)| path.clone()).collect()
}

/// Holds the gain against the frames; before there are any, only looks whether it can be read.
fn check_gain(path: &Path, turns: u32, shape: Option<Shape>) -> Result<(), StageError> {
    let Some(shape) = shape else { return Ok(open_image(path).map(drop)?) };
    gain::check_gain(path, turns, shape.width, shape.height)
        .map_err(|error| StageError::input(error.to_string(), "check --gain and --gain-rotate"))
}

/// Files that are like most others (or have the number of frames asked for), with their headers, and the rest.
fn sort(
    params: &ImportMovies,
    files: &[PathBuf],
    headers: Vec<Result<Header, FormatError>>,
) -> Result<(Vec<(PathBuf, Header)>, Vec<Unfit>), StageError> {
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

/// The exposures, without optics.
fn exposure_set(
    ctx: &Ctx<'_>,
    params: &ImportMovies,
    gain_path: Option<&Path>,
    selection: &Selection,
    optics: &OpticsGroup,
) -> ExposureSet {
    let gain_path = gain_path.map(|path| exposure_files::table_path(ctx, path)).unwrap_or_default();
    let exposures = selection
        .names
        .iter()
        .zip(&selection.movies)
        .map(|(name, (file, header))| Exposure {
            name: name.clone(),
            optics_group: optics.number,
            movie: Some(MovieSource {
                path: exposure_files::table_path(ctx, file),
                frames: header.shape.frames as u32,
                width: header.shape.width as u32,
                height: header.shape.height as u32,
                pixel_size_a: optics.movie_pixel_size_a,
                dose_per_frame: params.dose_per_frame.unwrap_or(0.0),
                pre_exposure: params.pre_exposure,
                gain_path: gain_path.clone(),
                gain_rotate: params.gain_rotate,
                gain_flip: params.gain_flip,
            }),
            micrograph: None,
            motion: None,
            ctf: None,
        })
        .collect();
    ExposureSet { optics: Vec::new(), exposures }
}
