//! What jobs on whole particle sets share: which image is which, how a set is written, pictures. It changes no set.

pub(crate) mod figures;

use crate::{Ctx, StageError};
use std::collections::HashMap;
use std::path::PathBuf;
use vitreous_formats::table;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::particle::{Particle, ParticleSet};

/// Pixel sizes that differ by a smaller fraction are the same: tables and headers carry them in three or more digits.
pub(crate) const PIXEL_TOLERANCE: f64 = 1e-3;

/// An image: number of its stack, place in it.
pub(crate) type ImageId = (u32, u32);

/// Tells images apart, whichever set names them: two paths are one stack if they are the same once made absolute. Links
/// are not followed.
pub(crate) struct Stacks<'a> {
    absolute: &'a dyn Fn(&str) -> PathBuf,
    by_text: HashMap<String, u32>,
    by_path: HashMap<PathBuf, u32>,
}

impl<'a> Stacks<'a> {
    /// None known yet; `absolute` makes a path of a table absolute ([`Ctx::resolve`]).
    pub fn new(absolute: &'a dyn Fn(&str) -> PathBuf) -> Self {
        Self { absolute, by_text: HashMap::new(), by_path: HashMap::new() }
    }

    /// The image of a particle.
    pub fn image_of(&mut self, particle: &Particle) -> ImageId {
        let text = particle.stack_path.as_str();
        if let Some(&stack) = self.by_text.get(text) {
            return (stack, particle.stack_index);
        }
        let next = self.by_path.len() as u32;
        let stack = *self.by_path.entry((self.absolute)(text)).or_insert(next);
        self.by_text.insert(text.into(), stack);
        (stack, particle.stack_index)
    }
}

/// Writes a set as the table of an output slot, `SLOT.h5`, and declares the output.
///
/// # Errors
/// A file that cannot be written.
pub(crate) fn write(ctx: &Ctx<'_>, slot: &str, set: &ParticleSet) -> Result<(), StageError> {
    let file = format!("{slot}.h5");
    ctx.create_at_path(&file, |path| table::particles::write(path, set))?;
    ctx.output(Output {
        pixel_size_a: Some(set.pixel_size_a).filter(|pixel_size_a| pixel_size_a.is_finite()),
        box_px: Some(set.box_px),
        ..Output::new(slot, Kind::Particles, &file, set.particles.len() as u64)
    });
    Ok(())
}

/// Index of the optics group of each of some particles (places in the set) among those in use by them, and their number.
pub(crate) fn optics_groups(set: &ParticleSet, which: &[usize]) -> (Vec<usize>, usize) {
    let mut numbers: Vec<u32> = which.iter().map(|&index| set.particles[index].optics_group).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let group = |&index: &usize| numbers.partition_point(|&n| n < set.particles[index].optics_group);
    (which.iter().map(group).collect(), numbers.len())
}

/// The set with the particles at these places of it only.
pub(crate) fn part(set: &ParticleSet, indices: &[usize]) -> ParticleSet {
    let particles = indices.iter().map(|&index| set.particles[index].clone()).collect();
    ParticleSet { optics: set.optics.clone(), particles, ..*set }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::Input;
    use std::path::Path;
    use vitreous_formats::mrc::{MrcSpec, MrcWriter};
    use vitreous_model::exposure::OpticsGroup;
    use vitreous_model::half_set::HalfSet;
    use vitreous_model::particle::{ClassAssignment, Pick};
    use vitreous_model::pose::{Pose, Rotation};
    use vitreous_model::units::{Kilovolt, Millimetre};

    /// A particle with everything a table can hold, image `index` of `stack`, picked on `exposure`.
    pub(crate) fn particle(id: u64, stack: &str, index: u32, exposure: &str) -> Particle {
        let rotation = Rotation::from_euler_zyz_deg(7.0 * id as f64, 20.0, 30.0);
        Particle {
            pick: Some(Pick { exposure: exposure.into(), x_px: 100.0, y_px: 10.0 * id as f64, score: 1.5 }),
            pose: Some(Pose { rotation, shift_a: [3.0, -1.5] }),
            half: HalfSet::from_number(1 + (id % 2) as i64),
            class: Some(ClassAssignment { number: 1 + (id % 3) as u32, probability: 0.75 }),
            log_likelihood: -10.0 - id as f64,
            ..Particle::of_image(id, stack, index)
        }
    }

    /// An optics group.
    pub(crate) fn optics(number: u32, name: &str, voltage_kv: f64) -> OpticsGroup {
        OpticsGroup {
            number,
            name: name.into(),
            voltage: Kilovolt(voltage_kv),
            cs: Millimetre(2.7),
            amplitude_contrast: 0.1,
            movie_pixel_size_a: 1.0,
            aberrations: Default::default(),
        }
    }

    /// Writes a set into a project, as what a job made of it, and names it as an input.
    pub(crate) fn input(project: &Path, job: &str, set: &ParticleSet) -> Input {
        let path = project.join(format!("{job}.h5"));
        table::particles::write(&path, set).unwrap();
        let output =
            Output::new("particles", Kind::Particles, &format!("{job}.h5"), set.particles.len() as u64);
        Input { job: job.into(), output, path, parts: Default::default() }
    }

    /// Writes a stack of `images`, each `[n, n]`, at `path` of a project.
    pub(crate) fn write_stack(project: &Path, path: &str, n: usize, images: &[Vec<f32>]) {
        let path = project.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut writer = MrcWriter::create(&path, MrcSpec::images(n, n, 1.0)).unwrap();
        images.iter().for_each(|image| writer.append(image).unwrap());
        writer.finish().unwrap();
    }

    #[test]
    fn one_file_under_two_names_is_one_stack() {
        let absolute = |path: &str| Path::new("/em").join(path);
        let mut stacks = Stacks::new(&absolute);
        let mut of = |path: &str, index| stacks.image_of(&particle(0, path, index, "m"));
        assert_eq!(of("a.mrcs", 3), of("/em/a.mrcs", 3));
        assert_ne!(of("a.mrcs", 3), of("a.mrcs", 4));
        assert_ne!(of("a.mrcs", 3), of("b.mrcs", 3));
        assert_ne!(of("b.mrcs", 3), of("/a.mrcs", 3));
    }
}
