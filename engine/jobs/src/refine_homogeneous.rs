//! `refine-homogeneous`: poses and a map of one rigid structure, by gold standard.

use crate::ewald::Ewald;
use crate::microscope;
use crate::refinement::{self, Masking, Search};
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
        /// Where poses are looked for.
        pub search: Search = Search::Global;
        /// Step of the search over directions.
        pub angular_step: f64 = 7.5, unit "°";
        /// Range of the search over shifts in the first iterations.
        pub shift_range: f64 = 10.0, unit "Å";
        /// What maps are masked with when no mask is given.
        pub masking: Masking = Masking::Auto;
        /// Estimate the amplitude of the particles of each micrograph, or of each optics group where micrographs are not known.
        pub amplitudes: bool = true;
        /// Most poses with which a particle enters the map, each by its share of the evidence.
        pub modes: u32 = 2;
        /// Padding of the grids in Fourier space; left out, by the box: 1.5 up to 448 pixels, then 1.25.
        pub padding: Option<f64> = None;
        /// Curvature of the Ewald sphere that maps are corrected for; `reconstruct` with `ewald: best` tells which.
        pub ewald: Ewald = Ewald::None;
        /// Frequencies below this are averaged between the halves, so that they keep the same orientation.
        pub join_halves_below: f64 = 40.0, unit "Å";
        /// Use the half-sets of the input particles, if they have them.
        pub keep_half_sets: bool = true;
        /// Seed of the split into halves and of the direction grids.
        pub seed: u64 = 1;
        /// Keep images in memory up to this size, so that they are read from disk once more and not in every iteration; the
        /// job asks for as much memory as they need of it. 0: none.
        pub image_cache: f64 = 1.0, unit "GiB";
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
        BadParam::unless((1..=2).contains(&self.modes), "modes", self.modes, "must be 1 or 2")?;
        let padding = self.padding.is_none_or(|padding| (1.0..=4.0).contains(&padding));
        BadParam::unless(padding, "padding", self.padding.unwrap_or_default(), "must lie between 1 and 4")?;
        microscope::check_positive("join_halves_below", self.join_halves_below)?;
        let cache = (0.0..=65_536.0).contains(&self.image_cache);
        BadParam::unless(cache, "image_cache", self.image_cache, "must lie between 0 and 65,536 GiB")?;
        microscope::check_fraction("max_bad_fraction", self.max_bad_fraction)
    }

    fn example() -> Self {
        Self { symmetry: PointGroup::Octahedral, initial_lowpass: 25.0, ..Self::default() }
    }
}

impl RefineHomogeneous {
    /// Padding of the grids of a working box of `box_px` pixels.
    pub fn padding_of(&self, box_px: usize) -> f64 {
        refinement::padding(self.padding, box_px)
    }
}

fn estimate(params: &RefineHomogeneous, inputs: &InputSummary) -> Estimate {
    let edge = u64::from(inputs.box_px.unwrap_or(256));
    refinement::estimate(params.padding_of(edge as usize), params.image_cache, edge, inputs.items)
}

/// The job type.
pub const JOB: Typed<RefineHomogeneous> = Typed {
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
    on_gpu: true,
    estimate,
};

#[cfg(test)]
mod tests {
    use super::*;

    /// Peak memory, MiB, and how it comes about.
    fn memory(params: &RefineHomogeneous, edge: u64, items: u64) -> (u64, String) {
        refinement::memory(params.padding_of(edge as usize), params.image_cache, edge, items)
    }

    #[test]
    fn memory_is_what_was_measured() {
        // box, particles, padding, peak MiB of `ci/bench refine-homogeneous` on one thread (2026-11-30): the median of
        // several runs up to box 192
        for (edge, items, padding, peak_mib) in [
            (64, 300, 1.5, 125.0),
            (64, 400, 1.5, 119.0),
            (64, 2000, 1.5, 156.0),
            (64, 10_000, 1.5, 344.0),
            (64, 100_000, 1.5, 1534.0),
            (96, 600, 1.5, 278.0),
            (128, 600, 1.5, 463.0),
            (128, 1000, 1.5, 492.0),
            (128, 10_000, 1.5, 1266.0),
            (192, 200, 1.5, 1220.0),
            (256, 60, 1.5, 2760.0),
            (384, 60, 1.5, 8160.0),
            (512, 40, 1.25, 11921.0),
        ] {
            let params = RefineHomogeneous { padding: Some(padding), ..RefineHomogeneous::default() };
            let (expected, why) = memory(&params, edge, items);
            let off = expected as f64 / peak_mib - 1.0;
            assert!(
                off.abs() < 0.15,
                "box {edge}, {items} particles, padding {padding}: {expected} MiB, {why}"
            );
        }
    }

    #[test]
    fn large_boxes_stay_under_16_gib() {
        for edge in [448, 512] {
            let (expected, why) = memory(&RefineHomogeneous::default(), edge, 100_000);
            assert!(expected < 16 * 1024, "box {edge}: {why}");
        }
    }
}
