//! Random placements come back, of either hand; images go with the map; other grids; unfit inputs.

use super::AlignMaps;
use crate::simulated_maps::Blobs;
use crate::{Ctx, Input, Stage, StageError};
use ndarray::Array3;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use std::path::Path;
use vitreous_compute::comm::{Comm, Solo, Threads};
use vitreous_compute::device::Cpu;
use vitreous_compute::map_alignment::rigid::mirrored;
use vitreous_compute::ops::project::Project;
use vitreous_formats::{mrc, table};
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::particle::{Particle, ParticleSet};
use vitreous_model::pose::{Pose, Rotation};
use vitreous_model::report::Report;

const BOX: usize = 48;
const VOXEL_A: f64 = 2.0;
/// Edge of the box, Å.
const EDGE_A: f64 = BOX as f64 * VOXEL_A;

/// Nine blobs (σ 3.8 Å) at places that no rotation takes to their mirror image.
fn nine() -> Blobs {
    Blobs::in_cube(9, 0.275 * EDGE_A, 3.8, 3)
}

/// A blob at p of the reference lies at `R p + t` here, Å. On `n` voxels of `voxel_a`.
fn blobs(n: usize, voxel_a: f64, rotation: Rotation, shift_a: [f64; 3]) -> Array3<f32> {
    nine().placed(n, voxel_a, rotation, shift_a)
}

fn reference() -> Array3<f32> {
    nine().on_grid(BOX, VOXEL_A)
}

/// A uniform rotation and a shift of up to 5 Å along each axis.
fn random_placement(random: &mut ChaCha8Rng) -> (Rotation, [f64; 3]) {
    let [w, x, y, z]: [f64; 4] = [0; 4].map(|_| random.sample(rand_distr::StandardNormal));
    (Rotation::new(w, x, y, z), [0; 3].map(|_| random.random_range(-5.0..5.0)))
}

fn write(dir: &Path, name: &str, map: &Array3<f32>, voxel_a: f64) {
    mrc::write_volume(&dir.join(name), map, voxel_a).unwrap();
}

/// Lays `map.mrc` (with `half1.mrc`, if it is there) on `reference.mrc`, and takes `particles.h5` along if it is there.
fn run_on(dir: &Path, params: Value, comm: &dyn Comm) -> Result<(Report, Vec<Output>), StageError> {
    let job_dir = dir.join("J2");
    std::fs::create_dir_all(&job_dir).unwrap();
    let mut ctx = Ctx::new(&job_dir, dir, &AnyDevice::Cpu, comm, &|_| {}, &|| false);
    ctx.params = params;
    for (slot, kind, file) in [
        ("volume", Kind::Volume, "map.mrc"),
        ("reference", Kind::Volume, "reference.mrc"),
        ("particles", Kind::Particles, "particles.h5"),
    ] {
        let half = dir.join("half1.mrc");
        let parts = (slot == "volume" && half.exists()).then(|| ("half1".to_string(), half));
        let (output, path) = (Output::new(slot, kind, file, 1), dir.join(file));
        if path.exists() {
            let input = Input { job: "J1".into(), output, path, parts: parts.into_iter().collect() };
            ctx.inputs.insert(slot.into(), vec![input]);
        }
    }
    let report = AlignMaps.run(&ctx)?;
    Ok((report, ctx.declared_outputs()))
}

fn run(dir: &Path, params: Value) -> Report {
    run_on(dir, params, &Solo).unwrap().0
}

fn moved(dir: &Path) -> Array3<f32> {
    mrc::read_volume(&dir.join("J2/map.mrc")).unwrap().data
}

/// The rotation and the shift (Å) of a report.
fn placement(report: &Report) -> (Rotation, [f64; 3]) {
    let number = |key: &str| report.get(key).unwrap();
    let rotation = Rotation::from_euler_zyz_deg(number("rot_deg"), number("tilt_deg"), number("psi_deg"));
    (rotation, ["x", "y", "z"].map(|axis| number(&format!("shift_{axis}_A"))))
}

/// Largest difference over the largest value.
fn difference(a: &Array3<f32>, b: &Array3<f32>) -> f32 {
    let largest = a.iter().fold(0f32, |most, v| most.max(v.abs()));
    a.iter().zip(b).fold(0f32, |most, (a, b)| most.max((a - b).abs())) / largest
}

