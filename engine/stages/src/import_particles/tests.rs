use crate::{Ctx, Stage, StageError};
use serde_json::{Value, json};
use std::path::Path;
use vitreous_compute::comm::Solo;
use vitreous_formats::cryosparc::{FieldOut, Values, write_dataset};
use vitreous_formats::mrc::{MrcSpec, MrcWriter};
use vitreous_formats::table;
use vitreous_jobs::import_particles::ImportParticles as Params;
use vitreous_jobs::import_picks::YOrigin;
use vitreous_kernels_cuda::AnyDevice;
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
    let mut ctx = Ctx::new(folder, folder, &AnyDevice::Cpu, &Solo, &|_| {}, &|| false);
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

/// Three images of `J1` in a CryoSPARC project, their dataset and the passthrough file with the CTF and the poses.
fn cryosparc_project(folder: &Path) {
    let job = folder.join("cs/J1");
    std::fs::create_dir_all(&job).unwrap();
    let mut writer = MrcWriter::create(&job.join("m1.mrc"), MrcSpec::images(8, 8, 2.0)).unwrap();
    (0..3).for_each(|i| writer.append(&[i as f32 * 0.5; 64].map(|v: f32| v + 1.0)).unwrap());
    writer.finish().unwrap();
    let f32s = |name, count, values: &[f32]| FieldOut { name, values: Values::F32(count, values.repeat(3)) };
    let uids = |order: [u64; 3]| FieldOut { name: "uid", values: Values::U64(order.into()) };
    let blobs = [
        uids([11, 12, 13]),
        FieldOut { name: "blob/path", values: Values::Text(vec!["J1/m1.mrc".into(); 3]) },
        FieldOut { name: "blob/idx", values: Values::U32(1, vec![0, 1, 2]) },
        FieldOut { name: "blob/shape", values: Values::U32(2, [8, 8].repeat(3)) },
        f32s("blob/psize_A", 1, &[2.0]),
    ];
    let others = [
        uids([13, 11, 12]),
        f32s("ctf/accel_kv", 1, &[300.0]),
        f32s("ctf/cs_mm", 1, &[2.7]),
        f32s("ctf/amp_contrast", 1, &[0.1]),
        FieldOut { name: "ctf/exp_group_id", values: Values::U32(1, vec![0; 3]) },
        FieldOut { name: "ctf/df1_A", values: Values::F32(1, vec![13000.0, 11000.0, 12000.0]) },
        f32s("ctf/df2_A", 1, &[10000.0]),
        f32s("ctf/df_angle_rad", 1, &[0.5]),
        f32s("ctf/phase_shift_rad", 1, &[0.0]),
        f32s("alignments3D/pose", 3, &[0.3, -0.5, 0.8]),
        f32s("alignments3D/shift", 2, &[1.0, -2.0]),
        f32s("alignments3D/psize_A", 1, &[2.0]),
        f32s("alignments3D/error", 1, &[1.0]),
    ];
    for (name, fields) in [("particles.cs", &blobs[..]), ("passthrough_particles.cs", &others[..])] {
        let path = job.join(name);
        let mut bytes = Vec::new();
        write_dataset(&mut bytes, &path, fields).unwrap();
        #[allow(clippy::disallowed_methods)] // a test makes its own input
        std::fs::write(&path, bytes).unwrap();
    }
}

