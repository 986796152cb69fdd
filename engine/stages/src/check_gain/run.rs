//! Averages raw frames until one orientation of the gain is clear, and hands the movies on with it.

use super::average::{Average, is_of_movie};
use super::report;
use crate::{Ctx, StageError, exposure_files};
use ndarray::Array2;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use vitreous_formats::gain::orientation::{self, OrientationScores, Verdict};
use vitreous_formats::gain::{
    GainError, GainUse, check_eer_gain, check_gain, gain_size, read_eer_gain, read_gain,
};
use vitreous_formats::mrc::{MrcSpec, MrcWriter};
use vitreous_formats::{open_image, table};
use vitreous_jobs::check_gain::CheckGain;
use vitreous_model::event::EventKind;
use vitreous_model::exposure::{ExposureSet, GainFlip, MovieSource};
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::params::Validate;
use vitreous_model::report::Report;

/// Table of the movies in the job's folder, and the mean of raw frames.
const TABLE: &str = "movies.h5";
const AVERAGE: &str = "average.mrc";
/// What was found, for attempts that only hand on more movies.
const MEMORY: &str = "records/orientation.json";

/// An orientation: quarter turns counter-clockwise, then the mirror, and how well it fits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Oriented {
    pub turns: u32,
    pub flip: GainFlip,
    pub correlation: f64,
}

impl Oriented {
    /// The flags of `import-movies`.
    pub fn flags(&self) -> String {
        format!("--gain-rotate {} --gain-flip {}", self.turns, self.flip.name())
    }
}

/// What was found of a gain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Found {
    /// Of what: another gain or other parameters make it void.
    of: String,
    /// All orientations that fit the frames, the best first.
    pub ranked: Vec<Oriented>,
    /// Lead of the first in standard deviations of chance.
    pub margin: f64,
    pub frames: usize,
    pub movies: usize,
    /// Mean value of a pixel of a frame.
    pub mean_count: f64,
}

impl Found {
    pub fn best(&self) -> Oriented {
        self.ranked[0]
    }
}

/// The gain that is checked, and the movies it belongs to.
struct Subject {
    path: PathBuf,
    /// As it stands in tables.
    table_path: String,
    /// Indices of exposures.
    movies: Vec<usize>,
    width: usize,
    height: usize,
    is_eer: bool,
}

/// The stage.
pub(super) fn run(ctx: &Ctx<'_>) -> Result<Report, StageError> {
    let params: CheckGain = ctx.params()?;
    params.validate()?;
    if !ctx.is_root() {
        return Ok(Report::new("Gain"));
    }
    let mut set = table::exposures::read(&ctx.input("movies")?.path)?;
    let Some(subject) = Subject::of(ctx, &params, &set)? else {
        // a running microscope that has not delivered yet
        write_table(ctx, &set)?;
        return Ok(Report::new("No movies yet: the gain is checked when they come"));
    };
    let factor = subject.read()?;
    let of = subject.fingerprint(&params);
    let found = match remembered(ctx, &of) {
        Some((found, mean)) => (found, mean),
        None => {
            let (found, mean) = find(ctx, &params, &set, &subject, &factor, &of)?;
            write_average(ctx, &mean, set.exposures[subject.movies[0]].movie.as_ref())?;
            ctx.create(MEMORY, |out| {
                serde_json::to_writer(out, &found)
                    .map_err(|error| StageError::io(&ctx.job_dir.join(MEMORY), error.into()))
            })?;
            (found, mean)
        }
    };
    let (found, mean) = found;
    let used = used_orientations(&set, &subject);
    let best = found.best();
    let text = format!("The gain fits with {}.", best.flags());
    ctx.say(EventKind::Message { text });
    for &index in &subject.movies {
        if let Some(movie) = &mut set.exposures[index].movie {
            movie.gain_path.clone_from(&subject.table_path);
            (movie.gain_rotate, movie.gain_flip) = (best.turns, best.flip);
        }
    }
    write_table(ctx, &set)?;
    let pixel_size_a = set.exposures[subject.movies[0]].movie.as_ref().map(|movie| movie.pixel_size_a);
    let mut report = report::make(&found, &used, &mean, &factor, pixel_size_a.unwrap_or(1.0), &subject.path);
    let names = set.exposures.iter().map(|exposure| serde_json::json!({"name": exposure.name}));
    report.data.insert("exposures".into(), names.collect());
    report.skipped = ctx.skipped();
    Ok(report)
}

