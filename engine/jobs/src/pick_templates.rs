//! `pick-templates`: particles by their likeness to projections of a map or to class averages.

use crate::microscope;
use crate::{Estimate, Slot, Typed};
use std::path::PathBuf;
use vitreous_model::outputs::Kind;
use vitreous_model::parameters;
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::resources::InputSummary;
use vitreous_model::symmetry::PointGroup;

parameters! {
    /// Parameters of `pick-templates`.
    pub struct PickTemplates {
        /// Diameter of the particle; templates are cut out by a circle of it; required.
        pub diameter: Option<f64> = None, unit "Å";
        /// Class averages: an MRC stack, particles white. Either these or a volume.
        pub class_averages: Option<PathBuf> = None;
        /// Pixel size of the class averages; left out, as their header says.
        pub class_pixel_size: Option<f64> = None, unit "Å";
        /// Point group of the volume: only one of equal views is taken.
        pub symmetry: PointGroup = PointGroup::C1;
        /// Angle between neighbouring views of the volume.
        pub view_step: f64 = 20.0, unit "deg";
        /// Step of the turns in the plane.
        pub angle_step: f64 = 10.0, unit "deg";
        /// Finest detail that counts; it sets the working pixel size.
        pub low_pass: f64 = 20.0, unit "Å";
        /// Coarsest detail that counts; left out, three diameters.
        pub high_pass: Option<f64> = None, unit "Å";
        /// Give templates the contrast transfer of each micrograph, where it is known.
        pub ctf: bool = true;
        /// Smallest distance between two particles; left out, 0.7 of the diameter.
        pub min_distance: Option<f64> = None, unit "Å";
        /// Scores must be at least so many standard deviations of the noise.
        pub threshold: f64 = 5.0, unit "sd";
        /// Picks more than so many robust standard deviations above the median score are contamination.
        pub max_score: f64 = 6.0, unit "sd";
        /// Masks of contamination: a path in which `*` stands for the micrograph's name; a micrograph without such a
        /// file has none. A mask may be smaller than its micrograph.
        pub masks: Option<PathBuf> = None;
        /// A mask's values above this are contamination.
        pub mask_threshold: f64 = 0.5;
        /// The best so many per micrograph; left out, all.
        pub max_picks: Option<u32> = None;
        /// Keep the particle's centre this far from the edge; left out, half a diameter.
        pub border: Option<f64> = None, unit "Å";
        /// Particles are brighter than the background in the micrographs.
        pub white_particles: bool = false;
        /// The largest fraction of micrographs that may fail before the job fails.
        pub max_bad_fraction: f64 = 0.5;
    }
}

impl Validate for PickTemplates {
    fn validate(&self) -> Result<(), BadParam> {
        let Some(diameter) = self.diameter else {
            return Err(BadParam::new("diameter", "", "is required")
                .hint("give the particle's diameter in Å: --diameter 150"));
        };
        microscope::check_positive("diameter", diameter)?;
        for (key, value) in [
            ("class_pixel_size", self.class_pixel_size),
            ("high_pass", self.high_pass),
            ("min_distance", self.min_distance),
        ] {
            if let Some(value) = value {
                microscope::check_positive(key, value)?;
            }
        }
        for (key, value, low) in [("view_step", self.view_step, 3.0), ("angle_step", self.angle_step, 1.0)] {
            let fits = (low..=360.0).contains(&value);
            BadParam::unless(fits, key, value, &format!("must lie between {low} and 360°"))?;
        }
        let fine = (2.0..=0.5 * diameter).contains(&self.low_pass);
        BadParam::unless(fine, "low_pass", self.low_pass, "must lie between 2 Å and half the diameter")?;
        if let Some(high_pass) = self.high_pass {
            let wider = high_pass > 2.0 * self.low_pass;
            BadParam::unless(wider, "high_pass", high_pass, "must be more than twice low_pass")?;
        }
        if let Some(border) = self.border {
            BadParam::unless(border >= 0.0, "border", border, "must not be negative")?;
        }
        if let Some(masks) = &self.masks {
            let pattern = masks.to_string_lossy();
            let one = pattern.matches('*').count() == 1;
            BadParam::unless(
                one,
                "masks",
                &pattern,
                "must hold one `*`, where the micrograph's name stands",
            )?;
        }
        for (key, value) in [("mask_threshold", self.mask_threshold), ("threshold", self.threshold)] {
            BadParam::unless(value.is_finite(), key, value, "must be a finite number")?;
        }
        BadParam::unless(self.max_picks != Some(0), "max_picks", 0, "must be greater than 0")?;
        microscope::check_positive("max_score", self.max_score)?;
        microscope::check_fraction("max_bad_fraction", self.max_bad_fraction)
    }

    fn example() -> Self {
        Self { diameter: Some(150.0), ..Self::default() }
    }
}

/// Micrographs on four threads, and the transforms of templates.
fn estimate(_: &PickTemplates, inputs: &InputSummary) -> Estimate {
    let [width, height] = inputs.frame_px.unwrap_or([5760, 4092]).map(u64::from);
    let items = inputs.items;
    Estimate::of_threads(4)
        .mem_mib(
            2048 + 4 * width * height * 12 / (1 << 20),
            format!("2 GiB for templates + 4 threads x 12 bytes for each of {width} x {height} pixels"),
        )
        .walltime_s(3600 + items * 20, format!("1 h + {items} micrographs x 20 s"))
}

/// The job type.
pub static JOB: Typed<PickTemplates> = Typed {
    name: "pick-templates",
    summary: "find particles by their likeness to projections of a map or to class averages",
    inputs: &[
        Slot::required("micrographs", Kind::Micrographs, "micrographs"),
        Slot::optional("volume", Kind::Volume, "map whose projections are the templates"),
    ],
    outputs: &[
        Slot::required("picks", Kind::Picks, "positions of particles, with template and angle"),
        Slot::required("micrographs", Kind::Micrographs, "the micrographs, handed on"),
    ],
    per_item: true,
    on_gpu: true,
    estimate,
};
