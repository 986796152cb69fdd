//! Known resolution and fall-off, the mask, and unfit inputs.

use super::Sharpen;
use crate::{Ctx, Input, Stage, StageError};
use ndarray::Array3;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use std::path::Path;
use vitreous_compute::comm::Solo;
use vitreous_compute::fourier::HalfVolume;
use vitreous_compute::fsc::freed_of_mask;
use vitreous_compute::mask::sphere;
use vitreous_formats::mrc;
use vitreous_formats::star::StarFile;
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::conventions::resolution_at;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::report::Report;

const BOX: usize = 48;
const PIXEL_A: f64 = 1.5;
/// Fall-off of the object's amplitudes, Å².
const B_FACTOR: f64 = 60.0;

fn white(seed: u64) -> Array3<f32> {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    Array3::from_shape_simple_fn((BOX, BOX, BOX), || rng.sample::<f32, _>(rand_distr::StandardNormal))
}

/// White density in a ball, with amplitudes falling as `exp(-B u²/4)`.
fn object() -> Array3<f32> {
    let ball = (white(1) + 1.0) * sphere(BOX, 13.0, 2.0);
    let mut half = HalfVolume::of_box(ball.view());
    half.weigh(|r| (-0.25 * B_FACTOR * (r / (BOX as f64 * PIXEL_A)).powi(2)).exp());
    half.into_box()
}

fn write_halves(dir: &Path, noise: f32) {
    for (role, seed) in [("half1", 2), ("half2", 3)] {
        let map = object() + &(white(seed) * noise);
        mrc::write_volume(&dir.join(format!("{role}.mrc")), &map, PIXEL_A).unwrap();
    }
}

fn run(dir: &Path, params: Value, mask: Option<&str>) -> Result<Report, StageError> {
    let job_dir = dir.join("J2");
    std::fs::create_dir_all(&job_dir).unwrap();
    let mut ctx = Ctx::new(&job_dir, dir, &AnyDevice::Cpu, &Solo, &|_| {}, &|| false);
    ctx.params = params;
    let mut output = Output::new("volume", Kind::Volume, "map.mrc", 1);
    output.pixel_size_a = Some(PIXEL_A);
    let parts = ["half1", "half2"]
        .into_iter()
        .map(|role| (role.to_string(), dir.join(format!("{role}.mrc"))))
        .filter(|(_, path)| path.exists())
        .collect();
    let input = Input { job: "J1".into(), output, path: dir.join("map.mrc"), parts };
    ctx.inputs.insert("volume".into(), vec![input.clone()]);
    if let Some(mask) = mask {
        ctx.inputs.insert("mask".into(), vec![Input { path: dir.join(mask), ..input }]);
    }
    Sharpen.run(&ctx)
}

/// The resolution at which signal and noise power of half maps within the ball give an FSC of 0.143, in theory.
fn expected_resolution(noise: f64) -> f64 {
    let ssnr = 0.143 / (1.0 - 0.143);
    // within the mask both have unit density of power; signal² = exp(-B u²/2), noise² = noise²
    let u2 = -2.0 / B_FACTOR * (ssnr * noise * noise).ln();
    1.0 / u2.sqrt()
}

#[test]
fn the_resolution_is_found() {
    let dir = tempfile::tempdir().unwrap();
    write_halves(dir.path(), 0.8);
    mrc::write_volume(&dir.path().join("mask.mrc"), &sphere(BOX, 13.0, 3.0), PIXEL_A).unwrap();
    let report = run(dir.path(), json!({}), Some("mask.mrc")).unwrap();
    let (got, want) = (report.get("resolution_fsc0143_A").unwrap(), expected_resolution(0.8));
    // A shell here has some 170 independent coefficients within the mask, so the FSC scatters by 0.08 where it crosses,
    // which is four shells of 72 Å on its slope; the first crossing is the earliest of them.
    assert!((72.0 / got - 72.0 / want).abs() < 4.0, "{got} Å, expected {want} Å");
}

