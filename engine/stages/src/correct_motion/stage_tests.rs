//! The stage as a whole: files in, files out, bad input, ranks, stopping and going on.

use super::CorrectMotion;
use super::motion_field::MotionField;
use super::simulated::{Memory, Recipe, rms_difference};
use crate::{Ctx, Input, Stage, StageError};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use vitreous_compute::comm::{Comm, Solo, Threads};
use vitreous_formats::mrc::{MrcSpec, MrcWriter};
use vitreous_formats::samples::SampleType;
use vitreous_formats::tiff::{Compression, TiffSpec, TiffWriter};
use vitreous_formats::{open_image, star::StarFile, table};
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::exposure::{Exposure, ExposureSet, GainFlip, MovieSource, OpticsGroup};
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::params::Validate;
use vitreous_model::report::Report;
use vitreous_model::units::{Kilovolt, Millimetre};

const SIZE: [usize; 2] = [256, 224];
const FRAMES: usize = 8;

fn recipe(seed: u64) -> Recipe {
    Recipe {
        width: SIZE[0],
        height: SIZE[1],
        frames: FRAMES,
        dose: 2.0,
        local: 1.5,
        seed,
        ..Recipe::default()
    }
}

fn write_tiff(path: &Path, memory: &Memory) {
    let spec = TiffSpec::movie(SIZE[0], SIZE[1], memory.frames.len(), SampleType::Uint8, 1.0);
    let mut writer = TiffWriter::create(path, spec.compression(Compression::Lzw)).unwrap();
    memory.frames.iter().for_each(|frame| writer.append(frame).unwrap());
    writer.finish().unwrap();
}

fn write_mrc(path: &Path, size: [usize; 2], frames: &[Vec<f32>]) {
    let mut writer = MrcWriter::create(path, MrcSpec::images(size[0], size[1], 1.0)).unwrap();
    frames.iter().for_each(|frame| writer.append(frame).unwrap());
    writer.finish().unwrap();
}

fn exposure(name: &str, file: &str) -> Exposure {
    let movie = MovieSource {
        path: format!("raw/{file}"),
        frames: FRAMES as u32,
        width: SIZE[0] as u32,
        height: SIZE[1] as u32,
        pixel_size_a: 1.0,
        dose_per_frame: 2.0,
        pre_exposure: 0.0,
        gain_path: String::new(),
        gain_rotate: 0,
        gain_flip: GainFlip::None,
        defects_path: String::new(),
        eer: None,
    };
    Exposure {
        name: name.into(),
        optics_group: 1,
        movie: Some(movie),
        micrograph: None,
        motion: None,
        ctf: None,
    }
}

fn optics(voltage: f64) -> OpticsGroup {
    OpticsGroup {
        number: 1,
        name: "opticsGroup1".into(),
        voltage: Kilovolt(voltage),
        cs: Millimetre(2.7),
        amplitude_contrast: 0.1,
        movie_pixel_size_a: 1.0,
        aberrations: Default::default(),
    }
}

fn write_table(dir: &Path, exposures: Vec<Exposure>, voltage: f64) {
    let set = ExposureSet { optics: vec![optics(voltage)], exposures };
    table::exposures::write(&dir.join("movies.h5"), Kind::Movies, &set).unwrap();
}

/// A project of good movies `good0 ..`.
fn project(dir: &Path, good: u64) -> Vec<Exposure> {
    std::fs::create_dir_all(dir.join("raw")).unwrap();
    (0..good)
        .map(|i| {
            let file = format!("good{i}.tif");
            write_tiff(&dir.join("raw").join(&file), &recipe(i + 1).counted());
            exposure(&format!("good{i}"), &file)
        })
        .collect()
}

