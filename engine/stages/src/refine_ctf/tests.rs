//! Planted errors are found and make a better map; ranks and threads; unfit particles and inputs.

use super::RefineCtf;
use crate::reconstruct::Reconstruct;
use crate::{Ctx, Input, Stage, StageError};
use num_complex::{Complex32, Complex64};
use rand::{RngExt, SeedableRng};
use rand_distr::StandardNormal;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::OnceLock;
use vitreous_compute::comm::{Comm, Solo, Threads};
use vitreous_compute::fourier::{HalfImage, HalfVolume};
use vitreous_compute::fsc::fsc;
use vitreous_compute::parity::project::rotations;
use vitreous_compute::parity::symmetric_phantom::SymmetricPhantom;
use vitreous_formats::{mrc, table};
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::aberrations::Aberrations;
use vitreous_model::conventions::signed_frequency;
use vitreous_model::ctf::CtfParams;
use vitreous_model::exposure::OpticsGroup;
use vitreous_model::half_set::HalfSet;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::particle::{Particle, ParticleSet, Pick};
use vitreous_model::pose::Pose;
use vitreous_model::report::Report;
use vitreous_model::symmetry::PointGroup;
use vitreous_model::units::{Degrees, Kilovolt, Millimetre};

const BOX: usize = 96;
const PIXEL_A: f64 = 1.25;
const PARTICLES: usize = 160;

fn phantom() -> &'static SymmetricPhantom {
    static PHANTOM: OnceLock<SymmetricPhantom> = OnceLock::new();
    PHANTOM.get_or_init(|| SymmetricPhantom::new(BOX, 40, 0.8, 15.0, PointGroup::C1, 3))
}

fn true_ctf(index: usize) -> CtfParams {
    // so low that what the CTF spreads stays within the box
    let mean = 3000.0 + 15.0 * ((index * 71) % 160) as f64;
    CtfParams {
        defocus_u_a: mean + 100.0,
        defocus_v_a: mean - 100.0,
        astigmatism_angle: Degrees(35.0),
        phase_shift: Degrees(0.0),
        voltage: Kilovolt(300.0),
        cs: Millimetre(2.7),
        amplitude_contrast: 0.1,
        even: Default::default(),
    }
}

fn optics(number: u32, aberrations: Aberrations) -> OpticsGroup {
    OpticsGroup {
        number,
        name: format!("group {number}"),
        voltage: Kilovolt(300.0),
        cs: Millimetre(2.7),
        amplitude_contrast: 0.1,
        movie_pixel_size_a: PIXEL_A,
        aberrations,
    }
}

/// Micrographs of 20 particles each; odd ones are in optics group 1, even ones in group 2.
fn micrograph(index: usize) -> usize {
    index / 20
}

/// The image of a particle by the formula of the conventions: `c(M k) P(M k) exp(-iφ(M k))`.
fn image(index: usize, pose: &Pose, own: &Aberrations) -> HalfImage {
    let group = optics(1, *own);
    let ctf = CtfParams { even: own.even, ..true_ctf(index) };
    let [[a, b], [c, d]] = own.magnification;
    let edge_a = BOX as f64 * PIXEL_A;
    let mut half = HalfImage::zeros_box(BOX);
    for ((y, x), value) in half.data_mut().indexed_iter_mut() {
        let (qx, qy) = (x as f64, signed_frequency(y, BOX) as f64);
        if x == BOX / 2 || y == BOX / 2 {
            continue;
        }
        let (qx, qy) = (a * qx + b * qy, c * qx + d * qy);
        let (kx, ky) = (qx / edge_a, qy / edge_a);
        let phase = own.odd_phase(kx, ky, group.voltage.wavelength_a(), group.cs)
            + std::f64::consts::TAU * (kx * pose.shift_a[0] + ky * pose.shift_a[1]);
        let value_64 = phantom().coefficient(pose.rotation.apply([qx, qy, 0.0]))
            * ctf.value(kx.hypot(ky), ky.atan2(kx))
            * Complex64::cis(-phase);
        *value = Complex32::new(value_64.re as f32, value_64.im as f32);
    }
    half
}

