use super::Classify2d;
use crate::{Ctx, Input, Stage, StageError};
use ndarray::Array2;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use serde_json::json;
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use vitreous_compute::comm::{Comm, Solo, Threads};
use vitreous_compute::fourier::HalfImage;
use vitreous_compute::likelihood::LatticeCtf;
use vitreous_formats::{mrc, table};
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::conventions::signed_frequency;
use vitreous_model::ctf::CtfParams;
use vitreous_model::event::EventKind;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::particle::{Particle, ParticleSet};
use vitreous_model::report::Report;
use vitreous_model::units::{Degrees, Kilovolt, Millimetre};

const BOX: usize = 40;
const PIXEL_A: f64 = 4.0;

/// Three figures of blobs: places (pixels from the middle), each of its own form.
const FIGURES: [&[[f64; 2]]; 3] = [
    &[[-8.0, 0.0], [-4.0, 0.0], [0.0, 0.0], [4.0, 0.0], [8.0, 0.0], [8.0, 4.0], [8.0, 8.0]],
    &[[-6.0, -6.0], [6.0, -6.0], [0.0, 7.0], [0.0, 0.0], [3.0, 3.0]],
    &[[8.0, 0.0], [4.0, 7.0], [-4.0, 7.0], [-8.0, 0.0], [-4.0, -7.0], [2.0, -1.0]],
];

/// How a particle was made.
#[derive(Debug, Clone, Copy)]
struct Truth {
    figure: usize,
    angle_rad: f64,
    shift_px: [f64; 2],
}

fn ctf(defocus_a: f64) -> CtfParams {
    CtfParams {
        defocus_u_a: defocus_a + 200.0,
        defocus_v_a: defocus_a - 200.0,
        astigmatism_angle: Degrees(30.0),
        phase_shift: Degrees(0.0),
        voltage: Kilovolt(300.0),
        cs: Millimetre(2.7),
        amplitude_contrast: 0.1,
        even: Default::default(),
    }
}

/// A figure turned and shifted, its middle at `shift_px`.
fn drawn(truth: &Truth) -> Array2<f32> {
    let (s, c) = truth.angle_rad.sin_cos();
    let middle = (BOX / 2) as f64;
    Array2::from_shape_fn((BOX, BOX), |(y, x)| {
        let (y, x) = (y as f64 - middle - truth.shift_px[1], x as f64 - middle - truth.shift_px[0]);
        let blob = |[bx, by]: &[f64; 2]| {
            let d2 = (x - c * bx + s * by).powi(2) + (y - s * bx - c * by).powi(2);
            (-0.5 * d2 / 2.25).exp()
        };
        FIGURES[truth.figure].iter().map(blob).sum::<f64>() as f32
    })
}

/// Noisy images of the figures, as a project of one job `J1`; the truth of each.
fn write_particles(dir: &Path, count: usize, noise_sd: f32) -> Vec<Truth> {
    let mut random = ChaCha8Rng::seed_from_u64(9);
    let mut writer =
        mrc::MrcWriter::create(&dir.join("stack.mrcs"), mrc::MrcSpec::images(BOX, BOX, PIXEL_A)).unwrap();
    let mut truths = Vec::new();
    let mut particles = Vec::new();
    for index in 0..count {
        let truth = Truth {
            figure: index % FIGURES.len(),
            angle_rad: random.random_range(0.0..std::f64::consts::TAU),
            shift_px: [0; 2].map(|_| random.random_range(-2.0..2.0)),
        };
        let ctf = ctf(random.random_range(10_000.0..20_000.0));
        let lattice = LatticeCtf::new(Some(&ctf), BOX, PIXEL_A);
        let mut image = HalfImage::of_box(drawn(&truth).view());
        for ((y, x), value) in image.data_mut().indexed_iter_mut() {
            *value *= lattice.value(x as f64, signed_frequency(y, BOX) as f64);
        }
        let noisy = image.into_box().mapv(|value| {
            let noise: f32 = StandardNormal.sample(&mut random);
            value + noise_sd * noise
        });
        writer.append(noisy.as_slice().unwrap()).unwrap();
        truths.push(truth);
        particles.push(Particle {
            ctf: Some(ctf),
            ..Particle::of_image(index as u64, "stack.mrcs", index as u32)
        });
    }
    writer.finish().unwrap();
    let set = ParticleSet { optics: Vec::new(), box_px: BOX as u32, pixel_size_a: PIXEL_A, particles };
    table::particles::write(&dir.join("particles.h5"), &set).unwrap();
    truths
}