fn run_stage(
    dir: &Path,
    job: &str,
    params: Value,
    comm: &dyn Comm,
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<Report, StageError> {
    let job_dir = dir.join(job);
    std::fs::create_dir_all(&job_dir).unwrap();
    let mut ctx = Ctx::new(&job_dir, dir, &AnyDevice::Cpu, comm, &|_| {}, stop);
    ctx.params = params;
    let input = Input {
        job: "J1".into(),
        output: Output::new("movies", Kind::Movies, "movies.h5", 1),
        path: dir.join("movies.h5"),
        parts: Default::default(),
    };
    ctx.inputs.insert("movies".into(), vec![input]);
    CorrectMotion.run(&ctx)
}

fn never() -> bool {
    false
}

#[test]
fn movies_become_micrographs_tables_and_star_files() {
    let dir = tempfile::tempdir().unwrap();
    let exposures = project(dir.path(), 2);
    write_table(dir.path(), exposures, 300.0);
    let report = run_stage(dir.path(), "J2", json!({"patches_x": 2, "patches_y": 2}), &Solo, &never).unwrap();
    assert_eq!(report.get("movies"), Some(2.0));
    assert_eq!(report.figures.len(), 2 * 3 + 1);
    let set = table::exposures::read(&dir.path().join("J2/micrographs.h5")).unwrap();
    for (i, exposure) in set.exposures.iter().enumerate() {
        let micrograph = exposure.micrograph.as_ref().unwrap();
        for path in [&micrograph.path, &micrograph.unweighted_path] {
            let image = open_image(&dir.path().join(path)).unwrap();
            assert_eq!((image.header().width, image.header().height), (SIZE[0], SIZE[1]));
            assert_eq!(image.header().pixel_size_a, Some(1.0));
        }
        let motion = exposure.motion.as_ref().unwrap();
        assert!((motion.total_a - motion.early_a - motion.late_a).abs() < 1e-9 && motion.early_a > 0.0);
        let star = StarFile::read(&dir.path().join(&micrograph.motion_star_path)).unwrap();
        assert_eq!(star.table("global_shift").unwrap().len(), FRAMES);
        let record = &report.data["exposures"][i];
        let field: Vec<[[f64; 6]; 2]> = match &record["field_A"] {
            Value::Null => continue,
            field => serde_json::from_value(field.clone()).unwrap(),
        };
        let found = MotionField { width: SIZE[0], height: SIZE[1], coefficients: field };
        let error = rms_difference(&found, &recipe(i as u64 + 1).truth(), 3);
        assert!(error <= 0.5, "{error} px");
    }
}

/// What is wrong with a movie, and a word that its reason must contain.
fn bad_movies(dir: &Path) -> Vec<(Exposure, &'static str)> {
    let raw = dir.join("raw");
    let memory = recipe(9).counted();
    let whole = std::fs::read(raw.join("good0.tif")).unwrap();
    #[allow(clippy::disallowed_methods)]
    let write = |name: &str, bytes: &[u8]| std::fs::write(raw.join(name), bytes).unwrap();
    write("truncated.tif", &whole[..whole.len() / 2]);
    write("empty.tif", &[]);
    write("text.mrc", b"this is no image at all, however long it may go on");
    write_tiff(&raw.join("short.tif"), &Memory::new(SIZE[0], SIZE[1], memory.frames[..5].to_vec()));
    write_mrc(&raw.join("nan.mrc"), SIZE, &memory.frames);
    let mut bytes = std::fs::read(raw.join("nan.mrc")).unwrap();
    let at = 1024 + 4 * (3 * SIZE[0] * SIZE[1] + 2 * SIZE[0] + 5);
    bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    write("nan.mrc", &bytes);
    write_mrc(&raw.join("small_gain.mrc"), [SIZE[1], SIZE[0] - 2], &[vec![1.0; SIZE[1] * (SIZE[0] - 2)]]);
    let mut small_gain = exposure("small-gain", "good0.tif");
    small_gain.movie.as_mut().unwrap().gain_path = "raw/small_gain.mrc".into();
    let mut no_dose = exposure("no-dose", "good0.tif");
    no_dose.movie.as_mut().unwrap().dose_per_frame = 0.0;
    let mut no_movie = exposure("no-movie", "good0.tif");
    no_movie.movie = None;
    vec![
        (exposure("truncated", "truncated.tif"), "truncated"),
        (exposure("empty", "empty.tif"), "empty"),
        (exposure("text", "text.mrc"), "text.mrc"),
        (exposure("absent", "absent.tif"), "absent.tif"),
        (exposure("short", "short.tif"), "holds 5 frame(s)"),
        (exposure("nan", "nan.mrc"), "frame 3 (from 0) is NaN at column 5, row 2"),
        (small_gain, "gain reference"),
        (no_dose, "dose per frame"),
        (no_movie, "has no movie"),
    ]
}

#[test]
fn bad_movies_are_left_out_with_their_reason_and_good_ones_done() {
    let dir = tempfile::tempdir().unwrap();
    let good = project(dir.path(), 2);
    let bad = bad_movies(dir.path());
    let mut exposures = vec![good[0].clone()];
    exposures.extend(bad.iter().map(|(exposure, _)| exposure.clone()));
    exposures.push(good[1].clone());
    write_table(dir.path(), exposures, 200.0);
    let params = json!({"max_bad_fraction": 0.9});
    let report = run_stage(dir.path(), "J2", params, &Solo, &never).unwrap();
    assert_eq!((report.get("movies"), report.get("movies_skipped")), (Some(2.0), Some(bad.len() as f64)));
    for ((exposure, word), skipped) in bad.iter().zip(&report.skipped) {
        assert_eq!(exposure.name, skipped.item);
        assert!(skipped.reason.contains(word), "{}: {}", skipped.item, skipped.reason);
    }
    let set = table::exposures::read(&dir.path().join("J2/micrographs.h5")).unwrap();
    assert_eq!(set.exposures.iter().map(|e| e.name.as_str()).collect::<Vec<_>>(), ["good0", "good1"]);
    let strict = run_stage(dir.path(), "J3", json!({}), &Solo, &never);
    assert!(matches!(strict, Err(StageError::TooManyBad { .. })));
}

#[test]
fn unknown_voltages_and_frames_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let exposures = project(dir.path(), 1);
    write_table(dir.path(), exposures, 120.0);
    let error = run_stage(dir.path(), "J2", json!({}), &Solo, &never).unwrap_err();
    assert!(error.to_string().contains("no critical dose is known for 120 kV"), "{error}");
    let plain = json!({"dose_weighting": false, "patches_x": 1, "patches_y": 1});
    run_stage(dir.path(), "J3", plain, &Solo, &never).unwrap();
    let set = table::exposures::read(&dir.path().join("J3/micrographs.h5")).unwrap();
    assert_eq!(set.exposures[0].micrograph.as_ref().unwrap().unweighted_path, "");
    let beyond = json!({"dose_weighting": false, "last_frame": FRAMES + 1});
    let error = run_stage(dir.path(), "J4", beyond, &Solo, &never).unwrap_err();
    assert!(error.to_string().contains("frames 1 to 9 are asked for, the movie has 8"), "{error}");
}

