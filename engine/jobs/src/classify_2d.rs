//! `classify-2d`: sort particle images into classes of like views and average them.

use crate::microscope;
use crate::{Estimate, Slot, Typed};
use vitreous_model::outputs::Kind;
use vitreous_model::parameters;
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::resources::InputSummary;

parameters! {
    /// Parameters of `classify-2d`.
    pub struct Classify2d {
        /// Number of classes.
        pub classes: u32 = 50;
        /// Diameter of the circle that averages are masked with; left out, 0.8 of the box.
        pub diameter: Option<f64> = None, unit "Å";
        /// Iterations; the last two go through all particles.
        pub iterations: u32 = 25;
        /// Finest resolution that particles are aligned and averaged at.
        pub resolution: f64 = 8.0, unit "Å";
        /// Range of the search over shifts; left out, a tenth of the diameter.
        pub shift_range: Option<f64> = None, unit "Å";
        /// Particles per class and iteration before the last two; fewer particles than that are all used each time.
        pub batch_per_class: u32 = 100;
        /// Bring the averages' centres of mass to the middle of the box.
        pub recentre: bool = true;
        /// Seed of all random choices.
        pub seed: u64 = 1;
        /// The largest fraction of particles that may be unreadable before the job fails.
        pub max_bad_fraction: f64 = 0.05;
    }
}

impl Validate for Classify2d {
    fn validate(&self) -> Result<(), BadParam> {
        let classes = (1..=1000).contains(&self.classes);
        BadParam::unless(classes, "classes", self.classes, "must lie between 1 and 1000")?;
        let iterations = (3..=500).contains(&self.iterations);
        BadParam::unless(iterations, "iterations", self.iterations, "must lie between 3 and 500")?;
        for (key, value) in [("diameter", self.diameter), ("shift_range", self.shift_range)] {
            if let Some(value) = value {
                microscope::check_positive(key, value)?;
            }
        }
        microscope::check_positive("resolution", self.resolution)?;
        let batch = self.batch_per_class >= 5;
        BadParam::unless(batch, "batch_per_class", self.batch_per_class, "must be at least 5")?;
        microscope::check_fraction("max_bad_fraction", self.max_bad_fraction)
    }

    fn example() -> Self {
        Self { classes: 100, diameter: Some(180.0), ..Self::default() }
    }
}

/// Sums of all classes per thread, and the transforms that are kept from one iteration to the next.
fn estimate(params: &Classify2d, inputs: &InputSummary) -> Estimate {
    let edge = u64::from(inputs.box_px.unwrap_or(256));
    let items = inputs.items;
    let classes = u64::from(params.classes);
    // two halves of (band radius)² modes of two 8-byte integers, for each of four threads and twice in all
    let sums_mib = classes * 2 * (edge / 4).pow(2) * 4 * 16 * 6 / (1 << 20);
    Estimate::of_threads(4)
        .mem_mib(
            1024 + 1024 + sums_mib,
            format!("1 GiB + 1 GiB of images kept + {sums_mib} MiB of sums for {classes} classes"),
        )
        .walltime_s(
            1800 + items * classes / 200,
            format!("0.5 h + {items} particles x {classes} classes x 5 ms"),
        )
}

/// The job type.
pub static JOB: Typed<Classify2d> = Typed {
    name: "classify-2d",
    summary: "sort particle images into classes of like views and average them",
    inputs: &[Slot::required("particles", Kind::Particles, "particles")],
    outputs: &[
        Slot::required("particles", Kind::Particles, "the particles with class, in-plane angle and shift"),
        Slot::required("class-averages", Kind::ClassAverages, "the class averages"),
    ],
    per_item: false,
    on_gpu: true,
    estimate,
};
