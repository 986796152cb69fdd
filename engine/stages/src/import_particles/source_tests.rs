//! Parameters of cisTEM, and places held against micrographs.

use super::ImportParticles;
use crate::particle_sets::tests::write_stack;
use crate::{Ctx, Input, Stage, StageError};
use ndarray::{Array2, s};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use std::path::Path;
use vitreous_compute::comm::Solo;
use vitreous_formats::cryosparc::{FieldOut, Values, write_dataset};
use vitreous_formats::mrc::{MrcSpec, MrcWriter};
use vitreous_formats::table;
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::exposure::{Exposure, ExposureSet, MicrographSource};
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::particle::ParticleSet;
use vitreous_model::report::Report;

#[expect(clippy::disallowed_methods, reason = "a test makes its own input")]
fn write(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
}

fn run(
    folder: &Path,
    params: Value,
    micrographs: Option<Input>,
) -> Result<(Report, ParticleSet), StageError> {
    let mut ctx = Ctx::new(&folder.join("J1"), folder, &AnyDevice::Cpu, &Solo, &|_| {}, &|| false);
    ctx.params = params;
    ctx.inputs = micrographs.into_iter().map(|input| ("micrographs".to_string(), vec![input])).collect();
    let report = ImportParticles.run(&ctx)?;
    Ok((report, table::particles::read(&folder.join("J1/particles.h5")).unwrap()))
}

#[test]
fn parameters_of_cistem_need_their_stack_and_optics() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_stack(folder, "stack.mrc", 8, &(0..3).map(|i| vec![i as f32; 64]).collect::<Vec<_>>());
    let row = |position: u32, active: i32| {
        format!(
            "{position} 70.00 50.00 30.00 1.50 -2.25 0 {active} 12000.0 11000.0 35.00 0.00 100.00 -99 0.9 20.00 0.00\n"
        )
    };
    let head = "C PSI THETA PHI SHX SHY MAG INCLUDE DF1 DF2 ANGAST PSHIFT OCC LogP SIGMA SCORE CHANGE\n";
    let text = [head, &row(1, 1), &row(2, -1), &row(3, 1)].concat();
    write(&folder.join("refined.par"), text.as_bytes());
    let mut params = json!({
        "par": "refined.par", "stack": "stack.mrc", "pixel_size": 1.5, "voltage": 300.0, "cs": 2.7, "amplitude_contrast": 0.07,
    });
    let (report, set) = run(folder, params.clone(), None).unwrap();
    let images: Vec<_> = set.particles.iter().map(|p| (p.stack_path.as_str(), p.stack_index)).collect();
    assert_eq!(images, [("stack.mrc", 0), ("stack.mrc", 2)]);
    assert_eq!((set.box_px, set.pixel_size_a), (8, 1.5));
    let (rot, tilt, psi) = set.particles[0].pose.unwrap().rotation.to_euler_zyz_deg();
    assert!((rot - 30.0).abs() < 1e-9 && (tilt - 50.0).abs() < 1e-9 && (psi - 70.0).abs() < 1e-9);
    assert!(
        report.notes.iter().any(|note| note.contains("restack-particles with --invert")),
        "{:?}",
        report.notes
    );
    for (key, expected) in [
        ("stack", "give the stack that was refined: --stack"),
        ("voltage", "give --voltage"),
        ("pixel_size", "give --pixel-size"),
    ] {
        let given = params[key].take();
        let error = run(folder, params.clone(), None).unwrap_err();
        assert!(
            error.hint().contains(expected) && error.to_string().contains("refined.par"),
            "{error} {}",
            error.hint()
        );
        params[key] = given;
    }
}

const SIZE: (usize, usize) = (200, 160);
const PLACES: [[usize; 2]; 4] = [[40, 40], [100, 50], [150, 110], [60, 120]];

