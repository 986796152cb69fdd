//! The microscope's own files beside movies: finding them, and what they say of pixel size, voltage, doses and gain
//! where parameters do not.

use super::run::Movie;
use crate::{Ctx, StageError};
use std::path::{Path, PathBuf};
use vitreous_formats::{epu_xml, mdoc};
use vitreous_jobs::import_movies::{ImportMovies, Metadata};
use vitreous_model::acquisition::Acquisition;
use vitreous_model::exposure::GainFlip;
use vitreous_model::params::BadParam;

/// Values of files (pixel sizes, voltages) that differ by less, relatively, are the same.
const SAME: f64 = 1e-3;
/// A given pixel size or voltage that differs by more from that of the files contradicts them.
const CONTRADICTION: f64 = 0.01;
/// The same for doses, which are measured anew each day.
const DOSE_CONTRADICTION: f64 = 0.05;
/// Sizes of frames over the size of the image that EPU describes: super-resolution, binning, or EER rendered finer.
const SCALES: [f64; 5] = [0.25, 0.5, 1.0, 2.0, 4.0];
/// Ends of gain references that can be read here, in the order in which they are looked for.
const GAIN_ENDINGS: [&str; 4] = ["mrc", "tif", "tiff", "gain"];
/// What EPU adds to the name of the exposure for its movie.
const EPU_SUFFIXES: [&str; 4] = ["_Fractions", "_fractions", "_EER", "_eer"];
/// Endings of movies' names that may follow each other (`m.mrc.bz2`).
const MOVIE_ENDINGS: [&str; 7] = [".bz2", ".tif", ".tiff", ".mrc", ".mrcs", ".eer", ".st"];

/// Whether a file is one of those that are read here, and thus no movie.
pub fn is_metadata(path: &Path) -> bool {
    path.extension()
        .is_some_and(|ending| ["mdoc", "xml"].iter().any(|known| ending.eq_ignore_ascii_case(known)))
}

/// The file beside a movie, if it is there and says how the movie was recorded; else what is wrong with it.
pub fn read(path: &Path, whose: Metadata) -> Option<Result<Acquisition, String>> {
    let is_wanted = |kind| whose == Metadata::Auto || whose == kind;
    let (mdocs, epus) = names(path);
    let there = |names: Vec<PathBuf>| names.into_iter().find(|name| name.is_file());
    if let Some(file) = there(mdocs).filter(|_| is_wanted(Metadata::Mdoc)) {
        let read = mdoc::Mdoc::read(&file).and_then(|mdoc| mdoc::acquisition(&mdoc));
        return Some(read.map_err(|error| error.to_string()));
    }
    let file = there(epus).filter(|_| is_wanted(Metadata::Epu))?;
    Some(epu_xml::acquisition(&file).map_err(|error| error.to_string()))
}

/// Where the files of a movie may be: SerialEM's, then EPU's.
fn names(path: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let Some(full) = path.file_name().map(|name| name.to_string_lossy().into_owned()) else {
        return Default::default();
    };
    let mut stems = vec![full.as_str()];
    while let Some(stem) = MOVIE_ENDINGS.iter().find_map(|end| stems.last()?.strip_suffix(end)) {
        stems.push(stem);
    }
    let mdocs = stems.iter().map(|stem| path.with_file_name(format!("{stem}.mdoc"))).collect();
    let stem = stems.last().copied().unwrap_or(&full);
    let exposure = EPU_SUFFIXES.iter().find_map(|suffix| stem.strip_suffix(suffix));
    let epus = exposure.into_iter().chain([stem]).map(|stem| path.with_file_name(format!("{stem}.xml")));
    (mdocs, epus.collect())
}

/// What holds for all movies, and where it came from in sentences.
#[derive(Debug, Default)]
pub struct Settings {
    /// Pixel size that the files state, Å.
    pub pixel_size_a: Option<f64>,
    /// Voltage as given or stated, kV.
    pub voltage_kv: Option<f64>,
    /// Where values came from, and contradictions.
    pub notes: Vec<String>,
}

/// A value of some file.
struct Stated<'a> {
    value: f64,
    source: &'a str,
}