#[test]
fn the_fall_off_is_found_where_the_signal_is_clear() {
    // with the noise of the test above the scatter of the FSC near its crossing moves the fit by more than half
    let dir = tempfile::tempdir().unwrap();
    write_halves(dir.path(), 0.2);
    mrc::write_volume(&dir.path().join("mask.mrc"), &sphere(BOX, 13.0, 3.0), PIXEL_A).unwrap();
    let report = run(dir.path(), json!({}), Some("mask.mrc")).unwrap();
    let b = report.get("bfactor_A2").unwrap();
    assert!((b + B_FACTOR).abs() < 0.3 * B_FACTOR, "{b}");
    assert_eq!(report.get("bfactor_fitted_A2"), Some(b));
    let (truth, before, inner) = (white(1), object(), sphere(BOX, 10.0, 0.0));
    let map = mrc::read_volume(&dir.path().join("J2/map.mrc")).unwrap().data;
    let correlation = |a: &Array3<f32>, b: &Array3<f32>| {
        let sum = |x: &Array3<f32>, y: &Array3<f32>| (x * y * &inner).sum();
        sum(a, b) / (sum(a, a) * sum(b, b)).sqrt()
    };
    assert!(correlation(&map, &truth) > correlation(&before, &truth), "sharpening brings out detail");
}

#[test]
fn a_planted_b_factor_is_recovered_within_a_tenth() {
    const LARGE: usize = 96;
    let dir = tempfile::tempdir().unwrap();
    let white = |seed: u64| {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        Array3::from_shape_simple_fn((LARGE, LARGE, LARGE), || {
            rng.sample::<f32, _>(rand_distr::StandardNormal)
        })
    };
    mrc::write_volume(&dir.path().join("mask.mrc"), &sphere(LARGE, 28.0, 4.0), PIXEL_A).unwrap();
    let (ball, noise) = (white(5) * sphere(LARGE, 28.0, 3.0), [white(6), white(7)]);
    for b_factor in [30.0, 80.0, 150.0] {
        let mut half = HalfVolume::of_box(ball.view());
        half.weigh(|r| (-0.25 * b_factor * (r / (LARGE as f64 * PIXEL_A)).powi(2)).exp());
        let object = half.into_box();
        for strength in [0.05, 0.2, 0.6] {
            for (role, noise) in ["half1", "half2"].into_iter().zip(&noise) {
                let map = &object + &(noise * strength);
                mrc::write_volume(&dir.path().join(format!("{role}.mrc")), &map, PIXEL_A).unwrap();
            }
            let report = run(dir.path(), json!({}), Some("mask.mrc")).unwrap();
            let found = -report.get("bfactor_fitted_A2").unwrap();
            let off = found / b_factor - 1.0;
            assert!(off.abs() < 0.1, "B {b_factor} Å², noise {strength}: {found} Å²");
        }
    }
}

#[test]
fn the_automatic_mask_covers_the_object() {
    let dir = tempfile::tempdir().unwrap();
    write_halves(dir.path(), 0.3);
    run(dir.path(), json!({"mask_extend": 2.0, "mask_edge": 5.0}), None).unwrap();
    let mask = mrc::read_volume(&dir.path().join("J2/mask.mrc")).unwrap().data;
    let ball = sphere(BOX, 11.0, 0.0);
    let covered = (&mask * &ball).sum() / ball.sum();
    assert!(covered > 0.95, "{covered}");
    assert_eq!(mask[[2, 2, 2]], 0.0);
}

#[test]
fn a_given_b_factor_and_mask_are_used() {
    let dir = tempfile::tempdir().unwrap();
    write_halves(dir.path(), 0.2);
    mrc::write_volume(&dir.path().join("mask.mrc"), &sphere(BOX, 15.0, 4.0), PIXEL_A).unwrap();
    let report = run(dir.path(), json!({"bfactor": -25.0}), Some("mask.mrc")).unwrap();
    assert_eq!(report.get("bfactor_A2"), Some(-25.0));
    assert_eq!(mrc::read_volume(&dir.path().join("J2/mask.mrc")).unwrap().data, sphere(BOX, 15.0, 4.0));
}

#[test]
fn equal_halves_reach_nyquist_and_say_so() {
    let dir = tempfile::tempdir().unwrap();
    write_halves(dir.path(), 0.0);
    let report = run(dir.path(), json!({}), None).unwrap();
    assert_eq!(report.get("resolution_fsc0143_A"), Some(2.0 * PIXEL_A));
    assert!(report.notes.iter().any(|note| note.contains("Nyquist")), "{:?}", report.notes);
}

#[test]
fn coarse_maps_are_filtered_without_a_fit() {
    let dir = tempfile::tempdir().unwrap();
    write_halves(dir.path(), 0.35);
    let report = run(dir.path(), json!({"guinier_from": 3.0}), None).unwrap();
    assert_eq!(report.get("bfactor_A2"), Some(0.0));
    assert!(report.notes.iter().any(|note| note.contains("not sharpened")), "{:?}", report.notes);
}

