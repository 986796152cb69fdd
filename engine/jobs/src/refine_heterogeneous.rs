//! `refine-heterogeneous`: particles sorted between several structures, whose maps and poses are refined.

use crate::ab_initio::MOST_CLASSES;
use crate::microscope;
use crate::refinement::{self, Masking, Search};
use crate::{Estimate, Slot, Typed};
use vitreous_model::outputs::Kind;
use vitreous_model::parameters;
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::resources::InputSummary;
use vitreous_model::symmetry::PointGroup;

parameters! {
    /// Parameters of `refine-heterogeneous`.
    pub struct RefineHeterogeneous {
        /// Classes that one starting map is split into; of several starting maps each is a class.
        pub classes: Option<u32> = None;
        /// Point group of all classes.
        pub symmetry: PointGroup = PointGroup::C1;
        /// Low-pass filter of the starting maps.
        pub initial_lowpass: f64 = 20.0, unit "Å";
        /// Nothing finer than this tells classes and poses; the maps at the end have all frequencies.
        pub finest_resolution: f64 = 6.0, unit "Å";
        /// Diameter of the particle: the radius of the spherical mask; left out, 0.8 of the box.
        pub diameter: Option<f64> = None, unit "Å";
        /// Most iterations; refinement ends earlier when particles keep their classes and maps stand still.
        pub max_iterations: u32 = 30;
        /// Where poses are looked for.
        pub search: Search = Search::Global;
        /// Step of the search over directions.
        pub angular_step: f64 = 7.5, unit "°";
        /// Range of the search over shifts in the first iterations.
        pub shift_range: f64 = 10.0, unit "Å";
        /// What maps are masked with when no mask is given. A mask made from one class's map would hide what it lacks.
        pub masking: Masking = Masking::Sphere;
        /// Estimate the amplitude of the particles of each micrograph, or of each optics group where micrographs are not known.
        pub amplitudes: bool = true;
        /// Padding of the grids in Fourier space; left out, by the box: 1.5 up to 448 pixels, then 1.25.
        pub padding: Option<f64> = None;
        /// Frequencies below this are averaged between the halves, so that each class is the same in both.
        pub join_halves_below: f64 = 20.0, unit "Å";
        /// Use the half-sets of the input particles, if they have them.
        pub keep_half_sets: bool = true;
        /// Seed of the split into halves, of the first classes and of the direction grids.
        pub seed: u64 = 1;
        /// Keep images in memory up to this size, so that they are read from disk once more and not in every iteration; the
        /// job asks for as much memory as they need of it. 0: none.
        pub image_cache: f64 = 1.0, unit "GiB";
        /// The largest fraction of particles that may be unreadable before the job fails.
        pub max_bad_fraction: f64 = 0.05;
    }
}

impl Validate for RefineHeterogeneous {
    fn validate(&self) -> Result<(), BadParam> {
        if let Some(classes) = self.classes {
            let within = (2..=MOST_CLASSES).contains(&classes);
            BadParam::unless(within, "classes", classes, "must lie between 2 and 8")?;
        }
        microscope::check_positive("initial_lowpass", self.initial_lowpass)?;
        microscope::check_positive("finest_resolution", self.finest_resolution)?;
        if let Some(diameter) = self.diameter {
            microscope::check_positive("diameter", diameter)?;
        }
        let iterations = (1..=200).contains(&self.max_iterations);
        BadParam::unless(iterations, "max_iterations", self.max_iterations, "must lie between 1 and 200")?;
        let step = (0.5..=30.0).contains(&self.angular_step);
        BadParam::unless(step, "angular_step", self.angular_step, "must lie between 0.5 and 30°")?;
        BadParam::unless(self.shift_range >= 0.0, "shift_range", self.shift_range, "must not be negative")?;
        let padding = self.padding.is_none_or(|padding| (1.0..=4.0).contains(&padding));
        BadParam::unless(padding, "padding", self.padding.unwrap_or_default(), "must lie between 1 and 4")?;
        microscope::check_positive("join_halves_below", self.join_halves_below)?;
        let cache = (0.0..=65_536.0).contains(&self.image_cache);
        BadParam::unless(cache, "image_cache", self.image_cache, "must lie between 0 and 65,536 GiB")?;
        microscope::check_fraction("max_bad_fraction", self.max_bad_fraction)
    }

    fn example() -> Self {
        Self { classes: Some(3), diameter: Some(180.0), ..Self::default() }
    }
}

fn estimate(params: &RefineHeterogeneous, inputs: &InputSummary) -> Estimate {
    let edge = u64::from(inputs.box_px.unwrap_or(256));
    let classes = u64::from(params.classes.unwrap_or(MOST_CLASSES));
    let padding = refinement::padding(params.padding, edge as usize);
    let (one, why) = refinement::memory(padding, params.image_cache, edge, inputs.items);
    let more = (classes - 1) * refinement::sums_mib(padding, edge);
    Estimate::of_threads(4)
        .mem_mib(
            refinement::with_margin(one + more),
            format!("{why}, sums of {} further classes {more} MiB; 15 % and 256 MiB to spare", classes - 1),
        )
        .walltime_s(
            3600 + classes * inputs.items * edge * edge / 100_000,
            format!("1 h + {classes} classes of {} particles at 0.1 megapixels a second", inputs.items),
        )
}

/// The job type.
pub static JOB: Typed<RefineHeterogeneous> = Typed {
    name: "refine-heterogeneous",
    summary: "sort particles between several structures and refine each",
    inputs: &[
        Slot::required("particles", Kind::Particles, "particles"),
        Slot::several("volume", Kind::Volume, "one starting map to be split, or one for each class"),
        Slot::optional("mask", Kind::Mask, "mask of all structures"),
    ],
    outputs: &[
        Slot::required("volume", Kind::Volume, "the map of class 1 and its halves"),
        Slot::required("particles", Kind::Particles, "all particles with class, pose and half-set"),
        Slot::required("volume_2", Kind::Volume, "the map of class 2"),
        Slot::optional("volume_3", Kind::Volume, "the map of class 3"),
        Slot::optional("volume_4", Kind::Volume, "the map of class 4"),
        Slot::optional("volume_5", Kind::Volume, "the map of class 5"),
        Slot::optional("volume_6", Kind::Volume, "the map of class 6"),
        Slot::optional("volume_7", Kind::Volume, "the map of class 7"),
        Slot::optional("volume_8", Kind::Volume, "the map of class 8"),
    ],
    per_item: false,
    on_gpu: true,
    estimate,
};
