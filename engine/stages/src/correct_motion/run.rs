//! Movies in, micrographs out.

use super::correct::{Corrected, Settings, correct};
use super::record::{Done, PatchRecord};
use super::source::{MovieSources, parts_of};
use super::{report, spectrum};
use crate::items::{Item, Outcome, for_each_item_ahead};
use crate::{Ctx, StageError, node_copies, thumbnail};
use ndarray::Array2;
use std::path::Path;
use vitreous_compute::ops::decimate::Decimate;
use vitreous_compute::ops::motion_correlation::{MotionCorrelation, Pair};
use vitreous_compute::ops::warp::Warp;
use vitreous_formats::mrc::{MrcSpec, MrcWriter};
use vitreous_formats::samples::SampleType;
use vitreous_formats::star::convert::{LocalTrack, MovieMotion, motion_blocks};
use vitreous_formats::{FormatError, star, table};
use vitreous_jobs::correct_motion::CorrectMotion;
use vitreous_model::dose::voltage_factor;
use vitreous_model::event::EventKind;
use vitreous_model::exposure::{
    Exposure, ExposureSet, MicrographSource, MotionSummary, MovieSource, OpticsGroup,
};
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::params::Validate;
use vitreous_model::report::Report;

/// Movies of which the patches' own tracks are kept for figures.
pub(super) const SHOWN: usize = 6;

/// Dose that counts as early motion, e/Å² (as RELION has it).
const EARLY_DOSE: f64 = 4.0;

/// Points along either axis at which the local motion is written for RELION, which fits its own polynomial to them.
const LOCAL_POINTS: usize = 7;

/// The stage.
pub(super) fn run<D: Decimate + MotionCorrelation + Warp>(
    ctx: &Ctx<'_>,
    device: &D,
) -> Result<Report, StageError> {
    let params: CorrectMotion = ctx.params()?;
    params.validate()?;
    let set = read_movies(ctx)?;
    if params.dose_weighting {
        check_voltages(&set)?;
    }
    let items: Vec<Item> = set.exposures.iter().map(|exposure| item(ctx, &params, &set, exposure)).collect();
    let sources = MovieSources::new(ctx, &set.exposures);
    let outcomes = for_each_item_ahead(
        ctx,
        "movies",
        &items,
        params.max_bad_fraction,
        in_flight(ctx, &set),
        |index| correct_one(device, &params, &set, &sources, index),
        |index, corrected| {
            let done = write_one(ctx, &params, &set, index, &corrected)?;
            ctx.say(EventKind::Figure {
                name: "motion".into(),
                value: done.motion.total_a,
                unit: "Å".into(),
            });
            Ok(done)
        },
    )?;
    node_copies::tell(ctx);
    if !ctx.is_root() {
        return Ok(Report::new(""));
    }
    let (set, done) = with_results(set, outcomes);
    let report = report::make(ctx, &set, &done, &params)?;
    write_table(ctx, &set)?;
    Ok(report)
}

fn read_movies(ctx: &Ctx<'_>) -> Result<ExposureSet, StageError> {
    let input = ctx.input("movies")?;
    Ok(table::exposures::read(&input.path)?)
}

/// Dose weighting needs a known critical dose for every group of optics.
fn check_voltages(set: &ExposureSet) -> Result<(), StageError> {
    for group in &set.optics {
        voltage_factor(group.voltage).map_err(|unknown| {
            StageError::input(
                format!("optics group {} ({}): {unknown}", group.number, group.name),
                "run with --dose-weighting false, or import the movies with the right --voltage",
            )
        })?;
    }
    Ok(())
}

/// Name of an exposure's item, and all that its result depends on.
fn item(ctx: &Ctx<'_>, params: &CorrectMotion, set: &ExposureSet, exposure: &Exposure) -> Item {
    let movie = exposure.movie.as_ref();
    let length = movie.and_then(|m| std::fs::metadata(ctx.resolve(&m.path)).ok()).map(|m| m.len());
    let optics = set.optics_of(exposure.optics_group);
    Item { name: exposure.name.clone(), fingerprint: format!("{params:?} {movie:?} {length:?} {optics:?}") }
}

