//! `ab-initio`: a first map from particles alone.

use crate::microscope;
use crate::{Estimate, Slot, Typed};
use vitreous_model::outputs::Kind;
use vitreous_model::parameters;
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::resources::InputSummary;
use vitreous_model::symmetry::PointGroup;

parameters! {
    /// Parameters of `ab-initio`.
    pub struct AbInitio {
        /// Diameter of the spherical mask; left out, 0.8 of the box.
        pub diameter: Option<f64> = None, unit "Å";
        /// Point group imposed once the axes are found in the map made without it.
        pub symmetry: PointGroup = PointGroup::C1;
        /// Independent starts; the one whose map explains held-out particles best wins.
        pub starts: u32 = 3;
        /// Mini-batches of each start.
        pub batches: u32 = 60;
        /// Resolution of the first mini-batches.
        pub initial_resolution: f64 = 35.0, unit "Å";
        /// Resolution of the last mini-batches.
        pub final_resolution: f64 = 12.0, unit "Å";
        /// Seed of all random choices.
        pub seed: u64 = 1;
    }
}

impl Validate for AbInitio {
    fn validate(&self) -> Result<(), BadParam> {
        if let Some(diameter) = self.diameter {
            microscope::check_positive("diameter", diameter)?;
        }
        BadParam::unless(
            (1..=50).contains(&self.starts),
            "starts",
            self.starts,
            "must lie between 1 and 50",
        )?;
        BadParam::unless(
            (5..=5000).contains(&self.batches),
            "batches",
            self.batches,
            "must lie between 5 and 5000",
        )?;
        microscope::check_positive("final_resolution", self.final_resolution)?;
        let coarser = self.initial_resolution >= self.final_resolution;
        let why = "must not be a smaller number than final_resolution";
        BadParam::unless(coarser, "initial_resolution", self.initial_resolution, why)
    }

    fn example() -> Self {
        Self { diameter: Some(180.0), symmetry: PointGroup::Dihedral(7), ..Self::default() }
    }
}

fn estimate(_: &AbInitio, inputs: &InputSummary) -> Estimate {
    let edge = u64::from(inputs.box_px.unwrap_or(256));
    Estimate::of_threads(4)
        .mem_mib(
            1024 + (2 * edge).pow(3) * 20 / (1 << 20),
            format!("1 GiB + 20 bytes for each voxel of a box of {edge} padded to {}", 2 * edge),
        )
        .walltime_s(4 * 3600, "4 h, whatever the number of particles: it works on samples of them")
}

/// The job type.
pub static JOB: Typed<AbInitio> = Typed {
    name: "ab-initio",
    summary: "make a first map from particles alone",
    inputs: &[Slot::required("particles", Kind::Particles, "particles")],
    outputs: &[
        Slot::required("volume", Kind::Volume, "the map"),
        Slot::required("particles", Kind::Particles, "the particles, handed on"),
    ],
    per_item: false,
    estimate,
};
