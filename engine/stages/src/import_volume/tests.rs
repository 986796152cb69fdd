use super::ImportVolume;
use crate::{Ctx, Input, Stage, StageError};
use ndarray::Array3;
use serde_json::{Value, json};
use std::f64::consts::TAU;
use std::path::Path;
use vitreous_compute::comm::{Comm, Solo, Threads};
use vitreous_formats::mrc::{MrcSpec, MrcWriter, Volume, read_volume, write_volume};
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::conventions::centre;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::params::Validate;
use vitreous_model::report::Report;

type Params = vitreous_jobs::import_volume::ImportVolume;

/// A blob (σ 6 Å) off the centre on a density of 0.5, in `[nz, ny, nx]` voxels of `voxel_a`.
fn blob(dim: (usize, usize, usize), voxel_a: f64) -> Array3<f32> {
    Array3::from_shape_fn(dim, |(z, y, x)| {
        let at = |i: usize, n: usize, c: f64| (i as f64 - centre(n) as f64) * voxel_a - c;
        let r2 = at(x, dim.2, 7.0).powi(2) + at(y, dim.1, -4.0).powi(2) + at(z, dim.0, 3.0).powi(2);
        (0.5 + (-0.5 * r2 / 36.0).exp()) as f32
    })
}

fn project(dim: (usize, usize, usize), voxel_a: f64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write_volume(&dir.path().join("in.mrc"), &blob(dim, voxel_a), voxel_a).unwrap();
    dir
}

fn particles(box_px: u32, pixel_size_a: f64) -> Input {
    let output = Output {
        box_px: Some(box_px),
        pixel_size_a: Some(pixel_size_a),
        ..Output::new("particles", Kind::Particles, "particles.h5", 7)
    };
    Input { job: "J1".into(), output, path: "not-read.h5".into(), parts: Default::default() }
}

fn run_on(
    dir: &Path,
    more: Value,
    set: Option<Input>,
    comm: &dyn Comm,
) -> Result<(Report, Vec<Output>), StageError> {
    let mut params = json!({"volume": "in.mrc"});
    for (key, value) in more.as_object().unwrap() {
        params[key] = value.clone();
    }
    let mut ctx = Ctx::new(&dir.join("J2"), dir, &AnyDevice::Cpu, comm, &|_| {}, &|| false);
    ctx.params = params;
    ctx.inputs.extend(set.map(|input| ("particles".to_string(), vec![input])));
    let report = ImportVolume.run(&ctx)?;
    Ok((report, ctx.declared_outputs()))
}

fn run(dir: &Path, more: Value, set: Option<Input>) -> (Report, Output, Volume) {
    let (report, mut outputs) = run_on(dir, more, set, &Solo).unwrap();
    let map = read_volume(&dir.join("J2/map.mrc")).unwrap();
    (report, outputs.remove(0), map)
}

fn error(dir: &Path, more: Value) -> StageError {
    run_on(dir, more, None, &Solo).unwrap_err()
}