/// Runs the job; it is asked to stop after `stop_after` checkpoints.
fn run(
    dir: &Path,
    job: &str,
    comm: &dyn Comm,
    params: serde_json::Value,
    stop_after: usize,
) -> Result<Report, StageError> {
    let job_dir = dir.join(job);
    std::fs::create_dir_all(&job_dir).unwrap();
    let checkpoints = AtomicUsize::new(0);
    let event = |kind| {
        if matches!(kind, EventKind::Checkpoint) {
            checkpoints.fetch_add(1, Ordering::Relaxed);
        }
    };
    let stop = || checkpoints.load(Ordering::Relaxed) >= stop_after;
    let mut ctx = Ctx::new(&job_dir, dir, &AnyDevice::Cpu, comm, &event, &stop);
    ctx.job = job.into();
    ctx.params = params;
    let output = Output::new("particles", Kind::Particles, "particles.h5", 0);
    let input = Input { job: "J1".into(), output, path: dir.join("particles.h5"), parts: Default::default() };
    ctx.inputs.insert("particles".into(), vec![input]);
    let report = Classify2d.run(&ctx)?;
    assert_eq!(ctx.is_root(), !ctx.declared_outputs().is_empty());
    Ok(Report { skipped: ctx.skipped(), ..report })
}

fn params(classes: u32, iterations: u32) -> serde_json::Value {
    json!({"classes": classes, "iterations": iterations, "diameter": 110.0, "resolution": 14.0})
}

fn result(dir: &Path, job: &str) -> ParticleSet {
    table::particles::read(&dir.join(job).join("particles.h5")).unwrap()
}

fn averages(dir: &Path, job: &str) -> Vec<Array2<f32>> {
    let source = vitreous_formats::open_image(&dir.join(job).join("class-averages.mrcs")).unwrap();
    let read = |index| {
        let mut image = Array2::zeros((BOX, BOX));
        source.read_frame_at(index, image.as_slice_mut().unwrap()).unwrap();
        image
    };
    (0..source.header().frames).map(read).collect()
}

/// Part of the particles that are in a class where most are of their figure; the figure of each class.
fn purity(set: &ParticleSet, truths: &[Truth]) -> (f64, HashMap<u32, usize>) {
    let mut counts: HashMap<u32, [usize; FIGURES.len()]> = HashMap::new();
    for particle in &set.particles {
        counts.entry(particle.class.unwrap().number).or_default()[truths[particle.id as usize].figure] += 1;
    }
    let right: usize = counts.values().map(|count| count.iter().max().unwrap()).sum();
    let most = |count: &[usize; FIGURES.len()]| (0..FIGURES.len()).max_by_key(|&f| count[f]).unwrap();
    (
        right as f64 / set.particles.len() as f64,
        counts.iter().map(|(class, count)| (*class, most(count))).collect(),
    )
}

