//! Simulated particles of a phantom, refined as a whole job.

mod groups;

use super::RefineHomogeneous;
use crate::StageError;
use crate::refinement::simulated::{
    BOX, PARTICLES, PIXEL_A, Project, object, project, project_of, project_with,
};
use ndarray::Array3;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use serde_json::{Value, json};
use vitreous_compute::comm::{Comm, Solo, Threads};
use vitreous_compute::fourier::HalfVolume;
use vitreous_compute::fsc::fsc_of_maps;
use vitreous_compute::parity::symmetric_phantom::SymmetricPhantom;
use vitreous_formats::mrc::{MrcSpec, MrcWriter, read_volume, write_volume};
use vitreous_formats::table::particles;
use vitreous_model::conventions::resolution_at;
use vitreous_model::ctf::CtfParams;
use vitreous_model::ewald::Curvature;
use vitreous_model::pose::{Pose, Rotation};
use vitreous_model::report::Report;
use vitreous_model::symmetry::PointGroup;
use vitreous_model::units::{Kilovolt, Millimetre};

/// Runs the stage in `job` from the true map; it is asked to stop after `patience` checkpoints.
fn run(
    project: &Project,
    job: &str,
    params: Value,
    comm: &dyn Comm,
    patience: usize,
) -> Result<Report, StageError> {
    project.run_stage(&RefineHomogeneous, &["map.mrc"], (job, params), comm, patience)
}

#[derive(serde::Deserialize)]
struct Golden {
    rotation_deg: f64,
    shift_a: f64,
    resolution_a: f64,
    truth_fsc05_a: f64,
}

#[test]
fn poses_and_map_are_found() {
    let project = project(PointGroup::Dihedral(2), 0.5);
    let report = run(&project, "J3", project.params(), &Solo, usize::MAX).unwrap();
    let golden: Golden = serde_json::from_str(include_str!("golden/phantom.json")).unwrap();
    let (rotation_deg, shift_a) = project.errors("J3");
    assert!(rotation_deg <= golden.rotation_deg, "{rotation_deg}°");
    assert!(shift_a <= golden.shift_a, "{shift_a} Å");
    let resolution_a = report.get("resolution_fsc0143_A").unwrap();
    assert!(resolution_a <= golden.resolution_a, "{resolution_a} Å");
    let map = read_volume(&project.dir.path().join("J3/map.mrc")).unwrap().data;
    let truth = object(project.group);
    let curve = fsc_of_maps(map.view(), truth.view(), None);
    let (to_truth, _) = resolution_at(&curve, 0.5, BOX, PIXEL_A);
    assert!(to_truth <= golden.truth_fsc05_a, "{to_truth} Å");
    assert_eq!(report.get("half1_particles"), report.get("half2_particles"));
    assert_eq!(report.data["fsc"].as_array().unwrap().len(), BOX / 2 + 1);
}

