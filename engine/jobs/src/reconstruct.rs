//! `reconstruct`: a map from particles whose poses are known.

use crate::microscope;
use crate::{Estimate, Slot, Typed};
use vitreous_model::ewald::Curvature;
use vitreous_model::outputs::Kind;
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::resources::InputSummary;
use vitreous_model::symmetry::PointGroup;
use vitreous_model::{choices, parameters};

choices! {
    /// Which curvature of the Ewald sphere is corrected for.
    pub enum EwaldTrial {
        /// None: slices are flat.
        #[default] None = "none",
        /// The defocus falls towards the viewer: images as seen from the source.
        Forward = "forward",
        /// The defocus grows towards the viewer: images as seen from the detector.
        Reversed = "reversed",
        /// All three are tried, and the one whose halves agree best is kept.
        Best = "best",
    }
}

impl EwaldTrial {
    /// What to try, in this order.
    pub fn trials(self) -> &'static [Option<Curvature>] {
        const ALL: [Option<Curvature>; 3] = [None, Some(Curvature::Forward), Some(Curvature::Reversed)];
        match self {
            Self::None => &ALL[..1],
            Self::Forward => &ALL[1..2],
            Self::Reversed => &ALL[2..],
            Self::Best => &ALL,
        }
    }
}

parameters! {
    /// Parameters of `reconstruct`.
    pub struct Reconstruct {
        /// Point group imposed on the map.
        pub symmetry: PointGroup = PointGroup::C1;
        /// Resolution to which images are inserted; left out, Nyquist.
        pub max_resolution: Option<f64> = None, unit "Å";
        /// Diameter of the particle: of the spherical mask for the FSC, and for the curvature; left out, 0.8 of the box.
        pub diameter: Option<f64> = None, unit "Å";
        /// Curvature of the Ewald sphere, for particles so thick that defocus changes within them. Which of the two is right
        /// depends on the hand of the map, and so tells it.
        pub ewald: EwaldTrial = EwaldTrial::None;
        /// Padding of the grids in Fourier space; less takes less memory.
        pub padding: f64 = 2.0;
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
        let padding = (1.0..=4.0).contains(&self.padding);
        BadParam::unless(padding, "padding", self.padding, "must lie between 1 and 4")?;
        microscope::check_fraction("max_bad_fraction", self.max_bad_fraction)
    }

    fn example() -> Self {
        Self { symmetry: PointGroup::Dihedral(2), ..Self::default() }
    }
}

fn estimate(params: &Reconstruct, inputs: &InputSummary) -> Estimate {
    let edge = u64::from(inputs.box_px.unwrap_or(256));
    // a grid of the padded box, and one point more on each side
    let padded = (params.padding * edge as f64).ceil() + 4.0;
    let grid_mib = (12.0 * padded.powi(3) / f64::from(1 << 20)).ceil() as u64;
    let items = inputs.items * params.ewald.trials().len() as u64;
    Estimate::of_threads(4)
        .mem_mib(
            1024 + 3 * grid_mib,
            format!("1 GiB + 3 grids of {grid_mib} MiB (a box of {edge}, padded {} times)", params.padding),
        )
        .walltime_s(
            1800 + items * edge * edge / 1_000_000,
            format!(
                "30 min + {items} insertions of particles of {edge} x {edge} pixels at 1 megapixel a second"
            ),
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
    on_gpu: true,
    estimate,
};
