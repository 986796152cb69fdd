use super::ImportMicrographs;
use crate::{Ctx, Stage, StageError};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use vitreous_compute::comm::{Comm, Solo, Threads};
use vitreous_formats::mrc::{MrcSpec, MrcWriter};
use vitreous_formats::table::exposures;
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::exposure::ExposureSet;
use vitreous_model::params::Validate;
use vitreous_model::report::Report;

fn mrc(path: &Path, width: usize, height: usize, frames: usize) {
    let mut writer = MrcWriter::create(path, MrcSpec::images(width, height, 0.85)).unwrap();
    (0..frames).for_each(|_| writer.append(&vec![1.0; width * height]).unwrap());
    writer.finish().unwrap();
}

fn project() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("aligned")).unwrap();
    mrc(&dir.path().join("aligned/a.mrc"), 12, 8, 1);
    mrc(&dir.path().join("aligned/b.mrc"), 8, 12, 1);
    dir
}

fn given() -> Value {
    json!({"micrographs": "aligned/*.mrc", "voltage": 300.0, "cs": 2.7, "amplitude_contrast": 0.07})
}

fn run_on(dir: &Path, params: Value, comm: &dyn Comm) -> Result<(Report, ExposureSet), StageError> {
    let job = dir.join("J1");
    let mut ctx = Ctx::new(&job, dir, &AnyDevice::Cpu, comm, &|_| {}, &|| false);
    ctx.params = params;
    let report = ImportMicrographs.run(&ctx)?;
    let set =
        if comm.rank() == 0 { exposures::read(&job.join("micrographs.h5"))? } else { Default::default() };
    Ok((report, set))
}

#[test]
fn micrographs_are_registered() {
    let dir = project();
    let (report, set) = run_on(dir.path(), given(), &Solo).unwrap();
    let micrograph = set.exposures[1].micrograph.as_ref().unwrap();
    assert_eq!((micrograph.path.as_str(), micrograph.width, micrograph.height), ("aligned/b.mrc", 8, 12));
    assert!((micrograph.pixel_size_a - 0.85).abs() < 1e-6);
    assert_eq!(set.optics[0].amplitude_contrast, 0.07);
    assert_eq!(report.get("micrographs"), Some(2.0));
    assert_eq!(report.figures.len(), 1);
}

#[test]
fn movies_and_broken_files_are_left_out() {
    let dir = project();
    mrc(&dir.path().join("aligned/c.mrc"), 12, 8, 3);
    let (report, set) = run_on(dir.path(), given(), &Solo).unwrap();
    assert_eq!(set.exposures.len(), 2);
    assert!(report.skipped[0].reason.contains("it has 3 frames, expected 1"), "{:?}", report.skipped);
    let mut params = given();
    params["micrographs"] = json!("aligned/c.mrc");
    let error = run_on(dir.path(), params, &Solo).unwrap_err().to_string();
    assert!(error.contains("1 of 1 micrographs failed"), "{error}");
}

#[test]
fn every_refusal_of_parameters_names_its_key() {
    type Params = vitreous_jobs::import_micrographs::ImportMicrographs;
    assert!(Params::example().validate().is_ok());
    assert_eq!(Params::default().validate().unwrap_err().key, "micrographs");
    let refused = |params: Params| params.validate().unwrap_err().key;
    assert_eq!(refused(Params { pixel_size: Some(-1.0), ..Params::example() }), "pixel_size");
    assert_eq!(refused(Params { max_bad_fraction: 1.5, ..Params::example() }), "max_bad_fraction");
}

#[test]
fn four_ranks_write_the_same_table() {
    let dir = project();
    let alone = run_on(dir.path(), given(), &Solo).unwrap().1;
    let results = Threads::run(4, |comm| run_on(dir.path(), given(), comm).unwrap());
    assert_eq!(results[0].1, alone);
}

#[test]
fn the_real_micrograph_brings_its_pixel_size() {
    #[allow(clippy::disallowed_methods)] // tests may read the environment
    let Ok(data) = std::env::var("VITREOUS_TESTDATA") else {
        println!("skipped: VITREOUS_TESTDATA not set");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let mut params = given();
    params["micrographs"] = json!(PathBuf::from(data).join("micrographs/fei-extended.mrc"));
    let (report, set) = run_on(dir.path(), params, &Solo).unwrap();
    assert!((report.get("pixel_size_A").unwrap() - 0.85378).abs() < 1e-5);
    assert_eq!(set.exposures[0].name, "fei-extended");
}

#[test]
fn the_page_has_the_parameters() {
    let table = vitreous_jobs::page::parameter_table(vitreous_jobs::find("import-micrographs").unwrap());
    assert!(include_str!("README.md").contains(&table), "put this into README.md:\n{table}");
}