/// The value on which all agree.
fn agreed<'a>(key: &str, stated: &'a [Stated<'a>]) -> Result<Option<&'a Stated<'a>>, StageError> {
    let Some(first) = stated.first() else { return Ok(None) };
    if let Some(other) = stated.iter().find(|other| (other.value / first.value - 1.0).abs() > SAME) {
        let why = format!(
            "differs between metadata files: {} in {}, {} in {}",
            first.value, first.source, other.value, other.source
        );
        let hint = format!("give --{}, or import them as several jobs", key.replace('_', "-"));
        return Err(BadParam::new(key, "", why).hint(hint).into());
    }
    Ok(Some(first))
}

impl Settings {
    /// Settles what holds for all movies. A value that is given (or the project's) wins; one that contradicts the files
    /// is told. `remembered` is the pixel size that earlier runs settled on.
    ///
    /// # Errors
    /// Files that disagree on something that is not given, or metadata that were asked for by name and are nowhere.
    pub fn settle(
        params: &ImportMovies,
        movies: &[Movie],
        remembered: Option<f64>,
    ) -> Result<Self, StageError> {
        let mut settings = Self { voltage_kv: params.voltage, ..Self::default() };
        let found: Vec<(&Movie, &Acquisition)> =
            movies.iter().filter_map(|movie| Some((movie, movie.acquisition.as_ref()?))).collect();
        settings.tell_found(params, movies, found.len())?;
        let stated: Vec<Stated> = found
            .iter()
            .filter_map(|(movie, a)| Some(Stated { value: movie_pixel_a(movie, a)?, source: &a.source }))
            .collect();
        if params.pixel_size.is_none() && remembered.is_none() {
            let pixel = agreed("pixel_size", &stated)?;
            settings.pixel_size_a = pixel.map(|stated| stated.value);
            settings.tell("Pixel size", pixel, "Å");
        }
        settings.contradiction("pixel size", "Å", params.pixel_size, &stated, CONTRADICTION);
        let stated: Vec<Stated> = found
            .iter()
            .filter_map(|(_, a)| Some(Stated { value: a.voltage_kv?, source: &a.source }))
            .collect();
        if params.voltage.is_none() {
            let voltage = agreed("voltage", &stated)?;
            settings.voltage_kv = voltage.map(|stated| stated.value);
            settings.tell("Voltage", voltage, "kV");
        }
        settings.contradiction("voltage", "kV", params.voltage, &stated, CONTRADICTION);
        settings.doses(params, &found);
        settings.frames(&found);
        Ok(settings)
    }

    fn tell_found(
        &mut self,
        params: &ImportMovies,
        movies: &[Movie],
        found: usize,
    ) -> Result<(), StageError> {
        let name = match params.metadata {
            Metadata::None | Metadata::Auto if found == 0 => return Ok(()),
            Metadata::None => return Ok(()),
            Metadata::Auto => "metadata file",
            Metadata::Mdoc => "MDOC file",
            Metadata::Epu => "XML file of EPU",
        };
        if found == 0 && !movies.is_empty() {
            let why = format!("no movie has a {name} beside it that can be read");
            let got = if params.metadata == Metadata::Mdoc { "mdoc" } else { "epu" };
            return Err(BadParam::new("metadata", got, why).hint("leave it away, or copy the files").into());
        }
        self.notes.push(format!("{found} of {} movies have a {name} beside them.", movies.len()));
        Ok(())
    }

    fn tell(&mut self, what: &str, stated: Option<&Stated<'_>>, unit: &str) {
        if let Some(Stated { value, source }) = stated {
            self.notes.push(format!("{what} {} {unit}: from the metadata ({source}).", short(*value)));
        }
    }