/// What is planted.
#[derive(Default, Clone)]
struct Planted {
    /// Of groups 1 and 2.
    aberrations: [Aberrations; 2],
    /// Standard deviation of the errors of defocus, Å.
    defocus_sd_a: f64,
    /// Error of each micrograph's astigmatism along x, Å.
    astigmatism_a: f64,
}

impl Planted {
    /// Writes the table with everything as it is.
    fn truth(&self, dir: &Path) {
        let mut set = table::particles::read(&dir.join("particles.h5")).unwrap();
        for (index, particle) in set.particles.iter_mut().enumerate() {
            let own = &self.aberrations[micrograph(index) % 2];
            particle.ctf = Some(true_ctf(index));
            let pose = particle.pose.as_mut().unwrap();
            pose.shift_a = own.shift_without(pose.shift_a);
        }
        set.optics.iter_mut().zip(self.aberrations).for_each(|(group, own)| group.aberrations = own);
        table::particles::write(&dir.join("truth.h5"), &set).unwrap();
    }

    /// By how much the table's defocus misses the truth.
    fn defocus_error_a(&self, index: usize) -> f64 {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1000 + index as u64);
        self.defocus_sd_a * rng.sample::<f64, _>(StandardNormal)
    }

    fn astigmatism_error_a(&self, index: usize) -> [f64; 2] {
        let sign = if micrograph(index).is_multiple_of(2) { 1.0 } else { -1.0 };
        [sign * self.astigmatism_a, 0.5 * sign * self.astigmatism_a]
    }

    /// Writes images with noise as strong as `noise` times the signal, the table as it is believed, and the map.
    fn write(&self, dir: &Path, noise: f32) {
        let spec = mrc::MrcSpec::images(BOX, BOX, PIXEL_A);
        let mut writer = mrc::MrcWriter::create(&dir.join("stack.mrcs"), spec).unwrap();
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(5);
        let mut particles = Vec::new();
        for (index, rotation) in rotations(PARTICLES, 4).into_iter().enumerate() {
            let group = micrograph(index) % 2;
            let own = &self.aberrations[group];
            let shift_a = [(index % 5) as f64 - 2.0, 0.5 * (index % 3) as f64];
            let mut pose = Pose { rotation, shift_a };
            let mut pixels = image(index, &pose, own).into_box();
            let sd = (pixels.iter().map(|v| v * v).sum::<f32>() / pixels.len() as f32).sqrt();
            pixels.mapv_inplace(|v| v / sd + noise * rng.sample::<f32, _>(StandardNormal));
            writer.append(pixels.as_slice().unwrap()).unwrap();
            // what is measured on such images
            let seen = true_ctf(index).seen_through(own.magnification);
            let (mean_a, [a, b]) = seen.defocus_terms_a();
            let [more_a, more_b] = self.astigmatism_error_a(index);
            let error_a = self.defocus_error_a(index);
            pose.shift_a = own.shift_with(shift_a);
            particles.push(Particle {
                optics_group: 1 + group as u32,
                pick: Some(Pick {
                    exposure: format!("m{}", micrograph(index)),
                    x_px: 0.0,
                    y_px: 0.0,
                    score: 1.0,
                }),
                ctf: Some(seen.with_defocus(mean_a + error_a, [a + more_a, b + more_b])),
                pose: Some(pose),
                half: Some(HalfSet::BOTH[index % 2]),
                ..Particle::of_image(index as u64, "stack.mrcs", index as u32)
            });
        }
        writer.finish().unwrap();
        let optics = vec![optics(1, Default::default()), optics(2, Default::default())];
        let set = ParticleSet { optics, box_px: BOX as u32, pixel_size_a: PIXEL_A, particles };
        table::particles::write(&dir.join("particles.h5"), &set).unwrap();
        // on a scale of its own
        mrc::write_volume(&dir.join("map.mrc"), &(phantom().volume() * 3.7), PIXEL_A).unwrap();
        self.truth(dir);
    }
}

