//! `import-particles`: particles from a RELION STAR file.

use crate::microscope;
use crate::{Estimate, Slot, Typed};
use std::path::PathBuf;
use vitreous_model::outputs::Kind;
use vitreous_model::parameters;
use vitreous_model::params::{BadParam, Validate};

parameters! {
    /// Parameters of `import-particles`.
    pub struct ImportParticles {
        /// RELION STAR file with a particles block (3.0, 3.1 or later).
        pub star: Option<PathBuf> = None;
        /// Folder that the image paths in the STAR file are relative to; left out, the STAR file's own folder and its
        /// parents are tried.
        pub root: Option<PathBuf> = None;
        /// Pixel size of the images, for STAR files that do not say.
        pub pixel_size: Option<f64> = None, unit "Å";
        /// Acceleration voltage, for STAR files that do not say.
        pub voltage: Option<f64> = None, unit "kV";
        /// Spherical aberration, for STAR files that do not say.
        pub cs: Option<f64> = None, unit "mm";
        /// Amplitude contrast, for STAR files that do not say.
        pub amplitude_contrast: Option<f64> = None;
        /// The largest fraction of particles whose image may be missing before the job fails.
        pub max_bad_fraction: f64 = 0.05;
    }
}

impl Validate for ImportParticles {
    fn validate(&self) -> Result<(), BadParam> {
        if self.star.is_none() {
            return Err(BadParam::new("star", "", "is required").hint("give --star run_data.star"));
        }
        microscope::check_fraction("max_bad_fraction", self.max_bad_fraction)?;
        microscope::check(self.pixel_size, self.voltage, self.cs, self.amplitude_contrast)
    }

    fn example() -> Self {
        Self { star: Some("Extract/job012/particles.star".into()), ..Self::default() }
    }
}

/// The job type.
pub static JOB: Typed<ImportParticles> = Typed {
    name: "import-particles",
    summary: "particles from a RELION STAR file",
    inputs: &[],
    outputs: &[Slot::required("particles", Kind::Particles, "the particles")],
    per_item: false,
    estimate: |_, _| Estimate::default(),
};
