//! Simulated particles of phantoms, for the tests of jobs that refine them.

use crate::{Ctx, Input, Stage, StageError};
use ndarray::Array3;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;
use vitreous_compute::comm::Comm;
use vitreous_compute::device::Cpu;
use vitreous_compute::directions::symmetric_angle_rad;
use vitreous_compute::likelihood::LatticeCtf;
use vitreous_compute::ops::project::Project as _;
use vitreous_formats::mrc::{MrcSpec, MrcWriter, write_volume};
use vitreous_formats::table::particles;
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::conventions::signed_frequency;
use vitreous_model::ctf::CtfParams;
use vitreous_model::event::EventKind;
use vitreous_model::exposure::OpticsGroup;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::particle::{Particle, ParticleSet};
use vitreous_model::pose::{Pose, Rotation};
use vitreous_model::report::Report;
use vitreous_model::symmetry::PointGroup;
use vitreous_model::units::{Degrees, Kilovolt, Millimetre};

pub const BOX: usize = 40;
pub const PIXEL_A: f64 = 4.0;
pub const PARTICLES: usize = 160;

/// A project with particles `J1/particles.h5`, their truth and the true map `J2/map.mrc` (of a mixture `J2/map_2.mrc` …).
pub struct Project {
    /// Its folder.
    pub dir: TempDir,
    /// True poses of the particles, in order.
    pub truth: Vec<Pose>,
    /// Point group.
    pub group: PointGroup,
}

/// Blobs in random places within 0.3 of the box, repeated by the point group. That of I2 is that of I1 turned.
pub fn object(group: PointGroup) -> Array3<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let reach = 0.3 * BOX as f64;
    let turned = group == PointGroup::IcosahedralTurned;
    let operators = if turned { PointGroup::Icosahedral.rotations() } else { group.rotations() };
    let quarter = Rotation::from_rotation_vector([0.0, 0.0, std::f64::consts::FRAC_PI_2]);
    let turn = if turned { quarter } else { Rotation::IDENTITY };
    let mut blobs = Vec::new();
    while blobs.len() < 24 {
        let p = [0; 3].map(|_| rng.random_range(-reach..reach));
        if p.iter().map(|v| v * v).sum::<f64>().sqrt() < reach {
            let strength = rng.random_range(0.5..1.5);
            blobs.extend(operators.iter().map(|operator| (turn.apply(operator.apply(p)), strength)));
        }
    }
    Array3::from_shape_fn((BOX, BOX, BOX), |(z, y, x)| {
        let p = [x, y, z].map(|i| i as f64 - 20.0);
        let value = |(b, strength): &([f64; 3], f64)| {
            let d2: f64 = (0..3).map(|i| (p[i] - b[i]).powi(2)).sum();
            strength * (-0.5 * d2 / 1.2).exp()
        };
        blobs.iter().map(value).sum::<f64>() as f32
    })
}

fn ctf(rng: &mut ChaCha8Rng) -> CtfParams {
    let defocus = rng.random_range(8000.0..20000.0);
    CtfParams {
        defocus_u_a: defocus + 100.0,
        defocus_v_a: defocus - 100.0,
        astigmatism_angle: Degrees(rng.random_range(-90.0..90.0)),
        phase_shift: Degrees(0.0),
        voltage: Kilovolt(300.0),
        cs: Millimetre(2.7),
        amplitude_contrast: 0.1,
        even: Default::default(),
    }
}

/// Images of unit noise and the given standard deviation of the signal.
pub fn project(group: PointGroup, signal_sd: f64) -> Project {
    project_of(group, &object(group), signal_sd)
}

/// The same of another map.
pub fn project_of(group: PointGroup, map: &Array3<f32>, signal_sd: f64) -> Project {
    project_with(group, map, signal_sd, [1.0, 1.0])
}

/// The same with a contrast for each of the two optics groups, which alternate.
pub fn project_with(group: PointGroup, map: &Array3<f32>, signal_sd: f64, contrast: [f32; 2]) -> Project {
    project_of_mixture(group, std::slice::from_ref(map), signal_sd, contrast, PARTICLES)
}

