use crate::{Ctx, Stage, StageError};
use serde_json::{Value, json};
use std::path::Path;
use vitreous_compute::comm::Solo;
use vitreous_compute::device::Cpu;
use vitreous_formats::mrc::{MrcSpec, MrcWriter};
use vitreous_formats::table;
use vitreous_jobs::import_particles::ImportParticles as Params;
use vitreous_model::params::Validate;
use vitreous_model::particle::ParticleSet;
use vitreous_model::report::Report;

const STAR: &str = "data_\nloop_\n_rlnImageName\n_rlnMagnification\n_rlnDetectorPixelSize\n_rlnVoltage\n\
    _rlnSphericalAberration\n_rlnAmplitudeContrast\n_rlnDefocusU\n_rlnDefocusV\n_rlnDefocusAngle\n_rlnSomethingNew\n";

/// A RELION project in `folder/relion` with a stack of three images, and a STAR file of the given rows.
fn relion_project(folder: &Path, rows: &[&str]) {
    let stacks = folder.join("relion/Extract/job001/mics");
    std::fs::create_dir_all(&stacks).unwrap();
    let mut writer = MrcWriter::create(&stacks.join("m1.mrcs"), MrcSpec::images(8, 8, 2.0)).unwrap();
    (0..3).for_each(|i| writer.append(&[i as f32 * 0.5; 64].map(|v: f32| v + 1.0)).unwrap());
    writer.finish().unwrap();
    let rows: String =
        rows.iter().map(|name| format!("{name} 50000 10 300 2.7 0.1 9000 8000 10 7\n")).collect();
    write(&folder.join("relion/Extract/job001/particles.star"), &(STAR.to_string() + &rows));
}

#[allow(clippy::disallowed_methods)] // a test makes its own input
fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

fn run(folder: &Path, params: Value) -> Result<(Report, ParticleSet), StageError> {
    let mut ctx = Ctx::new(folder, folder, &Cpu, &Solo, &|_| {}, &|| false);
    ctx.params = params;
    let report = super::ImportParticles.run(&ctx)?;
    let output = ctx.declared_outputs().remove(0);
    assert_eq!((output.slot.as_str(), output.box_px), ("particles", Some(8)));
    Ok((report, table::particles::read(&folder.join("particles.h5")).unwrap()))
}

const GOOD: [&str; 2] = ["1@Extract/job001/mics/m1.mrcs", "000003@Extract/job001/mics/m1.mrcs"];

#[test]
fn the_root_is_found_and_unknown_columns_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    relion_project(folder.path(), &GOOD);
    let (report, set) = run(folder.path(), json!({"star": "relion/Extract/job001/particles.star"})).unwrap();
    let stacks: Vec<_> = set.particles.iter().map(|p| (p.stack_path.as_str(), p.stack_index)).collect();
    let expected = "relion/Extract/job001/mics/m1.mrcs";
    assert_eq!(stacks, [(expected, 0), (expected, 2)]);
    assert_eq!((set.pixel_size_a, set.box_px), (2.0, 8));
    assert_eq!(report.data["ignored_columns"], json!(["data_/_rlnSomethingNew"]));
    assert!(
        report.notes.iter().any(|note| note.contains("1 columns have no place here")),
        "{:?}",
        report.notes
    );
}

#[test]
fn particles_without_image_are_left_out_and_too_many_refused() {
    let folder = tempfile::tempdir().unwrap();
    let rows = [GOOD[0], "4@Extract/job001/mics/m1.mrcs", "1@Extract/job001/mics/gone.mrcs"];
    relion_project(folder.path(), &rows);
    let mut params = json!({"star": "relion/Extract/job001/particles.star"});
    let error = run(folder.path(), params.clone()).map(|_| ()).unwrap_err().to_string();
    assert!(
        error.starts_with("2 of 3 particles failed") && error.contains("image 4 was asked for"),
        "{error}"
    );
    params["max_bad_fraction"] = json!(0.7);
    let (report, set) = run(folder.path(), params).unwrap();
    assert_eq!((set.particles.len(), report.skipped.len()), (1, 2));
    assert!(report.skipped[1].reason.contains("gone.mrcs"), "{:?}", report.skipped);
}

