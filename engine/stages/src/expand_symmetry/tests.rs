//! A reconstruction in C1 of the copies is that with symmetry of the particles; halves hold; copies are not copied again.

use super::ExpandSymmetry;
use super::copies::copies;
use crate::reconstruct::Reconstruct;
use crate::{Ctx, Input, Stage, StageError};
use ndarray::Array3;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use vitreous_compute::comm::{Comm, Solo, Threads};
use vitreous_compute::fsc::fsc_of_maps;
use vitreous_compute::mask::sphere;
use vitreous_compute::parity::project::rotations;
use vitreous_compute::parity::symmetric_phantom::SymmetricPhantom;
use vitreous_formats::{mrc, table};
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::half_set::HalfSet;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::particle::{Particle, ParticleSet, Pick};
use vitreous_model::pose::Pose;
use vitreous_model::report::Report;
use vitreous_model::symmetry::PointGroup;

const BOX: usize = 32;
const PIXEL_A: f64 = 4.0;

/// Shifted images of a phantom of `group` with as much noise as signal, and their table without half-sets.
fn write_particles(dir: &Path, group: PointGroup, count: usize) -> ParticleSet {
    let phantom = SymmetricPhantom::new(BOX, 8, 1.2, 8.0, group, 3);
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(9);
    let mut writer =
        mrc::MrcWriter::create(&dir.join("stack.mrcs"), mrc::MrcSpec::images(BOX, BOX, PIXEL_A)).unwrap();
    let mut particles = Vec::new();
    for (index, rotation) in rotations(count, 4).into_iter().enumerate() {
        let shift_px = [(index % 5) as f64 - 2.0, 0.5 * (index % 3) as f64];
        let mut slice = phantom.slice(rotation, 15.0);
        slice.shift(shift_px[0], shift_px[1]);
        let image = slice.into_box();
        let deviation = (image.iter().map(|v| v * v).sum::<f32>() / image.len() as f32).sqrt();
        let noisy = image.mapv(|v| v + deviation * rng.sample::<f32, _>(rand_distr::StandardNormal));
        writer.append(noisy.as_slice().unwrap()).unwrap();
        particles.push(Particle {
            pose: Some(Pose { rotation, shift_a: shift_px.map(|t| t * PIXEL_A) }),
            ..Particle::of_image(index as u64 * 3, "stack.mrcs", index as u32)
        });
    }
    writer.finish().unwrap();
    let set = ParticleSet { optics: Vec::new(), box_px: BOX as u32, pixel_size_a: PIXEL_A, particles };
    table::particles::write(&dir.join("particles.h5"), &set).unwrap();
    set
}

/// Runs a stage on the table `particles` of `dir` as job `job`.
fn run(
    dir: &Path,
    stage: &dyn Stage,
    job: &str,
    particles: &str,
    params: Value,
    comm: &dyn Comm,
) -> Result<Report, StageError> {
    let job_dir = dir.join(job);
    std::fs::create_dir_all(&job_dir).unwrap();
    let mut ctx = Ctx::new(&job_dir, dir, &AnyDevice::Cpu, comm, &|_| {}, &|| false);
    ctx.params = params;
    let output = Output::new("particles", Kind::Particles, particles, 0);
    let input = Input { job: "J1".into(), output, path: dir.join(particles), parts: Default::default() };
    ctx.inputs.insert("particles".into(), vec![input]);
    stage.run(&ctx)
}

fn expand(dir: &Path, particles: &str, group: &str) -> Result<Report, StageError> {
    run(dir, &ExpandSymmetry, "J2", particles, json!({"symmetry": group}), &Solo)
}

fn expanded(dir: &Path) -> ParticleSet {
    table::particles::read(&dir.join("J2/particles.h5")).unwrap()
}

