//! Grids and what moves with them; planted errors of the pixel size come back; unfit inputs.

use super::ResampleVolume;
use crate::simulated_maps::Blobs;
use crate::{Ctx, Input, Stage, StageError};
use ndarray::Array3;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use std::path::Path;
use vitreous_compute::comm::{Comm, Solo, Threads};
use vitreous_formats::mrc;
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::pose::Rotation;
use vitreous_model::report::Report;

/// Twenty blobs of standard deviation `width_a` within 40 Å of the centre.
fn twenty(width_a: f64) -> Blobs {
    Blobs::in_cube(20, 23.0, width_a, 5)
}

fn plain(n: usize, voxel_a: f64) -> Array3<f32> {
    twenty(3.5).on_grid(n, voxel_a)
}

fn write(dir: &Path, name: &str, map: &Array3<f32>, voxel_a: f64) {
    mrc::write_volume(&dir.join(name), map, voxel_a).unwrap();
}

/// Resamples `map.mrc` with `half1.mrc` and `mask.mrc`, if these are there, by `reference.mrc`, if it is.
fn run_on(dir: &Path, params: Value, comm: &dyn Comm) -> Result<(Report, Vec<Output>), StageError> {
    let job_dir = dir.join("J2");
    std::fs::create_dir_all(&job_dir).unwrap();
    let mut ctx = Ctx::new(&job_dir, dir, &AnyDevice::Cpu, comm, &|_| {}, &|| false);
    ctx.params = params;
    for (slot, file) in [("volume", "map.mrc"), ("reference", "reference.mrc")] {
        let part = |role: &str| (role.to_string(), dir.join(format!("{role}.mrc")));
        let parts = ["half1", "mask"].map(part).into_iter().filter(|(_, path)| path.exists()).collect();
        let (output, path) = (Output::new(slot, Kind::Volume, file, 1), dir.join(file));
        if path.exists() {
            ctx.inputs.insert(slot.into(), vec![Input { job: "J1".into(), output, path, parts }]);
        }
    }
    let report = ResampleVolume.run(&ctx)?;
    Ok((report, ctx.declared_outputs()))
}

fn made(dir: &Path, file: &str) -> Array3<f32> {
    mrc::read_volume(&dir.join("J2").join(file)).unwrap().data
}

fn worst(a: &Array3<f32>, b: &Array3<f32>) -> f32 {
    assert_eq!(a.dim(), b.dim());
    a.iter().zip(b).fold(0f32, |most, (a, b)| most.max((a - b).abs()))
}

#[test]
fn maps_and_their_parts_come_in_the_new_grid() {
    let dir = tempfile::tempdir().unwrap();
    let map = plain(48, 2.0);
    write(dir.path(), "map.mrc", &map, 2.0);
    write(dir.path(), "half1.mrc", &(&map * 0.5), 2.0);
    write(dir.path(), "mask.mrc", &vitreous_compute::mask::sphere(48, 18.0, 0.0), 2.0);
    for (params, n, voxel_a) in [
        (json!({"pixel_size": 1.5}), 64, 1.5),
        (json!({"pixel_size": 2.3, "box_size": 45}), 45, 2.3),
        (json!({"box_size": 60}), 60, 2.0),
    ] {
        let (report, outputs) = run_on(dir.path(), params, &Solo).unwrap();
        assert_eq!((outputs[0].box_px, outputs[0].pixel_size_a), (Some(n as u32), Some(voxel_a)));
        assert_eq!((report.get("box_px"), report.get("old_box_px")), (Some(n as f64), Some(48.0)));
        let whole = made(dir.path(), "map.mrc");
        // blobs of 3.5 Å hold 2e-3 of their amplitude at 4.6 Å, the coarsest Nyquist limit here
        let off = worst(&whole, &plain(n, voxel_a));
        assert!(off < 2e-3, "{n} voxels of {voxel_a} Å: {off}");
        assert!(worst(&(made(dir.path(), &outputs[0].parts["half1"]) * 2.0), &whole) < 1e-5);
        let mask = made(dir.path(), &outputs[0].parts["mask"]);
        assert!(mask.iter().all(|v| (0.0..=1.0).contains(v)) && mask[[n / 2, n / 2, n / 2]] > 0.9);
        assert!(report.notes.is_empty(), "{:?}", report.notes);
    }
    let (report, _) = run_on(dir.path(), json!({"box_size": 16}), &Solo).unwrap();
    assert!(report.notes.join(" ").contains("cut the particle off"), "{:?}", report.notes);
}

