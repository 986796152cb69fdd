use super::AbInitio;
use crate::{Ctx, Input, Stage, StageError};
use ndarray::{Array3, ArrayView3};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use serde_json::json;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use vitreous_compute::comm::{Comm, Solo, Threads};
use vitreous_compute::device::Cpu;
use vitreous_compute::fourier::HalfVolume;
use vitreous_compute::map_alignment::rigid::mirrored;
use vitreous_compute::map_alignment::{align, symmetrised};
use vitreous_compute::ops::project::Project;
use vitreous_formats::{mrc, table};
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::particle::{Particle, ParticleSet};
use vitreous_model::report::Report;
use vitreous_model::symmetry::PointGroup;

const BOX: usize = 32;
const PIXEL_A: f64 = 5.0;

/// An object of two dozen blobs without symmetry, 45 Å around the centre; another one for each seed.
fn phantom(seed: u64) -> Array3<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let blobs: Vec<([f64; 3], f64)> = (0..24)
        .map(|_| {
            let direction = super::batch::random_rotation(&mut random).apply([0.0, 0.0, 1.0]);
            let radius = 9.0 * random.random::<f64>().cbrt();
            (direction.map(|c| c * radius), 0.9 + 0.5 * random.random::<f64>())
        })
        .collect();
    Array3::from_shape_fn((BOX, BOX, BOX), |(z, y, x)| {
        let p = [x, y, z].map(|i| i as f64 - (BOX / 2) as f64);
        let value: f64 = blobs
            .iter()
            .map(|(centre, sd)| {
                let d2: f64 = (0..3).map(|i| (p[i] - centre[i]).powi(2)).sum();
                (-0.5 * d2 / (sd * sd)).exp()
            })
            .sum();
        value as f32
    })
}

/// Noisy projections of objects in turn, in random poses, as a project of one job `J1`.
fn write_particles(dir: &Path, objects: &[Array3<f32>], count: usize, noise_sd: f32) -> Array3<f32> {
    let slicers: Vec<_> =
        objects.iter().map(|map| Cpu.slicer(map.view(), 2.0, BOX as f64 / 2.0 - 1.0).unwrap()).collect();
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let rotations: Vec<_> = (0..count).map(|_| super::batch::random_rotation(&mut random)).collect();
    let mut stack = Array3::<f32>::zeros((count, BOX, BOX));
    for (index, rotation) in rotations.iter().enumerate() {
        let slicer = &slicers[index % slicers.len()];
        let image = Cpu.slices(slicer, &[*rotation], 15.0).unwrap().remove(0).into_box();
        for (out, value) in stack.index_axis_mut(ndarray::Axis(0), index).iter_mut().zip(image.iter()) {
            let noise: f32 = StandardNormal.sample(&mut random);
            *out = value + noise_sd * noise;
        }
    }
    write_stack(dir, &stack);
    stack
}

fn write_stack(dir: &Path, stack: &Array3<f32>) {
    let count = stack.dim().0;
    let mut writer =
        mrc::MrcWriter::create(&dir.join("stack.mrcs"), mrc::MrcSpec::images(BOX, BOX, PIXEL_A)).unwrap();
    for image in stack.outer_iter() {
        writer.append(image.as_slice().unwrap()).unwrap();
    }
    writer.finish().unwrap();
    let particles = (0..count).map(|index| Particle::of_image(index as u64, "stack.mrcs", index as u32));
    let set = ParticleSet {
        optics: Vec::new(),
        box_px: BOX as u32,
        pixel_size_a: PIXEL_A,
        particles: particles.collect(),
    };
    table::particles::write(&dir.join("particles.h5"), &set).unwrap();
}

fn run(
    dir: &Path,
    job: &str,
    comm: &dyn Comm,
    params: serde_json::Value,
    stop_after: usize,
) -> Result<Report, StageError> {
    run_and_list(dir, job, comm, params, stop_after).map(|(report, _)| report)
}

/// The report, and the items left out.
fn run_and_list(
    dir: &Path,
    job: &str,
    comm: &dyn Comm,
    params: serde_json::Value,
    stop_after: usize,
) -> Result<(Report, Vec<String>), StageError> {
    let job_dir = dir.join(job);
    std::fs::create_dir_all(&job_dir).unwrap();
    let batches = AtomicUsize::new(0);
    let event = |_| {
        batches.fetch_add(1, Ordering::Relaxed);
    };
    let stop = || batches.load(Ordering::Relaxed) >= stop_after;
    let mut ctx = Ctx::new(&job_dir, dir, &AnyDevice::Cpu, comm, &event, &stop);
    ctx.params = params;
    let output = Output::new("particles", Kind::Particles, "particles.h5", 0);
    let input = Input { job: "J1".into(), output, path: dir.join("particles.h5"), parts: Default::default() };
    ctx.inputs.insert("particles".into(), vec![input]);
    let report = AbInitio.run(&ctx)?;
    Ok((
        report,
        ctx.skipped().into_iter().map(|skipped| format!("{}: {}", skipped.item, skipped.reason)).collect(),
    ))
}

