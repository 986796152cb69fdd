//! `curate-exposures`: keeps the exposures whose figures lie within thresholds.

use crate::microscope;
use crate::{Estimate, Slot, Typed};
use std::path::PathBuf;
use vitreous_model::outputs::Kind;
use vitreous_model::parameters;
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::resources::InputSummary;

parameters! {
    /// Parameters of `curate-exposures`. A threshold that is left out rejects nothing; a value that equals one passes.
    pub struct CurateExposures {
        /// Smallest mean defocus.
        pub min_defocus: Option<f64> = None, unit "Å";
        /// Largest mean defocus.
        pub max_defocus: Option<f64> = None, unit "Å";
        /// Largest astigmatism, the difference of the two defoci.
        pub max_astigmatism: Option<f64> = None, unit "Å";
        /// Worst resolution (largest number) to which the CTF may fit.
        pub max_fit_resolution: Option<f64> = None, unit "Å";
        /// Smallest correlation of the spectrum with its fit.
        pub min_score: Option<f64> = None;
        /// Largest standard error of the mean defocus.
        pub max_defocus_error: Option<f64> = None, unit "Å";
        /// Largest tilt of the specimen.
        pub max_tilt: Option<f64> = None, unit "°";
        /// Most by which the strongest ring of ice may stand above its surroundings, as a fraction.
        pub max_ice: Option<f64> = None;
        /// Largest drift within the exposure seen in the spectrum.
        pub max_drift: Option<f64> = None, unit "Å";
        /// Smallest phase shift.
        pub min_phase_shift: Option<f64> = None, unit "°";
        /// Largest phase shift.
        pub max_phase_shift: Option<f64> = None, unit "°";
        /// Largest path of the whole frame during the exposure.
        pub max_motion: Option<f64> = None, unit "Å";
        /// Largest part of it in the first 4 e/Å².
        pub max_early_motion: Option<f64> = None, unit "Å";
        /// Largest part of it after that.
        pub max_late_motion: Option<f64> = None, unit "Å";
        /// Smallest mean of the micrograph's pixels; reads every micrograph.
        pub min_mean: Option<f64> = None, unit "grey values";
        /// Largest mean of the micrograph's pixels; reads every micrograph.
        pub max_mean: Option<f64> = None, unit "grey values";
        /// Text file with names of exposures to reject, one a line.
        pub exclude: Option<PathBuf> = None;
    }
}

impl CurateExposures {
    /// Every pair of thresholds: the key of the lower, its value, the key of the upper, its value.
    fn pairs(&self) -> [(&'static str, Option<f64>, &'static str, Option<f64>); 3] {
        [
            ("min_defocus", self.min_defocus, "max_defocus", self.max_defocus),
            ("min_phase_shift", self.min_phase_shift, "max_phase_shift", self.max_phase_shift),
            ("min_mean", self.min_mean, "max_mean", self.max_mean),
        ]
    }

    /// Whether the pixels of micrographs have to be read.
    pub fn reads_pixels(&self) -> bool {
        self.min_mean.is_some() || self.max_mean.is_some()
    }
}

impl Validate for CurateExposures {
    fn validate(&self) -> Result<(), BadParam> {
        for (low_key, low, high_key, high) in self.pairs() {
            for (key, value) in [(low_key, low), (high_key, high)] {
                if let Some(value) = value {
                    BadParam::unless(value.is_finite(), key, value, "must be a number")?;
                }
            }
            if let (Some(low), Some(high)) = (low, high) {
                BadParam::unless(low <= high, low_key, low, &format!("must not be larger than {high_key}"))?;
            }
        }
        for (key, value) in [
            ("max_astigmatism", self.max_astigmatism),
            ("max_fit_resolution", self.max_fit_resolution),
            ("max_defocus_error", self.max_defocus_error),
            ("max_tilt", self.max_tilt),
            ("max_ice", self.max_ice),
            ("max_drift", self.max_drift),
            ("max_motion", self.max_motion),
            ("max_early_motion", self.max_early_motion),
            ("max_late_motion", self.max_late_motion),
        ] {
            if let Some(value) = value {
                microscope::check_positive(key, value)?;
            }
        }
        if let Some(score) = self.min_score {
            BadParam::unless((-1.0..=1.0).contains(&score), "min_score", score, "must lie between -1 and 1")?;
        }
        Ok(())
    }

    fn example() -> Self {
        Self { max_fit_resolution: Some(6.0), max_motion: Some(60.0), ..Self::default() }
    }
}

/// Nothing but tables, unless the micrographs themselves are read.
fn estimate(params: &CurateExposures, inputs: &InputSummary) -> Estimate {
    if !params.reads_pixels() {
        return Estimate::default();
    }
    let [width, height] = inputs.frame_px.unwrap_or([5760, 4092]).map(u64::from);
    let items = inputs.items;
    Estimate::default()
        .mem_mib(
            512 + width * height * 4 / (1 << 20),
            format!("512 MiB + 4 bytes for each of {width} x {height} pixels"),
        )
        .walltime_s(1800 + items, format!("30 min + {items} micrographs x 1 s"))
}

/// The job type.
pub static JOB: Typed<CurateExposures> = Typed {
    name: "curate-exposures",
    summary: "keep the exposures whose defocus, fit, motion and mean lie within thresholds",
    inputs: &[Slot::required("micrographs", Kind::Micrographs, "exposures with what is known of them")],
    outputs: &[
        Slot::required("micrographs", Kind::Micrographs, "those that passed"),
        Slot::required("rejected", Kind::Micrographs, "the others"),
    ],
    per_item: true,
    on_gpu: false,
    estimate,
};
