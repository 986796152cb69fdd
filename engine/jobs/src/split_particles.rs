//! `split-particles`: one particle set in parts.

use crate::{Estimate, Slot, Typed};
use std::collections::BTreeSet;
use vitreous_model::outputs::Kind;
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::resources::InputSummary;
use vitreous_model::{choices, parameters};

/// Parts there may be. Outputs are named one by one (`J5.particles_3`), and a usual classification has no more classes; of
/// more, `values` takes those that are wanted.
pub const MOST_PARTS: usize = 16;

choices! {
    /// What decides the part of a particle.
    pub enum SplitBy {
        /// Chance.
        #[default] Random = "random",
        /// Chance, for all particles of an exposure together.
        Exposure = "exposure",
        /// Its half-set.
        HalfSet = "half-set",
        /// Its class.
        Class = "class",
        /// Its optics group.
        OpticsGroup = "optics-group",
    }
}

parameters! {
    /// Parameters of `split-particles`.
    pub struct SplitParticles {
        /// What decides the part: chance (`random`; `exposure` keeps the particles of an exposure together), or the
        /// particle's `half-set`, `class` or `optics-group`, one part for each.
        pub by: SplitBy = SplitBy::Random;
        /// Number of parts of about equal size, where chance decides.
        pub parts: u32 = 2;
        /// Size of the first of two parts, where chance decides; with `exposure` the first part ends with the exposure
        /// that reaches it. Left out, equal parts.
        pub first_size: Option<u64> = None, unit "particles";
        /// Numbers of the classes or optics groups that make the first part, the second holding all others, e.g. 1,4-6.
        /// Left out, one part for each.
        pub values: Option<String> = None;
        /// Seed of chance.
        pub seed: u64 = 1;
    }
}

impl Validate for SplitParticles {
    fn validate(&self) -> Result<(), BadParam> {
        let is_chance = matches!(self.by, SplitBy::Random | SplitBy::Exposure);
        let parts = (2..=MOST_PARTS as u32).contains(&self.parts);
        BadParam::unless(parts, "parts", self.parts, "must lie between 2 and 16")?;
        if let Some(size) = self.first_size {
            BadParam::unless(is_chance, "first_size", size, "is for parts by chance: by random or exposure")?;
            BadParam::unless(size > 0, "first_size", size, "must be greater than 0")?;
            BadParam::unless(self.parts == 2, "first_size", size, "makes two parts, not more")?;
        }
        if let Some(text) = &self.values {
            let has_numbers = matches!(self.by, SplitBy::Class | SplitBy::OpticsGroup);
            BadParam::unless(has_numbers, "values", text, "are of classes or optics groups")?;
            numbers(text)?;
        }
        Ok(())
    }

    fn example() -> Self {
        Self { by: SplitBy::Class, values: Some("1,4-6".into()), ..Self::default() }
    }
}

/// The numbers of a list such as `1,4-6`.
///
/// # Errors
/// Anything else, and ranges of more than 10,000 numbers.
pub fn numbers(text: &str) -> Result<BTreeSet<u32>, BadParam> {
    const LONGEST: u32 = 10_000;
    let bad = || BadParam::new("values", text, "must be numbers and ranges of them, such as 1,4-6");
    let number = |text: &str| text.trim().parse::<u32>().map_err(|_| bad());
    let mut all = BTreeSet::new();
    for word in text.split(',') {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        let (first, last) = (number(first)?, number(last)?);
        if last < first || last - first > LONGEST {
            return Err(bad());
        }
        all.extend(first..=last);
    }
    Ok(all)
}

/// The set, and its parts.
fn estimate(_: &SplitParticles, inputs: &InputSummary) -> Estimate {
    let items = inputs.items;
    Estimate::default().mem_mib(512 + items / 250, format!("512 MiB + {items} particles x 4 KiB"))
}

const fn part(name: &'static str) -> Slot {
    Slot::optional(name, Kind::Particles, "a further part, if there is one")
}

/// The job type.
pub static JOB: Typed<SplitParticles> = Typed {
    name: "split-particles",
    summary: "split a particle set by chance, half-set, class, optics group or exposure",
    inputs: &[Slot::required("particles", Kind::Particles, "the set")],
    outputs: &[
        Slot::required("particles_1", Kind::Particles, "the first part"),
        part("particles_2"),
        part("particles_3"),
        part("particles_4"),
        part("particles_5"),
        part("particles_6"),
        part("particles_7"),
        part("particles_8"),
        part("particles_9"),
        part("particles_10"),
        part("particles_11"),
        part("particles_12"),
        part("particles_13"),
        part("particles_14"),
        part("particles_15"),
        part("particles_16"),
    ],
    per_item: false,
    on_gpu: false,
    estimate,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::JobType;

    #[test]
    fn lists_of_numbers() {
        let list = |text: &str| numbers(text).map(|all| all.into_iter().collect::<Vec<_>>());
        assert_eq!(list("3").unwrap(), [3]);
        assert_eq!(list("1, 4-6,5").unwrap(), [1, 4, 5, 6]);
        for bad in ["", "a", "6-4", "1,,2", "-3", "0-4000000000"] {
            assert_eq!(list(bad).unwrap_err().key, "values", "{bad}");
        }
    }

    #[test]
    fn there_is_an_output_for_every_part() {
        let names: Vec<String> = (1..=MOST_PARTS).map(|part| format!("particles_{part}")).collect();
        assert_eq!(JOB.outputs().iter().map(|slot| slot.name).collect::<Vec<_>>(), names);
    }
}