#[test]
fn figures_are_told_apart_and_their_poses_are_true() {
    let dir = tempfile::tempdir().unwrap();
    let truths = write_particles(dir.path(), 450, 0.4);
    let report = run(dir.path(), "J2", &Solo, params(6, 20), usize::MAX).unwrap();
    let set = result(dir.path(), "J2");
    assert_eq!((set.particles.len(), report.get("particles")), (450, Some(450.0)));
    let (part, figure_of) = purity(&set, &truths);
    assert!(part > 0.97, "purity {part}");
    // within a class, the angle found differs from the true one by the same turn, and the places by its offset
    let mut turns: HashMap<u32, (f64, f64)> = HashMap::new();
    let mut right = Vec::new();
    for particle in &set.particles {
        let (truth, class) = (&truths[particle.id as usize], particle.class.unwrap().number);
        if figure_of[&class] == truth.figure {
            right.push((class, truth, particle.pose.unwrap()));
        }
    }
    // an average turned by -psi is the image; the figure turned by its angle is it too
    let difference = |truth: &Truth, rotation: vitreous_model::pose::Rotation| {
        truth.angle_rad + 2.0 * rotation.z.atan2(rotation.w)
    };
    for (class, truth, pose) in &right {
        let (s, c) = difference(truth, pose.rotation).sin_cos();
        let sum = turns.entry(*class).or_default();
        (sum.0, sum.1) = (sum.0 + c, sum.1 + s);
    }
    let close = right.iter().filter(|(class, truth, pose)| {
        let (c, s) = turns[class];
        let off = difference(truth, pose.rotation) - s.atan2(c);
        let off = off - std::f64::consts::TAU * (off / std::f64::consts::TAU).round();
        // the middle of an average is the centre of mass of its figure
        let place = centre_of_mass(truth);
        let [x, y] = [0, 1].map(|axis| pose.shift_a[axis] / PIXEL_A - place[axis]);
        off.abs() < 0.2 && x.hypot(y) < 1.5
    });
    let part = close.count() as f64 / right.len() as f64;
    // 0.944 are: at this noise two angles of a figure can be equally likely
    assert!(part > 0.92, "{part} of the poses are close");
    // averages are images of the figures: a figure correlates with its best-turned average
    let images = averages(dir.path(), "J2");
    for (class, figure) in &figure_of {
        let best = best_correlation(&images[*class as usize - 1], *figure);
        assert!(best > 0.85, "class {class} of figure {figure}: {best}");
    }
}

/// Where the blobs of a particle have their mean, pixels from the middle of the box.
fn centre_of_mass(truth: &Truth) -> [f64; 2] {
    let figure = FIGURES[truth.figure];
    let [x, y] = [0, 1].map(|axis| figure.iter().map(|blob| blob[axis]).sum::<f64>() / figure.len() as f64);
    let (s, c) = truth.angle_rad.sin_cos();
    [truth.shift_px[0] + c * x - s * y, truth.shift_px[1] + s * x + c * y]
}

/// Largest correlation of an average with a figure over angles and small shifts.
fn best_correlation(average: &Array2<f32>, figure: usize) -> f64 {
    let normalised = |image: &Array2<f32>| {
        let mean = image.mean().unwrap();
        let image = image.mapv(|v| v - mean);
        let norm = image.iter().map(|v| v * v).sum::<f32>().sqrt();
        image / norm
    };
    let average = normalised(average);
    let mut best = f64::NEG_INFINITY;
    for turn in 0..120 {
        for (x, y) in (-3..=3).flat_map(|x| (-3..=3).map(move |y| (x, y))) {
            let angle_rad = std::f64::consts::TAU * f64::from(turn) / 120.0;
            let image = drawn(&Truth { figure, angle_rad, shift_px: [f64::from(x), f64::from(y)] });
            let correlation = (&normalised(&image) * &average).sum();
            best = best.max(f64::from(correlation));
        }
    }
    best
}