    fn contradiction(
        &mut self,
        what: &str,
        unit: &str,
        given: Option<f64>,
        stated: &[Stated<'_>],
        tolerance: f64,
    ) {
        let Some(given) = given else { return };
        let is_other = |stated: &&Stated<'_>| (stated.value / given - 1.0).abs() > tolerance;
        let count = stated.iter().filter(is_other).count();
        if let Some(Stated { value, source }) = stated.iter().find(is_other) {
            self.notes.push(format!(
                "The {what} is given (or the project's) as {} {unit}, but the metadata of {count} movie(s) say {} {unit} \
                 ({source}); the given one is used.",
                short(given),
                short(*value)
            ));
        }
    }

    fn doses(&mut self, params: &ImportMovies, found: &[(&Movie, &Acquisition)]) {
        let stated: Vec<Stated> = found
            .iter()
            .filter_map(|(movie, a)| Some(Stated { value: stated_total(movie, a)?, source: &a.source }))
            .collect();
        let frames = found.first().map_or(0.0, |(movie, _)| movie.header.shape.frames as f64);
        let given = params.total_dose.or(params.dose_per_frame.map(|dose| dose * frames));
        self.contradiction(
            "total dose",
            "e/Å²",
            given.filter(|dose| *dose > 0.0),
            &stated,
            DOSE_CONTRADICTION,
        );
        if given.is_some() || stated.is_empty() {
            return;
        }
        let low = stated.iter().map(|s| s.value).fold(f64::INFINITY, f64::min);
        let high = stated.iter().map(|s| s.value).fold(0.0, f64::max);
        let range =
            if short(low) == short(high) { short(low) } else { format!("{} to {}", short(low), short(high)) };
        let source = stated[0].source;
        self.notes.push(format!("Total dose {range} e/Å² a movie: from the metadata ({source})."));
    }

    fn frames(&mut self, found: &[(&Movie, &Acquisition)]) {
        let differs = |(movie, a): &&(&Movie, &Acquisition)| {
            a.frames.is_some_and(|frames| frames as usize != movie.recorded_frames)
        };
        let count = found.iter().filter(differs).count();
        if let Some((movie, a)) = found.iter().find(differs) {
            self.notes.push(format!(
                "{count} movie(s) have other numbers of frames than their metadata say; first {}: {} frames, {} say {}.",
                movie.path.display(),
                movie.recorded_frames,
                a.source,
                a.frames.unwrap_or(0)
            ));
        }
    }
}

/// Four significant digits, enough to compare by eye.
fn short(value: f64) -> String {
    let digits = 3 - value.abs().max(f64::MIN_POSITIVE).log10().floor() as i32;
    let text = format!("{value:.*}", digits.clamp(0, 9) as usize);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
}

/// The pixel size of the movie's frames, Å: that of the file, if need be scaled from the size of the image it describes.
/// `None` if the sizes have nothing to do with each other.
fn movie_pixel_a(movie: &Movie, a: &Acquisition) -> Option<f64> {
    let upsampling = movie.eer.map_or(1.0, |eer| f64::from(eer.upsampling));
    let (pixel, Some(width)) = (a.pixel_size_a?, a.image_width_px) else {
        return a.pixel_size_a.map(|pixel| pixel / upsampling);
    };
    let scale = movie.header.shape.width as f64 / f64::from(width);
    SCALES.contains(&scale).then(|| pixel / scale)
}

/// Dose of the whole movie as the file states it, e/Å².
fn stated_total(movie: &Movie, a: &Acquisition) -> Option<f64> {
    a.total_dose.or(a.dose_per_frame.map(|dose| dose * movie.recorded_frames as f64))
}

/// Dose of one frame of a movie, e/Å²: as given, else as its file says; 0: not known.
pub fn dose_per_frame(params: &ImportMovies, movie: &Movie) -> f64 {
    let recorded = movie.recorded_frames.max(1) as f64;
    let grouping = movie.eer.map_or(1.0, |eer| f64::from(eer.grouping));
    let given = params.dose_per_frame.or(params.total_dose.map(|dose| dose / recorded * grouping));
    let a = movie.acquisition.as_ref();
    let stated = || {
        let a = a?;
        // EPU counts fractions of an EER movie as it would have made them, not the camera's frames
        let recorded = a.frames.filter(|_| movie.eer.is_none()).map_or(recorded, f64::from);
        a.dose_per_frame.or(a.total_dose.map(|dose| dose / recorded)).map(|dose| dose * grouping)
    };
    given.or_else(stated).unwrap_or(0.0)
}

/// Dose before the first frame, e/Å²: the parameter's, else that of the metadata or the STAR file.
pub fn pre_exposure(params: &ImportMovies, movie: &Movie) -> f64 {
    let stated = movie.acquisition.as_ref().and_then(|a| a.pre_exposure);
    if params.pre_exposure > 0.0 { params.pre_exposure } else { stated.unwrap_or(movie.pre_exposure) }
}

/// A gain reference and what brings it onto the frames.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GainUse {
    /// The file.
    pub path: PathBuf,
    /// Quarter turns counter-clockwise.
    pub turns: u32,
    /// Then the mirror.
    pub flip: GainFlip,
}