/// Memory that movies corrected at the same time may take together, bytes; a larger movie is corrected alone.
const IN_FLIGHT_BYTES: usize = 1 << 30;

/// Frames of floats that a movie being corrected takes at most: frames held, sums, small copies, work space.
const FRAMES_PER_MOVIE: usize = 26;

/// Movies to be corrected at a time: steps of one that cannot use all threads leave them to others, and some wait, done, to
/// be written in their turn.
fn in_flight(ctx: &Ctx<'_>, set: &ExposureSet) -> usize {
    let pixels = |movie: &MovieSource| movie.width as usize * movie.height as usize;
    let largest = set.exposures.iter().filter_map(|exposure| exposure.movie.as_ref()).map(pixels).max();
    (IN_FLIGHT_BYTES / (FRAMES_PER_MOVIE * 4 * largest.unwrap_or(1).max(1))).clamp(1, 3 * ctx.threads + 2)
}

/// A corrected movie on its way to the files.
struct CorrectedMovie {
    /// First frame used, from 0.
    first: usize,
    settings: Settings,
    corrected: Corrected,
}

/// Reads and corrects a movie.
fn correct_one<D: Decimate + MotionCorrelation + Warp>(
    device: &D,
    params: &CorrectMotion,
    set: &ExposureSet,
    sources: &MovieSources,
    index: usize,
) -> Result<CorrectedMovie, StageError> {
    let exposure = &set.exposures[index];
    let (source, optics) = parts_of(set, exposure)?;
    let movie = sources.open(index, source, params.first_frame as usize - 1, params.last_frame)?;
    let settings = settings(params, exposure, source, optics)?;
    let corrected = correct(device, &movie, &settings)?;
    Ok(CorrectedMovie { first: movie.first, settings, corrected })
}

fn write_one(
    ctx: &Ctx<'_>,
    params: &CorrectMotion,
    set: &ExposureSet,
    index: usize,
    movie: &CorrectedMovie,
) -> Result<Done, StageError> {
    let exposure = &set.exposures[index];
    let (source, optics) = parts_of(set, exposure)?;
    let micrograph = write_micrographs(ctx, params, &exposure.name, movie)?;
    write_star(ctx, &exposure.name, source, optics, movie)?;
    let sums = &movie.corrected.micrographs;
    let shown = sums.weighted.as_ref().unwrap_or(&sums.plain);
    ctx.picture(&exposure.name, &thumbnail::of_micrograph(&exposure.name, shown, micrograph.pixel_size_a))?;
    Ok(done(index, micrograph, &movie.settings, &movie.corrected))
}

fn settings(
    params: &CorrectMotion,
    exposure: &Exposure,
    source: &MovieSource,
    optics: &OpticsGroup,
) -> Result<Settings, StageError> {
    let name = &exposure.name;
    if params.dose_weighting && source.dose_per_frame <= 0.0 {
        return Err(StageError::input(
            format!(
                "{name}: dose weighting needs the dose per frame, the table has {} e/Å²",
                source.dose_per_frame
            ),
            "import the movies with --dose-per-frame, or run with --dose-weighting false",
        ));
    }
    let voltage_factor = match params.dose_weighting {
        true => {
            Some(voltage_factor(optics.voltage).map_err(|e| StageError::input(format!("{name}: {e}"), ""))?)
        }
        false => None,
    };
    Ok(Settings {
        pixel_size_a: source.pixel_size_a,
        dose_per_frame: source.dose_per_frame,
        pre_exposure: source.pre_exposure,
        voltage_factor,
        patches: [params.patches_x as usize, params.patches_y as usize],
        b_factor_px2: params.bfactor,
        binning: params.binning,
        hot_pixel_sd: params.hot_pixel_sd,
        odd_even: params.odd_even,
    })
}

