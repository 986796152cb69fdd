//! Images of a particle of two parts, whose projections are known in closed form: what is left of the part that goes, what
//! becomes of the part that stays.

use super::SubtractSignal;
use super::maps::Parts;
use super::placing::cut;
use crate::particle_sets::tests::{optics, write_stack};
use crate::reconstruct::Reconstruct;
use crate::{Ctx, Input, Stage, StageError};
use ndarray::{Array2, Array3};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use vitreous_compute::aberrations::ImageCorrection;
use vitreous_compute::comm::{Comm, Solo, Threads};
use vitreous_compute::fourier::HalfImage;
use vitreous_compute::likelihood::LatticeCtf;
use vitreous_formats::{mrc, open_image, table};
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::aberrations::Aberrations;
use vitreous_model::conventions::signed_frequency;
use vitreous_model::ctf::CtfParams;
use vitreous_model::exposure::{Exposure, ExposureSet, MicrographSource, OpticsGroup};
use vitreous_model::half_set::HalfSet;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::particle::{Particle, ParticleSet, Pick};
use vitreous_model::pose::{Pose, Rotation};
use vitreous_model::report::Report;
use vitreous_model::units::{Degrees, Kilovolt, Millimetre};

const PIXEL_A: f64 = 3.0;
/// Pixel size of the micrographs, Å: images are downsampled twofold.
const MICROGRAPH_A: f64 = 1.5;
/// Standard deviation of a blob, pixels.
const BLOB_PX: f64 = 1.3;
/// What the map on disk is multiplied by in the images.
const SCALE: f64 = 2.0;

type Blobs = Vec<[f64; 3]>;

/// `count` points in a ball about `middle`, pixels from the centre of the box.
fn ball(middle: [f64; 3], radius: f64, count: usize, seed: u64) -> Blobs {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut blobs = Blobs::new();
    while blobs.len() < count {
        let p = [0; 3].map(|_| random.random_range(-radius..radius));
        if p.iter().map(|v| v * v).sum::<f64>() < radius * radius {
            blobs.push([0, 1, 2].map(|axis| p[axis] + middle[axis]));
        }
    }
    blobs
}

/// Blobs on voxels.
fn volume(n: usize, blobs: &Blobs, height: f64) -> Array3<f32> {
    let middle = (n / 2) as f64;
    Array3::from_shape_fn((n, n, n), |(z, y, x)| {
        let p = [x, y, z].map(|i| i as f64 - middle);
        let blob = |b: &[f64; 3]| {
            let d2: f64 = (0..3).map(|i| (p[i] - b[i]).powi(2)).sum();
            if d2 > 60.0 { 0.0 } else { (-0.5 * d2 / BLOB_PX.powi(2)).exp() }
        };
        (height * blobs.iter().map(blob).sum::<f64>()) as f32
    })
}

/// Blobs as seen in a pose with a CTF: Gaussians summed in real space, no interpolation.
fn projection(n: usize, blobs: &Blobs, height: f64, pose: Pose, ctf: Option<&CtfParams>) -> Array2<f32> {
    let middle = (n / 2) as f64;
    let peak = height * std::f64::consts::TAU.sqrt() * BLOB_PX;
    let mut image = Array2::<f32>::zeros((n, n));
    for blob in blobs {
        let [x0, y0, _] = pose.rotation.inverse().apply(*blob);
        let (x0, y0) = (x0 + pose.shift_a[0] / PIXEL_A + middle, y0 + pose.shift_a[1] / PIXEL_A + middle);
        let near = |at: f64| (at - 8.0).max(0.0) as usize..((at + 9.0).max(0.0) as usize).min(n);
        for y in near(y0) {
            for x in near(x0) {
                let d2 = (x as f64 - x0).powi(2) + (y as f64 - y0).powi(2);
                image[[y, x]] += (peak * (-0.5 * d2 / BLOB_PX.powi(2)).exp()) as f32;
            }
        }
    }
    let lattice = LatticeCtf::new(ctf, n, PIXEL_A);
    let mut half = HalfImage::of_box(image.view());
    for ((y, x), value) in half.data_mut().indexed_iter_mut() {
        *value *= lattice.value(x as f64, signed_frequency(y, n) as f64);
    }
    half.into_box()
}

