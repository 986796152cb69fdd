//! Parts of known sets, and the stage as a whole.

use super::SplitParticles;
use super::parts::{self, Part};
use crate::particle_sets::tests::{input, optics, particle};
use crate::{Ctx, Stage, StageError};
use serde_json::{Value, json};
use vitreous_compute::comm::Solo;
use vitreous_formats::table;
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::params::BadParam;
use vitreous_model::particle::{Particle, ParticleSet};

/// 101 particles of exposures of 1, 2, 3 … particles (the last of fewer).
fn particles() -> Vec<Particle> {
    let exposure = |i: u64| ((((8 * i + 1) as f64).sqrt() - 1.0) / 2.0) as u64;
    (0..101).map(|i| particle(i, "s.mrcs", i as u32, &format!("m{:02}", exposure(i)))).collect()
}

fn split(particles: &[Particle], params: Value) -> Result<Vec<Part>, BadParam> {
    parts::of(particles, &serde_json::from_value(params).unwrap())
}

fn sizes(parts: &[Part]) -> Vec<usize> {
    parts.iter().map(|part| part.members.len()).collect()
}

/// Every particle is in one part, in the order of the set.
fn assert_whole(parts: &[Part], total: usize) {
    assert!(parts.iter().all(|part| part.members.is_sorted()));
    let mut all: Vec<usize> = parts.iter().flat_map(|part| part.members.clone()).collect();
    all.sort_unstable();
    assert_eq!(all, (0..total).collect::<Vec<_>>());
}

#[test]
fn chance_makes_equal_parts_that_depend_on_the_seed_and_not_on_the_order() {
    let all = particles();
    let parts = split(&all, json!({"parts": 3})).unwrap();
    assert_whole(&parts, 101);
    assert_eq!(sizes(&parts), [34, 34, 33]);
    assert_eq!(split(&all, json!({"parts": 3})).unwrap(), parts);
    assert_ne!(split(&all, json!({"parts": 3, "seed": 2})).unwrap(), parts);
    let reversed: Vec<Particle> = all.iter().rev().cloned().collect();
    let ids = |all: &[Particle], part: &Part| {
        let mut ids: Vec<u64> = part.members.iter().map(|&index| all[index].id).collect();
        ids.sort_unstable();
        ids
    };
    let again = split(&reversed, json!({"parts": 3})).unwrap();
    assert!(parts.iter().zip(&again).all(|(a, b)| ids(&all, a) == ids(&reversed, b)));
    // not the first, every third, or another pattern: each third of the set is in each part
    for part in &parts {
        let thirds = [0, 1, 2].map(|third| part.members.iter().filter(|&&index| index / 34 == third).count());
        assert!(thirds.iter().all(|count| (4..=20).contains(count)), "{thirds:?}");
    }
}

#[test]
fn the_first_part_has_the_size_that_is_asked_for() {
    let parts = split(&particles(), json!({"first_size": 10})).unwrap();
    assert_eq!(sizes(&parts), [10, 91]);
    assert_whole(&parts, 101);
    let error = split(&particles(), json!({"first_size": 101})).unwrap_err();
    assert!(error.to_string().contains("smaller than the set of 101"), "{error}");
    let error = split(&particles()[..2], json!({"parts": 3})).unwrap_err();
    assert!(error.to_string().contains("must not be more than there are particles (2)"), "{error}");
}

#[test]
fn an_exposure_stays_together() {
    let mut all = particles();
    all[40].pick = None;
    for params in [json!({"by": "exposure", "parts": 3}), json!({"by": "exposure", "first_size": 30})] {
        let parts = split(&all, params.clone()).unwrap();
        assert_whole(&parts, 101);
        for exposure in 0..14 {
            let name = format!("m{exposure:02}");
            let has = |part: &&Part| {
                part.members.iter().any(|&i| all[i].pick.as_ref().is_some_and(|pick| pick.exposure == name))
            };
            assert_eq!(parts.iter().filter(has).count(), 1, "{name}");
        }
        // the largest exposure has 13 particles
        match params.get("first_size") {
            Some(_) => assert!((30..43).contains(&parts[0].members.len()), "{:?}", sizes(&parts)),
            None => {
                let (least, most) = (sizes(&parts).into_iter().min(), sizes(&parts).into_iter().max());
                assert!(most.unwrap() - least.unwrap() <= 13, "{:?}", sizes(&parts));
            }
        }
    }
}