/// `particles` of several maps in turn. The signal's standard deviation is that of the first one's images.
pub fn project_of_mixture(
    group: PointGroup,
    maps: &[Array3<f32>],
    signal_sd: f64,
    contrast: [f32; 2],
    particles: usize,
) -> Project {
    let dir = tempfile::tempdir().unwrap();
    for job in ["J1", "J2", "J3"] {
        std::fs::create_dir(dir.path().join(job)).unwrap();
    }
    // the true maps on an arbitrary scale
    for (index, map) in maps.iter().enumerate() {
        let name = if index == 0 { "map.mrc".to_string() } else { format!("map_{}.mrc", index + 1) };
        write_volume(&dir.path().join("J2").join(name), &(map * 3.7), PIXEL_A).unwrap();
    }
    let slicers: Vec<_> =
        maps.iter().map(|map| Cpu.slicer(map.view(), 2.0, 0.5 * BOX as f64).unwrap()).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let mut writer =
        MrcWriter::create(&dir.path().join("J1/stack.mrcs"), MrcSpec::images(BOX, BOX, PIXEL_A)).unwrap();
    let (mut truth, mut list) = (Vec::new(), Vec::new());
    for index in 0..particles {
        let [w, x, y, z] = [0; 4].map(|_| rng.sample::<f64, _>(StandardNormal));
        let pose = Pose {
            rotation: Rotation::new(w, x, y, z),
            shift_a: [0; 2].map(|_| rng.sample::<f64, _>(StandardNormal) * 4.0),
        };
        let ctf = ctf(&mut rng);
        let slicer = &slicers[index % slicers.len()];
        let mut slice = Cpu.slices(slicer, &[pose.rotation], 0.5 * BOX as f64).unwrap().remove(0);
        let lattice = LatticeCtf::new(Some(&ctf), BOX, PIXEL_A);
        for ((row, column), value) in slice.data_mut().indexed_iter_mut() {
            *value *= lattice.value(column as f64, signed_frequency(row, BOX) as f64);
        }
        slice.shift(pose.shift_a[0] / PIXEL_A, pose.shift_a[1] / PIXEL_A);
        let image = slice.into_box();
        let sd = (image.iter().map(|v| v * v).sum::<f32>() / image.len() as f32).sqrt();
        let noisy = image
            .mapv(|v| contrast[index % 2] * v * signal_sd as f32 / sd + rng.sample::<f32, _>(StandardNormal));
        writer.append(noisy.as_slice().unwrap()).unwrap();
        truth.push(pose);
        list.push(Particle {
            id: 1000 + index as u64,
            stack_path: "J1/stack.mrcs".into(),
            stack_index: index as u32,
            optics_group: 1 + index as u32 % 2,
            pick: None,
            ctf: Some(ctf),
            pose: None,
            half: None,
            class: None,
            log_likelihood: f64::NAN,
        });
    }
    writer.finish().unwrap();
    let optics = [1, 2].map(|number| OpticsGroup {
        number,
        name: format!("group {number}"),
        voltage: Kilovolt(300.0),
        cs: Millimetre(2.7),
        amplitude_contrast: 0.1,
        movie_pixel_size_a: PIXEL_A,
        aberrations: Default::default(),
    });
    let set =
        ParticleSet { optics: optics.into(), box_px: BOX as u32, pixel_size_a: PIXEL_A, particles: list };
    particles::write(&dir.path().join("J1/particles.h5"), &set).unwrap();
    Project { dir, truth, group }
}

impl Project {
    /// Usual parameters of these particles.
    pub fn params(&self) -> Value {
        json!({
            "symmetry": self.group.to_string(), "initial_lowpass": 30.0, "diameter": 130.0, "max_iterations": 5,
        })
    }

    /// Runs a stage in `job`, starting from the maps of these files; it is asked to stop after `patience` checkpoints.
    pub fn run_stage(
        &self,
        stage: &dyn Stage,
        maps: &[&str],
        (job, params): (&str, Value),
        comm: &dyn Comm,
        patience: usize,
    ) -> Result<Report, StageError> {
        let job_dir = self.dir.path().join(job);
        std::fs::create_dir_all(&job_dir).unwrap();
        let checkpoints = AtomicUsize::new(0);
        let event = |event: EventKind| {
            if matches!(event, EventKind::Checkpoint) {
                checkpoints.fetch_add(1, Ordering::SeqCst);
            }
        };
        let stop = || checkpoints.load(Ordering::SeqCst) >= patience;
        let mut ctx = Ctx::new(&job_dir, self.dir.path(), &AnyDevice::Cpu, comm, &event, &stop);
        ctx.params = params;
        let input = |job: &str, slot: &str, kind, file: &str| {
            let path = self.dir.path().join(job).join(file);
            Input { job: job.into(), output: Output::new(slot, kind, file, 1), path, parts: BTreeMap::new() }
        };
        let table = input("J1", "particles", Kind::Particles, "particles.h5");
        ctx.inputs.insert("particles".into(), vec![table]);
        let maps = maps.iter().map(|file| input("J2", "volume", Kind::Volume, file)).collect();
        ctx.inputs.insert("volume".into(), maps);
        stage.run(&ctx)
    }

    /// Median error of rotations and shifts, degrees and Å.
    pub fn errors(&self, job: &str) -> (f64, f64) {
        self.errors_up_to(job, &[Rotation::IDENTITY])
    }

    /// The same, rotations up to a turn of the image by one of `turns`.
    pub fn errors_up_to(&self, job: &str, turns: &[Rotation]) -> (f64, f64) {
        let found = particles::read(&self.dir.path().join(job).join("particles.h5")).unwrap();
        let operators = self.group.rotations();
        let median = |mut values: Vec<f64>| {
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let poses = || found.particles.iter().map(|p| p.pose.unwrap()).zip(&self.truth);
        (
            median(
                poses()
                    .map(|(a, b)| {
                        let angle = |&turn: &Rotation| {
                            symmetric_angle_rad(&operators, a.rotation * turn, b.rotation).to_degrees()
                        };
                        turns.iter().map(angle).fold(f64::INFINITY, f64::min)
                    })
                    .collect(),
            ),
            median(
                poses()
                    .map(|(a, b)| (a.shift_a[0] - b.shift_a[0]).hypot(a.shift_a[1] - b.shift_a[1]))
                    .collect(),
            ),
        )
    }

    /// A file's bytes.
    pub fn bytes(&self, job: &str, file: &str) -> Vec<u8> {
        std::fs::read(self.dir.path().join(job).join(file)).unwrap()
    }
}
