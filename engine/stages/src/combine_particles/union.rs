//! The union of particle sets, without files.

use crate::StageError;
use crate::particle_sets::{PIXEL_TOLERANCE, Stacks};
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use vitreous_model::exposure::OpticsGroup;
use vitreous_model::particle::ParticleSet;

/// One of the sets.
pub(super) struct Named {
    /// What it is called in messages and reports: the job it comes from.
    pub name: String,
    pub set: ParticleSet,
}

/// What came of the sets.
#[derive(Debug)]
pub(super) struct Union {
    pub set: ParticleSet,
    /// By set: particles whose image was known before, from this set or an earlier one.
    pub known: Vec<usize>,
    /// Optics groups that were found equal to one of an earlier set.
    pub merged_groups: usize,
    /// Particles that got another number, since theirs was taken.
    pub renumbered: usize,
}

/// Refuses sets whose images are of different size; empty ones are welcome.
///
/// # Errors
/// The first set that differs from the first, and how.
pub(super) fn check_alike(sets: &[Named]) -> Result<(), StageError> {
    let mut filled = sets.iter().filter(|named| !named.set.particles.is_empty());
    let Some(first) = filled.next() else { return Ok(()) };
    for other in filled {
        let (a, b) = (&first.set, &other.set);
        let same_pixel = (b.pixel_size_a / a.pixel_size_a - 1.0).abs() <= PIXEL_TOLERANCE;
        if a.box_px == b.box_px && same_pixel {
            continue;
        }
        let what = format!(
            "{} has images of {} px at {} Å, {} of {} px at {} Å: one set has one box and one pixel size",
            first.name, a.box_px, a.pixel_size_a, other.name, b.box_px, b.pixel_size_a
        );
        let hint = if same_pixel {
            "downsample-particles with --crop-box makes the larger boxes smaller"
        } else {
            "downsample-particles brings the finer set to the other's --output-box; where the pixel size still differs, \
             extract-particles anew"
        };
        return Err(StageError::input(what, hint));
    }
    Ok(())
}

/// All particles, in the order of the sets; an image that is in several is taken from the first. Box and pixel size are
/// those of the first set that has particles. `absolute` makes paths of stacks absolute, to compare them.
///
/// # Errors
/// As [`check_alike`]; a particle of an optics group that its set does not have.
pub(super) fn of(
    sets: Vec<Named>,
    merge_optics: bool,
    absolute: &dyn Fn(&str) -> PathBuf,
) -> Result<Union, StageError> {
    check_alike(&sets)?;
    let like = sets.iter().find(|named| !named.set.particles.is_empty()).or(sets.first());
    let (box_px, pixel_size_a) = like.map_or((0, f64::NAN), |like| (like.set.box_px, like.set.pixel_size_a));
    let count = sets.iter().map(|named| named.set.particles.len()).sum();
    let mut union = Union {
        set: ParticleSet { optics: Vec::new(), box_px, pixel_size_a, particles: Vec::with_capacity(count) },
        known: Vec::new(),
        merged_groups: 0,
        renumbered: 0,
    };
    let mut stacks = Stacks::new(absolute);
    let mut images = HashSet::with_capacity(count);
    let mut numbers = Numbers::of(&sets);
    for Named { name, set } in sets {
        let groups = union.add_groups(&set.optics, merge_optics);
        let before = set.particles.len();
        let first = union.set.particles.len();
        for mut particle in set.particles {
            if !images.insert(stacks.image_of(&particle)) {
                continue;
            }
            let Some(&group) = groups.get(&particle.optics_group) else {
                let what = format!(
                    "{name}: particle {} is of optics group {}, which the set does not have",
                    particle.id, particle.optics_group
                );
                return Err(StageError::input(what, "run the job that made the set again"));
            };
            particle.optics_group = group;
            let number = numbers.unique(particle.id);
            union.renumbered += usize::from(number != particle.id);
            particle.id = number;
            union.set.particles.push(particle);
        }
        union.known.push(before - (union.set.particles.len() - first));
    }
    Ok(union)
}

impl Union {
    /// Takes the groups of one more set in, and says which number each has got.
    fn add_groups(&mut self, groups: &[OpticsGroup], merge: bool) -> HashMap<u32, u32> {
        let mut places = HashMap::new();
        let earlier = self.set.optics.len();
        for group in groups {
            let is_equal =
                |known: &&OpticsGroup| OpticsGroup { number: group.number, ..(*known).clone() } == *group;
            if let (true, Some(known)) = (merge, self.set.optics[..earlier].iter().find(is_equal)) {
                places.insert(group.number, known.number);
                self.merged_groups += 1;
                continue;
            }
            let number = unique_group(&self.set.optics, group.number);
            places.insert(group.number, number);
            let name = unique_name(&self.set.optics, &group.name);
            self.set.optics.push(OpticsGroup { number, name, ..group.clone() });
        }
        places
    }
}

/// The number if no group has it, else one above all.
fn unique_group(groups: &[OpticsGroup], number: u32) -> u32 {
    if groups.iter().all(|group| group.number != number) {
        return number;
    }
    groups.iter().map(|group| group.number).max().unwrap_or(0) + 1
}

/// The name if no group has it, else with the first number behind it that makes it new: RELION tells groups by name.
fn unique_name(groups: &[OpticsGroup], name: &str) -> String {
    let is_free = |name: &String| groups.iter().all(|group| group.name != *name);
    let numbered = (2..).map(|number| format!("{name}_{number}"));
    std::iter::once(name.to_string()).chain(numbered).find(is_free).unwrap_or_default()
}

/// Gives out numbers of particles, each once.
struct Numbers {
    taken: HashSet<u64>,
    next: u64,
}

impl Numbers {
    /// New numbers lie above those of all sets.
    fn of(sets: &[Named]) -> Self {
        let all = sets.iter().flat_map(|named| &named.set.particles);
        Self { taken: HashSet::new(), next: all.map(|particle| particle.id + 1).max().unwrap_or(0) }
    }

    fn unique(&mut self, number: u64) -> u64 {
        if self.taken.insert(number) {
            return number;
        }
        self.next += 1;
        self.next - 1
    }
}