#[test]
fn a_gain_reference_and_its_dead_pixels_are_corrected() {
    let dir = tempfile::tempdir().unwrap();
    let mut exposures = project(dir.path(), 1);
    let [width, height] = SIZE;
    // the camera counts one half of the frame double, and one pixel not at all
    let gain: Vec<f32> = (0..width * height).map(|i| if i % width < width / 2 { 0.5 } else { 1.0 }).collect();
    let mut memory = recipe(1).counted();
    for frame in &mut memory.frames {
        frame.iter_mut().zip(&gain).for_each(|(v, g)| *v /= g);
        frame[50 * width + 60] = 0.0;
    }
    let mut marked = gain.clone();
    marked[50 * width + 60] = 0.0;
    write_tiff(&dir.path().join("raw/uncorrected.tif"), &memory);
    write_mrc(&dir.path().join("raw/gain.mrc"), SIZE, &[marked]);
    let mut uncorrected = exposure("uncorrected", "uncorrected.tif");
    uncorrected.movie.as_mut().unwrap().gain_path = "raw/gain.mrc".into();
    exposures.push(uncorrected);
    write_table(dir.path(), exposures, 300.0);
    let report = run_stage(dir.path(), "J2", json!({}), &Solo, &never).unwrap();
    assert_eq!(report.data["exposures"][1]["bad_pixels_in_gain"], 1);
    let read = |name: &str| {
        let image = open_image(&dir.path().join("J2/micrographs").join(name)).unwrap();
        let mut pixels = vec![0.0; image.header().frame_len()];
        image.read_frame_at(0, &mut pixels).unwrap();
        pixels
    };
    let (clean, corrected) = (read("good0_unweighted.mrc"), read("uncorrected_unweighted.mrc"));
    let difference =
        clean.iter().zip(&corrected).map(|(a, b)| (a - b).powi(2)).sum::<f32>() / clean.len() as f32;
    assert!(difference.sqrt() < 0.2, "{difference}");
}

fn bytes_of(dir: &Path, job: &str, name: &str) -> Vec<u8> {
    std::fs::read(dir.join(job).join(name)).unwrap()
}

#[test]
fn three_ranks_and_a_stopped_job_give_what_one_rank_gives() {
    let dir = tempfile::tempdir().unwrap();
    let exposures = project(dir.path(), 4);
    write_table(dir.path(), exposures, 300.0);
    let params = || json!({"patches_x": 3, "patches_y": 3});
    let alone = run_stage(dir.path(), "J2", params(), &Solo, &never).unwrap();
    let ranks = Threads::run(3, |comm| run_stage(dir.path(), "J3", params(), comm, &never).unwrap());
    let calls = AtomicUsize::new(0);
    // the third time it is asked whether to stop, before the third movie
    let soon = || calls.fetch_add(1, Ordering::Relaxed) >= 2;
    assert!(matches!(run_stage(dir.path(), "J4", params(), &Solo, &soon), Err(StageError::Stopped)));
    assert!(!dir.path().join("J4/micrographs.h5").exists());
    let resumed = run_stage(dir.path(), "J4", params(), &Solo, &never).unwrap();
    for other in [&ranks[0], &resumed] {
        assert_eq!(alone.data, other.data);
        assert_eq!(alone.numbers, other.numbers);
    }
    for job in ["J3", "J4"] {
        for name in ["good0.mrc", "good1_unweighted.mrc", "good2.mrc", "good3.mrc"] {
            let name = format!("micrographs/{name}");
            // the header's label may name a time; the pixels must be the same
            assert_eq!(bytes_of(dir.path(), "J2", &name)[1024..], bytes_of(dir.path(), job, &name)[1024..]);
        }
    }
}

