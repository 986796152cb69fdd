//! Where particles lie on their micrographs, and which of those that lie in one place is the best.

use super::apart;
use crate::{Ctx, StageError, micrograph};
use std::collections::{BTreeMap, HashMap};
use vitreous_model::exposure::Exposure;
use vitreous_model::params::BadParam;
use vitreous_model::particle::{Particle, ParticleSet};

/// A micrograph's name and a position on it in Å; `None`: not known.
pub(crate) type Place<'a> = Option<(&'a str, [f64; 2])>;

/// The pixel sizes of micrographs.
pub(crate) enum Pixels {
    /// Of each by its name, Å.
    Each(HashMap<String, f64>),
    /// Of all, Å.
    All(f64),
}

impl Pixels {
    /// That of the parameter `micrograph_pixel_size`, or those of the input `micrographs`.
    ///
    /// # Errors
    /// Both are given, or neither is.
    pub fn of(ctx: &Ctx<'_>, given_a: Option<f64>) -> Result<Self, StageError> {
        match (given_a, ctx.optional_input("micrographs").is_some()) {
            (Some(pixel_size_a), false) => Ok(Self::All(pixel_size_a)),
            (None, true) => {
                let named = |exposure: Exposure| Some((exposure.name, exposure.micrograph?.pixel_size_a));
                Ok(Self::Each(micrograph::read_set(ctx)?.exposures.into_iter().filter_map(named).collect()))
            }
            (given, _) => {
                let (found, why) = match given {
                    Some(value) => {
                        (value.to_string(), "is given beside the micrographs, which have their own")
                    }
                    None => (String::new(), "is missing, and there are no micrographs"),
                };
                Err(BadParam::new("micrograph_pixel_size", found, why)
                    .hint("give one of the two: --micrographs J2, or --micrograph-pixel-size 1.06")
                    .into())
            }
        }
    }

    /// Where the particles of a set lie.
    ///
    /// # Errors
    /// None of them lies on a micrograph that is known.
    pub fn places_of<'a>(&self, set: &'a ParticleSet) -> Result<Vec<Place<'a>>, StageError> {
        let places: Vec<Place<'a>> = set.particles.iter().map(|particle| self.place_of(particle)).collect();
        if let (Some(first), true) = (set.particles.first(), places.iter().all(Option::is_none)) {
            let micrograph = first.pick.as_ref().map_or("no micrograph", |pick| pick.exposure.as_str());
            return Err(StageError::input(
                format!(
                    "none of {} particles lies on a micrograph that was given (the first: {micrograph})",
                    set.particles.len()
                ),
                "give the micrographs that the particles were picked on, or --micrograph-pixel-size",
            ));
        }
        Ok(places)
    }

    fn place_of<'a>(&self, particle: &'a Particle) -> Place<'a> {
        let micrograph = particle.pick.as_ref()?.exposure.as_str();
        let pixel_size_a = match self {
            Self::Each(sizes) => *sizes.get(micrograph)?,
            Self::All(size) => *size,
        };
        let at = particle.place_px(pixel_size_a)?;
        Some((micrograph, at.map(|px| px * pixel_size_a)))
    }
}

/// What tells the better of two particles: the likelihood of the pose where the set has any, else the pick's score.
pub(crate) fn merits<'a>(particles: impl Iterator<Item = &'a Particle> + Clone) -> Vec<f64> {
    if particles.clone().any(|particle| particle.log_likelihood.is_finite()) {
        return particles.map(|particle| particle.log_likelihood).collect();
    }
    particles.map(|particle| particle.pick.as_ref().map_or(f64::NAN, |pick| pick.score)).collect()
}

/// Which of places on several micrographs stay when each that is closer than `distance_a` (Å) to a better one of its
/// micrograph goes. A place is a micrograph's name and its position there in Å; `None`, which stays, is unknown.
pub(crate) fn best_of_each(places: &[Place<'_>], merit: &[f64], distance_a: f64) -> Vec<bool> {
    let mut by_micrograph: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, place) in places.iter().enumerate() {
        if let Some((micrograph, _)) = place {
            by_micrograph.entry(micrograph).or_default().push(index);
        }
    }
    let mut stays = vec![true; places.len()];
    for indices in by_micrograph.into_values() {
        let here: Vec<[f64; 2]> =
            indices.iter().filter_map(|&index| places[index].map(|(_, at)| at)).collect();
        let merit: Vec<f64> = indices.iter().map(|&index| merit[index]).collect();
        let flags = apart::best_of(&here, &merit, distance_a);
        indices.into_iter().zip(flags).for_each(|(index, flag)| stays[index] = flag);
    }
    stays
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitreous_model::particle::Pick;

    #[test]
    fn only_places_of_one_micrograph_are_duplicates() {
        let places = [
            Some(("a", [0.0, 0.0])),
            Some(("b", [0.0, 0.0])),
            Some(("a", [3.0, 4.0])),
            None,
            None,
            Some(("a", [5.0, 5.0])),
        ];
        let merit = [1.0, 1.0, 2.0, 1.0, 1.0, f64::NAN];
        assert_eq!(best_of_each(&places, &merit, 5.1), [false, true, true, true, true, false]);
        assert_eq!(best_of_each(&places, &merit, 1.0), [true; 6]);
    }

    #[test]
    fn a_likelihood_goes_before_scores() {
        let particle = |score: f64, log_likelihood: f64| Particle {
            pick: Some(Pick { exposure: "a".into(), x_px: 0.0, y_px: 0.0, score }),
            log_likelihood,
            ..Particle::of_image(0, "", 0)
        };
        let none = [particle(3.0, f64::NAN), particle(4.0, f64::NAN)];
        assert_eq!(merits(none.iter()), [3.0, 4.0]);
        let some = [particle(3.0, f64::NAN), particle(4.0, -1e5)];
        assert!(matches!(merits(some.iter())[..], [first, -1e5] if first.is_nan()));
    }
}
