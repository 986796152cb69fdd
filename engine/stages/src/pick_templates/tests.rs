//! Known truth, and the stage as a whole.

use super::bank::Bank;
use super::run::Plan;
use super::*;
use crate::Input;
use crate::picking::given_mask::GivenMask;
use ndarray::{Array2, Array3};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use std::path::Path;
use vitreous_compute::comm::Solo;
use vitreous_compute::device::Cpu;
use vitreous_formats::mrc::{MrcSpec, MrcWriter};
use vitreous_formats::table;
use vitreous_jobs::pick_templates::PickTemplates as Params;
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::exposure::{Exposure, ExposureSet, MicrographSource, OpticsGroup};
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::symmetry::PointGroup;
use vitreous_model::units::{Kilovolt, Millimetre};

/// Å per pixel of micrographs, diameter of the particle, and edge and voxel of its map.
const PIXEL_A: f64 = 4.0;
const DIAMETER_A: f64 = 160.0;
const MAP_N: usize = 48;

/// A bent rod: three balls of 40 Å in a plane.
fn map() -> Array3<f32> {
    let balls = [[-50.0, 0.0, 0.0], [0.0, 0.0, 0.0], [20.0, 48.0, 0.0]];
    let at = |i: usize| (i as f64 - (MAP_N / 2) as f64) * PIXEL_A;
    Array3::from_shape_fn((MAP_N, MAP_N, MAP_N), |(z, y, x)| {
        let inside =
            |b: &[f64; 3]| (at(x) - b[0]).powi(2) + (at(y) - b[1]).powi(2) + (at(z) - b[2]).powi(2) < 900.0;
        if balls.iter().any(inside) { 1.0 } else { 0.0 }
    })
}

/// The map seen along z, turned by `angle_deg` from x towards y, dark at `places` in noise of deviation 1.
fn micrograph(n: usize, places: &[([f64; 2], f64)], depth: f32, seed: u64) -> Array2<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let projection = map().sum_axis(ndarray::Axis(0));
    let mut image = Array2::from_shape_fn((n, n), |_| rng.sample::<f32, _>(StandardNormal));
    let reach = MAP_N as isize / 2;
    for ([cx, cy], angle_deg) in places {
        let (sin, cos) = angle_deg.to_radians().sin_cos();
        for dy in -reach..reach {
            for dx in -reach..reach {
                let (dxf, dyf) = (dx as f64, dy as f64);
                let x = (cos * dxf + sin * dyf).round() as isize + reach;
                let y = (cos * dyf - sin * dxf).round() as isize + reach;
                if (0..MAP_N as isize).contains(&x) && (0..MAP_N as isize).contains(&y) {
                    let at = [(cy + dyf) as usize, (cx + dxf) as usize];
                    image[at] -= depth * projection[[y as usize, x as usize]] / 15.0;
                }
            }
        }
    }
    image * 20.0 + 500.0
}

fn places() -> Vec<([f64; 2], f64)> {
    (0..16)
        .map(|i| ([80.0 + 110.0 * f64::from(i % 4), 70.0 + 115.0 * f64::from(i / 4)], 47.0 * f64::from(i)))
        .collect()
}

fn params() -> Params {
    Params { diameter: Some(DIAMETER_A), view_step: 30.0, angle_step: 15.0, ..Params::default() }
}

fn plan(params: &Params) -> Plan<'static, Cpu> {
    Plan::new(&Cpu, params, DIAMETER_A, PIXEL_A, |geometry| {
        Ok(Bank::of_map(&map(), [PIXEL_A; 3], PointGroup::C1, params.view_step, geometry))
    })
    .unwrap()
}

#[test]
fn particles_are_found_where_they_are_and_turned_as_they_are() {
    let truth = places();
    let image = micrograph(512, &truth, 1.0, 4);
    let projection = map().sum_axis(ndarray::Axis(0));
    let plan = Plan::new(&Cpu, &params(), DIAMETER_A, PIXEL_A, |geometry| {
        Ok(Bank::of_images(&[projection], PIXEL_A, geometry))
    })
    .unwrap();
    let picked = plan.pick(&image, None, None).unwrap();
    assert_eq!(picked.found.len(), truth.len(), "{picked:?}");
    for ([x, y], angle_deg) in &truth {
        let nearest = picked
            .found
            .iter()
            .min_by(|a, b| (a.x_px - x).hypot(a.y_px - y).total_cmp(&(b.x_px - x).hypot(b.y_px - y)))
            .unwrap();
        assert!((nearest.x_px - x).hypot(nearest.y_px - y) < 3.0, "{x} {y}: {nearest:?}");
        let turned = (nearest.angle_deg - angle_deg).rem_euclid(360.0);
        assert!(turned.min(360.0 - turned) <= 15.0, "{angle_deg}: {nearest:?}");
    }
}

#[test]
fn projections_of_a_map_find_them_too_and_noise_gives_nothing() {
    let truth = places();
    let plan = plan(&params());
    let picked = plan.pick(&micrograph(512, &truth, 1.0, 5), None, None).unwrap();
    let near = |t: &&([f64; 2], f64)| {
        picked.found.iter().any(|p| (p.x_px - t.0[0]).hypot(p.y_px - t.0[1]) < 0.25 * DIAMETER_A / PIXEL_A)
    };
    assert!(truth.iter().filter(near).count() >= 15, "{picked:?}");
    assert!(picked.found.len() <= 17, "{picked:?}");
    let noise = plan.pick(&micrograph(512, &[], 1.0, 6), None, None).unwrap();
    assert!(noise.found.len() <= 1, "{noise:?}");
}

