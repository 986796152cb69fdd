//! `import-relion-project`: movies, micrographs, picks and particles of a project of RELION, at once.

use crate::microscope;
use crate::{Estimate, Slot, Typed};
use std::path::PathBuf;
use vitreous_model::outputs::Kind;
use vitreous_model::parameters;
use vitreous_model::params::{BadParam, Validate};

parameters! {
    /// Parameters of `import-relion-project`.
    pub struct ImportRelionProject {
        /// The project directory of RELION, in which Import/, MotionCorr/, Extract/ and the like are; required.
        pub project: Option<PathBuf> = None;
        /// STAR file of movies below the project; left out, that of the newest Import job that has one.
        pub movies: Option<PathBuf> = None;
        /// STAR file of micrographs below the project; left out, that of the newest CtfFind or Select job, else of MotionCorr,
        /// else of Import.
        pub micrographs: Option<PathBuf> = None;
        /// Files of picks below the project, one or a pattern; left out, those of the newest AutoPick or ManualPick job.
        pub picks: Option<PathBuf> = None;
        /// STAR file of particles below the project; left out, that of the newest job that has one.
        pub particles: Option<PathBuf> = None;
        /// Diameter of the picked particles; left out, the circle outside which RELION measures the background of particles:
        /// 0.75 of their box.
        pub diameter: Option<f64> = None, unit "Å";
        /// The largest fraction of each kind of items that may be unfit.
        pub max_bad_fraction: f64 = 0.05;
    }
}

impl Validate for ImportRelionProject {
    fn validate(&self) -> Result<(), BadParam> {
        if self.project.is_none() {
            return Err(BadParam::new("project", "", "is required")
                .hint("give the folder in which RELION was started: --project /data/relion"));
        }
        if let Some(diameter) = self.diameter {
            microscope::check_positive("diameter", diameter)?;
        }
        microscope::check_fraction("max_bad_fraction", self.max_bad_fraction)
    }

    fn example() -> Self {
        Self {
            project: Some("/data/relion".into()),
            particles: Some("Refine3D/job019/run_data.star".into()),
            ..Self::default()
        }
    }
}

/// The job type.
pub static JOB: Typed<ImportRelionProject> = Typed {
    name: "import-relion-project",
    summary: "movies, micrographs, picks and particles of a RELION project",
    inputs: &[],
    outputs: &[
        Slot::optional("movies", Kind::Movies, "the movies"),
        Slot::optional("micrographs", Kind::Micrographs, "the micrographs, with motion and CTF"),
        Slot::optional("picks", Kind::Picks, "the positions"),
        Slot::optional("particles", Kind::Particles, "the particles"),
    ],
    per_item: false,
    on_gpu: false,
    estimate: |_, _| Estimate::default(),
};
