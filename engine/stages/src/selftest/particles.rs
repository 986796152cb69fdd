//! Picks, particle images and poses held against the truth.

use super::checks::{Bound, Check, median};
use super::course::Course;
use super::plan::{self, folder};
use crate::picking::figures::{Circle, SHOWN_EDGE, Scale, micrograph_with_marks};
use crate::{Ctx, StageError, picking};
use std::collections::BTreeMap;
use vitreous_compute::directions::symmetric_angle_rad;
use vitreous_formats::table;
use vitreous_model::particle::{Particle, Pick};
use vitreous_model::pose::Pose;
use vitreous_model::report::Figure;

/// A pick this far from a particle's centre is that particle, in diameters.
const SAME_DIAMETERS: f64 = 0.3;

/// A place on a micrograph, pixels of the micrograph.
pub(super) type Place = [f64; 2];

/// Places by micrograph.
pub(super) type Places = BTreeMap<String, Vec<Place>>;

/// For each found place the true one that it is, each at most once, nearest pairs first.
pub(super) fn matched(truth: &[Place], found: &[Place], within_px: f64) -> Vec<Option<usize>> {
    let mut pairs: Vec<(f64, usize, usize)> = Vec::new();
    for (f, at) in found.iter().enumerate() {
        for (t, place) in truth.iter().enumerate() {
            let distance = (at[0] - place[0]).hypot(at[1] - place[1]);
            if distance <= within_px {
                pairs.push((distance, f, t));
            }
        }
    }
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut partner = vec![None; found.len()];
    let mut taken = vec![false; truth.len()];
    for (_, f, t) in pairs {
        if partner[f].is_none() && !taken[t] {
            partner[f] = Some(t);
            taken[t] = true;
        }
    }
    partner
}

fn within_px() -> f64 {
    SAME_DIAMETERS * plan::DIAMETER_A / plan::PIXEL_A
}

fn by_micrograph<'p>(picks: impl Iterator<Item = &'p Pick>) -> Places {
    let mut places = Places::new();
    for pick in picks {
        places.entry(pick.exposure.clone()).or_default().push([pick.x_px, pick.y_px]);
    }
    places
}

/// What the picker has found of what there is.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Picked {
    /// Where the particles are.
    pub truth: Places,
    /// Where it says they are.
    pub found: Places,
}

impl Picked {
    /// Reads both.
    ///
    /// # Errors
    /// Tables that cannot be read.
    pub fn read(ctx: &Ctx<'_>, course: &Course) -> Result<Option<Self>, StageError> {
        let truth = course.file(ctx, folder::SIMULATED, "truth");
        let (Some(truth), Some(found)) = (truth, course.file(ctx, folder::PICKS, "picks")) else {
            return Ok(None);
        };
        let truth = table::particles::read(&truth)?;
        let found = table::picks::read(&found)?;
        Ok(Some(Self {
            truth: by_micrograph(truth.particles.iter().filter_map(|particle| particle.pick.as_ref())),
            found: by_micrograph(found.picks.iter()),
        }))
    }

    /// Particles, picks, picks that are particles, and how far those miss the centre (Å).
    fn counts(&self) -> ([usize; 3], Vec<f64>) {
        let (mut counts, mut distances_a) = ([0; 3], Vec::new());
        let none = Vec::new();
        for (name, truth) in &self.truth {
            let found = self.found.get(name).unwrap_or(&none);
            let partners = matched(truth, found, within_px());
            counts[0] += truth.len();
            for (at, partner) in found.iter().zip(&partners) {
                if let Some(place) = partner.map(|t| truth[t]) {
                    distances_a.push((at[0] - place[0]).hypot(at[1] - place[1]) * plan::PIXEL_A);
                }
            }
            counts[2] += partners.iter().flatten().count();
        }
        counts[1] = self.found.values().map(Vec::len).sum();
        (counts, distances_a)
    }

    /// Checks of the picker.
    pub fn checks(&self) -> Vec<Check> {
        let ([particles, picks, right], distances_a) = self.counts();
        let share = |of: usize| right as f64 / of as f64;
        let job = "pick-blobs";
        vec![
            Check::new(job, "particles that were found", share(particles), Bound::AtLeast(0.8), ""),
            Check::new(job, "picks that are particles", share(picks), Bound::AtLeast(0.9), ""),
            Check::new(
                job,
                "distance from the centre, median",
                median(distances_a),
                Bound::AtMost(15.0),
                "Å",
            ),
        ]
    }