impl Subject {
    /// `None`: there are no movies yet.
    fn of(ctx: &Ctx<'_>, params: &CheckGain, set: &ExposureSet) -> Result<Option<Self>, StageError> {
        let movies = || set.exposures.iter().enumerate().filter_map(|(i, e)| Some((i, e.movie.as_ref()?)));
        let Some((_, first)) = movies().next() else { return Ok(None) };
        let table_path = match &params.gain {
            Some(gain) => exposure_files::table_path(ctx, &ctx.resolve(&gain.to_string_lossy())),
            None => first.gain_path.clone(),
        };
        if table_path.is_empty() {
            return Err(StageError::input(
                "the movies were imported without a gain reference",
                "give the one to be checked: --gain FILE",
            ));
        }
        let belongs = |movie: &MovieSource| {
            (movie.width, movie.height) == (first.width, first.height)
                && movie.eer.is_some() == first.eer.is_some()
                && (params.gain.is_some() || movie.gain_path == table_path)
        };
        Ok(Some(Self {
            path: ctx.resolve(&table_path),
            movies: movies().filter(|(_, movie)| belongs(movie)).map(|(i, _)| i).collect(),
            width: first.width as usize,
            height: first.height as usize,
            is_eer: first.eer.is_some(),
            table_path,
        }))
    }

    /// The factors by which frames are to be multiplied, in the orientation of the file; 0 at defects.
    fn read(&self) -> Result<Array2<f32>, StageError> {
        let unfit = |error: GainError| StageError::input(error.to_string(), "check --gain");
        let (width, height) = (self.width, self.height);
        if self.is_eer {
            // upright if that fits, else lying as the file has it
            let is_upright = check_eer_gain(&self.path, 0, width, height).is_ok();
            let (width, height) = if is_upright { (width, height) } else { (height, width) };
            return Ok(read_eer_gain(&self.path, 0, GainFlip::None, width, height).map_err(unfit)?.factor);
        }
        let (found_width, found_height) = gain_size(&self.path, 0).map_err(unfit)?;
        if (found_width, found_height) != (height, width) {
            check_gain(&self.path, 0, width, height).map_err(unfit)?;
        }
        let gain = read_gain(&self.path, 0, GainFlip::None, found_width, found_height);
        Ok(gain.map_err(unfit)?.factor)
    }

    fn fingerprint(&self, params: &CheckGain) -> String {
        let file = std::fs::metadata(&self.path).ok().map(|meta| (meta.len(), meta.modified().ok()));
        format!("{params:?} {:?} {} x {} {}", file, self.width, self.height, self.table_path)
    }
}

/// What an earlier attempt found of the same gain, and the mean of frames it was found with.
fn remembered(ctx: &Ctx<'_>, of: &str) -> Option<(Found, Array2<f32>)> {
    let bytes = std::fs::read(ctx.job_dir.join(MEMORY)).ok()?;
    let found: Found = serde_json::from_slice(&bytes).ok()?;
    if found.of != of || found.ranked.is_empty() {
        return None;
    }
    let file = open_image(&ctx.job_dir.join(AVERAGE)).ok()?;
    let mut pixels = vec![0.0; file.header().frame_len()];
    file.read_frame_in_pool(0, &mut pixels).ok()?;
    let mean = Array2::from_shape_vec((file.header().height, file.header().width), pixels).ok()?;
    Some((found, mean))
}

/// Averages movies, spread over all there are, until an orientation is clear.
fn find(
    ctx: &Ctx<'_>,
    params: &CheckGain,
    set: &ExposureSet,
    subject: &Subject,
    factor: &Array2<f32>,
    of: &str,
) -> Result<(Found, Array2<f32>), StageError> {
    let most = (params.max_movies as usize).min(subject.movies.len());
    ctx.say(EventKind::Phase { name: "averaging raw frames".into(), total: most as u64 });
    let mut average = Average::new(subject.width, subject.height);
    let mut next_look = 1;
    let mut scores = None;
    for turn in 0..most {
        let exposure = &set.exposures[subject.movies[turn * subject.movies.len() / most]];
        let Some(movie) = &exposure.movie else { continue };
        match average.add(ctx, movie) {
            Ok(()) => {}
            Err(error) if is_of_movie(&error) => ctx.skip(&exposure.name, error.to_string()),
            Err(error) => return Err(error),
        }
        ctx.say(EventKind::Progress { done: turn as u64 + 1, total: most as u64 });
        // twice as many each time: a look takes about as long as a movie
        let is_time = average.movies == next_look || turn + 1 == most;
        if !is_time || average.movies == 0 {
            continue;
        }
        next_look *= 2;
        let mean = average.mean();
        let seen = orientation::score(&mean, factor);
        if seen.verdict == Verdict::Clear {
            let mean_count = f64::from(mean.mean().unwrap_or(f32::NAN));
            return judge(subject, &average, seen, mean_count, of).map(|found| (found, mean));
        }
        scores = Some((seen, f64::from(mean.mean().unwrap_or(f32::NAN))));
    }
    match scores {
        Some((seen, mean_count)) => Err(ambiguous(subject, &average, &seen, mean_count)),
        None => Err(StageError::input(
            format!("none of {most} movies can be read; first: {}", first_reason(ctx)),
            "repair the files, or import them anew",
        )),
    }
}

