//! Stacks of half-precision floats (MRC mode 12) are read by all jobs on particle images, with the results of 32-bit ones, and
//! by mrcfile (PyPI).

#![allow(clippy::disallowed_methods, clippy::print_stdout)] // runs the other program and says when it cannot

use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use vitreous_compute::comm::Solo;
use vitreous_formats::mrc::read_volume;
use vitreous_formats::table::particles;
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::report::Report;
use vitreous_stages::{Ctx, Input, find};

const PARTICLES: usize = 200;

fn run(project: &Path, job: &str, job_type: &str, inputs: &[(&str, Kind, &str)], params: Value) -> Report {
    let folder = project.join(job);
    std::fs::create_dir_all(&folder).expect("a temporary folder should be writable");
    let mut ctx = Ctx::new(&folder, project, &AnyDevice::Cpu, &Solo, &|_| {}, &|| false);
    ctx.params = params;
    for (slot, kind, path) in inputs {
        let output = Output::new(slot, *kind, path, 1);
        let input = Input { job: "J1".into(), output, path: project.join(path), parts: Default::default() };
        ctx.inputs.insert((*slot).into(), vec![input]);
    }
    let stage = find(job_type).expect("the job type should be in the list");
    stage.run(&ctx).unwrap_or_else(|error| panic!("{job_type}: {error}"))
}

/// A line of carbons with a branch: no symmetry, some 60 Å long.
fn write_model(path: &Path) {
    let mut text = String::from("vitreous-atoms 1\nid BRANCH\ntitle\ncitation\nstep_a 0.1\natoms 600\n");
    let mut before = [0i64; 3];
    for i in 0..600i64 {
        let p = match i {
            0..400 => [(i - 200) * 3 / 2, i * i / 800, (i % 40) * 4],
            _ => [100 + (i - 400) / 4, (i - 400) * 2, (i % 30) * 5],
        };
        text += &format!("C {} {} {} 0\n", p[0] - before[0], p[1] - before[1], p[2] - before[2]);
        before = p;
    }
    std::fs::write(path, text).expect("a temporary file should be writable");
}

/// Correlation coefficient of two maps.
fn correlation(a: &Path, b: &Path) -> f64 {
    let [a, b] = [a, b].map(|path| read_volume(path).unwrap_or_else(|error| panic!("{error}")).data);
    let sum = |x: &ndarray::Array3<f32>, y: &ndarray::Array3<f32>| {
        x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>()
    };
    sum(&a, &b) / (sum(&a, &a) * sum(&b, &b)).sqrt()
}

#[test]
fn every_job_on_images_reads_them_and_finds_the_same() {
    let project = tempfile::tempdir().expect("temporary folder");
    let root = project.path();
    write_model(&root.join("model.atoms"));
    let simulate = json!({
        "model": "model.atoms", "product": "particles", "particles": PARTICLES, "snr": 1.0, "shift": 4.0,
        "box_size": 40, "pixel_size": 3.0, "voltage": 300.0, "cs": 2.7, "amplitude_contrast": 0.1,
    });
    run(root, "J1", "simulate", &[], simulate);
    let given = |table| [("particles", Kind::Particles, table)];
    run(root, "J2", "restack-particles", &given("J1/truth.h5"), json!({"images_per_stack": 64}));
    let half = json!({"images_per_stack": 64, "float16": true});
    let report = run(root, "J3", "restack-particles", &given("J1/truth.h5"), half);
    assert_eq!(report.get("particles"), Some(PARTICLES as f64));
    assert_mrcfile_agrees(root);
    for (job, table) in [("J4", "J2/particles.h5"), ("J5", "J3/particles.h5")] {
        run(root, job, "reconstruct", &given(table), json!({}));
    }
    let same = correlation(&root.join("J4/map.mrc"), &root.join("J5/map.mrc"));
    assert!(same > 0.99999, "reconstruct: {same}");
    for (job, table) in [("J6", "J2/particles.h5"), ("J7", "J3/particles.h5")] {
        let inputs = [given(table)[0], ("volume", Kind::Volume, "J1/truth.mrc")];
        run(root, job, "refine-homogeneous", &inputs, json!({"max_iterations": 2, "initial_lowpass": 15.0}));
    }
    let same = correlation(&root.join("J6/map.mrc"), &root.join("J7/map.mrc"));
    assert!(same > 0.99, "refine-homogeneous: {same}");
    let note = |table| {
        let report = run(root, "J10", "export-relion", &given(table), json!({}));
        report.notes.iter().any(|note| note.contains("16-bit floats"))
    };
    assert!(!note("J2/particles.h5") && note("J3/particles.h5"), "RELION 3 cannot read them");
    let smaller = json!({"output_box": 32, "float16": true});
    run(root, "J8", "downsample-particles", &given("J3/particles.h5"), smaller);
    let report = run(root, "J9", "ab-initio", &given("J8/particles.h5"), json!({"starts": 1, "batches": 8}));
    assert!(report.skipped.is_empty(), "{:?}", report.skipped);
}

/// mrcfile finds valid files of mode 12 that hold the single-precision images rounded.
fn assert_mrcfile_agrees(root: &Path) {
    const SCRIPT: &str = "
import sys, mrcfile, numpy as np
for name in ['000001', '000004']:
    path = f'{sys.argv[1]}/J3/particles/{name}.mrcs'
    assert mrcfile.validate(path)
    half, single = (mrcfile.read(f'{sys.argv[1]}/{job}/particles/{name}.mrcs') for job in ('J3', 'J2'))
    assert half.dtype == np.float16 and single.dtype == np.float32
    assert half.shape == ((64 if name == '000001' else 8), 40, 40)
    assert np.array_equal(half, single.astype(np.float16))
    with mrcfile.open(path, header_only=True) as file:
        assert file.header.mode == 12 and abs(file.voxel_size.x - 3) < 1e-6
";
    let python = |code: &str| Command::new("python3").args(["-c", code]).arg(root).output();
    if !python("import mrcfile, numpy").is_ok_and(|output| output.status.success()) {
        println!("skipped: python3 has no mrcfile");
        return;
    }
    let output = python(SCRIPT).expect("python3 should run again");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let particles = particles::read(&root.join("J3/particles.h5")).expect("the table should be readable");
    assert_eq!(particles.particles.len(), PARTICLES);
}