/// The gain of a movie: the one given, else the one its file names, if that can be found beside the movie or above it.
/// The file's orientation holds for the gain it names, unless one is given. `Err` tells why a named gain is not used.
pub fn gain_of(
    params: &ImportMovies,
    given: Option<&Path>,
    movie: &Movie,
) -> Result<Option<GainUse>, String> {
    let a = movie.acquisition.as_ref();
    let named = a.and_then(|a| a.gain_name.as_deref());
    let stem = |name: &str| name.rsplit_once('.').map_or(name, |(stem, _)| stem).to_string();
    let path = match (given, named) {
        (Some(given), _) => given.to_path_buf(),
        (None, Some(named)) => find_beside(&movie.path, named)?,
        (None, None) => return Ok(None),
    };
    let is_the_named = named
        .is_some_and(|named| path.file_stem().is_some_and(|found| *found.to_string_lossy() == *stem(named)));
    let stated = a.and_then(|a| a.gain_orientation).filter(|_| is_the_named);
    let asked = (params.gain_rotate, params.gain_flip);
    let (turns, flip) = if asked == (0, GainFlip::None) { stated.unwrap_or(asked) } else { asked };
    Ok(Some(GainUse { path, turns, flip }))
}

/// A gain reference named by a movie's file: in the movie's folder or the one above; under an ending that can be read
/// here if the named one (Gatan's DM4) cannot.
fn find_beside(movie: &Path, named: &str) -> Result<PathBuf, String> {
    let stem = named.rsplit_once('.').map_or(named, |(stem, _)| stem);
    let is_readable = GAIN_ENDINGS.iter().any(|end| named.ends_with(&format!(".{end}")));
    let mut names: Vec<String> = is_readable.then(|| named.to_string()).into_iter().collect();
    names.extend(GAIN_ENDINGS.iter().map(|end| format!("{stem}.{end}")));
    let folders = movie.ancestors().skip(1).take(2);
    let mut candidates = folders.flat_map(|folder| names.iter().map(|name| folder.join(name)));
    candidates.find(|path| path.is_file()).ok_or_else(|| {
        let convert = if is_readable { "" } else { ", converted to MRC or TIFF (e.g. by dm2mrc)" };
        format!("the metadata name the gain reference {named}, which is not beside the movies: give it with --gain{convert}")
    })
}

/// The gain of every movie, with notes on what was taken and what was not.
pub fn gains(
    ctx: &Ctx<'_>,
    params: &ImportMovies,
    movies: &[Movie],
    notes: &mut Vec<String>,
) -> Vec<Option<GainUse>> {
    let given = params.gain.as_ref().map(|gain| ctx.resolve(&gain.to_string_lossy()));
    let mut missing: Vec<String> = Vec::new();
    let gains: Vec<Option<GainUse>> = movies
        .iter()
        .map(|movie| {
            gain_of(params, given.as_deref(), movie).unwrap_or_else(|why| {
                if !missing.contains(&why) {
                    missing.push(why);
                }
                None
            })
        })
        .collect();
    notes.extend(missing.into_iter().map(|why| format!("No gain is used: {why}.")));
    let mut used: Vec<&GainUse> = gains.iter().flatten().collect();
    used.sort();
    used.dedup();
    for gain in
        used.iter().filter(|gain| given.as_deref() != Some(&gain.path) || has_orientation(params, gain))
    {
        notes.push(format!(
            "Gain reference {} with gain_rotate {} and gain_flip {}: from the metadata; hold the corrected \
             micrographs against the gain's pattern.",
            gain.path.display(),
            gain.turns,
            gain.flip.name()
        ));
    }
    gains
}

/// Whether the orientation is not the given one, and thus from the metadata.
fn has_orientation(params: &ImportMovies, gain: &GainUse) -> bool {
    (gain.turns, gain.flip) != (params.gain_rotate, params.gain_flip)
}
