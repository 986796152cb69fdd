//! `export-deposition`: what the EMDB asks for, from a refined map and the records of the jobs behind it.

use crate::{Estimate, Slot, Typed};
use vitreous_model::outputs::Kind;
use vitreous_model::parameters;
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::resources::InputSummary;

parameters! {
    /// Parameters of `export-deposition`.
    pub struct ExportDeposition {
        /// Name of the structure, for titles; left out, they have none.
        pub name: String = String::new();
        /// How the names of the files begin: letters, digits, - and _.
        pub prefix: String = "emd".into();
        /// Recommended contour level of the primary map, in its density; left out, it is marked as unknown.
        pub contour: Option<f64> = None;
        /// Seed of the phase randomisation.
        pub seed: u64 = 1;
    }
}

impl Validate for ExportDeposition {
    fn validate(&self) -> Result<(), BadParam> {
        let is_fit = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let fits = !self.prefix.is_empty() && self.prefix.len() <= 64 && self.prefix.chars().all(is_fit);
        BadParam::unless(fits, "prefix", &self.prefix, "must be 1 to 64 letters, digits, - or _")?;
        let is_finite = self.contour.is_none_or(f64::is_finite);
        BadParam::unless(is_finite, "contour", self.contour.unwrap_or_default(), "must be a number")
    }

    fn example() -> Self {
        Self { name: "beta-galactosidase".into(), contour: Some(0.02), ..Self::default() }
    }
}

fn estimate(_: &ExportDeposition, inputs: &InputSummary) -> Estimate {
    let edge = u64::from(inputs.box_px.unwrap_or(256));
    Estimate::of_threads(2).mem_mib(
        512 + edge.pow(3) * 64 / (1 << 20),
        format!("512 MiB + 64 bytes for each voxel of a box of {edge}"),
    )
}

/// The job type.
pub static JOB: Typed<ExportDeposition> = Typed {
    name: "export-deposition",
    summary: "write maps, FSC curves, a table and a methods text for the EMDB",
    inputs: &[
        Slot::required("volume", Kind::Volume, "the refined map with its half maps"),
        Slot::optional("sharpened", Kind::Volume, "the sharpened map, which becomes the primary one"),
        Slot::optional("mask", Kind::Mask, "the mask the FSC was measured in; left out, one from the map"),
    ],
    outputs: &[Slot::required("files", Kind::Files, "the files to upload")],
    per_item: false,
    on_gpu: false,
    estimate,
};
