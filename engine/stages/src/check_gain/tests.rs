use super::CheckGain;
use crate::{Ctx, Input, Stage, StageError};
use ndarray::Array2;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal, Poisson};
use serde_json::{Value, json};
use std::path::Path;
use vitreous_compute::comm::Solo;
use vitreous_formats::gain::orient;
use vitreous_formats::mrc::{MrcSpec, MrcWriter};
use vitreous_formats::samples::SampleType;
use vitreous_formats::table;
use vitreous_formats::tiff::{Compression, TiffSpec, TiffWriter};
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::exposure::{Exposure, ExposureSet, GainFlip, MovieSource, OpticsGroup};
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::report::Report;
use vitreous_model::units::{Kilovolt, Millimetre};

/// A camera, its movies in a project folder.
struct Scene {
    dir: tempfile::TempDir,
    /// Factors that make frames flat.
    gain: Array2<f32>,
    frames: usize,
    movies: usize,
    rng: ChaCha8Rng,
}

impl Scene {
    /// `movies` of `frames` frames with `dose` electrons a pixel and frame, on a camera whose pixels and columns differ by
    /// `spread`.
    fn new(
        [width, height]: [usize; 2],
        movies: usize,
        frames: usize,
        dose: f32,
        spread: f32,
        seed: u64,
    ) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let normal = Normal::new(1.0, spread).unwrap();
        let columns: Vec<f32> = (0..width).map(|_| normal.sample(&mut rng)).collect();
        let mut gain = Array2::from_shape_fn((height, width), |(_, x)| {
            (0.7 * normal.sample(&mut rng) + 0.3 * columns[x]).max(0.2)
        });
        gain[[3, 5]] = 0.0;
        let dir = tempfile::tempdir().unwrap();
        let mut scene = Self { dir, gain, frames, movies, rng };
        scene.record(dose);
        scene
    }

    fn record(&mut self, dose: f32) {
        let (height, width) = self.gain.dim();
        for movie in 0..self.movies {
            let path = self.dir.path().join(format!("m{movie}.tif"));
            let spec = TiffSpec::movie(width, height, self.frames, SampleType::Uint8, 1.0);
            let mut writer = TiffWriter::create(&path, spec.compression(Compression::Lzw)).unwrap();
            for _ in 0..self.frames {
                let frame: Vec<f32> = self
                    .gain
                    .indexed_iter()
                    .map(|((y, x), gain)| {
                        // a beam that falls off, and a specimen that is another in every movie
                        let beam = 1.0 - 0.3 * (x as f32 / width as f32);
                        let specimen = 1.0 + 0.1 * ((y + 17 * movie) as f32 / 23.0).sin();
                        let rate = dose * beam * specimen / gain.max(0.05);
                        if *gain > 0.0 { Poisson::new(rate).unwrap().sample(&mut self.rng) } else { 0.0 }
                    })
                    .collect();
                writer.append(&frame).unwrap();
            }
            writer.finish().unwrap();
        }
    }

    /// Writes a gain file, turned and mirrored so that `turns` and `flip` bring it back onto the frames.
    fn save(&self, gain: &Array2<f32>, turns: u32, flip: GainFlip) {
        let stored = orient(orient(gain.clone(), 0, flip), (4 - turns) % 4, GainFlip::None);
        let spec = MrcSpec::images(stored.ncols(), stored.nrows(), 1.0);
        let mut writer = MrcWriter::create(&self.dir.path().join("gain.mrc"), spec).unwrap();
        writer.append(stored.as_slice().unwrap()).unwrap();
        writer.finish().unwrap();
    }

    /// The import's table; `imported` is the orientation it was given, none for an import without gain.
    fn import(&self, imported: Option<(u32, GainFlip)>) {
        let (height, width) = self.gain.dim();
        let exposure = |movie: usize| Exposure {
            name: format!("m{movie}"),
            optics_group: 1,
            movie: Some(MovieSource {
                path: format!("m{movie}.tif"),
                frames: self.frames as u32,
                width: width as u32,
                height: height as u32,
                pixel_size_a: 1.0,
                dose_per_frame: 1.0,
                pre_exposure: 0.0,
                gain_path: imported.map(|_| "gain.mrc".to_string()).unwrap_or_default(),
                gain_rotate: imported.map_or(0, |(turns, _)| turns),
                gain_flip: imported.map_or(GainFlip::None, |(_, flip)| flip),
                defects_path: String::new(),
                eer: None,
            }),
            micrograph: None,
            motion: None,
            ctf: None,
        };
        let optics = OpticsGroup {
            number: 1,
            name: "opticsGroup1".into(),
            voltage: Kilovolt(300.0),
            cs: Millimetre(2.7),
            amplitude_contrast: 0.1,
            movie_pixel_size_a: 1.0,
            aberrations: Default::default(),
        };
        let set = ExposureSet { optics: vec![optics], exposures: (0..self.movies).map(exposure).collect() };
        table::exposures::write(&self.dir.path().join("movies.h5"), Kind::Movies, &set).unwrap();
    }

    fn check(&self, params: Value) -> Result<(Report, ExposureSet), StageError> {
        run(self.dir.path(), params)
    }
}

