//! `sharpen`: resolution of a pair of half maps and a sharpened, filtered map.

use crate::microscope;
use crate::{Estimate, Slot, Typed};
use vitreous_model::outputs::Kind;
use vitreous_model::parameters;
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::resources::InputSummary;

parameters! {
    /// Parameters of `sharpen`.
    pub struct Sharpen {
        /// B-factor to apply, negative to sharpen; left out, from the Guinier plot.
        pub bfactor: Option<f64> = None, unit "Å²";
        /// Lowest resolution of the Guinier fit.
        pub guinier_from: f64 = 10.0, unit "Å";
        /// Density level of the automatic mask as a fraction of the map's 99.9th percentile; left out, from the map.
        pub mask_level: Option<f64> = None;
        /// The automatic mask grows by this much.
        pub mask_extend: f64 = 6.0, unit "Å";
        /// Width of the soft edge of the automatic mask.
        pub mask_edge: f64 = 8.0, unit "Å";
        /// Seed of the phase randomisation.
        pub seed: u64 = 1;
    }
}

impl Validate for Sharpen {
    fn validate(&self) -> Result<(), BadParam> {
        microscope::check_positive("guinier_from", self.guinier_from)?;
        if let Some(level) = self.mask_level {
            microscope::check_positive("mask_level", level)?;
        }
        BadParam::unless(self.mask_extend >= 0.0, "mask_extend", self.mask_extend, "must not be negative")?;
        BadParam::unless(self.mask_edge >= 0.0, "mask_edge", self.mask_edge, "must not be negative")
    }

    fn example() -> Self {
        Self { bfactor: Some(-80.0), ..Self::default() }
    }
}

fn estimate(_: &Sharpen, inputs: &InputSummary) -> Estimate {
    let edge = u64::from(inputs.box_px.unwrap_or(256));
    Estimate::of_threads(4).mem_mib(
        512 + edge.pow(3) * 64 / (1 << 20),
        format!("512 MiB + 64 bytes for each voxel of a box of {edge}"),
    )
}

/// The job type.
pub static JOB: Typed<Sharpen> = Typed {
    name: "sharpen",
    summary: "measure the resolution of half maps, sharpen and filter their mean",
    inputs: &[
        Slot::required("volume", Kind::Volume, "a map with its half maps"),
        Slot::optional("mask", Kind::Mask, "mask of the structure"),
    ],
    outputs: &[
        Slot::required("volume", Kind::Volume, "the sharpened map"),
        Slot::required("mask", Kind::Mask, "the mask used"),
    ],
    per_item: false,
    on_gpu: false,
    estimate,
};
