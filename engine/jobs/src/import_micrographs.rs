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
        /// Micrographs: a file or a pattern such as aligned/*.mrc; instead of it, --star or --dataset.
        pub micrographs: Option<PathBuf> = None;
        /// RELION STAR file of micrographs (3.1 or later), with its optics groups, CTF and motion.
        pub star: Option<PathBuf> = None;
        /// CryoSPARC dataset of exposures (.cs), or an exported group of datasets (.csg).
        pub dataset: Option<PathBuf> = None;
        /// With a .cs file: the passthrough files that hold its other columns, one or a pattern. A .csg names its own.
        pub passthrough: Option<PathBuf> = None;
        /// With star or dataset: folder that their paths are relative to; left out, the nearest above the file in which they
        /// are found.
        pub root: Option<PathBuf> = None;
        /// Pixel size; left out, from the file headers or the project. What star or dataset say goes before it, as for optics.
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
        self.validate_source()?;
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

impl ImportMicrographs {
    /// Refuses anything but one source of micrographs, and what that source cannot do.
    fn validate_source(&self) -> Result<(), BadParam> {
        let given = [("micrographs", &self.micrographs), ("star", &self.star), ("dataset", &self.dataset)];
        let mut given = given.into_iter().filter_map(|(key, path)| Some((key, path.as_ref()?)));
        let Some((source, path)) = given.next() else {
            return Err(BadParam::new("micrographs", "", "is required")
                .hint("give a pattern: --micrographs 'aligned/*.mrc', or --star or --dataset"));
        };
        if let Some((key, other)) = given.next() {
            let why = format!("cannot stand beside `{source}`");
            return Err(BadParam::new(key, other.to_string_lossy(), why).hint("give one of them"));
        }
        if let (Some(root), "micrographs") = (&self.root, source) {
            return Err(BadParam::new("root", root.to_string_lossy(), "serves `star` and `dataset` alone")
                .hint("leave it out"));
        }
        let Some(passthrough) = &self.passthrough else { return Ok(()) };
        if source != "dataset" || path.extension().is_some_and(|end| end == "csg") {
            return Err(BadParam::new("passthrough", passthrough.to_string_lossy(), "is for a .cs file")
                .hint("leave it out; a .csg names its files"));
        }
        Ok(())
    }
}

/// The job type.
pub static JOB: Typed<ImportMicrographs> = Typed {
    name: "import-micrographs",
    summary: "register micrographs that were aligned elsewhere",
    inputs: &[],
    outputs: &[Slot::required("micrographs", Kind::Micrographs, "the micrographs")],
    per_item: false,
    on_gpu: false,
    estimate: |_, _| Estimate::default(),
};
