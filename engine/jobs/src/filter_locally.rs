//! `filter-locally`: each place of a map low-passed at its own resolution.

use crate::microscope;
use crate::{Estimate, Slot, Typed};
use vitreous_model::outputs::Kind;
use vitreous_model::parameters;
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::resources::InputSummary;

parameters! {
    /// Parameters of `filter-locally`.
    pub struct FilterLocally {
        /// Each place is filtered at this multiple of its resolution; under 1 leaves more in.
        pub scale: f64 = 1.0;
        /// Resolution at which the solvent is filtered; left out, the coarsest of the structure.
        pub outside: Option<f64> = None, unit "Å";
        /// The local resolution is smoothed by a Gaussian of this standard deviation first; 0: not at all.
        pub smoothing: f64 = 3.0, unit "Å";
    }
}

impl Validate for FilterLocally {
    fn validate(&self) -> Result<(), BadParam> {
        microscope::check_positive("scale", self.scale)?;
        if let Some(outside) = self.outside {
            microscope::check_positive("outside", outside)?;
        }
        let fits = self.smoothing >= 0.0 && self.smoothing.is_finite();
        BadParam::unless(fits, "smoothing", self.smoothing, "must not be negative")
    }

    fn example() -> Self {
        Self { scale: 0.9, outside: Some(20.0), ..Self::default() }
    }
}

fn estimate(_: &FilterLocally, inputs: &InputSummary) -> Estimate {
    let edge = u64::from(inputs.box_px.unwrap_or(256));
    Estimate::of_threads(4).mem_mib(
        512 + edge.pow(3) * 32 / (1 << 20),
        format!("512 MiB + 32 bytes for each voxel of a box of {edge}"),
    )
}

/// The job type.
pub static JOB: Typed<FilterLocally> = Typed {
    name: "filter-locally",
    summary: "low-pass each place of a map at its own resolution",
    inputs: &[
        Slot::required("volume", Kind::Volume, "the map, sharpened or not"),
        Slot::required("local-resolution", Kind::LocalResolution, "its local resolution"),
    ],
    outputs: &[Slot::required("volume", Kind::Volume, "the filtered map")],
    per_item: false,
    on_gpu: false,
    estimate,
};
