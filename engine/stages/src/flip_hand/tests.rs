//! A flipped map with flipped poses gives the same images; flipping twice changes nothing.

use super::FlipHand;
use crate::{Ctx, Input, Stage};
use ndarray::Array3;
use serde_json::json;
use std::path::Path;
use vitreous_compute::comm::Solo;
use vitreous_compute::device::Cpu;
use vitreous_compute::ops::project::Project;
use vitreous_formats::{mrc, table};
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::particle::{Particle, ParticleSet};
use vitreous_model::pose::{Pose, Rotation};

const BOX: usize = 32;

/// Three blobs that no rotation takes to their mirror image.
fn map() -> Array3<f32> {
    Array3::from_shape_fn((BOX, BOX, BOX), |(z, y, x)| {
        let p = [x, y, z].map(|i| i as f64 - 16.0);
        let blob = |c: [f64; 3], height: f64| {
            let r2: f64 = p.iter().zip(c).map(|(a, b)| (a - b).powi(2)).sum();
            height * (-r2 / 6.0).exp()
        };
        (blob([6.0, 0.0, 0.0], 1.0) + blob([0.0, 5.0, 1.0], 2.0) + blob([-2.0, 1.0, 4.0], 3.0)) as f32
    })
}

fn set() -> ParticleSet {
    let pose = Pose { rotation: Rotation::from_euler_zyz_deg(35.0, 70.0, -20.0), shift_a: [1.5, -2.0] };
    let particle =
        |id: u64, pose: Option<Pose>| Particle { pose, ..Particle::of_image(id, "stack.mrcs", id as u32) };
    let particles = vec![particle(0, Some(pose)), particle(1, None)];
    ParticleSet { optics: Vec::new(), box_px: BOX as u32, pixel_size_a: 2.0, particles }
}

/// Flips `volume` (with one half map) and `particles` of `dir` as job `job`.
fn flip(dir: &Path, from: &Path, job: &str) -> Vec<Output> {
    let job_dir = dir.join(job);
    std::fs::create_dir_all(&job_dir).unwrap();
    let mut ctx = Ctx::new(&job_dir, dir, &AnyDevice::Cpu, &Solo, &|_| {}, &|| false);
    ctx.params = json!({});
    let input = |slot: &str, kind: Kind, file: &str| Input {
        job: "J1".into(),
        output: Output::new(slot, kind, file, 1),
        path: from.join(file),
        parts: Default::default(),
    };
    let mut volume = input("volume", Kind::Volume, "map.mrc");
    volume.parts.insert("half1".into(), from.join("map_half1.mrc"));
    ctx.inputs.insert("volume".into(), vec![volume]);
    ctx.inputs.insert("particles".into(), vec![input("particles", Kind::Particles, "particles.h5")]);
    let report = FlipHand.run(&ctx).unwrap();
    assert_eq!((report.get("maps"), report.get("poses")), (Some(2.0), Some(1.0)));
    ctx.declared_outputs()
}

#[test]
fn the_mirror_image_gives_the_same_images() {
    let dir = tempfile::tempdir().unwrap();
    mrc::write_volume(&dir.path().join("map.mrc"), &map(), 2.0).unwrap();
    mrc::write_volume(&dir.path().join("map_half1.mrc"), &map(), 2.0).unwrap();
    table::particles::write(&dir.path().join("particles.h5"), &set()).unwrap();
    let outputs = flip(dir.path(), dir.path(), "J2");
    assert_eq!(outputs[0].parts["half1"], "map_half1.mrc");
    let flipped = mrc::read_volume(&dir.path().join("J2/map.mrc")).unwrap().data;
    assert_ne!(flipped, map());
    assert_eq!(mrc::read_volume(&dir.path().join("J2/map_half1.mrc")).unwrap().data, flipped);
    let poses = table::particles::read(&dir.path().join("J2/particles.h5")).unwrap();
    let (before, after) = (set().particles[0].pose.unwrap(), poses.particles[0].pose.unwrap());
    assert_eq!((after.shift_a, poses.particles[1].pose), (before.shift_a, None));
    let image = |map: &Array3<f32>, rotation: Rotation| {
        let slicer = Cpu.slicer(map.view(), 2.0, 15.0).unwrap();
        Cpu.slices(&slicer, &[rotation], 14.0).unwrap().remove(0).into_box()
    };
    let (expected, found) = (image(&map(), before.rotation), image(&flipped, after.rotation));
    let largest = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
    let difference = expected.iter().zip(&found).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(difference < 1e-4 * largest, "{difference} of {largest}");
    // with the poses as they were the images differ: the test can fail
    let unturned = image(&flipped, before.rotation);
    let difference = expected.iter().zip(&unturned).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(difference > 0.1 * largest, "{difference} of {largest}");
    flip(dir.path(), &dir.path().join("J2"), "J3");
    assert_eq!(mrc::read_volume(&dir.path().join("J3/map.mrc")).unwrap().data, map());
    let twice = table::particles::read(&dir.path().join("J3/particles.h5")).unwrap();
    assert!(twice.particles[0].pose.unwrap().rotation.angle_to_rad(before.rotation) < 1e-6);
}

#[test]
fn the_page_holds_the_parameter_table() {
    let table = vitreous_jobs::page::parameter_table(vitreous_jobs::find("flip-hand").unwrap());
    assert!(include_str!("README.md").contains(&table), "put this into README.md:\n{table}");
}
