//! Thresholds one by one, what is not known, lists of exclusions, broken files, and what the report counts.
#![allow(clippy::disallowed_methods)] // a test's own temporary files

use super::CurateExposures;
use crate::{Ctx, Input, Stage, StageError};
use serde_json::{Value, json};
use std::path::Path;
use vitreous_compute::comm::{Comm, Solo, Threads};
use vitreous_formats::mrc::{MrcSpec, MrcWriter};
use vitreous_formats::table::exposures;
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::ctf::CtfParams;
use vitreous_model::exposure::{CtfFit, Exposure, ExposureSet, MicrographSource, MotionSummary, OpticsGroup};
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::report::{Figure, Report};
use vitreous_model::units::{Degrees, Kilovolt, Millimetre};

const N: usize = 8;

/// Exposure `e0` to `e7`: each figure grows with the number, but for the score.
fn exposure(i: usize) -> Exposure {
    let at = i as f64;
    let ctf = CtfParams {
        defocus_u_a: 10_000.0 + 1000.0 * at + 50.0 * at,
        defocus_v_a: 10_000.0 + 1000.0 * at - 50.0 * at,
        astigmatism_angle: Degrees(30.0),
        phase_shift: Degrees(10.0 * at),
        voltage: Kilovolt(300.0),
        cs: Millimetre(2.7),
        amplitude_contrast: 0.1,
        even: Default::default(),
    };
    Exposure {
        name: format!("e{i}"),
        optics_group: 1,
        movie: None,
        micrograph: Some(MicrographSource {
            path: format!("aligned/e{i}.mrc"),
            width: 6,
            height: 4,
            pixel_size_a: 1.0,
            unweighted_path: String::new(),
            motion_star_path: String::new(),
        }),
        motion: Some(MotionSummary { total_a: 10.0 * at, early_a: 7.0 * at, late_a: 3.0 * at }),
        ctf: Some(CtfFit::new(ctf, 3.0 + at, 0.9 - 0.1 * at)),
    }
}

fn exposure_set() -> ExposureSet {
    let optics = OpticsGroup {
        number: 1,
        name: "1".into(),
        voltage: Kilovolt(300.0),
        cs: Millimetre(2.7),
        amplitude_contrast: 0.1,
        movie_pixel_size_a: 1.0,
        aberrations: Default::default(),
    };
    ExposureSet { optics: vec![optics], exposures: (0..N).map(exposure).collect() }
}

/// A project in whose micrograph `i` every pixel is `100 i`.
fn project(set: &ExposureSet) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("aligned")).unwrap();
    exposures::write(&dir.path().join("given.h5"), Kind::Micrographs, set).unwrap();
    for i in 0..N {
        let path = dir.path().join(format!("aligned/e{i}.mrc"));
        let mut writer = MrcWriter::create(&path, MrcSpec::images(6, 4, 1.0)).unwrap();
        writer.append(&[100.0 * i as f32; 24]).unwrap();
        writer.finish().unwrap();
    }
    dir
}

/// The names that pass, those rejected, and the report.
fn run_on(dir: &Path, params: &Value, comm: &dyn Comm) -> Result<(String, String, Report), StageError> {
    let job = dir.join("J2");
    let mut ctx = Ctx::new(&job, dir, &AnyDevice::Cpu, comm, &|_| {}, &|| false);
    ctx.params = params.clone();
    let output = Output::new("micrographs", Kind::Micrographs, "given.h5", N as u64);
    let input = Input { job: "J1".into(), output, path: dir.join("given.h5"), parts: Default::default() };
    ctx.inputs.insert("micrographs".into(), vec![input]);
    let report = CurateExposures.run(&ctx)?;
    if comm.rank() > 0 {
        return Ok(Default::default()).map(|(a, b)| (a, b, report));
    }
    let names = |file: &str| {
        let set = exposures::read(&job.join(file)).unwrap();
        set.exposures.iter().map(|e| e.name.clone()).collect::<Vec<_>>().join(" ")
    };
    let counts: Vec<u64> = ctx.declared_outputs().iter().map(|output| output.count).collect();
    let (kept, rejected) = (names("micrographs.h5"), names("rejected.h5"));
    assert_eq!(counts.iter().sum::<u64>(), N as u64);
    assert_eq!(counts[0] as usize, kept.split_whitespace().count());
    Ok((kept, rejected, report))
}

fn passed(params: Value) -> String {
    let dir = project(&exposure_set());
    let (kept, rejected, _) = run_on(dir.path(), &params, &Solo).unwrap();
    assert_eq!(kept.split_whitespace().count() + rejected.split_whitespace().count(), N);
    kept
}

#[test]
fn every_threshold_rejects_what_lies_beyond_it_and_nothing_else() {
    for (params, expected) in [
        (json!({}), "e0 e1 e2 e3 e4 e5 e6 e7"),
        (json!({"min_defocus": 12_000.0, "max_defocus": 14_000.0}), "e2 e3 e4"),
        (json!({"max_astigmatism": 250.0}), "e0 e1 e2"),
        (json!({"max_fit_resolution": 5.0}), "e0 e1 e2"),
        (json!({"min_score": 0.65}), "e0 e1 e2"),
        (json!({"min_phase_shift": 20.0, "max_phase_shift": 30.0}), "e2 e3"),
        (json!({"max_motion": 35.0}), "e0 e1 e2 e3"),
        (json!({"max_early_motion": 14.0}), "e0 e1 e2"),
        (json!({"max_late_motion": 14.0}), "e0 e1 e2 e3 e4"),
        (json!({"min_mean": 250.0}), "e3 e4 e5 e6 e7"),
        (json!({"max_mean": 250.0, "max_motion": 15.0}), "e0 e1"),
    ] {
        assert_eq!(passed(params.clone()), expected, "{params}");
    }
}

