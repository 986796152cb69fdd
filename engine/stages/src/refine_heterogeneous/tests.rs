//! Mixtures of two phantoms, one of which lacks a part, sorted as a whole job.

use super::RefineHeterogeneous;
use crate::StageError;
use crate::refinement::simulated::{BOX, PIXEL_A, Project, object, project_of_mixture};
use ndarray::Array3;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use serde_json::{Value, json};
use vitreous_compute::comm::{Comm, Solo, Threads};
use vitreous_compute::fsc::fsc_of_maps;
use vitreous_formats::mrc::{read_volume, write_volume};
use vitreous_formats::table::particles;
use vitreous_model::conventions::resolution_at;
use vitreous_model::report::Report;
use vitreous_model::symmetry::PointGroup;

const PARTICLES: usize = 400;

/// The phantom, and the same without what lies beyond a plane: a fifth of its mass.
fn states() -> [Array3<f32>; 2] {
    let whole = object(PointGroup::C1);
    let mut part = whole.clone();
    let all = whole.sum();
    // the plane is moved in until a fifth is beyond it
    let beyond = |plane: usize| whole.slice(ndarray::s![plane.., .., ..]).sum() / all;
    let plane = (0..BOX).rev().find(|&plane| beyond(plane) > 0.2).unwrap();
    part.slice_mut(ndarray::s![plane.., .., ..]).fill(0.0);
    [whole, part]
}

fn mixture(signal_sd: f64) -> Project {
    project_of_mixture(PointGroup::C1, &states(), signal_sd, [1.0, 1.0], PARTICLES)
}

fn params() -> Value {
    json!({ "initial_lowpass": 24.0, "diameter": 130.0, "finest_resolution": 10.0 })
}

fn run(
    project: &Project,
    maps: &[&str],
    job: (&str, Value),
    comm: &dyn Comm,
    patience: usize,
) -> Result<Report, StageError> {
    project.run_stage(&RefineHeterogeneous, maps, job, comm, patience)
}

/// Part of the particles that are in the class most of their state are in, and class of the whole state, from 1. States
/// alternate in the set.
fn purity(project: &Project, job: &str) -> (f64, u32) {
    let set = particles::read(&project.dir.path().join(job).join("particles.h5")).unwrap();
    let classes: Vec<u32> = set.particles.iter().map(|p| p.class.unwrap().number).collect();
    let right = |whole: u32| {
        let fits = |(index, &class): (usize, &u32)| (class == whole) == (index % 2 == 0);
        classes.iter().enumerate().filter(|&pair| fits(pair)).count() as f64 / classes.len() as f64
    };
    if right(1) >= right(2) { (right(1), 1) } else { (right(2), 2) }
}

#[test]
fn one_map_is_split_into_the_states_of_the_particles() {
    let project = mixture(0.5);
    let mut params = params();
    params["classes"] = json!(2);
    let report = run(&project, &["map.mrc"], ("J3", params), &Solo, usize::MAX).unwrap();
    let (purity, whole) = purity(&project, "J3");
    println!("purity {purity}, {} iterations", report.get("iterations").unwrap());
    assert!(purity > 0.93, "{purity}, {}", report.data["iterations"]);
    // each class has the map of its state, not that of the other
    let [first, second] = states();
    let truths = if whole == 1 { [&first, &second] } else { [&second, &first] };
    for (file, own, other) in [("map.mrc", truths[0], truths[1]), ("map_2.mrc", truths[1], truths[0])] {
        let map = read_volume(&project.dir.path().join("J3").join(file)).unwrap().data;
        let to = |truth: &Array3<f32>| fsc_of_maps(map.view(), truth.view(), None);
        let mean = |curve: Vec<f64>| curve[1..12].iter().sum::<f64>() / 11.0;
        assert!(mean(to(own)) > mean(to(other)), "{file}");
        // 200 particles in each
        assert!(resolution_at(&to(own), 0.5, BOX, PIXEL_A).0 < 14.0, "{file}: {:?}", to(own));
    }
    let counts = [1, 2].map(|class| report.get(&format!("class_{class}_particles")).unwrap());
    assert_eq!(counts.iter().sum::<f64>(), PARTICLES as f64);
}