fn run(dir: &Path, params: Value) -> Result<(Report, ExposureSet), StageError> {
    let job_dir = dir.join("J2");
    std::fs::create_dir_all(&job_dir).unwrap();
    let mut ctx = Ctx::new(&job_dir, dir, &AnyDevice::Cpu, &Solo, &|_| {}, &|| false);
    ctx.params = params;
    let input = Input {
        job: "J1".into(),
        output: Output::new("movies", Kind::Movies, "movies.h5", 1),
        path: dir.join("movies.h5"),
        parts: Default::default(),
    };
    ctx.inputs.insert("movies".into(), vec![input]);
    let report = CheckGain.run(&ctx)?;
    assert_eq!(ctx.declared_outputs()[0].slot, "movies");
    Ok((report, table::exposures::read(&job_dir.join("movies.h5"))?))
}

fn message(result: Result<(Report, ExposureSet), StageError>) -> String {
    match result {
        Err(error) => {
            assert_eq!(error.exit_code(), vitreous_model::exit::INPUT, "{error}");
            format!("{error} [{}]", error.hint())
        }
        Ok((report, _)) => panic!("{report:?} is no error"),
    }
}

#[test]
fn each_of_eight_orientations_is_found_and_handed_on() {
    let scene = Scene::new([192, 192], 2, 10, 1.0, 0.06, 1);
    for turns in 0..4 {
        for flip in [GainFlip::None, GainFlip::Y] {
            scene.save(&scene.gain, turns, flip);
            // the import's guess is wrong but for one of them
            scene.import(Some((0, GainFlip::None)));
            let (report, set) = scene.check(json!({})).unwrap();
            let movie = set.exposures[1].movie.as_ref().unwrap();
            assert_eq!((movie.gain_rotate, movie.gain_flip), (turns, flip), "{report:?}");
            assert_eq!(report.get("gain_rotate"), Some(f64::from(turns)));
            let flags = format!("--gain-rotate {turns} --gain-flip {}", flip.name());
            assert!(report.title.contains(&flags), "{}", report.title);
            let is_right = (turns, flip) == (0, GainFlip::None);
            assert_eq!(report.notes[0].contains("it is right"), is_right, "{}", report.notes[0]);
            assert_eq!(report.notes[0].contains("WRONG"), !is_right, "{}", report.notes[0]);
            assert_eq!(report.data["orientations"].as_array().unwrap().len(), 8);
            assert_eq!(report.figures.len(), 3);
        }
    }
}

#[test]
fn mirrors_left_to_right_are_the_same_orientation_said_otherwise() {
    let scene = Scene::new([192, 192], 1, 20, 1.0, 0.06, 2);
    scene.save(&scene.gain, 3, GainFlip::Y);
    scene.import(Some((1, GainFlip::X)));
    let (report, _) = scene.check(json!({})).unwrap();
    assert!(report.notes[0].contains("it is right"), "{}", report.notes[0]);
}

#[test]
fn frames_that_are_not_square_take_a_gain_that_lies_on_its_side() {
    let scene = Scene::new([224, 160], 1, 20, 1.0, 0.06, 3);
    scene.save(&scene.gain, 1, GainFlip::Y);
    scene.import(None);
    assert!(message(scene.check(json!({}))).contains("without a gain reference"));
    let (report, set) = scene.check(json!({"gain": "gain.mrc"})).unwrap();
    let movie = set.exposures[0].movie.as_ref().unwrap();
    assert_eq!((movie.gain_path.as_str(), movie.gain_rotate, movie.gain_flip), ("gain.mrc", 1, GainFlip::Y));
    assert_eq!(report.data["orientations"].as_array().unwrap().len(), 4);
    assert!(
        report.notes[0].contains("import them with --gain and --gain-rotate 1 --gain-flip y"),
        "{report:?}"
    );
}

