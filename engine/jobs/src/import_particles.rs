//! `import-particles`: particles from a RELION STAR file or a CryoSPARC dataset.

use crate::import_picks::YOrigin;
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
        /// CryoSPARC dataset of particles (.cs), or an exported group of datasets (.csg).
        pub dataset: Option<PathBuf> = None;
        /// With a .cs file: the passthrough files that hold its other columns, one or a pattern. A .csg names its own.
        pub passthrough: Option<PathBuf> = None;
        /// With a dataset that has positions, required: which stored row their y counts from. CryoSPARC's own sums are mirrored
        /// against those of RELION, MotionCor and Vitreous.
        pub y_origin: Option<YOrigin> = None;
        /// Folder that the image paths in the file are relative to; left out, the file's own folder and its parents are
        /// tried.
        pub root: Option<PathBuf> = None;
        /// Pixel size of the images, for files that do not say.
        pub pixel_size: Option<f64> = None, unit "Å";
        /// Acceleration voltage, for files that do not say.
        pub voltage: Option<f64> = None, unit "kV";
        /// Spherical aberration, for files that do not say.
        pub cs: Option<f64> = None, unit "mm";
        /// Amplitude contrast, for files that do not say.
        pub amplitude_contrast: Option<f64> = None;
        /// The largest fraction of particles whose image may be missing before the job fails.
        pub max_bad_fraction: f64 = 0.05;
    }
}

impl Validate for ImportParticles {
    fn validate(&self) -> Result<(), BadParam> {
        match (&self.star, &self.dataset) {
            (None, None) => {
                let hint = "give --star run_data.star, or --dataset particles.cs";
                return Err(BadParam::new("star", "", "is required where there is no dataset").hint(hint));
            }
            (Some(_), Some(dataset)) => {
                let given = dataset.to_string_lossy();
                return Err(
                    BadParam::new("dataset", given, "cannot stand beside star").hint("give one of them")
                );
            }
            (None, Some(_)) => {}
            (Some(_), None) => {
                let only = |name| {
                    Err(BadParam::new(name, "", "is for datasets").hint("leave it out, or give --dataset"))
                };
                if self.passthrough.is_some() {
                    return only("passthrough");
                }
                if self.y_origin.is_some() {
                    return only("y_origin");
                }
            }
        }
        let is_group = self.dataset.as_ref().is_some_and(|path| path.extension().is_some_and(|e| e == "csg"));
        if let (true, Some(passthrough)) = (is_group, &self.passthrough) {
            let given = passthrough.to_string_lossy();
            return Err(
                BadParam::new("passthrough", given, "is for a .cs file").hint("a .csg names its files")
            );
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
    summary: "particles from a RELION STAR file or a CryoSPARC dataset",
    inputs: &[],
    outputs: &[Slot::required("particles", Kind::Particles, "the particles")],
    per_item: false,
    estimate: |_, _| Estimate::default(),
};
