use super::ExtractParticles;
use crate::{Ctx, Input, Stage, StageError};
use rand::SeedableRng;
use rand_distr::{Distribution, Normal};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use vitreous_compute::comm::{Comm, Solo, Threads};
use vitreous_formats::mrc::{MrcSpec, MrcWriter};
use vitreous_formats::open_image;
use vitreous_formats::samples::SampleType;
use vitreous_formats::table::{exposures, particles, picks};
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::ctf::CtfParams;
use vitreous_model::exposure::{CtfFit, Exposure, ExposureSet, MicrographSource, OpticsGroup};
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::params::Validate;
use vitreous_model::particle::{ParticleSet, Pick, PickSet};
use vitreous_model::report::Report;
use vitreous_model::units::{Degrees, Kilovolt, Millimetre};

type Params = vitreous_jobs::extract_particles::ExtractParticles;

const WIDTH: usize = 200;
const HEIGHT: usize = 160;
pub(super) const PIXEL_A: f64 = 1.5;
/// Standard deviation of a blob, pixels, and its depth; noise has deviation 1.
pub(super) const BLOB_SIGMA: f64 = 4.0;
const BLOB_DEPTH: f64 = 8.0;
/// Picks of every micrograph: two whole ones, one off the grid, one at the border.
pub(super) const PICKS: [(f64, f64); 4] = [(50.0, 60.0), (120.3, 99.6), (150.0, 40.0), (5.0, 80.0)];

/// Dark blobs at the picks, on noise and a slope.
fn write_micrograph(path: &Path, seed: u64) {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let noise = Normal::new(0.0f64, 1.0).unwrap();
    let image: Vec<f32> = (0..WIDTH * HEIGHT)
        .map(|i| {
            let (x, y) = ((i % WIDTH) as f64, (i / WIDTH) as f64);
            let blob = |(px, py): &(f64, f64)| {
                let r2 = (x - px).powi(2) + (y - py).powi(2);
                -BLOB_DEPTH * (-0.5 * r2 / BLOB_SIGMA.powi(2)).exp()
            };
            (500.0 + 0.2 * x - 0.1 * y + PICKS.iter().map(blob).sum::<f64>() + noise.sample(&mut rng)) as f32
        })
        .collect();
    let mut writer = MrcWriter::create(path, MrcSpec::images(WIDTH, HEIGHT, PIXEL_A)).unwrap();
    writer.append(&image).unwrap();
    writer.finish().unwrap();
}

pub(super) fn ctf() -> CtfParams {
    CtfParams {
        defocus_u_a: 12000.0,
        defocus_v_a: 11000.0,
        astigmatism_angle: Degrees(10.0),
        phase_shift: Degrees(0.0),
        voltage: Kilovolt(300.0),
        cs: Millimetre(2.7),
        amplitude_contrast: 0.1,
        even: Default::default(),
    }
}

fn exposure(name: &str) -> Exposure {
    let micrograph = MicrographSource {
        path: format!("{name}.mrc"),
        width: WIDTH as u32,
        height: HEIGHT as u32,
        pixel_size_a: PIXEL_A,
        unweighted_path: String::new(),
        motion_star_path: String::new(),
    };
    let ctf = CtfFit::new(ctf(), 4.0, 0.9);
    Exposure {
        name: name.into(),
        optics_group: 1,
        movie: None,
        micrograph: Some(micrograph),
        motion: None,
        ctf: Some(ctf),
    }
}

/// A project with `count` micrographs and their picks, as tables.
pub(super) fn project(count: usize) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..count).map(|i| format!("m{i}")).collect();
    for (i, name) in names.iter().enumerate() {
        write_micrograph(&dir.path().join(format!("{name}.mrc")), i as u64);
    }
    let optics = OpticsGroup {
        number: 1,
        name: "o".into(),
        voltage: Kilovolt(300.0),
        cs: Millimetre(2.7),
        amplitude_contrast: 0.1,
        movie_pixel_size_a: PIXEL_A,
        aberrations: Default::default(),
    };
    let set =
        ExposureSet { optics: vec![optics], exposures: names.iter().map(|name| exposure(name)).collect() };
    exposures::write(&dir.path().join("micrographs.h5"), Kind::Micrographs, &set).unwrap();
    write_picks(dir.path(), &names);
    dir
}