/// Particles of CryoSPARC in `p.cs`, cut from its sum `cs/000_mic_doc.mrc`, and the same sum with its rows the other way,
/// as another program has it, in `mic.mrc`; the input is one of them.
fn scene(folder: &Path) {
    let mut random = ChaCha8Rng::seed_from_u64(4);
    let sum = Array2::from_shape_fn((SIZE.1, SIZE.0), |_| random.random_range(-1.0f32..1.0));
    std::fs::create_dir(folder.join("cs")).unwrap();
    for (name, image) in [("cs/000_mic_doc.mrc", sum.view()), ("mic.mrc", sum.slice(s![..;-1, ..]))] {
        let mut writer = MrcWriter::create(&folder.join(name), MrcSpec::images(SIZE.0, SIZE.1, 1.5)).unwrap();
        writer.append(&image.iter().copied().collect::<Vec<f32>>()).unwrap();
        writer.finish().unwrap();
    }
    let cut = |[x, y]: [usize; 2]| {
        sum.slice(s![y - 16..y + 16, x - 16..x + 16]).iter().map(|v| -v).collect::<Vec<f32>>()
    };
    write_stack(folder, "cs/p.mrcs", 32, &PLACES.map(cut));
    let f32s = |name, value: f32| FieldOut { name, values: Values::F32(1, vec![value; 4]) };
    let text = |name, value: &str| FieldOut { name, values: Values::Text(vec![value.into(); 4]) };
    let fraction = |name, axis: usize, edge: usize| {
        let values = PLACES.iter().map(|place| place[axis] as f32 / edge as f32);
        FieldOut { name, values: Values::F32(1, values.collect()) }
    };
    let fields = [
        FieldOut { name: "uid", values: Values::U64(vec![1, 2, 3, 4]) },
        text("blob/path", "p.mrcs"),
        FieldOut { name: "blob/idx", values: Values::U32(1, vec![0, 1, 2, 3]) },
        FieldOut { name: "blob/shape", values: Values::U32(2, vec![32; 8]) },
        f32s("blob/psize_A", 1.5),
        f32s("ctf/accel_kv", 300.0),
        f32s("ctf/cs_mm", 2.7),
        f32s("ctf/amp_contrast", 0.1),
        text("location/micrograph_path", "000_mic_doc.mrc"),
        FieldOut {
            name: "location/micrograph_shape",
            values: Values::U32(2, [SIZE.1 as u32, SIZE.0 as u32].repeat(4)),
        },
        fraction("location/center_x_frac", 0, SIZE.0),
        fraction("location/center_y_frac", 1, SIZE.1),
    ];
    let mut bytes = Vec::new();
    write_dataset(&mut bytes, Path::new("p.cs"), &fields).unwrap();
    write(&folder.join("cs/p.cs"), &bytes);
}

fn input(folder: &Path, name: &str, path: &str) -> Input {
    let exposure = Exposure {
        name: name.into(),
        optics_group: 1,
        movie: None,
        micrograph: Some(MicrographSource {
            path: path.into(),
            width: SIZE.0 as u32,
            height: SIZE.1 as u32,
            pixel_size_a: 1.5,
            unweighted_path: String::new(),
            motion_star_path: String::new(),
        }),
        motion: None,
        ctf: None,
    };
    let set = ExposureSet { optics: Vec::new(), exposures: vec![exposure] };
    let file = folder.join("m.h5");
    table::exposures::write(&file, Kind::Micrographs, &set).unwrap();
    let output = Output::new("micrographs", Kind::Micrographs, "m.h5", 1);
    Input { job: "J0".into(), output, path: file, parts: Default::default() }
}

#[test]
fn a_stated_row_that_the_micrographs_contradict_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    scene(folder);
    let params = |origin: &str| json!({"dataset": "cs/p.cs", "y_origin": origin});
    let told = |report: &Report, text: &str| {
        assert!(report.notes.iter().any(|note| note.contains(text)), "{text}: {:?}", report.notes);
    };
    // CryoSPARC's own sum
    let own = || Some(input(folder, "mic", "cs/000_mic_doc.mrc"));
    let (report, set) = run(folder, params("first-row"), own()).unwrap();
    told(&report, "places fit the input's micrographs: 4 particle images correlate");
    let pick = set.particles[0].pick.as_ref().unwrap();
    // and the input's name of it
    assert_eq!((pick.exposure.as_str(), pick.x_px.round(), pick.y_px.round()), ("mic", 40.0, 40.0));
    assert_eq!(report.data["row_origin"]["same_contrast"], json!(0));
    let error = run(folder, params("last-row"), own()).unwrap_err();
    assert!(error.to_string().contains("places of particles do not fit the input's micrographs"), "{error}");
    assert_eq!(error.hint(), "give --y-origin first-row");
    // the sum of another program, whose rows run the other way
    let other = || Some(input(folder, "mic", "mic.mrc"));
    let (report, set) = run(folder, params("last-row"), other()).unwrap();
    told(&report, "places fit the input's micrographs");
    told(&report, "the particle images are mirrored against the input's micrographs");
    assert_eq!(set.particles[0].pick.as_ref().unwrap().y_px.round(), (SIZE.1 - 40) as f64);
    let error = run(folder, params("first-row"), other()).unwrap_err();
    assert_eq!(error.hint(), "give --y-origin last-row");
    // without an input those that the file names are looked at; the sums to be used may be others, so it is a remark
    let (report, _) = run(folder, params("first-row"), None).unwrap();
    told(&report, "places fit the micrographs that the file names");
    let (report, _) = run(folder, params("last-row"), None).unwrap();
    told(&report, "y-origin first-row is right for these");
}

#[test]
fn particles_on_micrographs_that_the_input_lacks_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    scene(folder);
    let params = json!({"dataset": "cs/p.cs", "y_origin": "first-row"});
    let (report, set) = run(folder, params, Some(input(folder, "another", "else.mrc"))).unwrap();
    assert!(
        report.notes.contains(&"4 particles lie on micrographs that the input does not have".into()),
        "{:?}",
        report.notes
    );
    assert_eq!(set.particles[0].pick.as_ref().unwrap().exposure, "000_mic_doc");
}
