//! Simulated particles, exported with their true poses, are reconstructed by `relion_reconstruct` (RELION 3.1) to the true
//! map: angles, shifts, CTF, contrast and hand mean the same on both sides. The model has no symmetry, and a mirrored map
//! would not agree.

#![allow(clippy::disallowed_methods, clippy::print_stdout)] // runs the other program and says when it cannot

use ndarray::Array3;
use serde_json::{Value, json};
use std::f64::consts::TAU;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use vitreous_compute::comm::Solo;
use vitreous_compute::fourier::HalfVolume;
use vitreous_formats::mrc::read_volume;
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::outputs::{Kind, Output};
use vitreous_stages::{Ctx, Input, find};

/// Fourier pixels compared, of 24 at the Nyquist limit.
const BAND: [f64; 2] = [2.0, 21.0];

/// A left-handed, widening helix of carbons with a bulge at one end, some 65 Å across.
fn write_model(path: &Path) {
    let mut text = String::from("vitreous-atoms 1\nid HELIX\ntitle\ncitation\nstep_a 0.1\natoms 1000\n");
    let mut before = [0i64; 3];
    for i in 0..1000 {
        let t = f64::from(i) / 1000.0;
        let (sin, cos) = (-TAU * 4.0 * t).sin_cos();
        let radius = 120.0 + 160.0 * t * t;
        let p = [radius * cos, radius * sin, 550.0 * t].map(|v| v.round() as i64);
        writeln!(text, "C {} {} {} 0", p[0] - before[0], p[1] - before[1], p[2] - before[2])
            .expect("writing to a string should not fail");
        before = p;
    }
    std::fs::write(path, text).expect("a temporary file should be writable");
}

fn run(project: &Path, job: &str, job_type: &str, inputs: &[(&str, Kind, &str)], params: Value) {
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
    stage.run(&ctx).unwrap_or_else(|error| panic!("{job_type}: {error}"));
}

/// Correlation of two maps within [`BAND`].
fn correlation(a: &Array3<f32>, b: &Array3<f32>) -> f64 {
    let band = |map: &Array3<f32>| {
        let mut half = HalfVolume::of_box(map.view());
        half.weigh(|r| if (BAND[0]..BAND[1]).contains(&r) { 1.0 } else { 0.0 });
        half.into_box()
    };
    let (a, b) = (band(a), band(b));
    let product = |x: &Array3<f32>, y: &Array3<f32>| {
        x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>()
    };
    product(&a, &b) / (product(&a, &a) * product(&b, &b)).sqrt()
}

#[test]
fn relion_reconstructs_our_particles_to_the_true_map() {
    if Command::new("relion_reconstruct").arg("--version").output().is_err() {
        println!("skipped: relion_reconstruct does not run");
        return;
    }
    let project = tempfile::tempdir().expect("temporary folder");
    let root = project.path();
    write_model(&root.join("model.atoms"));
    let simulate = json!({
        "model": "model.atoms", "product": "particles", "particles": 500, "snr": 20.0, "shift": 6.0,
        "box_size": 48, "pixel_size": 2.5, "voltage": 300.0, "cs": 2.7, "amplitude_contrast": 0.1,
        "max_astigmatism": 1500.0,
    });
    run(root, "J1", "simulate", &[], simulate);
    run(root, "J2", "export-relion", &[("particles", Kind::Particles, "J1/truth.h5")], json!({}));
    let output = Command::new("relion_reconstruct")
        .args(["--i", "J2/particles.star", "--o", "map.mrc", "--ctf", "--angpix", "2.5"])
        .current_dir(root)
        .output()
        .expect("relion_reconstruct should run again");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let truth = read_volume(&root.join("J1/truth.mrc")).unwrap_or_else(|e| panic!("{e}")).data;
    let theirs = read_volume(&root.join("map.mrc")).unwrap_or_else(|e| panic!("{e}")).data;
    let found = correlation(&truth, &theirs);
    let middle = truth.dim().0 / 2;
    let n = truth.dim().0;
    let mirrored = Array3::from_shape_fn(truth.dim(), |(z, y, x)| truth[[(2 * middle + n - z) % n, y, x]]);
    let other_hand = correlation(&mirrored, &theirs);
    // what is missing is noise and RELION's gridding
    assert!(found > 0.97 && other_hand < 0.9, "correlation {found}, with the other hand {other_hand}");
}
