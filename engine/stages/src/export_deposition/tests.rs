//! Files of a deposition, read back; what records tell and what they do not; maps that do not lie on one grid.

use super::ExportDeposition;
use super::history::short;
use crate::sharpen::Sharpen;
use crate::simulated_maps::white;
use crate::{Ctx, Input, Stage, StageError};
use ndarray::{Array3, s};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use vitreous_compute::comm::Solo;
use vitreous_formats::fsc_xml::FscCurve;
use vitreous_formats::mrc::{self, MrcReader};
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::lineage::Ancestor;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::report::{Number, Report};

const N: usize = 40;
const VOXEL_A: f64 = 1.7;
const ORIGIN_A: [f64; 3] = [-12.0, 3.5, 0.0];

/// A blob off the centre, so that its mirror image is another.
fn structure() -> Array3<f32> {
    let blobs = [([6.0, 2.0, -3.0], 1.0), ([-5.0, 6.0, 2.0], 0.8), ([1.0, -7.0, 4.0], 0.6)];
    Array3::from_shape_fn((N, N, N), |(z, y, x)| {
        let p = [x, y, z].map(|i| i as f64 - (N / 2) as f64);
        let blob = |(b, height): &([f64; 3], f64)| {
            let d2: f64 = (0..3).map(|i| (p[i] - b[i]).powi(2)).sum();
            height * (-d2 / 12.0).exp()
        };
        blobs.iter().map(blob).sum::<f64>() as f32
    })
}

fn noise(seed: u64) -> Array3<f32> {
    white(N, seed) * 0.05
}

fn write(path: &Path, map: &Array3<f32>, voxel_a: f64, origin_a: [f64; 3]) {
    let mut bytes = Vec::new();
    mrc::write_volume_to(&mut bytes, path, map, voxel_a, origin_a).unwrap();
    #[expect(clippy::disallowed_methods, reason = "a test writes its input")]
    std::fs::write(path, bytes).unwrap();
}

/// A project with a refined map of `J8`, sharpened in `J9`.
struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let halves = [1, 2].map(|seed| structure() + noise(seed));
        let put = |name: &str, map: &Array3<f32>| write(&folder.path().join(name), map, VOXEL_A, ORIGIN_A);
        put("map.mrc", &((&halves[0] + &halves[1]) * 0.5));
        put("half1.mrc", &halves[0]);
        put("half2.mrc", &halves[1]);
        put("sharp.mrc", &(structure() * 3.0));
        put("mask.mrc", &structure().mapv(|v| (v * 20.0).clamp(0.0, 1.0)));
        Self { folder }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn input(&self, job: &str, kind: Kind, file: &str) -> Input {
        let output = Output { pixel_size_a: Some(VOXEL_A), ..Output::new("x", kind, file, 1) };
        Input { job: job.into(), output, path: self.path(file), parts: BTreeMap::new() }
    }

    fn inputs(&self) -> BTreeMap<String, Vec<Input>> {
        let mut volume = self.input("J8", Kind::Volume, "map.mrc");
        for role in ["half1", "half2"] {
            volume.parts.insert(role.into(), self.path(&format!("{role}.mrc")));
        }
        let sharpened = self.input("J9", Kind::Volume, "sharp.mrc");
        let mask = self.input("J9", Kind::Mask, "mask.mrc");
        [("volume", volume), ("sharpened", sharpened), ("mask", mask)]
            .map(|(slot, input)| (slot.to_string(), vec![input]))
            .into()
    }

    fn run(
        &self,
        stage: &dyn Stage,
        params: Value,
        inputs: BTreeMap<String, Vec<Input>>,
        jobs: &[Ancestor],
    ) -> Result<(Report, Vec<Output>), StageError> {
        let job = self.path("J10");
        let lineage = || jobs.to_vec();
        let mut ctx = Ctx::new(&job, self.folder.path(), &AnyDevice::Cpu, &Solo, &|_| {}, &|| false);
        (ctx.params, ctx.inputs) = (params, inputs);
        ctx.lineage = &lineage;
        let report = stage.run(&ctx)?;
        Ok((report, ctx.declared_outputs()))
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.path("J10").join(file)).unwrap()
    }
}