fn write_micrographs(
    ctx: &Ctx<'_>,
    params: &CorrectMotion,
    name: &str,
    movie: &CorrectedMovie,
) -> Result<MicrographSource, StageError> {
    let (sums, field) = (&movie.corrected.micrographs, &movie.corrected.field);
    let (height, width) = sums.plain.dim();
    let pixel_size_a = movie.settings.pixel_size_a * field.width as f64 / width as f64;
    let sample = if params.float16 { SampleType::Float16 } else { SampleType::Float32 };
    let write = |file: &str, image: &Array2<f32>| write_mrc(ctx, file, image, pixel_size_a, sample);
    let main = format!("micrographs/{name}.mrc");
    let unweighted = format!("micrographs/{name}_unweighted.mrc");
    write(&main, sums.weighted.as_ref().unwrap_or(&sums.plain))?;
    if sums.weighted.is_some() {
        write(&unweighted, &sums.plain)?;
    }
    if let Some(odd) = &sums.odd {
        write(&format!("micrographs/{name}_odd.mrc"), odd)?;
        write(&format!("micrographs/{name}_even.mrc"), &(&sums.plain - odd))?;
    }
    Ok(MicrographSource {
        path: ctx.table_path(&main),
        width: width as u32,
        height: height as u32,
        pixel_size_a,
        unweighted_path: if sums.weighted.is_some() { ctx.table_path(&unweighted) } else { String::new() },
        motion_star_path: ctx.table_path(&star_name(name)),
    })
}

fn write_mrc(
    ctx: &Ctx<'_>,
    name: &str,
    image: &Array2<f32>,
    pixel_size_a: f64,
    sample: SampleType,
) -> Result<(), StageError> {
    let (height, width) = image.dim();
    let path = ctx.job_dir.join(name);
    let pixels = image.as_slice().expect("a micrograph should be in standard layout");
    ctx.create(name, |out| -> Result<(), StageError> {
        let spec = MrcSpec::images(width, height, pixel_size_a).sample(sample);
        let mut writer = MrcWriter::new(out, &path, spec).map_err(failed_write)?;
        writer.append(pixels).map_err(failed_write)?;
        writer.finish().map_err(failed_write)?;
        Ok(())
    })?;
    Ok(())
}

/// A file that cannot be *written* is not the movie's fault and ends the job.
fn failed_write(error: FormatError) -> StageError {
    match error {
        FormatError::Io { path, source, .. } => StageError::Io { path, source },
        other => StageError::Format(other),
    }
}

fn star_name(name: &str) -> String {
    format!("motion/{name}.star")
}

fn write_star(
    ctx: &Ctx<'_>,
    name: &str,
    source: &MovieSource,
    optics: &OpticsGroup,
    movie: &CorrectedMovie,
) -> Result<(), StageError> {
    let CorrectedMovie { first, settings, corrected } = movie;
    let field = &corrected.field;
    let in_angstrom = |u: Pair| u.map(|v| v * settings.pixel_size_a);
    let track = field.centre_track();
    let mut local = Vec::new();
    if field.is_local() {
        for point in 0..LOCAL_POINTS * LOCAL_POINTS {
            let at = |i: usize, n: usize| (i as f64 + 0.5) / LOCAL_POINTS as f64 * n as f64;
            let centre_px = [at(point % LOCAL_POINTS, field.width), at(point / LOCAL_POINTS, field.height)];
            let displacement_a = (0..field.frames())
                .map(|frame| {
                    let [u, v] = field.at(frame, centre_px[0], centre_px[1]);
                    in_angstrom([u - track[frame][0], v - track[frame][1]])
                })
                .collect();
            local.push(LocalTrack { centre_px, displacement_a });
        }
    }
    let motion = MovieMotion {
        movie_path: source.path.clone(),
        gain_path: source.gain_path.clone(),
        frame_px: [source.width, source.height],
        pixel_size_a: settings.pixel_size_a,
        binning: field.width as f64 / corrected.micrographs.plain.ncols() as f64,
        dose_per_frame: settings.dose_per_frame,
        pre_exposure: settings.pre_exposure + *first as f64 * settings.dose_per_frame,
        voltage_kv: optics.voltage.0,
        global_a: track.into_iter().map(in_angstrom).collect(),
        local,
    };
    let file = star_name(name);
    let path = ctx.job_dir.join(&file);
    ctx.create(&file, |out| -> Result<(), StageError> {
        let blocks = motion_blocks(&motion);
        star::writer::write(out, &path, &blocks)
            .map_err(|error| StageError::io(&path, std::io::Error::other(error)))
    })?;
    Ok(())
}

