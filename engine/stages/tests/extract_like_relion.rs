//! The same boxes of a real micrograph, extracted here and by `relion_preprocess` (RELION 3.1), are the same images.

#![allow(clippy::disallowed_methods, clippy::print_stdout, clippy::unwrap_used)] // runs the other program and says when it cannot

use ndarray::Array2;
use serde_json::json;
use std::path::Path;
use std::process::Command;
use vitreous_compute::comm::Solo;
use vitreous_compute::fourier::HalfImage;
use vitreous_formats::table::{exposures, picks};
use vitreous_formats::{FrameSource, open_image};
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::exposure::{Exposure, ExposureSet, MicrographSource, OpticsGroup};
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::particle::{Pick, PickSet};
use vitreous_model::units::{Kilovolt, Millimetre};
use vitreous_stages::{Ctx, Input};

const BOX_PX: usize = 336;
const OUTPUT_PX: usize = 96;
/// Radius of the particle's circle in pixels of the output, as RELION wants it.
const RADIUS_PX: usize = 36;
const PIXEL_A: f64 = 0.85378;
/// Places on the beta-galactosidase micrograph of the test data, 3710 × 3838 px.
const PLACES: [(u32, u32); 6] =
    [(400, 500), (1001, 1203), (1800, 700), (2222, 2345), (3333, 3444), (600, 3200)];

fn ours(dir: &Path, micrograph: &Path) -> Vec<Vec<f32>> {
    let optics = OpticsGroup {
        number: 1,
        name: "o".into(),
        voltage: Kilovolt(300.0),
        cs: Millimetre(2.7),
        amplitude_contrast: 0.07,
        movie_pixel_size_a: PIXEL_A,
        aberrations: Default::default(),
    };
    let source = MicrographSource {
        path: micrograph.to_string_lossy().into_owned(),
        width: 3710,
        height: 3838,
        pixel_size_a: PIXEL_A,
        unweighted_path: String::new(),
        motion_star_path: String::new(),
    };
    let exposure = Exposure {
        name: "m".into(),
        optics_group: 1,
        movie: None,
        micrograph: Some(source),
        motion: None,
        ctf: None,
    };
    let set = ExposureSet { optics: vec![optics], exposures: vec![exposure] };
    exposures::write(&dir.join("micrographs.h5"), Kind::Micrographs, &set).unwrap();
    let list = PLACES.map(|(x, y)| Pick { exposure: "m".into(), x_px: x.into(), y_px: y.into(), score: 1.0 });
    let set = PickSet { diameter_a: 150.0, picks: list.to_vec(), ..PickSet::default() };
    picks::write(&dir.join("picks.h5"), &set).unwrap();
    let job = dir.join("J1");
    let mut ctx = Ctx::new(&job, dir, &AnyDevice::Cpu, &Solo, &|_| {}, &|| false);
    let diameter_a = 2.0 * RADIUS_PX as f64 * PIXEL_A * BOX_PX as f64 / OUTPUT_PX as f64;
    ctx.params = json!({"box_size": BOX_PX, "output_box": OUTPUT_PX, "background_diameter": diameter_a});
    for (slot, kind) in [("micrographs", Kind::Micrographs), ("picks", Kind::Picks)] {
        let file = format!("{slot}.h5");
        let output = Output::new(slot, kind, &file, 1);
        let input = Input { job: "J0".into(), output, path: dir.join(file), parts: Default::default() };
        ctx.inputs.insert(slot.into(), vec![input]);
    }
    vitreous_stages::find("extract-particles").expect("should be a stage").run(&ctx).unwrap();
    images(&job.join("particles/m.mrcs"))
}

/// RELION's, or `None` where it is not installed.
fn theirs(dir: &Path, micrograph: &Path) -> Option<Vec<Vec<f32>>> {
    if Command::new("relion_preprocess").arg("--version").output().is_err() {
        println!("skipped: relion_preprocess is not installed");
        return None;
    }
    std::fs::copy(micrograph, dir.join("m.mrc")).unwrap();
    let optics = format!(
        "\n# version 30001\n\ndata_optics\n\nloop_\n_rlnOpticsGroupName #1\n_rlnOpticsGroup #2\n_rlnMicrographPixelSize #3\n\
         _rlnVoltage #4\n_rlnSphericalAberration #5\n_rlnAmplitudeContrast #6\no 1 {PIXEL_A} 300 2.7 0.07\n"
    );
    let micrographs = "\n# version 30001\n\ndata_micrographs\n\nloop_\n_rlnMicrographName #1\n_rlnOpticsGroup #2\nm.mrc 1\n";
    std::fs::write(dir.join("m.star"), format!("{optics}{micrographs}")).unwrap();
    let places: String = PLACES.iter().map(|(x, y)| format!("{x} {y}\n")).collect();
    std::fs::write(
        dir.join("m_picks.star"),
        format!("\ndata_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n{places}"),
    )
    .unwrap();
    let arguments = format!(
        "--i m.star --coord_dir ./ --coord_suffix _picks.star --part_star out/p.star --part_dir out/ --extract \
         --extract_size {BOX_PX} --scale {OUTPUT_PX} --norm --bg_radius {RADIUS_PX} --white_dust -1 --black_dust -1 \
         --invert_contrast"
    );
    std::fs::create_dir(dir.join("out")).unwrap();
    let output = Command::new("relion_preprocess")
        .args(arguments.split_whitespace())
        .current_dir(dir)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    Some(images(&dir.join("out/m.mrcs")))
}

fn images(path: &Path) -> Vec<Vec<f32>> {
    let source: Box<dyn FrameSource> = open_image(path).unwrap_or_else(|e| panic!("{e}"));
    let mut frames = vec![vec![0.0; source.header().frame_len()]; source.header().frames];
    frames.iter_mut().enumerate().for_each(|(i, frame)| source.read_frame_at(i, frame).unwrap());
    frames
}

#[test]
fn extraction_agrees_with_relion() {
    let Ok(data) = std::env::var("VITREOUS_TESTDATA") else {
        println!("skipped: VITREOUS_TESTDATA not set");
        return;
    };
    let micrograph = Path::new(&data).join("micrographs/fei-extended.mrc");
    let dir = tempfile::tempdir().unwrap();
    let Some(theirs) = theirs(dir.path(), &micrograph) else { return };
    let ours = ours(dir.path(), &micrograph);
    assert_eq!((ours.len(), theirs.len()), (PLACES.len(), PLACES.len()));
    for (a, b) in ours.iter().zip(&theirs) {
        let (a, b) = (below_nyquist(a), below_nyquist(b));
        let dot =
            |a: &Array2<f32>, b: &Array2<f32>| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
        let correlation = dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt();
        let scale = dot(&a, &b) / dot(&b, &b);
        println!("correlation {correlation:.7}, scale {scale:.5}");
        assert!(correlation > 0.99999, "{correlation}");
        // the Nyquist terms are a hundredth of the background's power
        assert!((scale - 1.0).abs() < 0.02, "{scale}");
    }
}

/// The image without its Nyquist terms and corners: programs differ in how cropping folds those.
fn below_nyquist(pixels: &[f32]) -> Array2<f32> {
    let image = Array2::from_shape_vec((OUTPUT_PX, OUTPUT_PX), pixels.to_vec()).unwrap();
    let mut transform = HalfImage::of(image.view());
    transform.weigh(|radius| if radius < OUTPUT_PX as f64 / 2.0 - 0.5 { 1.0 } else { 0.0 });
    transform.into_pixels()
}
