//! `restack-particles`: the images of a set in new stacks, which hold nothing else.

use crate::microscope;
use crate::{Estimate, Slot, Typed};
use vitreous_model::outputs::Kind;
use vitreous_model::parameters;
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::resources::InputSummary;

parameters! {
    /// Parameters of `restack-particles`.
    pub struct RestackParticles {
        /// Images of a stack; left out, one stack for each exposure.
        pub images_per_stack: Option<u32> = None;
        /// Write 16-bit floats (MRC mode 12), half the disk space.
        pub float16: bool = false;
        /// Invert the contrast: for stacks of other programs in which protein is dark, such as cisTEM's.
        pub invert: bool = false;
        /// The largest fraction of particles whose image may be unreadable before the job fails.
        pub max_bad_fraction: f64 = 0.05;
    }
}

impl Validate for RestackParticles {
    fn validate(&self) -> Result<(), BadParam> {
        check_images_per_stack(self.images_per_stack)?;
        microscope::check_fraction("max_bad_fraction", self.max_bad_fraction)
    }

    fn example() -> Self {
        Self { images_per_stack: Some(1000), float16: true, ..Self::default() }
    }
}

/// Refuses stacks of nothing, and of so many images that a stop would throw away much work.
pub(crate) fn check_images_per_stack(images: Option<u32>) -> Result<(), BadParam> {
    let Some(images) = images else { return Ok(()) };
    let fits = (1..=100_000).contains(&images);
    BadParam::unless(fits, "images_per_stack", images, "must lie between 1 and 100,000")
}

/// For jobs that read images and write them anew: a block of them in memory, and the pace of a disk.
pub(crate) fn images_estimate(inputs: &InputSummary) -> Estimate {
    let edge = u64::from(inputs.box_px.unwrap_or(256));
    let items = inputs.items;
    let block_mib = 128 * edge * edge * 16 / (1 << 20);
    Estimate::of_threads(2)
        .mem_mib(
            512 + block_mib + items / 250,
            format!("512 MiB + 128 images of {edge} x {edge} pixels x 16 bytes + {items} particles x 4 KiB"),
        )
        .walltime_s(
            1800 + items * edge * edge / 5_000_000,
            format!("30 min + {items} particles of {edge} x {edge} pixels at 5 megapixels a second"),
        )
}

/// The job type.
pub static JOB: Typed<RestackParticles> = Typed {
    name: "restack-particles",
    summary: "write the images of a particle set into stacks of its own",
    inputs: &[Slot::required("particles", Kind::Particles, "particles")],
    outputs: &[Slot::required("particles", Kind::Particles, "the same with images of their own")],
    per_item: true,
    on_gpu: false,
    estimate: |_, inputs| images_estimate(inputs),
};
