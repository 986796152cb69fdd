//! Images in new stacks: the same, where they belong, without those that cannot be used.

use super::RestackParticles;
use crate::StageError;
use crate::image_stacks::tests::{Scene, noise};
use crate::particle_sets::tests::write_stack;
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering};
use vitreous_compute::comm::Threads;
use vitreous_formats::open_image;
use vitreous_formats::samples::SampleType;
use vitreous_model::particle::{Particle, ParticleSet};

/// All of a particle but where its image is.
fn but_image(particle: &Particle) -> Particle {
    Particle { stack_path: String::new(), stack_index: 0, ..particle.clone() }
}

/// Same particles in the same order, with the same images in stacks of the job.
fn assert_same(scene: &Scene, new: &ParticleSet, old: &[Particle]) {
    assert_eq!(
        new.particles.iter().map(but_image).collect::<Vec<_>>(),
        old.iter().map(but_image).collect::<Vec<_>>()
    );
    assert_eq!((new.box_px, new.pixel_size_a, &new.optics), (16, 1.5, &scene.set.optics));
    for (new, old) in new.particles.iter().zip(old) {
        assert!(new.stack_path.starts_with("J9/particles/"), "{}", new.stack_path);
        assert_eq!(scene.image(new), scene.image(old));
    }
}

#[test]
fn every_image_is_copied_as_it_is() {
    let scene = Scene::new(16);
    let (report, new) = scene.run_alone(&RestackParticles, json!({})).unwrap();
    assert_same(&scene, &new, &scene.set.particles);
    let places: Vec<(&str, u32)> =
        new.particles.iter().map(|p| (p.stack_path.rsplit('/').next().unwrap(), p.stack_index)).collect();
    let (a, b) = ("m_a.mrcs", "m_b.mrcs");
    assert_eq!(places, [(a, 0), (b, 0), (a, 1), (a, 2), (b, 1), (a, 3), (b, 2)]);
    assert_eq!((report.get("stacks"), report.get("left_out")), (Some(2.0), Some(0.0)));
    // 17 images of 1 KiB became 7
    let shrunk = report.get("size_MiB").unwrap() / report.get("old_size_MiB").unwrap();
    assert!((shrunk - 9.0 / 19.0).abs() < 1e-9, "{shrunk}");
    let ids: Vec<&str> = report.figures.iter().map(|figure| figure.id()).collect();
    assert_eq!(ids, ["before", "after", "spectra"]);
}

#[test]
fn contrast_is_inverted_on_request() {
    let scene = Scene::new(16);
    let (_, new) = scene.run_alone(&RestackParticles, json!({"invert": true})).unwrap();
    let (first, before) = (scene.image(&new.particles[0]), scene.image(&scene.set.particles[0]));
    assert!(before.iter().any(|value| *value != 0.0));
    assert_eq!(first, before.mapv(|value| -value));
}

#[test]
fn stacks_of_so_many_half_precision_images() {
    let scene = Scene::new(16);
    let params = json!({"images_per_stack": 3, "float16": true});
    let (_, new) = scene.run_alone(&RestackParticles, params).unwrap();
    for (index, (new, old)) in new.particles.iter().zip(&scene.set.particles).enumerate() {
        assert_eq!(new.stack_path, format!("J9/particles/{:06}.mrcs", index / 3 + 1));
        let source = open_image(&scene.path().join(&new.stack_path)).unwrap();
        assert_eq!(source.header().sample, SampleType::Float16);
        assert_eq!(source.header().pixel_size_a, Some(1.5));
        // half precision has 11 bits
        let close = |(a, b): (&f32, &f32)| (a - b).abs() <= b.abs() / 2048.0 + 1e-7;
        assert!(scene.image(new).iter().zip(&scene.image(old)).all(close));
    }
}