    /// The first micrograph with its picks and what was missed.
    ///
    /// # Errors
    /// A micrograph that cannot be read.
    pub fn figure(&self, ctx: &Ctx<'_>, course: &Course) -> Result<Option<Figure>, StageError> {
        let Some(path) = course.file(ctx, folder::CTF, "micrographs") else { return Ok(None) };
        let set = table::exposures::read(&path)?;
        let Some(exposure) = set.exposures.first() else { return Ok(None) };
        let (pixels, pixel_size_a) = picking::read(ctx, &set, exposure)?;
        let none = Vec::new();
        let truth = self.truth.get(&exposure.name).unwrap_or(&none);
        let found = self.found.get(&exposure.name).unwrap_or(&none);
        let partners = matched(truth, found, within_px());
        let circle = |at: &Place| Circle { x_px: at[0], y_px: at[1], diameter_a: plan::DIAMETER_A };
        let missed = (0..truth.len()).filter(|t| !partners.contains(&Some(*t))).map(|t| circle(&truth[t]));
        let scale = Scale { pixel_size_a, diameter_a: plan::DIAMETER_A, max_diameter_a: plan::DIAMETER_A };
        let missed: Vec<Circle> = missed.collect();
        let title = format!(
            "{}: {} picks (circles) of {} particles; {} missed (crosses)",
            exposure.name,
            found.len(),
            truth.len(),
            missed.len()
        );
        let circles: Vec<Circle> = found.iter().map(circle).collect();
        let figure = micrograph_with_marks("picks", title, &pixels, scale, &circles, &missed, SHOWN_EDGE);
        Ok(Some(figure))
    }
}

/// Checks of extraction: images are cut from all picks but those whose box leaves the micrograph.
pub(super) fn extraction(course: &Course) -> Vec<Check> {
    let count = |folder, slot| course.output(folder, slot).map(|output| output.count as f64);
    let (Some(images), Some(picks)) = (count(folder::PARTICLES, "particles"), count(folder::PICKS, "picks"))
    else {
        return Vec::new();
    };
    vec![Check::new("extract-particles", "images of picks", images / picks, Bound::Between(0.8, 1.0), "")]
}

/// Errors of the refined poses of particles whose truth is known.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct PoseErrors {
    /// Angle between true and found rotation, up to the symmetry, degrees.
    pub angle_deg: Vec<f64>,
    /// Distance of the true centre from the box's place plus shift, Å.
    pub shift_a: Vec<f64>,
}

impl PoseErrors {
    /// Compares particles with the truth at their places.
    ///
    /// # Errors
    /// Tables that cannot be read.
    pub fn read(ctx: &Ctx<'_>, course: &Course) -> Result<Option<Self>, StageError> {
        let truth = course.file(ctx, folder::SIMULATED, "truth");
        let (Some(truth), Some(found)) = (truth, course.file(ctx, folder::REFINED, "particles")) else {
            return Ok(None);
        };
        let (truth, found) = (table::particles::read(&truth)?, table::particles::read(&found)?);
        Ok(Some(Self::of(&truth.particles, &found.particles)))
    }

    /// The same of particles.
    pub fn of(truth: &[Particle], found: &[Particle]) -> Self {
        let mut true_of: BTreeMap<&str, Vec<(Place, Pose)>> = BTreeMap::new();
        for particle in truth {
            if let (Some(pick), Some(pose)) = (&particle.pick, particle.pose) {
                true_of.entry(&pick.exposure).or_default().push(([pick.x_px, pick.y_px], pose));
            }
        }
        let operators = plan::SYMMETRY.rotations();
        let mut errors = Self::default();
        for particle in found {
            let (Some(pick), Some(pose)) = (&particle.pick, particle.pose) else { continue };
            let Some(at) = particle.place_px(plan::PIXEL_A) else { continue };
            let Some(here) = true_of.get(pick.exposure.as_str()) else { continue };
            let distance = |(place, _): &&(Place, Pose)| (at[0] - place[0]).hypot(at[1] - place[1]);
            let nearest = here.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)));
            let Some(nearest) = nearest.filter(|truth| distance(truth) <= within_px()) else { continue };
            let angle = symmetric_angle_rad(&operators, pose.rotation, nearest.1.rotation);
            errors.angle_deg.push(angle.to_degrees());
            errors.shift_a.push(distance(&nearest) * plan::PIXEL_A);
        }
        errors
    }

    /// Checks of refinement.
    pub fn checks(&self) -> Vec<Check> {
        const GOOD_DEG: f64 = 5.0;
        let all = self.angle_deg.len() as f64;
        let good = self.angle_deg.iter().filter(|angle| **angle <= GOOD_DEG).count() as f64 / all;
        let job = "refine-homogeneous";
        let angle = median(self.angle_deg.clone());
        vec![
            Check::new(job, "error of rotations, median", angle, Bound::AtMost(2.5), "°"),
            Check::new(job, format!("rotations within {GOOD_DEG}°"), good, Bound::AtLeast(0.8), ""),
            Check::new(job, "error of places, median", median(self.shift_a.clone()), Bound::AtMost(2.5), "Å"),
        ]
    }
}
