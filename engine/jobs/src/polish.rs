//! `polish`: every particle's own motion, from the movies and the map, and dose weights from the data.

use crate::microscope;
use crate::{Estimate, Slot, Typed};
use vitreous_model::outputs::Kind;
use vitreous_model::parameters;
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::resources::InputSummary;

parameters! {
    /// Parameters of `polish`.
    pub struct Polish {
        /// Usual velocity of particles on top of the known motion.
        pub sigma_velocity: f64 = 0.2, unit "Å per e/Å²";
        /// Distance over which velocities become independent.
        pub sigma_divergence: f64 = 5000.0, unit "Å";
        /// Usual change of velocity from frame to frame.
        pub sigma_acceleration: f64 = 2.0, unit "Å per e/Å²";
        /// Farthest that a particle is looked for from where the known motion has it, along x and y.
        pub search_range: f64 = 6.0, unit "Å";
        /// Finest detail of the map that motion is measured with; left out, that of its FSC at 0.143.
        pub max_resolution: Option<f64> = None, unit "Å";
        /// Estimate the weights of frames from the data; else they follow the curve of critical doses.
        pub estimate_weights: bool = true;
        /// Box of the images that are written; they cover as much as the map, so that more pixels are finer ones; left out,
        /// the box of the map.
        pub output_box: Option<u32> = None, unit "px";
        /// Diameter of the circle outside which the background is measured; left out, 0.75 of the box.
        pub background_diameter: Option<f64> = None, unit "Å";
        /// Invert the contrast, so that protein is white; movies have it dark.
        pub invert: bool = true;
        /// Write 16-bit floats (MRC mode 12), half the disk space.
        pub float16: bool = false;
        /// Pixels that deviate from a movie's sum by more than so many standard deviations are replaced.
        pub hot_pixel_sd: f64 = 6.0;
        /// The largest fraction of movies that may fail before the job fails.
        pub max_bad_fraction: f64 = 0.5;
        /// Seed of the random phases that free the FSC of its mask.
        pub seed: u64 = 1;
    }
}

impl Validate for Polish {
    fn validate(&self) -> Result<(), BadParam> {
        for (key, value) in [
            ("sigma_velocity", self.sigma_velocity),
            ("sigma_divergence", self.sigma_divergence),
            ("sigma_acceleration", self.sigma_acceleration),
            ("max_resolution", self.max_resolution.unwrap_or(1.0)),
            ("background_diameter", self.background_diameter.unwrap_or(1.0)),
            ("hot_pixel_sd", self.hot_pixel_sd),
        ] {
            microscope::check_positive(key, value)?;
        }
        let fits = (0.5..=100.0).contains(&self.search_range);
        BadParam::unless(fits, "search_range", self.search_range, "must lie between 0.5 and 100 Å")?;
        if let Some(output) = self.output_box {
            let fits = output.is_multiple_of(2) && (16..=4096).contains(&output);
            BadParam::unless(fits, "output_box", output, "must be even and lie between 16 and 4096 px")?;
        }
        microscope::check_fraction("max_bad_fraction", self.max_bad_fraction)
    }

    fn example() -> Self {
        Self { sigma_velocity: 0.4, output_box: Some(256), ..Self::default() }
    }
}

/// Frames of a movie in floats for each thread, transforms of its particles, half maps on padded grids.
fn estimate(_: &Polish, inputs: &InputSummary) -> Estimate {
    let [width, height] = inputs.frame_px.unwrap_or([5760, 4092]).map(u64::from);
    let edge = u64::from(inputs.box_px.unwrap_or(256));
    let items = inputs.items;
    Estimate::of_threads(4)
        .mem_mib(
            2560 + (width * height * 4 * (8 + 2 * 4) + edge.pow(3) * 128) / (1 << 20),
            format!(
                "2.5 GiB + (8 + 2 for each of 4 threads) frames of {width} x {height} pixels in floats + 128 bytes \
                 for each voxel of a box of {edge}"
            ),
        )
        .walltime_s(3600 + items, format!("1 h + {items} particles x 1 s"))
}

/// The job type.
pub static JOB: Typed<Polish> = Typed {
    name: "polish",
    summary: "track each particle through its movie and weigh the frames by what they show",
    inputs: &[
        Slot::required("particles", Kind::Particles, "refined particles with poses and half-sets"),
        Slot::required("micrographs", Kind::Micrographs, "micrographs of correct-motion, with their movies"),
        Slot::required("volume", Kind::Volume, "the map they were refined to, with its half maps"),
        Slot::optional("mask", Kind::Mask, "mask of the structure; left out, made from the map"),
    ],
    outputs: &[Slot::required("particles", Kind::Particles, "the polished particles")],
    per_item: true,
    on_gpu: false,
    estimate,
};
