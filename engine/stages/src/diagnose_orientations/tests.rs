use super::DiagnoseOrientations;
use crate::{Ctx, Input, Stage, StageError};
use ndarray::Array3;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use serde_json::json;
use std::path::Path;
use vitreous_compute::comm::Solo;
use vitreous_compute::fourier::HalfVolume;
use vitreous_formats::{mrc, table};
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::conventions::signed_frequency;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::particle::{Particle, ParticleSet};
use vitreous_model::pose::{Pose, Rotation};
use vitreous_model::report::{Figure, Report};

const BOX: usize = 32;
const VOXEL_A: f64 = 3.0;

/// Particles seen within `tilt_deg` of the z axis.
fn write_particles(dir: &Path, tilt_deg: f64, with_pose: bool) {
    let mut random = ChaCha8Rng::seed_from_u64(6);
    let least = tilt_deg.to_radians().cos();
    let particles = (0..20_000u64).map(|id| {
        let tilt = random.random_range(least..1.0f64).acos().to_degrees();
        let rotation = Rotation::from_euler_zyz_deg(random.random_range(0.0..360.0), tilt, 0.0);
        Particle {
            pose: with_pose.then_some(Pose { rotation, shift_a: [0.0; 2] }),
            ..Particle::of_image(id, "s.mrcs", id as u32)
        }
    });
    let set = ParticleSet {
        optics: Vec::new(),
        box_px: BOX as u32,
        pixel_size_a: VOXEL_A,
        particles: particles.collect(),
    };
    table::particles::write(&dir.join("particles.h5"), &set).unwrap();
}

/// Halves of one noise map that are independent within `cone_deg` of z from shell 5 on.
fn write_halves(dir: &Path, cone_deg: f64) {
    let mut random = ChaCha8Rng::seed_from_u64(8);
    let mut noise = || {
        let map = Array3::from_shape_simple_fn((BOX, BOX, BOX), || random.sample::<f32, _>(StandardNormal));
        HalfVolume::of_box(map.view())
    };
    let common = noise();
    for name in ["half1.mrc", "half2.mrc"] {
        let own = noise();
        let mut half = common.clone();
        for ((z, y, x), value) in half.data_mut().indexed_iter_mut() {
            let (qz, qy) = (signed_frequency(z, BOX) as f64, signed_frequency(y, BOX) as f64);
            let r = (qz * qz + qy * qy + (x * x) as f64).sqrt();
            if r >= 5.0 && qz.abs() >= r * cone_deg.to_radians().cos() {
                *value = own.data()[[z, y, x]];
            }
        }
        mrc::write_volume(&dir.join(name), &half.into_box(), VOXEL_A).unwrap();
    }
}

fn run(dir: &Path, volume: bool, parts: &[&str], params: serde_json::Value) -> Result<Report, StageError> {
    let job_dir = dir.join("J3");
    std::fs::create_dir_all(&job_dir).unwrap();
    let mut ctx = Ctx::new(&job_dir, dir, &AnyDevice::Cpu, &Solo, &|_| (), &|| false);
    ctx.params = params;
    let input = |kind: Kind, file: &str| Input {
        job: "J2".into(),
        output: Output::new(kind.name(), kind, file, 0),
        path: dir.join(file),
        parts: parts.iter().map(|part| (part.to_string(), dir.join(format!("{part}.mrc")))).collect(),
    };
    ctx.inputs.insert("particles".into(), vec![input(Kind::Particles, "particles.h5")]);
    if volume {
        ctx.inputs.insert("volume".into(), vec![input(Kind::Volume, "half1.mrc")]);
    }
    DiagnoseOrientations.run(&ctx)
}

#[test]
fn views_from_all_sides_are_even_and_from_above_are_not() {
    let dir = tempfile::tempdir().unwrap();
    write_particles(dir.path(), 180.0, true);
    let even = run(dir.path(), false, &[], json!({})).unwrap();
    assert!(even.get("scf").unwrap() > 0.97 && even.get("unsampled_percent") == Some(0.0));
    assert!(even.notes.is_empty() && even.get("cfar").is_none(), "{:?}", even.notes);
    write_particles(dir.path(), 15.0, true);
    let above = run(dir.path(), false, &[], json!({})).unwrap();
    assert!(above.get("unsampled_percent").unwrap() > 60.0, "{:?}", above.numbers);
    assert!(above.notes[0].contains("No view samples"), "{:?}", above.notes);
    // a fourfold axis along z changes nothing for them, octahedral symmetry shows them from six sides
    let octahedral = run(dir.path(), false, &[], json!({"symmetry": "O"})).unwrap();
    // all but directions far from the planes of two axes: those about the threefold axes
    let unsampled = octahedral.get("unsampled_percent").unwrap();
    assert!((20.0..35.0).contains(&unsampled), "{:?}", octahedral.numbers);
}

#[test]
fn a_direction_in_which_halves_differ_is_found() {
    let dir = tempfile::tempdir().unwrap();
    write_particles(dir.path(), 180.0, true);
    write_halves(dir.path(), 40.0);
    let report = run(dir.path(), true, &["half1", "half2"], json!({})).unwrap();
    assert!(report.get("cfar").unwrap() < 0.5, "{:?}", report.numbers);
    // the box's edge over shell 4, and over the last
    assert!(report.get("resolution_worst_A").unwrap() >= 96.0 / 6.0, "{:?}", report.numbers);
    assert_eq!(report.get("resolution_best_A"), Some(96.0 / 16.0));
    let Some(Figure::Directions { counts, .. }) = report.figures.last() else {
        panic!("the last figure should be a map of directions");
    };
    // worst about the poles, on both sides alike
    assert!(counts[0][3] < 0.6 * counts[5][3] && (counts[0][3] - counts[11][15]).abs() < 1e-9);
    write_halves(dir.path(), 0.0);
    let even = run(dir.path(), true, &["half1", "half2"], json!({})).unwrap();
    assert!(even.get("cfar").unwrap() > 0.99 && even.notes.is_empty(), "{:?} {:?}", even.numbers, even.notes);
}

#[test]
fn what_is_missing_is_told() {
    let dir = tempfile::tempdir().unwrap();
    write_particles(dir.path(), 180.0, false);
    let error = run(dir.path(), false, &[], json!({})).unwrap_err().to_string();
    assert!(error.contains("no particle has a pose"), "{error}");
    write_particles(dir.path(), 180.0, true);
    write_halves(dir.path(), 0.0);
    let error = run(dir.path(), true, &["half1"], json!({})).unwrap_err().to_string();
    assert!(error.contains("J2 has no half maps"), "{error}");
}
