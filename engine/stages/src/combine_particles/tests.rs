//! The union of known sets, and the stage as a whole.

use super::CombineParticles;
use super::union::{self, Named, Union};
use crate::particle_sets::tests::{input, optics, particle, write_stack};
use crate::{Ctx, Input, Stage, StageError};
use serde_json::json;
use std::path::Path;
use vitreous_compute::comm::{Comm, Solo, Threads};
use vitreous_formats::table;
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::exposure::OpticsGroup;
use vitreous_model::particle::{Particle, ParticleSet};
use vitreous_model::report::Report;

fn set(groups: Vec<OpticsGroup>, particles: Vec<Particle>) -> ParticleSet {
    ParticleSet { optics: groups, box_px: 16, pixel_size_a: 2.0, particles }
}

/// Images 0 to 3 of `a`; images 2 and 3 of `a` under another name of the file, and 0 and 1 of `b`, with numbers from 2 on.
fn two_sets() -> [ParticleSet; 2] {
    let first = (0..4).map(|i| particle(i, "a.mrcs", i as u32, "m1")).collect();
    let mut second: Vec<Particle> = (2..4).map(|i| particle(i, "/em/a.mrcs", i as u32, "m1")).collect();
    second.extend((0..2).map(|i| particle(i + 3, "b.mrcs", i as u32, "m2")));
    second.iter_mut().for_each(|particle| particle.optics_group = 2);
    [set(vec![optics(1, "x", 300.0)], first), set(vec![optics(2, "x", 300.0)], second)]
}

fn union_of(sets: &[ParticleSet], merge: bool) -> Result<Union, StageError> {
    let named =
        |(index, set): (usize, &ParticleSet)| Named { name: format!("J{}", index + 1), set: set.clone() };
    union::of(sets.iter().enumerate().map(named).collect(), merge, &|path| Path::new("/em").join(path))
}

#[test]
fn every_image_is_there_once_under_a_number_of_its_own() {
    let sets = two_sets();
    let union = union_of(&sets, true).unwrap();
    assert_eq!(union.known, [0, 2]);
    let images: Vec<(&str, u32)> =
        union.set.particles.iter().map(|p| (p.stack_path.as_str(), p.stack_index)).collect();
    let a = (0..4).map(|i| ("a.mrcs", i));
    assert_eq!(images, a.chain((0..2).map(|i| ("b.mrcs", i))).collect::<Vec<_>>());
    // 3 is taken, 4 is free; new numbers lie above all old ones
    assert_eq!(union.set.particles.iter().map(|p| p.id).collect::<Vec<_>>(), [0, 1, 2, 3, 5, 4]);
    assert_eq!(union.renumbered, 1);
    // all else of a particle stays: pose, class, half-set, place
    let mut last = sets[1].particles[3].clone();
    last.optics_group = 1;
    assert_eq!(union.set.particles[5], last);
    assert!(last.class.is_some());
}

#[test]
fn equal_optics_groups_become_one_and_others_get_numbers_and_names_of_their_own() {
    let sets = two_sets();
    let union = union_of(&sets, true).unwrap();
    assert_eq!((union.set.optics.len(), union.merged_groups), (1, 1));
    assert!(union.set.particles.iter().all(|p| p.optics_group == 1));
    let apart = union_of(&sets, false).unwrap();
    let groups: Vec<(u32, &str)> = apart.set.optics.iter().map(|g| (g.number, g.name.as_str())).collect();
    assert_eq!(groups, [(1, "x"), (2, "x_2")]);
    // another voltage under the same name and number
    let [first, mut second] = two_sets();
    second.optics = vec![optics(1, "x", 200.0), optics(3, "y", 300.0)];
    second.particles.iter_mut().for_each(|p| p.optics_group = 1);
    let union = union_of(&[first, second], true).unwrap();
    let groups: Vec<(u32, &str)> = union.set.optics.iter().map(|g| (g.number, g.name.as_str())).collect();
    assert_eq!((groups, union.merged_groups), (vec![(1, "x"), (2, "x_2"), (3, "y")], 0));
    assert_eq!(union.set.particles.iter().map(|p| p.optics_group).collect::<Vec<_>>(), [1, 1, 1, 1, 2, 2]);
}

#[test]
fn sets_that_do_not_fit_are_refused_with_what_to_do() {
    let message = |change: &dyn Fn(&mut ParticleSet)| {
        let [first, mut second] = two_sets();
        change(&mut second);
        let error = union_of(&[first, second], true).unwrap_err();
        (error.to_string(), error.hint())
    };
    let (text, hint) = message(&|set| set.box_px = 32);
    assert!(
        text.contains("J1 has images of 16 px at 2 Å, J2 of 32 px") && hint.contains("--crop-box"),
        "{text}"
    );
    let (text, hint) = message(&|set| set.pixel_size_a = 1.0);
    assert!(text.contains("J2 of 16 px at 1 Å") && hint.contains("downsample-particles"), "{text}");
    let (text, _) = message(&|set| set.particles[3].optics_group = 9);
    assert!(text.contains("J2: particle 4 is of optics group 9"), "{text}");
    // an empty set of another box says nothing
    let [first, _] = two_sets();
    let empty = ParticleSet { box_px: 32, pixel_size_a: f64::NAN, ..Default::default() };
    let union = union_of(&[empty, first.clone()], true).unwrap();
    assert_eq!((union.set.box_px, union.set.pixel_size_a), (16, 2.0));
    assert_eq!(union.set.particles, first.particles);
}

fn run_on(dir: &Path, inputs: &[Input], comm: &dyn Comm) -> Result<Report, StageError> {
    let mut ctx = Ctx::new(&dir.join("J9"), dir, &AnyDevice::Cpu, comm, &|_| {}, &|| false);
    ctx.params = json!({});
    ctx.inputs.insert("particles".into(), inputs.to_vec());
    let report = CombineParticles.run(&ctx)?;
    if ctx.is_root() {
        assert_eq!(Some(ctx.declared_outputs()[0].count as f64), report.get("particles"));
    }
    Ok(report)
}

#[test]
fn the_stage_writes_the_union_and_shows_the_sets() {
    let dir = tempfile::tempdir().unwrap();
    let image = |i: u32| (0..256).map(|p| ((p * 7 + i) % 11) as f32).collect();
    write_stack(dir.path(), "a.mrcs", 16, &(0..4).map(image).collect::<Vec<_>>());
    let [first, mut second] = two_sets();
    second.particles.drain(..2);
    let sets = [first, second];
    let inputs = [input(dir.path(), "J1", &sets[0]), input(dir.path(), "J2", &sets[1])];
    let report = run_on(dir.path(), &inputs, &Solo).unwrap();
    assert_eq!((report.get("particles"), report.get("duplicates")), (Some(6.0), Some(0.0)));
    // the images of the second set are not there: it is combined all the same, and not shown
    let ids: Vec<&str> = report.figures.iter().map(|figure| figure.id()).collect();
    assert_eq!(ids, ["spectra", "particles-1"]);
    let written = table::particles::read(&dir.path().join("J9/particles.h5")).unwrap();
    assert_eq!(written, union_of(&sets, true).unwrap().set);
    let together = Threads::run(2, |comm| run_on(dir.path(), &inputs, comm).unwrap());
    assert_eq!(together[0], report);
    let alone = run_on(dir.path(), &inputs[..1], &Solo).unwrap_err();
    assert!(alone.hint().contains("--particles J1 --particles J2"));
}