#[test]
fn images_that_cannot_be_used_are_left_out_and_listed() {
    let mut scene = Scene::new(16);
    let mut images: Vec<Vec<f32>> = (0..12).map(|i| noise(16, 1, i)).collect();
    images[3][7] = 1e6;
    write_stack(scene.path(), "old/a.mrcs", 16, &images);
    let path = scene.path().join("old/a.mrcs");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[1024 + 11 * 1024..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    #[expect(clippy::disallowed_methods, reason = "a test writes its input")]
    std::fs::write(&path, bytes).unwrap();
    scene.set.particles[4].stack_index = 5;
    scene.set.particles[6].stack_path = "old/gone.mrcs".into();
    let params = json!({"float16": true, "max_bad_fraction": 0.6});
    let (report, new) = scene.run_alone(&RestackParticles, params).unwrap();
    let ids: Vec<u64> = new.particles.iter().map(|p| p.id).collect();
    assert_eq!(ids, [40, 41, 45]);
    let told: Vec<(&str, &str)> =
        report.skipped.iter().map(|skipped| (skipped.item.as_str(), skipped.reason.as_str())).collect();
    for ((item, reason), (number, word)) in told.iter().zip([
        ("000012@old/a.mrcs", "NaN"),
        ("000004@old/a.mrcs", "1000000"),
        ("000006@old/b.mrcs", "image 6 was asked for"),
        ("000003@old/gone.mrcs", "No such file"),
    ]) {
        assert!(*item == number && reason.contains(word), "{item}: {reason}");
    }
    assert_eq!(told.len(), 4);
    // no gaps are left in the stacks
    assert_eq!(scene.image(&new.particles[2]).dim(), (16, 16));
    assert_eq!(new.particles.iter().map(|p| p.stack_index).collect::<Vec<_>>(), [0, 0, 1]);
    let error = scene.run_alone(&RestackParticles, json!({"float16": true})).unwrap_err();
    assert!(error.to_string().contains("4 of 7 particles failed"), "{error}");
}

#[test]
fn a_stack_of_which_nothing_can_be_used_is_not_there() {
    let mut scene = Scene::new(16);
    for particle in &mut scene.set.particles {
        if particle.stack_path == "old/b.mrcs" {
            particle.stack_index += 100;
        }
    }
    let (_, new) = scene.run_alone(&RestackParticles, json!({"max_bad_fraction": 0.5})).unwrap();
    assert_eq!(new.particles.len(), 4);
    assert!(!scene.path().join("J9/particles/m_b.mrcs").exists());
    // and one that turns out so only when it is read
    write_stack(scene.path(), "old/b.mrcs", 16, &vec![vec![1e7; 256]; 200]);
    let params = json!({"max_bad_fraction": 0.5, "float16": true});
    let (report, new) = scene.run_alone(&RestackParticles, params).unwrap();
    assert_eq!((new.particles.len(), report.skipped.len()), (4, 3));
    assert!(!scene.path().join("J9/particles/m_b.mrcs").exists());
}

#[test]
fn a_stopped_job_goes_on_and_three_ranks_do_as_one() {
    let scene = Scene::new(16);
    let params = json!({"images_per_stack": 1});
    let asked = AtomicUsize::new(0);
    let stop = || asked.fetch_add(1, Ordering::Relaxed) >= 3;
    let error =
        scene.run(&RestackParticles, params.clone(), &vitreous_compute::comm::Solo, &stop).unwrap_err();
    assert!(matches!(error, StageError::Stopped));
    let stack = |number: u32| scene.path().join(format!("J9/particles/{number:06}.mrcs"));
    let time = |number: u32| std::fs::metadata(stack(number)).unwrap().modified().unwrap();
    let finished = time(1);
    assert!(stack(3).exists() && !stack(4).exists());
    let (_, new) = scene.run_alone(&RestackParticles, params.clone()).unwrap();
    assert_same(&scene, &new, &scene.set.particles);
    assert_eq!(time(1), finished, "what was done is not done again");
    let other = Scene::new(16);
    let together =
        Threads::run(3, |comm| other.run(&RestackParticles, params.clone(), comm, &|| false).unwrap());
    assert_eq!(together[0].1, new);
    assert_same(&other, &together[0].1, &other.set.particles);
}

#[test]
fn an_empty_set_stays_empty() {
    let mut scene = Scene::new(16);
    scene.set.particles.clear();
    let (report, new) = scene.run_alone(&RestackParticles, json!({})).unwrap();
    assert_eq!((report.get("particles"), new.particles.len(), new.box_px), (Some(0.0), 0, 16));
}