#[test]
fn random_placements_are_found() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "reference.mrc", &reference(), VOXEL_A);
    let mut random = ChaCha8Rng::seed_from_u64(11);
    let (mut worst_deg, mut worst_a) = (0f64, 0f64);
    for trial in 0..8 {
        let (rotation, shift_a) = random_placement(&mut random);
        let mut map = blobs(BOX, VOXEL_A, rotation, shift_a);
        let noise = 0.1 * f32::from(u8::from(trial % 2 == 1));
        map.mapv_inplace(|v| v + noise * random.sample::<f32, _>(rand_distr::StandardNormal));
        write(dir.path(), "map.mrc", &map, VOXEL_A);
        // interpolation weakens noise between voxels, and a search in raw noise is drawn there
        let report = run(dir.path(), json!({"low_pass": if noise > 0.0 { 8.0 } else { 0.0 }}));
        let (found, found_a) = placement(&report);
        let off_deg = found.angle_to_rad(rotation).to_degrees();
        let off_a = (0..3).map(|a| (found_a[a] - shift_a[a]).powi(2)).sum::<f64>().sqrt();
        (worst_deg, worst_a) = (worst_deg.max(off_deg), worst_a.max(off_a));
        assert!(off_deg < 0.3 && off_a < 0.1 * VOXEL_A, "trial {trial}: {off_deg}°, {off_a} Å");
        assert_eq!(report.get("mirrored"), Some(0.0));
        if noise == 0.0 {
            let off = difference(&reference(), &moved(dir.path()));
            assert!(off < 0.03, "trial {trial}: {off}");
            assert!(report.get("fsc05_A").unwrap() < 8.0 && report.get("fsc05_before_A").unwrap() > 12.0);
        }
    }
    println!("worst of 8: {worst_deg:.3}°, {worst_a:.3} Å");
}

#[test]
fn the_hand_is_found_when_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "reference.mrc", &reference(), VOXEL_A);
    let mut random = ChaCha8Rng::seed_from_u64(12);
    for _ in 0..3 {
        let (rotation, shift_a) = random_placement(&mut random);
        let map = mirrored(blobs(BOX, VOXEL_A, rotation, shift_a).view());
        write(dir.path(), "map.mrc", &map, VOXEL_A);
        let report = run(dir.path(), json!({"both_hands": true}));
        assert_eq!(report.get("mirrored"), Some(1.0));
        assert!(placement(&report).0.angle_to_rad(rotation).to_degrees() < 0.3);
        assert!(difference(&reference(), &moved(dir.path())) < 0.03);
        assert!(report.notes.iter().any(|note| note.contains("other hand")), "{:?}", report.notes);
        let one_hand = run(dir.path(), json!({}));
        assert!(one_hand.get("correlation").unwrap() < report.get("correlation").unwrap() - 0.1);
    }
}

#[test]
fn images_go_with_the_map() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "reference.mrc", &reference(), VOXEL_A);
    let mut random = ChaCha8Rng::seed_from_u64(13);
    for is_mirrored in [false, true] {
        let (rotation, shift_a) = random_placement(&mut random);
        let map = blobs(BOX, VOXEL_A, rotation, shift_a);
        let map = if is_mirrored { mirrored(map.view()) } else { map };
        write(dir.path(), "map.mrc", &map, VOXEL_A);
        let mut particles: Vec<Particle> = (0..6)
            .map(|id| {
                let (rotation, [x, y, _]) = random_placement(&mut random);
                let pose = Some(Pose { rotation, shift_a: [x, y] });
                Particle { pose, ..Particle::of_image(id, "stack.mrcs", id as u32) }
            })
            .collect();
        particles.push(Particle::of_image(6, "stack.mrcs", 6));
        let set = ParticleSet { optics: Vec::new(), box_px: BOX as u32, pixel_size_a: VOXEL_A, particles };
        table::particles::write(&dir.path().join("particles.h5"), &set).unwrap();
        let report = run(dir.path(), json!({"both_hands": true}));
        assert_eq!(
            (report.get("mirrored"), report.get("poses")),
            (Some(f64::from(u8::from(is_mirrored))), Some(6.0))
        );
        let after = table::particles::read(&dir.path().join("J2/particles.h5")).unwrap();
        assert_eq!(after.particles[6].pose, None);
        let image = |map: &Array3<f32>, pose: Pose| {
            let slicer = Cpu.slicer(map.view(), 2.0, 23.0).unwrap();
            let mut slice = Cpu.slices(&slicer, &[pose.rotation], 20.0).unwrap().remove(0);
            slice.shift(pose.shift_a[0] / VOXEL_A, pose.shift_a[1] / VOXEL_A);
            slice.into_box()
        };
        let moved = moved(dir.path());
        let mut worst = 0f32;
        for (before, after) in set.particles.iter().zip(&after.particles).take(6) {
            let (own, new) = (before.pose.unwrap(), after.pose.unwrap());
            let [expected, found, unturned] =
                [(&map, own), (&moved, new), (&moved, own)].map(|(m, p)| image(m, p));
            let largest = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
            let off = |image: &ndarray::Array2<f32>| {
                expected.iter().zip(image).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / largest
            };
            worst = worst.max(off(&found));
            // a tenth of a degree at 25 Å is 0.04 Å, on slopes of up to 0.16 an Å for each blob a ray meets
            assert!(off(&found) < 0.04, "{}", off(&found));
            assert!(off(&unturned) > 0.1, "the test can fail: {}", off(&unturned));
        }
        println!("mirrored {is_mirrored}: images differ by {worst:.4} of their largest value");
    }
}

