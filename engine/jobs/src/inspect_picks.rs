//! `inspect-picks`: keeps the picks whose scores and surroundings lie within thresholds.

use crate::microscope;
use crate::{Estimate, Slot, Typed};
use vitreous_model::outputs::Kind;
use vitreous_model::parameters;
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::resources::InputSummary;

parameters! {
    /// Parameters of `inspect-picks`. A threshold that is left out rejects nothing; a value that equals one passes.
    pub struct InspectPicks {
        /// Smallest score; picks without a score are kept.
        pub min_score: Option<f64> = None;
        /// Largest score; picks without a score are kept.
        pub max_score: Option<f64> = None;
        /// Smallest standard deviation (root of the local power) within a diameter round a pick, over the micrograph's
        /// usual one.
        pub min_local_sd: Option<f64> = None;
        /// Largest such standard deviation.
        pub max_local_sd: Option<f64> = None;
        /// Largest difference of the mean within a diameter round a pick from the micrograph's level, in standard
        /// deviations of the binned pixels.
        pub max_local_mean: Option<f64> = None, unit "sd";
        /// Of two picks closer than this the one with the better score is kept.
        pub min_distance: Option<f64> = None, unit "Å";
        /// Keep the particle's centre this far from the edge.
        pub border: Option<f64> = None, unit "Å";
        /// The best so many per micrograph.
        pub max_picks: Option<u32> = None;
        /// Diameter within which local mean and standard deviation are measured anew; left out, those that the picker
        /// wrote, or else measured within the picks' diameter.
        pub diameter: Option<f64> = None, unit "Å";
        /// Particles are brighter than the background: the sign of a local mean that is measured anew.
        pub white_particles: bool = false;
        /// The largest fraction of micrographs that may fail before the job fails.
        pub max_bad_fraction: f64 = 0.5;
    }
}

impl InspectPicks {
    /// Whether there is a threshold of any kind.
    pub fn has_thresholds(&self) -> bool {
        let numbers = [
            self.min_score,
            self.max_score,
            self.min_local_sd,
            self.max_local_sd,
            self.max_local_mean,
            self.min_distance,
            self.border,
        ];
        self.max_picks.is_some() || numbers.iter().any(Option::is_some)
    }
}

impl Validate for InspectPicks {
    fn validate(&self) -> Result<(), BadParam> {
        for (key, value) in [("min_score", self.min_score), ("max_score", self.max_score)] {
            if let Some(value) = value {
                BadParam::unless(value.is_finite(), key, value, "must be a number")?;
            }
        }
        for (key, value) in [
            ("min_local_sd", self.min_local_sd),
            ("max_local_sd", self.max_local_sd),
            ("max_local_mean", self.max_local_mean),
            ("min_distance", self.min_distance),
            ("diameter", self.diameter),
        ] {
            if let Some(value) = value {
                microscope::check_positive(key, value)?;
            }
        }
        for (low_key, low, high_key, high) in [
            ("min_score", self.min_score, "max_score", self.max_score),
            ("min_local_sd", self.min_local_sd, "max_local_sd", self.max_local_sd),
        ] {
            if let (Some(low), Some(high)) = (low, high) {
                BadParam::unless(low <= high, low_key, low, &format!("must not be larger than {high_key}"))?;
            }
        }
        if let Some(border) = self.border {
            BadParam::unless(border >= 0.0, "border", border, "must not be negative")?;
        }
        BadParam::unless(self.max_picks != Some(0), "max_picks", 0, "must be greater than 0")?;
        microscope::check_fraction("max_bad_fraction", self.max_bad_fraction)
    }

    fn example() -> Self {
        Self { min_score: Some(4.5), max_local_sd: Some(1.5), ..Self::default() }
    }
}

/// Two images of a micrograph in floats for each thread.
fn estimate(_: &InspectPicks, inputs: &InputSummary) -> Estimate {
    let [width, height] = inputs.frame_px.unwrap_or([5760, 4092]).map(u64::from);
    let items = inputs.items;
    Estimate::of_threads(2)
        .mem_mib(
            512 + 2 * width * height * 8 / (1 << 20),
            format!("512 MiB + 2 threads x 8 bytes for each of {width} x {height} pixels"),
        )
        .walltime_s(1800 + items, format!("30 min + {items} micrographs x 1 s"))
}

/// The job type.
pub static JOB: Typed<InspectPicks> = Typed {
    name: "inspect-picks",
    summary: "keep the picks whose scores and surroundings lie within thresholds, or propose thresholds",
    inputs: &[
        Slot::required("picks", Kind::Picks, "positions of particles"),
        Slot::required("micrographs", Kind::Micrographs, "micrographs they were picked on"),
    ],
    outputs: &[
        Slot::required("picks", Kind::Picks, "those that passed"),
        Slot::required("micrographs", Kind::Micrographs, "the micrographs, handed on"),
    ],
    per_item: true,
    on_gpu: false,
    estimate,
};