fn params(batches: u32) -> serde_json::Value {
    json!({"diameter": 120.0, "starts": 1, "batches": batches, "initial_resolution": 40.0, "final_resolution": 20.0})
}

fn fsc(a: ArrayView3<'_, f32>, b: ArrayView3<'_, f32>) -> Vec<f64> {
    vitreous_compute::fsc::fsc(&HalfVolume::of_box(a), &HalfVolume::of_box(b))
}

fn read_map(dir: &Path, job: &str) -> Array3<f32> {
    mrc::read_volume(&dir.join(job).join("map.mrc")).unwrap().data
}

/// FSC of a map with the truth, wherever it lies and whichever hand it shows.
fn aligned_fsc(truth: &Array3<f32>, map: &Array3<f32>) -> Vec<f64> {
    let aligned = align(truth.view(), map.view(), true).apply(map.view());
    fsc(truth.view(), aligned.view())
}

#[test]
fn a_map_comes_from_random_poses() {
    let dir = tempfile::tempdir().unwrap();
    write_particles(dir.path(), &[phantom(11)], 400, 2.0);
    let report = run(dir.path(), "J2", &Solo, params(40), usize::MAX).unwrap();
    let map = read_map(dir.path(), "J2");
    let curve = aligned_fsc(&phantom(11), &map);
    // shell 7 of a box of 160 Å is 23 Å
    assert!(curve[1..=7].iter().all(|&c| c > 0.5), "{curve:?}");
    assert_eq!(report.get("converged"), Some(1.0), "{:?}", report.numbers);
    let mut flipped = params(40);
    flipped["flip_hand"] = json!(true);
    // the checkpoints are those of the same run: only the end is done again
    std::fs::create_dir_all(dir.path().join("J3/checkpoint")).unwrap();
    let checkpoint = "checkpoint/start-00.bin";
    std::fs::copy(dir.path().join("J2").join(checkpoint), dir.path().join("J3").join(checkpoint)).unwrap();
    run(dir.path(), "J3", &Solo, flipped, usize::MAX).unwrap();
    assert_eq!(read_map(dir.path(), "J3"), mirrored(map.view()));
}

#[test]
fn noise_does_not_converge() {
    let dir = tempfile::tempdir().unwrap();
    write_particles(dir.path(), &[phantom(11)], 200, 1000.0);
    let report = run(dir.path(), "J2", &Solo, params(20), usize::MAX).unwrap();
    assert_eq!(report.get("converged"), Some(0.0), "{:?}", report.numbers);
    assert!(report.notes[0].contains("has not converged"), "{:?}", report.notes);
}

#[test]
fn two_objects_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let objects = [phantom(11), phantom(23)];
    write_particles(dir.path(), &objects, 600, 1.0);
    let mut two = params(40);
    two["classes"] = json!(2);
    let report = run(dir.path(), "J2", &Solo, two, usize::MAX).unwrap();
    let set = table::particles::read(&dir.path().join("J2/particles.h5")).unwrap();
    let classes: Vec<u32> = set.particles.iter().map(|p| p.class.unwrap().number).collect();
    let first = classes.iter().enumerate().filter(|(i, class)| **class == 1 + (i % 2) as u32).count();
    let together = first.max(classes.len() - first);
    assert!(together >= 570, "{together} of 600 with their kind; {:?}", report.numbers);
    let listed = [1, 2].map(|n| report.get(&format!("class_{n}_particles")).unwrap());
    assert_eq!(listed[0] + listed[1], 600.0);
    assert!(listed[0] >= listed[1], "{listed:?}");
    let maps =
        ["map.mrc", "map_2.mrc"].map(|f| mrc::read_volume(&dir.path().join("J2").join(f)).unwrap().data);
    for object in &objects {
        let best = maps.iter().map(|map| aligned_fsc(object, map)[5]).fold(f64::NEG_INFINITY, f64::max);
        assert!(best > 0.5, "{best}");
    }
}

