//! What the import found: numbers, the first movies, the gain.

use crate::exposure_files;
use crate::map_figures;
use crate::{Ctx, StageError};
use ndarray::Array2;
use rayon::prelude::*;
use serde_json::json;
use vitreous_formats::open_image;
use vitreous_jobs::import_movies::ImportMovies;
use vitreous_model::exposure::{ExposureSet, MovieSource};
use vitreous_model::report::{Figure, Report};

/// Movies shown, and frames of each that are summed for it: enough to see grid and ice, few enough to be quick.
const SHOWN_MOVIES: usize = 3;
const SHOWN_FRAMES: usize = 4;

/// Movies shown of a running microscope: the newest, for people who look whether all is well.
const SHOWN_NEWEST: usize = 1;

/// The report of rank 0. `still_written` counts movies left for a later run, if a microscope is followed.
///
/// # Errors
/// None of its own: a picture that cannot be made becomes a note.
pub fn make(
    ctx: &Ctx<'_>,
    params: &ImportMovies,
    set: &ExposureSet,
    still_written: Option<usize>,
) -> Result<Report, StageError> {
    let mut report = Report::new("Movies");
    report.skipped = ctx.skipped();
    let movies: Vec<&MovieSource> = set.exposures.iter().filter_map(|e| e.movie.as_ref()).collect();
    report.number("movies", "Movies", movies.len() as f64, "");
    report.number("skipped", "Left out", report.skipped.len() as f64, "");
    if let Some(count) = still_written {
        report.number("still_written", "Still being written", count as f64, "");
    }
    let (Some(first), Some(optics)) = (movies.first(), set.optics.first()) else { return Ok(report) };
    report.number("optics_groups", "Optics groups", set.optics.len() as f64, "");
    report.number("frames", "Frames", f64::from(first.frames), "");
    report.number("width_px", "Width", f64::from(first.width), "px");
    report.number("height_px", "Height", f64::from(first.height), "px");
    report.number("pixel_size_A", "Pixel size", first.pixel_size_a, "Å");
    report.number("voltage_kV", "Voltage", optics.voltage.0, "kV");
    report.number("cs_mm", "Spherical aberration", optics.cs.0, "mm");
    report.number("amplitude_contrast", "Amplitude contrast", optics.amplitude_contrast, "");
    if first.dose_per_frame > 0.0 {
        let total = first.pre_exposure + first.dose_per_frame * f64::from(first.frames);
        report.number("dose_per_frame_eA2", "Dose per frame", first.dose_per_frame, "e/Å²");
        report.number("total_dose_eA2", "Dose at the end", total, "e/Å²");
    } else {
        report.notes.push("The dose per frame is not known: frames cannot be weighted by dose.".into());
    }
    if movies.iter().all(|movie| movie.gain_path.is_empty()) {
        report.notes.push("There is no gain reference: the movies are taken as gain-corrected.".into());
    }
    if params.amplitude_contrast.is_none() {
        report.notes.push("No amplitude contrast was given: 0.1 is assumed.".into());
    }
    let shown = match still_written {
        Some(_) => &movies[movies.len().saturating_sub(SHOWN_NEWEST)..],
        None => &movies[..movies.len().min(SHOWN_MOVIES)],
    };
    pictures(ctx, shown, &mut report);
    let files: Vec<(Option<f64>, u64)> = movies.par_iter().map(|movie| of_file(ctx, &movie.path)).collect();
    let rows = set.exposures.iter().zip(&movies).zip(files);
    let rows = rows.map(|((e, movie), (recorded, bytes))| {
        json!({
            "name": e.name, "path": movie.path, "frames": movie.frames, "bytes": bytes,
            // a copy that keeps the times of its original tells when the movie was recorded, another when it came
            "recorded_unix_s": recorded,
        })
    });
    report.data.insert("exposures".into(), rows.collect());
    Ok(report)
}

/// When a file was last written, seconds since 1970, and its size in bytes.
fn of_file(ctx: &Ctx<'_>, path: &str) -> (Option<f64>, u64) {
    let Ok(found) = std::fs::metadata(ctx.resolve(path)) else { return (None, 0) };
    let since = found.modified().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    // to a millisecond: a longer number says no more
    (since.map(|since| since.as_millis() as f64 / 1000.0), found.len())
}

/// A frame that cannot be read is found and told by the job that needs it; here its picture is left out.
fn pictures(ctx: &Ctx<'_>, movies: &[&MovieSource], report: &mut Report) {
    let small = |path: &str, frames: usize| -> Option<(Array2<f32>, usize)> {
        let source = open_image(&ctx.resolve(path)).ok()?;
        exposure_files::thumbnail(source.as_ref(), frames).ok()
    };
    let shown: Vec<_> = movies.iter().filter_map(|movie| small(&movie.path, SHOWN_FRAMES)).collect();
    report.figures.extend(picture("movies", "First frames of movies, summed", movies, shown));
    let gain = movies.first().filter(|movie| !movie.gain_path.is_empty());
    let gain = gain.and_then(|movie| small(&movie.gain_path, 1)).into_iter().collect();
    report.figures.extend(picture("gain", "Gain reference as stored", movies, gain));
}

fn picture(
    id: &str,
    title: &str,
    movies: &[&MovieSource],
    images: Vec<(Array2<f32>, usize)>,
) -> Option<Figure> {
    let pixel_size_a = movies.first()?.pixel_size_a * images.first()?.1 as f64;
    let images: Vec<_> = images.into_iter().map(|(image, _)| image).collect();
    Some(map_figures::montage(id, title, &images, images.len(), pixel_size_a))
}