#[test]
fn a_dataset_and_its_passthrough_file_are_joined() {
    let folder = tempfile::tempdir().unwrap();
    cryosparc_project(folder.path());
    let params =
        json!({"dataset": "cs/J1/particles.cs", "passthrough": "cs/J1/passthrough_*.cs", "voltage": 200.0});
    let (report, set) = run(folder.path(), params).unwrap();
    let found: Vec<_> =
        set.particles.iter().map(|p| (p.id, p.stack_index, p.ctf.unwrap().defocus_u_a)).collect();
    // in the order of the first file, whatever that of the other
    assert_eq!(found, [(11, 0, 11000.0), (12, 1, 12000.0), (13, 2, 13000.0)]);
    assert!(set.particles.iter().all(|p| p.stack_path == "cs/J1/m1.mrc"));
    let pose = set.particles[0].pose.unwrap();
    // CONVENTIONS: the Rodrigues vector (0.3, -0.5, 0.8), and shifts with their sign turned
    let x = pose.rotation.apply([1.0, 0.0, 0.0]);
    assert!((x[0] - 0.590175).abs() < 1e-5 && (x[1] - 0.606517).abs() < 1e-5, "{x:?}");
    assert!(
        (pose.shift_a[0] + 2.0).abs() < 1e-5 && (pose.shift_a[1] - 4.0).abs() < 1e-5,
        "{:?}",
        pose.shift_a
    );
    // what a file says goes before what was given
    assert_eq!(set.optics[0].voltage.0, 300.0);
    assert!(report.data["ignored_columns"].to_string().contains("alignments3D/error"), "{:?}", report.data);
}

#[test]
fn a_dataset_that_lacks_fields_asks_for_its_passthrough_files() {
    let folder = tempfile::tempdir().unwrap();
    cryosparc_project(folder.path());
    let params = json!({"dataset": "cs/J1/passthrough_particles.cs"});
    let error = run(folder.path(), params).map(|_| ()).unwrap_err();
    let text = format!("{error:?}");
    assert!(text.contains("blob/path") && text.contains("--passthrough"), "{text}");
}

#[test]
fn a_file_of_one_kind_is_asked_for() {
    let both = Params { star: Some("a.star".into()), dataset: Some("a.cs".into()), ..Params::default() };
    assert!(both.validate().unwrap_err().to_string().contains("dataset"));
    let group =
        Params { dataset: Some("a.csg".into()), passthrough: Some("b.cs".into()), ..Params::default() };
    assert!(group.validate().unwrap_err().to_string().contains("passthrough"));
    let origin =
        Params { star: Some("a.star".into()), y_origin: Some(YOrigin::LastRow), ..Params::default() };
    assert!(origin.validate().unwrap_err().to_string().contains("y_origin"));
}

/// Every third-party dataset and table is imported by every job that takes its kind, or refused with the name of the file.
#[test]
fn third_party_files_are_imported_or_refused_with_a_reason() {
    use crate::import_micrographs::ImportMicrographs;
    use crate::import_volume::ImportVolume;
    let Some(data) = crate::test_data() else { return };
    let particles: &dyn Stage = &super::ImportParticles;
    let micrographs: &dyn Stage = &ImportMicrographs;
    let volume: &dyn Stage = &ImportVolume;
    let mut seen = 0;
    let mut folders = vec![data];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let ways: &[(&dyn Stage, &str)] = match path.extension().and_then(|e| e.to_str()) {
                _ if path.is_dir() => {
                    folders.push(path);
                    continue;
                }
                Some("star") => &[(particles, "star"), (particles, "par"), (micrographs, "star")],
                Some("cs") => &[(particles, "dataset"), (micrographs, "dataset"), (volume, "volume")],
                _ => continue,
            };
            for (stage, key) in ways {
                seen += 1;
                let job = tempfile::tempdir().unwrap();
                let mut ctx = Ctx::new(job.path(), job.path(), &AnyDevice::Cpu, &Solo, &|_| {}, &|| false);
                ctx.params = json!({*key: path});
                let name = path.file_name().unwrap().to_str().unwrap();
                match stage.run(&ctx) {
                    Ok(report) => println!("{} of {name}: {:?}", stage.name(), report.numbers.first()),
                    Err(error) => {
                        let text = error.to_string();
                        println!("{}: {text}", stage.name());
                        // a list of which every item is gone names the items
                        assert!(text.contains(name) || text.contains("failed, more than"), "{text}");
                    }
                }
            }
        }
    }
    assert!(seen > 0);
}
