//! `export-relion`: particles and micrographs as STAR files that RELION reads.

use crate::{Estimate, Slot, Typed};
use vitreous_model::outputs::Kind;
use vitreous_model::parameters;
use vitreous_model::params::{BadParam, Validate};

parameters! {
    /// Parameters of `export-relion`.
    pub struct ExportRelion {
        /// Write paths of images relative to the project directory; false writes absolute ones.
        pub relative_paths: bool = true;
    }
}

impl Validate for ExportRelion {
    fn validate(&self) -> Result<(), BadParam> {
        Ok(())
    }

    fn example() -> Self {
        Self { relative_paths: false }
    }
}

/// The job type.
pub static JOB: Typed<ExportRelion> = Typed {
    name: "export-relion",
    summary: "write particles and micrographs as STAR files for RELION",
    inputs: &[
        Slot::optional("particles", Kind::Particles, "particles to export"),
        Slot::optional("micrographs", Kind::Micrographs, "micrographs to export"),
    ],
    outputs: &[Slot::required("files", Kind::Files, "the STAR files")],
    per_item: false,
    on_gpu: false,
    estimate: |_, inputs| {
        let items = inputs.items;
        Estimate::default().mem_mib(512 + items / 500, format!("512 MiB + {items} particles x 2 KiB"))
    },
};
