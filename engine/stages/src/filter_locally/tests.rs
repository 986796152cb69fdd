//! The filtered map is nearer to the truth than any that is filtered everywhere alike; the bank itself; unfit inputs.

use super::FilterLocally;
use super::bank::{completed, filtered, levels};
use crate::estimate_local_resolution::EstimateLocalResolution;
use crate::simulated_maps::{falling, two_sided_ball, white};
use crate::{Ctx, Input, Stage, StageError};
use ndarray::Array3;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::path::Path;
use vitreous_compute::comm::Solo;
use vitreous_compute::mask::sphere;
use vitreous_compute::sharpen::low_passed;
use vitreous_formats::mrc;
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::report::Report;

const BOX: usize = 96;
const PIXEL_A: f64 = 1.5;
const RADIUS: f64 = 36.0;

/// A ball whose two halves fall off by different B-factors, Å².
fn object(b_factors_a2: [f64; 2]) -> Array3<f32> {
    two_sided_ball(BOX, PIXEL_A, RADIUS, b_factors_a2)
}

fn input(dir: &Path, slot: &str, kind: Kind, file: &str) -> Input {
    let output = Output { pixel_size_a: Some(PIXEL_A), ..Output::new(slot, kind, file, 1) };
    let parts = ["half1", "half2"].map(|role| (role.to_string(), dir.join(format!("{role}.mrc"))));
    Input { job: "J1".into(), output, path: dir.join(file), parts: parts.into_iter().collect() }
}

fn run(dir: &Path, stage: &dyn Stage, params: Value, inputs: Vec<Input>) -> Result<Report, StageError> {
    let job_dir = dir.join(stage.name());
    std::fs::create_dir_all(&job_dir).unwrap();
    let mut ctx = Ctx::new(&job_dir, dir, &AnyDevice::Cpu, &Solo, &|_| {}, &|| false);
    ctx.params = params;
    ctx.inputs.extend(inputs.into_iter().map(|input| (input.output.slot.clone(), vec![input])));
    stage.run(&ctx)
}

/// Filters `map.mrc` by `local.mrc` of `dir`.
fn filter(dir: &Path, params: Value) -> Result<(Report, Array3<f32>), StageError> {
    let inputs = vec![
        input(dir, "volume", Kind::Volume, "map.mrc"),
        input(dir, "local-resolution", Kind::LocalResolution, "local.mrc"),
    ];
    let report = run(dir, &FilterLocally, params, inputs)?;
    Ok((report, mrc::read_volume(&dir.join("filter-locally/map.mrc")).unwrap().data))
}

#[test]
fn the_filtered_map_is_nearer_to_the_truth_than_any_filtered_alike_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    let mask = sphere(BOX, RADIUS, 4.0);
    let write =
        |name: &str, map: &Array3<f32>| mrc::write_volume(&dir.path().join(name), map, PIXEL_A).unwrap();
    write("mask.mrc", &mask);
    for b_factors_a2 in [[100.0, 300.0], [80.0, 800.0]] {
        let truth = object(b_factors_a2);
        let halves = [3, 4].map(|seed| &truth + &(white(BOX, seed) * 0.3));
        let mean = (&halves[0] + &halves[1]) * 0.5;
        write("half1.mrc", &halves[0]);
        write("half2.mrc", &halves[1]);
        write("map.mrc", &mean);
        let inputs = vec![
            input(dir.path(), "volume", Kind::Volume, "map.mrc"),
            input(dir.path(), "mask", Kind::Mask, "mask.mrc"),
        ];
        run(dir.path(), &EstimateLocalResolution, json!({}), inputs).unwrap();
        let made = dir.path().join("estimate-local-resolution/local_resolution.mrc");
        std::fs::copy(made, dir.path().join("local.mrc")).unwrap();
        let (_, local) = filter(dir.path(), json!({})).unwrap();
        let error = |map: &Array3<f32>| {
            let off: f32 = ((map - &truth) * &mask).iter().map(|v| v * v).sum();
            let all: f32 = (&truth * &mask).iter().map(|v| v * v).sum();
            (off / all).sqrt()
        };
        // every global filter with the same relative edge, from 3.2 to 16 Å
        let global = (0..18).map(|step| {
            let resolution_a = 3.2 * 1.1f64.powi(step);
            let shells = 0.3 * BOX as f64 * PIXEL_A / resolution_a;
            (error(&low_passed(mean.view(), PIXEL_A, resolution_a, shells)), resolution_a)
        });
        let (best, at_a) = global.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
        let (local, raw) = (error(&local), error(&mean));
        println!(
            "B {b_factors_a2:?}: error {raw:.3} unfiltered, {best:.3} filtered at {at_a:.1} Å, {local:.3} locally"
        );
        assert!(local < 0.97 * best && best < raw, "{local} {best} {raw}");
    }
}

