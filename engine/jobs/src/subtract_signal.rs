//! `subtract-signal`: particle images without the projection of a part of their map.

use crate::microscope;
use crate::restack_particles::check_images_per_stack;
use crate::{Estimate, Slot, Typed};
use vitreous_model::choices;
use vitreous_model::outputs::Kind;
use vitreous_model::parameters;
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::resources::InputSummary;

/// Boxes that images may have, pixels.
const BOXES: std::ops::RangeInclusive<u32> = 16..=4096;

choices! {
    /// Which part of the map a mask marks.
    pub enum MaskOf {
        /// The part that is subtracted; what is left of the structure stays.
        #[default] Subtracted = "subtracted",
        /// The part that stays; what is left of the structure is subtracted.
        Kept = "kept",
    }
}

parameters! {
    /// Parameters of `subtract-signal`.
    pub struct SubtractSignal {
        /// What the mask marks: the part to be subtracted, or the part that is kept.
        pub mask_of: MaskOf = MaskOf::Subtracted;
        /// Resolution to which the map is subtracted; left out, as far as its half maps agree, and all of a map without.
        pub max_resolution: Option<f64> = None, unit "Å";
        /// Fit the scale of the map to each particle; false subtracts it as it stands.
        pub fit_scale: bool = true;
        /// Move each image so that the kept part lies in the middle of its box.
        pub recentre: bool = false;
        /// Cut this box out of the middle of every image; left out, the box stays.
        pub output_box: Option<u32> = None, unit "px";
        /// Write 16-bit floats (MRC mode 12), half the disk space.
        pub float16: bool = false;
        /// Images of a stack; left out, one stack for each exposure.
        pub images_per_stack: Option<u32> = None;
        /// The largest fraction of particles that may be unfit before the job fails.
        pub max_bad_fraction: f64 = 0.05;
    }
}

impl Validate for SubtractSignal {
    fn validate(&self) -> Result<(), BadParam> {
        if let Some(resolution_a) = self.max_resolution {
            microscope::check_positive("max_resolution", resolution_a)?;
        }
        if let Some(size) = self.output_box {
            let fits = size.is_multiple_of(2) && BOXES.contains(&size);
            BadParam::unless(fits, "output_box", size, "must be even and lie between 16 and 4096 px")?;
        }
        check_images_per_stack(self.images_per_stack)?;
        microscope::check_fraction("max_bad_fraction", self.max_bad_fraction)
    }

    fn example() -> Self {
        Self { mask_of: MaskOf::Kept, recentre: true, output_box: Some(128), ..Self::default() }
    }
}

fn estimate(_: &SubtractSignal, inputs: &InputSummary) -> Estimate {
    let edge = u64::from(inputs.box_px.unwrap_or(256));
    let items = inputs.items;
    let grid_mib = (2 * edge).pow(2) * (edge + 1) * 8 / (1 << 20);
    let volumes_mib = 12 * edge.pow(3) * 4 / (1 << 20);
    let block_mib = 128 * edge * edge * 32 / (1 << 20);
    Estimate::of_threads(4)
        .mem_mib(
            512 + 6 * grid_mib + volumes_mib + block_mib + items / 250,
            format!(
                "512 MiB + 6 grids of {grid_mib} MiB (a box of {edge}, padded twofold) + 12 volumes + 128 images x 32 bytes a \
                 pixel + {items} particles x 4 KiB"
            ),
        )
        .walltime_s(
            1800 + items * edge * edge / 2_000_000,
            format!("30 min + {items} particles of {edge} x {edge} pixels at 2 megapixels a second"),
        )
}

/// The job type.
pub static JOB: Typed<SubtractSignal> = Typed {
    name: "subtract-signal",
    summary: "take the projection of a part of the map out of particle images",
    inputs: &[
        Slot::required("particles", Kind::Particles, "particles with poses"),
        Slot::required(
            "volume",
            Kind::Volume,
            "their map; its half maps, if it has them, are used for each half-set",
        ),
        Slot::required("mask", Kind::Mask, "mask of the part to be subtracted, or kept (mask_of)"),
        Slot::optional(
            "micrographs",
            Kind::Micrographs,
            "for recentre: the micrographs the particles lie on",
        ),
    ],
    outputs: &[
        Slot::required("particles", Kind::Particles, "the particles without that part"),
        Slot::required("volume", Kind::Volume, "the map of the kept part, as the new images see it"),
        Slot::required("mask", Kind::Mask, "mask of the kept part, likewise"),
    ],
    per_item: true,
    on_gpu: false,
    estimate,
};
