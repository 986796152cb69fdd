//! Particles that were aligned are cut out anew: signs of shifts against the truth, what is kept, duplicates.

use super::tests::{BLOB_SIGMA, PICKS, PIXEL_A, ctf, given, images, project, run, run_with, write_picks_at};
use serde_json::{Value, json};
use std::path::Path;
use vitreous_compute::comm::{Comm, Solo, Threads};
use vitreous_formats::table::particles;
use vitreous_model::ctf::CtfParams;
use vitreous_model::half_set::HalfSet;
use vitreous_model::outputs::Kind;
use vitreous_model::particle::ParticleSet;
use vitreous_model::pose::{Pose, Rotation};
use vitreous_model::report::Report;

const PARTICLES: [(&str, Kind); 1] = [("particles", Kind::Particles)];
/// How far from its blob each of the whole picks is.
const OFF: [(f64, f64); 3] = [(-4.0, 3.0), (5.0, -2.4), (0.0, 6.0)];

/// Where the blob lies relative to the centre pixel of an image `[n, n]`, pixels: the top of its correlation with the
/// true image of a blob, whose standard deviation is `sigma` pixels.
fn displacement(image: &[f32], n: usize, sigma: f64) -> [f64; 2] {
    let truth = |x: f64, y: f64| (-0.5 * (x * x + y * y) / (sigma * sigma)).exp();
    let from_centre = |i: usize| i as f64 - (n / 2) as f64;
    let correlation = |dx: f64, dy: f64| -> f64 {
        let value =
            |(i, v): (usize, &f32)| f64::from(*v) * truth(from_centre(i % n) - dx, from_centre(i / n) - dy);
        image.iter().enumerate().map(value).sum()
    };
    let reach = 9;
    let whole = (-reach..=reach).flat_map(|y| (-reach..=reach).map(move |x| (f64::from(x), f64::from(y))));
    let (x, y) = whole
        .map(|(x, y)| (correlation(x, y), (x, y)))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .expect("there should be places")
        .1;
    let vertex = |before: f64, here: f64, after: f64| 0.5 * (before - after) / (before - 2.0 * here + after);
    let here = correlation(x, y);
    [
        x + vertex(correlation(x - 1.0, y), here, correlation(x + 1.0, y)),
        y + vertex(correlation(x, y - 1.0), here, correlation(x, y + 1.0)),
    ]
}

fn other_ctf() -> CtfParams {
    CtfParams { defocus_u_a: 15_500.0, ..ctf() }
}

/// Cuts particles off their blobs, finds their shifts by correlation with the truth, and writes the aligned set.
fn aligned(dir: &Path) -> ParticleSet {
    let places: Vec<(f64, f64)> =
        PICKS.iter().zip(OFF).map(|(at, off)| (at.0 + off.0, at.1 + off.1)).collect();
    write_picks_at(dir, &["m0".into(), "m1".into()], &places);
    let (_, mut set) = run(dir, "J3", given(json!({}))).unwrap();
    assert_eq!(set.particles.len(), 6);
    for particle in &mut set.particles {
        let (n, frames) = images(&dir.join(&particle.stack_path));
        let at = displacement(&frames[particle.stack_index as usize], n, BLOB_SIGMA);
        assert!(at[0].hypot(at[1]) > 4.0, "it was picked off its centre: {at:?}");
        let id = 100 + 7 * particle.id;
        let rotation = Rotation::from_euler_zyz_deg(id as f64, 40.0, -20.0);
        particle.pose = Some(Pose { rotation, shift_a: at.map(|px| px * PIXEL_A) });
        (particle.id, particle.ctf, particle.optics_group) = (id, Some(other_ctf()), 1);
        particle.half = HalfSet::from_number(1 + (id % 2) as i64);
        particle.log_likelihood = -(id as f64);
    }
    particles::write(&dir.join("particles.h5"), &set).unwrap();
    set
}

fn again(dir: &Path, job: &str, more: Value) -> (Report, ParticleSet) {
    run_with(dir, job, given(more), &PARTICLES, &Solo, &|| false).unwrap()
}

