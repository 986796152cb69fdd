use super::ImportMovies;
use crate::{Ctx, Stage, StageError};
use serde_json::{Value, json};
use std::path::Path;
use vitreous_compute::comm::{Comm, Solo, Threads};
use vitreous_formats::mrc::{MrcSpec, MrcWriter};
use vitreous_formats::samples::SampleType;
use vitreous_formats::table::exposures;
use vitreous_formats::tiff::{TiffSpec, TiffWriter};
use vitreous_jobs::import_movies::GroupBy;
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::exposure::{ExposureSet, GainFlip};
use vitreous_model::params::Validate;
use vitreous_model::report::Report;

const WIDTH: usize = 12;
const HEIGHT: usize = 8;

fn tiff_movie(path: &Path, frames: usize) {
    let spec = TiffSpec::movie(WIDTH, HEIGHT, frames, SampleType::Uint8, 0.7);
    let mut writer = TiffWriter::create(path, spec).unwrap();
    (0..frames).for_each(|f| writer.append(&vec![f as f32; WIDTH * HEIGHT]).unwrap());
    writer.finish().unwrap();
}

fn mrc(path: &Path, width: usize, height: usize, frames: usize) {
    let mut writer = MrcWriter::create(path, MrcSpec::images(width, height, 0.7)).unwrap();
    (0..frames).for_each(|_| writer.append(&vec![1.0; width * height]).unwrap());
    writer.finish().unwrap();
}

/// A project with three movies of five frames, TIFF and MRC, and a gain.
fn project() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let raw = dir.path().join("raw");
    std::fs::create_dir(&raw).unwrap();
    tiff_movie(&raw.join("m1.tif"), 5);
    tiff_movie(&raw.join("m2.tif"), 5);
    mrc(&raw.join("m3.mrc"), WIDTH, HEIGHT, 5);
    mrc(&raw.join("gain.mrc"), WIDTH, HEIGHT, 1);
    dir
}

fn given(more: Value) -> Value {
    let mut params = json!({"movies": "raw/*", "gain": "raw/gain.mrc", "voltage": 300.0, "cs": 2.7, "dose_per_frame": 1.5});
    for (key, value) in more.as_object().unwrap() {
        params[key] = value.clone();
    }
    params
}

fn run_on(dir: &Path, params: Value, comm: &dyn Comm) -> Result<(Report, ExposureSet, usize), StageError> {
    let job = dir.join("J1");
    let mut ctx = Ctx::new(&job, dir, &AnyDevice::Cpu, comm, &|_| {}, &|| false);
    ctx.params = params;
    let report = ImportMovies.run(&ctx)?;
    let set =
        if comm.rank() == 0 { exposures::read(&job.join("movies.h5"))? } else { ExposureSet::default() };
    Ok((report, set, ctx.declared_outputs().len()))
}

fn run(dir: &Path, params: Value) -> Result<(Report, ExposureSet), StageError> {
    run_on(dir, params, &Solo).map(|(report, set, _)| (report, set))
}

#[test]
fn movies_are_registered_with_gain_dose_and_pixel_size() {
    let dir = project();
    let (report, set) = run(dir.path(), given(json!({"gain_flip": "y"}))).unwrap();
    assert_eq!(set.exposures.iter().map(|e| e.name.as_str()).collect::<Vec<_>>(), ["m1", "m2", "m3"]);
    let movie = set.exposures[2].movie.as_ref().unwrap();
    assert_eq!((movie.path.as_str(), movie.gain_path.as_str()), ("raw/m3.mrc", "raw/gain.mrc"));
    assert_eq!((movie.frames, movie.width, movie.height), (5, WIDTH as u32, HEIGHT as u32));
    assert_eq!((movie.gain_flip, movie.dose_per_frame), (GainFlip::Y, 1.5));
    assert!((movie.pixel_size_a - 0.7).abs() < 1e-6);
    let optics = &set.optics[0];
    assert_eq!((optics.voltage.0, optics.cs.0, optics.amplitude_contrast), (300.0, 2.7, 0.1));
    assert_eq!((report.get("movies"), report.get("total_dose_eA2")), (Some(3.0), Some(7.5)));
    assert_eq!(report.figures.iter().map(|f| f.id()).collect::<Vec<_>>(), ["movies", "gain"]);
}