/// A thick object in slow electrons: the map is like the truth by the curvature that made the images, not by the other, and a
/// little more than with flat slices, which lose signal but not phase.
#[test]
fn the_curvature_of_the_ewald_sphere_is_corrected() {
    let project = project(PointGroup::C1, 1.0);
    let phantom = SymmetricPhantom::new(BOX, 24, 1.0, 12.0, PointGroup::C1, 4);
    let path = project.dir.path().join("J1/particles.h5");
    let mut set = particles::read(&path).unwrap();
    let spec = MrcSpec::images(BOX, BOX, PIXEL_A);
    let mut writer = MrcWriter::create(&project.dir.path().join("J1/stack.mrcs"), spec).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    for (index, (particle, pose)) in set.particles.iter_mut().zip(&project.truth).enumerate() {
        let defocus_a = 200.0 + 8.0 * (index % 40) as f64;
        let ctf = CtfParams {
            defocus_u_a: defocus_a,
            defocus_v_a: defocus_a,
            voltage: Kilovolt(0.2),
            cs: Millimetre(0.0),
            ..particle.ctf.unwrap()
        };
        let mut slice =
            phantom.thick_image(pose.rotation, 0.5 * BOX as f64, &ctf, Curvature::Forward, PIXEL_A);
        slice.shift(pose.shift_a[0] / PIXEL_A, pose.shift_a[1] / PIXEL_A);
        let image = slice.into_box();
        let sd = (image.iter().map(|v| v * v).sum::<f32>() / image.len() as f32).sqrt();
        let noisy = image.mapv(|v| v / sd + rng.sample::<f32, _>(StandardNormal));
        writer.append(noisy.as_slice().unwrap()).unwrap();
        (particle.ctf, particle.pose) = (Some(ctf), Some(*pose));
    }
    writer.finish().unwrap();
    particles::write(&path, &set).unwrap();
    let truth = phantom.volume();
    write_volume(&project.dir.path().join("J2/map.mrc"), &truth, PIXEL_A).unwrap();
    let agreement = |job: &str, ewald: &str| {
        let mut params = project.params();
        (params["search"], params["max_iterations"], params["ewald"]) =
            (json!("local"), json!(2), json!(ewald));
        run(&project, job, params, &Solo, usize::MAX).unwrap();
        let map = read_volume(&project.dir.path().join(job).join("map.mrc")).unwrap().data;
        let curve = fsc_of_maps(map.view(), truth.view(), None);
        curve[12..=17].iter().sum::<f64>() / 6.0
    };
    let (flat, right, wrong) =
        (agreement("J3", "none"), agreement("J4", "forward"), agreement("J5", "reversed"));
    assert!(right > flat && right > wrong + 0.05, "flat {flat}, forward {right}, reversed {wrong}");
}

#[test]
fn ranks_and_interruptions_change_nothing() {
    let project = project(PointGroup::C1, 1.0);
    let mut params = project.params();
    params["max_iterations"] = json!(2);
    run(&project, "J3", params.clone(), &Solo, usize::MAX).unwrap();
    // stopped after the first iteration, gone on by other numbers of ranks
    for (job, ranks) in [("J4", 2), ("J5", 3), ("J6", 4)] {
        let stopped = run(&project, job, params.clone(), &Solo, 1).unwrap_err();
        assert!(matches!(stopped, StageError::Stopped), "{stopped}");
        assert!(!project.dir.path().join(job).join("map.mrc").exists());
        Threads::run(ranks, |comm| {
            run(&project, job, params.clone(), comm, usize::MAX).unwrap();
        });
        for file in ["map.mrc", "half1.mrc", "half2.mrc", "mask.mrc", "checkpoint/refinement.bin"] {
            assert!(project.bytes("J3", file) == project.bytes(job, file), "{file}, {ranks} ranks");
        }
    }
}

#[test]
fn a_local_search_starts_from_the_poses_given_and_finds_the_same() {
    let project = project(PointGroup::Dihedral(2), 0.5);
    let path = project.dir.path().join("J1/particles.h5");
    let mut set = particles::read(&path).unwrap();
    for (particle, truth) in set.particles.iter_mut().zip(&project.truth) {
        let turned = truth.rotation * Rotation::from_rotation_vector([0.05, -0.04, 0.05]);
        particle.pose = Some(Pose { rotation: turned, shift_a: truth.shift_a.map(|a| a + 2.0) });
    }
    set.particles[PARTICLES - 1].pose = None;
    particles::write(&path, &set).unwrap();
    let mut params = project.params();
    params["search"] = json!("local");
    let report = run(&project, "J3", params, &Solo, usize::MAX).unwrap();
    assert_eq!(report.skipped.len(), 1, "{:?}", report.skipped);
    assert!(report.skipped[0].reason.contains("no pose"), "{:?}", report.skipped);
    let golden: Golden = serde_json::from_str(include_str!("golden/phantom.json")).unwrap();
    let (rotation_deg, shift_a) = project.errors("J3");
    assert!(rotation_deg <= golden.rotation_deg && shift_a <= golden.shift_a, "{rotation_deg}°, {shift_a} Å");
}

