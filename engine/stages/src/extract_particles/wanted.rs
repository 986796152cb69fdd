//! Which boxes to cut: round picks, or round particles where their alignment says, each particle once.

use crate::StageError;
use crate::picking::places::{best_of_each, merits};
use std::collections::HashMap;
use vitreous_jobs::extract_particles::ExtractParticles;
use vitreous_model::exposure::{Exposure, ExposureSet, MicrographSource};
use vitreous_model::particle::{Particle, ParticleSet, Pick, PickSet};
use vitreous_model::pose::Pose;

/// A micrograph and what is to be cut out of it.
pub(super) struct Target<'a> {
    pub exposure: &'a Exposure,
    pub micrograph: &'a MicrographSource,
    pub boxes: Vec<Wanted<'a>>,
}

/// A box.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Wanted<'a> {
    /// Pixel of the micrograph that its centre pixel is: a whole number, so that nothing is interpolated.
    pub centre_px: [f64; 2],
    /// Score of the pick.
    pub score: f64,
    /// The particle that is in it, and its pose relative to this box; `None` for a pick.
    pub particle: Option<(&'a Particle, Option<Pose>)>,
    /// How far the box has moved, Å.
    pub moved_a: f64,
}

/// What the boxes are of.
pub(super) enum Sources {
    Picks(PickSet),
    Particles(ParticleSet),
}

/// How many of the sources are not cut out, and why.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct LeftOut {
    /// Too close to a better one.
    pub duplicates: usize,
    /// On micrographs that were not given.
    pub elsewhere: usize,
    /// Their place is not known.
    pub unplaced: usize,
}

impl Sources {
    pub fn len(&self) -> usize {
        match self {
            Self::Picks(set) => set.picks.len(),
            Self::Particles(set) => set.particles.len(),
        }
    }

    /// What they are called in messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Picks(_) => "picks",
            Self::Particles(_) => "particles",
        }
    }

    /// The particle, if it is one, and its pick, if that is known.
    fn get(&self, index: usize) -> (Option<&Particle>, Option<&Pick>) {
        match self {
            Self::Picks(set) => (None, Some(&set.picks[index])),
            Self::Particles(set) => (Some(&set.particles[index]), set.particles[index].pick.as_ref()),
        }
    }

    fn merits(&self) -> Vec<f64> {
        match self {
            Self::Picks(set) => set.picks.iter().map(|pick| pick.score).collect(),
            Self::Particles(set) => merits(set.particles.iter()),
        }
    }

    /// Micrographs with boxes to cut, in their order; none if there are no micrographs or no sources at all.
    ///
    /// # Errors
    /// No source lies on any micrograph.
    pub fn targets<'a>(
        &'a self,
        micrographs: &'a ExposureSet,
        params: &ExtractParticles,
    ) -> Result<(Vec<Target<'a>>, LeftOut), StageError> {
        let named: HashMap<&str, usize> =
            micrographs.exposures.iter().enumerate().map(|(i, e)| (e.name.as_str(), i)).collect();
        let known: Vec<Option<usize>> = (0..self.len())
            .map(|index| {
                let exposure = *named.get(self.get(index).1?.exposure.as_str())?;
                micrographs.exposures[exposure].micrograph.as_ref().map(|_| exposure)
            })
            .collect();
        self.check_any(micrographs, &known)?;
        let pixel_a = |exposure: usize| {
            micrographs.exposures[exposure].micrograph.as_ref().map_or(1.0, |m| m.pixel_size_a)
        };
        let stays = self.without_duplicates(&known, &pixel_a, params.min_distance);
        let unplaced = (0..self.len()).filter(|&index| self.get(index).1.is_none()).count();
        let left_out = LeftOut {
            duplicates: stays.iter().filter(|stays| !**stays).count(),
            elsewhere: known.iter().filter(|exposure| exposure.is_none()).count() - unplaced,
            unplaced,
        };
        let mut boxes: Vec<Vec<Wanted<'a>>> = micrographs.exposures.iter().map(|_| Vec::new()).collect();
        for (index, exposure) in known.iter().enumerate().filter(|(index, _)| stays[*index]) {
            let (Some(exposure), (particle, Some(pick))) = (exposure, self.get(index)) else { continue };
            boxes[*exposure].push(wanted(particle, pick, pixel_a(*exposure), params.recentre));
        }
        let targets = micrographs.exposures.iter().zip(boxes).filter(|(_, boxes)| !boxes.is_empty());
        let targets = targets
            .filter_map(|(exposure, boxes)| {
                Some(Target { exposure, micrograph: exposure.micrograph.as_ref()?, boxes })
            })
            .collect();
        Ok((targets, left_out))
    }

    /// Which are no duplicates of a better one.
    fn without_duplicates(
        &self,
        known: &[Option<usize>],
        pixel_a: &dyn Fn(usize) -> f64,
        distance_a: Option<f64>,
    ) -> Vec<bool> {
        let Some(distance_a) = distance_a else { return vec![true; self.len()] };
        let place = |index: usize| {
            let (particle, pick) = self.get(index);
            let pixel_a = pixel_a(known[index]?);
            let at = place_px(particle, pick?, pixel_a);
            Some((pick?.exposure.as_str(), at.map(|px| px * pixel_a)))
        };
        let places: Vec<_> = (0..self.len()).map(place).collect();
        best_of_each(&places, &self.merits(), distance_a)
    }

    fn check_any(&self, micrographs: &ExposureSet, known: &[Option<usize>]) -> Result<(), StageError> {
        let Some(exposure) = micrographs.exposures.first().filter(|_| self.len() > 0) else { return Ok(()) };
        if known.iter().any(Option::is_some) {
            return Ok(());
        }
        let (what, one) = (self.name(), self.name().trim_end_matches('s'));
        let Some(pick) = (0..self.len()).find_map(|index| self.get(index).1) else {
            let what = format!("none of {} {what} says where on which micrograph it lies", self.len());
            return Err(StageError::input(
                what,
                "give particles that were extracted or imported with their places",
            ));
        };
        Err(StageError::input(
            format!(
                "no {one} lies on any of the {} micrographs (first {one}: {}, first micrograph: {})",
                micrographs.exposures.len(),
                pick.exposure,
                exposure.name
            ),
            format!("give the micrographs that the {what} were picked on"),
        ))
    }
}

