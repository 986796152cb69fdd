//! `check-gain`: finds which way round a gain reference belongs on the frames of movies.

use crate::{Estimate, Slot, Typed};
use std::path::PathBuf;
use vitreous_model::outputs::Kind;
use vitreous_model::parameters;
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::resources::InputSummary;

parameters! {
    /// Parameters of `check-gain`.
    pub struct CheckGain {
        /// Gain reference to check, MRC or TIFF; left out, that of the import.
        pub gain: Option<PathBuf> = None;
        /// Movies whose raw frames are averaged, at most; fewer are read if these are enough.
        pub max_movies: u32 = 32;
    }
}

impl Validate for CheckGain {
    fn validate(&self) -> Result<(), BadParam> {
        BadParam::unless(self.max_movies >= 1, "max_movies", self.max_movies, "must be at least 1")
    }

    fn example() -> Self {
        Self { gain: Some("raw/gain.mrc".into()), ..Self::default() }
    }
}

/// Bytes a pixel: the average, the gain and its pattern in one orientation in floats, sums over boxes in doubles, frames
/// being decoded.
const BYTES_PER_PIXEL: u64 = 64;

fn estimate(params: &CheckGain, inputs: &InputSummary) -> Estimate {
    let [width, height] = inputs.frame_px.unwrap_or([5760, 4092]).map(u64::from);
    let frames = u64::from(inputs.frames.unwrap_or(50));
    let movies = u64::from(params.max_movies).min(inputs.items.max(1));
    let seconds_per_movie = 2 + width * height * frames / 60_000_000;
    Estimate::of_threads(4)
        .mem_mib(
            512 + width * height * BYTES_PER_PIXEL / (1 << 20),
            format!("512 MiB + {BYTES_PER_PIXEL} bytes for each of {width} x {height} pixels"),
        )
        .walltime_s(
            1800 + movies * seconds_per_movie,
            format!("30 min + {movies} movies x {seconds_per_movie} s (2 s + {frames} frames at 60 megapixels a second)"),
        )
}

/// The job type.
pub static JOB: Typed<CheckGain> = Typed {
    name: "check-gain",
    summary: "find which way round the gain reference belongs on the frames, or refuse to guess",
    inputs: &[Slot::required("movies", Kind::Movies, "movies whose frames are not gain-corrected")],
    outputs: &[Slot::required(
        "movies",
        Kind::Movies,
        "the movies, with the gain's orientation as it was found",
    )],
    per_item: false,
    on_gpu: false,
    estimate,
};