#[test]
fn reasons_are_listed_with_the_value_and_the_threshold() {
    let dir = project(&exposure_set());
    let params = json!({"max_fit_resolution": 9.0, "max_motion": 62.5});
    let (_, rejected, report) = run_on(dir.path(), &params, &Solo).unwrap();
    assert_eq!(rejected, "e7");
    assert_eq!(report.skipped.len(), 1);
    assert_eq!(
        report.skipped[0].reason,
        "its fit resolution is 10 Å, the most is 9 Å; its motion is 70 Å, the most is 62.5 Å"
    );
    assert_eq!((report.get("passed"), report.get("rejected")), (Some(7.0), Some(1.0)));
    assert_eq!(report.get("failed_motion_A"), Some(1.0));
    let Some(Figure::Plot { series, .. }) = report.figures.iter().find(|f| f.id() == "motion_a") else {
        panic!("no distribution of the motion");
    };
    let sum = |i: usize| series[i].y.iter().flatten().sum::<f64>();
    assert_eq!((sum(0), sum(1)), (8.0, 7.0));
    assert_eq!(series[2].x, [62.5, 62.5]);
    assert!(!report.figures.iter().any(|f| f.id() == "mean"), "pixels were not asked for");
}

#[test]
fn a_quantity_that_no_exposure_has_ends_the_job_and_names_who_makes_it() {
    let mut set = exposure_set();
    set.exposures[2].ctf = None;
    let dir = project(&set);
    let (kept, _, report) = run_on(dir.path(), &json!({"max_fit_resolution": 100.0}), &Solo).unwrap();
    assert!(!kept.contains("e2"));
    assert_eq!(report.skipped[0].reason, "its fit resolution is not known");
    set.exposures.iter_mut().for_each(|e| e.ctf = None);
    let dir = project(&set);
    let error = run_on(dir.path(), &json!({"max_astigmatism": 100.0}), &Solo).unwrap_err().to_string();
    assert!(error.contains("astigmatism, which no exposure has"), "{error}");
    // an import that follows a microscope may have delivered nothing yet
    let dir = project(&ExposureSet { exposures: vec![], ..set });
    let job = dir.path().join("J2");
    let mut ctx = Ctx::new(&job, dir.path(), &AnyDevice::Cpu, &Solo, &|_| {}, &|| false);
    ctx.params = json!({"max_astigmatism": 100.0});
    let output = Output::new("micrographs", Kind::Micrographs, "given.h5", 0);
    let path = dir.path().join("given.h5");
    ctx.inputs.insert(
        "micrographs".into(),
        vec![Input { job: "J1".into(), output, path, parts: Default::default() }],
    );
    assert_eq!(CurateExposures.run(&ctx).unwrap().get("exposures"), Some(0.0));
}

#[test]
fn names_to_exclude_are_read_from_a_list() {
    let dir = project(&exposure_set());
    std::fs::write(dir.path().join("bad.txt"), "# by eye\ne1\n\n e5  # crack\nold\n").unwrap();
    let (kept, _, report) = run_on(dir.path(), &json!({"exclude": "bad.txt"}), &Solo).unwrap();
    assert_eq!(kept, "e0 e2 e3 e4 e6 e7");
    assert_eq!(report.get("failed_exclude"), Some(2.0));
    std::fs::write(dir.path().join("bad.txt"), "aligned/e1.mrc\n").unwrap();
    let error = run_on(dir.path(), &json!({"exclude": "bad.txt"}), &Solo).unwrap_err().to_string();
    assert!(error.contains("the first is `aligned/e1.mrc`"), "{error}");
    let error = run_on(dir.path(), &json!({"exclude": "none.txt"}), &Solo).unwrap_err().to_string();
    assert!(error.contains("none.txt"), "{error}");
}

#[test]
fn a_micrograph_that_cannot_be_read_is_rejected_once() {
    let dir = project(&exposure_set());
    std::fs::write(dir.path().join("aligned/e3.mrc"), b"not an image").unwrap();
    let (kept, rejected, report) = run_on(dir.path(), &json!({"min_mean": 0.0}), &Solo).unwrap();
    assert_eq!((kept.as_str(), rejected.as_str()), ("e0 e1 e2 e4 e5 e6 e7", "e3"));
    assert_eq!(report.skipped.len(), 1);
    assert!(report.skipped[0].reason.contains("e3.mrc"), "{:?}", report.skipped);
    assert_eq!(report.get("failed_unreadable"), Some(1.0));
}

#[test]
fn three_ranks_judge_as_one() {
    let dir = project(&exposure_set());
    let params = json!({"min_mean": 150.0, "max_motion": 45.0});
    let alone = run_on(dir.path(), &params, &Solo).unwrap();
    std::fs::remove_dir_all(dir.path().join("J2")).unwrap();
    let together = Threads::run(3, |comm| run_on(dir.path(), &params, comm).unwrap());
    assert_eq!((&together[0].0, &together[0].1), (&alone.0, &alone.1));
    assert_eq!(together[0].2, alone.2);
}
