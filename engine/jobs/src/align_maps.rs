//! `align-maps`: a map laid on another, and the poses that go with it.

use crate::{Estimate, Slot, Typed};
use vitreous_model::outputs::Kind;
use vitreous_model::parameters;
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::resources::InputSummary;

parameters! {
    /// Parameters of `align-maps`.
    pub struct AlignMaps {
        /// Try the mirror image of the map as well, and keep the hand that fits better.
        pub both_hands: bool = false;
        /// Both maps are low-passed to this for the search, not for the result; 0: not at all.
        pub low_pass: f64 = 0.0, unit "Å";
    }
}

impl Validate for AlignMaps {
    fn validate(&self) -> Result<(), BadParam> {
        let fits = self.low_pass >= 0.0 && self.low_pass.is_finite();
        BadParam::unless(fits, "low_pass", self.low_pass, "must not be negative")
    }

    fn example() -> Self {
        Self { both_hands: true, low_pass: 8.0 }
    }
}

fn estimate(_: &AlignMaps, inputs: &InputSummary) -> Estimate {
    let edge = u64::from(inputs.box_px.unwrap_or(256));
    Estimate::of_threads(4).mem_mib(
        512 + edge.pow(3) * 128 / (1 << 20),
        format!("512 MiB + 128 bytes for each voxel of a box of {edge}: it is interpolated on a grid twice as fine"),
    )
}

/// The job type.
pub static JOB: Typed<AlignMaps> = Typed {
    name: "align-maps",
    summary: "lay a map on another, and turn the poses of its particles with it",
    inputs: &[
        Slot::required("volume", Kind::Volume, "the map to be moved"),
        Slot::required("reference", Kind::Volume, "the map that stays"),
        Slot::optional("particles", Kind::Particles, "particles whose poses belong to the map to be moved"),
    ],
    outputs: &[
        Slot::required("volume", Kind::Volume, "the map where it lies on the reference, in its box"),
        Slot::optional("particles", Kind::Particles, "the particles with poses that belong to it there"),
    ],
    per_item: false,
    on_gpu: false,
    estimate,
};
