//! Every kind of file on micrographs of known names, what is left out, and RELION's own picks.
#![allow(clippy::disallowed_methods)] // a test's own temporary files

use super::ImportPicks;
use crate::{Ctx, Input, Stage, StageError, test_data};
use serde_json::{Value, json};
use std::path::Path;
use vitreous_compute::comm::{Comm, Solo, Threads};
use vitreous_formats::mrc::{MrcSpec, MrcWriter};
use vitreous_formats::table;
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::exposure::{Exposure, ExposureSet, MicrographSource, OpticsGroup};
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::particle::PickSet;
use vitreous_model::report::Report;
use vitreous_model::units::{Kilovolt, Millimetre};

const WIDTH: u32 = 200;
const HEIGHT: u32 = 100;

fn exposure(name: &str, width: u32, height: u32) -> Exposure {
    Exposure {
        name: name.into(),
        optics_group: 1,
        movie: None,
        micrograph: Some(MicrographSource {
            path: format!("aligned/{name}.mrc"),
            width,
            height,
            pixel_size_a: 2.0,
            unweighted_path: String::new(),
            motion_star_path: String::new(),
        }),
        motion: None,
        ctf: None,
    }
}

/// A project with the micrographs `mic_1` and `mic_2`.
fn project() -> tempfile::TempDir {
    let exposures = vec![exposure("mic_1", WIDTH, HEIGHT), exposure("mic_2", WIDTH, HEIGHT)];
    project_of(exposures)
}

fn project_of(exposures: Vec<Exposure>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("aligned")).unwrap();
    for exposure in &exposures {
        let source = exposure.micrograph.as_ref().unwrap();
        let (width, height) = (source.width as usize, source.height as usize);
        let path = dir.path().join(&source.path);
        let mut writer = MrcWriter::create(&path, MrcSpec::images(width, height, 2.0)).unwrap();
        writer.append(&(0..width * height).map(|i| (i % 97) as f32).collect::<Vec<_>>()).unwrap();
        writer.finish().unwrap();
    }
    let optics = OpticsGroup {
        number: 1,
        name: "1".into(),
        voltage: Kilovolt(300.0),
        cs: Millimetre(2.7),
        amplitude_contrast: 0.1,
        movie_pixel_size_a: 2.0,
        aberrations: Default::default(),
    };
    let set = ExposureSet { optics: vec![optics], exposures };
    table::exposures::write(&dir.path().join("given.h5"), Kind::Micrographs, &set).unwrap();
    dir
}

fn run_on(dir: &Path, params: &Value, comm: &dyn Comm) -> Result<(PickSet, Report), StageError> {
    let job = dir.join("J2");
    let mut ctx = Ctx::new(&job, dir, &AnyDevice::Cpu, comm, &|_| {}, &|| false);
    let mut all = json!({"diameter": 50.0});
    all.as_object_mut().unwrap().extend(params.as_object().unwrap().clone());
    ctx.params = all;
    let output = Output::new("micrographs", Kind::Micrographs, "given.h5", 2);
    let input = Input { job: "J1".into(), output, path: dir.join("given.h5"), parts: Default::default() };
    ctx.inputs.insert("micrographs".into(), vec![input]);
    let report = ImportPicks.run(&ctx)?;
    let picks = if comm.rank() == 0 {
        table::picks::read(&job.join("picks.h5")).unwrap()
    } else {
        PickSet::default()
    };
    Ok((picks, report))
}

/// Names and positions, for comparison.
fn places(picks: &PickSet) -> Vec<(&str, f64, f64)> {
    picks.picks.iter().map(|p| (p.exposure.as_str(), p.x_px, p.y_px)).collect()
}

/// A `.cs` file of one pick at a quarter of the width and a tenth of the height of `000001_mic_2_patch.mrc`.
fn cs() -> Vec<u8> {
    let header = "{'descr': [('location/micrograph_path', 'S24'), ('location/micrograph_shape', '<u4', (2,)), \
                  ('location/center_x_frac', '<f4'), ('location/center_y_frac', '<f4')], 'fortran_order': False, \
                  'shape': (1,)}\n";
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    let mut path = [0; 24];
    path[..22].copy_from_slice(b"000001_mic_2_patch.mrc");
    bytes.extend(path);
    bytes.extend([HEIGHT, WIDTH].iter().flat_map(|n| n.to_le_bytes()));
    bytes.extend([0.25f32, 0.1].iter().flat_map(|v| v.to_le_bytes()));
    bytes
}

