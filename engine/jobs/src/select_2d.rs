//! `select-2d`: particles of chosen 2-D classes.

use crate::microscope;
use crate::{Estimate, Slot, Typed};
use vitreous_model::outputs::Kind;
use vitreous_model::parameters;
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::resources::InputSummary;

parameters! {
    /// Parameters of `select-2d`.
    pub struct Select2d {
        /// Numbers of the classes to keep, as the report of classify-2d shows them: `3,7,12-15`. Left out, they are chosen
        /// by the other parameters.
        pub classes: String = String::new();
        /// Numbers of classes to leave out, whatever else is said.
        pub exclude: String = String::new();
        /// Keep classes resolved to at least this.
        pub max_resolution: Option<f64> = None, unit "Å";
        /// Keep classes of at least so many particles.
        pub min_particles: u64 = 0;
        /// Keep classes whose particles show at least this part of the detail of good ones (the class that ends the best
        /// fifth of the particles), and 2 nats of it; 0: whatever they show.
        pub min_detail: f64 = 0.1;
        /// Leave out particles whose class is less probable than this.
        pub min_probability: f64 = 0.0;
    }
}

impl Select2d {
    /// Numbers of a list such as `3,7,12-15`, in order; `key` is the parameter it stands in.
    ///
    /// # Errors
    /// What is no such list.
    ///
    /// ```
    /// use vitreous_jobs::select_2d::Select2d;
    /// assert_eq!(Select2d::numbers("classes", "7, 3,12-14").unwrap(), [3, 7, 12, 13, 14]);
    /// assert!(Select2d::numbers("classes", "3,x").is_err());
    /// ```
    pub fn numbers(key: &'static str, list: &str) -> Result<Vec<u32>, BadParam> {
        /// More classes than anybody makes.
        const LARGEST: u32 = 100_000;
        let bad = || BadParam::new(key, list, "must be numbers from 1 and ranges of them: 3,7,12-15");
        let number = |text: &str| {
            let number: u32 = text.trim().parse().map_err(|_| bad())?;
            if (1..=LARGEST).contains(&number) { Ok(number) } else { Err(bad()) }
        };
        let mut found = Vec::new();
        for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match part.split_once('-') {
                Some((first, last)) => {
                    let (first, last) = (number(first)?, number(last)?);
                    if first > last {
                        return Err(bad());
                    }
                    found.extend(first..=last);
                }
                None => found.push(number(part)?),
            }
        }
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }
}

impl Validate for Select2d {
    fn validate(&self) -> Result<(), BadParam> {
        Self::numbers("classes", &self.classes)?;
        Self::numbers("exclude", &self.exclude)?;
        if let Some(resolution) = self.max_resolution {
            microscope::check_positive("max_resolution", resolution)?;
        }
        microscope::check_fraction("min_detail", self.min_detail)?;
        microscope::check_fraction("min_probability", self.min_probability)
    }

    fn example() -> Self {
        Self { classes: "3,7,12-15".into(), ..Self::default() }
    }
}

fn estimate(_: &Select2d, inputs: &InputSummary) -> Estimate {
    let items = inputs.items;
    Estimate::of_threads(1)
        .mem_mib(512 + items / 1000, format!("512 MiB + 1 kB for each of {items} particles"))
        .walltime_s(600, "10 min: it reads and writes tables")
}

/// The job type.
pub static JOB: Typed<Select2d> = Typed {
    name: "select-2d",
    summary: "keep the particles of good 2-D classes",
    inputs: &[
        Slot::required("particles", Kind::Particles, "particles with classes"),
        Slot::required("class-averages", Kind::ClassAverages, "their class averages"),
    ],
    outputs: &[
        Slot::required("particles", Kind::Particles, "particles of the classes kept"),
        Slot::required("rejected", Kind::Particles, "the other particles"),
        Slot::required("class-averages", Kind::ClassAverages, "the averages of the classes kept"),
    ],
    per_item: false,
    on_gpu: false,
    estimate,
};