#[test]
fn a_planted_error_of_the_pixel_size_is_found_within_a_thousandth() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = ChaCha8Rng::seed_from_u64(6);
    write(dir.path(), "reference.mrc", &plain(64, 1.6), 1.6);
    let mut largest = 0f64;
    // true over stated; width of the map's blobs (the reference has 3.5 Å); noise, which at 0.02 alone makes an error of 0.02 %:
    // noise / (|x · grad f| / |f| · |f|), 5 and 26 here
    for (factor, width_a, noise) in
        [(1.01, 3.5, 0.0), (0.99, 3.5, 0.02), (1.02, 4.5, 0.02), (1.0, 4.5, 0.0), (1.033, 3.0, 0.02)]
    {
        let rotation = Rotation::from_rotation_vector([0, 1, 2].map(|_| random.random_range(-1.5..1.5)));
        let shift_a = [0, 1, 2].map(|_| random.random_range(-3.0..3.0));
        let mut map = twenty(width_a).placed(56, 1.9, rotation, shift_a);
        map.mapv_inplace(|v| v + noise * random.sample::<f32, _>(rand_distr::StandardNormal));
        write(dir.path(), "map.mrc", &map, 1.9 / factor);
        let (report, outputs) = run_on(dir.path(), json!({}), &Solo).unwrap();
        let found = report.get("calibrated_A").unwrap();
        let off = found / 1.9 - 1.0;
        let error = report.get("calibrated_error_A").unwrap() / 1.9;
        println!(
            "planted {:+.1} %, σ {width_a} Å, noise {noise}: off by {:+.4} %, said to be good to {:.4} %",
            100.0 * (factor - 1.0),
            100.0 * off,
            100.0 * error
        );
        largest = largest.max(off.abs());
        // the error told is of the size of the true one; interpolation adds up to a hundredth of a percent
        assert!(error > 1e-6 && error < 1e-3 && off.abs() < 3.0 * error + 2e-4, "{off}, told {error}");
        // voxels stay, their size is restated
        assert_eq!((outputs[0].box_px, outputs[0].pixel_size_a), (Some(56), Some(found)));
        assert!(worst(&made(dir.path(), "map.mrc"), &map) == 0.0);
        assert!(report.get("correlation").unwrap() > 0.5);
    }
    println!("largest error {:.4} %", 100.0 * largest);
    assert!(largest < 1e-3, "off by up to {largest}");
}

#[test]
fn a_calibrated_map_can_be_resampled_at_once() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "reference.mrc", &plain(64, 1.6), 1.6);
    write(dir.path(), "map.mrc", &plain(56, 1.9), 1.9 / 1.01);
    run_on(dir.path(), json!({"pixel_size": 1.6, "box_size": 64}), &Solo).unwrap();
    // half a thousandth at 35 Å is 0.02 Å, on slopes of up to 0.2 a Å
    assert!(worst(&made(dir.path(), "map.mrc"), &plain(64, 1.6)) < 0.01);
}

#[test]
fn unfit_inputs_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |params: Value| run_on(dir.path(), params, &Solo).unwrap_err().to_string();
    write(dir.path(), "map.mrc", &plain(24, 4.0), 4.0);
    assert!(refused(json!({})).contains("box_size"));
    // 15 % off, looked for within 5 %
    write(dir.path(), "reference.mrc", &plain(48, 2.0), 2.0);
    write(dir.path(), "map.mrc", &plain(48, 2.0), 2.0 / 1.15);
    assert!(refused(json!({})).contains("at the end of the scan of 5 %"));
    write(dir.path(), "map.mrc", &Array3::ones((24, 24, 26)), 4.0);
    assert!(refused(json!({"box_size": 32})).contains("found 26 × 24 × 24"));
}

#[test]
fn three_ranks_resample_as_one_does() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "map.mrc", &plain(24, 4.0), 4.0);
    run_on(dir.path(), json!({"pixel_size": 3.0}), &Solo).unwrap();
    let one = made(dir.path(), "map.mrc");
    Threads::run(3, |comm| {
        run_on(dir.path(), json!({"pixel_size": 3.0}), comm).unwrap();
    });
    assert_eq!(made(dir.path(), "map.mrc"), one);
}

#[test]
fn the_readme_has_the_parameters() {
    let table = vitreous_jobs::page::parameter_table(&vitreous_jobs::resample_volume::JOB);
    assert!(include_str!("README.md").contains(table.trim_end()), "put this into README.md:\n{table}");
}
