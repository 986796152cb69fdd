//! `export-cryosparc`: particles, micrographs and maps as datasets and groups that CryoSPARC imports.

use crate::import_picks::YOrigin;
use crate::{Estimate, Slot, Typed};
use vitreous_model::outputs::Kind;
use vitreous_model::parameters;
use vitreous_model::params::{BadParam, Validate};

parameters! {
    /// Parameters of `export-cryosparc`.
    pub struct ExportCryosparc {
        /// Write paths of files in the project relative to the datasets, marked by > as CryoSPARC's own exports are; false
        /// writes absolute ones.
        pub relative_paths: bool = true;
        /// Which stored row of CryoSPARC's micrographs positions are to count from: first-row if it reads these micrographs,
        /// last-row if it summed the movies itself.
        pub y_origin: YOrigin = YOrigin::FirstRow;
    }
}

impl Validate for ExportCryosparc {
    fn validate(&self) -> Result<(), BadParam> {
        Ok(())
    }

    fn example() -> Self {
        Self { relative_paths: false, ..Self::default() }
    }
}

/// The job type.
pub static JOB: Typed<ExportCryosparc> = Typed {
    name: "export-cryosparc",
    summary: "write particles, micrographs and maps as datasets for CryoSPARC",
    inputs: &[
        Slot::optional("particles", Kind::Particles, "particles to export"),
        Slot::optional("micrographs", Kind::Micrographs, "micrographs to export"),
        Slot::optional("volume", Kind::Volume, "a map to export"),
    ],
    outputs: &[Slot::required("files", Kind::Files, "the datasets and groups")],
    per_item: false,
    on_gpu: false,
    estimate: |_, inputs| {
        let items = inputs.items;
        Estimate::default().mem_mib(512 + items / 500, format!("512 MiB + {items} particles x 2 KiB"))
    },
};