/// A job's records: parameters, key figures, and how many of which kind it made.
fn job(
    job: &str,
    job_type: &str,
    from: &[(&str, &str)],
    params: Value,
    numbers: &[(&str, f64)],
    outputs: &[(&str, Kind, u64)],
) -> Ancestor {
    let number = |(key, value): &(&str, f64)| Number {
        key: (*key).into(),
        label: String::new(),
        value: Some(*value),
        unit: String::new(),
    };
    let input = |(slot, job): &(&str, &str)| (slot.to_string(), vec![(job.to_string(), slot.to_string())]);
    Ancestor {
        job: job.into(),
        job_type: job_type.into(),
        params,
        versions: [("vitreous-engine".to_string(), "0.9.1".to_string())].into(),
        inputs: from.iter().map(input).collect(),
        outputs: outputs
            .iter()
            .map(|(slot, kind, count)| Output {
                pixel_size_a: Some(0.85),
                ..Output::new(slot, *kind, "x", *count)
            })
            .collect(),
        numbers: numbers.iter().map(number).collect(),
        missing: String::new(),
    }
}

/// The whole way from movies to a flipped, sharpened map.
fn way() -> Vec<Ancestor> {
    use Kind::{Micrographs, Movies, Particles, Picks, Volume};
    let none = json!({});
    vec![
        job(
            "J1",
            "import-movies",
            &[],
            none.clone(),
            &[
                ("movies", 1539.0),
                ("frames", 38.0),
                ("width_px", 7420.0),
                ("height_px", 7676.0),
                ("pixel_size_A", 0.3185),
                ("voltage_kV", 300.0),
                ("cs_mm", 2.7),
            ],
            &[("movies", Movies, 1539)],
        ),
        job(
            "J2",
            "correct-motion",
            &[("movies", "J1")],
            json!({"patches_x": 5, "patches_y": 5, "dose_weighting": true}),
            &[],
            &[("micrographs", Micrographs, 1530)],
        ),
        job(
            "J3",
            "estimate-ctf",
            &[("micrographs", "J2")],
            none.clone(),
            &[("defocus_median_A", 12345.0)],
            &[("micrographs", Micrographs, 1530)],
        ),
        job("J4", "pick-blobs", &[("micrographs", "J3")], none.clone(), &[], &[("picks", Picks, 412_345)]),
        job(
            "J5",
            "extract-particles",
            &[("picks", "J4")],
            json!({"box_size": 384, "output_box": 192}),
            &[("particles", 401_234.0), ("pixel_size_A", 1.7)],
            &[("particles", Particles, 401_234)],
        ),
        job("J6", "ab-initio", &[("particles", "J5")], json!({"classes": 1, "symmetry": "C1"}), &[], &[]),
        job(
            "J7",
            "refine-homogeneous",
            &[("particles", "J5"), ("volume", "J6")],
            json!({"symmetry": "D2"}),
            &[("particles", 123_456.0), ("resolution_fsc0143_A", 3.1618)],
            &[("volume", Volume, 1)],
        ),
        job("J8", "flip-hand", &[("volume", "J7")], none.clone(), &[], &[("volume", Volume, 1)]),
        job(
            "J9",
            "sharpen",
            &[("volume", "J8")],
            none,
            &[("bfactor_A2", -87.25), ("resolution_fsc0143_A", 3.05)],
            &[("volume", Volume, 1)],
        ),
    ]
}

#[test]
fn maps_have_depositable_names_and_headers_that_are_true() {
    let scene = Scene::new();
    let params = json!({"name": "A & B", "prefix": "emd", "contour": 0.3});
    let (report, outputs) = scene.run(&ExportDeposition, params, scene.inputs(), &way()).unwrap();
    for (file, source) in [
        ("emd.map", "sharp.mrc"),
        ("emd_half_map_1.map", "half1.mrc"),
        ("emd_half_map_2.map", "half2.mrc"),
        ("emd_msk_1.map", "mask.mrc"),
        ("emd_additional_1.map", "map.mrc"),
    ] {
        let path = scene.path("J10").join(file);
        let volume = mrc::read_volume(&path).unwrap();
        assert_eq!(volume.data, mrc::read_volume(&scene.path(source)).unwrap().data, "{file}");
        let reader = MrcReader::open(&path).unwrap();
        let header = reader.mrc_header();
        let values: Vec<f64> = volume.data.iter().map(|&v| f64::from(v)).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let rms = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt();
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let told = header.statistics;
        for (told, found) in [(told.min, least), (told.max, largest), (told.mean, mean), (told.rms, rms)] {
            assert!((f64::from(told) - found).abs() < 1e-6 * largest.abs(), "{file}: {told} {found}");
        }
        assert_eq!((header.size, header.space_group, header.axes), ([N; 3], 1, [0, 1, 2]));
        assert!(header.cell_a.iter().all(|edge| (f64::from(*edge) - N as f64 * VOXEL_A).abs() < 1e-4));
        assert_eq!(header.origin_a, ORIGIN_A.map(|o| o as f32), "{file}: the model's frame stays");
    }
    assert_eq!(outputs[0].count as usize, outputs[0].parts.len());
    assert_eq!(report.get("files"), Some(11.0));
    assert_eq!(report.data["maps"][0], json!({"file": "emd.map", "what": "primary map (sharpened)"}));
    assert!(outputs[0].parts.values().all(|file| scene.path("J10").join(file).exists()));
    assert!(report.notes.iter().all(|note| !note.contains("correlate")), "{:?}", report.notes);
}

