//! `expand-symmetry`: each particle once for every rotation of a point group.

use crate::{Estimate, Slot, Typed};
use vitreous_model::outputs::Kind;
use vitreous_model::parameters;
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::resources::InputSummary;
use vitreous_model::symmetry::PointGroup;

/// Memory of a particle and of its row in the table that is written, bytes.
const BYTES_A_COPY: u64 = 700;

parameters! {
    /// Parameters of `expand-symmetry`.
    pub struct ExpandSymmetry {
        /// Point group of the map that the poses belong to; required.
        pub symmetry: PointGroup = PointGroup::C1;
        /// Seed of the half-sets, for particles that have none.
        pub seed: u64 = 1;
    }
}

impl Validate for ExpandSymmetry {
    fn validate(&self) -> Result<(), BadParam> {
        let has_copies = self.symmetry.order() > 1;
        BadParam::unless(has_copies, "symmetry", self.symmetry, "must be a point group other than C1")
            .map_err(|bad| bad.hint("give --symmetry as in the refinement that made the poses, e.g. D7"))
    }

    fn example() -> Self {
        Self { symmetry: PointGroup::Dihedral(7), ..Self::default() }
    }
}

fn estimate(params: &ExpandSymmetry, inputs: &InputSummary) -> Estimate {
    let copies = inputs.items * params.symmetry.order() as u64;
    Estimate::of_threads(1).mem_mib(
        512 + copies * BYTES_A_COPY / (1 << 20),
        format!("512 MiB + {BYTES_A_COPY} bytes for each of {copies} copies"),
    )
}

/// The job type.
pub static JOB: Typed<ExpandSymmetry> = Typed {
    name: "expand-symmetry",
    summary: "replicate particles by the rotations of a point group",
    inputs: &[Slot::required("particles", Kind::Particles, "particles with poses of a symmetric map")],
    outputs: &[Slot::required("particles", Kind::Particles, "each of them once for every rotation")],
    per_item: false,
    on_gpu: false,
    estimate,
};