#[test]
fn amplitudes_of_groups_are_found_and_do_no_harm() {
    let group = PointGroup::Dihedral(2);
    let map = object(group);
    let truth_fsc05_a = |project: &Project, job: &str| {
        let found = read_volume(&project.dir.path().join(job).join("map.mrc")).unwrap().data;
        resolution_at(&fsc_of_maps(found.view(), map.view(), None), 0.5, BOX, PIXEL_A).0
    };
    for contrast in [[1.3f32, 0.7], [1.0, 1.0]] {
        let project = project_with(group, &map, 0.5, contrast);
        let mut params = project.params();
        let report = run(&project, "J3", params.clone(), &Solo, usize::MAX).unwrap();
        for half in ["half1", "half2"] {
            let found = |group: usize| report.data["amplitudes"][group][half].as_f64().unwrap();
            let (ratio, planted) = (found(0) / found(1), f64::from(contrast[0] / contrast[1]));
            // 40 particles a group and half, each known to some 10 %, and the prior
            assert!((ratio / planted - 1.0).abs() < 0.12, "{contrast:?}, {half}: {ratio}");
        }
        params["amplitudes"] = json!(false);
        let without = run(&project, "J4", params, &Solo, usize::MAX).unwrap();
        assert_eq!(without.get("amplitude_spread"), Some(0.0));
        let (with_them, without) = (truth_fsc05_a(&project, "J3"), truth_fsc05_a(&project, "J4"));
        assert!(with_them < 1.05 * without, "{contrast:?}: {with_them} Å, without amplitudes {without} Å");
    }
}

#[test]
fn every_way_of_masking_refines() {
    let project = project(PointGroup::Dihedral(2), 0.5);
    for (job, masking) in [("J3", "sphere"), ("J4", "none")] {
        let mut params = project.params();
        params["masking"] = json!(masking);
        let report = run(&project, job, params, &Solo, usize::MAX).unwrap();
        assert!(project.errors(job).0 < 4.0, "{masking}: {}°", project.errors(job).0);
        let number = |key: &str| report.get(key).unwrap();
        if masking == "none" {
            assert_eq!(number("resolution_masked_A"), number("resolution_unmasked_A"));
        } else {
            assert_eq!(number("resolution_masked_A"), number("resolution_spherical_A"));
        }
    }
}

/// The map without anything from shell 9 on, so that what halves agree in there can only come from noise.
const SIGNAL_SHELLS: f64 = 9.0;

#[test]
fn halves_agree_in_nothing_beyond_the_signal() {
    let map = object(PointGroup::C1);
    let mut half = HalfVolume::of_box(map.view());
    half.weigh(|r| f64::from(u8::from(r < SIGNAL_SHELLS)));
    let project = project_of(PointGroup::C1, &half.into_box(), 0.7);
    run(&project, "J3", project.params(), &Solo, usize::MAX).unwrap();
    let read = |file: &str| read_volume(&project.dir.path().join("J3").join(file)).unwrap().data;
    let curve = fsc_of_maps(read("half1.mrc").view(), read("half2.mrc").view(), None);
    assert!(curve[6] > 0.5, "the signal is found: {curve:?}");
    // the padded grid and linear interpolation reach one shell further; a shell has some 4π r²/2 free coefficients
    let beyond: Vec<usize> = (SIGNAL_SHELLS as usize + 2..BOX / 2).collect();
    let coefficients: f64 =
        beyond.iter().map(|&shell| 2.0 * std::f64::consts::PI * (shell * shell) as f64).sum();
    let mean = beyond.iter().map(|&shell| curve[shell] * (shell * shell) as f64).sum::<f64>()
        / beyond.iter().map(|&shell| (shell * shell) as f64).sum::<f64>();
    assert!(mean.abs() < 4.0 / coefficients.sqrt(), "{mean}: {curve:?}");
    for shell in beyond {
        let scatter = 1.0 / (2.0 * std::f64::consts::PI).sqrt() / shell as f64;
        assert!(curve[shell].abs() < 5.0 * scatter, "shell {shell}: {curve:?}");
    }
}