fn first_reason(ctx: &Ctx<'_>) -> String {
    ctx.skipped().first().map_or_else(String::new, |skipped| skipped.reason.clone())
}

/// A clear winner; refused if frames would have to be divided by what is multiplied with them.
fn judge(
    subject: &Subject,
    average: &Average,
    scores: OrientationScores,
    mean_count: f64,
    of: &str,
) -> Result<Found, StageError> {
    let ranked: Vec<Oriented> = scores
        .ranked
        .iter()
        .map(|s| Oriented { turns: s.turns, flip: s.flip, correlation: s.correlation })
        .collect();
    if scores.used == GainUse::Divided {
        let what = format!(
            "gain reference {}: it fits with {}, but upside down in value: pixels that count more than others have the \
             larger factor, so frames would have to be divided by it, and they are multiplied",
            subject.path.display(),
            ranked[0].flags()
        );
        let hint = if subject.is_eer {
            "of EER movies, a .gain is multiplied and any other file divided: rename it, or convert it"
        } else {
            "give its reciprocal (1 / value) as the gain"
        };
        return Err(StageError::input(what, hint));
    }
    let Average { frames, movies, .. } = *average;
    Ok(Found { of: of.into(), ranked, margin: scores.margin, frames, movies, mean_count })
}

/// The refusal, with all scores.
fn ambiguous(
    subject: &Subject,
    average: &Average,
    scores: &OrientationScores,
    mean_count: f64,
) -> StageError {
    let why = match &scores.verdict {
        Verdict::Ambiguous(why) => why.as_str(),
        Verdict::Clear => "",
    };
    let list: Vec<String> = scores
        .ranked
        .iter()
        .map(|s| format!("rotate {} flip {}: {:.4}", s.turns, s.flip.name(), s.correlation))
        .collect();
    let what = format!(
        "gain reference {}: its orientation cannot be told from {} raw frames of {} movie(s) with {mean_count:.3} counts a \
         pixel and frame: {why}. Scores: {}",
        subject.path.display(),
        average.frames,
        average.movies,
        list.join(", ")
    );
    StageError::input(
        what,
        "give more movies (or --max-movies), frames that are not gain-corrected, and the gain of this camera and mode; or \
         set --gain-rotate and --gain-flip of import-movies by what the camera's software says",
    )
}

/// Orientations with which the movies were imported, each once. Empty if they had another gain or none.
fn used_orientations(set: &ExposureSet, subject: &Subject) -> Vec<(u32, GainFlip)> {
    let movies = subject.movies.iter().filter_map(|&index| set.exposures[index].movie.as_ref());
    let mut used: Vec<(u32, GainFlip)> = movies
        .filter(|movie| movie.gain_path == subject.table_path)
        .map(|movie| (movie.gain_rotate, movie.gain_flip))
        .collect();
    used.sort_unstable();
    used.dedup();
    used
}

fn write_average(ctx: &Ctx<'_>, mean: &Array2<f32>, movie: Option<&MovieSource>) -> Result<(), StageError> {
    let pixel_size_a = movie.map_or(1.0, |movie| movie.pixel_size_a);
    let path: &Path = &ctx.job_dir.join(AVERAGE);
    ctx.create(AVERAGE, |out| -> Result<(), StageError> {
        let spec = MrcSpec::images(mean.ncols(), mean.nrows(), pixel_size_a);
        let mut writer = MrcWriter::new(out, path, spec).map_err(StageError::writing)?;
        let pixels = mean.as_slice().expect("a mean should be in standard layout");
        writer.append(pixels).map_err(StageError::writing)?;
        writer.finish().map_err(StageError::writing)?;
        Ok(())
    })?;
    Ok(())
}

fn write_table(ctx: &Ctx<'_>, set: &ExposureSet) -> Result<(), StageError> {
    ctx.create_at_path(TABLE, |path| table::exposures::write(path, Kind::Movies, set))?;
    let given = &ctx.input("movies")?.output;
    let fresh = Output::new("movies", Kind::Movies, TABLE, set.exposures.len() as u64);
    ctx.output(Output {
        pixel_size_a: given.pixel_size_a,
        frame_px: given.frame_px,
        frames: given.frames,
        ..fresh
    });
    Ok(())
}