fn input(path: &Path, slot: &str, kind: Kind) -> Vec<Input> {
    let output = Output::new(slot, kind, "file", 1);
    vec![Input { job: "J1".into(), output, path: path.into(), parts: Default::default() }]
}

fn run_stage(
    stage: &dyn Stage,
    (dir, job): (&Path, &str),
    particles: &str,
    comm: &dyn Comm,
    params: Value,
) -> Result<(Report, Vec<String>), StageError> {
    let job_dir = dir.join(job);
    std::fs::create_dir_all(&job_dir).unwrap();
    let mut ctx = Ctx::new(&job_dir, dir, &AnyDevice::Cpu, comm, &|_| {}, &|| false);
    ctx.params = params;
    ctx.inputs.insert("particles".into(), input(&dir.join(particles), "particles", Kind::Particles));
    if stage.name() == "refine-ctf" {
        ctx.inputs.insert("volume".into(), input(&dir.join("map.mrc"), "volume", Kind::Volume));
    }
    let report = stage.run(&ctx)?;
    Ok((report, ctx.skipped().into_iter().map(|skipped| skipped.reason).collect()))
}

fn refine(dir: &Path, params: Value) -> (Report, ParticleSet) {
    let (report, skipped) = run_stage(&RefineCtf, (dir, "J2"), "particles.h5", &Solo, params).unwrap();
    assert!(skipped.is_empty(), "{skipped:?}");
    (report, table::particles::read(&dir.join("J2/particles.h5")).unwrap())
}

/// Mean FSC with the truth over the outer shells of a reconstruction.
fn quality(dir: &Path, job: &str, particles: &str) -> f64 {
    run_stage(&Reconstruct, (dir, job), particles, &Solo, json!({})).unwrap();
    let map = mrc::read_volume(&dir.join(job).join("map.mrc")).unwrap().data;
    let curve = fsc(&HalfVolume::of_box(map.view()), &phantom().transform());
    curve[20..40].iter().sum::<f64>() / 20.0
}

#[test]
fn defoci_and_odd_aberrations_are_found_and_make_a_better_map() {
    let dir = tempfile::tempdir().unwrap();
    let mut planted = Planted { defocus_sd_a: 300.0, ..Planted::default() };
    planted.aberrations[0].beam_tilt_mrad = [0.6, -0.4];
    planted.aberrations[0].odd[5] = 25.0;
    planted.aberrations[0].odd[2] = -15.0;
    planted.write(dir.path(), 1.0);
    let (report, set) = refine(dir.path(), json!({"max_resolution": 3.0}));
    let errors: Vec<f64> =
        (0..PARTICLES).map(|i| set.particles[i].ctf.unwrap().defocus_u_a - true_ctf(i).defocus_u_a).collect();
    let rms = (errors.iter().map(|e| e * e).sum::<f64>() / PARTICLES as f64).sqrt();
    assert!(rms < 40.0, "{rms}");
    for (group, planted) in set.optics.iter().zip(&planted.aberrations) {
        let own = &group.aberrations;
        for axis in 0..2 {
            let error = own.beam_tilt_mrad[axis] - planted.beam_tilt_mrad[axis];
            assert!(error.abs() < 0.03, "{}: {:?}", group.name, own.beam_tilt_mrad);
        }
        for place in [2, 5] {
            assert!((own.odd[place] - planted.odd[place]).abs() < 2.0, "{}: {:?}", group.name, own.odd);
        }
    }
    let spread = report.get("defocus_offset_sd_A").unwrap();
    assert!((250.0..350.0).contains(&spread), "{spread}");
    assert!(report.get("correlation_after").unwrap() > 1.2 * report.get("correlation_before").unwrap());
    assert!(report.get("gain_nat").unwrap() > 0.0);
    assert_eq!(report.figures.iter().filter(|figure| figure.id().starts_with("odd_phase")).count(), 2);
    let [before, after, best] =
        ["particles.h5", "J2/particles.h5", "truth.h5"].map(|table| quality(dir.path(), "J3", table));
    assert!(after > before + 0.1 && after > best - 0.03, "{before} {after} {best}");
}

