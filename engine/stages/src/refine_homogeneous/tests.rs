use super::RefineHomogeneous;
use crate::{Ctx, Input, Stage, StageError};
use ndarray::Array3;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;
use vitreous_compute::comm::{Comm, Solo, Threads};
use vitreous_compute::device::Cpu;
use vitreous_compute::directions::symmetric_angle_rad;
use vitreous_compute::fsc::fsc_of_maps;
use vitreous_compute::likelihood::LatticeCtf;
use vitreous_compute::ops::project::Project;
use vitreous_formats::mrc::{MrcSpec, MrcWriter, read_volume, write_volume};
use vitreous_formats::table::particles;
use vitreous_model::conventions::{resolution_at, signed_frequency};
use vitreous_model::ctf::CtfParams;
use vitreous_model::event::EventKind;
use vitreous_model::exposure::OpticsGroup;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::particle::{Particle, ParticleSet};
use vitreous_model::pose::{Pose, Rotation};
use vitreous_model::report::Report;
use vitreous_model::symmetry::PointGroup;
use vitreous_model::units::{Degrees, Kilovolt, Millimetre};

const BOX: usize = 40;
const PIXEL_A: f64 = 4.0;
const PARTICLES: usize = 160;

/// A project with particles `J1/particles.h5`, their truth and the true map `J2/map.mrc`.
struct Project1 {
    dir: TempDir,
    truth: Vec<Pose>,
    group: PointGroup,
}

/// Blobs in random places within 0.3 of the box, repeated by the point group.
fn object(group: PointGroup) -> Array3<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let reach = 0.3 * BOX as f64;
    let operators = group.rotations();
    let mut blobs = Vec::new();
    while blobs.len() < 24 {
        let p = [0; 3].map(|_| rng.random_range(-reach..reach));
        if p.iter().map(|v| v * v).sum::<f64>().sqrt() < reach {
            let strength = rng.random_range(0.5..1.5);
            blobs.extend(operators.iter().map(|operator| (operator.apply(p), strength)));
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
    }
}

/// Images of unit noise and the given standard deviation of the signal.
fn project(group: PointGroup, signal_sd: f64) -> Project1 {
    let dir = tempfile::tempdir().unwrap();
    let map = object(group);
    for job in ["J1", "J2", "J3"] {
        std::fs::create_dir(dir.path().join(job)).unwrap();
    }
    // the true map on an arbitrary scale
    write_volume(&dir.path().join("J2/map.mrc"), &(&map * 3.7), PIXEL_A).unwrap();
    let slicer = Cpu.slicer(map.view(), 2.0, 0.5 * BOX as f64).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let mut writer =
        MrcWriter::create(&dir.path().join("J1/stack.mrcs"), MrcSpec::images(BOX, BOX, PIXEL_A)).unwrap();
    let (mut truth, mut list) = (Vec::new(), Vec::new());
    for index in 0..PARTICLES {
        let [w, x, y, z] = [0; 4].map(|_| rng.sample::<f64, _>(StandardNormal));
        let pose = Pose {
            rotation: Rotation::new(w, x, y, z),
            shift_a: [0; 2].map(|_| rng.sample::<f64, _>(StandardNormal) * 4.0),
        };
        let ctf = ctf(&mut rng);
        let mut slice = Cpu.slices(&slicer, &[pose.rotation], 0.5 * BOX as f64).unwrap().remove(0);
        let lattice = LatticeCtf::new(Some(&ctf), BOX, PIXEL_A);
        for ((row, column), value) in slice.data_mut().indexed_iter_mut() {
            *value *= lattice.value(column as f64, signed_frequency(row, BOX) as f64);
        }
        slice.shift(pose.shift_a[0] / PIXEL_A, pose.shift_a[1] / PIXEL_A);
        let image = slice.into_box();
        let sd = (image.iter().map(|v| v * v).sum::<f32>() / image.len() as f32).sqrt();
        let noisy = image.mapv(|v| v * signal_sd as f32 / sd + rng.sample::<f32, _>(StandardNormal));
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
    });
    let set =
        ParticleSet { optics: optics.into(), box_px: BOX as u32, pixel_size_a: PIXEL_A, particles: list };
    particles::write(&dir.path().join("J1/particles.h5"), &set).unwrap();
    Project1 { dir, truth, group }
}

impl Project1 {
    fn params(&self) -> Value {
        json!({
            "symmetry": self.group.to_string(), "initial_lowpass": 30.0, "diameter": 130.0, "max_iterations": 5,
        })
    }

    /// Runs the stage in `job`; it is asked to stop after `patience` checkpoints.
    fn run(&self, job: &str, params: Value, comm: &dyn Comm, patience: usize) -> Result<Report, StageError> {
        let job_dir = self.dir.path().join(job);
        std::fs::create_dir_all(&job_dir).unwrap();
        let checkpoints = AtomicUsize::new(0);
        let event = |event: EventKind| {
            if matches!(event, EventKind::Checkpoint) {
                checkpoints.fetch_add(1, Ordering::SeqCst);
            }
        };
        let stop = || checkpoints.load(Ordering::SeqCst) >= patience;
        let mut ctx = Ctx::new(&job_dir, self.dir.path(), &Cpu, comm, &event, &stop);
        ctx.params = params;
        let input = |job: &str, slot: &str, kind, file: &str| {
            let path = self.dir.path().join(job).join(file);
            vec![Input {
                job: job.into(),
                output: Output::new(slot, kind, file, 1),
                path,
                parts: BTreeMap::new(),
            }]
        };
        ctx.inputs.insert("particles".into(), input("J1", "particles", Kind::Particles, "particles.h5"));
        ctx.inputs.insert("volume".into(), input("J2", "volume", Kind::Volume, "map.mrc"));
        RefineHomogeneous.run(&ctx)
    }