#[test]
fn odd_ones_are_left_out_with_the_reason() {
    let dir = project();
    tiff_movie(&dir.path().join("raw/a_short.tif"), 4);
    mrc(&dir.path().join("raw/b_small.mrc"), WIDTH, HEIGHT - 1, 5);
    let mut bytes = std::fs::read(dir.path().join("raw/m3.mrc")).unwrap();
    bytes.truncate(1500);
    #[allow(clippy::disallowed_methods)] // a test's own temporary file
    std::fs::write(dir.path().join("raw/c_cut.mrc"), bytes).unwrap();
    let (report, set) = run(dir.path(), given(json!({}))).unwrap();
    assert_eq!(set.exposures.len(), 3);
    let reasons: Vec<&str> = report.skipped.iter().map(|s| s.reason.as_str()).collect();
    assert!(
        reasons[0].contains("it has 4 frames of 12 × 8 px, expected 5 frames of 12 × 8 px"),
        "{reasons:?}"
    );
    assert!(reasons[1].contains("it has 5 frames of 12 × 7 px"), "{reasons:?}");
    assert!(reasons[2].contains("truncated") && reasons[2].contains("the file has 1500"), "{reasons:?}");
    let error = run(dir.path(), given(json!({"max_bad_fraction": 0.4}))).unwrap_err().to_string();
    assert!(error.starts_with("3 of 6 movies failed"), "{error}");
    let (_, set) = run(dir.path(), given(json!({"frames": 4, "max_bad_fraction": 0.9}))).unwrap();
    assert_eq!(set.exposures[0].name, "a_short");
    let error = run(dir.path(), given(json!({"frames": 9}))).unwrap_err().to_string();
    assert!(error.contains("expected 9 frames"), "{error}");
}

#[test]
fn a_gain_that_does_not_fit_stops_the_job() {
    let dir = project();
    let error = run(dir.path(), given(json!({"gain_rotate": 1}))).unwrap_err();
    assert!(
        error.to_string().contains("it is 8 × 12 after 1 quarter turn(s), the frames are 12 × 8"),
        "{error}"
    );
    let error = run(dir.path(), given(json!({"gain": "raw/none.mrc"}))).unwrap_err();
    assert!(error.to_string().contains("raw/none.mrc: cannot open"), "{error}");
}

#[test]
fn a_defect_map_is_read_and_registered() {
    let dir = project();
    #[allow(clippy::disallowed_methods)] // a test's own temporary file
    let write = |text: &str| std::fs::write(dir.path().join("bad.txt"), text).unwrap();
    write("2 3 1 2\n");
    let (_, set) = run(dir.path(), given(json!({"defects": "bad.txt"}))).unwrap();
    assert!(set.exposures.iter().all(|e| e.movie.as_ref().unwrap().defects_path == "bad.txt"));
    write("2 x 1 2\n");
    let error = run(dir.path(), given(json!({"defects": "bad.txt"}))).unwrap_err();
    assert!(error.to_string().contains("bad.txt") && error.hint().contains("--defects"), "{error}");
}

