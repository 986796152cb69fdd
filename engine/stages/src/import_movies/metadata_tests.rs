//! Metadata beside movies, optics groups from them, and movies of a STAR file.
#![allow(clippy::disallowed_methods)] // tests plant files and read the environment

use super::ImportMovies;
use crate::{Ctx, Stage, StageError};
use serde_json::{Value, json};
use std::fs::write;
use std::path::{Path, PathBuf};
use vitreous_compute::comm::Solo;
use vitreous_formats::mrc::{MrcSpec, MrcWriter};
use vitreous_formats::samples::SampleType;
use vitreous_formats::table::exposures;
use vitreous_formats::tiff::{TiffSpec, TiffWriter};
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::exposure::{ExposureSet, GainFlip, MovieSource};
use vitreous_model::report::Report;

const WIDTH: usize = 12;
const HEIGHT: usize = 8;
const FRAMES: usize = 5;

fn movie(path: &Path) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let spec = TiffSpec::movie(WIDTH, HEIGHT, FRAMES, SampleType::Uint8, 0.7);
    let mut writer = TiffWriter::create(path, spec).unwrap();
    (0..FRAMES).for_each(|f| writer.append(&vec![f as f32; WIDTH * HEIGHT]).unwrap());
    writer.finish().unwrap();
}

fn image(path: &Path, width: usize, height: usize) {
    let mut writer = MrcWriter::create(path, MrcSpec::images(width, height, 0.7)).unwrap();
    writer.append(&vec![1.0; width * height]).unwrap();
    writer.finish().unwrap();
}

/// SerialEM's file of a movie with a beam shift.
fn mdoc(shift: [f64; 2]) -> String {
    format!(
        "T = SerialEM\nVoltage = 200\n\n[FrameSet = 0]\nPixelSpacing = 0.83\nExposureDose = 30\nNumSubFrames = 5\n\
         FrameDosesAndNumber = 6 5\nPriorRecordDose = 2\nImageShift = {} {}\nGainReference = X:\\\\d\\\\Ref.dm4\n\
         RotationAndFlip = 5\n",
        shift[0], shift[1]
    )
}

fn run(dir: &Path, params: Value) -> Result<(Report, ExposureSet), StageError> {
    let job = dir.join("J1");
    let mut ctx = Ctx::new(&job, dir, &AnyDevice::Cpu, &Solo, &|_| {}, &|| false);
    ctx.params = params;
    let report = ImportMovies.run(&ctx)?;
    Ok((report, exposures::read(&job.join("movies.h5"))?))
}

fn first(set: &ExposureSet) -> &MovieSource {
    set.exposures[0].movie.as_ref().unwrap()
}

/// A project with one movie and SerialEM's file beside it.
fn serialem() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    movie(&dir.path().join("raw/m1.tif"));
    write(dir.path().join("raw/m1.tif.mdoc"), mdoc([0.0, 0.0])).unwrap();
    dir
}

#[test]
fn an_mdoc_gives_what_parameters_do_not() {
    let dir = serialem();
    image(&dir.path().join("Ref.mrc"), HEIGHT, WIDTH);
    let (report, set) = run(dir.path(), json!({"movies": "raw/*", "cs": 2.7})).unwrap();
    let movie = first(&set);
    assert_eq!((movie.pixel_size_a, movie.dose_per_frame, movie.pre_exposure), (0.83, 6.0, 2.0));
    assert_eq!((movie.gain_path.as_str(), movie.gain_rotate, movie.gain_flip), ("Ref.mrc", 3, GainFlip::X));
    assert_eq!((set.optics[0].voltage.0, set.exposures.len()), (200.0, 1));
    let notes = report.notes.join("\n");
    for told in [
        "1 of 1 movies have a metadata file",
        "Pixel size 0.83 Å: from the metadata",
        "Voltage 200 kV: from",
        "Total dose 30 e/Å² a movie: from",
        "gain_rotate 3 and gain_flip x: from the metadata",
    ] {
        assert!(notes.contains(told), "{told} is not in\n{notes}");
    }
}

