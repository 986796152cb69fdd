//! Pairs in known sets, and the stage as a whole.

use super::IntersectParticles;
use super::pairs::{by_image, by_place};
use crate::particle_sets::tests::{input, optics, particle};
use crate::{Ctx, Stage, StageError};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::path::Path;
use vitreous_compute::comm::Solo;
use vitreous_formats::table;
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::particle::{Particle, ParticleSet};
use vitreous_model::report::Report;

#[test]
fn the_same_image_is_the_same_particle_under_any_number() {
    let first: Vec<Particle> = (0..5).map(|i| particle(i, "a.mrcs", i as u32, "m")).collect();
    let second = [
        particle(90, "/em/a.mrcs", 3, "m"),
        particle(1, "b.mrcs", 1, "m"),
        particle(91, "a.mrcs", 0, "m"),
        particle(92, "a.mrcs", 0, "m"),
    ];
    let common = by_image(&first, &second, &|path| Path::new("/em").join(path));
    assert_eq!(common.first, [true, false, false, true, false]);
    assert_eq!(common.second, [true, false, true, true]);
}

#[test]
fn the_closest_places_are_paired_first_and_each_once() {
    let first = [Some(("m", [0.0, 0.0])), Some(("m", [10.0, 0.0])), Some(("n", [0.0, 0.0])), None];
    // 4 Å and 6 Å from the first two; 9 Å from the second; on another micrograph; unknown
    let second = [Some(("m", [4.0, 0.0])), Some(("m", [19.0, 0.0])), Some(("o", [0.0, 0.0])), None];
    let common = by_place(&first, &second, 9.5);
    assert_eq!(
        (common.first.as_slice(), common.second.as_slice()),
        (&[true, true, false, false][..], &[true, true, false, false][..])
    );
    assert_eq!(common.distances_a, [4.0, 9.0]);
    let common = by_place(&first, &second, 5.0);
    assert_eq!(common.first, [true, false, false, false]);
}

proptest! {
    /// The sweep from left to right finds what a comparison of all with all finds.
    #[test]
    fn no_pair_is_missed(
        a in proptest::collection::vec((0.0..100.0f64, 0.0..100.0f64), 0..40),
        b in proptest::collection::vec((0.0..100.0f64, 0.0..100.0f64), 0..40),
        most in 0.5..30.0f64,
    ) {
        let places = |list: &[(f64, f64)]| list.iter().map(|&(x, y)| Some(("m", [x, y]))).collect::<Vec<_>>();
        let common = by_place(&places(&a), &places(&b), most);
        // greedy over all pairs
        let mut all: Vec<(f64, usize, usize)> = (0..a.len())
            .flat_map(|i| (0..b.len()).map(move |j| (i, j)))
            .map(|(i, j)| ((a[i].0 - b[j].0).hypot(a[i].1 - b[j].1), i, j))
            .filter(|pair| pair.0 <= most)
            .collect();
        all.sort_by(|p, q| p.partial_cmp(q).unwrap());
        let (mut first, mut second) = (vec![false; a.len()], vec![false; b.len()]);
        for (_, i, j) in all {
            if !first[i] && !second[j] {
                (first[i], second[j]) = (true, true);
            }
        }
        prop_assert_eq!(common.first, first);
        prop_assert_eq!(common.second, second);
    }
}

/// Particles of numbers `ids`, 10 px apart on one micrograph, with their images in a stack of their own.
fn set(stack: &str, ids: std::ops::Range<u64>, shift_a: f64) -> ParticleSet {
    let mut particles: Vec<Particle> =
        ids.clone().map(|id| particle(id, stack, (id - ids.start) as u32, "m")).collect();
    particles.iter_mut().filter_map(|p| p.pose.as_mut()).for_each(|pose| pose.shift_a[0] += shift_a);
    ParticleSet { optics: vec![optics(1, "x", 300.0)], box_px: 64, pixel_size_a: 1.5, particles }
}

fn run_on(
    first: &ParticleSet,
    second: &ParticleSet,
    params: Value,
) -> Result<(Report, [ParticleSet; 3]), StageError> {
    let dir = tempfile::tempdir().unwrap();
    let job = dir.path().join("J9");
    let mut ctx = Ctx::new(&job, dir.path(), &AnyDevice::Cpu, &Solo, &|_| {}, &|| false);
    ctx.params = params;
    ctx.inputs.insert("particles".into(), vec![input(dir.path(), "J1", first)]);
    ctx.inputs.insert("other".into(), vec![input(dir.path(), "J2", second)]);
    let report = IntersectParticles.run(&ctx)?;
    let slots = ctx.declared_outputs();
    assert_eq!(
        slots.iter().map(|output| output.slot.as_str()).collect::<Vec<_>>(),
        ["particles", "only_first", "only_second"]
    );
    Ok((report, [0, 1, 2].map(|i| table::particles::read(&job.join(&slots[i].path)).unwrap())))
}

fn ids(set: &ParticleSet) -> Vec<u64> {
    set.particles.iter().map(|particle| particle.id).collect()
}

#[test]
fn the_stage_hands_on_what_is_in_both_and_in_each_alone() {
    let (first, second) = (set("a.mrcs", 0..6, 0.0), set("a.mrcs", 0..4, 0.0));
    let (report, [both, only_first, only_second]) = run_on(&first, &second, json!({})).unwrap();
    assert_eq!((ids(&both), ids(&only_first), ids(&only_second)), (vec![0, 1, 2, 3], vec![4, 5], vec![]));
    assert_eq!(
        both.particles,
        first.particles[..4],
        "as they are in the first set, classes and poses included"
    );
    assert_eq!(report.get("particles"), Some(4.0));
    // extracted anew in stacks of their own: no image is the same, and places tell
    let other = set("b.mrcs", 2..9, 5.0);
    let (_, [both, ..]) = run_on(&first, &other, json!({})).unwrap();
    assert!(both.particles.is_empty());
    let params = json!({"by": "place", "max_distance": 6.0, "micrograph_pixel_size": 2.0});
    let (report, [both, only_first, only_second]) = run_on(&first, &other, params).unwrap();
    assert_eq!(
        (ids(&both), ids(&only_first), ids(&only_second)),
        (vec![2, 3, 4, 5], vec![0, 1], vec![6, 7, 8])
    );
    assert!((report.get("distance_A").unwrap() - 5.0).abs() < 1e-9);
    assert_eq!(report.figures.len(), 1);
    let params = json!({"by": "place", "max_distance": 4.0, "micrograph_pixel_size": 2.0});
    let (_, [both, ..]) = run_on(&first, &other, params).unwrap();
    assert!(both.particles.is_empty());
}

#[test]
fn places_need_a_pixel_size_and_micrographs() {
    let first = set("a.mrcs", 0..3, 0.0);
    let error = run_on(&first, &first, json!({"by": "place", "max_distance": 6.0})).unwrap_err();
    assert!(error.to_string().contains("micrograph_pixel_size"), "{error}");
    let mut lost = first.clone();
    lost.particles.iter_mut().for_each(|particle| particle.pick = None);
    let params = json!({"by": "place", "max_distance": 6.0, "micrograph_pixel_size": 2.0});
    let error = run_on(&first, &lost, params).unwrap_err();
    assert!(error.to_string().contains("none of 3 particles lies on a micrograph"), "{error}");
}