#[test]
fn scores_of_noise_are_in_its_standard_deviations() {
    let plan = plan(&params());
    let strict = Params { threshold: 3.0, max_score: 100.0, ..params() };
    let plan = Plan { params: strict, ..plan };
    let noise = plan.pick(&micrograph(512, &[], 1.0, 7), None, None).unwrap();
    let most = noise.found.iter().map(|found| found.score).fold(0.0, f64::max);
    // the largest of some ten thousand independent ones
    assert!((3.2..5.8).contains(&most), "{most}");
}

#[test]
fn nothing_is_picked_under_a_given_mask() {
    let plan = plan(&params());
    let values = Array2::from_shape_fn((64, 64), |(y, _)| f32::from(u8::from(y >= 32)));
    let mask = GivenMask::of(&values, 0.5);
    let picked = plan.pick(&micrograph(512, &places(), 1.0, 4), None, Some(&mask)).unwrap();
    assert!((6..=9).contains(&picked.found.len()), "{picked:?}");
    assert!(picked.found.iter().all(|found| found.y_px.round() < 256.0));
}

fn run_stage(dir: &Path, more: serde_json::Value, with_volume: bool) -> Result<Report, StageError> {
    let image = micrograph(512, &places(), 1.0, 4);
    let write = |name: &str, spec: MrcSpec, values: &[f32]| {
        let mut writer = MrcWriter::create(&dir.join(name), spec).unwrap();
        values.chunks(spec.width * spec.height).for_each(|image| writer.append(image).unwrap());
        writer.finish().unwrap();
    };
    write("m.mrc", MrcSpec::images(512, 512, PIXEL_A), image.as_slice().unwrap());
    vitreous_formats::mrc::write_volume(&dir.join("map.mrc"), &map(), PIXEL_A).unwrap();
    let micrograph = MicrographSource {
        path: "m.mrc".into(),
        width: 512,
        height: 512,
        pixel_size_a: PIXEL_A,
        unweighted_path: String::new(),
        motion_star_path: String::new(),
    };
    let exposure = Exposure {
        name: "m".into(),
        optics_group: 1,
        movie: None,
        micrograph: Some(micrograph),
        motion: None,
        ctf: None,
    };
    let optics = OpticsGroup {
        number: 1,
        name: "1".into(),
        voltage: Kilovolt(300.0),
        cs: Millimetre(2.7),
        amplitude_contrast: 0.1,
        movie_pixel_size_a: PIXEL_A,
        aberrations: Default::default(),
    };
    let set = ExposureSet { optics: vec![optics], exposures: vec![exposure] };
    table::exposures::write(&dir.join("in.h5"), Kind::Micrographs, &set).unwrap();
    let job_dir = dir.join("J2");
    std::fs::create_dir_all(&job_dir).unwrap();
    let mut ctx = Ctx::new(&job_dir, dir, &AnyDevice::Cpu, &Solo, &|_| {}, &|| false);
    ctx.params = serde_json::json!({"diameter": DIAMETER_A, "view_step": 30.0, "angle_step": 15.0});
    for (key, value) in more.as_object().unwrap() {
        ctx.params[key] = value.clone();
    }
    let mut give = |slot: &str, kind: Kind, file: &str| {
        let output = Output::new(slot, kind, file, 1);
        let input = Input { job: "J1".into(), output, path: dir.join(file), parts: Default::default() };
        ctx.inputs.insert(slot.into(), vec![input]);
    };
    give("micrographs", Kind::Micrographs, "in.h5");
    if with_volume {
        give("volume", Kind::Volume, "map.mrc");
    }
    PickTemplates.run(&ctx)
}

#[test]
fn the_stage_writes_picks_with_template_and_angle() {
    let dir = tempfile::tempdir().unwrap();
    let report = run_stage(dir.path(), serde_json::json!({}), true).unwrap();
    let picks = table::picks::read(&dir.path().join("J2/picks.h5")).unwrap();
    assert!((15..=17).contains(&picks.picks.len()), "{picks:?}");
    assert_eq!(picks.matches.len(), picks.picks.len());
    let views = report.get("templates").unwrap();
    assert!(
        picks.matches.iter().all(|m| f64::from(m.template) < views && (0.0..360.0).contains(&m.angle_deg))
    );
    assert!(report.notes.iter().any(|note| note.contains("estimate-ctf")), "{:?}", report.notes);
}

#[test]
fn templates_must_come_from_one_place() {
    let dir = tempfile::tempdir().unwrap();
    let message = |more, with_volume| run_stage(dir.path(), more, with_volume).unwrap_err().to_string();
    assert!(message(serde_json::json!({}), false).contains("there is no volume"));
    assert!(message(serde_json::json!({"class_averages": "map.mrc"}), true).contains("beside a volume"));
}

#[test]
fn the_page_has_the_parameters_as_they_are() {
    let table = vitreous_jobs::page::parameter_table(&vitreous_jobs::pick_templates::JOB);
    assert!(include_str!("README.md").contains(&table), "put this into README.md:\n{table}");
}