/// Numbers of one fixed movie, so that a change of the algorithm is seen and looked at.
#[test]
fn the_golden_movie_gives_the_golden_numbers() {
    let golden: Value = serde_json::from_str(include_str!("golden/movie.json")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let exposures = project(dir.path(), 1);
    write_table(dir.path(), exposures, 300.0);
    let report = run_stage(dir.path(), "J2", json!({"patches_x": 3, "patches_y": 3}), &Solo, &never).unwrap();
    let record = &report.data["exposures"][0];
    let tolerance = golden["tolerance_A"].as_f64().unwrap();
    for (frame, want) in golden["global_shift_A"].as_array().unwrap().iter().enumerate() {
        for axis in 0..2 {
            let (got, want) = (record["global_shift_A"][frame][axis].as_f64(), want[axis].as_f64());
            let difference = (got.unwrap() - want.unwrap()).abs();
            assert!(difference <= tolerance, "frame {frame}, axis {axis}: {got:?}, expected {want:?}");
        }
    }
}

#[test]
fn parameters_that_cannot_work_are_named() {
    type Params = vitreous_jobs::correct_motion::CorrectMotion;
    let refused = |params: Params| params.validate().unwrap_err().key;
    assert!(Params::default().validate().is_ok() && Params::example().validate().is_ok());
    assert_eq!(refused(Params { patches_x: 0, ..Params::default() }), "patches_x");
    assert_eq!(refused(Params { patches_y: 33, ..Params::default() }), "patches_y");
    assert_eq!(refused(Params { bfactor: -1.0, ..Params::default() }), "bfactor");
    assert_eq!(refused(Params { binning: 0.5, ..Params::default() }), "binning");
    assert_eq!(refused(Params { binning: f64::NAN, ..Params::default() }), "binning");
    assert_eq!(refused(Params { first_frame: 0, ..Params::default() }), "first_frame");
    assert_eq!(refused(Params { first_frame: 4, last_frame: Some(3), ..Params::default() }), "last_frame");
    assert_eq!(refused(Params { hot_pixel_sd: 0.0, ..Params::default() }), "hot_pixel_sd");
    assert_eq!(refused(Params { max_bad_fraction: 1.5, ..Params::default() }), "max_bad_fraction");
}

#[test]
fn the_page_has_the_parameters_as_they_are() {
    let table = vitreous_jobs::page::parameter_table(&vitreous_jobs::correct_motion::JOB);
    assert!(include_str!("README.md").contains(&table), "the README should contain:\n{table}");
}

#[test]
fn odd_and_even_sums_in_16_bits_without_the_pixels_of_a_defect_map() {
    let dir = tempfile::tempdir().unwrap();
    let mut exposures = project(dir.path(), 1);
    #[allow(clippy::disallowed_methods)]
    std::fs::write(dir.path().join("raw/defects.txt"), "100 0 1 224\n20 30 2 2\n").unwrap();
    exposures[0].movie.as_mut().unwrap().defects_path = "raw/defects.txt".into();
    write_table(dir.path(), exposures, 300.0);
    let params = json!({"odd_even": true, "float16": true, "patches_x": 1, "patches_y": 1});
    let report = run_stage(dir.path(), "J2", params, &Solo, &never).unwrap();
    assert_eq!(report.data["exposures"][0]["bad_pixels_in_gain"], 224 + 4);
    let read = |name: &str| {
        let image = open_image(&dir.path().join("J2/micrographs").join(name)).unwrap();
        assert_eq!(image.header().sample, SampleType::Float16);
        let mut pixels = vec![0.0; image.header().frame_len()];
        image.read_frame_at(0, &mut pixels).unwrap();
        pixels
    };
    let (all, odd, even) = (read("good0_unweighted.mrc"), read("good0_odd.mrc"), read("good0_even.mrc"));
    for ((all, odd), even) in all.iter().zip(&odd).zip(&even) {
        // half precision has 11 bits
        assert!((all - odd - even).abs() <= 2.0 * all.abs().max(odd.abs()).max(even.abs()) / 1024.0);
    }
}