#[test]
fn copies_in_c1_give_the_map_of_the_particles_with_symmetry() {
    // operators of D2 and O take the grid to itself; those of C3 fall between its points, and sums that are turned are
    // interpolated once more than slices that were put where they take them
    for (name, tolerance) in [("C3", 0.05), ("D2", 1e-3), ("O", 1e-3)] {
        let dir = tempfile::tempdir().unwrap();
        let group: PointGroup = name.parse().unwrap();
        let count = 2400 / group.order();
        write_particles(dir.path(), group, count);
        let report = expand(dir.path(), "particles.h5", name).unwrap();
        assert_eq!(report.get("particles"), Some((count * group.order()) as f64));
        let reconstruct = |job: &str, particles: &str, symmetry: &str| {
            let params = json!({"symmetry": symmetry});
            run(dir.path(), &Reconstruct, job, particles, params, &Solo).unwrap();
            ["half1", "half2"]
                .map(|half| mrc::read_volume(&dir.path().join(format!("{job}/{half}.mrc"))).unwrap().data)
        };
        let symmetric = reconstruct("J3", "particles.h5", name);
        let copied = reconstruct("J4", "J2/particles.h5", "C1");
        let alone = reconstruct("J5", "particles.h5", "C1");
        let truth = SymmetricPhantom::new(BOX, 8, 1.2, 8.0, group, 3).volume();
        for half in 0..2 {
            let [same, without] = [&copied, &alone].map(|maps| compared(&symmetric[half], &maps[half]));
            let errors = [&symmetric, &copied, &alone].map(|maps| compared(&truth, &maps[half]).0);
            println!(
                "{name}, half {half}: copies {same:.4?}, without symmetry {without:.4?}; to the truth {errors:.4?}"
            );
            assert!(same.0 < tolerance && same.1 > 0.995, "{name}, half {half}: {same:?}");
            assert!((errors[1] / errors[0] - 1.0).abs() < 0.1, "{name}, half {half}: {errors:?}");
            assert!(
                without.0 > 3.0 * same.0 && errors[2] > 1.2 * errors[0],
                "{name}: the test can tell {without:?}"
            );
        }
    }
}

/// Relative rms difference of two maps within the phantom, and their least FSC there up to the end of the slices.
fn compared(a: &Array3<f32>, b: &Array3<f32>) -> (f32, f64) {
    let mask = sphere(BOX, 11.0, 3.0);
    let power = |map: &Array3<f32>| (map * &mask).iter().map(|v| v * v).sum::<f32>();
    let curve = fsc_of_maps(a.view(), b.view(), Some(mask.view()));
    ((power(&(a - b)) / power(a)).sqrt(), curve[1..14].iter().copied().fold(1.0, f64::min))
}

#[test]
fn copies_show_the_image_of_their_particle_and_stay_in_its_half() {
    let dir = tempfile::tempdir().unwrap();
    let group = PointGroup::Dihedral(3);
    let mut set = write_particles(dir.path(), group, 40);
    // some have a half-set, some have none, one has no pose
    set.particles.iter_mut().step_by(2).for_each(|particle| particle.half = Some(HalfSet::Two));
    set.particles[7].pose = None;
    table::particles::write(&dir.path().join("particles.h5"), &set).unwrap();
    let report = expand(dir.path(), "particles.h5", "D3").unwrap();
    assert_eq!((report.get("expanded"), report.get("poseless")), (Some(39.0), Some(1.0)));
    assert!(
        report.notes.iter().any(|note| note.starts_with("19 particles had no half-set")),
        "{:?}",
        report.notes
    );
    let after = expanded(dir.path()).particles;
    let ids: HashSet<u64> = after.iter().map(|particle| particle.id).collect();
    assert_eq!((after.len(), ids.len()), (39 * 6, 39 * 6));
    let mut halves: HashMap<u32, HashSet<HalfSet>> = HashMap::new();
    for particle in &after {
        halves.entry(particle.stack_index).or_default().insert(particle.half.unwrap());
    }
    assert!(halves.len() == 39 && halves.values().all(|halves| halves.len() == 1), "{halves:?}");
    assert!(halves.iter().all(|(index, halves)| index % 2 == 1 || halves.contains(&HalfSet::Two)));
    assert!(halves.values().any(|halves| halves.contains(&HalfSet::One)));
    let phantom = SymmetricPhantom::new(BOX, 8, 1.2, 8.0, group, 3);
    for copy in &after[..30] {
        let (own, before) = (copy.pose.unwrap(), set.particles[copy.stack_index as usize].pose.unwrap());
        assert_eq!(own.shift_a, before.shift_a);
        let [one, two] = [own, before].map(|pose| phantom.slice(pose.rotation, 15.0));
        let worst = one.data().iter().zip(two.data()).map(|(a, b)| (a - b).norm()).fold(0f32, f32::max);
        let most = two.data().iter().map(|a| a.norm()).fold(0f32, f32::max);
        assert!(worst < 1e-4 * most, "{worst} of {most}");
    }
}