#[test]
fn boxes_move_onto_the_particles_and_all_that_is_known_stays() {
    let dir = project(2);
    let before = aligned(dir.path());
    let params = json!({"box_size": 64, "output_box": 32, "background_diameter": 60.0});
    let (report, after) = again(dir.path(), "J5", params);
    let (n, pixel_a) = (32, 3.0);
    assert_eq!((after.box_px, after.pixel_size_a, after.particles.len()), (n as u32, pixel_a, 6));
    for (old, new) in before.particles.iter().zip(&after.particles) {
        assert_eq!(new.id, old.id, "micrographs are in their order, and particles of each in theirs");
        let kept = |p: &vitreous_model::particle::Particle| {
            (p.pose.unwrap().rotation, p.half, p.ctf, p.log_likelihood, p.optics_group)
        };
        assert_eq!(kept(new), kept(old));
        let ([old_x, old_y], [x, y]) = (old.place_px(PIXEL_A).unwrap(), new.place_px(PIXEL_A).unwrap());
        assert!((x - old_x).abs() < 1e-9 && (y - old_y).abs() < 1e-9, "{old:?} {new:?}");
        let truth = PICKS[old.stack_index as usize];
        assert!((x - truth.0).abs() < 0.3 && (y - truth.1).abs() < 0.3, "{truth:?} {x} {y}");
        let rest = new.pose.unwrap().shift_a;
        assert!(rest.iter().all(|a| a.abs() <= 0.5 * PIXEL_A + 1e-9), "{rest:?}");
        let (_, frames) = images(&dir.path().join(&new.stack_path));
        let at = displacement(&frames[new.stack_index as usize], n, BLOB_SIGMA * PIXEL_A / pixel_a);
        let error = [0, 1].map(|axis| at[axis] * pixel_a - rest[axis]);
        assert!(error.iter().all(|a| a.abs() < 0.4 * PIXEL_A), "{at:?} {rest:?}");
    }
    let moved = report.get("moved_A").unwrap();
    assert!((5.0..12.0).contains(&moved), "{moved}");
}

#[test]
fn without_recentring_boxes_and_shifts_stay() {
    let dir = project(2);
    let before = aligned(dir.path());
    let (report, after) = again(dir.path(), "J5", json!({"recentre": false}));
    for (old, new) in before.particles.iter().zip(&after.particles) {
        assert_eq!((&new.pick, new.pose), (&old.pick, old.pose));
        let pixels = |p: &vitreous_model::particle::Particle| {
            images(&dir.path().join(&p.stack_path)).1.swap_remove(p.stack_index as usize)
        };
        assert!(pixels(old) == pixels(new));
    }
    assert_eq!(report.get("moved_A"), Some(0.0));
}

#[test]
fn of_particles_that_came_to_one_place_the_likeliest_is_cut() {
    let dir = project(2);
    let mut set = aligned(dir.path());
    // the same blob, found from another pick
    let mut twin = set.particles[4].clone();
    let pick = twin.pick.as_mut().unwrap();
    (pick.x_px, twin.id, twin.log_likelihood) = (pick.x_px + 8.0, 999, -1.0);
    let pose = twin.pose.as_mut().unwrap();
    pose.shift_a[0] -= 8.0 * PIXEL_A;
    set.particles.push(twin);
    let mut lost = set.particles[0].clone();
    (lost.pick, lost.id) = (None, 998);
    set.particles.push(lost);
    let mut elsewhere = set.particles[0].clone();
    elsewhere.pick.as_mut().unwrap().exposure = "m9".into();
    set.particles.push(elsewhere);
    particles::write(&dir.path().join("particles.h5"), &set).unwrap();
    let (report, after) = again(dir.path(), "J5", json!({"min_distance": 15.0}));
    let ids: Vec<u64> = after.particles.iter().map(|p| p.id).collect();
    let expected: Vec<u64> = set.particles.iter().map(|p| p.id).collect();
    assert_eq!(ids, [&expected[..4], &expected[5..6], &[999]].concat());
    let counts = ["duplicates", "unplaced", "elsewhere", "particles"].map(|key| report.get(key).unwrap());
    assert_eq!(counts, [1.0, 1.0, 1.0, 6.0]);
    let (report, _) = again(dir.path(), "J6", json!({}));
    assert_eq!((report.get("duplicates"), report.get("particles")), (Some(0.0), Some(7.0)));
}

#[test]
fn of_picks_too_close_the_better_is_cut() {
    let dir = project(1);
    write_picks_at(dir.path(), &["m0".into()], &[(50.0, 60.0), (57.0, 60.0), (120.0, 100.0)]);
    let (report, set) = run(dir.path(), "J3", given(json!({"min_distance": 15.0}))).unwrap();
    assert_eq!((report.get("duplicates"), set.particles.len()), (Some(1.0), 2));
    assert_eq!(set.particles[0].pick.as_ref().unwrap().x_px, 57.0);
}

#[test]
fn ranks_cut_the_same_and_inputs_must_be_one_of_two() {
    let dir = project(2);
    aligned(dir.path());
    let (_, alone) = again(dir.path(), "J5", json!({}));
    let on = |job: &str, slots: &[(&str, Kind)], comm: &dyn Comm| {
        run_with(dir.path(), job, given(json!({})), slots, comm, &|| false)
    };
    let together = Threads::run(3, |comm| on("J6", &PARTICLES, comm).unwrap().1);
    assert_eq!(format!("{:?}", together[0]), format!("{alone:?}").replace("J5/", "J6/"));
    let message = |slots| on("J7", slots, &Solo).unwrap_err().to_string();
    assert!(message(&[]).contains("both missing"));
    assert!(message(&[PARTICLES[0], ("picks", Kind::Picks)]).contains("both there"));
}