#[test]
fn one_resolution_everywhere_is_a_plain_low_pass() {
    let map = falling(BOX, PIXEL_A, 50.0, 7);
    let resolution = Array3::from_elem(map.dim(), 8.0);
    let found =
        filtered(map.view(), resolution.view(), PIXEL_A, &levels(6.0, 12.0), |_| Ok::<_, Infallible>(()));
    let shells = |a: f64| 0.3 * BOX as f64 * PIXEL_A / a;
    let wanted = low_passed(map.view(), PIXEL_A, 8.0, shells(8.0));
    let power = |map: &Array3<f32>| map.iter().map(|v| v * v).sum::<f32>();
    let off = power(&(found.unwrap() - &wanted)) / power(&wanted);
    // between two levels 10 % apart
    assert!(off < 1e-3, "{off}");
    // and not that of another resolution
    let other = power(&(low_passed(map.view(), PIXEL_A, 9.0, shells(9.0)) - &wanted)) / power(&wanted);
    assert!(other > 10.0 * off.max(1e-4), "{other} {off}");
}

#[test]
fn levels_hold_the_range_and_shares_make_one() {
    let list = levels(3.0, 12.0);
    assert!((list[0] - 3.0).abs() < 1e-9 && (list[list.len() - 1] - 12.0).abs() < 1e-9);
    assert!(list.windows(2).all(|two| two[1] / two[0] <= 1.1 + 1e-9));
    assert_eq!(levels(5.0, 5.0), [5.0]);
    // a constant map comes back whatever the resolution: the weights of the filters sum to one
    let map = Array3::from_elem((16, 16, 16), 2.0f32);
    let resolution = Array3::from_shape_fn((16, 16, 16), |(z, y, x)| 2.0 + (z + 2 * y + 3 * x) as f32 * 0.2);
    let found = filtered(map.view(), resolution.view(), 1.0, &list, |_| Ok::<_, Infallible>(())).unwrap();
    assert!(found.iter().all(|v| (v - 2.0).abs() < 1e-5));
}

#[test]
fn gaps_are_filled_and_scales_apply() {
    let mut map = Array3::zeros((16, 16, 16));
    map[[8, 8, 8]] = 4.0;
    let whole = completed(map.view(), 10.0, 0.0);
    assert!((whole[[8, 8, 8]] - 4.0).abs() < 1e-5 && (whole[[0, 0, 0]] - 10.0).abs() < 1e-5);
    let smooth = completed(map.view(), 10.0, 1.0);
    assert!(smooth[[8, 8, 8]] > 8.0 && (smooth[[0, 0, 0]] - 10.0).abs() < 1e-3);
    let dir = tempfile::tempdir().unwrap();
    mrc::write_volume(&dir.path().join("map.mrc"), &Array3::ones((16, 16, 16)), PIXEL_A).unwrap();
    mrc::write_volume(&dir.path().join("local.mrc"), &map, PIXEL_A).unwrap();
    let (report, _) = filter(dir.path(), json!({"scale": 1.5, "outside": 20.0})).unwrap();
    for (key, wanted) in [("finest_A", 6.0), ("coarsest_A", 20.0), ("outside_A", 20.0)] {
        let found = report.get(key).unwrap();
        assert!((found - wanted).abs() < 1e-6, "{key}: {found}");
    }
}

#[test]
fn unfit_inputs_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, n: usize, pixel_a: f64| {
        mrc::write_volume(&dir.path().join(name), &Array3::zeros((n, n, n)), pixel_a).unwrap();
    };
    let refused = || filter(dir.path(), json!({})).unwrap_err().to_string();
    write("map.mrc", 16, PIXEL_A);
    write("local.mrc", 16, PIXEL_A);
    assert!(refused().contains("local.mrc: no voxel has a resolution"));
    write("local.mrc", 12, PIXEL_A);
    assert!(refused().contains("found a box of 12"));
}

#[test]
fn the_readme_has_the_parameters() {
    let table = vitreous_jobs::page::parameter_table(&vitreous_jobs::filter_locally::JOB);
    assert!(include_str!("README.md").contains(table.trim_end()), "put this into README.md:\n{table}");
}
