//! A phantom of which a part has detail and the rest moves, refined as a whole job.

use super::RefineNonuniform;
use crate::StageError;
use crate::refine_homogeneous::RefineHomogeneous;
use crate::refinement::simulated::{BOX, PIXEL_A, Project, object, project_of_mixture};
use ndarray::Array3;
use serde_json::{Value, json};
use vitreous_compute::comm::{Comm, Solo, Threads};
use vitreous_compute::fourier::HalfVolume;
use vitreous_compute::fsc::fsc_of_maps;
use vitreous_formats::mrc::read_volume;
use vitreous_model::report::Report;
use vitreous_model::symmetry::PointGroup;

fn run(
    project: &Project,
    job: &str,
    params: Value,
    comm: &dyn Comm,
    patience: usize,
) -> Result<Report, StageError> {
    project.run_stage(&RefineNonuniform, &["map.mrc"], (job, params), comm, patience)
}

/// The upper half of a phantom, the same in all, over lower halves that have nothing in common but their lowest frequencies.
fn half_ordered(variants: u64) -> (Array3<f32>, Vec<Array3<f32>>) {
    let ordered = |z: usize| (z as f32 - BOX as f32 / 2.0).clamp(-1.0, 1.0) * 0.5 + 0.5;
    let upper = object(PointGroup::C1);
    let upper = Array3::from_shape_fn(upper.dim(), |at| upper[at] * ordered(at.0));
    let maps = (0..variants).map(|variant| {
        let turn = |at: (usize, usize, usize)| match variant % 4 {
            0 => (at.0, at.1, at.2),
            1 => (at.0, at.2, BOX - 1 - at.1),
            2 => (at.0, BOX - 1 - at.1, BOX - 1 - at.2),
            _ => (at.0, BOX - 1 - at.2, at.1),
        };
        let lower = object(PointGroup::C1);
        Array3::from_shape_fn(lower.dim(), |at| upper[at] + lower[turn(at)] * (1.0 - ordered(at.0)))
    });
    (upper.clone(), maps.collect())
}

#[test]
fn the_ordered_half_gets_better_than_with_one_filter_for_all() {
    let (upper, maps) = half_ordered(4);
    let project = project_of_mixture(PointGroup::C1, &maps, 0.45, [1.0, 1.0], 320);
    let mut params = project.params();
    params["max_iterations"] = json!(6);
    let report = run(&project, "J3", params.clone(), &Solo, usize::MAX).unwrap();
    project.run_stage(&RefineHomogeneous, &["map.mrc"], ("J4", params), &Solo, usize::MAX).unwrap();
    let mask = Array3::from_shape_fn(upper.dim(), |at| f32::from(u8::from(at.0 >= BOX / 2 + 2)));
    // what the last references were made of: the filtered map
    let error = |job: &str| {
        let map = read_volume(&project.dir.path().join(job).join("map.mrc")).unwrap().data;
        let scale = (&map * &upper * &mask).sum() / (&upper * &upper * &mask).sum();
        let difference = (&map / scale - &upper) * &mask;
        (difference.mapv(|v| v * v).sum() / (&upper * &upper * &mask).sum()).sqrt()
    };
    let (by_place, by_shell) = (error("J3"), error("J4"));
    println!("rms error of the ordered half: by place {by_place}, by shell {by_shell}");
    assert!(by_place < 0.95 * by_shell, "by place {by_place}, by shell {by_shell}");
    let (by_place, by_shell) = (project.errors("J3").0, project.errors("J4").0);
    assert!(by_place < 1.05 * by_shell, "{by_place}° by place, {by_shell}° by shell");
    assert!(!report.data["gains"].as_array().unwrap().is_empty());
}

#[test]
fn ranks_and_interruptions_change_nothing() {
    let project = project_of_mixture(PointGroup::C1, &[object(PointGroup::C1)], 1.0, [1.0, 1.0], 160);
    let mut params = project.params();
    params["max_iterations"] = json!(2);
    run(&project, "J3", params.clone(), &Solo, usize::MAX).unwrap();
    let stopped = run(&project, "J4", params.clone(), &Solo, 1).unwrap_err();
    assert!(matches!(stopped, StageError::Stopped), "{stopped}");
    Threads::run(3, |comm| {
        run(&project, "J4", params.clone(), comm, usize::MAX).unwrap();
    });
    for file in ["map.mrc", "half1.mrc", "half2.mrc", "mask.mrc", "checkpoint/refinement.bin"] {
        assert!(project.bytes("J3", file) == project.bytes("J4", file), "{file}");
    }
}

/// Nothing beyond the signal's band may become alike in both halves, though both get the same gains.
#[test]
fn halves_agree_in_nothing_beyond_the_signal() {
    const SIGNAL_SHELLS: f64 = 9.0;
    let mut half = HalfVolume::of_box(object(PointGroup::C1).view());
    half.weigh(|r| f64::from(u8::from(r < SIGNAL_SHELLS)));
    let project = project_of_mixture(PointGroup::C1, &[half.into_box()], 0.7, [1.0, 1.0], 160);
    run(&project, "J3", project.params(), &Solo, usize::MAX).unwrap();
    let read = |file: &str| read_volume(&project.dir.path().join("J3").join(file)).unwrap().data;
    let curve = fsc_of_maps(read("half1.mrc").view(), read("half2.mrc").view(), None);
    assert!(curve[6] > 0.5, "the signal is found: {curve:?}");
    let beyond = SIGNAL_SHELLS as usize + 2..BOX / 2;
    let weighted: f64 = beyond.clone().map(|shell| curve[shell] * (shell * shell) as f64).sum();
    let coefficients: f64 = beyond.clone().map(|shell| (shell * shell) as f64).sum();
    let scatter = 1.0 / (2.0 * std::f64::consts::PI * coefficients).sqrt();
    let mean = weighted / coefficients;
    assert!(mean.abs() < 4.0 * scatter, "{mean}, expected 0 ± {scatter}: {curve:?}");
    let pixel_a = read_volume(&project.dir.path().join("J3/map.mrc")).unwrap().voxel_a;
    assert!((pixel_a - PIXEL_A).abs() < 1e-6);
}