#[test]
fn a_stopped_job_goes_on_to_the_same_classes_and_ranks_do_not_matter() {
    let dir = tempfile::tempdir().unwrap();
    write_particles(dir.path(), 300, 0.4);
    // mini-batches, so that sums are carried from one iteration to the next
    let mut params = params(4, 8);
    params["batch_per_class"] = json!(40);
    run(dir.path(), "J2", &Solo, params.clone(), usize::MAX).unwrap();
    for stop_after in [1, 4, 7] {
        let job = format!("J{}", 10 + stop_after);
        let stopped = run(dir.path(), &job, &Solo, params.clone(), stop_after);
        assert!(matches!(stopped, Err(StageError::Stopped)), "{stopped:?}");
        run(dir.path(), &job, &Solo, params.clone(), usize::MAX).unwrap();
        assert_eq!(result(dir.path(), &job), result(dir.path(), "J2"), "stopped after {stop_after}");
        assert_eq!(averages(dir.path(), &job), averages(dir.path(), "J2"));
    }
    Threads::run(3, |comm| run(dir.path(), "J3", comm, params.clone(), usize::MAX).map(|_| ()).unwrap());
    assert_eq!(result(dir.path(), "J3"), result(dir.path(), "J2"));
    assert_eq!(averages(dir.path(), "J3"), averages(dir.path(), "J2"));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a broken stack cannot be written otherwise")]
fn unfit_particles_are_listed_and_the_others_classified() {
    let dir = tempfile::tempdir().unwrap();
    write_particles(dir.path(), 120, 1.0);
    let path = dir.path().join("particles.h5");
    let mut set = table::particles::read(&path).unwrap();
    set.particles[3].stack_path = "absent.mrcs".into();
    set.particles[5].stack_index = 5000;
    set.particles[7].ctf = None;
    set.particles[9].stack_path = "odd.mrcs".into();
    set.particles[9].stack_index = 0;
    set.particles[11].stack_path = "odd.mrcs".into();
    set.particles[11].stack_index = 1;
    let mut writer =
        mrc::MrcWriter::create(&dir.path().join("odd.mrcs"), mrc::MrcSpec::images(BOX, BOX, PIXEL_A))
            .unwrap();
    writer.append(&vec![1.0; BOX * BOX]).unwrap();
    writer.append(&vec![2.0; BOX * BOX]).unwrap();
    writer.finish().unwrap();
    // ours writes no NaN: the first pixel after the header becomes one
    let mut bytes = std::fs::read(dir.path().join("odd.mrcs")).unwrap();
    bytes[1024..1028].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(dir.path().join("odd.mrcs"), bytes).unwrap();
    table::particles::write(&path, &set).unwrap();
    let report = run(dir.path(), "J2", &Solo, params(3, 4), usize::MAX).unwrap();
    assert_eq!(result(dir.path(), "J2").particles.len(), 115);
    let items: Vec<&str> = report.skipped.iter().map(|skipped| skipped.item.as_str()).collect();
    assert_eq!(
        items,
        [
            "000004@absent.mrcs",
            "005001@stack.mrcs",
            "000008@stack.mrcs",
            "000001@odd.mrcs",
            "000002@odd.mrcs"
        ]
    );
    assert!(report.skipped[4].reason.contains("constant"), "{:?}", report.skipped[4]);
    // more than allowed is an error that names the first
    let mut strict = params(3, 4);
    strict["max_bad_fraction"] = json!(0.01);
    let error = run(dir.path(), "J3", &Solo, strict, usize::MAX).unwrap_err().to_string();
    assert!(error.contains("absent.mrcs") && error.contains('5'), "{error}");
}

#[test]
fn too_few_particles_and_too_large_a_circle_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    write_particles(dir.path(), 20, 1.0);
    let error = run(dir.path(), "J2", &Solo, params(50, 5), usize::MAX).unwrap_err().to_string();
    assert!(error.contains("20 usable particles for 50 classes"), "{error}");
    let mut wide = params(3, 5);
    wide["diameter"] = json!(161.0);
    let error = run(dir.path(), "J2", &Solo, wide, usize::MAX).unwrap_err().to_string();
    assert!(error.contains("161 Å, larger than the particles' box of 160.0 Å"), "{error}");
}
