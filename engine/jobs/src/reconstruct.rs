//! `reconstruct`: a map from particles whose poses are known.

use crate::microscope;
use crate::{Estimate, Slot, Typed};
use vitreous_model::outputs::Kind;
use vitreous_model::parameters;
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::resources::InputSummary;
use vitreous_model::symmetry::PointGroup;

parameters! {
    /// Parameters of `reconstruct`.
    pub struct Reconstruct {
        /// Point group imposed on the map.
        pub symmetry: PointGroup = PointGroup::C1;
        /// Resolution to which images are inserted; left out, Nyquist.
        pub max_resolution: Option<f64> = None, unit "Å";
        /// Diameter of the spherical mask for the FSC; left out, 0.8 of the box.
        pub diameter: Option<f64> = None, unit "Å";
        /// Seed of the split into halves where the particles have none.
        pub seed: u64 = 1;
        /// The largest fraction of particles that may be unreadable before the job fails.
        pub max_bad_fraction: f64 = 0.05;
    }
}

impl Validate for Reconstruct {
    fn validate(&self) -> Result<(), BadParam> {
        for (key, value) in [("max_resolution", self.max_resolution), ("diameter", self.diameter)] {
            if let Some(value) = value {
                microscope::check_positive(key, value)?;
            }
        }
        microscope::check_fraction("max_bad_fraction", self.max_bad_fraction)
    }

    fn example() -> Self {
        Self { symmetry: PointGroup::Dihedral(2), ..Self::default() }
    }
}

fn estimate(_: &Reconstruct, inputs: &InputSummary) -> Estimate {
    let edge = u64::from(inputs.box_px.unwrap_or(256));
    let grid_mib = (2 * edge).pow(2) * (edge + 1) * 24 / (1 << 20);
    let items = inputs.items;
    Estimate::of_threads(4)
        .mem_mib(
            1024 + 3 * grid_mib,
            format!("1 GiB + 3 grids of {grid_mib} MiB (a box of {edge}, padded twofold)"),
        )
        .walltime_s(
            1800 + items * edge * edge / 1_000_000,
            format!("30 min + {items} particles of {edge} x {edge} pixels at 1 megapixel a second"),
        )
}

/// The job type.
pub static JOB: Typed<Reconstruct> = Typed {
    name: "reconstruct",
    summary: "make a map from particles whose poses are known",
    inputs: &[
        Slot::required("particles", Kind::Particles, "particles with poses"),
        Slot::optional("mask", Kind::Mask, "mask for the FSC"),
    ],
    outputs: &[Slot::required("volume", Kind::Volume, "the map and its halves")],
    per_item: false,
    estimate,
};
