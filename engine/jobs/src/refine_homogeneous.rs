//! `refine-homogeneous`: poses and a map of one rigid structure, by gold standard.

use crate::microscope;
use crate::{Estimate, Slot, Typed};
use vitreous_model::outputs::Kind;
use vitreous_model::parameters;
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::resources::InputSummary;
use vitreous_model::symmetry::PointGroup;

parameters! {
    /// Parameters of `refine-homogeneous`.
    pub struct RefineHomogeneous {
        /// Point group of the particle.
        pub symmetry: PointGroup = PointGroup::C1;
        /// Low-pass filter of the starting map.
        pub initial_lowpass: f64 = 30.0, unit "Å";
        /// Diameter of the particle: the radius of the spherical mask; left out, 0.8 of the box.
        pub diameter: Option<f64> = None, unit "Å";
        /// Most iterations; refinement ends earlier when resolution and poses stand still.
        pub max_iterations: u32 = 20;
        /// Step of the search over directions.
        pub angular_step: f64 = 7.5, unit "°";
        /// Range of the search over shifts in the first iterations.
        pub shift_range: f64 = 10.0, unit "Å";
        /// Make a mask from the map in each iteration; false: the sphere only (a given mask always wins).
        pub auto_mask: bool = true;
        /// Frequencies below this are averaged between the halves, so that they keep the same orientation.
        pub join_halves_below: f64 = 40.0, unit "Å";
        /// Use the half-sets of the input particles, if they have them.
        pub keep_half_sets: bool = true;
        /// Seed of the split into halves and of the direction grids.
        pub seed: u64 = 1;
        /// Keep images in memory up to this size, so that they are read from disk once more and not in every iteration; the
        /// job asks for as much memory as they need of it. 0: none.
        pub image_cache: f64 = 4.0, unit "GiB";
        /// The largest fraction of particles that may be unreadable before the job fails.
        pub max_bad_fraction: f64 = 0.05;
    }
}

impl Validate for RefineHomogeneous {
    fn validate(&self) -> Result<(), BadParam> {
        microscope::check_positive("initial_lowpass", self.initial_lowpass)?;
        if let Some(diameter) = self.diameter {
            microscope::check_positive("diameter", diameter)?;
        }
        let iterations = (1..=200).contains(&self.max_iterations);
        BadParam::unless(iterations, "max_iterations", self.max_iterations, "must lie between 1 and 200")?;
        let step = (0.5..=30.0).contains(&self.angular_step);
        BadParam::unless(step, "angular_step", self.angular_step, "must lie between 0.5 and 30°")?;
        BadParam::unless(self.shift_range >= 0.0, "shift_range", self.shift_range, "must not be negative")?;
        microscope::check_positive("join_halves_below", self.join_halves_below)?;
        let cache = (0.0..=65_536.0).contains(&self.image_cache);
        BadParam::unless(cache, "image_cache", self.image_cache, "must lie between 0 and 65,536 GiB")?;
        microscope::check_fraction("max_bad_fraction", self.max_bad_fraction)
    }

    fn example() -> Self {
        Self { symmetry: PointGroup::Octahedral, initial_lowpass: 25.0, ..Self::default() }
    }
}

/// Four padded grids (two halves, numerator and weight in 64-bit integers), the reference, and the images that are kept.
fn estimate(params: &RefineHomogeneous, inputs: &InputSummary) -> Estimate {
    let edge = u64::from(inputs.box_px.unwrap_or(256));
    let grid_mib = (2 * edge).pow(2) * (edge + 1) * 24 / (1 << 20);
    let items = inputs.items;
    let images_mib = (items * edge * edge * 4).div_ceil(1 << 20).min((params.image_cache * 1024.0) as u64);
    Estimate::of_threads(4)
        .mem_mib(
            1024 + 3 * grid_mib + images_mib,
            format!(
                "1 GiB + 3 grids of {grid_mib} MiB (a box of {edge}, padded twofold) + {images_mib} MiB of images that \
                 are kept"
            ),
        )
        .walltime_s(
            3600 + items * edge * edge / 100_000,
            format!("1 h + {items} particles of {edge} x {edge} pixels at 0.1 megapixels a second"),
        )
}

/// The job type.
pub static JOB: Typed<RefineHomogeneous> = Typed {
    name: "refine-homogeneous",
    summary: "refine poses and a map of one rigid structure in two independent halves",
    inputs: &[
        Slot::required("particles", Kind::Particles, "particles"),
        Slot::required("volume", Kind::Volume, "starting map"),
        Slot::optional("mask", Kind::Mask, "mask of the structure"),
    ],
    outputs: &[
        Slot::required("volume", Kind::Volume, "the map and its halves"),
        Slot::required("particles", Kind::Particles, "particles with poses and half-sets"),
        Slot::required("mask", Kind::Mask, "the mask last used"),
    ],
    per_item: false,
    estimate,
};
