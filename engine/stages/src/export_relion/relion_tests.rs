//! What RELION and its Python package make of an export. Skipped where they are not installed.

use super::ExportRelion;
use crate::{Ctx, Input, Stage};
use ndarray::Array3;
use num_complex::Complex32;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use std::path::Path;
use std::process;
use vitreous_compute::comm::Solo;
use vitreous_compute::device::Cpu;
use vitreous_compute::fourier::HalfImage;
use vitreous_compute::fsc::fsc_of_maps;
use vitreous_compute::likelihood::LatticeCtf;
use vitreous_compute::mask;
use vitreous_compute::ops::grid::PaddedGrid;
use vitreous_compute::ops::insert::{FixedPoint, Insert, SliceBatch};
use vitreous_compute::parity::phantom::{Phantom, Truth};
use vitreous_formats::mrc::{MrcSpec, MrcWriter, read_volume};
use vitreous_formats::open_image;
use vitreous_formats::table::particles;
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::conventions::signed_frequency;
use vitreous_model::exposure::OpticsGroup;
use vitreous_model::half_set::HalfSet;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::particle::{Particle, ParticleSet};
use vitreous_model::pose::Pose;
use vitreous_model::units::{Kilovolt, Millimetre};

const BOX: usize = 48;
const IMAGES: usize = 400;
/// Where the stack lies in the project.
const STACK: &str = "J1/particles.mrcs";

/// Runs a program in a folder; `None`, and a word about it, where it is not installed.
fn run_program(folder: &Path, program: &str, arguments: &[&str]) -> Option<process::Output> {
    #[expect(clippy::disallowed_methods, reason = "another program's opinion is what this test is about")]
    let output = process::Command::new(program).args(arguments).current_dir(folder).output();
    if output.is_err() {
        println!("skipped: {program} is not installed");
    }
    output.ok()
}

/// The optics of [`Truth::random`].
fn optics(movie_pixel_size_a: f64) -> OpticsGroup {
    OpticsGroup {
        number: 1,
        name: "opticsGroup1".into(),
        voltage: Kilovolt(300.0),
        cs: Millimetre(2.7),
        amplitude_contrast: 0.1,
        movie_pixel_size_a,
        aberrations: Default::default(),
    }
}

fn phantom() -> Phantom {
    Phantom::new(BOX, 0.5, 40, 11)
}

/// A project with noise-free images of the phantom in `J1` and their export in `J2`; returns the particles.
fn exported_project(dir: &Path, images: usize) -> ParticleSet {
    let phantom = phantom();
    let pixel_a = phantom.pixel_size_a();
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    std::fs::create_dir(dir.join("J1")).unwrap();
    let spec = MrcSpec::images(BOX, BOX, pixel_a);
    let mut writer = MrcWriter::create(&dir.join(STACK), spec).unwrap();
    let mut list = Vec::new();
    for index in 0..images {
        let truth = Truth::random(3.0, &mut rng);
        let image = phantom.image(&truth, 0.0, &mut rng).into_box();
        writer.append(image.as_slice().unwrap()).unwrap();
        list.push(Particle {
            ctf: truth.ctf,
            pose: Some(Pose { rotation: truth.rotation, shift_a: truth.shift_px.map(|t| t * pixel_a) }),
            half: HalfSet::from_number(index as i64 % 2 + 1),
            ..Particle::of_image(index as u64, STACK, index as u32)
        });
    }
    writer.finish().unwrap();
    let set = ParticleSet {
        optics: vec![optics(pixel_a)],
        box_px: BOX as u32,
        pixel_size_a: pixel_a,
        particles: list,
    };
    particles::write(&dir.join("J1/particles.h5"), &set).unwrap();
    let mut ctx = Ctx::new(&dir.join("J2"), dir, &AnyDevice::Cpu, &Solo, &|_| {}, &|| false);
    ctx.params = json!({});
    let output = Output::new("particles", Kind::Particles, "particles.h5", images as u64);
    let path = dir.join("J1/particles.h5");
    let input = Input { job: "J1".into(), output, path, parts: Default::default() };
    ctx.inputs.insert("particles".into(), vec![input]);
    ExportRelion.run(&ctx).unwrap();
    set
}

