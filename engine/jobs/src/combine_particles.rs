//! `combine-particles`: several particle sets as one.

use crate::{Estimate, Slot, Typed};
use vitreous_model::outputs::Kind;
use vitreous_model::parameters;
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::resources::InputSummary;

parameters! {
    /// Parameters of `combine-particles`.
    pub struct CombineParticles {
        /// Make one of optics groups that are equal in name, voltage, spherical aberration, amplitude contrast and pixel
        /// size; false: every set keeps its own.
        pub merge_optics: bool = true;
    }
}

impl Validate for CombineParticles {
    fn validate(&self) -> Result<(), BadParam> {
        Ok(())
    }

    fn example() -> Self {
        Self { merge_optics: false }
    }
}

/// All sets, and their union.
fn estimate(_: &CombineParticles, inputs: &InputSummary) -> Estimate {
    let items = inputs.items;
    Estimate::default().mem_mib(512 + items / 250, format!("512 MiB + {items} particles x 4 KiB"))
}

/// The job type.
pub static JOB: Typed<CombineParticles> = Typed {
    name: "combine-particles",
    summary: "put several particle sets together, each image once",
    inputs: &[Slot::several("particles", Kind::Particles, "sets of one box and pixel size")],
    outputs: &[Slot::required("particles", Kind::Particles, "all of them")],
    per_item: false,
    on_gpu: false,
    estimate,
};
