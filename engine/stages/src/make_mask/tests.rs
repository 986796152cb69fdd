//! Known shapes, levels, parts, and maps that cannot be masked.

use super::MakeMask;
use crate::{Ctx, Input, Stage, StageError};
use ndarray::Array3;
use serde_json::{Value, json};
use std::path::Path;
use vitreous_compute::comm::{Comm, Solo, Threads};
use vitreous_compute::mask::sphere;
use vitreous_formats::mrc;
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::report::Report;

const BOX: usize = 48;
const VOXEL_A: f64 = 2.0;
/// Radius of the large ball, voxels.
const RADIUS: f64 = 9.0;

/// A ball of density 2 in the middle, a fifth of its volume apart, and a speck.
fn map() -> Array3<f32> {
    let ball = |centre: [f64; 3], radius: f64| {
        Array3::from_shape_fn((BOX, BOX, BOX), |(z, y, x)| {
            let r2: f64 = [z, y, x].iter().zip(centre).map(|(i, c)| (*i as f64 - c).powi(2)).sum();
            f32::from(u8::from(r2 <= radius * radius))
        })
    };
    let mut map = (ball([24.0; 3], RADIUS) + ball([24.0, 24.0, 42.0], 0.58 * RADIUS)) * 2.0;
    map[[4, 4, 4]] = 2.0;
    map
}

fn run_with(
    dir: &Path,
    map: &Array3<f32>,
    params: Value,
    comm: &dyn Comm,
) -> Result<(Report, Vec<Output>), StageError> {
    let job_dir = dir.join("J2");
    std::fs::create_dir_all(&job_dir).unwrap();
    if comm.rank() == 0 {
        mrc::write_volume(&dir.join("map.mrc"), map, VOXEL_A).unwrap();
    }
    let mut ctx = Ctx::new(&job_dir, dir, &AnyDevice::Cpu, comm, &|_| {}, &|| false);
    ctx.params = params;
    let output = Output::new("volume", Kind::Volume, "map.mrc", 1);
    let input = Input { job: "J1".into(), output, path: dir.join("map.mrc"), parts: Default::default() };
    ctx.inputs.insert("volume".into(), vec![input]);
    let report = MakeMask.run(&ctx)?;
    Ok((report, ctx.declared_outputs()))
}

fn made(map: &Array3<f32>, params: Value) -> (Report, Array3<f32>) {
    let dir = tempfile::tempdir().unwrap();
    let (report, outputs) = run_with(dir.path(), map, params, &Solo).unwrap();
    assert_eq!(
        (outputs[0].kind, outputs[0].box_px, outputs[0].pixel_size_a),
        (Kind::Mask, Some(48), Some(VOXEL_A))
    );
    let file = mrc::read_volume(&dir.path().join("J2/mask.mrc")).unwrap();
    assert!((file.voxel_a - VOXEL_A).abs() < 1e-4);
    (report, file.data)
}

#[test]
fn a_ball_gets_a_ball_with_a_soft_edge() {
    let params = json!({"low_pass": 0.0, "level": 1.0, "extend": 4.0, "edge": 6.0, "least_part": 1.0});
    let (report, mask) = made(&map(), params);
    // the nearest voxel of the structure decides: from 9 voxels on 2 more are whole and 3 fade
    let along: Vec<f32> = (24..42).map(|x| mask[[24, x, 24]]).collect();
    assert!(along[..=11].iter().all(|v| *v == 1.0), "{along:?}");
    assert!((along[12] - 0.75).abs() < 1e-6 && (along[13] - 0.25).abs() < 1e-6, "{along:?}");
    assert!(along[14..].iter().all(|v| *v == 0.0), "{along:?}");
    let want_a3 = 4.0 / 3.0 * std::f64::consts::PI * (RADIUS * VOXEL_A).powi(3);
    let volume_a3 = report.get("structure_A3").unwrap();
    assert!((volume_a3 / want_a3 - 1.0).abs() < 0.03, "{volume_a3} Å³, expected about {want_a3}");
    assert_eq!((report.get("parts_kept"), report.get("parts_left_out")), (Some(1.0), Some(2.0)));
    assert_eq!(report.get("level"), Some(1.0));
}

