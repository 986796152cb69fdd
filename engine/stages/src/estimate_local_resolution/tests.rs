//! Planted resolutions come back, region by region; noise alone has none; unfit inputs are refused.

use super::EstimateLocalResolution;
use super::local_fsc::{Crossings, Pair, bands};
use crate::simulated_maps::{two_sided_ball, white};
use crate::{Ctx, Input, Stage, StageError};
use ndarray::{Array3, Zip};
use serde_json::{Value, json};
use std::path::Path;
use vitreous_compute::comm::{Comm, Solo, Threads};
use vitreous_compute::mask::sphere;
use vitreous_formats::mrc;
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::report::Report;

const BOX: usize = 96;
const PIXEL_A: f64 = 1.5;
/// Radius of the particle, voxels.
const RADIUS: f64 = 36.0;
/// Standard deviation of the noise of a half map; the object's density has 1 before it falls off.
const NOISE: f32 = 0.3;

/// A ball of two halves of these B-factors.
fn object(b_factors_a2: [f64; 2]) -> Array3<f32> {
    two_sided_ball(BOX, PIXEL_A, RADIUS, b_factors_a2)
}

/// Where signal power `exp(-B u²/2)` over noise power `NOISE²` gives `FSC = SSNR / (1 + SSNR)` at the threshold, Å.
fn planned_a(b_factor_a2: f64, threshold: f64) -> f64 {
    let ssnr = threshold / (1.0 - threshold);
    (-2.0 / b_factor_a2 * (ssnr * f64::from(NOISE).powi(2)).ln()).sqrt().recip()
}

fn write_halves(dir: &Path, object: &Array3<f32>, noise: f32) {
    for (role, seed) in [("half1", 3), ("half2", 4)] {
        let map = object + &(white(object.dim().0, seed) * noise);
        mrc::write_volume(&dir.join(format!("{role}.mrc")), &map, PIXEL_A).unwrap();
    }
}

fn run(dir: &Path, params: Value, mask: Option<&str>, comm: &dyn Comm) -> Result<Report, StageError> {
    let job_dir = dir.join("J2");
    std::fs::create_dir_all(&job_dir).unwrap();
    let mut ctx = Ctx::new(&job_dir, dir, &AnyDevice::Cpu, comm, &|_| {}, &|| false);
    ctx.params = params;
    let parts = ["half1", "half2"]
        .into_iter()
        .map(|role| (role.to_string(), dir.join(format!("{role}.mrc"))))
        .filter(|(_, path)| path.exists())
        .collect();
    let output = Output { pixel_size_a: Some(PIXEL_A), ..Output::new("volume", Kind::Volume, "map.mrc", 1) };
    let input = Input { job: "J1".into(), output, path: dir.join("map.mrc"), parts };
    ctx.inputs.insert("volume".into(), vec![input.clone()]);
    if let Some(mask) = mask {
        ctx.inputs.insert("mask".into(), vec![Input { path: dir.join(mask), ..input }]);
    }
    let report = EstimateLocalResolution.run(&ctx)?;
    if comm.rank() == 0 {
        let outputs = ctx.declared_outputs();
        assert_eq!([outputs[0].kind, outputs[1].kind], [Kind::LocalResolution, Kind::Mask]);
    }
    Ok(report)
}

fn local_resolution(dir: &Path) -> Array3<f32> {
    mrc::read_volume(&dir.join("J2/local_resolution.mrc")).unwrap().data
}

fn median(mut values: Vec<f32>) -> f64 {
    values.sort_by(f32::total_cmp);
    f64::from(values[values.len() / 2])
}

/// Median over the whole of each half of the particle, Å.
fn medians(map: &Array3<f32>) -> [f64; 2] {
    [0, 1].map(|side| {
        let values = map.indexed_iter().filter(|(at, value)| **value > 0.0 && at.2 * 2 / BOX == side);
        median(values.map(|(_, &value)| value).collect())
    })
}

