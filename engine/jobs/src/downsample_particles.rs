//! `downsample-particles`: smaller images of the same particles.

use crate::microscope;
use crate::restack_particles::images_estimate;
use crate::{Slot, Typed};
use vitreous_model::outputs::Kind;
use vitreous_model::parameters;
use vitreous_model::params::{BadParam, Validate};

/// Boxes that images may have, pixels.
const BOXES: std::ops::RangeInclusive<u32> = 16..=4096;

parameters! {
    /// Parameters of `downsample-particles`.
    pub struct DownsampleParticles {
        /// Cut this box out of the middle of every image first; left out, the whole image.
        pub crop_box: Option<u32> = None, unit "px of the images";
        /// Box after downsampling by Fourier cropping; left out, no downsampling.
        pub output_box: Option<u32> = None, unit "px";
        /// In place of `output_box`: the coarsest pixel size wanted. The box becomes the next larger one that transforms
        /// fast, and the pixel size is what that box makes it.
        pub pixel_size: Option<f64> = None, unit "Å";
        /// Write 16-bit floats (MRC mode 12), half the disk space.
        pub float16: bool = false;
        /// Images of a stack; left out, one stack for each exposure.
        pub images_per_stack: Option<u32> = None;
        /// The largest fraction of particles whose image may be unreadable before the job fails.
        pub max_bad_fraction: f64 = 0.05;
    }
}

impl Validate for DownsampleParticles {
    fn validate(&self) -> Result<(), BadParam> {
        if self.crop_box.is_none() && self.output_box.is_none() && self.pixel_size.is_none() {
            return Err(BadParam::new("output_box", "", "is required, or crop_box, or pixel_size")
                .hint("give --output-box 128, or restack-particles to write the images as they are"));
        }
        for (key, size) in [("crop_box", self.crop_box), ("output_box", self.output_box)] {
            let Some(size) = size else { continue };
            let fits = size.is_multiple_of(2) && BOXES.contains(&size);
            BadParam::unless(fits, key, size, "must be even and lie between 16 and 4096 px")?;
        }
        if let (Some(crop), Some(output)) = (self.crop_box, self.output_box) {
            BadParam::unless(output <= crop, "output_box", output, "must not be larger than crop_box")?;
        }
        if let Some(pixel_size) = self.pixel_size {
            microscope::check_positive("pixel_size", pixel_size)?;
            let alone = self.output_box.is_none();
            BadParam::unless(
                alone,
                "pixel_size",
                pixel_size,
                "is given beside output_box: give one of them",
            )?;
        }
        crate::restack_particles::check_images_per_stack(self.images_per_stack)?;
        microscope::check_fraction("max_bad_fraction", self.max_bad_fraction)
    }

    fn example() -> Self {
        Self { output_box: Some(128), ..Self::default() }
    }
}

/// The job type.
pub static JOB: Typed<DownsampleParticles> = Typed {
    name: "downsample-particles",
    summary: "crop particle images in Fourier space, and in real space, to smaller boxes",
    inputs: &[Slot::required("particles", Kind::Particles, "particles")],
    outputs: &[Slot::required("particles", Kind::Particles, "the same with smaller images")],
    per_item: true,
    on_gpu: false,
    estimate: |_, inputs| images_estimate(inputs),
};
