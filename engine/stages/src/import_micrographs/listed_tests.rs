//! Micrographs from RELION's and CryoSPARC's lists.

use super::ImportMicrographs;
use crate::{Ctx, Stage, StageError};
use serde_json::{Value, json};
use std::path::Path;
use vitreous_compute::comm::Solo;
use vitreous_formats::cryosparc::{
    EXPOSURE, FieldOut, GroupOut, ResultOut, Values, write_dataset, write_group,
};
use vitreous_formats::mrc::{MrcSpec, MrcWriter};
use vitreous_formats::table::exposures;
use vitreous_jobs::import_micrographs::ImportMicrographs as Params;
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::exposure::ExposureSet;
use vitreous_model::params::Validate;
use vitreous_model::report::Report;

#[expect(clippy::disallowed_methods, reason = "a test makes its own input")]
fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn mrc(path: &Path, width: usize, height: usize) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut writer = MrcWriter::create(path, MrcSpec::images(width, height, 1.3)).unwrap();
    writer.append(&vec![1.0; width * height]).unwrap();
    writer.finish().unwrap();
}

fn run(folder: &Path, params: Value) -> Result<(Report, ExposureSet), StageError> {
    let mut ctx = Ctx::new(&folder.join("J1"), folder, &AnyDevice::Cpu, &Solo, &|_| {}, &|| false);
    ctx.params = params;
    let report = ImportMicrographs.run(&ctx)?;
    Ok((report, exposures::read(&folder.join("J1/micrographs.h5"))?))
}

const STAR: &str = "# version 30001\n\ndata_optics\n\nloop_\n_rlnOpticsGroupName\n_rlnOpticsGroup\n\
    _rlnMicrographOriginalPixelSize\n_rlnVoltage\n_rlnSphericalAberration\n_rlnAmplitudeContrast\n_rlnMicrographPixelSize\n\
    og 2 0.65 300 2.7 0.07 1.3\n\ndata_micrographs\n\nloop_\n_rlnMicrographNameNoDW\n_rlnMicrographName\n\
    _rlnMicrographMetadata\n_rlnOpticsGroup\n_rlnAccumMotionTotal\n_rlnAccumMotionEarly\n_rlnAccumMotionLate\n_rlnDefocusU\n\
    _rlnDefocusV\n_rlnDefocusAngle\n_rlnCtfFigureOfMerit\n_rlnCtfMaxResolution\n_rlnSomethingNew\n\
    M/a_noDW.mrc M/a.mrc M/a.star 2 5 2 3 12000 11000 35 0.12 4.5 7\n\
    M/b_noDW.mrc M/b.mrc M/b.star 2 6 2 4 13000 11000 35 0.12 4.5 7\n";

#[test]
fn a_list_of_relion_brings_optics_motion_and_ctf() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    mrc(&folder.join("relion/M/a.mrc"), 12, 8);
    mrc(&folder.join("relion/M/b.mrc"), 12, 8);
    mrc(&folder.join("relion/M/a_noDW.mrc"), 12, 8);
    write(&folder.join("relion/M/a.star"), b"data_general\n");
    write(&folder.join("relion/CtfFind/job003/micrographs_ctf.star"), STAR.as_bytes());
    // what a project states of its microscope does not go before the list
    let params =
        json!({"star": "relion/CtfFind/job003/micrographs_ctf.star", "voltage": 200.0, "pixel_size": 9.0});
    let (report, set) = run(folder, params).unwrap();
    let group = &set.optics[0];
    assert_eq!(
        (group.number, group.name.as_str(), group.voltage.0, group.movie_pixel_size_a),
        (2, "og", 300.0, 0.65)
    );
    let [a, b] = [0, 1].map(|i| set.exposures[i].micrograph.clone().unwrap());
    assert_eq!((a.path.as_str(), a.width, a.height, a.pixel_size_a), ("relion/M/a.mrc", 12, 8, 1.3));
    assert_eq!(
        (a.unweighted_path.as_str(), a.motion_star_path.as_str()),
        ("relion/M/a_noDW.mrc", "relion/M/a.star")
    );
    assert_eq!((b.unweighted_path.as_str(), b.motion_star_path.as_str()), ("", ""));
    assert_eq!(set.exposures[1].motion.as_ref().unwrap().late_a, 4.0);
    assert_eq!(set.exposures[1].ctf.as_ref().unwrap().ctf.defocus_u_a, 13000.0);
    assert_eq!((report.get("with_ctf"), report.get("with_motion")), (Some(2.0), Some(2.0)));
    assert_eq!(report.data["ignored_columns"], json!(["data_micrographs/_rlnSomethingNew"]));
    assert!(report.notes.iter().any(|note| note.starts_with("1 files of motion")), "{:?}", report.notes);
}