#[test]
fn what_is_given_wins_and_a_contradiction_is_told() {
    let dir = serialem();
    let given = json!({"movies": "raw/*", "cs": 2.7, "pixel_size": 0.7, "voltage": 300.0, "total_dose": 50.0, "pre_exposure": 1.0});
    let (report, set) = run(dir.path(), given).unwrap();
    let movie = first(&set);
    assert_eq!((movie.pixel_size_a, movie.dose_per_frame, movie.pre_exposure), (0.7, 10.0, 1.0));
    assert_eq!(set.optics[0].voltage.0, 300.0);
    let notes = report.notes.join("\n");
    for told in [
        "pixel size is given (or the project's) as 0.7 Å, but the metadata of 1 movie(s) say 0.83 Å",
        "voltage is given (or the project's) as 300 kV",
        "total dose is given (or the project's) as 50 e/Å²",
        "No gain is used: the metadata name the gain reference Ref.dm4, which is not beside the movies",
    ] {
        assert!(notes.contains(told), "{told} is not in\n{notes}");
    }
    let error = run(dir.path(), json!({"movies": "raw/*", "cs": 2.7, "metadata": "none"})).unwrap_err();
    assert!(error.to_string().contains("`voltage`: is required"), "{error}");
}

#[test]
fn a_gain_of_the_named_file_gets_its_orientation_and_another_does_not() {
    let dir = serialem();
    image(&dir.path().join("raw/Ref.mrc"), HEIGHT, WIDTH);
    image(&dir.path().join("other.mrc"), WIDTH, HEIGHT);
    let given = |gain: &str| json!({"movies": "raw/m*", "cs": 2.7, "gain": gain});
    let (_, set) = run(dir.path(), given("raw/Ref.mrc")).unwrap();
    assert_eq!((first(&set).gain_rotate, first(&set).gain_flip), (3, GainFlip::X));
    let (_, set) = run(dir.path(), given("other.mrc")).unwrap();
    assert_eq!((first(&set).gain_rotate, first(&set).gain_flip), (0, GainFlip::None));
}

#[test]
fn files_that_disagree_or_are_missing_are_refused_by_name() {
    let dir = serialem();
    movie(&dir.path().join("raw/m2.tif"));
    write(dir.path().join("raw/m2.mdoc"), mdoc([0.0, 0.0]).replace("0.83", "0.9")).unwrap();
    let error = run(dir.path(), json!({"movies": "raw/*", "cs": 2.7})).unwrap_err().to_string();
    assert!(
        error.contains("differs between metadata files: 0.83 in") && error.contains("m2.mdoc"),
        "{error}"
    );
    let error =
        run(dir.path(), json!({"movies": "raw/*", "cs": 2.7, "metadata": "epu"})).unwrap_err().to_string();
    assert!(error.contains("`metadata`: no movie has a XML file of EPU beside it"), "{error}");
    write(dir.path().join("raw/m2.mdoc"), "PixelSpacing 0.83").unwrap();
    let (report, _) = run(dir.path(), json!({"movies": "raw/*", "cs": 2.7})).unwrap();
    assert!(report.notes[0].contains("Metadata not used") && report.notes[0].contains("m2.mdoc line 1"));
}

