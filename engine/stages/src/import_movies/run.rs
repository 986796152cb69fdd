//! Headers of all movies → table of exposures. Every rank reads them (that is quick), rank 0 writes.

use super::report;
use crate::exposure_files::{self, Unfit};
use crate::{Ctx, StageError};
use std::path::{Path, PathBuf};
use vitreous_formats::table::exposures;
use vitreous_formats::{FormatError, ImageHeader, gain};
use vitreous_jobs::import_movies::ImportMovies;
use vitreous_model::exposure::{Exposure, ExposureSet, MovieSource, OpticsGroup};
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::params::BadParam;
use vitreous_model::report::Report;

/// Name of the table in the job's folder.
const TABLE: &str = "movies.h5";

/// What every movie of an import must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    width: usize,
    height: usize,
    frames: usize,
}

impl Shape {
    fn of(header: &ImageHeader) -> Self {
        Self { width: header.width, height: header.height, frames: header.frames }
    }

    fn in_words(self) -> String {
        format!("{} frames of {} × {} px", self.frames, self.width, self.height)
    }
}

/// Does the job.
///
/// # Errors
/// Parameters that are missing, no movies, a gain that does not fit, too many movies unlike the others.
pub fn run(ctx: &Ctx<'_>) -> Result<Report, StageError> {
    let params: ImportMovies = ctx.params()?;
    let pattern = params.movies.as_deref().ok_or_else(|| BadParam::new("movies", "", "is required"))?;
    let gain_path = params.gain.as_ref().map(|gain| ctx.resolve(&gain.to_string_lossy()));
    let files = exposure_files::find(ctx, "movies", pattern, gain_path.as_deref())?;
    let headers = exposure_files::read_headers(ctx, "movies", &files)?;
    let (good, unfit) = sort(&params, &files, headers)?;
    exposure_files::leave_out(ctx, "movies", &unfit, files.len(), params.max_bad_fraction)?;
    let shape = Shape::of(&good[0].1);
    let pixel_size_a = exposure_files::pixel_size(params.pixel_size, good.iter().map(|(_, header)| header))?;
    let optics = exposure_files::optics_group(
        &params.optics_group,
        params.voltage,
        params.cs,
        params.amplitude_contrast,
        pixel_size_a,
    )?;
    if let Some(gain_path) = &gain_path {
        gain::check_gain(gain_path, params.gain_rotate, shape.width, shape.height)
            .map_err(|error| StageError::input(error.to_string(), "check --gain and --gain-rotate"))?;
    }
    let set = exposure_set(ctx, &params, gain_path.as_deref(), &good, optics);
    if !ctx.is_root() {
        return Ok(Report::new("Movies"));
    }
    ctx.create_at_path(TABLE, |path| exposures::write(path, Kind::Movies, &set))?;
    ctx.output(Output {
        pixel_size_a: Some(pixel_size_a),
        frame_px: Some([shape.width as u32, shape.height as u32]),
        frames: Some(shape.frames as u32),
        ..Output::new("movies", Kind::Movies, TABLE, set.exposures.len() as u64)
    });
    report::make(ctx, &params, &set)
}

/// Files that are like most others (or have the number of frames asked for), with their headers, and the rest.
fn sort(
    params: &ImportMovies,
    files: &[PathBuf],
    headers: Vec<Result<ImageHeader, FormatError>>,
) -> Result<(Vec<(PathBuf, ImageHeader)>, Vec<Unfit>), StageError> {
    let wanted = params.frames.map(|frames| frames as usize);
    let shapes = headers.iter().filter_map(|header| header.as_ref().ok()).map(Shape::of);
    let usual = exposure_files::most_common(shapes.filter(|shape| wanted.is_none_or(|n| shape.frames == n)));
    if wanted.is_none() && usual.is_some_and(|usual| usual.frames == 1) {
        return Err(StageError::input(
            format!("{}: it is a single image, expected a movie of several frames", files[0].display()),
            "aligned images are registered with `vitreous run import-micrographs`",
        ));
    }
    let (mut good, mut unfit) = (Vec::new(), Vec::new());
    for (file, header) in files.iter().zip(headers) {
        let reason = match header {
            Ok(header) if usual == Some(Shape::of(&header)) => {
                good.push((file.clone(), header));
                continue;
            }
            Ok(header) => {
                let expected = match (usual, wanted) {
                    (Some(usual), _) => usual.in_words(),
                    (None, frames) => format!("{} frames", frames.unwrap_or_default()),
                };
                format!("it has {}, expected {expected}", Shape::of(&header).in_words())
            }
            Err(error) => error.to_string(),
        };
        unfit.push((file.display().to_string(), reason));
    }
    Ok((good, unfit))
}

fn exposure_set(
    ctx: &Ctx<'_>,
    params: &ImportMovies,
    gain_path: Option<&Path>,
    good: &[(PathBuf, ImageHeader)],
    optics: OpticsGroup,
) -> ExposureSet {
    let files: Vec<PathBuf> = good.iter().map(|(file, _)| file.clone()).collect();
    let gain_path = gain_path.map(|path| exposure_files::table_path(ctx, path)).unwrap_or_default();
    let exposures = exposure_files::unique_names(&files)
        .into_iter()
        .zip(good)
        .map(|(name, (file, header))| Exposure {
            name,
            optics_group: optics.number,
            movie: Some(MovieSource {
                path: exposure_files::table_path(ctx, file),
                frames: header.frames as u32,
                width: header.width as u32,
                height: header.height as u32,
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
    ExposureSet { optics: vec![optics], exposures }
}