#[test]
fn magnification_is_found_and_makes_a_better_map() {
    let dir = tempfile::tempdir().unwrap();
    let mut planted = Planted::default();
    let matrix = [[1.006, 0.004], [0.004, 0.994]];
    planted.aberrations[0].magnification = matrix;
    planted.aberrations[1].magnification = matrix;
    planted.write(dir.path(), 1.0);
    let params = json!({"max_resolution": 3.0, "beam_tilt": false, "magnification": true, "rounds": 3});
    let (_, set) = refine(dir.path(), params);
    for group in &set.optics {
        let found = group.aberrations.magnification;
        for (found, planted) in found.iter().flatten().zip(matrix.iter().flatten()) {
            assert!((found - planted).abs() < 7e-4, "{found:?} {planted:?}");
        }
    }
    let first = &set.particles[7];
    // defocus, astigmatism and shift are those of the image without magnification
    let (found, truth) = (first.ctf.unwrap().defocus_terms_a(), true_ctf(7).defocus_terms_a());
    assert!((found.0 - truth.0).abs() < 60.0, "{found:?} {truth:?}");
    assert!(
        (found.1[0] - truth.1[0]).abs() < 25.0 && (found.1[1] - truth.1[1]).abs() < 25.0,
        "{found:?} {truth:?}"
    );
    let shift = first.pose.unwrap().shift_a;
    assert!(shift[0].abs() < 0.02 && (shift[1] - 0.5).abs() < 0.02, "{shift:?}");
    let [before, after, best] =
        ["particles.h5", "J2/particles.h5", "truth.h5"].map(|table| quality(dir.path(), "J3", table));
    assert!(after > before && after > best - 0.03, "{before} {after} {best}");
}

#[test]
fn even_aberrations_and_astigmatism_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let mut planted = Planted { astigmatism_a: 120.0, ..Planted::default() };
    for own in &mut planted.aberrations {
        own.even.zernike[8] = 150.0;
        own.even.zernike[4] = -100.0;
    }
    planted.write(dir.path(), 1.0);
    let params = json!({
        "max_resolution": 3.0, "beam_tilt": false, "astigmatism": true, "fourth_order": true, "rounds": 5,
    });
    let (_, set) = refine(dir.path(), params);
    for group in &set.optics {
        let even = group.aberrations.even.zernike;
        assert!((even[8] - 150.0).abs() < 10.0 && (even[4] + 100.0).abs() < 10.0, "{even:?}");
    }
    // even terms of the second order are astigmatism, too: the phase is what counts, on average over a micrograph
    for first in (0..PARTICLES).step_by(20) {
        for azimuth in [0.0f64, 0.8, 1.6] {
            let k = 0.28;
            let error = |index: usize| {
                let found = set.particles[index].ctf.unwrap().phase(k, azimuth);
                found - true_ctf(index).phase(k, azimuth) + tetrafoil(k, azimuth)
            };
            let mean = (first..first + 20).map(error).sum::<f64>() / 20.0;
            assert!(mean.abs() < 0.15, "micrograph {}, {azimuth}: {mean}", micrograph(first));
        }
    }
}

/// The even phase of the test above.
fn tetrafoil(k: f64, azimuth: f64) -> f64 {
    k.powi(4) * (150.0 * (4.0 * azimuth).cos() - 100.0 * (4.0 * azimuth).sin())
}