fn worst(a: &Array3<f32>, b: &Array3<f32>) -> f32 {
    assert_eq!(a.dim(), b.dim());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn a_map_that_fits_is_copied() {
    let dir = project((33, 33, 33), 2.5);
    let (report, output, map) = run(dir.path(), json!({}), None);
    assert_eq!(map.data, blob((33, 33, 33), 2.5));
    assert_eq!((output.path.as_str(), output.kind, output.count), ("map.mrc", Kind::Volume, 1));
    assert_eq!((output.box_px, output.pixel_size_a), (Some(33), Some(2.5)));
    assert_eq!(report.figures.iter().map(|f| f.id()).collect::<Vec<_>>(), ["slices", "projections"]);
    assert_eq!((report.get("box_px"), report.notes.len()), (Some(33.0), 0));
}

#[test]
fn box_and_pixel_size_are_those_of_parameters_then_particles() {
    let dir = project((48, 48, 48), 2.5);
    let set = || Some(particles(40, 2.8));
    for (more, input, n, pixel_a) in [
        (json!({}), set(), 40, 2.8),
        (json!({"target_box": 60}), set(), 60, 2.8),
        (json!({"target_pixel_size": 3.1, "target_box": 36}), set(), 36, 3.1),
        (json!({"target_pixel_size": 1.9}), None, 64, 1.9),
        (json!({"target_box": 50}), None, 50, 2.5),
    ] {
        let (report, output, map) = run(dir.path(), more, input);
        assert_eq!((output.box_px, output.pixel_size_a), (Some(n), Some(pixel_a)));
        assert!((map.voxel_a - pixel_a).abs() < 1e-6);
        let off = worst(&map.data, &blob((n as usize, n as usize, n as usize), pixel_a));
        // the blob has fallen to 1e-5 at the faces, where the outside begins
        assert!(off < 5e-5, "{n} of {pixel_a} Å: {off}");
        assert!(report.notes[0].contains("were brought into"), "{:?}", report.notes);
    }
    let (report, _, _) = run(dir.path(), json!({"target_box": 8}), None);
    assert!(report.notes.iter().any(|note| note.contains("lies outside the new box")), "{:?}", report.notes);
}

#[test]
fn boxes_that_are_no_cubes_are_filled_with_the_mean_of_their_faces() {
    let dir = project((40, 48, 44), 2.5);
    let (_, output, map) = run(dir.path(), json!({}), None);
    assert_eq!(output.box_px, Some(48));
    assert!(worst(&map.data, &blob((48, 48, 48), 2.5)) < 1e-3);
    assert_eq!(map.data[[24, 24, 24]], blob((40, 48, 44), 2.5)[[20, 24, 22]]);
    assert!((map.data[[0, 24, 24]] - 0.5).abs() < 1e-3);
}

#[test]
fn the_pixel_size_can_be_corrected_and_the_hand_turned() {
    let dir = project((32, 32, 32), 1.0);
    let (report, _, _) = run(dir.path(), json!({}), None);
    assert!(report.notes[0].contains("says 1 Å per voxel"), "{:?}", report.notes);
    let (report, output, map) = run(dir.path(), json!({"pixel_size": 1.5, "flip_hand": true}), None);
    assert_eq!((output.pixel_size_a, map.data.dim()), (Some(1.5), (32, 32, 32)));
    let original = blob((32, 32, 32), 1.0);
    for ((z, y, x), value) in original.indexed_iter().filter(|((_, _, x), _)| *x > 0) {
        assert_eq!(map.data[[z, y, 32 - x]], *value);
    }
    assert_eq!(report.notes, ["The map was mirrored (x to -x)."]);
}

#[test]
fn the_low_pass_filter_keeps_waves_below_and_removes_those_above() {
    let (n, voxel_a) = (36, 2.0);
    let dir = tempfile::tempdir().unwrap();
    // periods of 72/4 = 18 Å along y and 72/9 = 8 Å along z
    let wave = |i: usize, cycles: f64| (TAU * cycles * i as f64 / n as f64).cos() as f32;
    let both = Array3::from_shape_fn((n, n, n), |(z, y, _)| wave(y, 4.0) + wave(z, 9.0));
    write_volume(&dir.path().join("in.mrc"), &both, voxel_a).unwrap();
    let (report, _, map) = run(dir.path(), json!({"low_pass": 12.0}), None);
    let long = Array3::from_shape_fn((n, n, n), |(_, y, _)| wave(y, 4.0));
    assert!(worst(&map.data, &long) < 1e-5);
    assert_eq!(report.get("low_pass_A"), Some(12.0));
    // on the edge of the filter one half is left: 72/8 = 9 cycles
    let (_, _, map) = run(dir.path(), json!({"low_pass": 8.0}), None);
    let half = Array3::from_shape_fn((n, n, n), |(z, y, _)| wave(y, 4.0) + 0.5 * wave(z, 9.0));
    assert!(worst(&map.data, &half) < 1e-5);
    let (report, _, _) = run(dir.path(), json!({"low_pass": 3.0}), None);
    assert!(report.notes[0].contains("nothing finer than 4.00 Å"), "{:?}", report.notes);
}

#[test]
fn files_that_are_no_maps_are_refused() {
    let dir = project((12, 12, 12), 2.0);
    let path = dir.path().join("in.mrc");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[1024 + 4 * ((5 * 12 + 3) * 12 + 7)..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    #[allow(clippy::disallowed_methods)] // a test's own temporary file
    std::fs::write(&path, bytes).unwrap();
    let message = error(dir.path(), json!({})).to_string();
    assert!(message.contains("in.mrc") && message.contains("column 7, row 3"), "{message}");
    let message = error(dir.path(), json!({"volume": "none.mrc"})).to_string();
    assert!(message.contains("none.mrc: cannot open"), "{message}");
    let stack = |name: &str, sections: usize| {
        let mut writer = MrcWriter::create(&dir.path().join(name), MrcSpec::images(64, 64, 1.5)).unwrap();
        (0..sections).for_each(|_| writer.append(&vec![1.0; 64 * 64]).unwrap());
        writer.finish().unwrap();
    };
    stack("image.mrc", 1);
    let refused = error(dir.path(), json!({"volume": "image.mrc"}));
    assert!(refused.to_string().contains("it has 64 × 64 × 1 voxels, expected a map"), "{refused}");
    assert!(refused.hint().contains("import-micrographs"));
    stack("movie.mrc", 12);
    let refused = error(dir.path(), json!({"volume": "movie.mrc"}));
    assert!(refused.to_string().contains("edges differ more than 4 times"), "{refused}");
    let (report, _, map) = run(dir.path(), json!({"volume": "movie.mrc", "target_box": 16}), None);
    assert_eq!(map.data.dim(), (16, 16, 16));
    assert!(report.notes.iter().any(|note| note.contains("The map is flat: every voxel is 1")));
}

#[test]
fn a_box_that_would_be_too_large_is_refused() {
    let dir = project((12, 12, 12), 2.0);
    let refused = error(dir.path(), json!({"target_pixel_size": 0.001})).to_string();
    assert!(refused.contains("needs a box of 24000 px, expected 8 to 4096"), "{refused}");
}

#[test]
fn every_refusal_of_parameters_names_its_key() {
    assert!(Params::example().validate().is_ok());
    let refused = |params: Params| params.validate().unwrap_err().key;
    assert_eq!(refused(Params::default()), "volume");
    assert_eq!(refused(Params { target_pixel_size: Some(0.0), ..Params::example() }), "target_pixel_size");
    assert_eq!(refused(Params { low_pass: Some(-1.0), ..Params::example() }), "low_pass");
    assert_eq!(refused(Params { target_box: Some(4), ..Params::example() }), "target_box");
    assert_eq!(refused(Params { pixel_size: Some(1e4), ..Params::example() }), "pixel_size");
}

#[test]
fn only_rank_0_writes() {
    let dir = project((12, 12, 12), 2.0);
    let outputs = Threads::run(4, |comm| run_on(dir.path(), json!({}), None, comm).unwrap().1.len());
    assert_eq!(outputs, [1, 0, 0, 0]);
}

#[test]
fn real_maps_come_with_their_geometry() {
    let Some(data) = crate::test_data() else { return };
    let dir = tempfile::tempdir().unwrap();
    for (name, n, pixel_a) in [("ngl_betaGal.mrc", 100, 3.54), ("mrcfile_EMD-3197.map", 20, 11.4)] {
        let (report, output, _) = run(dir.path(), json!({"volume": data.join("maps").join(name)}), None);
        assert_eq!(output.box_px, Some(n), "{name}");
        assert!((output.pixel_size_a.unwrap() - pixel_a).abs() < 0.02, "{name}: {output:?}");
        assert!(report.get("density_deviation") > Some(0.0), "{name}");
    }
}

#[test]
fn the_page_has_the_parameters() {
    let table = vitreous_jobs::page::parameter_table(vitreous_jobs::find("import-volume").unwrap());
    assert!(include_str!("README.md").contains(&table), "put this into README.md:\n{table}");
}

/// A dataset and a group of CryoSPARC that name `in.mrc` as the map of the first half-set.
#[expect(clippy::disallowed_methods, reason = "a test makes its own input")]
fn group(dir: &Path, mark: &str) {
    use vitreous_formats::cryosparc::convert::{VolumeOut, VolumeSlot, volume_fields};
    use vitreous_formats::cryosparc::{GroupOut, ResultOut, VOLUME, write_dataset, write_group};
    let (slot, path) = (VolumeSlot::HALF_A, format!("{mark}in.mrc"));
    let fields = volume_fields(&[VolumeOut { slot, path, box_px: 16, pixel_size_a: 2.5 }]);
    let mut bytes = Vec::new();
    write_dataset(&mut bytes, Path::new("v.cs"), &fields).unwrap();
    std::fs::write(dir.join("v.cs"), bytes).unwrap();
    let results = [ResultOut { name: slot.name, kind: "blob", dataset: "v.cs" }];
    let group = GroupOut { name: "volume", kind: VOLUME, description: "", results: &results, rows: 1 };
    let mut text = Vec::new();
    write_group(&mut text, Path::new("v.csg"), &group).unwrap();
    std::fs::write(dir.join("v.csg"), text).unwrap();
}

#[test]
fn a_map_is_found_through_a_dataset_or_group() {
    let dir = project((16, 16, 16), 2.0);
    let (.., direct) = run(dir.path(), json!({}), None);
    for (mark, file) in [(">", "v.csg"), ("", "v.cs")] {
        group(dir.path(), mark);
        let (_, output, map) = run(dir.path(), json!({"volume": file, "group_map": "half-a"}), None);
        assert_eq!((map.data, output.pixel_size_a), (direct.data.clone(), Some(2.0)), "{file}");
    }
    let error = run_on(dir.path(), json!({"volume": "v.csg"}), None, &Solo).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("does not name a map `map`; it has map_half_A"), "{error}");
    assert!(error.hint().contains("--group-map"), "{}", error.hint());
    // a header that does not know its voxels leaves them to the dataset
    write_volume(&dir.path().join("in.mrc"), &blob((16, 16, 16), 2.0), 1.0).unwrap();
    let (_, output, _) = run(dir.path(), json!({"volume": "v.csg", "group_map": "half-a"}), None);
    assert_eq!(output.pixel_size_a, Some(2.5));
}