#[test]
fn the_fsc_is_that_of_sharpen_in_the_form_of_the_emdb() {
    let scene = Scene::new();
    let inputs = scene.inputs();
    let (report, _) = scene.run(&ExportDeposition, json!({}), inputs.clone(), &[]).unwrap();
    let text = scene.read("emd_fsc.xml");
    let curve = FscCurve::read(&text).unwrap();
    let (sharpened, _) = scene.run(&Sharpen, json!({}), inputs, &[]).unwrap();
    let expected: Vec<f64> = serde_json::from_value(sharpened.data["fsc"].clone()).unwrap();
    assert_eq!(curve.points.len(), N / 2);
    for (shell, (x, y)) in (1..).zip(&curve.points) {
        assert!((x - shell as f64 / (N as f64 * VOXEL_A)).abs() < 1e-6);
        assert!((y - expected[shell]).abs() < 1e-6, "shell {shell}: {y} {}", expected[shell]);
    }
    assert_eq!(report.get("resolution_fsc0143_A"), sharpened.get("resolution_fsc0143_A"));
    assert!(text.starts_with(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<fsc title=\"FSC of the half maps, masked"
    ));
    for file in ["emd_fsc_masked.xml", "emd_fsc_unmasked.xml"] {
        assert_eq!(FscCurve::read(&scene.read(file)).unwrap().points.len(), N / 2);
    }
}

