use super::Select2d;
use super::choose::{choose, usual_detail};
use crate::{Ctx, Input, Stage, StageError};
use serde_json::json;
use std::path::Path;
use vitreous_compute::comm::Solo;
use vitreous_formats::{mrc, table};
use vitreous_jobs::select_2d::Select2d as Params;
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::class_average::{ClassAverage, ClassAverages};
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::particle::{ClassAssignment, Particle, ParticleSet};
use vitreous_model::report::Report;

/// Class i + 1 has `20 (i + 1)` particles; the first two show no detail, the last is empty.
fn classes() -> Vec<ClassAverage> {
    let class = |i: u32| ClassAverage {
        number: i + 1,
        stack_index: i,
        particles: if i == 4 { 0 } else { 20 * u64::from(i + 1) },
        probability: 0.9,
        resolution_a: 20.0 - 2.0 * f64::from(i),
        detail: [1.5, 0.2, 10.0, 11.0, 0.0][i as usize],
    };
    (0..5).map(class).collect()
}

fn write_inputs(dir: &Path) {
    let averages = ClassAverages {
        stack_path: "averages.mrcs".into(),
        box_px: 8,
        pixel_size_a: 3.0,
        diameter_a: 20.0,
        classes: classes(),
    };
    table::class_averages::write(&dir.join("averages.h5"), &averages).unwrap();
    assert_eq!(table::class_averages::read(&dir.join("averages.h5")).unwrap(), averages);
    let mut writer =
        mrc::MrcWriter::create(&dir.join("averages.mrcs"), mrc::MrcSpec::images(8, 8, 3.0)).unwrap();
    for i in 0..5 {
        writer.append(&(0..64).map(|p| (p * i) as f32).collect::<Vec<_>>()).unwrap();
    }
    writer.finish().unwrap();
    let particle = |(id, number): (usize, u32)| Particle {
        class: (number > 0)
            .then_some(ClassAssignment { number, probability: if id % 10 == 0 { 0.3 } else { 0.9 } }),
        ..Particle::of_image(id as u64, "stack.mrcs", id as u32)
    };
    let numbers = (1..5).flat_map(|number| (0..20 * number).map(move |_| number)).chain([0]);
    let particles = numbers.enumerate().map(particle).collect();
    let set = ParticleSet { optics: Vec::new(), box_px: 8, pixel_size_a: 3.0, particles };
    table::particles::write(&dir.join("particles.h5"), &set).unwrap();
}

fn run(dir: &Path, params: serde_json::Value) -> Result<(Report, ParticleSet, ParticleSet), StageError> {
    let job_dir = dir.join("J3");
    std::fs::create_dir_all(&job_dir).unwrap();
    let mut ctx = Ctx::new(&job_dir, dir, &AnyDevice::Cpu, &Solo, &|_| (), &|| false);
    ctx.params = params;
    for (slot, kind, file) in [
        ("particles", Kind::Particles, "particles.h5"),
        ("class-averages", Kind::ClassAverages, "averages.h5"),
    ] {
        let output = Output::new(slot, kind, file, 0);
        let input = Input { job: "J2".into(), output, path: dir.join(file), parts: Default::default() };
        ctx.inputs.insert(slot.into(), vec![input]);
    }
    let report = Select2d.run(&ctx)?;
    let read = |file: &str| table::particles::read(&job_dir.join(file)).unwrap();
    Ok((report, read("particles.h5"), read("rejected.h5")))
}

fn numbers(set: &ParticleSet) -> Vec<u32> {
    let mut numbers: Vec<u32> = set.particles.iter().filter_map(|p| p.class.map(|c| c.number)).collect();
    numbers.dedup();
    numbers
}

#[test]
fn classes_without_detail_are_left_out_by_themselves() {
    let dir = tempfile::tempdir().unwrap();
    write_inputs(dir.path());
    let (report, kept, rejected) = run(dir.path(), json!({})).unwrap();
    assert_eq!((numbers(&kept), kept.particles.len()), (vec![3, 4], 140));
    // and particles that are in no class
    assert_eq!((numbers(&rejected), rejected.particles.len()), (vec![1, 2], 61));
    assert_eq!((report.get("kept"), report.get("rejected")), (Some(140.0), Some(61.0)));
    assert!(report.notes[0].contains("--classes 3,4`"), "{:?}", report.notes);
    let selected = table::class_averages::read(&dir.path().join("J3/class-averages.h5")).unwrap();
    assert_eq!(selected.classes.iter().map(|class| class.number).collect::<Vec<_>>(), [3, 4]);
}

#[test]
fn named_classes_and_limits_are_obeyed() {
    let dir = tempfile::tempdir().unwrap();
    write_inputs(dir.path());
    for (params, expected) in [
        (json!({"classes": "1, 3"}), vec![1, 3]),
        (json!({"classes": "1-3", "exclude": "2"}), vec![1, 3]),
        (json!({"min_detail": 0.0}), vec![1, 2, 3, 4]),
        (json!({"min_detail": 0.0, "min_particles": 60}), vec![3, 4]),
        (json!({"min_detail": 0.0, "max_resolution": 18.0, "exclude": "4"}), vec![2, 3]),
    ] {
        let (_, kept, _) = run(dir.path(), params.clone()).unwrap();
        assert_eq!(numbers(&kept), expected, "{params}");
    }
    let (_, kept, _) = run(dir.path(), json!({"classes": "4", "min_probability": 0.5})).unwrap();
    assert_eq!(kept.particles.len(), 72);
}

#[test]
fn what_cannot_be_is_told() {
    let dir = tempfile::tempdir().unwrap();
    write_inputs(dir.path());
    let error = run(dir.path(), json!({"classes": "3,17"})).unwrap_err().to_string();
    assert!(error.contains("class 17") && error.contains("up to 5"), "{error}");
    let error = run(dir.path(), json!({"classes": "5"})).unwrap_err().to_string();
    assert!(error.contains("no particle is left of 201"), "{error}");
    let path = dir.path().join("particles.h5");
    let mut set = table::particles::read(&path).unwrap();
    set.particles.iter_mut().for_each(|particle| particle.class = None);
    table::particles::write(&path, &set).unwrap();
    let error = run(dir.path(), json!({})).unwrap_err().to_string();
    assert!(error.contains("no particle has a class"), "{error}");
}

#[test]
fn detail_is_judged_by_the_best_fifth_of_the_particles() {
    let mut classes = classes();
    assert_eq!(usual_detail(&classes), 11.0);
    // a small class that shows more does not raise the bar
    classes[0].detail = 30.0;
    assert_eq!(usual_detail(&classes), 11.0);
    let kept: Vec<u32> = choose(&Params::default(), &classes)
        .unwrap()
        .into_iter()
        .filter(|decision| decision.reason.is_none())
        .map(|decision| decision.number)
        .collect();
    assert_eq!(kept, [1, 3, 4]);
    assert_eq!(usual_detail(&[]), 0.0);
}
