//! `ab-initio`: a first map from particles alone.

use crate::microscope;
use crate::{Estimate, Slot, Typed};
use vitreous_model::outputs::Kind;
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::resources::InputSummary;
use vitreous_model::symmetry::PointGroup;
use vitreous_model::{choices, parameters};

/// Classes at most: as many as there are output slots for their maps.
pub const MOST_CLASSES: u32 = 8;

choices! {
    /// When the point group is imposed.
    pub enum Impose {
        /// Of a set of under 500 particles, `map` and `start` in turn, at least one start of each; else `map`.
        #[default] Auto = "auto",
        /// From the first mini-batch on.
        Start = "start",
        /// Once the axes are found in the map made without it.
        Map = "map",
    }
}

parameters! {
    /// Parameters of `ab-initio`.
    pub struct AbInitio {
        /// Diameter of the spherical mask; left out, 0.8 of the box.
        pub diameter: Option<f64> = None, unit "Å";
        /// Point group of the particle.
        pub symmetry: PointGroup = PointGroup::C1;
        /// When the point group is imposed: auto, start (from the first mini-batch) or map (once its axes are found).
        pub impose: Impose = Impose::Auto;
        /// Maps to make at once; each particle goes to the one that explains it best.
        pub classes: u32 = 1;
        /// Independent starts; the one whose halves agree best is kept.
        pub starts: u32 = 3;
        /// Mini-batches of each start.
        pub batches: u32 = 60;
        /// Resolution of the first mini-batches.
        pub initial_resolution: f64 = 35.0, unit "Å";
        /// Resolution of the last mini-batches.
        pub final_resolution: f64 = 12.0, unit "Å";
        /// Give the mirror images of the maps.
        pub flip_hand: bool = false;
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
            (1..=MOST_CLASSES).contains(&self.classes),
            "classes",
            self.classes,
            "must lie between 1 and 8",
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

fn estimate(params: &AbInitio, inputs: &InputSummary) -> Estimate {
    let (edge, classes) = (u64::from(inputs.box_px.unwrap_or(256)), u64::from(params.classes));
    Estimate::of_threads(4)
        .mem_mib(
            1024 + (2 * edge).pow(3) * 20 * classes / (1 << 20),
            format!(
                "1 GiB + 20 bytes for each voxel of a box of {edge} padded to {}, times {classes} class(es)",
                2 * edge
            ),
        )
        .walltime_s(4 * 3600, "4 h, whatever the number of particles: it works on samples of them")
}

/// The job type.
pub static JOB: Typed<AbInitio> = Typed {
    name: "ab-initio",
    summary: "make a first map from particles alone",
    inputs: &[Slot::required("particles", Kind::Particles, "particles")],
    outputs: &[
        Slot::required("volume", Kind::Volume, "the map; of several classes the one with most particles"),
        Slot::required("particles", Kind::Particles, "the particles, with their class if there are several"),
        Slot::optional("volume_2", Kind::Volume, "the map of class 2"),
        Slot::optional("volume_3", Kind::Volume, "the map of class 3"),
        Slot::optional("volume_4", Kind::Volume, "the map of class 4"),
        Slot::optional("volume_5", Kind::Volume, "the map of class 5"),
        Slot::optional("volume_6", Kind::Volume, "the map of class 6"),
        Slot::optional("volume_7", Kind::Volume, "the map of class 7"),
        Slot::optional("volume_8", Kind::Volume, "the map of class 8"),
    ],
    per_item: false,
    on_gpu: true,
    estimate,
};
