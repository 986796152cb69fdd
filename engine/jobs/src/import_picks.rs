//! `import-picks`: positions of particles from another program.

use crate::microscope;
use crate::{Estimate, Slot, Typed};
use std::path::PathBuf;
use vitreous_model::outputs::Kind;
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::{choices, parameters};

choices! {
    /// Which row of a micrograph CryoSPARC counts from.
    pub enum YOrigin {
        /// From the first stored row: the micrographs are those that CryoSPARC itself summed.
        #[default]
        FirstRow = "first-row",
        /// From the last stored row: they were summed by another program.
        LastRow = "last-row",
    }
}

parameters! {
    /// Parameters of `import-picks`.
    pub struct ImportPicks {
        /// Files of picks, one or a pattern: RELION's STAR, EMAN's .box, crYOLO's .cbox, CryoSPARC's .cs.
        pub picks: Option<PathBuf> = None;
        /// Diameter of the particles, for later jobs and pictures.
        pub diameter: Option<f64> = None, unit "Å";
        /// For .cs files, required: which stored row their y counts from. CryoSPARC's own sums are mirrored against
        /// those of RELION, MotionCor and Vitreous; the pictures of the report show which is right.
        pub y_origin: Option<YOrigin> = None;
        /// Pixels of the micrographs here per pixel of the coordinates: 0.5 for coordinates of unbinned micrographs when
        /// those here are binned twice. Fractions (.cs) need none.
        pub scale: f64 = 1.0;
        /// Picks with a smaller score are left out; those without any are kept.
        pub min_score: Option<f64> = None;
        /// The largest fraction of picks whose micrograph is unknown or that lie outside before the job fails.
        pub max_bad_fraction: f64 = 0.5;
    }
}

impl Validate for ImportPicks {
    fn validate(&self) -> Result<(), BadParam> {
        if self.picks.is_none() {
            return Err(BadParam::new("picks", "", "is required")
                .hint("give a file or pattern: --picks 'AutoPick/job010/*/*_autopick.star'"));
        }
        let Some(diameter) = self.diameter else {
            return Err(BadParam::new("diameter", "", "is required").hint("give --diameter, in Å"));
        };
        microscope::check_positive("diameter", diameter)?;
        microscope::check_positive("scale", self.scale)?;
        microscope::check_fraction("max_bad_fraction", self.max_bad_fraction)
    }

    fn example() -> Self {
        Self { picks: Some("cryolo/CBOX/*.cbox".into()), diameter: Some(150.0), ..Self::default() }
    }
}

/// The job type.
pub static JOB: Typed<ImportPicks> = Typed {
    name: "import-picks",
    summary: "positions of particles from RELION, EMAN, crYOLO or CryoSPARC",
    inputs: &[Slot::required("micrographs", Kind::Micrographs, "micrographs they were picked on")],
    outputs: &[Slot::required("picks", Kind::Picks, "the positions")],
    per_item: false,
    on_gpu: false,
    estimate: |_, _| Estimate::default(),
};
