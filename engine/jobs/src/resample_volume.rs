//! `resample-volume`: a map in another box and pixel size, or with its pixel size calibrated.

use crate::microscope;
use crate::{Estimate, Slot, Typed};
use vitreous_model::outputs::Kind;
use vitreous_model::parameters;
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::resources::InputSummary;

/// Boxes outside are refused, as by `import-volume`.
const BOXES: std::ops::RangeInclusive<u32> = 8..=4096;

parameters! {
    /// Parameters of `resample-volume`.
    pub struct ResampleVolume {
        /// Edge of the new box; left out, the one that holds the old box.
        pub box_size: Option<u32> = None, unit "px";
        /// New pixel size; left out, the map's own, after calibration.
        pub pixel_size: Option<f64> = None, unit "Å";
        /// With a reference: the true pixel size is looked for up to this far from the stated one.
        pub scan: f64 = 5.0, unit "%";
    }
}

impl Validate for ResampleVolume {
    fn validate(&self) -> Result<(), BadParam> {
        microscope::check(self.pixel_size, None, None, None)?;
        if let Some(box_size) = self.box_size {
            let fits = BOXES.contains(&box_size);
            BadParam::unless(fits, "box_size", box_size, "must lie between 8 and 4096")?;
        }
        let fits = self.scan > 0.0 && self.scan <= 20.0;
        BadParam::unless(fits, "scan", self.scan, "must be above 0 and at most 20 %")
    }

    fn example() -> Self {
        Self { box_size: Some(128), pixel_size: Some(2.0), ..Self::default() }
    }
}

fn estimate(params: &ResampleVolume, inputs: &InputSummary) -> Estimate {
    let edge = u64::from(inputs.box_px.unwrap_or(256).max(params.box_size.unwrap_or(0)));
    Estimate::of_threads(4).mem_mib(
        512 + edge.pow(3) * 24 / (1 << 20),
        format!("512 MiB + 24 bytes for each voxel of a box of {edge}"),
    )
}

/// The job type.
pub static JOB: Typed<ResampleVolume> = Typed {
    name: "resample-volume",
    summary: "change box and pixel size of a map, or calibrate its pixel size",
    inputs: &[
        Slot::required("volume", Kind::Volume, "the map"),
        Slot::optional("reference", Kind::Volume, "a map of the same structure whose pixel size is right"),
    ],
    outputs: &[Slot::required("volume", Kind::Volume, "the map in its new box")],
    per_item: false,
    on_gpu: false,
    estimate,
};