#[test]
fn regions_have_their_planted_resolution() {
    let dir = tempfile::tempdir().unwrap();
    mrc::write_volume(&dir.path().join("mask.mrc"), &sphere(BOX, RADIUS, 4.0), PIXEL_A).unwrap();
    for (b_factors_a2, threshold) in
        [([100.0, 300.0], 0.5), ([150.0, 600.0], 0.5), ([200.0, 500.0], 0.143), ([250.0, 250.0], 0.5)]
    {
        write_halves(dir.path(), &object(b_factors_a2), NOISE);
        let report = run(dir.path(), json!({"threshold": threshold}), Some("mask.mrc"), &Solo).unwrap();
        let found = medians(&local_resolution(dir.path()));
        for (found, b_factor_a2) in found.into_iter().zip(b_factors_a2) {
            let planned = planned_a(b_factor_a2, threshold);
            println!("B {b_factor_a2} at {threshold}: {found:.2} Å, planned {planned:.2} Å");
            assert!((found / planned - 1.0).abs() < 0.1, "B {b_factor_a2}: {found} Å, planned {planned} Å");
        }
        let [low, high] =
            [report.get("finest_quarter_A").unwrap(), report.get("coarsest_quarter_A").unwrap()];
        let same = b_factors_a2[0] == b_factors_a2[1];
        println!("quartiles {low:.2} to {high:.2} Å");
        assert_eq!(high / low < 1.2, same, "{low} to {high} Å");
    }
}

#[test]
fn a_window_reaches_no_farther_than_it_is_wide() {
    // one transition, told apart to either side of it
    let dir = tempfile::tempdir().unwrap();
    mrc::write_volume(&dir.path().join("mask.mrc"), &sphere(BOX, RADIUS, 4.0), PIXEL_A).unwrap();
    write_halves(dir.path(), &object([100.0, 600.0]), NOISE);
    run(dir.path(), json!({}), Some("mask.mrc"), &Solo).unwrap();
    let map = local_resolution(dir.path());
    let at = |x: usize| {
        median(map.indexed_iter().filter(|(at, v)| at.2 == x && **v > 0.0).map(|(_, &v)| v).collect())
    };
    let (fine, coarse) = (planned_a(100.0, 0.5), planned_a(600.0, 0.5));
    // four wavelengths of the finer resolution to the left, two of the coarser to the right
    let (left, right) = (4.0 * fine / PIXEL_A, 2.0 * coarse / PIXEL_A);
    let (left, right) = (at(BOX / 2 - left as usize), at(BOX / 2 + right as usize));
    println!("{left:.2} Å for {fine:.2} Å, {right:.2} Å for {coarse:.2} Å");
    assert!((left / fine - 1.0).abs() < 0.1 && (right / coarse - 1.0).abs() < 0.1, "{left} {right}");
}

#[test]
fn the_bank_gives_the_fsc_of_whole_maps_with_a_wide_window() {
    // signal and noise white and of power 1 and 1/3: FSC 0.75 everywhere, in windows of any kind
    let (n, signal) = (48, white(48, 5));
    let halves = [6, 7].map(|seed| &signal + &(white(n, seed) * (1.0f32 / 3.0).sqrt()));
    let mask = Array3::ones((n, n, n));
    let pair = Pair::new(&halves, mask.view());
    for radius in bands(n, 6.0) {
        let local = pair.fsc(radius, 4.0);
        let mean = local.mean().unwrap();
        assert!((mean - 0.75).abs() < 0.03, "radius {radius}: {mean}");
    }
}

#[test]
fn bands_are_evenly_spaced_and_end_within_the_box() {
    let radii = bands(96, 3.6);
    assert!((radii[0] - 3.6).abs() < 1e-9 && (radii[radii.len() - 1] - 43.2).abs() < 1e-9);
    assert!(radii.windows(2).all(|two| two[1] / two[0] > 1.05 && two[1] / two[0] <= 1.125 + 1e-9));
}

