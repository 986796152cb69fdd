//! `make-mask`: a soft mask round what a map shows.

use crate::microscope;
use crate::{Estimate, Slot, Typed};
use vitreous_model::outputs::Kind;
use vitreous_model::parameters;
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::resources::InputSummary;

parameters! {
    /// Parameters of `make-mask`.
    pub struct MakeMask {
        /// The map is low-passed to this first; 0: not at all.
        pub low_pass: f64 = 15.0, unit "Å";
        /// Density of the low-passed map from which on a voxel belongs to the structure, as a viewer shows it; left out, a
        /// quarter of the density that one voxel in a thousand exceeds.
        pub level: Option<f64> = None;
        /// Connected parts smaller than this share of the largest are left out; 1 keeps the largest alone.
        pub least_part: f64 = 0.1;
        /// The mask reaches this far beyond the structure.
        pub extend: f64 = 6.0, unit "Å";
        /// Width of the soft edge after that.
        pub edge: f64 = 8.0, unit "Å";
        /// Mask everything but the structure.
        pub invert: bool = false;
    }
}

impl Validate for MakeMask {
    fn validate(&self) -> Result<(), BadParam> {
        if let Some(level) = self.level {
            microscope::check_positive("level", level)?;
        }
        for (key, value) in [("low_pass", self.low_pass), ("extend", self.extend), ("edge", self.edge)] {
            BadParam::unless(value >= 0.0 && value.is_finite(), key, value, "must not be negative")?;
        }
        BadParam::unless(
            (0.0..=1.0).contains(&self.least_part),
            "least_part",
            self.least_part,
            "must lie between 0 and 1",
        )
    }

    fn example() -> Self {
        Self { low_pass: 12.0, level: Some(0.02), ..Self::default() }
    }
}

fn estimate(_: &MakeMask, inputs: &InputSummary) -> Estimate {
    let edge = u64::from(inputs.box_px.unwrap_or(256));
    Estimate::of_threads(4).mem_mib(
        256 + edge.pow(3) * 32 / (1 << 20),
        format!("256 MiB + 32 bytes for each voxel of a box of {edge}"),
    )
}

/// The job type.
pub static JOB: Typed<MakeMask> = Typed {
    name: "make-mask",
    summary: "make a soft mask round what a map shows",
    inputs: &[Slot::required("volume", Kind::Volume, "the map")],
    outputs: &[Slot::required("mask", Kind::Mask, "the mask")],
    per_item: false,
    on_gpu: false,
    estimate,
};