/// A project with images of a particle of two parts.
struct Scene {
    folder: tempfile::TempDir,
    n: usize,
    kept: Blobs,
    gone: Blobs,
    /// Of a blob in the images.
    height: f64,
    set: ParticleSet,
    /// True amplitudes of the particles.
    amplitudes: Vec<f64>,
    noise: Vec<Array2<f32>>,
}

impl Scene {
    /// `count` images of `n` pixels of a signal-to-noise ratio of `snr` (variances over the box), without noise if infinite.
    fn new(n: usize, count: usize, snr: f64) -> Self {
        let radius = 0.13 * n as f64;
        let kept = ball([0.17 * n as f64, 0.05 * n as f64, -0.08 * n as f64], radius, 26, 1);
        let gone = ball([-0.14 * n as f64, -0.06 * n as f64, 0.1 * n as f64], radius, 30, 2);
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let folder = tempfile::tempdir().unwrap();
        let mut particles = Vec::new();
        let mut amplitudes = Vec::new();
        for index in 0..count {
            let [w, x, y, z] = [0; 4].map(|_| random.sample::<f64, _>(StandardNormal));
            let pose = Pose {
                rotation: Rotation::new(w, x, y, z),
                shift_a: [0; 2].map(|_| 4.0 * random.sample::<f64, _>(StandardNormal)),
            };
            let defocus = random.random_range(8000.0..20000.0);
            let ctf = CtfParams {
                defocus_u_a: defocus + 150.0,
                defocus_v_a: defocus - 150.0,
                astigmatism_angle: Degrees(random.random_range(-90.0..90.0)),
                phase_shift: Degrees(0.0),
                voltage: Kilovolt(300.0),
                cs: Millimetre(2.7),
                amplitude_contrast: 0.1,
                even: Default::default(),
            };
            let exposure = format!("m{}", index % 3);
            particles.push(Particle {
                pick: Some(Pick { exposure, x_px: 500.0 + index as f64, y_px: 300.0, score: 1.0 }),
                ctf: Some(ctf),
                pose: Some(pose),
                half: HalfSet::from_number(1 + (index % 2) as i64),
                log_likelihood: -1.0,
                ..Particle::of_image(10 + index as u64, "J1/stack.mrcs", index as u32)
            });
            amplitudes.push(1.0 + 0.1 * random.sample::<f64, _>(StandardNormal));
        }
        let set = ParticleSet {
            optics: vec![optics(1, "x", 300.0)],
            box_px: n as u32,
            pixel_size_a: PIXEL_A,
            particles,
        };
        let mut scene = Self { folder, n, kept, gone, height: 1.0, set, amplitudes, noise: Vec::new() };
        let power: f64 = (0..count.min(50)).map(|i| variance(&scene.signal(i, &scene.whole()))).sum::<f64>()
            / count.min(50) as f64;
        scene.height = if snr.is_finite() { (snr / power).sqrt() } else { 1.0 };
        let sd = if snr.is_finite() { 1.0 } else { 0.0 };
        scene.noise = (0..count)
            .map(|_| Array2::from_shape_simple_fn((n, n), || sd * random.sample::<f32, _>(StandardNormal)))
            .collect();
        scene.write();
        scene
    }

    fn whole(&self) -> Blobs {
        [self.kept.clone(), self.gone.clone()].concat()
    }

    /// What a particle's image has of some blobs.
    fn signal(&self, index: usize, blobs: &Blobs) -> Array2<f32> {
        let Particle { pose, ctf, .. } = &self.set.particles[index];
        projection(self.n, blobs, self.amplitudes[index] * self.height, pose.unwrap(), ctf.as_ref())
    }