#[test]
#[allow(clippy::disallowed_methods)] // a test breaks its own input
fn unfit_images_are_left_out_and_listed_and_too_many_end_the_job() {
    let project = project(PointGroup::Dihedral(2), 0.5);
    let path = project.dir.path().join("J1/stack.mrcs");
    let mut bytes = std::fs::read(&path).unwrap();
    let mut put = |image: usize, pixels: std::ops::Range<usize>, value: f32| {
        for pixel in pixels {
            let place = 1024 + (image * BOX * BOX + pixel) * 4;
            bytes[place..place + 4].copy_from_slice(&value.to_le_bytes());
        }
    };
    put(7, 55..56, f32::NAN);
    put(20, 0..BOX * BOX, 0.0);
    put(33, 0..BOX * BOX, 3.7);
    put(41, 9..10, f32::INFINITY);
    std::fs::write(&path, &bytes).unwrap();
    // an image of another size, one that the stack does not have, a stack that is not there
    let mut other =
        MrcWriter::create(&project.dir.path().join("J1/small.mrcs"), MrcSpec::images(24, 24, PIXEL_A))
            .unwrap();
    other.append(&[1.0; 24 * 24]).unwrap();
    other.finish().unwrap();
    let table = project.dir.path().join("J1/particles.h5");
    let mut set = particles::read(&table).unwrap();
    (set.particles[50].stack_path, set.particles[50].stack_index) = ("J1/small.mrcs".into(), 0);
    set.particles[60].stack_index = PARTICLES as u32;
    set.particles[70].stack_path = "J1/lost.mrcs".into();
    particles::write(&table, &set).unwrap();
    let mut params = project.params();
    params["max_iterations"] = json!(1);
    let report = run(&project, "J3", params.clone(), &Solo, usize::MAX).unwrap();
    let expected = [
        ("000008@", "NaN"),
        ("000021@", "constant"),
        ("000034@", "constant"),
        ("000042@", "inf"),
        ("000001@J1/small.mrcs", "24 × 24"),
        ("000161@", "the stack has 160"),
        ("000071@J1/lost.mrcs", "lost.mrcs"),
    ];
    assert_eq!(report.skipped.len(), expected.len(), "{:?}", report.skipped);
    for ((item, reason), found) in expected.iter().zip(&report.skipped) {
        assert!(found.item.starts_with(item) && found.reason.contains(reason), "{item}, {reason}: {found:?}");
    }
    assert_eq!(report.get("particles"), Some((PARTICLES - expected.len()) as f64));
    params["max_bad_fraction"] = json!(0.04);
    let error = run(&project, "J4", params, &Solo, usize::MAX).unwrap_err();
    assert!(matches!(error, StageError::TooManyBad { bad: 7, .. }), "{error}");
}

#[test]
fn impossible_parameters_and_maps_are_refused() {
    let project = project(PointGroup::Dihedral(2), 0.5);
    let mut params = project.params();
    params["initial_lowpass"] = json!(2.0);
    let error = run(&project, "J3", params, &Solo, usize::MAX).unwrap_err();
    assert!(error.to_string().contains("initial_lowpass"), "{error}");
    let mut params = project.params();
    params["diameter"] = json!(500.0);
    let error = run(&project, "J3", params, &Solo, usize::MAX).unwrap_err();
    assert!(error.to_string().contains("diameter"), "{error}");
    write_volume(&project.dir.path().join("J2/map.mrc"), &Array3::zeros((BOX, BOX, BOX)), PIXEL_A).unwrap();
    let error = run(&project, "J3", project.params(), &Solo, usize::MAX).unwrap_err();
    assert!(error.to_string().contains("zero everywhere"), "{error}");
}

#[test]
fn the_readme_states_the_parameters() {
    let readme = include_str!("README.md");
    use vitreous_model::params::Params;
    for field in vitreous_jobs::refine_homogeneous::RefineHomogeneous::FIELDS {
        assert!(readme.contains(&format!("`{}`", field.key)), "{}", field.key);
        assert!(readme.contains((field.help)().trim_end_matches('.')), "{}", field.key);
    }
}
