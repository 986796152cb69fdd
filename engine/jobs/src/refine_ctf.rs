//! `refine-ctf`: defocus of each particle, and the aberrations of each optics group, against a map.

use crate::microscope;
use crate::{Estimate, Slot, Typed};
use vitreous_model::outputs::Kind;
use vitreous_model::parameters;
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::resources::InputSummary;

parameters! {
    /// Parameters of `refine-ctf`.
    pub struct RefineCtf {
        /// Fit the defocus of each particle.
        pub defocus: bool = true;
        /// Fit the astigmatism of each micrograph.
        pub astigmatism: bool = false;
        /// Fit beam tilt and trefoil of each optics group.
        pub beam_tilt: bool = true;
        /// Fit even aberrations of the fourth order of each optics group: tetrafoil, Cs and the like.
        pub fourth_order: bool = false;
        /// Fit the anisotropic magnification of each optics group.
        pub magnification: bool = false;
        /// How often particles are gone through; later rounds start from what earlier ones found.
        pub rounds: u32 = 2;
        /// Standard deviation of defocus offsets from the given values, before the images are looked at.
        pub defocus_sd: f64 = 400.0, unit "Å";
        /// The same of the changes of astigmatism.
        pub astigmatism_sd: f64 = 200.0, unit "Å";
        /// Coarsest resolution that is compared.
        pub min_resolution: f64 = 30.0, unit "Å";
        /// Finest resolution that is compared; left out, where the half maps' FSC falls under 0.143.
        pub max_resolution: Option<f64> = None, unit "Å";
        /// The largest fraction of particles that may be unfit before the job fails.
        pub max_bad_fraction: f64 = 0.05;
    }
}

impl Validate for RefineCtf {
    fn validate(&self) -> Result<(), BadParam> {
        let any =
            self.defocus || self.astigmatism || self.beam_tilt || self.fourth_order || self.magnification;
        BadParam::unless(any, "defocus", self.defocus, "nothing is to be fitted: switch something on")?;
        BadParam::unless(
            (1..=20).contains(&self.rounds),
            "rounds",
            self.rounds,
            "must lie between 1 and 20",
        )?;
        let in_turn = !(self.astigmatism && self.fourth_order) || self.rounds > 1;
        let why = "must be 2 or more where astigmatism and fourth_order take turns";
        BadParam::unless(in_turn, "rounds", self.rounds, why)?;
        for (key, value) in [
            ("defocus_sd", self.defocus_sd),
            ("astigmatism_sd", self.astigmatism_sd),
            ("min_resolution", self.min_resolution),
            ("max_resolution", self.max_resolution.unwrap_or(1.0)),
        ] {
            microscope::check_positive(key, value)?;
        }
        if let Some(finest) = self.max_resolution {
            let why = format!("must be finer than min_resolution, {} Å", self.min_resolution);
            BadParam::unless(finest < self.min_resolution, "max_resolution", finest, &why)?;
        }
        microscope::check_fraction("max_bad_fraction", self.max_bad_fraction)
    }

    fn example() -> Self {
        Self { astigmatism: true, fourth_order: true, rounds: 3, ..Self::default() }
    }
}

fn estimate(params: &RefineCtf, inputs: &InputSummary) -> Estimate {
    let edge = u64::from(inputs.box_px.unwrap_or(256));
    let grid_mib = (2 * edge).pow(3) * 4 / (1 << 20);
    let images = inputs.items * u64::from(params.rounds);
    Estimate::of_threads(4)
        .mem_mib(
            1024 + 3 * grid_mib,
            format!("1 GiB + 3 transforms of {grid_mib} MiB (a box of {edge}, padded twofold)"),
        )
        .walltime_s(
            1800 + images * edge * edge / 1_000_000,
            format!("30 min + {images} images of {edge} x {edge} pixels at 1 megapixel a second"),
        )
}

/// The job type.
pub static JOB: Typed<RefineCtf> = Typed {
    name: "refine-ctf",
    summary: "refine defoci, beam tilt and other aberrations of particles against a map",
    inputs: &[
        Slot::required("particles", Kind::Particles, "particles with poses and CTF"),
        Slot::required(
            "volume",
            Kind::Volume,
            "their map; with halves, each half of the particles has its own",
        ),
        Slot::optional("mask", Kind::Mask, "mask of the map; left out, the one of the volume"),
    ],
    outputs: &[Slot::required("particles", Kind::Particles, "the same with new CTF and optics")],
    per_item: false,
    on_gpu: false,
    estimate,
};