#[test]
fn parts_are_kept_by_their_size() {
    for (least_part, small_ball, speck) in [(1.0, 0.0, 0.0), (0.1, 1.0, 0.0), (0.0, 1.0, 1.0)] {
        let (_, mask) = made(&map(), json!({"low_pass": 0.0, "level": 1.0, "least_part": least_part}));
        assert_eq!((mask[[24, 24, 42]], mask[[4, 4, 4]]), (small_ball, speck), "{least_part}");
    }
}

#[test]
fn the_usual_level_finds_the_structure_and_a_copied_level_repeats_it() {
    let (report, mask) = made(&map(), json!({}));
    assert_eq!(mask[[24, 24, 24]], 1.0);
    assert_eq!(mask[[4, 24, 4]], 0.0);
    let (_, same) = made(&map(), json!({"level": report.get("level").unwrap()}));
    assert_eq!(same, mask);
    let (_, inverted) = made(&map(), json!({"invert": true}));
    assert_eq!(inverted, mask.mapv(|value| 1.0 - value));
}

#[test]
fn doubtful_masks_are_remarked_on() {
    let remarks = |map: &Array3<f32>, params| made(map, params).0.notes.join(" ");
    let usual = json!({"low_pass": 0.0, "level": 1.0, "least_part": 1.0});
    assert_eq!(remarks(&map(), usual), "");
    let sharp = json!({"low_pass": 0.0, "level": 1.0, "least_part": 1.0, "extend": 0.0, "edge": 0.0});
    assert!(remarks(&map(), sharp).contains("sharp edge"));
    let full = sphere(BOX, 23.0, 1.0);
    let text = remarks(&full, json!({"low_pass": 0.0, "level": 0.5}));
    assert!(text.contains("large part of the box") && text.contains("cut off"), "{text}");
}

#[test]
fn maps_that_cannot_be_masked_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let refused =
        |map: &Array3<f32>, params| run_with(dir.path(), map, params, &Solo).unwrap_err().to_string();
    let text = refused(&map(), json!({"low_pass": 0.0, "level": 3.0}));
    assert!(text.contains("map.mrc") && text.contains("no voxel"), "{text}");
    let text = refused(&Array3::zeros((BOX, BOX, BOX)), json!({}));
    assert!(text.contains("no voxel"), "{text}");
    let text = refused(&Array3::ones((BOX, BOX, BOX + 2)), json!({}));
    assert!(text.contains("50 × 48 × 48"), "{text}");
    let text = refused(&(map() * -1.0), json!({"level": 1.0}));
    assert!(text.contains("lower the threshold"), "{text}");
}

#[test]
fn three_ranks_make_the_mask_of_one() {
    let dir = tempfile::tempdir().unwrap();
    let (one, _) = run_with(dir.path(), &map(), json!({}), &Solo).unwrap();
    let mask = mrc::read_volume(&dir.path().join("J2/mask.mrc")).unwrap().data;
    let reports = Threads::run(3, |comm| {
        let (report, _) = run_with(dir.path(), &map(), json!({}), comm).unwrap();
        (comm.rank() == 0).then_some(report)
    });
    assert_eq!(reports.into_iter().flatten().next().unwrap().numbers, one.numbers);
    assert_eq!(mrc::read_volume(&dir.path().join("J2/mask.mrc")).unwrap().data, mask);
}

#[test]
fn the_readme_has_the_parameters() {
    let table = vitreous_jobs::page::parameter_table(&vitreous_jobs::make_mask::JOB);
    assert!(include_str!("README.md").contains(table.trim_end()), "put this into README.md:\n{table}");
}