#[test]
fn real_epu_files_give_voltage_pixel_size_and_dose() {
    let Ok(data) = std::env::var("VITREOUS_TESTDATA") else {
        println!("skipped: VITREOUS_TESTDATA not set");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let mut xmls: Vec<PathBuf> = std::fs::read_dir(Path::new(&data).join("meta/epu"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    xmls.sort();
    for xml in &xmls {
        let name = xml.file_name().unwrap().to_string_lossy().into_owned();
        std::fs::create_dir_all(dir.path().join("raw")).unwrap();
        std::fs::copy(xml, dir.path().join("raw").join(&name)).unwrap();
        if let Some(stem) = name.strip_suffix("_Fractions.xml") {
            movie(&dir.path().join(format!("raw/{stem}_Fractions.tiff")));
        }
    }
    // the camera's 4096 columns are not the 12 of these movies: no pixel size can be had from them
    let given = json!({"movies": "raw/*.tiff", "cs": 2.7, "group_by": "beam-shift", "group_distance": 0.05});
    let (report, set) = run(dir.path(), given).unwrap();
    assert_eq!(set.exposures.len(), 6);
    assert_eq!(set.optics[0].voltage.0, 300.0);
    assert!(
        (first(&set).dose_per_frame * 22.0 - 30.430622179514924).abs() < 1e-9,
        "22 fractions were recorded"
    );
    assert!((first(&set).pixel_size_a - 0.7).abs() < 1e-6, "of the headers");
    assert!(report.notes.iter().any(|note| note.contains("6 movie(s) have other numbers of frames")));
    let groups: Vec<u32> = set.exposures.iter().map(|e| e.optics_group).collect();
    assert_eq!(groups, [1, 1, 1, 2, 2, 2], "three shots each in two holes");
    assert_eq!(
        set.optics.iter().map(|g| g.name.as_str()).collect::<Vec<_>>(),
        ["opticsGroup1", "opticsGroup2"]
    );
    assert!(report.figures.iter().any(|figure| figure.id() == "beam-shifts"));
}

#[test]
fn groups_keep_their_numbers_while_a_microscope_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let add = |name: &str, shift: [f64; 2]| {
        movie(&dir.path().join(format!("raw/{name}.tif")));
        write(dir.path().join(format!("raw/{name}.mdoc")), mdoc(shift)).unwrap();
    };
    let look = || {
        let given = json!({"watch": "raw", "settle_s": 0.0, "cs": 2.7, "group_by": "beam-shift", "group_distance": 0.5});
        let (_, set) = run(dir.path(), given).unwrap();
        set.exposures.iter().map(|e| (e.name.clone(), e.optics_group)).collect::<Vec<_>>()
    };
    add("m5", [0.0, 0.0]);
    add("m6", [2.0, 0.0]);
    assert_eq!(look(), [("m5".into(), 1), ("m6".into(), 2)]);
    add("m1", [4.0, 0.0]);
    add("m2", [2.1, 0.0]);
    assert_eq!(look(), [("m1".into(), 3), ("m2".into(), 2), ("m5".into(), 1), ("m6".into(), 2)]);
}

#[test]
fn names_of_holes_make_groups_and_without_either_the_refusal_says_so() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a_X+0Y+0-1", "a_X+0Y+0-2", "b_X+0Y+0-1"] {
        movie(&dir.path().join(format!("raw/{name}.tif")));
    }
    let given = |more: &str| json!({"movies": more, "cs": 2.7, "voltage": 300.0, "group_by": "beam-shift"});
    let (_, set) = run(dir.path(), given("raw/*.tif")).unwrap();
    assert_eq!(set.exposures.iter().map(|e| e.optics_group).collect::<Vec<_>>(), [1, 2, 1]);
    movie(&dir.path().join("plain/m.tif"));
    let error = run(dir.path(), given("plain/*.tif")).unwrap_err().to_string();
    assert!(error.contains("`group_by`: no movie has a beam shift"), "{error}");
}

#[test]
fn a_star_file_brings_its_groups_and_paths() {
    let dir = tempfile::tempdir().unwrap();
    let relion = dir.path().join("relion");
    for name in ["Movies/a/m.tif", "Movies/b/m.tif"] {
        movie(&relion.join(name));
    }
    std::fs::create_dir_all(relion.join("Import/job001")).unwrap();
    let star = "data_optics\nloop_\n_rlnOpticsGroupName\n_rlnOpticsGroup\n_rlnMicrographOriginalPixelSize\n_rlnVoltage\n\
        _rlnSphericalAberration\n_rlnAmplitudeContrast\nh1 1 0.8 300 2.7 0.1\nh2 2 0.9 300 2.7 0.1\ndata_movies\nloop_\n\
        _rlnMicrographMovieName\n_rlnOpticsGroup\nMovies/a/m.tif 2\nMovies/b/m.tif 1\nMovies/gone.tif 1\n";
    write(relion.join("Import/job001/movies.star"), star).unwrap();
    let given =
        json!({"star": "relion/Import/job001/movies.star", "dose_per_frame": 1.0, "max_bad_fraction": 0.4});
    let (report, set) = run(dir.path(), given).unwrap();
    assert_eq!(set.optics.len(), 2);
    let rows: Vec<_> = set
        .exposures
        .iter()
        .map(|e| {
            let movie = e.movie.as_ref().unwrap();
            (e.name.as_str(), e.optics_group, movie.path.as_str(), movie.pixel_size_a, movie.frames)
        })
        .collect();
    assert_eq!(
        rows,
        [("m", 2, "relion/Movies/a/m.tif", 0.9, 5), ("b-m", 1, "relion/Movies/b/m.tif", 0.8, 5)]
    );
    assert!(report.skipped[0].item.ends_with("Movies/gone.tif"), "{:?}", report.skipped);
    let error =
        run(dir.path(), json!({"star": "relion/Import/job001/movies.star", "root": "nowhere"})).unwrap_err();
    assert!(error.to_string().contains("3 of 3 movies failed"), "{error}");
}