#[test]
fn halves_classes_and_groups_have_a_part_each() {
    let mut all = particles();
    let parts = split(&all, json!({"by": "half-set"})).unwrap();
    assert_eq!(
        parts.iter().map(|part| part.label.as_str()).collect::<Vec<_>>(),
        ["half-set 1", "half-set 2"]
    );
    assert!(parts[0].members.iter().all(|index| index % 2 == 0));
    all[0].class = None;
    let parts = split(&all, json!({"by": "class"})).unwrap();
    let labels: Vec<&str> = parts.iter().map(|part| part.label.as_str()).collect();
    assert_eq!(labels, ["class 1", "class 2", "class 3", "no class"]);
    assert_whole(&parts, 101);
    assert_eq!(parts[3].members, [0]);
    let parts = split(&all, json!({"by": "class", "values": "2-3,9"})).unwrap();
    assert_whole(&parts, 101);
    assert!(parts[0].members.iter().all(|index| index % 3 > 0) && parts[1].members.contains(&0));
    all.iter_mut().for_each(|p| p.optics_group = 1 + (p.id % 20) as u32);
    let error = split(&all, json!({"by": "optics-group"})).unwrap_err();
    assert!(error.to_string().contains("20 parts") && error.hint.contains("--values"), "{error}");
    let parts = split(&all, json!({"by": "optics-group", "values": "20"})).unwrap();
    assert_eq!(sizes(&parts), [5, 96]);
    let error = split(&all, json!({"by": "class", "values": "4"})).unwrap_err();
    assert!(
        error.to_string().contains("no particle has such a class") && error.hint.contains("1, 2, 3"),
        "{error}"
    );
    all.iter_mut().for_each(|p| p.half = None);
    let error = split(&all, json!({"by": "half-set"})).unwrap_err();
    assert!(error.to_string().contains("no particle has a half-set"), "{error}");
}

#[test]
fn the_stage_writes_every_part_as_an_output_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let set = ParticleSet {
        optics: vec![optics(1, "x", 300.0)],
        box_px: 64,
        pixel_size_a: 1.5,
        particles: particles(),
    };
    let run = |params: Value| -> Result<_, StageError> {
        let job = dir.path().join("J9");
        let mut ctx = Ctx::new(&job, dir.path(), &AnyDevice::Cpu, &Solo, &|_| {}, &|| false);
        ctx.params = params;
        ctx.inputs.insert("particles".into(), vec![input(dir.path(), "J1", &set)]);
        let report = SplitParticles.run(&ctx)?;
        Ok((report, ctx.declared_outputs()))
    };
    let (report, outputs) = run(json!({"by": "class"})).unwrap();
    let promised = vitreous_jobs::find("split-particles").unwrap().outputs();
    assert_eq!(outputs.len(), 3);
    for (index, output) in outputs.iter().enumerate() {
        assert_eq!((output.slot.as_str(), output.kind), (promised[index].name, promised[index].kind));
        assert_eq!((output.box_px, output.pixel_size_a), (Some(64), Some(1.5)));
        let part = table::particles::read(&dir.path().join("J9").join(&output.path)).unwrap();
        let expected = set.particles.iter().filter(|p| p.class.unwrap().number == 1 + index as u32);
        assert_eq!(part.particles, expected.cloned().collect::<Vec<_>>());
        assert_eq!(part.optics, set.optics);
        assert_eq!(report.get(&output.slot), Some(part.particles.len() as f64));
    }
    // a part that nobody is in is there, and said to be empty
    let (report, outputs) = run(json!({"by": "class", "values": "1-3"})).unwrap();
    assert_eq!((outputs[1].count, report.notes.len()), (0, 1));
    assert!(run(json!({"by": "class", "first_size": 3})).unwrap_err().to_string().contains("first_size"));
}
