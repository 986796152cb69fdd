//! `import-micrographs`: registers images that were aligned elsewhere.

use crate::microscope;
use crate::{Estimate, Slot, Typed};
use std::path::PathBuf;
use vitreous_model::outputs::Kind;
use vitreous_model::parameters;
use vitreous_model::params::{BadParam, Validate};

parameters! {
    /// Parameters of `import-micrographs`.
    pub struct ImportMicrographs {
        /// Micrographs: a file or a pattern such as aligned/*.mrc.
        pub micrographs: Option<PathBuf> = None;
        /// Pixel size; left out, from the file headers or the project.
        pub pixel_size: Option<f64> = None, unit "Å";
        /// Acceleration voltage; left out, from the project.
        pub voltage: Option<f64> = None, unit "kV";
        /// Spherical aberration; left out, from the project.
        pub cs: Option<f64> = None, unit "mm";
        /// Amplitude contrast, as a fraction.
        pub amplitude_contrast: Option<f64> = None;
        /// Name of the optics group.
        pub optics_group: String = "opticsGroup1".into();
        /// The largest fraction of micrographs that may be unfit before the job fails.
        pub max_bad_fraction: f64 = 0.5;
    }
}

impl Validate for ImportMicrographs {
    fn validate(&self) -> Result<(), BadParam> {
        if self.micrographs.is_none() {
            return Err(BadParam::new("micrographs", "", "is required")
                .hint("give a pattern: --micrographs 'aligned/*.mrc'"));
        }
        microscope::check_fraction("max_bad_fraction", self.max_bad_fraction)?;
        microscope::check(self.pixel_size, self.voltage, self.cs, self.amplitude_contrast)
    }

    fn example() -> Self {
        Self {
            micrographs: Some("aligned/*.mrc".into()),
            pixel_size: Some(0.85378),
            voltage: Some(300.0),
            cs: Some(2.7),
            ..Self::default()
        }
    }
}

/// The job type.
pub static JOB: Typed<ImportMicrographs> = Typed {
    name: "import-micrographs",
    summary: "register micrographs that were aligned elsewhere",
    inputs: &[],
    outputs: &[Slot::required("micrographs", Kind::Micrographs, "the micrographs")],
    per_item: false,
    estimate: |_, _| Estimate::default(),
};