/// Where the centre of a pick or particle lies, pixels.
fn place_px(particle: Option<&Particle>, pick: &Pick, pixel_size_a: f64) -> [f64; 2] {
    particle.and_then(|particle| particle.place_px(pixel_size_a)).unwrap_or([pick.x_px, pick.y_px])
}

/// The box of a pick or particle. What is left of a shift, less than a pixel when it is recentred, stays in the pose, so
/// that the particle's place does not change.
fn wanted<'a>(particle: Option<&'a Particle>, pick: &Pick, pixel_size_a: f64, recentre: bool) -> Wanted<'a> {
    let old_px = [pick.x_px, pick.y_px];
    let place_px = if recentre { place_px(particle, pick, pixel_size_a) } else { old_px };
    let centre_px = place_px.map(f64::round);
    let moved_a = [0, 1].map(|axis| (centre_px[axis] - old_px[axis]) * pixel_size_a);
    let posed = |particle: &'a Particle| {
        let pose = particle.pose.map(|pose| Pose {
            shift_a: [pose.shift_a[0] - moved_a[0], pose.shift_a[1] - moved_a[1]],
            ..pose
        });
        (particle, pose)
    };
    Wanted {
        centre_px,
        score: pick.score,
        particle: particle.map(posed),
        moved_a: moved_a[0].hypot(moved_a[1]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitreous_model::pose::Rotation;

    fn particle(x_px: f64, y_px: f64, shift_a: [f64; 2]) -> Particle {
        Particle {
            id: 7,
            stack_path: "s.mrcs".into(),
            stack_index: 3,
            optics_group: 2,
            pick: Some(Pick { exposure: "m".into(), x_px, y_px, score: 1.0 }),
            ctf: None,
            pose: Some(Pose { rotation: Rotation::IDENTITY, shift_a }),
            half: None,
            class: None,
            log_likelihood: -3.0,
        }
    }

    #[test]
    fn a_box_moves_by_whole_pixels_and_the_particle_not_at_all() {
        for (x_px, shift_a) in [(100.0, [4.1, -3.2]), (100.4, [-0.2, 0.3]), (50.5, [7.0, 7.0])] {
            let before = particle(x_px, 80.0, shift_a);
            for recentre in [true, false] {
                let cut = wanted(Some(&before), before.pick.as_ref().unwrap(), 1.5, recentre);
                let (_, pose) = cut.particle.unwrap();
                let rest = pose.unwrap().shift_a;
                assert!(cut.centre_px.iter().all(|px| px.fract() == 0.0));
                let [x, y] = before.place_px(1.5).unwrap();
                assert!((cut.centre_px[0] + rest[0] / 1.5 - x).abs() < 1e-9);
                assert!((cut.centre_px[1] + rest[1] / 1.5 - y).abs() < 1e-9);
                if recentre {
                    assert!(rest.iter().all(|a| a.abs() <= 0.75 + 1e-9), "{rest:?}");
                } else {
                    assert_eq!(cut.centre_px, [x_px.round(), 80.0]);
                }
            }
        }
    }
}
