//! `import-movies`: registers movies and their gain reference; copies nothing.

use crate::microscope;
use crate::{Estimate, Slot, Typed};
use std::path::{Path, PathBuf};
use vitreous_model::exposure::GainFlip;
use vitreous_model::outputs::Kind;
use vitreous_model::parameters;
use vitreous_model::params::{BadParam, Validate};

parameters! {
    /// Parameters of `import-movies`.
    pub struct ImportMovies {
        /// Movies: a file or a pattern such as raw/*.tif (MRC, TIFF); instead of it, --watch.
        pub movies: Option<PathBuf> = None;
        /// Gain reference, MRC or TIFF; left out, the movies are taken as gain-corrected.
        pub gain: Option<PathBuf> = None;
        /// Quarter turns, counter-clockwise, that bring the gain onto the movie; applied before the mirror.
        pub gain_rotate: u32 = 0, unit "× 90°";
        /// Mirror of the gain after its rotation: x swaps left and right, y swaps top and bottom.
        pub gain_flip: GainFlip = GainFlip::None;
        /// Pixel size of the movies; left out, from the project or the file headers.
        pub pixel_size: Option<f64> = None, unit "Å";
        /// Acceleration voltage; left out, from the project.
        pub voltage: Option<f64> = None, unit "kV";
        /// Spherical aberration; left out, from the project.
        pub cs: Option<f64> = None, unit "mm";
        /// Amplitude contrast, as a fraction.
        pub amplitude_contrast: Option<f64> = None;
        /// Dose per frame at the specimen.
        pub dose_per_frame: Option<f64> = None, unit "e/Å²";
        /// Dose before the first frame.
        pub pre_exposure: f64 = 0.0, unit "e/Å²";
        /// Frames every movie must have; left out, as many as most of them have.
        pub frames: Option<u32> = None;
        /// Name of the optics group.
        pub optics_group: String = "opticsGroup1".into();
        /// The largest fraction of movies that may be unfit before the job fails.
        pub max_bad_fraction: f64 = 0.5;
        /// Follow a running microscope: the folder it writes into, or a pattern. Movies still being written are left for
        /// later, none at all is no failure, and a further attempt takes in what has come since.
        pub watch: Option<PathBuf> = None;
        /// With watch: a file that changed within this time is still being written.
        pub settle_s: f64 = 60.0, unit "s";
        /// With watch: watching ends when no new movie has come for this time.
        pub watch_idle_h: f64 = 12.0, unit "h";
    }
}

impl Validate for ImportMovies {
    fn validate(&self) -> Result<(), BadParam> {
        match (&self.movies, &self.watch) {
            (None, None) => {
                return Err(BadParam::new("movies", "", "is required")
                    .hint("give a pattern: --movies 'raw/*.tif', or a folder to follow: --watch raw"));
            }
            (Some(_), Some(watch)) => {
                return Err(BadParam::new("watch", watch.to_string_lossy(), "cannot stand beside `movies`")
                    .hint("give one of them; `--watch` takes patterns, too"));
            }
            _ => {}
        }
        BadParam::unless(
            self.gain_rotate < 4,
            "gain_rotate",
            self.gain_rotate,
            "must be 0, 1, 2 or 3 quarter turns",
        )?;
        BadParam::unless(self.frames != Some(0), "frames", 0, "must be at least 1")?;
        if let Some(dose) = self.dose_per_frame {
            BadParam::unless(dose >= 0.0, "dose_per_frame", dose, "must not be negative")?;
        }
        BadParam::unless(
            self.pre_exposure >= 0.0,
            "pre_exposure",
            self.pre_exposure,
            "must not be negative",
        )?;
        microscope::check_fraction("max_bad_fraction", self.max_bad_fraction)?;
        BadParam::unless(
            self.settle_s >= 0.0 && self.settle_s.is_finite(),
            "settle_s",
            self.settle_s,
            "must not be negative",
        )?;
        BadParam::unless(self.watch_idle_h > 0.0, "watch_idle_h", self.watch_idle_h, "must be positive")?;
        microscope::check(self.pixel_size, self.voltage, self.cs, self.amplitude_contrast)
    }

    fn example() -> Self {
        Self {
            movies: Some("raw/*.tif".into()),
            gain: Some("raw/gain.mrc".into()),
            pixel_size: Some(0.66),
            voltage: Some(300.0),
            cs: Some(2.7),
            dose_per_frame: Some(1.1),
            ..Self::default()
        }
    }
}

/// Names of movies in a folder that is followed as a whole.
const MOVIE_NAMES: [&str; 4] = ["*.tif", "*.tiff", "*.mrc", "*.mrcs"];

/// The patterns that a folder or pattern to follow stands for. A name without wildcards and without a movie's ending is a
/// folder.
///
/// ```
/// use std::path::Path;
/// use vitreous_jobs::import_movies::patterns;
/// assert_eq!(patterns(Path::new("raw/**/*_fractions.tiff")), [Path::new("raw/**/*_fractions.tiff")]);
/// assert_eq!(patterns(Path::new("raw")).first().unwrap(), Path::new("raw/*.tif"));
/// ```
pub fn patterns(watch: &Path) -> Vec<PathBuf> {
    let name = watch.to_string_lossy();
    let is_pattern = name.contains(['*', '?', '[']);
    let is_movie = MOVIE_NAMES.iter().any(|movie| name.ends_with(movie.trim_start_matches('*')));
    if is_pattern || is_movie {
        return vec![watch.into()];
    }
    MOVIE_NAMES.iter().map(|movie| watch.join(movie)).collect()
}

/// The job type.
pub static JOB: Typed<ImportMovies> = Typed {
    name: "import-movies",
    summary: "register movies and their gain reference",
    inputs: &[],
    outputs: &[Slot::required("movies", Kind::Movies, "the movies")],
    per_item: false,
    estimate: |_, _| Estimate::default(),
};
