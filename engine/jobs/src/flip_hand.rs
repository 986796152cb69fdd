//! `flip-hand`: the mirror image of a map, and of the poses that go with it.

use crate::{Estimate, Slot, Typed};
use vitreous_model::outputs::Kind;
use vitreous_model::parameters;
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::resources::InputSummary;

parameters! {
    /// Parameters of `flip-hand`.
    pub struct FlipHand {
        /// Also flip the half maps and the mask that come with the map.
        pub with_parts: bool = true;
    }
}

impl Validate for FlipHand {
    fn validate(&self) -> Result<(), BadParam> {
        Ok(())
    }

    fn example() -> Self {
        Self { with_parts: false }
    }
}

fn estimate(_: &FlipHand, inputs: &InputSummary) -> Estimate {
    let edge = u64::from(inputs.box_px.unwrap_or(256));
    Estimate::of_threads(1).mem_mib(
        512 + edge.pow(3) * 16 / (1 << 20),
        format!("512 MiB + 16 bytes for each voxel of a box of {edge}"),
    )
}

/// The job type.
pub static JOB: Typed<FlipHand> = Typed {
    name: "flip-hand",
    summary: "mirror a map that shows the wrong hand, and the poses of its particles",
    inputs: &[
        Slot::required("volume", Kind::Volume, "the map"),
        Slot::optional("particles", Kind::Particles, "particles whose poses belong to the map"),
    ],
    outputs: &[
        Slot::required("volume", Kind::Volume, "its mirror image"),
        Slot::optional(
            "particles",
            Kind::Particles,
            "the particles with poses that belong to the mirror image",
        ),
    ],
    per_item: false,
    on_gpu: false,
    estimate,
};
