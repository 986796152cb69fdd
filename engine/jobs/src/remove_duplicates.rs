//! `remove-duplicates`: of particles that alignment has brought to one place, only the best.

use crate::microscope;
use crate::{Estimate, Slot, Typed};
use vitreous_model::outputs::Kind;
use vitreous_model::parameters;
use vitreous_model::params::{BadParam, Validate};

parameters! {
    /// Parameters of `remove-duplicates`.
    pub struct RemoveDuplicates {
        /// Of two particles whose aligned centres are closer than this on a micrograph the one with the better likelihood
        /// (without any, the better score) is kept; required.
        pub min_distance: Option<f64> = None, unit "Å";
        /// Pixel size of the micrographs that the particles were picked on, where these are not given.
        pub micrograph_pixel_size: Option<f64> = None, unit "Å";
    }
}

impl Validate for RemoveDuplicates {
    fn validate(&self) -> Result<(), BadParam> {
        let Some(distance) = self.min_distance else {
            return Err(BadParam::new("min_distance", "", "is required")
                .hint("give --min-distance in Å, about half the particle's diameter"));
        };
        microscope::check_positive("min_distance", distance)?;
        match self.micrograph_pixel_size {
            Some(pixel_size) => microscope::check_positive("micrograph_pixel_size", pixel_size),
            None => Ok(()),
        }
    }

    fn example() -> Self {
        Self { min_distance: Some(80.0), ..Self::default() }
    }
}

/// The job type.
pub static JOB: Typed<RemoveDuplicates> = Typed {
    name: "remove-duplicates",
    summary: "keep the best of particles that alignment has brought to one place",
    inputs: &[
        Slot::required("particles", Kind::Particles, "particles with their places on micrographs"),
        Slot::optional(
            "micrographs",
            Kind::Micrographs,
            "micrographs they were picked on, for their pixel size",
        ),
    ],
    outputs: &[Slot::required("particles", Kind::Particles, "those that are kept")],
    per_item: false,
    on_gpu: false,
    estimate: |_, _| Estimate::default(),
};