    fn write(&self) {
        let images: Vec<Vec<f32>> = (0..self.noise.len())
            .map(|i| (self.signal(i, &self.whole()) + &self.noise[i]).into_raw_vec_and_offset().0)
            .collect();
        write_stack(self.path(), "J1/stack.mrcs", self.n, &images);
        let map = |blobs: &Blobs| volume(self.n, blobs, self.height / SCALE);
        let write = |name: &str, map: &Array3<f32>| {
            mrc::write_volume(&self.path().join(name), map, PIXEL_A).unwrap();
        };
        write("map.mrc", &map(&self.whole()));
        // soft masks of two blobs' width about the parts
        for (name, blobs) in [("gone_mask.mrc", &self.gone), ("kept_mask.mrc", &self.kept)] {
            write(name, &volume(self.n, blobs, 1.0).mapv(|v| ((v - 0.02) / 0.1).clamp(0.0, 1.0)));
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn inputs(&self) -> BTreeMap<String, Vec<Input>> {
        let table = self.path().join("J1/particles.h5");
        table::particles::write(&table, &self.set).unwrap();
        let exposures = (0..3).map(|number| Exposure {
            name: format!("m{number}"),
            optics_group: 1,
            movie: None,
            micrograph: Some(MicrographSource {
                path: "m.mrc".into(),
                width: 1000,
                height: 1000,
                pixel_size_a: MICROGRAPH_A,
                unweighted_path: String::new(),
                motion_star_path: String::new(),
            }),
            motion: None,
            ctf: None,
        });
        let exposures = ExposureSet { optics: self.set.optics.clone(), exposures: exposures.collect() };
        let micrographs = self.path().join("J1/micrographs.h5");
        table::exposures::write(&micrographs, Kind::Micrographs, &exposures).unwrap();
        let input = |slot: &str, kind, path: &Path| {
            let output = Output::new(slot, kind, "x", 1);
            let input = Input { job: "J1".into(), output, path: path.into(), parts: BTreeMap::new() };
            (slot.to_string(), vec![input])
        };
        [
            input("particles", Kind::Particles, &table),
            input("micrographs", Kind::Micrographs, &micrographs),
            input("volume", Kind::Volume, &self.path().join("map.mrc")),
            input("mask", Kind::Mask, &self.path().join("gone_mask.mrc")),
        ]
        .into()
    }

    /// Runs the stage in `J9`.
    fn run(
        &self,
        params: Value,
        inputs: BTreeMap<String, Vec<Input>>,
        comm: &dyn Comm,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<(Report, ParticleSet), StageError> {
        let job = self.path().join("J9");
        let mut ctx = Ctx::new(&job, self.path(), &AnyDevice::Cpu, comm, &|_| {}, stop);
        (ctx.params, ctx.inputs) = (params, inputs);
        let report = SubtractSignal.run(&ctx)?;
        let set = ctx.is_root().then(|| table::particles::read(&job.join("particles.h5")).unwrap());
        Ok((report, set.unwrap_or_default()))
    }

    fn run_alone(&self, params: Value) -> Result<(Report, ParticleSet), StageError> {
        self.run(params, self.inputs(), &Solo, &|| false)
    }

    /// The map that `reconstruct` makes of the images, with its halves.
    fn reconstructed(&self) -> Input {
        let job = self.path().join("J2");
        let mut ctx = Ctx::new(&job, self.path(), &AnyDevice::Cpu, &Solo, &|_| {}, &|| false);
        ctx.params = json!({});
        ctx.inputs = self.inputs();
        ctx.inputs.remove("mask");
        let report = Reconstruct.run(&ctx).unwrap();
        println!("reconstructed to {:.1} Å", report.get("resolution_fsc0143_A").unwrap());
        let output = ctx.declared_outputs().remove(0);
        let parts = output.parts.iter().map(|(role, file)| (role.clone(), job.join(file))).collect();
        Input { job: "J2".into(), path: job.join(&output.path), parts, output }
    }

    fn image(&self, particle: &Particle) -> Array2<f32> {
        let source = open_image(&self.path().join(&particle.stack_path)).unwrap();
        let header = source.header();
        let mut image = Array2::zeros((header.height, header.width));
        source.read_frame_at(particle.stack_index as usize, image.as_slice_mut().unwrap()).unwrap();
        image
    }
}

fn variance(image: &Array2<f32>) -> f64 {
    let mean = image.mean().unwrap();
    f64::from(image.mapv(|v| (v - mean).powi(2)).mean().unwrap())
}

fn correlation(a: &Array2<f32>, b: &Array2<f32>) -> f64 {
    let [da, db] = [a, b].map(|image| image - image.mean().unwrap());
    f64::from((&da * &db).sum()) / f64::from((&da * &da).sum() * (&db * &db).sum()).sqrt()
}

/// Mean and standard deviation.
fn moments(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let values: Vec<f64> = values.collect();
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
    (mean, variance.sqrt())
}

/// Correlation over particles of images with the part that goes and with the part that stays: before, after, and of images
/// that never had that part.
fn assert_subtracted(scene: &Scene, new: &ParticleSet, what: &str, bounds: [f64; 2]) {
    let mut lists: [Vec<f64>; 6] = Default::default();
    for (index, particle) in new.particles.iter().enumerate() {
        let [kept, gone] = [&scene.kept, &scene.gone].map(|blobs| scene.signal(index, blobs));
        let images =
            [&kept + &gone + &scene.noise[index], scene.image(particle), &kept + &scene.noise[index]];
        for (which, image) in images.iter().enumerate() {
            lists[which].push(correlation(image, &gone));
            lists[3 + which].push(correlation(image, &kept));
        }
    }
    let told = lists.map(|list| moments(list.into_iter()));
    for (part, told) in ["subtracted", "kept"].iter().zip(told.chunks(3)) {
        let [before, after, ideal] = [0, 1, 2].map(|i| format!("{:.4} (sd {:.4})", told[i].0, told[i].1));
        println!(
            "{what}: correlation with the {part} part before {before}, after {after}, without it {ideal}"
        );
    }
    let [before, after, ideal, kept_before, kept_after, kept_ideal] = told.map(|(mean, _)| mean);
    assert!(before > 0.1 && kept_before > 0.1, "{what}: the parts should be there: {before} {kept_before}");
    assert!(after.abs() < 0.05, "{what}: {after}");
    assert!((after - ideal).abs() < bounds[0], "{what}: {after}, at best {ideal}");
    assert!((kept_after - kept_ideal).abs() < bounds[1], "{what}: {kept_after}, at best {kept_ideal}");
}

#[test]
fn what_is_left_does_not_correlate_with_the_part_that_went() {
    for snr in [0.05, 0.1] {
        let scene = Scene::new(64, 240, snr);
        let (report, new) = scene.run_alone(json!({})).unwrap();
        assert_subtracted(&scene, &new, &format!("true map, SNR {snr}"), [0.004, 0.004]);
        let [scale, sd] = ["scale", "scale_sd"].map(|key| report.get(key).unwrap());
        println!(
            "scale {scale:.3}, sd {:.3}, error {:.3}",
            sd / scale,
            report.get("scale_error").unwrap() / scale
        );
        assert!((scale / SCALE - 1.0).abs() < 0.03 && (sd / scale - 0.1).abs() < 0.04, "{scale} {sd}");
        assert!(report.notes.join(" ").contains("no half maps"), "{:?}", report.notes);
        let mut inputs = scene.inputs();
        inputs.insert("volume".into(), vec![scene.reconstructed()]);
        let (report, new) = scene.run(json!({}), inputs, &Solo, &|| false).unwrap();
        assert_subtracted(&scene, &new, &format!("reconstruction, SNR {snr}"), [0.02, 0.02]);
        assert!(report.notes.iter().all(|note| !note.contains("half")), "{:?}", report.notes);
    }
}

#[test]
fn without_noise_the_part_is_gone_whichever_part_the_mask_marks() {
    let scene = Scene::new(48, 12, f64::INFINITY);
    let (_, gone) = scene.run_alone(json!({})).unwrap();
    let images: Vec<Array2<f32>> = gone.particles.iter().map(|particle| scene.image(particle)).collect();
    let mut inputs = scene.inputs();
    inputs.get_mut("mask").unwrap()[0].path = scene.path().join("kept_mask.mrc");
    let (_, kept) = scene.run(json!({"mask_of": "kept"}), inputs, &Solo, &|| false).unwrap();
    for (index, particle) in kept.particles.iter().enumerate() {
        let ideal = scene.signal(index, &scene.kept);
        for image in [&images[index], &scene.image(particle)] {
            let left = variance(&(image - &ideal)) / variance(&scene.signal(index, &scene.gone));
            assert!(left < 4e-3, "particle {index}: {left} of the part's power is left");
        }
        let Particle { stack_path, stack_index, .. } = particle.clone();
        let old = Particle { stack_path, stack_index, ..scene.set.particles[index].clone() };
        assert_eq!(*particle, old, "all but the image stays");
    }
    assert!(gone.particles.iter().all(|particle| particle.stack_path.starts_with("J9/particles/m")));
}

#[test]
fn recentred_images_show_the_moved_map_at_their_new_poses() {
    let mut scene = Scene::new(64, 12, f64::INFINITY);
    // a CTF spreads particles round the edges of their box
    scene.set.particles.iter_mut().for_each(|particle| particle.ctf = None);
    scene.write();
    let params = json!({"recentre": true, "output_box": 36});
    let (report, new) = scene.run_alone(params).unwrap();
    assert_eq!((new.box_px, new.pixel_size_a), (36, PIXEL_A));
    assert_eq!(report.get("outside"), Some(0.0));
    let centre = ["x", "y", "z"].map(|axis| report.get(&format!("centre_{axis}_A")).unwrap() / PIXEL_A);
    let middle: [f64; 3] = [0, 1, 2].map(|i| moments(scene.kept.iter().map(|b| b[i])).0);
    assert!((0..3).all(|i| (centre[i] - middle[i]).abs() < 2.0), "{centre:?}, blobs {middle:?}");
    let moved: Blobs = scene.kept.iter().map(|b| [0, 1, 2].map(|i| b[i] - centre[i])).collect();
    // the reference for the new images
    let map = mrc::read_volume(&scene.path().join("J9/map.mrc")).unwrap().data;
    let ideal = volume(36, &moved, scene.height / SCALE);
    let (error, power) = ((&map - &ideal).mapv(|v| v * v).sum(), ideal.mapv(|v| v * v).sum());
    assert!(error < 0.01 * power, "{}", error / power);
    let mask = mrc::read_volume(&scene.path().join("J9/mask.mrc")).unwrap().data;
    assert!(mask.dim() == map.dim() && mask.iter().all(|v| (0.0..=1.0).contains(v)));
    for ((new, old), amplitude) in new.particles.iter().zip(&scene.set.particles).zip(&scene.amplitudes) {
        let (pose, before) = (new.pose.unwrap(), old.pose.unwrap());
        assert_eq!(pose.rotation, before.rotation);
        assert!(pose.shift_a.iter().all(|shift| shift.abs() <= 0.5 * PIXEL_A + 1e-9), "{:?}", pose.shift_a);
        let seen = projection(36, &moved, amplitude * scene.height, pose, None);
        let fits = correlation(&scene.image(new), &seen);
        assert!(fits > 0.98, "particle {}: {fits}", new.id);
        // the kept part lies where it lay on the micrograph
        let [x, y, _] = before.rotation.inverse().apply(centre);
        let old_pick = old.pick.as_ref().unwrap();
        let expected = [
            old_pick.x_px + (before.shift_a[0] + x * PIXEL_A) / MICROGRAPH_A,
            old_pick.y_px + (before.shift_a[1] + y * PIXEL_A) / MICROGRAPH_A,
        ];
        let place = new.place_px(MICROGRAPH_A).unwrap();
        assert!((0..2).all(|i| (place[i] - expected[i]).abs() < 1e-6), "{place:?} {expected:?}");
    }
}

#[test]
fn boxes_that_reach_out_are_reflected_and_counted() {
    let image = Array2::from_shape_fn((6, 6), |(y, x)| (10 * y + x) as f32);
    assert_eq!(cut(image.view(), 6, [0, 0]), image);
    let small = cut(image.view(), 2, [1, -1]);
    assert_eq!(small, ndarray::arr2(&[[13.0, 14.0], [23.0, 24.0]]));
    let out = cut(image.view(), 4, [-3, 2]);
    assert_eq!(out.row(0).to_vec(), [32.0, 31.0, 30.0, 31.0]);
    assert_eq!(out.column(0).to_vec(), [32.0, 42.0, 52.0, 42.0]);
    let scene = Scene::new(32, 6, 0.1);
    let (report, _) = scene.run_alone(json!({"recentre": true})).unwrap();
    assert_eq!(report.get("outside"), Some(6.0));
    assert!(report.notes.join(" ").contains("6 boxes reach beyond"), "{:?}", report.notes);
}

#[test]
fn no_half_sees_the_map_of_the_other() {
    let scene = Scene::new(24, 4, 0.1);
    let random = |seed| {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        Array3::from_shape_simple_fn((24, 24, 24), || random.sample::<f32, _>(StandardNormal))
    };
    let part = random(1).mapv(|v| f32::from(v > 0.0));
    let of = |halves: [Array3<f32>; 2]| {
        let parts = Parts {
            map: random(9),
            halves: Some(halves),
            subtracted: part.clone(),
            kept: part.mapv(|v| 1.0 - v),
            fsc: Some(vec![0.8; 13]),
        };
        parts.projectors(&Default::default(), &scene.set)
    };
    let (one, other) = (of([random(2), random(3)]), of([random(2), random(4)]));
    let bytes = |maps: &super::maps::Projectors, half| {
        let pair = maps.of(Some(half));
        [pair.whole.coefficients().to_vec(), pair.subtracted.coefficients().to_vec()]
    };
    assert_eq!(bytes(&one, HalfSet::One), bytes(&other, HalfSet::One));
    assert_ne!(bytes(&one, HalfSet::Two), bytes(&other, HalfSet::Two));
    // half 1's map times the FSC, within the mask
    let alone = of([random(2), random(2)]);
    assert_eq!(bytes(&alone, HalfSet::One), bytes(&alone, HalfSet::Two));
}

#[test]
fn a_stopped_job_goes_on_and_three_ranks_write_the_same_bytes() {
    let scene = Scene::new(32, 30, 0.1);
    let params = json!({"images_per_stack": 8, "float16": true, "recentre": true, "output_box": 24});
    let asked = AtomicUsize::new(0);
    let stop = || asked.fetch_add(1, Ordering::Relaxed) >= 2;
    let inputs = scene.inputs();
    let error = scene.run(params.clone(), inputs.clone(), &Solo, &stop).unwrap_err();
    assert!(matches!(error, StageError::Stopped));
    let stack = |number: u32| scene.path().join(format!("J9/particles/{number:06}.mrcs"));
    assert!(stack(2).exists() && !stack(3).exists());
    let time = std::fs::metadata(stack(1)).unwrap().modified().unwrap();
    let (_, resumed) = scene.run(params.clone(), inputs.clone(), &Solo, &|| false).unwrap();
    assert_eq!(std::fs::metadata(stack(1)).unwrap().modified().unwrap(), time, "what was done stays");
    let read = || (1..=4).map(|number| std::fs::read(stack(number)).unwrap()).collect::<Vec<_>>();
    let bytes = read();
    std::fs::remove_dir_all(scene.path().join("J9")).unwrap();
    let together =
        Threads::run(3, |comm| scene.run(params.clone(), inputs.clone(), comm, &|| false).unwrap().1);
    assert_eq!(together[0], resumed);
    assert!(read() == bytes, "bytes depend on the number of ranks");
}

#[test]
fn unfit_particles_are_left_out_and_listed() {
    let mut scene = Scene::new(32, 9, 0.1);
    scene.set.particles[1].pose = None;
    scene.set.particles[2].ctf = None;
    scene.set.particles[4].pick.as_mut().unwrap().exposure = "gone".into();
    scene.set.particles[5].stack_index = 99;
    let params = json!({"max_bad_fraction": 0.5, "recentre": true});
    let (report, new) = scene.run_alone(params).unwrap();
    assert_eq!(new.particles.iter().map(|p| p.id).collect::<Vec<_>>(), [10, 13, 16, 17, 18]);
    let reasons: Vec<&str> = report.skipped.iter().map(|skipped| skipped.reason.as_str()).collect();
    for (reason, word) in reasons.iter().zip(["no pose", "CTF was never", "micrograph gone", "image 100"]) {
        assert!(reason.contains(word), "{reason}");
    }
    let error = scene.run_alone(json!({})).unwrap_err().to_string();
    assert!(error.contains("3 of 9 particles failed"), "{error}");
}

#[test]
fn unfit_inputs_are_refused() {
    let scene = Scene::new(32, 8, 0.1);
    let refused = |params: Value, slot: &str, map: Option<Array3<f32>>, pixel_a: f64| {
        let mut inputs = scene.inputs();
        match map {
            Some(map) => {
                let path = scene.path().join("other.mrc");
                mrc::write_volume(&path, &map, pixel_a).unwrap();
                inputs.get_mut(slot).unwrap()[0].path = path;
            }
            None => drop(inputs.remove(slot)),
        }
        scene.run(params, inputs, &Solo, &|| false).unwrap_err().to_string()
    };
    let filled = |n: usize, value: f32| Some(Array3::from_elem((n, n, n), value));
    let map = || mrc::read_volume(&scene.path().join("map.mrc")).unwrap().data;
    for (params, slot, map, pixel_a, word) in [
        (json!({}), "mask", filled(16, 1.0), PIXEL_A, "found 16 × 16 × 16"),
        (json!({}), "mask", filled(32, 7.0), PIXEL_A, "found values from 7 to 7"),
        (json!({}), "mask", filled(32, 1.0), PIXEL_A, "left in the kept part"),
        (json!({}), "mask", filled(32, 0.0), PIXEL_A, "left in the subtracted part"),
        (json!({}), "mask", None, PIXEL_A, "input `mask` is missing"),
        (json!({}), "volume", Some(map()), 2.0, "box of 32 voxels of 2 Å"),
        (json!({"recentre": true}), "micrographs", None, PIXEL_A, "need the micrographs' pixel size"),
        (json!({"output_box": 64}), "micrographs", None, PIXEL_A, "larger than the images (32 px)"),
    ] {
        let error = refused(params, slot, map, pixel_a);
        assert!(error.contains(word), "{error}");
    }
    // images of the other contrast
    let mut scene = Scene::new(32, 40, 0.3);
    scene.height = -scene.height;
    let images: Vec<Vec<f32>> =
        (0..40).map(|i| scene.signal(i, &scene.whole()).into_raw_vec_and_offset().0).collect();
    write_stack(scene.path(), "J1/stack.mrcs", 32, &images);
    let error = scene.run_alone(json!({})).unwrap_err().to_string();
    assert!(error.contains("do not resemble the map"), "{error}");
}

#[test]
fn an_empty_set_stays_empty() {
    let mut scene = Scene::new(32, 1, 0.1);
    scene.set.particles.clear();
    let (report, new) = scene.run_alone(json!({})).unwrap();
    assert_eq!((report.get("particles"), new.particles.len(), new.box_px), (Some(0.0), 0, 32));
}

#[test]
fn the_readme_has_the_parameters() {
    let table = vitreous_jobs::page::parameter_table(&vitreous_jobs::subtract_signal::JOB);
    assert!(include_str!("README.md").contains(table.trim_end()), "put this into README.md:\n{table}");
}

/// Images that a beam tilt has changed are subtracted from as if it had not, and the new table does not have it.
#[test]
fn images_of_a_tilted_beam_come_out_without_the_tilt() {
    let scene = |tilt_mrad: [f64; 2]| {
        let mut scene = Scene::new(48, 12, 0.3);
        let group = |beam_tilt_mrad| OpticsGroup {
            aberrations: Aberrations { beam_tilt_mrad, ..Aberrations::default() },
            ..scene.set.optics[0].clone()
        };
        // a correction for the opposite tilt plants it
        let plant = ImageCorrection::new(&group(tilt_mrad.map(|t| -t)), 48, PIXEL_A);
        if let Some(plant) = plant {
            let planted = |particle| plant.apply(scene.image(particle)).into_raw_vec_and_offset().0;
            let images: Vec<Vec<f32>> = scene.set.particles.iter().map(planted).collect();
            write_stack(scene.path(), "J1/stack.mrcs", 48, &images);
        }
        scene.set.optics = vec![group(tilt_mrad)];
        scene
    };
    let (straight, tilted) = (scene([0.0; 2]), scene([20.0, -15.0]));
    let [(_, expected), (_, found)] = [&straight, &tilted].map(|s| s.run_alone(json!({})).unwrap());
    assert!(found.optics[0].aberrations.is_none(), "{:?}", found.optics);
    for (a, b) in expected.particles.iter().zip(&found.particles) {
        let correlation = correlation(&straight.image(a), &tilted.image(b));
        assert!(correlation > 0.999, "{correlation}");
        let before = correlation_of_input(&straight, &tilted, a);
        assert!(before < 0.99, "the tilt should be seen: {before}");
    }
}

/// Correlation of the images of two scenes that the same particle had before.
fn correlation_of_input(one: &Scene, other: &Scene, new: &Particle) -> f64 {
    let old = one.set.particles.iter().find(|old| old.id == new.id).unwrap();
    correlation(&one.image(old), &other.image(old))
}
