//! `intersect-particles`: what two particle sets have in common, and what only one of them has.

use crate::microscope;
use crate::{Estimate, Slot, Typed};
use vitreous_model::outputs::Kind;
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::resources::InputSummary;
use vitreous_model::{choices, parameters};

choices! {
    /// What makes two particles the same.
    pub enum SameBy {
        /// They are the same image of the same stack.
        #[default] Image = "image",
        /// They lie in one place of a micrograph.
        Place = "place",
    }
}

parameters! {
    /// Parameters of `intersect-particles`.
    pub struct IntersectParticles {
        /// What makes two particles the same: the same `image` of the same stack, or the `place` on the micrograph, for
        /// sets that were extracted anew or picked twice.
        pub by: SameBy = SameBy::Image;
        /// With `place`, the largest distance of aligned centres; about a quarter of the particle's diameter.
        pub max_distance: Option<f64> = None, unit "Å";
        /// Pixel size of the micrographs that the particles were picked on, for `place`, where these are not given.
        pub micrograph_pixel_size: Option<f64> = None, unit "Å";
    }
}

impl Validate for IntersectParticles {
    fn validate(&self) -> Result<(), BadParam> {
        match (self.by, self.max_distance) {
            (SameBy::Place, None) => {
                return Err(BadParam::new("max_distance", "", "is required to compare places")
                    .hint("give --max-distance in Å, about a quarter of the particle's diameter"));
            }
            (SameBy::Image, Some(distance)) => {
                return Err(BadParam::new(
                    "max_distance",
                    distance,
                    "means nothing to a comparison of images",
                )
                .hint("give --by place, or leave it out"));
            }
            (SameBy::Place, Some(distance)) => microscope::check_positive("max_distance", distance)?,
            (SameBy::Image, None) => {}
        }
        match self.micrograph_pixel_size {
            Some(pixel_size) => microscope::check_positive("micrograph_pixel_size", pixel_size),
            None => Ok(()),
        }
    }

    fn example() -> Self {
        Self { by: SameBy::Place, max_distance: Some(40.0), ..Self::default() }
    }
}

/// Both sets, and the three they become.
fn estimate(_: &IntersectParticles, inputs: &InputSummary) -> Estimate {
    let items = inputs.items;
    Estimate::default()
        .mem_mib(512 + items / 125, format!("512 MiB + {items} particles x 8 KiB (two sets like the first)"))
}

/// The job type.
pub static JOB: Typed<IntersectParticles> = Typed {
    name: "intersect-particles",
    summary: "particles that are in both of two sets, or in one of them only",
    inputs: &[
        Slot::required("particles", Kind::Particles, "the first set"),
        Slot::required("other", Kind::Particles, "the second set"),
        Slot::optional(
            "micrographs",
            Kind::Micrographs,
            "micrographs they were picked on, for their pixel size",
        ),
    ],
    outputs: &[
        Slot::required("particles", Kind::Particles, "those of the first set that the second has too"),
        Slot::required("only_first", Kind::Particles, "those that only the first has"),
        Slot::required("only_second", Kind::Particles, "those that only the second has"),
    ],
    per_item: false,
    on_gpu: false,
    estimate,
};