#[test]
fn what_cannot_be_told_is_refused_with_all_scores() {
    let scene = Scene::new([192, 192], 2, 10, 1.0, 0.06, 4);
    scene.import(Some((0, GainFlip::None)));
    scene.save(&Array2::from_elem((192, 192), 1.0), 0, GainFlip::None);
    let flat = message(scene.check(json!({})));
    assert!(flat.contains("no orientation fits") && flat.contains("20 raw frames of 2 movie(s)"), "{flat}");
    assert_eq!(flat.matches(" flip ").count(), 8, "{flat}");
    assert!(!scene.dir.path().join("J2/movies.h5").exists(), "nothing is handed on");
    // frames that are corrected already
    let mut even = Scene::new([192, 192], 2, 10, 1.0, 0.0, 5);
    let pattern = scene.gain.clone();
    even.import(Some((0, GainFlip::None)));
    even.save(&pattern, 0, GainFlip::None);
    assert!(message(even.check(json!({}))).contains("no orientation fits"));
    // a camera that looks the same upside down
    for y in 0..96 {
        let row = pattern.row(y).to_owned();
        even.gain.row_mut(191 - y).assign(&row);
        even.gain.row_mut(y).assign(&row);
    }
    even.record(1.0);
    even.save(&even.gain, 0, GainFlip::None);
    let twins = message(even.check(json!({})));
    assert!(twins.contains("two orientations fit"), "{twins}");
}

#[test]
fn a_gain_to_be_divided_is_refused_and_one_of_another_size() {
    let scene = Scene::new([192, 192], 1, 20, 1.0, 0.06, 6);
    scene.import(Some((0, GainFlip::None)));
    scene.save(&scene.gain.mapv(|v| if v > 0.0 { 1.0 / v } else { 0.0 }), 2, GainFlip::Y);
    let divided = message(scene.check(json!({})));
    assert!(divided.contains("--gain-rotate 2 --gain-flip y") && divided.contains("reciprocal"), "{divided}");
    scene.save(&Array2::from_elem((100, 192), 1.0), 0, GainFlip::None);
    assert!(message(scene.check(json!({}))).contains("192 × 100"));
}

#[test]
fn movies_that_cannot_be_read_are_left_out_and_more_are_read_only_when_needed() {
    let scene = Scene::new([192, 192], 6, 10, 0.5, 0.06, 7);
    scene.save(&scene.gain, 1, GainFlip::None);
    scene.import(Some((1, GainFlip::None)));
    let first = scene.dir.path().join("m0.tif");
    let bytes = std::fs::read(&first).unwrap();
    #[allow(clippy::disallowed_methods, reason = "a test's own temporary file")]
    std::fs::write(&first, &bytes[..bytes.len() / 2]).unwrap();
    let (report, _) = scene.check(json!({})).unwrap();
    assert_eq!(report.skipped.len(), 1, "{:?}", report.skipped);
    let movies = report.get("movies").unwrap();
    assert!((1.0..=5.0).contains(&movies), "{movies}");
    assert_eq!(report.get("frames"), Some(10.0 * movies));
    assert!((report.get("mean_count").unwrap() - 0.43).abs() < 0.03, "{report:?}");
    // a further attempt with more movies does not average again: its movies may be gone
    for movie in 0..6 {
        std::fs::remove_file(scene.dir.path().join(format!("m{movie}.tif"))).unwrap();
    }
    let (again, set) = scene.check(json!({})).unwrap();
    assert_eq!((again.get("movies"), set.exposures.len()), (Some(movies), 6));
    // but another gain is looked at anew
    scene.save(&scene.gain.mapv(|v| 0.5 * v), 1, GainFlip::None);
    assert!(message(scene.check(json!({"max_movies": 3}))).contains("none of 3 movies can be read"));
}

#[test]
fn a_microscope_that_has_not_delivered_is_waited_for() {
    let mut scene = Scene::new([64, 64], 1, 1, 1.0, 0.06, 8);
    scene.movies = 0;
    scene.import(None);
    let (report, set) = scene.check(json!({})).unwrap();
    assert!(set.exposures.is_empty() && report.title.contains("No movies yet"));
}

/// One movie of a small camera is enough at doses as low as they come: 1024² pixels that differ by 3 %, 40 frames of
/// 0.1 e/px. Cameras have 16 times as many pixels.
#[test]
fn few_frames_at_low_dose_are_enough() {
    let scene = Scene::new([1024, 1024], 1, 40, 0.1, 0.03, 9);
    scene.save(&scene.gain, 3, GainFlip::Y);
    scene.import(Some((3, GainFlip::Y)));
    let (report, _) = scene.check(json!({})).unwrap();
    println!(
        "40 frames of 0.1 e/px: correlation {:?}, lead {:?} sd",
        report.get("correlation"),
        report.get("margin_sd")
    );
    assert!(report.notes[0].contains("it is right"));
}