#[test]
fn given_maps_are_the_classes_in_their_order() {
    let project = mixture(0.5);
    run(&project, &["map_2.mrc", "map.mrc"], ("J3", params()), &Solo, usize::MAX).unwrap();
    let (purity, whole) = purity(&project, "J3");
    println!("purity {purity}");
    assert!(purity > 0.93 && whole == 2, "{purity}, {whole}");
}

#[test]
fn ranks_and_interruptions_change_nothing() {
    let project = mixture(1.0);
    let mut params = params();
    params["classes"] = json!(2);
    params["max_iterations"] = json!(5);
    run(&project, &["map.mrc"], ("J3", params.clone()), &Solo, usize::MAX).unwrap();
    // stopped before the split, in it and after it, gone on by other numbers of ranks
    for (job, ranks, patience) in [("J4", 2, 2), ("J5", 3, 3), ("J6", 4, 4)] {
        let stopped = run(&project, &["map.mrc"], (job, params.clone()), &Solo, patience).unwrap_err();
        assert!(matches!(stopped, StageError::Stopped), "{stopped}");
        Threads::run(ranks, |comm| {
            run(&project, &["map.mrc"], (job, params.clone()), comm, usize::MAX).unwrap();
        });
        let files =
            ["map.mrc", "map_2.mrc", "half1.mrc", "half2_2.mrc", "mask_2.mrc", "checkpoint/refinement.bin"];
        for file in files {
            assert!(project.bytes("J3", file) == project.bytes(job, file), "{file}, {ranks} ranks");
        }
    }
}

#[test]
fn particles_of_one_state_do_not_make_two() {
    let [whole, _] = states();
    let project = project_of_mixture(PointGroup::C1, &[whole], 0.5, [1.0, 1.0], PARTICLES);
    let mut params = params();
    params["classes"] = json!(2);
    let report = run(&project, &["map.mrc"], ("J3", params), &Solo, usize::MAX).unwrap();
    let number = |key: &str| report.get(key).unwrap();
    let counts = [number("class_1_particles"), number("class_2_particles")];
    println!("{counts:?}, alike to {} Å", number("class_2_like_first_A"));
    if counts[0].min(counts[1]) < 0.02 * PARTICLES as f64 {
        // one class has them all, and the report says so
        assert!(report.notes.iter().any(|note| note.contains("fewer classes may do")), "{:?}", report.notes);
        return;
    }
    // or both have the same map, as far as they are known
    let known = number("class_1_resolution_A").max(number("class_2_resolution_A"));
    assert!(number("class_2_like_first_A") < 1.3 * known, "{known} Å");
}

#[test]
fn a_class_that_loses_all_particles_does_not_end_the_job() {
    let [whole, _] = states();
    let project = project_of_mixture(PointGroup::C1, &[whole], 1.0, [1.0, 1.0], 100);
    // a map that nothing looks like, and a search in the iterations that follow
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let noise = Array3::from_shape_simple_fn((BOX, BOX, BOX), || rng.sample::<f32, _>(StandardNormal));
    write_volume(&project.dir.path().join("J2/noise.mrc"), &noise, PIXEL_A).unwrap();
    let mut params = params();
    params["max_iterations"] = json!(3);
    let report = run(&project, &["map.mrc", "noise.mrc"], ("J3", params), &Solo, usize::MAX).unwrap();
    assert!(report.get("class_1_particles").unwrap() >= 98.0, "{:?}", report.get("class_1_particles"));
}

#[test]
fn too_few_iterations_to_split_a_map_are_refused() {
    let project = mixture(1.0);
    let mut params = params();
    params["classes"] = json!(2);
    params["max_iterations"] = json!(3);
    let error = run(&project, &["map.mrc"], ("J3", params), &Solo, usize::MAX).unwrap_err();
    assert!(error.to_string().contains("max_iterations"), "{error}");
}

#[test]
fn one_map_without_a_number_of_classes_is_refused() {
    let project = mixture(1.0);
    let error = run(&project, &["map.mrc"], ("J3", params()), &Solo, usize::MAX).unwrap_err();
    assert!(error.to_string().contains("classes"), "{error}");
}

#[test]
fn the_readme_states_the_parameters() {
    let readme = include_str!("README.md");
    use vitreous_model::params::Params;
    for field in vitreous_jobs::refine_heterogeneous::RefineHeterogeneous::FIELDS {
        assert!(readme.contains(&format!("`{}`", field.key)), "{}", field.key);
        assert!(readme.contains((field.help)().trim_end_matches('.')), "{}", field.key);
    }
}