fn done(index: usize, micrograph: MicrographSource, settings: &Settings, corrected: &Corrected) -> Done {
    let field = &corrected.field;
    let track: Vec<Pair> =
        field.centre_track().iter().map(|u| u.map(|v| v * settings.pixel_size_a)).collect();
    let pixel_a = settings.pixel_size_a;
    let patches = corrected.patch_tracks.iter().filter(|_| index < SHOWN).map(|patch| PatchRecord {
        centre_px: patch.centre,
        points_a: patch.points.iter().map(|u| u.map(|v| v * pixel_a)).collect(),
    });
    let mut coefficients_a = field.coefficients.clone();
    coefficients_a.iter_mut().flatten().flatten().for_each(|c| *c *= pixel_a);
    let out_pixel_a = micrograph.pixel_size_a;
    Done {
        micrograph,
        motion: summary(&track, settings.dose_per_frame),
        frame_px: [field.width, field.height],
        coefficients_a,
        local_gain: corrected.local_gain,
        patches: patches.collect(),
        bad_pixels: corrected.bad_pixels,
        terms: corrected.terms,
        spectrum_before: corrected.uncorrected_power.clone(),
        spectrum_after: spectrum::radial_power(corrected.micrographs.plain.view(), out_pixel_a),
    }
}

/// Path length of a track (Å), and the part of it up to [`EARLY_DOSE`]; all of it is late if the dose is not known.
fn summary(track: &[Pair], dose_per_frame: f64) -> MotionSummary {
    let (mut total_a, mut early_a) = (0.0, 0.0);
    for (step, pair) in track.windows(2).enumerate() {
        let length = (pair[1][0] - pair[0][0]).hypot(pair[1][1] - pair[0][1]);
        total_a += length;
        if dose_per_frame > 0.0 && (step + 1) as f64 * dose_per_frame <= EARLY_DOSE {
            early_a += length;
        }
    }
    MotionSummary { total_a, early_a, late_a: total_a - early_a }
}

/// The exposures that were done, with what was found.
fn with_results(set: ExposureSet, outcomes: Vec<Outcome<Done>>) -> (ExposureSet, Vec<Done>) {
    let mut kept = ExposureSet { optics: set.optics, exposures: Vec::new() };
    let mut results = Vec::new();
    for (exposure, outcome) in set.exposures.into_iter().zip(outcomes) {
        if let Outcome::Done(done) = outcome {
            let (micrograph, motion) = (Some(done.micrograph.clone()), Some(done.motion.clone()));
            kept.exposures.push(Exposure { micrograph, motion, ctf: None, ..exposure });
            results.push(done);
        }
    }
    (kept, results)
}

fn write_table(ctx: &Ctx<'_>, set: &ExposureSet) -> Result<(), StageError> {
    const FILE: &str = "micrographs.h5";
    ctx.create_at_path(FILE, |path: &Path| table::exposures::write(path, Kind::Micrographs, set))?;
    let first = set.exposures.first().and_then(|exposure| exposure.micrograph.as_ref());
    let fresh = Output::new("micrographs", Kind::Micrographs, FILE, set.exposures.len() as u64);
    ctx.output(Output {
        pixel_size_a: first.map(|m| m.pixel_size_a),
        frame_px: first.map(|m| [m.width, m.height]),
        ..fresh
    });
    Ok(())
}