#[test]
fn what_is_missing_is_named() {
    let dir = project();
    for (key, message) in [("voltage", "`voltage`: is required"), ("cs", "`cs`: is required")] {
        let error = run(dir.path(), given(json!({key: null}))).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    let error = run(dir.path(), given(json!({"movies": "raw/*.eer"}))).unwrap_err().to_string();
    assert!(error.contains("`movies`: matches no file"), "{error}");
    let error = run(dir.path(), given(json!({"movies": "raw/gain.mrc", "gain": null}))).unwrap_err();
    assert!(error.hint().contains("import-micrographs"), "{error}");
}

#[test]
fn every_refusal_of_parameters_names_its_key() {
    let example = vitreous_jobs::import_movies::ImportMovies::example;
    let refused = |params: vitreous_jobs::import_movies::ImportMovies| params.validate().unwrap_err().key;
    assert!(example().validate().is_ok());
    assert_eq!(refused(Default::default()), "movies");
    let base = example();
    type Params = vitreous_jobs::import_movies::ImportMovies;
    let star = || Params { movies: None, star: Some("movies.star".into()), ..example() };
    assert!(star().validate().is_ok());
    assert_eq!(refused(Params { movies: base.movies.clone(), ..star() }), "star");
    assert_eq!(refused(Params { group_by: GroupBy::BeamShift, ..star() }), "group_by");
    assert_eq!(refused(Params { root: Some("r".into()), ..example() }), "root");
    assert_eq!(refused(Params { watch: Some("raw".into()), ..example() }), "watch");
    assert_eq!(refused(Params { group_distance: Some(0.0), ..example() }), "group_distance");
    assert_eq!(refused(Params { total_dose: Some(30.0), ..example() }), "total_dose");
    assert_eq!(refused(Params { total_dose: Some(-3.0), dose_per_frame: None, ..example() }), "total_dose");
    assert_eq!(
        refused(vitreous_jobs::import_movies::ImportMovies { gain_rotate: 4, ..example() }),
        "gain_rotate"
    );
    assert_eq!(
        refused(vitreous_jobs::import_movies::ImportMovies { frames: Some(0), ..example() }),
        "frames"
    );
    let of = |watch_idle_h, settle_s| vitreous_jobs::import_movies::ImportMovies {
        watch_idle_h,
        settle_s,
        ..example()
    };
    assert_eq!(
        (refused(of(0.0, 1.0)), refused(of(1.0, f64::NAN))),
        ("watch_idle_h".into(), "settle_s".into())
    );
    let dose = Some(-1.0);
    assert_eq!(
        refused(vitreous_jobs::import_movies::ImportMovies { dose_per_frame: dose, ..example() }),
        "dose_per_frame"
    );
    assert_eq!(
        refused(vitreous_jobs::import_movies::ImportMovies { pre_exposure: -1.0, ..example() }),
        "pre_exposure"
    );
}

#[test]
fn four_ranks_write_the_same_table_once() {
    let dir = project();
    let alone = run(dir.path(), given(json!({}))).unwrap().1;
    let results = Threads::run(4, |comm| run_on(dir.path(), given(json!({})), comm).unwrap());
    assert_eq!(results[0].1, alone);
    assert_eq!(results.iter().map(|(_, _, outputs)| *outputs).collect::<Vec<_>>(), [1, 0, 0, 0]);
}

/// Longer than files take to settle in these tests ([`SETTLE_S`]).
fn wait_until_settled() {
    std::thread::sleep(std::time::Duration::from_secs_f64(1.3 * SETTLE_S));
}

const SETTLE_S: f64 = 0.4;

fn names(set: &ExposureSet) -> Vec<&str> {
    set.exposures.iter().map(|e| e.name.as_str()).collect()
}

fn watched(more: Value) -> Value {
    let mut params = given(json!({"settle_s": SETTLE_S}));
    params["watch"] = params["movies"].take();
    for (key, value) in more.as_object().unwrap() {
        params[key] = value.clone();
    }
    params
}

#[test]
fn a_running_microscope_delivers_complete_movies_only() {
    let dir = project();
    let raw = dir.path().join("raw");
    let cut = std::fs::File::options().write(true).open(raw.join("m3.mrc")).unwrap();
    cut.set_len(1300).unwrap();
    wait_until_settled();
    tiff_movie(&raw.join("m2.tif"), 5);
    let (report, set) = run(dir.path(), watched(json!({}))).unwrap();
    assert_eq!(names(&set), ["m1"], "m2 is being written, and m3 is quiet but not whole");
    assert_eq!((report.get("still_written"), report.get("skipped")), (Some(2.0), Some(0.0)));
    wait_until_settled();
    let (report, set) = run(dir.path(), watched(json!({}))).unwrap();
    assert_eq!((names(&set), report.get("still_written")), (vec!["m1", "m2"], Some(1.0)));
    mrc(&raw.join("m3.mrc"), WIDTH, HEIGHT, 5);
    let (report, set) = run(dir.path(), watched(json!({}))).unwrap();
    assert_eq!((names(&set), report.get("still_written")), (vec!["m1", "m2"], Some(1.0)));
    wait_until_settled();
    let (report, set) = run(dir.path(), watched(json!({}))).unwrap();
    assert_eq!((names(&set), report.get("still_written")), (vec!["m1", "m2", "m3"], Some(0.0)));
}

#[test]
fn before_the_first_movie_the_table_is_empty_and_what_is_given_is_checked() {
    let dir = project();
    let raw = dir.path().join("raw");
    let none = |more: Value| {
        let mut params = watched(json!({"watch": "raw/grid*.tif"}));
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        run(dir.path(), params)
    };
    let (report, set) = none(json!({})).unwrap();
    assert_eq!((set, report.get("movies")), (ExposureSet::default(), Some(0.0)));
    let (_, set) = none(json!({"pixel_size": 0.8})).unwrap();
    assert_eq!(set.optics[0].movie_pixel_size_a, 0.8);
    assert!(
        none(json!({"voltage": null, "metadata": "none"})).unwrap_err().to_string().contains("`voltage`")
    );
    assert!(none(json!({"voltage": null})).unwrap().1.optics.is_empty(), "metadata may bring it");
    assert!(none(json!({"gain": "raw/none.mrc"})).unwrap_err().to_string().contains("cannot open"));
    // one frame is no movie yet, and what is unfit at the beginning does not end the watch
    tiff_movie(&raw.join("grid1.tif"), 1);
    let (report, set) = none(json!({"settle_s": 0.0})).unwrap();
    assert_eq!((set.exposures.len(), report.get("still_written")), (0, Some(1.0)));
}

#[test]
fn a_clock_that_is_ahead_only_delays() {
    let dir = project();
    let ahead = std::fs::File::options().write(true).open(dir.path().join("raw/m1.tif")).unwrap();
    let made = ahead.metadata().unwrap().modified().unwrap();
    ahead.set_modified(made + std::time::Duration::from_secs(7200)).unwrap();
    wait_until_settled();
    let only = || run(dir.path(), watched(json!({"watch": "raw/m1.tif"}))).unwrap().1;
    assert!(only().exposures.is_empty());
    wait_until_settled();
    assert_eq!(names(&only()), ["m1"], "seen unchanged for that time");
}

#[test]
fn movies_that_are_known_are_not_read_again_and_keep_their_names() {
    let dir = project();
    let raw = dir.path().join("raw");
    let all = || run(dir.path(), watched(json!({"watch": "raw/**/m*", "settle_s": 0.0}))).unwrap().1;
    assert_eq!(names(&all()), ["m1", "m2", "m3"]);
    // of the same length and time, but no movie any more: only one who reads it again will know
    let found = std::fs::metadata(raw.join("m2.tif")).unwrap();
    let spoilt = std::fs::File::create(raw.join("m2.tif")).unwrap();
    spoilt.set_len(found.len()).unwrap();
    spoilt.set_modified(found.modified().unwrap()).unwrap();
    // comes before the others in the order of paths, and has the name of one of them
    std::fs::create_dir(raw.join("a")).unwrap();
    tiff_movie(&raw.join("a/m1.tif"), 5);
    let set = all();
    assert_eq!(names(&set), ["a-m1", "m1", "m2", "m3"]);
    assert_eq!(set.exposures[1].movie.as_ref().unwrap().path, "raw/m1.tif");
}

#[test]
fn ranks_follow_a_microscope_as_one_does() {
    let dir = project();
    let params = || watched(json!({"settle_s": 0.0}));
    let alone = run(dir.path(), params()).unwrap().1;
    let results = Threads::run(3, |comm| run_on(dir.path(), params(), comm).unwrap());
    assert_eq!((&results[0].1, results[0].1.exposures.len()), (&alone, 3));
    assert_eq!(results.iter().map(|(_, _, outputs)| *outputs).collect::<Vec<_>>(), [1, 0, 0]);
}

#[test]
fn the_page_has_the_parameters() {
    let table = vitreous_jobs::page::parameter_table(vitreous_jobs::find("import-movies").unwrap());
    assert!(include_str!("README.md").contains(&table), "put this into README.md:\n{table}");
}