/// Our map of the set, without any prior.
fn our_map(dir: &Path, set: &ParticleSet) -> Array3<f32> {
    let source = open_image(&dir.join(STACK)).unwrap();
    let count = set.particles.len();
    let mut numerator = Array3::<Complex32>::zeros((count, BOX, BOX / 2 + 1));
    let mut weight = Array3::<f32>::zeros(numerator.dim());
    let mut rotations = Vec::new();
    for (index, particle) in set.particles.iter().enumerate() {
        let mut pixels = ndarray::Array2::zeros((BOX, BOX));
        source.read_frame_at(index, pixels.as_slice_mut().unwrap()).unwrap();
        let mut image = HalfImage::of_box(pixels.view());
        let pose = particle.pose.unwrap();
        let [x, y] = pose.shift_a.map(|t| -t / set.pixel_size_a);
        image.shift(x, y);
        let ctf = LatticeCtf::new(particle.ctf.as_ref(), BOX, set.pixel_size_a);
        for ((y, x), value) in image.data().indexed_iter() {
            let c = ctf.value(x as f64, signed_frequency(y, BOX) as f64);
            numerator[[index, y, x]] = value * c;
            weight[[index, y, x]] = c * c;
        }
        rotations.push(pose.rotation);
    }
    let rmax = BOX as f64 / 2.0;
    let scale = FixedPoint::new(1e5, 1.0, count as u64);
    let mut sums = Cpu.accumulator(PaddedGrid::new(BOX, 2.0, rmax), scale).unwrap();
    let batch = SliceBatch {
        numerator: numerator.view(),
        weight: weight.view(),
        rotations: &rotations,
        bends: &[],
        rmax,
    };
    Cpu.insert(&mut sums, &batch).unwrap();
    Cpu.collect(sums).unwrap().to_sums().map(None, rmax)
}

#[test]
fn relion_makes_the_same_map_of_an_export() {
    let dir = tempfile::tempdir().unwrap();
    let set = exported_project(dir.path(), IMAGES);
    let arguments = ["--i", "J2/particles.star", "--o", "relion.mrc", "--ctf", "--verb", "0"];
    let Some(output) = run_program(dir.path(), "relion_reconstruct", &arguments) else { return };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let theirs = read_volume(&dir.path().join("relion.mrc")).unwrap();
    assert!((theirs.voxel_a / set.pixel_size_a - 1.0).abs() < 1e-5);
    let ours = our_map(dir.path(), &set);
    let truth = phantom().volume();
    // both programs interpolate linearly: their errors sit at the faces of the box
    let inside = mask::sphere(BOX, 0.35 * BOX as f64, 4.0);
    let last = (0.9 * BOX as f64 / 2.0) as usize;
    for (name, other) in [("our map", &ours), ("the object", &truth)] {
        let curve = fsc_of_maps(theirs.data.view(), other.view(), Some(inside.view()));
        let worst = curve[1..=last].iter().copied().fold(1.0, f64::min);
        assert!(worst > 0.99, "RELION's map and {name}: lowest FSC {worst} in {curve:?}");
    }
}

#[test]
fn the_python_package_reads_an_export() {
    let dir = tempfile::tempdir().unwrap();
    let set = exported_project(dir.path(), 3);
    let script = "import starfile, json; f = starfile.read('J2/particles.star'); o, p = f['optics'], f['particles']; \
                  print(json.dumps([len(o), float(o['rlnImagePixelSize'].iloc[0]), len(p), p['rlnImageName'].iloc[2], \
                  float(p['rlnOriginXAngst'].iloc[1]), int(p['rlnRandomSubset'].iloc[1])]))";
    let Some(output) = run_program(dir.path(), "python3", &["-c", script]) else { return };
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("No module named") {
        println!("skipped: the Python package starfile is not installed");
        return;
    }
    assert!(output.status.success(), "{said}");
    let read: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&read[0], &read[2], &read[3]), (&json!(1), &json!(3), &json!(format!("000003@{STACK}"))));
    assert!((read[1].as_f64().unwrap() - set.pixel_size_a).abs() < 1e-6);
    let origin = -set.particles[1].pose.unwrap().shift_a[0];
    assert!((read[4].as_f64().unwrap() - origin).abs() < 1e-6);
    assert_eq!(read[5], json!(2));
}
