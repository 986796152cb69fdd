//! `selftest`: simulates movies, takes them to a map with the real stages, and holds every result against the truth.

use crate::{Estimate, Slot, Typed};
use vitreous_model::outputs::Kind;
use vitreous_model::parameters;
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::resources::InputSummary;

/// Fewest movies: with fewer the tolerances do not hold.
pub const FEWEST_MOVIES: u32 = 6;

parameters! {
    /// Parameters of `selftest`.
    pub struct Selftest {
        /// Movies to simulate, of 25 particles each; at least as many as ranks, so that each has one to work on.
        pub movies: u32 = 8;
        /// Make a map from nothing, too; about a quarter of the time.
        pub ab_initio: bool = true;
        /// Seed of everything that is simulated.
        pub seed: u64 = 1;
    }
}

impl Validate for Selftest {
    fn validate(&self) -> Result<(), BadParam> {
        let fits = (FEWEST_MOVIES..=10_000).contains(&self.movies);
        let why = format!("must lie between {FEWEST_MOVIES} and 10,000");
        BadParam::unless(fits, "movies", self.movies, &why)
    }

    fn example() -> Self {
        Self { movies: 16, ..Self::default() }
    }
}

fn estimate(params: &Selftest, _: &InputSummary) -> Estimate {
    let movies = u64::from(params.movies);
    Estimate::of_threads(4)
        .mem_mib(
            2048,
            "2 GiB: 1 GiB of movies corrected at the same time, and as much again for everything else",
        )
        .walltime_s(1800 + 30 * movies, format!("30 min + {movies} movies x 30 s"))
}

/// The job type.
pub static JOB: Typed<Selftest> = Typed {
    name: "selftest",
    summary: "take simulated movies to a map, and check every step against the truth",
    inputs: &[],
    outputs: &[Slot::required("volume", Kind::Volume, "the map of the simulated particles, with its halves")],
    per_item: false,
    on_gpu: true,
    estimate,
};