#[test]
fn a_mask_that_is_too_tight_is_told_of() {
    let dir = tempfile::tempdir().unwrap();
    write_halves(dir.path(), 0.8);
    // a solid particle: its strong low frequencies are what a sharp mask spreads over all others
    let solid = sphere(BOX, 13.0, 2.0) * 4.0;
    for role in ["half1", "half2"] {
        let path = dir.path().join(format!("{role}.mrc"));
        let half = mrc::read_volume(&path).unwrap().data + &solid;
        mrc::write_volume(&path, &half, PIXEL_A).unwrap();
    }
    let soft = sphere(BOX, 16.0, 6.0);
    for (name, mask, wanted) in [
        ("tight.mrc", sphere(BOX, 9.0, 0.0), ["too tight", "sharp edge"].as_slice()),
        ("soft.mrc", soft, &[]),
    ] {
        mrc::write_volume(&dir.path().join(name), &mask, PIXEL_A).unwrap();
        let notes = run(dir.path(), json!({}), Some(name)).unwrap().notes.join(" ");
        for what in ["too tight", "sharp edge"] {
            assert_eq!(notes.contains(what), wanted.contains(&what), "{name}, {what}: {notes}");
        }
    }
}

#[test]
fn relions_corrected_curve_follows_from_its_columns() {
    let Some(data) = crate::test_data() else { return };
    let star = StarFile::read(&data.join("meta/starfile/postprocess.star")).unwrap();
    let table = star.table("fsc").unwrap();
    let column = |name: &str| -> Vec<f64> {
        let at = table.find(name).unwrap();
        let (mut rows, mut values) = (table.rows(), Vec::new());
        while let Some(row) = rows.next() {
            values.push(row.f64(at).unwrap());
        }
        values
    };
    let masked = column("rlnFourierShellCorrelationMaskedMaps");
    let randomised = column("rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps");
    let unmasked = column("rlnFourierShellCorrelationUnmaskedMaps");
    let wanted = column("rlnFourierShellCorrelationCorrected");
    // RELION says where it began in Å: 32.73 Å is shell 22 of a box of 720 Å, the first where the unmasked curve is under 0.8
    let from = unmasked.iter().position(|value| *value < 0.8).unwrap();
    let general = star.block("general").unwrap();
    let stated = |label: &str| general.pair(label).unwrap().parse::<f64>().unwrap();
    let (box_px, pixel_a) = (96, 7.5);
    let edge_a = box_px as f64 * pixel_a;
    assert!((edge_a / from as f64 - stated("rlnRandomiseFrom")).abs() < 1e-4, "{from}");
    let corrected = freed_of_mask(&masked, &randomised, from);
    for (shell, (got, want)) in corrected.iter().zip(&wanted).enumerate() {
        // the columns have six digits, and the division by 1 - randomised enlarges that
        assert!((got - want).abs() < 5e-6, "shell {shell}: {got} {want}");
    }
    let (resolution_a, fell) = resolution_at(&corrected, 0.143, box_px, pixel_a);
    assert!(fell && (resolution_a - stated("rlnFinalResolution")).abs() < 1e-4, "{resolution_a} Å");
}

#[test]
fn unfit_inputs_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let error = run(dir.path(), json!({}), None).unwrap_err();
    assert!(error.to_string().contains("half1"), "{error}");
    write_halves(dir.path(), 0.2);
    mrc::write_volume(&dir.path().join("mask.mrc"), &Array3::zeros((8, 8, 8)), PIXEL_A).unwrap();
    let error = run(dir.path(), json!({}), Some("mask.mrc")).unwrap_err();
    assert!(error.to_string().contains("found 8 × 8 × 8"), "{error}");
    mrc::write_volume(&dir.path().join("half2.mrc"), &Array3::zeros((8, 8, 8)), PIXEL_A).unwrap();
    let error = run(dir.path(), json!({}), None).unwrap_err();
    assert!(error.to_string().contains("half2.mrc"), "{error}");
}

#[test]
fn the_readme_has_the_parameters() {
    let table = vitreous_jobs::page::parameter_table(&vitreous_jobs::sharpen::JOB);
    assert!(include_str!("README.md").contains(table.trim_end()), "put this into README.md:\n{table}");
}
