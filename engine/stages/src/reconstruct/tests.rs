//! Known answer, ranks, unfit particles and unfit inputs.

use super::Reconstruct;
use super::accumulate::half_of;
use crate::{Ctx, Input, Stage, StageError};
use ndarray::{Array2, Array3};
use serde_json::{Value, json};
use std::path::Path;
use vitreous_compute::comm::{Comm, Solo, Threads};
use vitreous_compute::fourier::HalfVolume;
use vitreous_compute::fsc::fsc;
use vitreous_compute::likelihood::LatticeCtf;
use vitreous_compute::parity::project::rotations;
use vitreous_compute::parity::symmetric_phantom::SymmetricPhantom;
use vitreous_formats::{mrc, table};
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::conventions::signed_frequency;
use vitreous_model::ctf::CtfParams;
use vitreous_model::ewald::Curvature;
use vitreous_model::half_set::HalfSet;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::particle::{Particle, ParticleSet};
use vitreous_model::pose::Pose;
use vitreous_model::report::Report;
use vitreous_model::symmetry::PointGroup;
use vitreous_model::units::{Degrees, Kilovolt, Millimetre};

const BOX: usize = 32;
const PIXEL_A: f64 = 4.0;

fn phantom() -> SymmetricPhantom {
    SymmetricPhantom::new(BOX, 8, 1.2, 8.0, PointGroup::Dihedral(2), 3)
}

fn ctf(index: usize) -> CtfParams {
    CtfParams {
        defocus_u_a: 9000.0 + 800.0 * (index % 9) as f64,
        defocus_v_a: 8800.0 + 800.0 * (index % 9) as f64,
        astigmatism_angle: Degrees(30.0),
        phase_shift: Degrees(0.0),
        voltage: Kilovolt(300.0),
        cs: Millimetre(2.7),
        amplitude_contrast: 0.1,
        even: Default::default(),
    }
}

/// Noise-free, shifted images with CTF, and their table; `change` may spoil both.
fn write_particles(dir: &Path, count: usize, change: impl Fn(&mut Vec<Array2<f32>>, &mut ParticleSet)) {
    let phantom = phantom();
    let mut images = Vec::new();
    let mut particles = Vec::new();
    for (index, rotation) in rotations(count, 4).into_iter().enumerate() {
        let shift_px = [(index % 5) as f64 - 2.0, 0.5 * (index % 3) as f64];
        let mut slice = phantom.slice(rotation, 15.0);
        let lattice = LatticeCtf::new(Some(&ctf(index)), BOX, PIXEL_A);
        for ((y, x), value) in slice.data_mut().indexed_iter_mut() {
            *value *= lattice.value(x as f64, signed_frequency(y, BOX) as f64);
        }
        slice.shift(shift_px[0], shift_px[1]);
        images.push(slice.into_box());
        particles.push(Particle {
            ctf: Some(ctf(index)),
            pose: Some(Pose { rotation, shift_a: shift_px.map(|t| t * PIXEL_A) }),
            ..Particle::of_image(index as u64, "stack.mrcs", index as u32)
        });
    }
    let mut set = ParticleSet { optics: Vec::new(), box_px: BOX as u32, pixel_size_a: PIXEL_A, particles };
    change(&mut images, &mut set);
    let spec = mrc::MrcSpec::images(BOX, BOX, PIXEL_A);
    let mut writer = mrc::MrcWriter::create(&dir.join("stack.mrcs"), spec).unwrap();
    for image in &images {
        writer.append(image.as_slice().unwrap()).unwrap();
    }
    writer.finish().unwrap();
    table::particles::write(&dir.join("particles.h5"), &set).unwrap();
}

fn run(dir: &Path, job: &str, comm: &dyn Comm, params: Value) -> Result<(Report, Vec<String>), StageError> {
    let job_dir = dir.join(job);
    std::fs::create_dir_all(&job_dir).unwrap();
    let mut ctx = Ctx::new(&job_dir, dir, &AnyDevice::Cpu, comm, &|_| {}, &|| false);
    ctx.params = params;
    let output = Output::new("particles", Kind::Particles, "particles.h5", 0);
    let input = Input { job: "J1".into(), output, path: dir.join("particles.h5"), parts: Default::default() };
    ctx.inputs.insert("particles".into(), vec![input]);
    let report = Reconstruct.run(&ctx)?;
    Ok((report, ctx.skipped().into_iter().map(|skipped| skipped.reason).collect()))
}

fn map(dir: &Path, name: &str) -> Array3<f32> {
    mrc::read_volume(&dir.join(name)).unwrap().data
}

#[test]
fn the_phantom_comes_back_with_ctf_shifts_and_symmetry() {
    let dir = tempfile::tempdir().unwrap();
    write_particles(dir.path(), 300, |_, _| {});
    let (report, skipped) = run(dir.path(), "J2", &Solo, json!({"symmetry": "D2"})).unwrap();
    assert!(skipped.is_empty());
    let truth = phantom().transform();
    for name in ["map.mrc", "half1.mrc", "half2.mrc"] {
        let curve = fsc(&HalfVolume::of_box(map(&dir.path().join("J2"), name).view()), &truth);
        assert!(curve[2..13].iter().all(|&c| c > 0.98), "{name}: {curve:?}");
    }
    let counts = [report.get("particles_half1").unwrap(), report.get("particles_half2").unwrap()];
    assert_eq!(counts[0] + counts[1], 300.0);
    assert!(counts[0] > 100.0 && counts[1] > 100.0);
    // the signal ends with the slices, at shell 15 of 128 Å
    assert!(report.get("resolution_fsc0143_A").unwrap() < 10.0);
    // the grey values are those of the object
    let got = map(&dir.path().join("J2"), "map.mrc");
    let want = phantom().volume();
    let scale =
        got.iter().zip(&want).map(|(a, b)| a * b).sum::<f32>() / want.iter().map(|b| b * b).sum::<f32>();
    assert!((scale - 1.0).abs() < 0.05, "{scale}");
}

