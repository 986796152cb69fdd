//! `estimate-local-resolution`: the resolution at each voxel of a map.

use crate::microscope;
use crate::{Estimate, Slot, Typed};
use vitreous_model::outputs::Kind;
use vitreous_model::parameters;
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::resources::InputSummary;

parameters! {
    /// Parameters of `estimate-local-resolution`.
    pub struct EstimateLocalResolution {
        /// The resolution of a place is where the FSC round it first falls under this.
        pub threshold: f64 = 0.5;
        /// Width of the window round a voxel in which the halves are compared, in wavelengths of the frequency at which they are.
        pub window: f64 = 2.5;
        /// Lowest resolution that is looked at, or a third of the box if that is less.
        pub lowest_resolution: f64 = 40.0, unit "Å";
        /// Density level of the automatic mask as a fraction of the map's 99.9th percentile; left out, from the map.
        pub mask_level: Option<f64> = None;
        /// The automatic mask grows by this much.
        pub mask_extend: f64 = 6.0, unit "Å";
        /// Width of the soft edge of the automatic mask.
        pub mask_edge: f64 = 8.0, unit "Å";
    }
}

impl Validate for EstimateLocalResolution {
    fn validate(&self) -> Result<(), BadParam> {
        let fits = self.threshold > 0.0 && self.threshold < 1.0;
        BadParam::unless(fits, "threshold", self.threshold, "must lie between 0 and 1")?;
        let fits = (1.0..=20.0).contains(&self.window);
        BadParam::unless(fits, "window", self.window, "must lie between 1 and 20 wavelengths")?;
        microscope::check_positive("lowest_resolution", self.lowest_resolution)?;
        if let Some(level) = self.mask_level {
            microscope::check_positive("mask_level", level)?;
        }
        BadParam::unless(self.mask_extend >= 0.0, "mask_extend", self.mask_extend, "must not be negative")?;
        BadParam::unless(self.mask_edge >= 0.0, "mask_edge", self.mask_edge, "must not be negative")
    }

    fn example() -> Self {
        Self { threshold: 0.143, window: 6.0, ..Self::default() }
    }
}

fn estimate(_: &EstimateLocalResolution, inputs: &InputSummary) -> Estimate {
    let edge = u64::from(inputs.box_px.unwrap_or(256));
    Estimate::of_threads(4)
        .mem_mib(
            512 + edge.pow(3) * 64 / (1 << 20),
            format!("512 MiB + 64 bytes for each voxel of a box of {edge}"),
        )
        .walltime_s(
            1200 + edge.pow(3) / (1 << 15),
            format!("20 min + eight transforms of a box of {edge} for each of some 30 bands"),
        )
}

/// The job type.
pub static JOB: Typed<EstimateLocalResolution> = Typed {
    name: "estimate-local-resolution",
    summary: "measure the resolution at each place of a map from its half maps",
    inputs: &[
        Slot::required("volume", Kind::Volume, "a map with its half maps"),
        Slot::optional("mask", Kind::Mask, "mask of the structure; left out, the one of the volume"),
    ],
    outputs: &[
        Slot::required("local-resolution", Kind::LocalResolution, "the resolution at each voxel"),
        Slot::required("mask", Kind::Mask, "the mask used"),
    ],
    per_item: false,
    on_gpu: false,
    estimate,
};
