//! Dealing out, and a scene for the jobs that write images anew.

use super::{Form, Rewriting, deal_out};
use crate::particle_sets::tests::{input, optics, particle, write_stack};
use crate::{Ctx, Input, Stage, StageError};
use ndarray::Array2;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use std::path::Path;
use std::sync::OnceLock;
use vitreous_compute::comm::{Comm, Solo};
use vitreous_formats::{open_image, table};
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::particle::{Particle, ParticleSet};
use vitreous_model::report::Report;

/// A project with images of `n` pixels: 12 in `old/a.mrcs` and 5 in `old/b.mrcs`, of which a set has some, taken in turn.
pub(crate) struct Scene {
    folder: tempfile::TempDir,
    /// To be changed before the first run.
    pub set: ParticleSet,
    given: OnceLock<Input>,
}

/// The noise image `index` of stack `stack`.
pub(crate) fn noise(n: usize, stack: u64, index: u64) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(1000 * stack + index);
    (0..n * n).map(|_| random.random_range(-1.0..1.0)).collect()
}

impl Scene {
    pub fn new(n: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_stack(folder.path(), "old/a.mrcs", n, &(0..12).map(|i| noise(n, 1, i)).collect::<Vec<_>>());
        write_stack(folder.path(), "old/b.mrcs", n, &(0..5).map(|i| noise(n, 2, i)).collect::<Vec<_>>());
        let places = [("a", 0), ("b", 4), ("a", 11), ("a", 3), ("b", 0), ("a", 7), ("b", 2)];
        let particles = (0..).zip(places).map(|(id, (stack, index))| {
            particle(40 + id, &format!("old/{stack}.mrcs"), index, &format!("m_{stack}"))
        });
        let set = ParticleSet {
            optics: vec![optics(1, "x", 300.0)],
            box_px: n as u32,
            pixel_size_a: 1.5,
            particles: particles.collect(),
        };
        Self { folder, set, given: OnceLock::new() }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a stage in the folder `J9`; `stop` is asked before every stack.
    pub fn run(
        &self,
        stage: &dyn Stage,
        params: Value,
        comm: &dyn Comm,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<(Report, ParticleSet), StageError> {
        let job = self.path().join("J9");
        let mut ctx = Ctx::new(&job, self.path(), &AnyDevice::Cpu, comm, &|_| {}, stop);
        ctx.params = params;
        let given = self.given.get_or_init(|| input(self.path(), "J1", &self.set));
        ctx.inputs.insert("particles".into(), vec![given.clone()]);
        let report = stage.run(&ctx)?;
        let is_root = ctx.is_root();
        let table = || table::particles::read(&job.join("particles.h5"));
        Ok((report, if is_root { table()? } else { ParticleSet::default() }))
    }

    pub fn run_alone(&self, stage: &dyn Stage, params: Value) -> Result<(Report, ParticleSet), StageError> {
        self.run(stage, params, &Solo, &|| false)
    }

    /// The image of a particle.
    pub fn image(&self, particle: &Particle) -> Array2<f32> {
        let source = open_image(&self.path().join(&particle.stack_path)).unwrap();
        let header = source.header();
        let mut image = Array2::zeros((header.height, header.width));
        source.read_frame_at(particle.stack_index as usize, image.as_slice_mut().unwrap()).unwrap();
        image
    }
}

#[test]
fn stacks_are_exposures_or_so_many_images() {
    let mut set = Scene::new(16).set;
    set.particles[5].pick = None;
    set.particles[6].pick.as_mut().unwrap().exposure = "../m".into();
    let deal = |images| -> Vec<(String, Vec<usize>)> {
        deal_out(&set, images).into_iter().map(|stack| (stack.file, stack.members)).collect()
    };
    let named = |name: &str, members: &[usize]| (format!("particles/{name}.mrcs"), members.to_vec());
    assert_eq!(
        deal(None),
        [named("m_a", &[0, 2, 3]), named("m_b", &[1, 4]), named("unplaced-0001", &[5]), named(".._m", &[6]),]
    );
    assert_eq!(
        deal(Some(3)),
        [named("000001", &[0, 1, 2]), named("000002", &[3, 4, 5]), named("000003", &[6])]
    );
}

#[test]
fn a_stack_is_done_again_when_its_images_or_its_files_change() {
    let scene = Scene::new(16);
    let form = Form { box_px: 16, pixel_size_a: 1.5, float16: false, images_per_stack: None };
    let ctx = Ctx::new(&scene.path().join("J9"), scene.path(), &AnyDevice::Cpu, &Solo, &|_| {}, &|| false);
    let prints = |set: &ParticleSet, form: Form| -> Vec<String> {
        let items = Rewriting::new(&ctx, set, form).items(&ctx, "");
        items.into_iter().map(|item| item.fingerprint).collect()
    };
    let before = prints(&scene.set, form);
    assert_eq!(prints(&scene.set, form), before);
    assert_ne!(prints(&scene.set, Form { float16: true, ..form })[0], before[0]);
    let mut other = scene.set.clone();
    other.particles[1].stack_index = 1;
    other.particles[0].id = 99;
    let after = prints(&other, form);
    assert_eq!((&after[0], after[1] == before[1]), (&before[0], false), "numbers do not matter, images do");
    write_stack(scene.path(), "old/b.mrcs", 16, &vec![noise(16, 3, 0); 6]);
    let after = prints(&scene.set, form);
    assert_eq!((&after[0], after[1] == before[1]), (&before[0], false), "the file was replaced");
}