#[test]
fn micrographs_of_a_list_that_are_gone_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    mrc(&folder.join("M/b.mrc"), 12, 8);
    write(&folder.join("m.star"), STAR.as_bytes());
    let (report, set) = run(folder, json!({"star": "m.star"})).unwrap();
    assert_eq!((set.exposures.len(), report.skipped.len()), (1, 1));
    assert!(report.skipped[0].item.ends_with("M/a.mrc"), "{:?}", report.skipped);
    let error = run(folder, json!({"star": "m.star", "max_bad_fraction": 0.1})).unwrap_err().to_string();
    assert!(error.starts_with("1 of 2 micrographs failed"), "{error}");
    write(&folder.join("p.star"), b"data_particles\nloop_\n_rlnImageName\n1@a.mrcs\n");
    let error = run(folder, json!({"star": "p.star"})).unwrap_err();
    assert!(error.to_string().contains("block data_optics is missing"), "{error}");
    assert!(error.hint().contains("micrographs_ctf.star"), "{}", error.hint());
}

/// A group of two exposures whose CTF stands in a passthrough file, in another order.
fn group(folder: &Path) {
    let f32s = |name, values: [f32; 2]| FieldOut { name, values: Values::F32(1, values.into()) };
    let uids = |order: [u64; 2]| FieldOut { name: "uid", values: Values::U64(order.into()) };
    let paths = [">sums/a_doc.mrc", ">sums/b_doc.mrc"].map(String::from);
    let blobs = [
        uids([5, 6]),
        FieldOut { name: "micrograph_blob/path", values: Values::Text(paths.into()) },
        FieldOut { name: "micrograph_blob/shape", values: Values::U32(2, vec![8, 12, 8, 99]) },
        f32s("micrograph_blob/psize_A", [1.3; 2]),
    ];
    let others = [
        uids([6, 5]),
        f32s("mscope_params/accel_kv", [300.0; 2]),
        f32s("mscope_params/cs_mm", [2.7; 2]),
        f32s("ctf/amp_contrast", [0.07; 2]),
        f32s("ctf/df1_A", [12000.0, 11000.0]),
        f32s("ctf/df2_A", [10000.0; 2]),
        f32s("ctf/df_angle_rad", [0.5; 2]),
        f32s("rigid_motion/psize_A", [0.65; 2]),
    ];
    for (name, fields) in [("a.cs", &blobs[..]), ("passthrough.cs", &others[..])] {
        let mut bytes = Vec::new();
        write_dataset(&mut bytes, Path::new(name), fields).unwrap();
        write(&folder.join(name), &bytes);
    }
    let results = ["micrograph_blob", "mscope_params", "ctf"].map(|name| ResultOut {
        name,
        kind: name,
        dataset: if name == "micrograph_blob" { "a.cs" } else { "passthrough.cs" },
    });
    let group = GroupOut { name: "exposures", kind: EXPOSURE, description: "", results: &results, rows: 2 };
    let mut text = Vec::new();
    write_group(&mut text, Path::new("e.csg"), &group).unwrap();
    write(&folder.join("e.csg"), &text);
}

#[test]
fn a_group_of_cryosparc_brings_optics_and_ctf() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let theirs = folder.join("cs/export");
    group(&theirs);
    mrc(&theirs.join("sums/a_doc.mrc"), 12, 8);
    mrc(&theirs.join("sums/b_doc.mrc"), 12, 8);
    let (report, set) = run(folder, json!({"dataset": "cs/export/e.csg"})).unwrap();
    let found: Vec<_> =
        set.exposures.iter().map(|e| (e.name.as_str(), e.ctf.as_ref().unwrap().ctf.defocus_u_a)).collect();
    assert_eq!(found, [("a_doc", 11000.0), ("b_doc", 12000.0)]);
    let micrograph = set.exposures[1].micrograph.as_ref().unwrap();
    assert_eq!((micrograph.path.as_str(), micrograph.width), ("cs/export/sums/b_doc.mrc", 12));
    for expected in ["1 micrographs have another size", "whole-frame motion (rigid_motion)"] {
        assert!(report.notes.iter().any(|note| note.contains(expected)), "{expected}: {:?}", report.notes);
    }
    // the same from the files, and without the second
    let (_, same) =
        run(folder, json!({"dataset": "cs/export/a.cs", "passthrough": "cs/export/pass*.cs"})).unwrap();
    // scores that are not known are NaN, which equals nothing
    assert_eq!(format!("{same:?}"), format!("{set:?}"));
    let error = run(folder, json!({"dataset": "cs/export/a.cs"})).unwrap_err();
    assert!(error.to_string().contains("no field `mscope_params/accel_kv`"), "{error}");
    assert!(error.hint().contains("--passthrough"), "{}", error.hint());
}

#[test]
fn one_source_is_asked_for() {
    let refused = |params: Params| params.validate().unwrap_err().key;
    let star = || Params { star: Some("a.star".into()), ..Params::default() };
    assert!(star().validate().is_ok());
    assert_eq!(refused(Params { dataset: Some("a.cs".into()), ..star() }), "dataset");
    assert_eq!(refused(Params { passthrough: Some("b.cs".into()), ..star() }), "passthrough");
    assert_eq!(refused(Params { root: Some("r".into()), ..Params::example() }), "root");
    let group =
        Params { dataset: Some("a.csg".into()), passthrough: Some("b.cs".into()), ..Params::default() };
    assert_eq!(refused(group), "passthrough");
}