#[test]
fn a_map_on_another_grid_is_brought_into_the_references() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "reference.mrc", &reference(), VOXEL_A);
    let rotation = Rotation::from_euler_zyz_deg(20.0, 65.0, -140.0);
    let map = blobs(64, 1.6, rotation, [2.0, -1.0, 3.0]);
    write(dir.path(), "map.mrc", &map, 1.6);
    write(dir.path(), "half1.mrc", &(&map * 0.5), 1.6);
    let (report, outputs) = run_on(dir.path(), json!({"low_pass": 6.0}), &Solo).unwrap();
    assert!(placement(&report).0.angle_to_rad(rotation).to_degrees() < 0.3);
    assert_eq!((outputs[0].box_px, outputs[0].pixel_size_a), (Some(BOX as u32), Some(VOXEL_A)));
    assert!(difference(&reference(), &moved(dir.path())) < 0.03);
    let half = mrc::read_volume(&dir.path().join("J2").join(&outputs[0].parts["half1"])).unwrap().data;
    assert!(difference(&(half * 2.0), &moved(dir.path())) < 1e-3);
    assert!(report.notes.iter().any(|note| note.contains("64 voxels of 1.6")), "{:?}", report.notes);
}

#[test]
fn three_ranks_move_the_map_as_one_does() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "reference.mrc", &reference(), VOXEL_A);
    write(
        dir.path(),
        "map.mrc",
        &blobs(BOX, VOXEL_A, Rotation::from_euler_zyz_deg(9.0, 8.0, 7.0), [1.0; 3]),
        VOXEL_A,
    );
    run(dir.path(), json!({}));
    let one = moved(dir.path());
    Threads::run(3, |comm| {
        run_on(dir.path(), json!({}), comm).unwrap();
    });
    assert_eq!(moved(dir.path()), one);
}

#[test]
fn unfit_maps_are_refused_and_unlike_ones_remarked_upon() {
    let dir = tempfile::tempdir().unwrap();
    let refused = || run_on(dir.path(), json!({}), &Solo).unwrap_err().to_string();
    write(dir.path(), "reference.mrc", &Array3::ones((24, 24, 24)), VOXEL_A);
    write(dir.path(), "map.mrc", &Array3::ones((24, 24, 26)), VOXEL_A);
    assert!(refused().contains("found 26 × 24 × 24"));
    let mut random = ChaCha8Rng::seed_from_u64(14);
    let mut noise =
        || Array3::from_shape_simple_fn((24, 24, 24), || random.sample::<f32, _>(rand_distr::StandardNormal));
    write(dir.path(), "map.mrc", &noise(), VOXEL_A);
    assert!(refused().contains("reference.mrc: every voxel is 1"));
    write(dir.path(), "reference.mrc", &noise(), VOXEL_A);
    let report = run(dir.path(), json!({}));
    assert!(report.notes.iter().any(|note| note.contains("only")), "{:?}", report.notes);
}

#[test]
fn the_readme_has_the_parameters() {
    let table = vitreous_jobs::page::parameter_table(&vitreous_jobs::align_maps::JOB);
    assert!(include_str!("README.md").contains(table.trim_end()), "put this into README.md:\n{table}");
}
