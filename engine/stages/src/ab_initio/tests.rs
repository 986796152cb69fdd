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
use vitreous_compute::map_alignment::align;
use vitreous_compute::ops::project::Project;
use vitreous_formats::{mrc, table};
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::particle::{Particle, ParticleSet};
use vitreous_model::report::Report;

const BOX: usize = 32;
const PIXEL_A: f64 = 5.0;

/// An object of two dozen blobs without symmetry, 45 Å around the centre.
fn phantom() -> Array3<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(11);
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

/// Noisy projections of the phantom in random poses, as a project of one job `J1`.
fn write_particles(dir: &Path, count: usize, noise_sd: f32) {
    let slicer = Cpu.slicer(phantom().view(), 2.0, BOX as f64 / 2.0 - 1.0).unwrap();
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let rotations: Vec<_> = (0..count).map(|_| super::batch::random_rotation(&mut random)).collect();
    let mut stack = Array3::<f32>::zeros((count, BOX, BOX));
    for (index, slice) in Cpu.slices(&slicer, &rotations, 15.0).unwrap().into_iter().enumerate() {
        let image = slice.into_box();
        for (out, value) in stack.index_axis_mut(ndarray::Axis(0), index).iter_mut().zip(image.iter()) {
            let noise: f32 = StandardNormal.sample(&mut random);
            *out = value + noise_sd * noise;
        }
    }
    let mut writer =
        mrc::MrcWriter::create(&dir.join("stack.mrcs"), mrc::MrcSpec::images(BOX, BOX, PIXEL_A)).unwrap();
    for image in stack.outer_iter() {
        writer.append(image.as_slice().unwrap()).unwrap();
    }
    writer.finish().unwrap();
    let particles = (0..count).map(|index| Particle {
        id: index as u64,
        stack_path: "stack.mrcs".into(),
        stack_index: index as u32,
        optics_group: 1,
        pick: None,
        ctf: None,
        pose: None,
        half: None,
        class: None,
        log_likelihood: f64::NAN,
    });
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
    let job_dir = dir.join(job);
    std::fs::create_dir_all(&job_dir).unwrap();
    let batches = AtomicUsize::new(0);
    let event = |_| {
        batches.fetch_add(1, Ordering::Relaxed);
    };
    let stop = || batches.load(Ordering::Relaxed) >= stop_after;
    let mut ctx = Ctx::new(&job_dir, dir, &Cpu, comm, &event, &stop);
    ctx.params = params;
    let output = Output::new("particles", Kind::Particles, "particles.h5", 0);
    let input = Input { job: "J1".into(), output, path: dir.join("particles.h5"), parts: Default::default() };
    ctx.inputs.insert("particles".into(), vec![input]);
    AbInitio.run(&ctx)
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

#[test]
fn a_map_comes_from_random_poses() {
    let dir = tempfile::tempdir().unwrap();
    write_particles(dir.path(), 400, 2.0);
    let report = run(dir.path(), "J2", &Solo, params(40), usize::MAX).unwrap();
    let (map, truth) = (read_map(dir.path(), "J2"), phantom());
    let aligned = align(truth.view(), map.view(), true).apply(map.view());
    let curve = fsc(truth.view(), aligned.view());
    // shell 7 of a box of 160 Å is 23 Å
    assert!(curve[1..=7].iter().all(|&c| c > 0.5), "{curve:?}");
    assert_eq!(report.get("converged"), Some(1.0), "{:?}", report.numbers);
}

#[test]
fn ranks_and_interruptions_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    write_particles(dir.path(), 120, 6.0);
    run(dir.path(), "J2", &Solo, params(6), usize::MAX).unwrap();
    let whole = read_map(dir.path(), "J2");
    Threads::run(3, |comm| run(dir.path(), "J3", comm, params(6), usize::MAX).map(|_| ()).unwrap());
    assert_eq!(read_map(dir.path(), "J3"), whole, "three ranks give the same map as one");
    // the phase and two batches, then stop; then go on
    assert!(matches!(run(dir.path(), "J4", &Solo, params(6), 3), Err(StageError::Stopped)));
    run(dir.path(), "J4", &Solo, params(6), usize::MAX).unwrap();
    assert_eq!(read_map(dir.path(), "J4"), whole, "stop and resume give the same map");
}

#[test]
fn bad_input_is_named() {
    let dir = tempfile::tempdir().unwrap();
    write_particles(dir.path(), 10, 1.0);
    let error = run(dir.path(), "J2", &Solo, params(6), usize::MAX).unwrap_err();
    assert!(error.to_string().contains("10 readable particles"), "{error}");
    let mut wide = params(6);
    wide["diameter"] = json!(1000.0);
    let error = run(dir.path(), "J3", &Solo, wide, usize::MAX).unwrap_err();
    assert!(error.to_string().contains("diameter"), "{error}");
}

#[test]
fn the_page_holds_the_parameter_table() {
    let table = vitreous_jobs::page::parameter_table(vitreous_jobs::find("ab-initio").unwrap());
    assert!(include_str!("README.md").contains(&table), "put this into README.md:\n{table}");
}
