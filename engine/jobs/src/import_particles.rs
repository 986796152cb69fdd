//! `import-particles`: particles from a RELION STAR file, a CryoSPARC dataset, or parameters of cisTEM and Frealign.

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
        /// Parameters of cisTEM or Frealign: a .par file, or cisTEM's own STAR file.
        pub par: Option<PathBuf> = None;
        /// With par: the image stack that was refined; left out, those that cisTEM's STAR file names.
        pub stack: Option<PathBuf> = None;
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
        self.validate_source()?;
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

impl ImportParticles {
    /// Refuses anything but one source of particles, and what that source cannot do.
    fn validate_source(&self) -> Result<(), BadParam> {
        let given = [("star", &self.star), ("dataset", &self.dataset), ("par", &self.par)];
        let mut given = given.into_iter().filter_map(|(key, path)| Some((key, path.as_ref()?)));
        let Some((source, _)) = given.next() else {
            let hint = "give --star run_data.star, --dataset particles.cs, or --par refined.par";
            return Err(BadParam::new("star", "", "is required where there is no other source").hint(hint));
        };
        if let Some((key, path)) = given.next() {
            let why = format!("cannot stand beside `{source}`");
            return Err(BadParam::new(key, path.to_string_lossy(), why).hint("give one of them"));
        }
        let only = [
            ("passthrough", self.passthrough.is_some(), "dataset"),
            ("y_origin", self.y_origin.is_some(), "dataset"),
            ("stack", self.stack.is_some(), "par"),
        ];
        match only.into_iter().find(|(_, is_given, of)| *is_given && *of != source) {
            Some((key, _, of)) => Err(BadParam::new(key, "", format!("serves `{of}` alone"))
                .hint(format!("leave it out, or give --{of}"))),
            None => Ok(()),
        }
    }
}

/// The job type.
pub static JOB: Typed<ImportParticles> = Typed {
    name: "import-particles",
    summary: "particles from files of RELION, CryoSPARC, cisTEM or Frealign",
    inputs: &[Slot::optional(
        "micrographs",
        Kind::Micrographs,
        "micrographs the particles lie on: names are matched and rows checked",
    )],
    outputs: &[Slot::required("particles", Kind::Particles, "the particles")],
    per_item: false,
    on_gpu: false,
    estimate: |_, _| Estimate::default(),
};