#[test]
fn a_missing_stack_is_one_line_and_a_missing_root_is_advised() {
    let folder = tempfile::tempdir().unwrap();
    let gone = |i: usize| format!("{i}@Extract/job001/mics/gone.mrcs");
    let (one, two) = (gone(1), gone(2));
    relion_project(folder.path(), &[GOOD[0], &one, &two, GOOD[1]]);
    let params = json!({"star": "relion/Extract/job001/particles.star", "max_bad_fraction": 0.5});
    let (report, set) = run(folder.path(), params.clone()).unwrap();
    assert_eq!((set.particles.len(), report.skipped.len(), report.get("skipped")), (2, 1, Some(2.0)));
    assert!(report.skipped[0].item.ends_with("gone.mrcs (2 particles)"), "{:?}", report.skipped);
    // the file says the box, so no stack has to be opened before all are looked for
    let optics = "data_optics\nloop_\n_rlnOpticsGroup\n_rlnVoltage\n_rlnSphericalAberration\n_rlnAmplitudeContrast\n\
        _rlnImagePixelSize\n_rlnImageSize\n1 300 2.7 0.1 2 8\n";
    let star = folder.path().join("relion/Extract/job001/particles.star");
    write(&star, &format!("{optics}data_particles\nloop_\n_rlnImageName\n_rlnBeamTiltX\n{one} 0\n{two} 0\n"));
    let error = run(folder.path(), params.clone()).map(|_| ()).unwrap_err();
    assert!(error.to_string().starts_with("none of 2 particles has a usable image"), "{error}");
    assert!(error.hint().starts_with("give --root"), "{}", error.hint());
    write(&star, &format!("{optics}data_particles\nloop_\n_rlnImageName\n_rlnBeamTiltX\n{} 0\n", GOOD[0]));
    let (report, _) = run(folder.path(), params).unwrap();
    let told = "aberrations that later jobs will not correct for: data_particles/_rlnBeamTiltX";
    assert!(report.notes.iter().any(|note| note == told), "{:?}", report.notes);
}

#[test]
fn errors_say_what_to_give() {
    let folder = tempfile::tempdir().unwrap();
    relion_project(folder.path(), &GOOD);
    let star = folder.path().join("relion/bare.star");
    write(&star, "data_\nloop_\n_rlnImageName\n1@Extract/job001/mics/m1.mrcs\n");
    let fail = |params: Value| {
        let error = run(folder.path(), params).map(|_| ()).unwrap_err();
        format!("{error}; {}", error.hint())
    };
    let given =
        json!({"star": star, "voltage": 300.0, "cs": 2.7, "amplitude_contrast": 0.1, "pixel_size": 2.0});
    for (key, hint) in [
        ("voltage", "_rlnVoltage is missing"),
        ("cs", "give --cs"),
        ("amplitude_contrast", "give --amplitude-contrast"),
        ("pixel_size", "give --pixel-size"),
    ] {
        let mut params = given.clone();
        params[key] = json!(null);
        let error = fail(params);
        assert!(error.contains(hint), "{key}: {error}");
    }
    let (_, set) = run(folder.path(), given.clone()).unwrap();
    assert_eq!(set.particles.len(), 1);
    let mut elsewhere = given;
    elsewhere["root"] = json!("/nowhere");
    assert!(fail(elsewhere).contains("no image stack of it can be read; give --root"));
    assert!(fail(json!({"star": "none.star"})).contains("none.star: cannot read: No such file"));
}

#[test]
fn every_bad_parameter_is_named() {
    for (key, value) in [("star", json!(null)), ("max_bad_fraction", json!(2.0)), ("pixel_size", json!(-1.0))]
    {
        let mut params = serde_json::to_value(Params::example()).unwrap();
        params[key] = value;
        let params: Params = serde_json::from_value(params).unwrap();
        assert_eq!(params.validate().unwrap_err().key, key);
    }
}

#[test]
fn the_page_has_the_parameters() {
    let table = vitreous_jobs::page::parameter_table(vitreous_jobs::find("import-particles").unwrap());
    assert!(include_str!("README.md").contains(&table), "put this into README.md:\n{table}");
}