#[test]
fn the_first_crossing_counts() {
    let inside = Array3::from_shape_vec((1, 1, 4), vec![true, true, true, false]).unwrap();
    let mut crossings = Crossings::new(0.5, &inside);
    let values = |list: [f32; 4]| Array3::from_shape_vec((1, 1, 4), list.to_vec()).unwrap();
    assert!(crossings.add(4.0, values([0.4, 1.0, 1.0, 0.0])));
    assert!(crossings.add(9.0, values([0.9, 0.0, 0.9, 0.0])));
    assert!(crossings.add(16.0, values([0.9, 0.9, 0.8, 0.0])));
    // half way between 4 and 9 on the logarithm is 6
    let radii = crossings.finish(16.0);
    Zip::from(&radii).and(&values([4.0, 6.0, 16.0, 0.0])).for_each(|found, wanted| {
        assert!((found - wanted).abs() < 1e-5, "{found} {wanted}");
    });
}

#[test]
fn noise_alone_has_no_resolution_and_equal_halves_the_finest() {
    let dir = tempfile::tempdir().unwrap();
    let n = 48;
    mrc::write_volume(&dir.path().join("mask.mrc"), &sphere(n, 15.0, 4.0), PIXEL_A).unwrap();
    write_halves(dir.path(), &Array3::zeros((n, n, n)), 1.0);
    let params = json!({"lowest_resolution": 20.0});
    let report = run(dir.path(), params.clone(), Some("mask.mrc"), &Solo).unwrap();
    assert!((report.get("median_A").unwrap() - 20.0).abs() < 1e-3, "{:?}", report.numbers);
    assert!(report.notes.join(" ").contains("solvent"), "{:?}", report.notes);
    write_halves(dir.path(), &white(n, 8), 0.0);
    let report = run(dir.path(), params, Some("mask.mrc"), &Solo).unwrap();
    // 0.9 of Nyquist's frequency
    assert!((report.get("median_A").unwrap() - 2.0 * PIXEL_A / 0.9).abs() < 1e-3, "{:?}", report.numbers);
    assert!(report.notes.join(" ").contains("may be finer"), "{:?}", report.notes);
}

#[test]
fn three_ranks_measure_what_one_does_and_the_outside_is_zero() {
    let dir = tempfile::tempdir().unwrap();
    let n = 32;
    let mask = sphere(n, 10.0, 3.0);
    mrc::write_volume(&dir.path().join("mask.mrc"), &mask, PIXEL_A).unwrap();
    write_halves(dir.path(), &white(n, 8), 0.5);
    run(dir.path(), json!({}), Some("mask.mrc"), &Solo).unwrap();
    let one = local_resolution(dir.path());
    Zip::from(&one).and(&mask).for_each(|found, mask| assert_eq!(*found > 0.0, *mask >= 0.5));
    Threads::run(3, |comm| {
        run(dir.path(), json!({}), Some("mask.mrc"), comm).unwrap();
    });
    assert_eq!(local_resolution(dir.path()), one);
}

#[test]
fn unfit_inputs_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |mask: Option<&str>| run(dir.path(), json!({}), mask, &Solo).unwrap_err().to_string();
    assert!(refused(None).contains("no part `half1`"));
    write_halves(dir.path(), &white(24, 1), 0.5);
    mrc::write_volume(&dir.path().join("small.mrc"), &Array3::ones((8, 8, 8)), PIXEL_A).unwrap();
    assert!(refused(Some("small.mrc")).contains("found 8 × 8 × 8"));
    mrc::write_volume(&dir.path().join("empty.mrc"), &Array3::zeros((24, 24, 24)), PIXEL_A).unwrap();
    assert!(refused(Some("empty.mrc")).contains("empty.mrc: no voxel of the mask"));
}

#[test]
fn the_readme_has_the_parameters() {
    let table = vitreous_jobs::page::parameter_table(&vitreous_jobs::estimate_local_resolution::JOB);
    assert!(include_str!("README.md").contains(table.trim_end()), "put this into README.md:\n{table}");
}