fn write_picks(dir: &Path, names: &[String]) {
    write_picks_at(dir, names, &PICKS);
}

/// The same places on every micrograph, each with a better score than the one before.
pub(super) fn write_picks_at(dir: &Path, names: &[String], places: &[(f64, f64)]) {
    let pick = |name: &String, i: usize| {
        let (x_px, y_px) = places[i];
        Pick { exposure: name.clone(), x_px, y_px, score: 1.0 + i as f64 }
    };
    let list = names.iter().flat_map(|name| (0..places.len()).map(move |i| pick(name, i))).collect();
    picks::write(&dir.join("picks.h5"), &PickSet { diameter_a: 30.0, picks: list, ..PickSet::default() })
        .unwrap();
}

pub(super) fn given(more: Value) -> Value {
    let mut params = json!({"box_size": 48, "background_diameter": 48.0});
    for (key, value) in more.as_object().unwrap() {
        params[key] = value.clone();
    }
    params
}

fn input(dir: &Path, slot: &str, kind: Kind) -> Input {
    let file = format!("{slot}.h5");
    let output = Output::new(slot, kind, &file, 1);
    Input { job: "J1".into(), output, path: dir.join(file), parts: Default::default() }
}

fn run_on(
    dir: &Path,
    job: &str,
    params: Value,
    comm: &dyn Comm,
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<(Report, ParticleSet), StageError> {
    run_with(dir, job, params, &[("picks", Kind::Picks)], comm, stop)
}

pub(super) fn run_with(
    dir: &Path,
    job: &str,
    params: Value,
    slots: &[(&str, Kind)],
    comm: &dyn Comm,
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<(Report, ParticleSet), StageError> {
    let job = dir.join(job);
    let mut ctx = Ctx::new(&job, dir, &AnyDevice::Cpu, comm, &|_| {}, stop);
    ctx.params = params;
    for (slot, kind) in slots.iter().chain(&[("micrographs", Kind::Micrographs)]) {
        ctx.inputs.insert((*slot).into(), vec![input(dir, slot, *kind)]);
    }
    let report = ExtractParticles.run(&ctx)?;
    let set = if comm.rank() == 0 { particles::read(&job.join("particles.h5"))? } else { Default::default() };
    Ok((report, set))
}

pub(super) fn run(dir: &Path, job: &str, params: Value) -> Result<(Report, ParticleSet), StageError> {
    run_on(dir, job, params, &Solo, &|| false)
}

pub(super) fn images(path: &Path) -> (usize, Vec<Vec<f32>>) {
    let source = open_image(path).unwrap();
    let mut frames = vec![vec![0.0; source.header().frame_len()]; source.header().frames];
    frames.iter_mut().enumerate().for_each(|(i, frame)| source.read_frame_at(i, frame).unwrap());
    (source.header().width, frames)
}

#[test]
fn particles_are_centred_white_and_normalised() {
    let dir = project(2);
    for (job, output_box) in [("J3", 48), ("J4", 24)] {
        let (report, set) = run(dir.path(), job, given(json!({"output_box": output_box}))).unwrap();
        assert_eq!((set.particles.len(), set.box_px), (6, output_box));
        assert!((set.pixel_size_a - PIXEL_A * 48.0 / f64::from(output_box)).abs() < 1e-9);
        assert_eq!((report.get("particles"), report.get("at_border")), (Some(6.0), Some(2.0)));
        let particle = &set.particles[4];
        assert_eq!(
            (particle.id, particle.stack_path.as_str(), particle.stack_index),
            (4, &*format!("{job}/particles/m1.mrcs"), 1)
        );
        // the pixel that the box is centred on
        assert_eq!(particle.pick.as_ref().map(|p| (p.x_px, p.y_px)), Some((120.0, 100.0)));
        assert_eq!(particle.ctf, Some(ctf()));
        let (n, frames) = images(&dir.path().join(job).join("particles/m0.mrcs"));
        assert_eq!((n, frames.len()), (output_box as usize, 3));
        for frame in &frames {
            check_image(frame, n, 16.0 * n as f64 / 48.0);
        }
    }
}

/// Background of mean 0 and deviation 1 outside `radius`, and a white blob within half a pixel of the centre.
fn check_image(frame: &[f32], n: usize, radius: f64) {
    let from_centre = |i: usize| [(i % n) as f64 - (n / 2) as f64, (i / n) as f64 - (n / 2) as f64];
    let (mut count, mut sum, mut squares) = (0.0, 0.0, 0.0);
    let (mut mass, mut centre) = (0.0, [0.0; 2]);
    for (i, &value) in frame.iter().enumerate() {
        let ([x, y], value) = (from_centre(i), f64::from(value));
        if x * x + y * y > radius * radius {
            (count, sum, squares) = (count + 1.0, sum + value, squares + value * value);
        } else if value > 2.5 {
            (mass, centre) = (mass + value, [centre[0] + value * x, centre[1] + value * y]);
        }
    }
    let mean = sum / count;
    assert!(mean.abs() < 1e-4 && (squares / count - 1.0).abs() < 1e-3, "{mean} {}", squares / count);
    assert!(mass > 100.0, "the particle is white: {mass}");
    assert!(centre.iter().all(|c| (c / mass).abs() < 0.7), "{:?}", centre.map(|c| c / mass));
}

#[test]
fn contrast_and_sample_type_follow_the_parameters() {
    let dir = project(1);
    run(dir.path(), "J3", given(json!({}))).unwrap();
    run(dir.path(), "J4", given(json!({"invert": false, "float16": true}))).unwrap();
    let (white, black) = (dir.path().join("J3/particles/m0.mrcs"), dir.path().join("J4/particles/m0.mrcs"));
    assert_eq!(open_image(&black).unwrap().header().sample, SampleType::Float16);
    let (white, black) = (images(&white).1, images(&black).1);
    for (a, b) in white.iter().flatten().zip(black.iter().flatten()) {
        assert!((a + b).abs() <= 1e-3 * a.abs().max(1.0), "half precision keeps 3 digits: {a} {b}");
    }
}

#[test]
fn bad_micrographs_are_left_out() {
    let dir = project(4);
    let path = dir.path().join("m1.mrc");
    let bytes = std::fs::read(&path).unwrap();
    #[allow(clippy::disallowed_methods)] // a test's own temporary files
    std::fs::write(&path, &bytes[..5000]).unwrap();
    let mut with_nan = bytes;
    with_nan[1024 + 4 * (3 * WIDTH + 7)..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    #[allow(clippy::disallowed_methods)]
    std::fs::write(dir.path().join("m2.mrc"), with_nan).unwrap();
    let (report, set) = run(dir.path(), "J3", given(json!({}))).unwrap();
    assert_eq!(set.particles.len(), 6);
    let reasons: Vec<&str> = report.skipped.iter().map(|s| s.reason.as_str()).collect();
    assert!(reasons[0].contains("truncated") && reasons[1].contains("column 7, row 3"), "{reasons:?}");
    let error = run(dir.path(), "J4", given(json!({"max_bad_fraction": 0.4}))).unwrap_err().to_string();
    assert!(error.starts_with("2 of 4 micrographs failed"), "{error}");
}

#[test]
fn parameters_that_do_not_fit_the_inputs_are_refused() {
    let dir = project(1);
    let message = |more| run(dir.path(), "J3", given(more)).unwrap_err().to_string();
    assert!(
        message(json!({"box_size": 162}))
            .contains("larger than every micrograph (the shorter edge has up to 160 px)")
    );
    assert!(message(json!({"background_diameter": 72.0})).contains("must be smaller than the box (72.0 Å)"));
    let error =
        run(dir.path(), "J3", given(json!({"box_size": 128, "background_diameter": null}))).unwrap_err();
    assert!(error.to_string().contains("none of 4 picks has a box of 128 px"), "{error}");
    write_picks(dir.path(), &["other".into()]);
    assert!(message(json!({})).contains("no pick lies on any of the 1 micrographs (first pick: other"));
}

#[test]
fn without_micrographs_or_picks_the_set_is_empty() {
    let dir = project(1);
    write_picks(dir.path(), &[]);
    let (report, set) = run(dir.path(), "J3", given(json!({"output_box": 24}))).unwrap();
    assert_eq!((set.particles.len(), set.box_px, report.get("particles")), (0, 24, Some(0.0)));
    assert!(report.notes.iter().all(|note| !note.contains("CTF")) && report.notes.len() == 1);
    exposures::write(&dir.path().join("micrographs.h5"), Kind::Micrographs, &ExposureSet::default()).unwrap();
    for comm_size in [1, 3] {
        let all = Threads::run(comm_size, |comm| run_on(dir.path(), "J4", given(json!({})), comm, &|| false));
        assert!(all.into_iter().all(|result| result.is_ok_and(|(_, set)| set.particles.is_empty())));
    }
}

#[test]
fn every_refusal_of_parameters_names_its_key() {
    assert!(Params::example().validate().is_ok());
    let refused = |params: Params| params.validate().unwrap_err().key;
    assert_eq!(refused(Params::default()), "box_size");
    assert_eq!(refused(Params { box_size: Some(33), ..Params::example() }), "box_size");
    assert_eq!(refused(Params { output_box: Some(400), ..Params::example() }), "output_box");
    assert_eq!(
        refused(Params { background_diameter: Some(0.0), ..Params::example() }),
        "background_diameter"
    );
    assert_eq!(refused(Params { max_bad_fraction: -0.1, ..Params::example() }), "max_bad_fraction");
}

#[test]
fn four_ranks_write_what_one_writes() {
    let dir = project(6);
    let (_, mut alone) = run(dir.path(), "J3", given(json!({}))).unwrap();
    let together =
        Threads::run(4, |comm| run_on(dir.path(), "J4", given(json!({})), comm, &|| false).unwrap().1);
    alone.particles.iter_mut().for_each(|p| p.stack_path = p.stack_path.replace("J3", "J4"));
    // NaN log-likelihoods are not equal to themselves
    assert_eq!(format!("{:?}", together[0]), format!("{alone:?}"));
    for i in 0..6 {
        let read =
            |job: &str| std::fs::read(dir.path().join(job).join(format!("particles/m{i}.mrcs"))).unwrap();
        assert!(read("J3") == read("J4"), "stack {i}");
    }
}

#[test]
fn stop_and_resume_is_the_same_as_uninterrupted() {
    let dir = project(4);
    let (_, whole) = run(dir.path(), "J3", given(json!({}))).unwrap();
    let looks = AtomicUsize::new(0);
    let stop = || looks.fetch_add(1, Ordering::Relaxed) >= 2;
    let stopped = run_on(dir.path(), "J4", given(json!({})), &Solo, &stop);
    assert!(matches!(stopped, Err(StageError::Stopped)));
    let first = dir.path().join("J4/particles/m0.mrcs");
    let written = std::fs::metadata(&first).unwrap().modified().unwrap();
    assert!(!dir.path().join("J4/particles/m3.mrcs").exists());
    let (_, resumed) = run(dir.path(), "J4", given(json!({}))).unwrap();
    assert_eq!(std::fs::metadata(&first).unwrap().modified().unwrap(), written, "not done again");
    assert_eq!(resumed.particles.len(), whole.particles.len());
    for i in 0..4 {
        let read =
            |job: &str| std::fs::read(dir.path().join(job).join(format!("particles/m{i}.mrcs"))).unwrap();
        assert!(read("J3") == read("J4"), "stack {i}");
    }
}

#[test]
fn the_page_has_the_parameters() {
    let table = vitreous_jobs::page::parameter_table(vitreous_jobs::find("extract-particles").unwrap());
    assert!(include_str!("README.md").contains(&table), "put this into README.md:\n{table}");
}
