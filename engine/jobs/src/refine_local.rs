//! `refine-local`: poses and a map of one part of a structure, about the poses of the whole.

use crate::ewald::Ewald;
use crate::microscope;
use crate::refinement::{self, Regularisation};
use crate::{Estimate, Slot, Typed};
use vitreous_model::outputs::Kind;
use vitreous_model::parameters;
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::resources::InputSummary;
use vitreous_model::symmetry::PointGroup;

parameters! {
    /// Parameters of `refine-local`.
    pub struct RefineLocal {
        /// Point group of the part within the mask.
        pub symmetry: PointGroup = PointGroup::C1;
        /// Low-pass filter of the starting map.
        pub initial_lowpass: f64 = 12.0, unit "Å";
        /// How far the part turns against the poses that particles come with: standard deviation about each axis.
        pub rotation_prior: f64 = 5.0, unit "°";
        /// How far its fulcrum moves along each axis of the image: standard deviation.
        pub shift_prior: f64 = 3.0, unit "Å";
        /// The point that the part turns about, `x,y,z` from the first voxel; left out, the middle of the mask.
        pub fulcrum: String = String::new(), unit "Å";
        /// How the maps of an iteration are filtered before they are references.
        pub regularisation: Regularisation = Regularisation::ByPlace;
        /// Diameter of the whole particle; left out, 0.8 of the box.
        pub diameter: Option<f64> = None, unit "Å";
        /// Most iterations; refinement ends earlier when resolution and poses stand still.
        pub max_iterations: u32 = 20;
        /// Estimate the amplitude of the particles of each micrograph, or of each optics group where micrographs are not known.
        pub amplitudes: bool = true;
        /// Padding of the grids in Fourier space; left out, by the box: 1.5 up to 448 pixels, then 1.25.
        pub padding: Option<f64> = None;
        /// Curvature of the Ewald sphere that maps are corrected for; `reconstruct` with `ewald: best` tells which.
        pub ewald: Ewald = Ewald::None;
        /// Frequencies below this are averaged between the halves, so that they keep the same orientation.
        pub join_halves_below: f64 = 40.0, unit "Å";
        /// Use the half-sets of the input particles, if they have them.
        pub keep_half_sets: bool = true;
        /// Seed of the split into halves.
        pub seed: u64 = 1;
        /// Keep images in memory up to this size, so that they are read from disk once more and not in every iteration; the
        /// job asks for as much memory as they need of it. 0: none.
        pub image_cache: f64 = 1.0, unit "GiB";
        /// The largest fraction of particles that may be unreadable before the job fails.
        pub max_bad_fraction: f64 = 0.05;
    }
}

impl Validate for RefineLocal {
    fn validate(&self) -> Result<(), BadParam> {
        microscope::check_positive("initial_lowpass", self.initial_lowpass)?;
        let turn = self.rotation_prior > 0.0 && self.rotation_prior <= 45.0;
        BadParam::unless(turn, "rotation_prior", self.rotation_prior, "must lie between 0 and 45°")?;
        microscope::check_positive("shift_prior", self.shift_prior)?;
        self.fulcrum_a()?;
        if let Some(diameter) = self.diameter {
            microscope::check_positive("diameter", diameter)?;
        }
        let iterations = (1..=200).contains(&self.max_iterations);
        BadParam::unless(iterations, "max_iterations", self.max_iterations, "must lie between 1 and 200")?;
        let padding = self.padding.is_none_or(|padding| (1.0..=4.0).contains(&padding));
        BadParam::unless(padding, "padding", self.padding.unwrap_or_default(), "must lie between 1 and 4")?;
        microscope::check_positive("join_halves_below", self.join_halves_below)?;
        let cache = (0.0..=65_536.0).contains(&self.image_cache);
        BadParam::unless(cache, "image_cache", self.image_cache, "must lie between 0 and 65,536 GiB")?;
        microscope::check_fraction("max_bad_fraction", self.max_bad_fraction)
    }

    fn example() -> Self {
        Self { rotation_prior: 8.0, fulcrum: "120,96.5,140".into(), ..Self::default() }
    }
}

impl RefineLocal {
    /// The fulcrum x, y, z, Å from the first voxel, if it was given.
    ///
    /// # Errors
    /// What are not three numbers.
    pub fn fulcrum_a(&self) -> Result<Option<[f64; 3]>, BadParam> {
        if self.fulcrum.trim().is_empty() {
            return Ok(None);
        }
        let numbers: Option<Vec<f64>> = self
            .fulcrum
            .split(',')
            .map(|word| word.trim().parse().ok().filter(|v: &f64| v.is_finite()))
            .collect();
        let point = numbers.and_then(|numbers| <[f64; 3]>::try_from(numbers).ok());
        match point {
            Some(point) => Ok(Some(point)),
            None => Err(BadParam::new("fulcrum", &self.fulcrum, "must be three numbers in Å")
                .hint("as a viewer shows a place in the map: --fulcrum 120,96.5,140")),
        }
    }
}

fn estimate(params: &RefineLocal, inputs: &InputSummary) -> Estimate {
    let (edge, items) = (u64::from(inputs.box_px.unwrap_or(256)), inputs.items);
    let padding = refinement::padding(params.padding, edge as usize);
    refinement::estimate(padding, params.image_cache, edge, items)
}

/// The job type.
pub static JOB: Typed<RefineLocal> = Typed {
    name: "refine-local",
    summary: "refine one part of a structure within a mask, about the poses of the whole",
    inputs: &[
        Slot::required("particles", Kind::Particles, "particles with poses"),
        Slot::required("volume", Kind::Volume, "map of the whole structure"),
        Slot::required("mask", Kind::Mask, "mask of the part"),
    ],
    outputs: &[
        Slot::required("volume", Kind::Volume, "the map and its halves"),
        Slot::required("particles", Kind::Particles, "particles with poses of the part"),
        Slot::required("mask", Kind::Mask, "the mask"),
    ],
    per_item: false,
    on_gpu: true,
    estimate,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fulcrum_is_three_numbers() {
        let given = |text: &str| RefineLocal { fulcrum: text.into(), ..RefineLocal::default() };
        assert_eq!(given("").fulcrum_a().unwrap(), None);
        assert_eq!(given(" 1, -2.5,3e1").fulcrum_a().unwrap(), Some([1.0, -2.5, 30.0]));
        for bad in ["1,2", "1,2,3,4", "a,b,c", "1,2,nan"] {
            assert!(given(bad).validate().unwrap_err().to_string().contains("three numbers"), "{bad}");
        }
    }
}
