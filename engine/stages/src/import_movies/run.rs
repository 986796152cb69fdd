//! Headers of all movies → table of exposures. Every rank reads them (that is quick), rank 0 writes.

use super::groups::{self, Grouping};
use super::metadata::{self, GainUse, Settings};
use super::watch::Watch;
use super::{eer, report, select};
use crate::exposure_files;
use crate::{Ctx, StageError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use vitreous_formats::defects::{DefectError, read_defects};
use vitreous_formats::table::exposures;
use vitreous_formats::{ImageHeader, gain, open_image};
use vitreous_jobs::import_movies::{ImportMovies, Metadata};
use vitreous_model::acquisition::Acquisition;
use vitreous_model::event::EventKind;
use vitreous_model::exposure::{EerRendering, Exposure, ExposureSet, MovieSource, OpticsGroup};
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::params::BadParam;
use vitreous_model::report::Report;

/// Name of the table in the job's folder.
const TABLE: &str = "movies.h5";

/// What an import needs of a movie's header.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Header {
    pub shape: Shape,
    /// Pixel size in Å as the file says.
    pub pixel_size_a: Option<f64>,
}

impl Header {
    pub fn of(header: &ImageHeader) -> Self {
        let shape = Shape { width: header.width, height: header.height, frames: header.frames };
        Self { shape, pixel_size_a: header.pixel_size_a }
    }
}

/// What every movie of an import must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shape {
    pub width: usize,
    pub height: usize,
    pub frames: usize,
}

impl Shape {
    pub fn in_words(self) -> String {
        format!("{} frames of {} × {} px", self.frames, self.width, self.height)
    }
}

/// A movie that is registered.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Movie {
    pub path: PathBuf,
    pub header: Header,
    /// What the microscope's file beside it says.
    pub acquisition: Option<Acquisition>,
    /// Number of its optics group in the STAR file or in an earlier run.
    pub group: Option<u32>,
    /// Dose before the first frame by the STAR file, e/Å².
    pub pre_exposure: f64,
    /// Frames in the file: of an EER movie those of the camera, else those of the header.
    pub recorded_frames: usize,
    /// How electron events become frames, of an EER movie.
    pub eer: Option<EerRendering>,
}

impl Movie {
    /// A movie of whose recording nothing is known yet.
    pub fn new(path: PathBuf, header: Header, group: Option<u32>) -> Self {
        let recorded_frames = header.shape.frames;
        Self { path, header, acquisition: None, group, pre_exposure: 0.0, recorded_frames, eer: None }
    }
}

/// The movies that are registered.
#[derive(Default)]
pub(super) struct Selection {
    pub movies: Vec<Movie>,
    /// Names of their exposures.
    pub names: Vec<String>,
    /// Optics groups of the STAR file; empty without one.
    pub star_optics: Vec<OpticsGroup>,
    /// Movies left for a later run, if a microscope is followed.
    pub still_written: Option<usize>,
    /// What earlier runs remembered, if a microscope is followed.
    pub watch: Option<Watch>,
    /// Remarks for the report.
    pub notes: Vec<String>,
}

