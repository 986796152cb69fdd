//! `correct-motion`: aligns the frames of movies and sums them.

use crate::microscope;
use crate::{Estimate, Slot, Typed};
use vitreous_model::outputs::Kind;
use vitreous_model::parameters;
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::resources::InputSummary;

parameters! {
    /// Parameters of `correct-motion`.
    pub struct CorrectMotion {
        /// Patches along x for local motion; 1 by 1 patches correct the whole frame only.
        pub patches_x: u32 = 5;
        /// Patches along y for local motion.
        pub patches_y: u32 = 5;
        /// B-factor that damps high frequencies in the alignment, on top of weights measured from each movie; more for
        /// movies with a fixed pattern that the gain reference does not remove.
        pub bfactor: f64 = 20.0, unit "px²";
        /// Bin the output by Fourier cropping; 1 keeps the movie's pixel size.
        pub binning: f64 = 1.0;
        /// Weight frames by their dose; needs the dose per frame.
        pub dose_weighting: bool = true;
        /// Write the sums of odd and of even frames (without dose weights), too: NAME_odd.mrc and NAME_even.mrc.
        pub odd_even: bool = false;
        /// Write micrographs in 16 bits (MRC mode 12): half the size, four digits.
        pub float16: bool = false;
        /// First frame to use, counted from 1.
        pub first_frame: u32 = 1;
        /// Last frame to use; left out, the last one.
        pub last_frame: Option<u32> = None;
        /// Pixels that deviate from the sum by more than so many standard deviations are replaced.
        pub hot_pixel_sd: f64 = 6.0;
        /// The largest fraction of movies that may fail before the job fails.
        pub max_bad_fraction: f64 = 0.5;
    }
}

impl Validate for CorrectMotion {
    fn validate(&self) -> Result<(), BadParam> {
        for (key, patches) in [("patches_x", self.patches_x), ("patches_y", self.patches_y)] {
            BadParam::unless((1..=32).contains(&patches), key, patches, "must lie between 1 and 32")?;
        }
        BadParam::unless(self.bfactor >= 0.0, "bfactor", self.bfactor, "must not be negative")?;
        BadParam::unless(
            (1.0..=16.0).contains(&self.binning),
            "binning",
            self.binning,
            "must lie between 1 and 16",
        )?;
        BadParam::unless(self.first_frame >= 1, "first_frame", self.first_frame, "frames count from 1")?;
        if let Some(last) = self.last_frame {
            let fits = last >= self.first_frame;
            BadParam::unless(fits, "last_frame", last, "must not come before first_frame")?;
        }
        microscope::check_positive("hot_pixel_sd", self.hot_pixel_sd)?;
        microscope::check_fraction("max_bad_fraction", self.max_bad_fraction)
    }

    fn example() -> Self {
        Self { patches_x: 7, binning: 2.0, ..Self::default() }
    }
}

/// Per frame of floats: 8 for frames held, 2 per thread for frames being decoded and binned, 7 sums (transformed where they
/// lie), 6 for small copies, one gain, 4 of a movie being written. Movies so small that several are corrected at a time
/// take 1 GiB together.
fn estimate(_: &CorrectMotion, inputs: &InputSummary) -> Estimate {
    let [width, height] = inputs.frame_px.unwrap_or([5760, 4092]).map(u64::from);
    let frames = u64::from(inputs.frames.unwrap_or(50));
    let threads = 4;
    let frame_mib = width * height * 4 / (1 << 20) + 1;
    let held = 8 + 2 * threads + 7 + 6 + 1 + 4;
    let movies_mib = (frame_mib * held).max(1024);
    let seconds_per_movie = 2 + width * height * frames / 60_000_000;
    let items = inputs.items;
    Estimate::of_threads(threads as u32)
        .mem_mib(
            256 + movies_mib,
            format!("256 MiB + {held} frames of {width} x {height} pixels in floats ({frame_mib} MiB each), at least 1 GiB"),
        )
        .walltime_s(
            3600 + items * seconds_per_movie,
            format!("1 h + {items} movies x {seconds_per_movie} s (2 s + {frames} frames at 60 megapixels a second)"),
        )
}

/// The job type.
pub static JOB: Typed<CorrectMotion> = Typed {
    name: "correct-motion",
    summary: "align the frames of movies, whole and by patches, and sum them weighted by dose",
    inputs: &[Slot::required("movies", Kind::Movies, "movies to align")],
    outputs: &[Slot::required("micrographs", Kind::Micrographs, "the sums, weighted and unweighted")],
    per_item: true,
    on_gpu: true,
    estimate,
};
