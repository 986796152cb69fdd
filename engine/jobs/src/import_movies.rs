//! `import-movies`: registers movies and their gain reference; copies nothing.

use crate::microscope;
use crate::{Estimate, Slot, Typed};
use std::path::{Path, PathBuf};
use vitreous_model::exposure::GainFlip;
use vitreous_model::outputs::Kind;
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::{choices, parameters};

choices! {
    /// Whose files beside the movies are read.
    pub enum Metadata {
        /// SerialEM's if there is one, else EPU's.
        #[default] Auto = "auto",
        /// None.
        None = "none",
        /// SerialEM's MDOC.
        Mdoc = "mdoc",
        /// EPU's XML.
        Epu = "epu",
    }
}

choices! {
    /// What optics groups are made from.
    pub enum GroupBy {
        /// All movies are one group (those of a STAR file stay as they are).
        #[default] None = "none",
        /// One group for each place to which the beam was shifted.
        BeamShift = "beam-shift",
    }
}

parameters! {
    /// Parameters of `import-movies`.
    pub struct ImportMovies {
        /// Movies: a file or a pattern such as raw/*.tif (MRC, TIFF, EER); instead of it, --watch or --star.
        pub movies: Option<PathBuf> = None;
        /// STAR file of movies of RELION, with its optics groups.
        pub star: Option<PathBuf> = None;
        /// Folder that paths in the STAR file count from (RELION's project); left out, the nearest folder above the STAR
        /// file in which they are found.
        pub root: Option<PathBuf> = None;
        /// Files of the microscope beside the movies from which pixel size, voltage, doses and gain are taken where they are
        /// not given: SerialEM's NAME.tif.mdoc or NAME.mdoc, EPU's FoilHole_….xml.
        pub metadata: Metadata = Metadata::Auto;
        /// Make optics groups from the beam shifts in these files, or from SerialEM's names (…_X+1Y-1-2.tif).
        pub group_by: GroupBy = GroupBy::None;
        /// Beam shifts nearer than this (to any of a group) are of one group; left out, from the widest gap between them.
        pub group_distance: Option<f64> = None, unit "µm, or EPU's units";
        /// Gain reference, MRC or TIFF; left out, the one named by the metadata, or none: the movies are gain-corrected.
        pub gain: Option<PathBuf> = None;
        /// Quarter turns, counter-clockwise, that bring the gain onto the movie; applied before the mirror.
        pub gain_rotate: u32 = 0, unit "× 90°";
        /// Mirror of the gain after its rotation: x swaps left and right, y swaps top and bottom.
        pub gain_flip: GainFlip = GainFlip::None;
        /// Defect map of the camera, TXT (x y width height), TIFF or MRC, as seen with the movies' rows.
        pub defects: Option<PathBuf> = None;
        /// Pixel size of the movies; left out, from the project, the metadata or the file headers.
        pub pixel_size: Option<f64> = None, unit "Å";
        /// Acceleration voltage; left out, from the project or the metadata.
        pub voltage: Option<f64> = None, unit "kV";
        /// Spherical aberration; left out, from the project.
        pub cs: Option<f64> = None, unit "mm";
        /// Amplitude contrast, as a fraction.
        pub amplitude_contrast: Option<f64> = None;
        /// Dose per frame at the specimen; left out, from the total dose or the metadata.
        pub dose_per_frame: Option<f64> = None, unit "e/Å²";
        /// Dose of a whole movie at the specimen; instead of the dose per frame.
        pub total_dose: Option<f64> = None, unit "e/Å²";
        /// Dose before the first frame.
        pub pre_exposure: f64 = 0.0, unit "e/Å²";
        /// With EER: pixels of a frame along each edge of a pixel of the camera, 1, 2 or 4.
        pub eer_upsampling: u32 = 1;
        /// With EER: camera frames summed into one frame of the movie, or give eer_dose_per_fraction.
        pub eer_grouping: Option<u32> = None;
        /// With EER: dose that one frame of the movie is to have; needs the total dose, given or from the metadata.
        pub eer_dose_per_fraction: Option<f64> = None, unit "e/Å²";
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
        self.validate_source()?;
        BadParam::unless(
            self.gain_rotate < 4,
            "gain_rotate",
            self.gain_rotate,
            "must be 0, 1, 2 or 3 quarter turns",
        )?;
        BadParam::unless(self.frames != Some(0), "frames", 0, "must be at least 1")?;
        self.validate_eer()?;
        for (key, dose) in [("dose_per_frame", self.dose_per_frame), ("total_dose", self.total_dose)] {
            let dose = dose.unwrap_or(0.0);
            BadParam::unless(dose >= 0.0 && dose.is_finite(), key, dose, "must not be negative")?;
        }
        if let (Some(_), Some(total)) = (self.dose_per_frame, self.total_dose) {
            return Err(BadParam::new("total_dose", total, "cannot stand beside `dose_per_frame`")
                .hint("give one of them"));
        }
        let distance = self.group_distance.unwrap_or(1.0);
        BadParam::unless(
            distance > 0.0 && distance.is_finite(),
            "group_distance",
            distance,
            "must be greater than 0",
        )?;
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

impl ImportMovies {
    /// Refuses ways to render EER movies that are none.
    fn validate_eer(&self) -> Result<(), BadParam> {
        let upsampling = self.eer_upsampling;
        BadParam::unless([1, 2, 4].contains(&upsampling), "eer_upsampling", upsampling, "must be 1, 2 or 4")?;
        BadParam::unless(self.eer_grouping != Some(0), "eer_grouping", 0, "must be at least 1")?;
        let Some(dose) = self.eer_dose_per_fraction else { return Ok(()) };
        microscope::check_positive("eer_dose_per_fraction", dose)?;
        BadParam::unless(
            self.eer_grouping.is_none(),
            "eer_dose_per_fraction",
            dose,
            "cannot stand beside `eer_grouping`",
        )
    }

    /// Refuses anything but one source of movies, and what that source cannot do.
    fn validate_source(&self) -> Result<(), BadParam> {
        let given = [("movies", &self.movies), ("star", &self.star), ("watch", &self.watch)];
        let mut given = given.into_iter().filter_map(|(key, path)| Some((key, path.as_ref()?)));
        let Some((first, _)) = given.next() else {
            return Err(BadParam::new("movies", "", "is required")
                .hint("give a pattern: --movies 'raw/*.tif', or a folder to follow: --watch raw"));
        };
        if let Some((key, path)) = given.next() {
            let why = format!("cannot stand beside `{first}`");
            return Err(BadParam::new(key, path.to_string_lossy(), why)
                .hint("give one of them; `--watch` takes patterns, too"));
        }
        if let (None, Some(root)) = (&self.star, &self.root) {
            return Err(BadParam::new("root", root.to_string_lossy(), "serves `star` alone")
                .hint("give --star, or leave it out"));
        }
        match (&self.star, self.group_by) {
            (Some(_), GroupBy::BeamShift) => {
                Err(BadParam::new("group_by", "beam-shift", "cannot stand beside `star`")
                    .hint("a STAR file brings its own optics groups"))
            }
            _ => Ok(()),
        }
    }
}

/// Names of movies in a folder that is followed as a whole.
const MOVIE_NAMES: [&str; 6] = ["*.tif", "*.tiff", "*.mrc", "*.mrcs", "*.mrc.bz2", "*.eer"];

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
    on_gpu: false,
    estimate: |_, _| Estimate::default(),
};