#[test]
fn every_kind_of_file_gives_the_same_positions() {
    let one =
        "data_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n_rlnAutopickFigureOfMerit #3\n50 10 0.5\n";
    let many = "data_picks\n\nloop_\n_rlnMicrographName #1\n_rlnCoordinateX #2\n_rlnCoordinateY #3\nM/mic_2.mrc 50 10\n";
    let list = "data_coordinate_files\n\nloop_\n_rlnMicrographName #1\n_rlnMicrographCoordinates #2\n\
                M/mic_2.mrc AutoPick/j1/pos.star\n";
    let cbox = "data_cryolo\n\nloop_\n_CoordinateX #1\n_CoordinateY #2\n_Width #3\n_Height #4\n_Confidence #5\n40 0 20 20 0.5\n";
    for (name, content, more) in [
        ("mic_2_autopick.star", one.as_bytes(), json!({})),
        ("all.star", many.as_bytes(), json!({})),
        ("AutoPick/autopick.star", list.as_bytes(), json!({})),
        ("mic_2.box", b"40 0 20 20\n".as_slice(), json!({})),
        ("mic_2.cbox", cbox.as_bytes(), json!({})),
        ("mic_2_bin.box", b"80 0 40 40\n".as_slice(), json!({"scale": 0.5})),
        ("picks.cs", &cs(), json!({"y_origin": "first-row"})),
    ] {
        let dir = project();
        std::fs::create_dir_all(dir.path().join("AutoPick/j1")).unwrap();
        std::fs::write(dir.path().join("AutoPick/j1/pos.star"), one).unwrap();
        std::fs::write(dir.path().join(name), content).unwrap();
        let mut params = json!({"picks": name});
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (picks, report) = run_on(dir.path(), &params, &Solo).unwrap_or_else(|e| panic!("{name}: {e}"));
        let [(exposure, x, y)] = places(&picks)[..] else { panic!("{name}: {picks:?}") };
        assert!(exposure == "mic_2" && x == 50.0 && (y - 10.0).abs() < 1e-5, "{name}: {picks:?}");
        assert_eq!(picks.diameter_a, 50.0);
        assert_eq!(report.get("picks"), Some(1.0));
        assert!(report.figures.iter().any(|figure| figure.id() == "picks_0"), "{name}");
    }
}

#[test]
fn cryosparcs_y_must_be_told() {
    let dir = project();
    std::fs::write(dir.path().join("picks.cs"), cs()).unwrap();
    let error = run_on(dir.path(), &json!({"picks": "picks.cs"}), &Solo).unwrap_err();
    assert!(error.to_string().contains("y_origin"), "{error}");
    let params = json!({"picks": "picks.cs", "y_origin": "last-row"});
    let (picks, _) = run_on(dir.path(), &params, &Solo).unwrap();
    assert!((picks.picks[0].y_px - 90.0).abs() < 1e-4, "{picks:?}");
}

#[test]
fn what_lies_outside_or_nowhere_is_listed() {
    let dir = project();
    std::fs::write(dir.path().join("mic_1.cbox"), "0 0 20 20 0.9\n5 5 20 20 0.1\n195 0 20 20 0.9\n").unwrap();
    std::fs::write(dir.path().join("mic_7.cbox"), "0 0 20 20 0.9\n").unwrap();
    let params = json!({"picks": "*.cbox", "min_score": 0.5, "max_bad_fraction": 0.7});
    let (picks, report) = run_on(dir.path(), &params, &Solo).unwrap();
    assert_eq!(places(&picks), [("mic_1", 10.0, 10.0)]);
    let skipped: Vec<String> = report.skipped.iter().map(|s| format!("{}: {}", s.item, s.reason)).collect();
    assert!(skipped[0].contains("mic_7.cbox: no micrograph"), "{skipped:?}");
    assert_eq!(skipped[1], "pick of mic_1: outside of its 200 × 100 px (is `scale` right?)");
    assert_eq!(report.get("weak"), Some(1.0));
    let params = json!({"picks": "*.cbox", "max_bad_fraction": 0.4});
    let error = run_on(dir.path(), &params, &Solo).unwrap_err().to_string();
    assert!(error.contains("2 of 4 picks failed"), "{error}");
}

#[test]
fn broken_files_end_the_job_with_their_name() {
    let dir = project();
    for (name, content, expected) in [
        ("mic_1.box", "1 2 3\n", "mic_1.box: line 1"),
        ("mic_1.star", "data_\n_rlnNothing 1\n", "mic_1.star"),
        ("mic_1.cs", "no", "mic_1.cs"),
        ("mic_1.txt", "1 2", "not a known kind"),
    ] {
        std::fs::write(dir.path().join(name), content).unwrap();
        let error = run_on(dir.path(), &json!({"picks": name}), &Solo).unwrap_err().to_string();
        assert!(error.contains(expected), "{name}: {error}");
    }
    let error = run_on(dir.path(), &json!({"picks": "none*.star"}), &Solo).unwrap_err().to_string();
    assert!(error.contains("matches no file"), "{error}");
}

#[test]
fn three_ranks_import_as_one() {
    let dir = project();
    std::fs::write(dir.path().join("mic_1.box"), "0 0 20 20\n30 30 10 10\n").unwrap();
    let params = json!({"picks": "*.box"});
    let alone = run_on(dir.path(), &params, &Solo).unwrap();
    let together = Threads::run(3, |comm| run_on(dir.path(), &params, comm).unwrap());
    assert_eq!(places(&together[0].0), places(&alone.0));
}

#[test]
fn a_real_dataset_without_rows_says_so() {
    let Some(data) = test_data() else { return };
    let dir = project();
    let picks = data.join("cryosparc/4k_dataset.cs");
    let error = run_on(dir.path(), &json!({"picks": picks}), &Solo).unwrap_err().to_string();
    assert!(error.contains("4k_dataset.cs: holds no positions"), "{error}");
}

#[test]
fn picks_of_relion_lie_on_their_micrograph() {
    let Some(data) = test_data() else { return };
    let dir = project_of(vec![exposure("Ucsf_stack_1142_DW", 959, 927)]);
    let picks = data.join("micrographs/Ucsf_stack_1142_DW_autopick.star");
    let (picks, report) = run_on(dir.path(), &json!({"picks": picks}), &Solo).unwrap();
    assert_eq!(picks.picks.len(), 45);
    assert_eq!((picks.picks[0].x_px, picks.picks[0].score), (839.125024, 0.624705));
    assert!(report.skipped.is_empty());
}