    /// Median error of rotations and shifts, degrees and Å.
    fn errors(&self, job: &str) -> (f64, f64) {
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
                    .map(|(a, b)| symmetric_angle_rad(&operators, a.rotation, b.rotation).to_degrees())
                    .collect(),
            ),
            median(
                poses()
                    .map(|(a, b)| (a.shift_a[0] - b.shift_a[0]).hypot(a.shift_a[1] - b.shift_a[1]))
                    .collect(),
            ),
        )
    }

    fn bytes(&self, job: &str, file: &str) -> Vec<u8> {
        std::fs::read(self.dir.path().join(job).join(file)).unwrap()
    }
}

#[derive(serde::Deserialize)]
struct Golden {
    rotation_deg: f64,
    shift_a: f64,
    resolution_a: f64,
    truth_fsc05_a: f64,
}

#[test]
fn poses_and_map_are_found() {
    let project = project(PointGroup::Dihedral(2), 0.5);
    let report = project.run("J3", project.params(), &Solo, usize::MAX).unwrap();
    let golden: Golden = serde_json::from_str(include_str!("golden/phantom.json")).unwrap();
    let (rotation_deg, shift_a) = project.errors("J3");
    assert!(rotation_deg <= golden.rotation_deg, "{rotation_deg}°");
    assert!(shift_a <= golden.shift_a, "{shift_a} Å");
    let resolution_a = report.get("resolution_fsc0143_A").unwrap();
    assert!(resolution_a <= golden.resolution_a, "{resolution_a} Å");
    let map = read_volume(&project.dir.path().join("J3/map.mrc")).unwrap().data;
    let truth = object(project.group);
    let curve = fsc_of_maps(map.view(), truth.view(), None);
    let (to_truth, _) = resolution_at(&curve, 0.5, BOX, PIXEL_A);
    assert!(to_truth <= golden.truth_fsc05_a, "{to_truth} Å");
    assert_eq!(report.get("half1_particles"), report.get("half2_particles"));
    assert_eq!(report.data["fsc"].as_array().unwrap().len(), BOX / 2 + 1);
}

#[test]
fn ranks_and_interruptions_change_nothing() {
    let project = project(PointGroup::C1, 1.0);
    let mut params = project.params();
    params["max_iterations"] = json!(2);
    project.run("J3", params.clone(), &Solo, usize::MAX).unwrap();
    // stopped after the first iteration, gone on by three ranks
    let stopped = project.run("J4", params.clone(), &Solo, 1).unwrap_err();
    assert!(matches!(stopped, StageError::Stopped), "{stopped}");
    assert!(!project.dir.path().join("J4/map.mrc").exists());
    Threads::run(3, |comm| {
        project.run("J4", params.clone(), comm, usize::MAX).unwrap();
    });
    for file in ["map.mrc", "half1.mrc", "half2.mrc", "mask.mrc", "checkpoint/refinement.bin"] {
        assert!(project.bytes("J3", file) == project.bytes("J4", file), "{file}");
    }
}

#[test]
#[allow(clippy::disallowed_methods)] // a test breaks its own input
fn a_broken_image_is_left_out_and_too_many_end_the_job() {
    let project = project(PointGroup::Dihedral(2), 0.5);
    let path = project.dir.path().join("J1/stack.mrcs");
    let mut bytes = std::fs::read(&path).unwrap();
    // a NaN in image 7
    let place = 1024 + (7 * BOX * BOX + 55) * 4;
    bytes[place..place + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&path, &bytes).unwrap();
    let mut params = project.params();
    params["max_iterations"] = json!(1);
    let report = project.run("J3", params.clone(), &Solo, usize::MAX).unwrap();
    assert_eq!(report.skipped.len(), 1);
    assert!(report.skipped[0].item.starts_with("000008@"), "{:?}", report.skipped);
    assert_eq!(report.get("particles"), Some(PARTICLES as f64 - 1.0));
    params["max_bad_fraction"] = json!(0.0);
    let error = project.run("J4", params, &Solo, usize::MAX).unwrap_err();
    assert!(matches!(error, StageError::TooManyBad { bad: 1, .. }), "{error}");
}

#[test]
fn impossible_parameters_and_maps_are_refused() {
    let project = project(PointGroup::Dihedral(2), 0.5);
    let mut params = project.params();
    params["initial_lowpass"] = json!(2.0);
    let error = project.run("J3", params, &Solo, usize::MAX).unwrap_err();
    assert!(error.to_string().contains("initial_lowpass"), "{error}");
    let mut params = project.params();
    params["diameter"] = json!(500.0);
    let error = project.run("J3", params, &Solo, usize::MAX).unwrap_err();
    assert!(error.to_string().contains("diameter"), "{error}");
    write_volume(&project.dir.path().join("J2/map.mrc"), &Array3::zeros((BOX, BOX, BOX)), PIXEL_A).unwrap();
    let error = project.run("J3", project.params(), &Solo, usize::MAX).unwrap_err();
    assert!(error.to_string().contains("zero everywhere"), "{error}");
}

#[test]
fn the_readme_states_the_parameters() {
    let readme = include_str!("README.md");
    use vitreous_model::params::Params;
    for field in vitreous_jobs::refine_homogeneous::RefineHomogeneous::FIELDS {
        assert!(readme.contains(&format!("`{}`", field.key)), "{}", field.key);
        assert!(readme.contains((field.help)().trim_end_matches('.')), "{}", field.key);
    }
}
