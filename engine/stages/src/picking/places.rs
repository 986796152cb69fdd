//! Where particles lie on their micrographs, and which of those that lie in one place is the best.

use super::apart;
use std::collections::BTreeMap;
use vitreous_model::particle::Particle;

/// What tells the better of two particles: the likelihood of the pose where the set has any, else the pick's score.
pub(crate) fn merits<'a>(particles: impl Iterator<Item = &'a Particle> + Clone) -> Vec<f64> {
    if particles.clone().any(|particle| particle.log_likelihood.is_finite()) {
        return particles.map(|particle| particle.log_likelihood).collect();
    }
    particles.map(|particle| particle.pick.as_ref().map_or(f64::NAN, |pick| pick.score)).collect()
}

/// Which of places on several micrographs stay when each that is closer than `distance_a` (Å) to a better one of its
/// micrograph goes. A place is a micrograph's name and its position there in Å; `None`, which stays, is unknown.
pub(crate) fn best_of_each(places: &[Option<(&str, [f64; 2])>], merit: &[f64], distance_a: f64) -> Vec<bool> {
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
            id: 0,
            stack_path: String::new(),
            stack_index: 0,
            optics_group: 1,
            pick: Some(Pick { exposure: "a".into(), x_px: 0.0, y_px: 0.0, score }),
            ctf: None,
            pose: None,
            half: None,
            class: None,
            log_likelihood,
        };
        let none = [particle(3.0, f64::NAN), particle(4.0, f64::NAN)];
        assert_eq!(merits(none.iter()), [3.0, 4.0]);
        let some = [particle(3.0, f64::NAN), particle(4.0, -1e5)];
        assert!(matches!(merits(some.iter())[..], [first, -1e5] if first.is_nan()));
    }
}
