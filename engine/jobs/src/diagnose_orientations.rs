//! `diagnose-orientations`: whether views are missing, and what that does to the map.

use crate::{Estimate, Slot, Typed};
use vitreous_model::outputs::Kind;
use vitreous_model::parameters;
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::resources::InputSummary;
use vitreous_model::symmetry::PointGroup;

parameters! {
    /// Parameters of `diagnose-orientations`.
    pub struct DiagnoseOrientations {
        /// Point group of the particle: a view counts for all its equivalents.
        pub symmetry: PointGroup = PointGroup::C1;
        /// Half the opening of the cones that halves are compared in.
        pub cone_half_angle: f64 = 20.0, unit "deg";
    }
}

impl Validate for DiagnoseOrientations {
    fn validate(&self) -> Result<(), BadParam> {
        let fits = (5.0..=60.0).contains(&self.cone_half_angle);
        BadParam::unless(fits, "cone_half_angle", self.cone_half_angle, "must lie between 5 and 60°")
    }

    fn example() -> Self {
        Self { symmetry: PointGroup::Dihedral(7), ..Self::default() }
    }
}

fn estimate(_: &DiagnoseOrientations, inputs: &InputSummary) -> Estimate {
    let edge = u64::from(inputs.box_px.unwrap_or(256));
    Estimate::of_threads(4)
        .mem_mib(
            512 + edge.pow(3) * 32 / (1 << 20),
            format!("512 MiB + 32 bytes for each voxel of a box of {edge}"),
        )
        .walltime_s(1200, "20 min: one pass through the map's transform")
}

/// The job type.
pub static JOB: Typed<DiagnoseOrientations> = Typed {
    name: "diagnose-orientations",
    summary: "see whether views are missing, and what that does to the map",
    inputs: &[
        Slot::required("particles", Kind::Particles, "particles with poses"),
        Slot::optional("volume", Kind::Volume, "their map with its halves"),
        Slot::optional("mask", Kind::Mask, "mask for the FSC; left out, the one of the volume"),
    ],
    outputs: &[],
    per_item: false,
    on_gpu: false,
    estimate,
};