#[test]
fn table_and_text_tell_what_the_records_tell_and_mark_the_rest() {
    let scene = Scene::new();
    let params = json!({"name": "A & B"});
    let (report, _) = scene.run(&ExportDeposition, params, scene.inputs(), &way()).unwrap();
    let records: Vec<Value> = serde_json::from_str(&scene.read("table.json")).unwrap();
    let value = |item: &str| -> Value {
        let row = records.iter().find(|row| row["item"] == item);
        row.unwrap_or_else(|| panic!("no row {item}"))["value"].clone()
    };
    for (item, expected) in [
        ("symmetry", "D2"),
        ("particles in the reconstruction", "123,456"),
        ("particles picked", "412,345"),
        ("B-factor of the primary map, Å²", "-87.25"),
        ("CTF correction", "PHASE FLIPPING AND AMPLITUDE CORRECTION"),
        ("final angular assignment", "MAXIMUM LIKELIHOOD"),
        ("acceleration voltage, kV", "300"),
        ("initial map", "ab initio from the particles"),
        ("resolution criterion", "FSC 0.143 CUT-OFF"),
        ("voxel size, Å", "1.70000"),
        ("software: final angles and reconstruction", "Vitreous 0.9.1 refine-homogeneous (J7)"),
    ] {
        assert_eq!(value(item), expected, "{item}");
    }
    for unknown in ["recommended contour level", "microscope", "dose of an exposure, e/Å²"] {
        assert_eq!(value(unknown), Value::Null);
        assert!(
            scene.read("table.md").contains(&format!("| {unknown} | **unknown** | not in the records |"))
        );
    }
    assert!(report.notes.join(" ").contains("To be filled in by hand: recommended contour level"));
    let text = scene.read("methods.md");
    for words in [
        "# Image processing: A & B",
        "All steps were done with Vitreous (0.9.1). 1,539 movies of 38 frames of 7,420 × 7,676 pixels (0.3185 Å) were recorded \
         at 300 kV (spherical aberration 2.7 mm) with a dose of [total dose not recorded] e/Å²",
        "Motion was corrected of whole frames and locally, frames weighted by dose, which gave 1,530 micrographs of 0.85 Å",
        "estimated for 1,530 micrographs (median defocus 1.235 µm)",
        "412,345 particles were picked as blobs",
        "401,234 particles were extracted in boxes of 384 pixels, downsampled to 192 (1.7 Å per pixel)",
        "Poses and map of 123,456 particles were refined in two independent halves, symmetry D2, to 3.162 Å \
         (`refine-homogeneous`, J7, version 0.9.1).",
        "Step: flip hand, which gave 1 volume (`flip-hand`, J8, version 0.9.1).",
        "sharpened with a B-factor of -87.25 Å² and filtered to 3.05 Å",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    assert!(text.find("J1,").unwrap() < text.find("J7,").unwrap());
}

#[test]
fn without_records_nothing_is_made_up() {
    let scene = Scene::new();
    let gone = Ancestor { job: "J8".into(), missing: "J8 is gone".into(), ..Ancestor::default() };
    let (report, _) = scene.run(&ExportDeposition, json!({}), scene.inputs(), &[gone]).unwrap();
    let records: Vec<Value> = serde_json::from_str(&scene.read("table.json")).unwrap();
    for item in ["symmetry", "particles in the reconstruction", "CTF correction", "reconstruction algorithm"]
    {
        let row = records.iter().find(|row| row["item"] == item).unwrap();
        assert!(row["value"].is_null(), "{row}");
    }
    let text = scene.read("methods.md");
    assert!(text.contains("[versions not recorded]") && text.contains("[job type not recorded]"), "{text}");
    let notes = report.notes.join(" ");
    assert!(
        notes.contains("records of J8 are not whole: J8 is gone") && notes.contains("No job of this project")
    );
}

#[test]
fn without_mask_and_sharpened_map_the_refined_one_is_primary() {
    let scene = Scene::new();
    let mut inputs = scene.inputs();
    inputs.retain(|slot, _| slot == "volume");
    let params = json!({"prefix": "my-map_2"});
    let (report, outputs) = scene.run(&ExportDeposition, params, inputs.clone(), &[]).unwrap();
    assert_eq!((outputs[0].path.as_str(), report.get("files")), ("my-map_2.map", Some(10.0)));
    let [primary, refined] = [scene.path("J10").join("my-map_2.map"), scene.path("map.mrc")]
        .map(|path| mrc::read_volume(&path).unwrap().data);
    assert_eq!(primary, refined);
    assert!(scene.path("J10").join("my-map_2_msk_1.map").exists());
    // the mirror image of the map beside halves that were not flipped
    let mirrored = structure().slice(s![.., .., ..;-1]).as_standard_layout().into_owned();
    write(&scene.path("map.mrc"), &mirrored, VOXEL_A, ORIGIN_A);
    let (report, _) = scene.run(&ExportDeposition, json!({}), inputs, &[]).unwrap();
    assert!(report.notes.join(" ").contains("turned or mirrored"), "{:?}", report.notes);
}

#[test]
fn maps_on_other_grids_are_refused() {
    let scene = Scene::new();
    let refused = |slot: &str, map: &Array3<f32>, voxel_a: f64, origin_a: [f64; 3]| {
        let mut inputs = scene.inputs();
        let input = &mut inputs.get_mut(slot).unwrap()[0];
        input.path = scene.path("other.mrc");
        input.output.pixel_size_a = None;
        write(&input.path, map, voxel_a, origin_a);
        scene.run(&ExportDeposition, json!({}), inputs, &[]).unwrap_err().to_string()
    };
    let small = Array3::zeros((8, 8, 8));
    for (slot, error, words) in [
        ("mask", refused("mask", &small, VOXEL_A, ORIGIN_A), "found 8 × 8 × 8 voxels, expected 40 × 40 × 40"),
        ("sharpened", refused("sharpened", &structure(), 1.71, ORIGIN_A), "voxels of 1.71000"),
        (
            "sharpened",
            refused("sharpened", &structure(), VOXEL_A, [0.0; 3]),
            "(0.000, 0.000, 0.000) Å, expected",
        ),
    ] {
        assert!(error.contains(words) && error.contains("other.mrc"), "{slot}: {error}");
    }
    let mut inputs = scene.inputs();
    inputs.get_mut("volume").unwrap()[0].parts.clear();
    let error = scene.run(&ExportDeposition, json!({}), inputs, &[]).unwrap_err().to_string();
    assert!(error.contains("no part `half1`"), "{error}");
}

#[test]
fn numbers_are_written_for_people() {
    let found = [0.0, -87.25, 3.17159, 1234567.0, 0.000123456, 123.456, 99999.5].map(short);
    assert_eq!(found, ["0", "-87.25", "3.172", "1,234,567", "0.0001235", "123.5", "100000"]);
}

#[test]
fn the_readme_has_the_parameters() {
    let table = vitreous_jobs::page::parameter_table(&vitreous_jobs::export_deposition::JOB);
    assert!(include_str!("README.md").contains(table.trim_end()), "put this into README.md:\n{table}");
}