#[test]
fn ranks_and_threads_change_no_bit() {
    let dir = tempfile::tempdir().unwrap();
    let mut planted = Planted { defocus_sd_a: 200.0, ..Planted::default() };
    planted.aberrations[0].beam_tilt_mrad = [0.5, 0.0];
    planted.write(dir.path(), 1.5);
    let params = || {
        json!({
            "max_resolution": 3.0, "astigmatism": true, "fourth_order": true, "magnification": true, "rounds": 2,
        })
    };
    let (_, alone) = refine(dir.path(), params());
    Threads::run(3, |comm| {
        run_stage(&RefineCtf, (dir.path(), "J3"), "particles.h5", comm, params()).map(|_| ()).unwrap();
    });
    let ranks = table::particles::read(&dir.path().join("J3/particles.h5")).unwrap();
    assert_eq!(alone.optics, ranks.optics);
    assert!(alone.particles.iter().zip(&ranks.particles).all(|(a, b)| a.ctf == b.ctf && a.pose == b.pose));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    let threads = pool.install(|| refine(dir.path(), params()).1);
    assert_eq!(alone.optics, threads.optics);
    assert!(alone.particles.iter().zip(&threads.particles).all(|(a, b)| a.ctf == b.ctf));
}

#[test]
fn unfit_particles_stay_as_they_are_and_are_named() {
    let dir = tempfile::tempdir().unwrap();
    Planted { defocus_sd_a: 100.0, ..Planted::default() }.write(dir.path(), 1.0);
    let path = dir.path().join("particles.h5");
    let mut set = table::particles::read(&path).unwrap();
    set.particles[3].pose = None;
    set.particles[5].ctf = None;
    set.particles[9].stack_index = 500;
    table::particles::write(&path, &set).unwrap();
    let params = json!({"max_resolution": 4.0, "rounds": 1});
    let (report, reasons) = run_stage(&RefineCtf, (dir.path(), "J2"), "particles.h5", &Solo, params).unwrap();
    assert_eq!(report.get("particles"), Some(PARTICLES as f64 - 3.0));
    for part in ["no pose", "never estimated", "501"] {
        assert!(reasons.iter().any(|reason| reason.contains(part)), "{part} in {reasons:?}");
    }
    let found = table::particles::read(&dir.path().join("J2/particles.h5")).unwrap();
    assert_eq!(found.particles.len(), PARTICLES);
    assert_eq!(found.particles[3].ctf, set.particles[3].ctf);
    assert_ne!(found.particles[4].ctf, set.particles[4].ctf);
    let params = json!({"max_resolution": 4.0, "max_bad_fraction": 0.01});
    let error = run_stage(&RefineCtf, (dir.path(), "J3"), "particles.h5", &Solo, params).unwrap_err();
    assert!(error.to_string().contains("3 of 160 particles"), "{error}");
}

#[test]
fn unfit_inputs_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    Planted::default().write(dir.path(), 1.0);
    let refused = |params: Value| {
        let error = run_stage(&RefineCtf, (dir.path(), "J2"), "particles.h5", &Solo, params).unwrap_err();
        error.to_string()
    };
    assert!(refused(json!({})).contains("no halves"), "a map alone does not tell how far it is good");
    let found = refused(json!({"max_resolution": 40.0}));
    assert!(found.contains("finer than min_resolution"), "{found}");
    let found = refused(json!({"defocus": false, "beam_tilt": false}));
    assert!(found.contains("nothing is to be fitted"), "{found}");
    let found = refused(json!({"max_resolution": 4.0, "rounds": 0}));
    assert!(found.contains("rounds"), "{found}");
    // images that show the map's negative
    let map = -phantom().volume();
    mrc::write_volume(&dir.path().join("map.mrc"), &map, PIXEL_A).unwrap();
    let found = refused(json!({"max_resolution": 4.0}));
    assert!(found.contains("do not resemble the map"), "{found}");
    mrc::write_volume(&dir.path().join("map.mrc"), &map, 1.5 * PIXEL_A).unwrap();
    let found = refused(json!({"max_resolution": 4.0}));
    assert!(found.contains("96 voxels of 1.875 Å, the particles have 96 pixels of 1.25 Å"), "{found}");
}

#[test]
fn the_readme_has_the_parameters() {
    let table = vitreous_jobs::page::parameter_table(&vitreous_jobs::refine_ctf::JOB);
    assert!(include_str!("README.md").contains(table.trim_end()), "put this into README.md:\n{table}");
}