#[test]
fn what_is_expanded_is_not_expanded_again() {
    let dir = tempfile::tempdir().unwrap();
    let set = write_particles(dir.path(), PointGroup::Cyclic(4), 12);
    expand(dir.path(), "particles.h5", "C4").unwrap();
    std::fs::rename(dir.path().join("J2/particles.h5"), dir.path().join("copies.h5")).unwrap();
    let text = |particles: &str, group: &str| expand(dir.path(), particles, group).unwrap_err().to_string();
    let error = text("copies.h5", "C4");
    assert!(error.contains("image 1 of stack.mrcs") && error.contains("been expanded already"), "{error}");
    let error = text("copies.h5", "C3");
    assert!(error.contains("by another group, or holds duplicates"), "{error}");
    // images that were written anew: the places they were picked at tell
    let mut anew = table::particles::read(&dir.path().join("copies.h5")).unwrap();
    for (index, particle) in anew.particles.iter_mut().enumerate() {
        particle.stack_index = index as u32;
        let x_px = (particle.id / 4) as f64;
        particle.pick = Some(Pick { exposure: "m1".into(), x_px, y_px: 0.0, score: 0.0 });
    }
    table::particles::write(&dir.path().join("anew.h5"), &anew).unwrap();
    assert!(text("anew.h5", "C4").contains("been expanded already"));
    let mut poseless = set;
    poseless.particles.iter_mut().for_each(|particle| particle.pose = None);
    table::particles::write(&dir.path().join("poseless.h5"), &poseless).unwrap();
    assert!(text("poseless.h5", "C4").contains("no particle has a pose"));
    assert!(text("particles.h5", "C1").contains("symmetry"));
}

#[test]
fn numbers_beyond_64_bits_are_refused() {
    let rotations = PointGroup::Cyclic(4).rotations();
    let particle = |id| Particle { pose: Some(Pose::default()), ..Particle::of_image(id, "s.mrcs", 0) };
    assert!(copies(&particle(u64::MAX / 4), &rotations, HalfSet::One).is_some());
    assert_eq!(copies(&particle(u64::MAX / 4 + 1), &rotations, HalfSet::One), None);
}

#[test]
fn three_ranks_write_one_table() {
    let dir = tempfile::tempdir().unwrap();
    write_particles(dir.path(), PointGroup::Cyclic(2), 6);
    expand(dir.path(), "particles.h5", "C2").unwrap();
    let one = expanded(dir.path());
    Threads::run(3, |comm| {
        run(dir.path(), &ExpandSymmetry, "J2", "particles.h5", json!({"symmetry": "C2"}), comm).unwrap();
    });
    let three = expanded(dir.path());
    let poses = |set: &ParticleSet| set.particles.iter().map(|p| (p.id, p.pose, p.half)).collect::<Vec<_>>();
    assert_eq!(poses(&three), poses(&one));
}

#[test]
fn the_readme_has_the_parameters() {
    let table = vitreous_jobs::page::parameter_table(&vitreous_jobs::expand_symmetry::JOB);
    assert!(include_str!("README.md").contains(table.trim_end()), "put this into README.md:\n{table}");
}