/// Does the job.
///
/// # Errors
/// Parameters that are missing, no movies, a gain that does not fit, too many movies unlike the others, metadata that
/// disagree.
pub fn run(ctx: &Ctx<'_>) -> Result<Report, StageError> {
    let params: ImportMovies = ctx.params()?;
    let gain_path = params.gain.as_ref().map(|gain| ctx.resolve(&gain.to_string_lossy()));
    let mut selection = match (&params.watch, &params.star, &params.movies) {
        // what is complete depends on the moment: one rank looks
        (Some(_), _, _) if !ctx.is_root() => return Ok(Report::new("Movies")),
        (Some(watch), _, _) => select::complete(ctx, &params, watch, gain_path.as_deref())?,
        (_, Some(star), _) => select::of_star(ctx, &params, star)?,
        (_, _, Some(pattern)) => select::matching(ctx, &params, pattern, gain_path.as_deref())?,
        _ => return Err(BadParam::new("movies", "", "is required").into()),
    };
    eer::render(&params, &mut selection.movies)?;
    let remembered = selection.watch.as_ref().and_then(Watch::pixel_size_a);
    let mut settings = Settings::settle(&params, &selection.movies, remembered)?;
    let pixel_size_a = pixel_size(&params, &selection, &settings, remembered)?;
    let (optics, grouping) = optics(&params, &selection, &settings, pixel_size_a)?;
    let gains = metadata::gains(ctx, &params, &selection.movies, &mut settings.notes);
    check_gains(&gains, gain_path.as_deref(), &params, &selection)?;
    let defects = params.defects.as_ref().map(|path| ctx.resolve(&path.to_string_lossy()));
    check_defects(defects.as_deref(), &selection)?;
    let set = exposure_set(ctx, &params, &selection, optics, &grouping, &gains, defects.as_deref());
    if !ctx.is_root() {
        return Ok(Report::new("Movies"));
    }
    let mut notes = std::mem::take(&mut selection.notes);
    notes.extend(settings.notes);
    notes.extend(grouping.notes.iter().cloned());
    notes.iter().for_each(|text| ctx.say(EventKind::Message { text: text.clone() }));
    if let Some(watch) = selection.watch.take() {
        watch.remember(ctx, &selection.movies, &selection.names, &grouping.of, pixel_size_a)?;
    }
    write(ctx, &selection, &set, pixel_size_a)?;
    let mut report = report::make(ctx, &params, &set, selection.still_written)?;
    report.notes.splice(0..0, notes);
    report.figures.extend(grouping.figure);
    Ok(report)
}

fn write(
    ctx: &Ctx<'_>,
    selection: &Selection,
    set: &ExposureSet,
    pixel_size_a: Option<f64>,
) -> Result<(), StageError> {
    ctx.create_at_path(TABLE, |path| exposures::write(path, Kind::Movies, set))?;
    let shape = selection.movies.first().map(|movie| movie.header.shape);
    ctx.output(Output {
        pixel_size_a,
        frame_px: shape.map(|shape| [shape.width as u32, shape.height as u32]),
        frames: shape.map(|shape| shape.frames as u32),
        ..Output::new("movies", Kind::Movies, TABLE, set.exposures.len() as u64)
    });
    Ok(())
}

/// The pixel size of the import, Å: given, remembered, of the STAR file's first group, of the metadata, or of the headers.
/// `None` if there are no movies yet and it was not given.
fn pixel_size(
    params: &ImportMovies,
    selection: &Selection,
    settings: &Settings,
    remembered: Option<f64>,
) -> Result<Option<f64>, StageError> {
    if let Some(group) = selection.star_optics.first() {
        return Ok(Some(group.movie_pixel_size_a));
    }
    if selection.movies.is_empty() {
        return Ok(params.pixel_size);
    }
    let known = params.pixel_size.or(remembered).or(settings.pixel_size_a);
    let stated = selection.movies.iter().filter_map(|movie| movie.header.pixel_size_a);
    exposure_files::pixel_size(known, stated).map(Some)
}

/// All optics groups, and which movie is of which.
fn optics(
    params: &ImportMovies,
    selection: &Selection,
    settings: &Settings,
    pixel_size_a: Option<f64>,
) -> Result<(Vec<OpticsGroup>, Grouping), StageError> {
    if !selection.star_optics.is_empty() {
        let of = selection.movies.iter().map(|movie| movie.group.unwrap_or(1)).collect();
        return Ok((selection.star_optics.clone(), Grouping { of, ..Grouping::default() }));
    }
    let grouping = groups::group(params, &selection.movies)?;
    // before the first movie, its metadata may still say what is missing
    if selection.movies.is_empty() && params.metadata != Metadata::None && settings.voltage_kv.is_none() {
        return Ok((Vec::new(), grouping));
    }
    let pixel = pixel_size_a.unwrap_or(f64::NAN);
    let (cs, amplitude) = (params.cs, params.amplitude_contrast);
    let first =
        exposure_files::optics_group(&params.optics_group, settings.voltage_kv, cs, amplitude, pixel)?;
    let numbers = grouping.numbers();
    let base = params.optics_group.trim_end_matches(|c: char| c.is_ascii_digit());
    let optics = numbers.iter().map(|&number| match numbers.as_slice() {
        [1] => first.clone(),
        _ => OpticsGroup { number, name: format!("{base}{number}"), ..first.clone() },
    });
    // a group without a pixel size is none yet
    let optics = if pixel_size_a.is_some() { optics.collect() } else { Vec::new() };
    Ok((optics, grouping))
}

