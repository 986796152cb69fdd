//! Movies of a set of exposures, opened for reading: the file held against the table, the gain reference and the defect
//! map brought onto the frames. Shared by all stages that read movies.

use super::movie::{Movie, MovieError};
use crate::node_copies::{self, NodeCopies};
use crate::{Ctx, StageError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use vitreous_formats::defects::read_defects;
use vitreous_formats::gain::{read_eer_gain, read_gain};
use vitreous_formats::image::{EerOptions, MovieOptions, open_movie};
use vitreous_model::exposure::{Exposure, ExposureSet, GainFlip, MovieSource, OpticsGroup};

/// What a gain reference on the frames' grid depends on.
#[derive(Debug, Clone, PartialEq)]
struct GainKey {
    gain: String,
    rotate: u32,
    flip: GainFlip,
    defects: String,
    size: [usize; 2],
    is_eer: bool,
}

/// Movies as threads need them to read them.
pub(crate) struct MovieSources {
    /// Absolute paths by exposure: movie, gain, defects.
    paths: Vec<[PathBuf; 3]>,
    copies: Arc<dyn NodeCopies>,
    /// The gain reference read last: successive movies nearly always share it.
    gain: Mutex<Option<(GainKey, Arc<[f32]>)>>,
}

impl MovieSources {
    /// Those of `exposures`, by their index.
    pub(crate) fn new(ctx: &Ctx<'_>, exposures: &[Exposure]) -> Self {
        let paths = |exposure: &Exposure| {
            let of = |path: fn(&MovieSource) -> &str| {
                exposure.movie.as_ref().map(|movie| ctx.resolve(path(movie))).unwrap_or_default()
            };
            [of(|movie| &movie.path), of(|movie| &movie.gain_path), of(|movie| &movie.defects_path)]
        };
        let paths: Vec<[PathBuf; 3]> = exposures.iter().map(paths).collect();
        let movies = paths.iter().map(|[movie, ..]| movie).filter(|movie| !movie.as_os_str().is_empty());
        // where movies are copied each is held only while it is read
        if !ctx.copies.takes_movies() {
            ctx.copies.find(&movies.cloned().collect::<Vec<_>>());
        }
        Self { paths, copies: Arc::clone(&ctx.copies), gain: Mutex::default() }
    }

    /// The gain factors of a movie, 0 where its defect map marks a pixel; `None` if it is corrected and has no map.
    fn gain(&self, index: usize, movie: &MovieSource) -> Result<Option<Arc<[f32]>>, StageError> {
        if movie.gain_path.is_empty() && movie.defects_path.is_empty() {
            return Ok(None);
        }
        let [_, gain_path, defects_path] = &self.paths[index];
        let (width, height) = (movie.width as usize, movie.height as usize);
        let key = GainKey {
            gain: movie.gain_path.clone(),
            rotate: movie.gain_rotate,
            flip: movie.gain_flip,
            defects: movie.defects_path.clone(),
            size: [width, height],
            is_eer: movie.eer.is_some(),
        };
        let mut last = self.gain.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, gain)) = last.as_ref().filter(|(of, _)| *of == key) {
            return Ok(Some(gain.clone()));
        }
        let unfit = |what: String, hint: &str| StageError::input(what, hint);
        let mut factors = vec![1.0f32; width * height];
        if !movie.gain_path.is_empty() {
            let read = if key.is_eer { read_eer_gain } else { read_gain };
            let gain = read(gain_path, movie.gain_rotate, movie.gain_flip, width, height)
                .map_err(|error| unfit(error.to_string(), "import the movies with the right gain"))?;
            factors = gain.factor.iter().copied().collect();
        }
        if !movie.defects_path.is_empty() {
            let defects = read_defects(defects_path, width, height)
                .map_err(|error| unfit(error.to_string(), "import the movies with the right defect map"))?;
            defects.indices.iter().for_each(|&pixel| factors[pixel] = 0.0);
        }
        let gain: Arc<[f32]> = factors.into();
        *last = Some((key, gain.clone()));
        Ok(Some(gain))
    }

    /// Opens the movie of exposure `index` and holds its header against the table and the wanted frames: `first` counts from
    /// 0, `last` from 1 (`None`: the last one).
    ///
    /// # Errors
    /// A file, gain reference or defect map that cannot be read or does not fit; frames that are not there.
    pub(crate) fn open(
        &self,
        index: usize,
        source: &MovieSource,
        first: usize,
        last: Option<u32>,
    ) -> Result<Movie, StageError> {
        let gain = self.gain(index, source)?;
        let path = &self.paths[index][0];
        let eer = source.eer.map_or_else(EerOptions::default, |eer| EerOptions {
            upsampling: eer.upsampling,
            frames_per_fraction: eer.grouping as usize,
        });
        let takes_movies = self.copies.takes_movies();
        if takes_movies {
            self.copies.fetch(std::slice::from_ref(path), &|| false, &|_, _| {});
        }
        let open = move |path: &Path| open_movie(path, &MovieOptions { eer });
        let file = node_copies::open(&self.copies, path, takes_movies, Box::new(open))?;
        let header = file.header().clone();
        let found = (header.width, header.height, header.frames);
        let expected = (source.width as usize, source.height as usize, source.frames as usize);
        if found != expected {
            let of = |(width, height, frames): (usize, usize, usize)| {
                format!("{frames} frame(s) of {width} × {height} px")
            };
            let what = format!("{}: holds {}, the table says {}", path.display(), of(found), of(expected));
            return Err(StageError::input(what, "the file changed since it was imported: import it again"));
        }
        let last = last.map_or(header.frames, |last| last as usize);
        if last > header.frames || first >= last {
            let what = format!(
                "{}: frames {} to {last} are asked for, the movie has {}",
                path.display(),
                first + 1,
                header.frames
            );
            return Err(StageError::input(what, "set first_frame and last_frame to frames that are there"));
        }
        Ok(Movie { gain, source: file, first, frames: last - first })
    }
}

impl From<MovieError> for StageError {
    fn from(error: MovieError) -> Self {
        match error {
            MovieError::Format(error) => Self::Format(error),
            error @ (MovieError::NotFinite { .. } | MovieError::Warp(_)) => {
                Self::input(error.to_string(), "")
            }
        }
    }
}

/// The movie and the optics of an exposure.
///
/// # Errors
/// The exposure has no movie, no optics, or numbers that cannot be.
pub(crate) fn parts_of<'a>(
    set: &'a ExposureSet,
    exposure: &'a Exposure,
) -> Result<(&'a MovieSource, &'a OpticsGroup), StageError> {
    let name = &exposure.name;
    let unfit = |what: String| StageError::input(format!("{name}: {what}"), "import the movies again");
    let movie = exposure.movie.as_ref().ok_or_else(|| unfit("has no movie".into()))?;
    let group = exposure.optics_group;
    let optics =
        set.optics_of(group).ok_or_else(|| unfit(format!("optics group {group} is not in the table")))?;
    if !(movie.pixel_size_a.is_finite() && movie.pixel_size_a > 0.0) {
        return Err(unfit(format!("pixel size is {} Å, expected a positive number", movie.pixel_size_a)));
    }
    if !(movie.dose_per_frame >= 0.0 && movie.pre_exposure >= 0.0) {
        let (dose, before) = (movie.dose_per_frame, movie.pre_exposure);
        return Err(unfit(format!(
            "dose per frame {dose} and pre-exposure {before} e/Å², expected none negative"
        )));
    }
    Ok((movie, optics))
}