#[test]
fn symmetry_is_imposed_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    let object = symmetrised(phantom(11).view(), PointGroup::Cyclic(3));
    write_particles(dir.path(), std::slice::from_ref(&object), 400, 0.7);
    for (job, impose) in [("J2", "map"), ("J3", "start")] {
        let mut wanted = params(40);
        wanted["symmetry"] = json!("C3");
        wanted["impose"] = json!(impose);
        let report = run(dir.path(), job, &Solo, wanted, usize::MAX).unwrap();
        let map = read_map(dir.path(), job);
        let turned = symmetrised(map.view(), PointGroup::Cyclic(3));
        let own = fsc(map.view(), turned.view());
        assert!(own[1..=5].iter().all(|&c| c > 0.98), "{impose}: the axis lies along z: {own:?}");
        let curve = aligned_fsc(&object, &map);
        assert!(curve[1..=5].iter().all(|&c| c > 0.5), "{impose}: {curve:?} {:?}", report.numbers);
        assert_eq!(report.get("symmetry_correlation").is_some(), impose == "map");
    }
}

#[test]
fn ranks_and_interruptions_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    write_particles(dir.path(), &[phantom(11)], 120, 6.0);
    let mut params = params(6);
    params["classes"] = json!(2);
    params["starts"] = json!(2);
    run(dir.path(), "J2", &Solo, params.clone(), usize::MAX).unwrap();
    let made = |job: &str| {
        let set = table::particles::read(&dir.path().join(job).join("particles.h5")).unwrap();
        (read_map(dir.path(), job), set.particles.iter().map(|p| p.class.unwrap().number).collect::<Vec<_>>())
    };
    let whole = made("J2");
    for (job, ranks) in [("J3", 2), ("J4", 4)] {
        Threads::run(ranks, |comm| {
            run(dir.path(), job, comm, params.clone(), usize::MAX).map(|_| ()).unwrap()
        });
        assert_eq!(made(job), whole, "{ranks} ranks give the same as one");
    }
    // the phase and a batch or two, then stop; then go on, until the end
    let mut runs = 0;
    while let Err(error) = run(dir.path(), "J5", &Solo, params.clone(), 3) {
        assert!(matches!(error, StageError::Stopped), "{error}");
        runs += 1;
        assert!(runs < 100, "it should get on");
    }
    assert!(runs > 5, "it was stopped in every phase");
    assert_eq!(made("J5"), whole, "stop and resume give the same map");
}

#[test]
fn bad_input_is_named() {
    let dir = tempfile::tempdir().unwrap();
    write_particles(dir.path(), &[phantom(11)], 10, 1.0);
    let error = run(dir.path(), "J2", &Solo, params(6), usize::MAX).unwrap_err();
    assert!(error.to_string().contains("10 readable particles"), "{error}");
    let mut wide = params(6);
    wide["diameter"] = json!(1000.0);
    let error = run(dir.path(), "J3", &Solo, wide, usize::MAX).unwrap_err();
    assert!(error.to_string().contains("diameter"), "{error}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a broken stack cannot be written otherwise")]
fn broken_and_blank_particles_are_left_out_and_listed() {
    let dir = tempfile::tempdir().unwrap();
    let mut stack = write_particles(dir.path(), &[phantom(11)], 60, 1.0);
    stack.index_axis_mut(ndarray::Axis(0), 7).fill(0.0);
    write_stack(dir.path(), &stack);
    // our own writer refuses NaN
    let path = dir.path().join("stack.mrcs");
    let mut bytes = std::fs::read(&path).unwrap();
    let place = 1024 + 4 * ((3 * BOX + 5) * BOX + 5);
    bytes[place..place + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    let (report, left_out) = run_and_list(dir.path(), "J2", &Solo, params(6), usize::MAX).unwrap();
    assert_eq!(report.get("particles_used"), Some(58.0));
    assert_eq!(left_out.len(), 2, "{left_out:?}");
    assert!(left_out[0].starts_with("000004@stack.mrcs"), "{left_out:?}");
    assert!(left_out[1].starts_with("000008@stack.mrcs") && left_out[1].contains("constant"), "{left_out:?}");
    assert!(read_map(dir.path(), "J2").iter().all(|value| value.is_finite()));
}

#[test]
fn the_page_holds_the_parameter_table() {
    let table = vitreous_jobs::page::parameter_table(vitreous_jobs::find("ab-initio").unwrap());
    assert!(include_str!("README.md").contains(&table), "put this into README.md:\n{table}");
}
