//! `pick-blobs`: particles as blobs of a given diameter.

use crate::microscope;
use crate::{Estimate, Slot, Typed};
use std::path::PathBuf;
use vitreous_model::outputs::Kind;
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::resources::InputSummary;
use vitreous_model::{choices, parameters};

choices! {
    /// What particles look like.
    pub enum Shape {
        /// Filled.
        #[default] Disc = "disc",
        /// With a hole, as hollow particles and vesicles have.
        Ring = "ring",
    }
}

parameters! {
    /// Parameters of `pick-blobs`.
    pub struct PickBlobs {
        /// Diameter of the particle; required.
        pub diameter: Option<f64> = None, unit "Å";
        /// Largest diameter, where particles differ or are not round; left out, the same.
        pub max_diameter: Option<f64> = None, unit "Å";
        /// Shape of the particle: `disc`, or `ring` for one with a hole.
        pub shape: Shape = Shape::Disc;
        /// Diameter of a ring's hole, as a fraction of the particle's.
        pub hole: f64 = 0.5;
        /// Look also for ellipses whose long axis is so many times the short one; 1, only for round particles.
        pub elongation: f64 = 1.0;
        /// Smallest distance between two particles; left out, 0.7 of the diameter.
        pub min_distance: Option<f64> = None, unit "Å";
        /// Peaks must stand so many standard deviations of the noise above its level.
        pub threshold: f64 = 3.5, unit "sd";
        /// Peaks more than so many robust standard deviations above the median peak are contamination.
        pub max_score: f64 = 6.0, unit "sd";
        /// Smallest standard deviation within a diameter round a pick, over the usual one; left out, any.
        pub min_local_sd: Option<f64> = None;
        /// Largest such standard deviation; left out, any.
        pub max_local_sd: Option<f64> = None;
        /// Largest difference of the mean within a diameter round a pick from the micrograph's level, in standard
        /// deviations of the binned pixels; left out, any.
        pub max_local_mean: Option<f64> = None, unit "sd";
        /// Masks of contamination: a path in which `*` stands for the micrograph's name; a micrograph without such a
        /// file has none. A mask may be smaller than its micrograph.
        pub masks: Option<PathBuf> = None;
        /// A mask's values above this are contamination.
        pub mask_threshold: f64 = 0.5;
        /// The best so many per micrograph; left out, all.
        pub max_picks: Option<u32> = None;
        /// Keep the particle's centre this far from the edge; left out, half a diameter.
        pub border: Option<f64> = None, unit "Å";
        /// Particles are brighter than the background.
        pub white_particles: bool = false;
        /// The largest fraction of micrographs that may fail before the job fails.
        pub max_bad_fraction: f64 = 0.5;
    }
}

impl Validate for PickBlobs {
    fn validate(&self) -> Result<(), BadParam> {
        let Some(diameter) = self.diameter else {
            return Err(BadParam::new("diameter", "", "is required")
                .hint("give the particle's diameter in Å: --diameter 150"));
        };
        microscope::check_positive("diameter", diameter)?;
        if let Some(max) = self.max_diameter {
            BadParam::unless(max >= diameter, "max_diameter", max, "must not be smaller than diameter")?;
        }
        BadParam::unless(self.hole > 0.0 && self.hole < 1.0, "hole", self.hole, "must lie between 0 and 1")?;
        let elongation = (1.0..=5.0).contains(&self.elongation);
        BadParam::unless(elongation, "elongation", self.elongation, "must lie between 1 and 5")?;
        for (key, value) in [
            ("min_local_sd", self.min_local_sd),
            ("max_local_sd", self.max_local_sd),
            ("max_local_mean", self.max_local_mean),
        ] {
            if let Some(value) = value {
                microscope::check_positive(key, value)?;
            }
        }
        if let (Some(least), Some(most)) = (self.min_local_sd, self.max_local_sd) {
            BadParam::unless(most > least, "max_local_sd", most, "must be larger than min_local_sd")?;
        }
        if let Some(masks) = &self.masks {
            let pattern = masks.to_string_lossy();
            let stars = pattern.matches('*').count();
            BadParam::unless(
                stars == 1,
                "masks",
                &pattern,
                "must hold one `*`, where the micrograph's name stands",
            )?;
        }
        let finite = self.mask_threshold.is_finite();
        BadParam::unless(finite, "mask_threshold", self.mask_threshold, "must be a finite number")?;
        if let Some(distance) = self.min_distance {
            microscope::check_positive("min_distance", distance)?;
        }
        if let Some(border) = self.border {
            BadParam::unless(border >= 0.0, "border", border, "must not be negative")?;
        }
        BadParam::unless(self.threshold.is_finite(), "threshold", self.threshold, "must be a finite number")?;
        BadParam::unless(self.max_picks != Some(0), "max_picks", 0, "must be greater than 0")?;
        microscope::check_positive("max_score", self.max_score)?;
        microscope::check_fraction("max_bad_fraction", self.max_bad_fraction)
    }

    fn example() -> Self {
        Self { diameter: Some(150.0), ..Self::default() }
    }
}

/// Three images of a micrograph in floats for each thread.
fn estimate(_: &PickBlobs, inputs: &InputSummary) -> Estimate {
    let [width, height] = inputs.frame_px.unwrap_or([5760, 4092]).map(u64::from);
    let items = inputs.items;
    Estimate::of_threads(4)
        .mem_mib(
            512 + 4 * width * height * 12 / (1 << 20),
            format!("512 MiB + 4 threads x 12 bytes for each of {width} x {height} pixels"),
        )
        .walltime_s(1800 + items * 3, format!("30 min + {items} micrographs x 3 s"))
}

/// The job type.
pub static JOB: Typed<PickBlobs> = Typed {
    name: "pick-blobs",
    summary: "find particles as blobs of a given diameter",
    inputs: &[Slot::required("micrographs", Kind::Micrographs, "micrographs")],
    outputs: &[
        Slot::required("picks", Kind::Picks, "positions of particles"),
        Slot::required("micrographs", Kind::Micrographs, "the micrographs, handed on"),
    ],
    per_item: true,
    on_gpu: false,
    estimate,
};