/// Replaces the images by those of a thick object whose defocus changes with height, as slow electrons show it.
fn make_thick(images: &mut [Array2<f32>], set: &mut ParticleSet, curvature: Curvature) {
    let phantom = SymmetricPhantom::new(BOX, 12, 0.8, 11.0, PointGroup::C1, 6);
    for (index, (image, particle)) in images.iter_mut().zip(&mut set.particles).enumerate() {
        let defocus_a = 150.0 + 8.0 * (index % 40) as f64;
        let ctf = CtfParams {
            defocus_u_a: defocus_a,
            defocus_v_a: defocus_a,
            voltage: Kilovolt(0.1),
            cs: Millimetre(0.0),
            ..ctf(index)
        };
        let pose = particle.pose.unwrap();
        let mut slice = phantom.thick_image(pose.rotation, 14.0, &ctf, curvature, PIXEL_A);
        slice.shift(pose.shift_a[0] / PIXEL_A, pose.shift_a[1] / PIXEL_A);
        *image = slice.into_box();
        particle.ctf = Some(ctf);
    }
}

#[test]
fn the_right_curvature_of_the_ewald_sphere_is_found() {
    for (curvature, name) in [(Curvature::Forward, "forward"), (Curvature::Reversed, "reversed")] {
        let dir = tempfile::tempdir().unwrap();
        write_particles(dir.path(), 600, |images, set| make_thick(images, set, curvature));
        let (report, _) =
            run(dir.path(), "J2", &Solo, json!({"ewald": "best", "max_resolution": 9.2})).unwrap();
        assert_eq!(report.data["curvature"], json!(name));
        let lead = report.get("curvature_lead").unwrap() * -curvature.sign();
        assert!(lead > 3.0, "{name}: {lead}");
        // what is kept is what that curvature alone gives, on any number of ranks
        Threads::run(2, |comm| {
            run(dir.path(), "J3", comm, json!({"ewald": name, "max_resolution": 9.2})).map(|_| ()).unwrap()
        });
        assert_eq!(map(&dir.path().join("J2"), "map.mrc"), map(&dir.path().join("J3"), "map.mrc"));
    }
}

#[test]
fn ranks_change_no_bit() {
    let dir = tempfile::tempdir().unwrap();
    write_particles(dir.path(), 60, |_, _| {});
    run(dir.path(), "J2", &Solo, json!({})).unwrap();
    Threads::run(3, |comm| run(dir.path(), "J3", comm, json!({})).map(|_| ()).unwrap());
    for name in ["map.mrc", "half1.mrc", "half2.mrc"] {
        assert_eq!(map(&dir.path().join("J2"), name), map(&dir.path().join("J3"), name), "{name}");
    }
}

#[test]
fn unfit_particles_are_left_out_and_named() {
    let dir = tempfile::tempdir().unwrap();
    write_particles(dir.path(), 80, |images, set| {
        images[5] *= 1e9;
        set.particles[7].pose = None;
        set.particles[9].stack_index = 500;
    });
    let (report, reasons) = run(dir.path(), "J2", &Solo, json!({})).unwrap();
    assert_eq!(report.get("particles"), Some(77.0));
    for part in ["normalised", "no pose", "501"] {
        assert!(reasons.iter().any(|reason| reason.contains(part)), "{part} in {reasons:?}");
    }
    let error = run(dir.path(), "J3", &Solo, json!({"max_bad_fraction": 0.01})).unwrap_err();
    assert!(error.to_string().contains("3 of 80 particles"), "{error}");
}

#[test]
fn unfit_inputs_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    write_particles(dir.path(), 20, |_, set| {
        set.particles.iter_mut().for_each(|particle| particle.half = Some(HalfSet::One));
    });
    let error = run(dir.path(), "J2", &Solo, json!({})).unwrap_err();
    assert!(error.to_string().contains("20 and 0"), "{error}");
    let error = run(dir.path(), "J3", &Solo, json!({"diameter": 1000.0})).unwrap_err();
    assert!(error.to_string().contains("diameter"), "{error}");
    let error = run(dir.path(), "J4", &Solo, json!({"symetry": "C1"})).unwrap_err();
    assert!(error.to_string().contains("symetry"), "{error}");
}

#[test]
fn coins_are_fair_and_keep_their_side() {
    let mut particle = Particle::of_image(0, "", 0);
    let throws: Vec<HalfSet> = (0..1000)
        .map(|id| {
            particle.id = id;
            half_of(&particle, 1)
        })
        .collect();
    let ones = throws.iter().filter(|half| **half == HalfSet::One).count();
    assert!((440..560).contains(&ones), "{ones}");
    assert_eq!(half_of(&particle, 1), throws[999]);
    particle.half = Some(HalfSet::Two);
    assert_eq!(half_of(&particle, 1), HalfSet::Two);
}

#[test]
fn the_readme_has_the_parameters() {
    let table = vitreous_jobs::page::parameter_table(&vitreous_jobs::reconstruct::JOB);
    assert!(include_str!("README.md").contains(table.trim_end()), "put this into README.md:\n{table}");
}