/// Holds the gains against the frames; before there are any, only looks whether the given one can be read.
fn check_gains(
    gains: &[Option<GainUse>],
    given: Option<&Path>,
    params: &ImportMovies,
    selection: &Selection,
) -> Result<(), StageError> {
    let Some(first) = selection.movies.first() else {
        return given.map_or(Ok(()), |path| Ok(open_image(path).map(drop)?));
    };
    let shape = first.header.shape;
    for gain in gains.iter().flatten().collect::<BTreeSet<_>>() {
        let from_metadata = given.is_none() || gain.turns != params.gain_rotate;
        // a gain of EER movies may be of the camera's size
        let check = if first.eer.is_some() { gain::check_eer_gain } else { gain::check_gain };
        check(&gain.path, gain.turns, shape.width, shape.height).map_err(|error| {
            let hint = if from_metadata {
                "the metadata name it so: give --gain, --gain-rotate and --gain-flip, or --metadata none"
            } else {
                "check --gain and --gain-rotate"
            };
            StageError::input(error.to_string(), hint)
        })?;
    }
    Ok(())
}

/// Reads the defect map, once there are frames to hold it against.
fn check_defects(path: Option<&Path>, selection: &Selection) -> Result<(), StageError> {
    let (Some(path), Some(movie)) = (path, selection.movies.first()) else { return Ok(()) };
    let Shape { width, height, .. } = movie.header.shape;
    let refused = |error: DefectError| StageError::input(error.to_string(), "check --defects");
    read_defects(path, width, height).map(drop).map_err(refused)
}

fn exposure_set(
    ctx: &Ctx<'_>,
    params: &ImportMovies,
    selection: &Selection,
    optics: Vec<OpticsGroup>,
    grouping: &Grouping,
    gains: &[Option<GainUse>],
    defects: Option<&Path>,
) -> ExposureSet {
    let table_path =
        |path: Option<&Path>| path.map(|path| exposure_files::table_path(ctx, path)).unwrap_or_default();
    let exposure = |index: usize| {
        let (movie, group, gain) = (&selection.movies[index], grouping.of[index], gains[index].as_ref());
        let pixel =
            optics.iter().find(|optics| optics.number == group).map(|optics| optics.movie_pixel_size_a);
        let shape = movie.header.shape;
        let source = MovieSource {
            path: exposure_files::table_path(ctx, &movie.path),
            frames: shape.frames as u32,
            width: shape.width as u32,
            height: shape.height as u32,
            pixel_size_a: pixel.unwrap_or(f64::NAN),
            dose_per_frame: metadata::dose_per_frame(params, movie),
            pre_exposure: metadata::pre_exposure(params, movie),
            gain_path: table_path(gain.map(|gain| gain.path.as_path())),
            gain_rotate: gain.map_or(0, |gain| gain.turns),
            gain_flip: gain.map(|gain| gain.flip).unwrap_or_default(),
            defects_path: table_path(defects),
            eer: movie.eer,
        };
        Exposure {
            name: selection.names[index].clone(),
            optics_group: group,
            movie: Some(source),
            micrograph: None,
            motion: None,
            ctf: None,
        }
    };
    let exposures = (0..selection.movies.len()).map(exposure).collect();
    ExposureSet { optics, exposures }
}
