//! Known truth, a real micrograph, and the stage as a whole.

use super::run::{Lengths, Picked, pick};
use super::*;
use crate::picking::given_mask::GivenMask;
use crate::{Input, micrograph, test_data};
use ndarray::Array2;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use std::path::Path;
use vitreous_compute::comm::{Comm, Solo, Threads};
use vitreous_formats::mrc::{MrcSpec, MrcWriter};
use vitreous_formats::table;
use vitreous_jobs::pick_blobs::PickBlobs as Params;
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::exposure::{Exposure, ExposureSet, MicrographSource, OpticsGroup};
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::report::Figure;
use vitreous_model::units::{Kilovolt, Millimetre};

/// Å per pixel and diameter of the simulated particles.
const PIXEL_A: f64 = 3.0;
const DIAMETER_A: f64 = 150.0;

/// Balls at least 1.1 diameters apart, dark in noise of standard deviation 1 (the deepest pixel 0.7), on a slope; with
/// their centres in pixels.
fn simulated(n: usize, particles: usize, seed: u64) -> (Array2<f32>, Vec<[f64; 2]>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let radius = 0.5 * DIAMETER_A / PIXEL_A;
    let mut centres: Vec<[f64; 2]> = Vec::new();
    while centres.len() < particles {
        let at = [0; 2].map(|_| 1.2 * radius + rng.random::<f64>() * (n as f64 - 2.4 * radius));
        if centres.iter().all(|c| (c[0] - at[0]).hypot(c[1] - at[1]) > 2.2 * radius) {
            centres.push(at);
        }
    }
    let mut image = Array2::from_shape_fn((n, n), |(y, x)| {
        rng.sample::<f32, _>(StandardNormal) + 0.0005 * x as f32 - 0.0003 * y as f32
    });
    for centre in &centres {
        for y in (centre[1] - radius) as usize..=(centre[1] + radius) as usize {
            for x in (centre[0] - radius) as usize..=(centre[0] + radius) as usize {
                let r = (x as f64 - centre[0]).hypot(y as f64 - centre[1]) / radius;
                image[[y, x]] -= 0.7 * (1.0 - r * r).max(0.0).sqrt() as f32;
            }
        }
    }
    (image * 50.0 + 800.0, centres)
}

fn params(diameter: f64, max_diameter: Option<f64>) -> (Params, Lengths) {
    let params = Params { diameter: Some(diameter), max_diameter, ..Params::default() };
    let lengths = Lengths::of(&params).unwrap();
    (params, lengths)
}

/// Of the truth, the part found within `tolerance_px`; of the picks, the part that is true.
fn recall_and_precision(truth: &[[f64; 2]], picked: &Picked, tolerance_px: f64) -> (f64, f64) {
    let near = |t: &[f64; 2], p: &run::Found| (t[0] - p.x_px).hypot(t[1] - p.y_px) < tolerance_px;
    let found = truth.iter().filter(|t| picked.found.iter().any(|p| near(t, p))).count();
    let right = picked.found.iter().filter(|p| truth.iter().any(|t| near(t, p))).count();
    (found as f64 / truth.len() as f64, right as f64 / picked.found.len().max(1) as f64)
}

#[test]
fn simulated_particles_are_found_and_little_else() {
    for (seed, particles) in [(1, 60), (2, 25), (3, 110)] {
        let (mut image, truth) = simulated(1000, particles, seed);
        image[[500, 500]] = 9e5;
        assert_eq!(micrograph::repair_hot_pixels(&mut image), 1);
        for max_diameter in [None, Some(190.0)] {
            let (params, lengths) = params(DIAMETER_A, max_diameter);
            let picked = pick(&image, PIXEL_A, &lengths, &params, None).unwrap();
            let (recall, precision) = recall_and_precision(&truth, &picked, 0.2 * DIAMETER_A / PIXEL_A);
            println!("{particles} particles, {max_diameter:?}: recall {recall:.3} precision {precision:.3}");
            assert!(recall >= 0.95, "{particles} {max_diameter:?}: recall {recall}");
            assert!(precision >= 0.8, "{particles} {max_diameter:?}: precision {precision}");
        }
    }
}

#[test]
fn contrast_must_be_told() {
    let (image, truth) = simulated(800, 40, 5);
    let (params, lengths) = params(DIAMETER_A, None);
    let white = Params { white_particles: true, ..params.clone() };
    let inverted = image.mapv(|v| 2000.0 - v);
    assert_eq!(
        pick(&inverted, PIXEL_A, &lengths, &white, None).unwrap().found.len(),
        pick(&image, PIXEL_A, &lengths, &params, None).unwrap().found.len()
    );
    let wrong = pick(&image, PIXEL_A, &lengths, &white, None).unwrap();
    assert!(recall_and_precision(&truth, &wrong, 10.0).0 < 0.1);
}

#[test]
fn nothing_is_picked_on_an_ice_crystal() {
    let (mut image, truth) = simulated(1000, 50, 6);
    let crystal = |y: usize, x: usize| (300..450).contains(&y) && (600..780).contains(&x);
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    for ((y, x), value) in image.indexed_iter_mut() {
        if crystal(y, x) {
            *value += -60.0 + 60.0 * rng.sample::<f32, _>(StandardNormal);
        }
    }
    let (params, lengths) = params(DIAMETER_A, None);
    let picked = pick(&image, PIXEL_A, &lengths, &params, None).unwrap();
    assert!(picked.found.iter().all(|p| !crystal(p.y_px as usize, p.x_px as usize)), "{picked:?}");
    assert!((0.02..0.2).contains(&picked.masked_fraction), "{}", picked.masked_fraction);
    let elsewhere: Vec<[f64; 2]> = truth
        .into_iter()
        .filter(|t| !(240.0..510.0).contains(&t[1]) || !(540.0..840.0).contains(&t[0]))
        .collect();
    assert!(recall_and_precision(&elsewhere, &picked, 10.0).0 >= 0.95);
}

#[test]
fn a_real_micrograph_gives_the_particles_that_relion_finds() {
    let Some(data) = test_data() else { return };
    let golden: serde_json::Value = serde_json::from_str(include_str!("golden/relion_log.json")).unwrap();
    let pixel_size_a = golden["pixel_size_A"].as_f64().unwrap();
    let place = |pair: &serde_json::Value| [0, 1].map(|i| pair[i].as_f64().unwrap());
    let relion: Vec<[f64; 2]> = golden["picks_px"].as_array().unwrap().iter().map(place).collect();
    let path = data.join("micrographs/fei-extended.mrc");
    let mut pixels = micrograph::read_pixels(&path, &source_of(&path, pixel_size_a)).unwrap();
    micrograph::repair_hot_pixels(&mut pixels);
    let (params, lengths) = params(120.0, Some(180.0));
    let picked = pick(&pixels, pixel_size_a, &lengths, &params, None).unwrap();
    let (recall, _) = recall_and_precision(&relion, &picked, 60.0 / pixel_size_a);
    println!("{} picks, {recall:.3} of RELION's best", picked.found.len());
    assert!((120..185).contains(&picked.found.len()), "{}", picked.found.len());
    assert!(recall >= 0.85, "{recall}");
}

#[test]
fn nothing_is_picked_under_a_given_mask() {
    let (image, truth) = simulated(800, 40, 5);
    let values = Array2::from_shape_fn((80, 80), |(y, x)| if y < 40 && x >= 20 { 0.9 } else { 0.1 });
    let mask = GivenMask::of(&values, 0.5);
    let (params, lengths) = params(DIAMETER_A, None);
    let masked = |at: &[f64; 2]| mask.covers(at[0], at[1], 800, 800);
    let free = pick(&image, PIXEL_A, &lengths, &params, None).unwrap();
    let picked = pick(&image, PIXEL_A, &lengths, &params, Some(&mask)).unwrap();
    let [before, after] =
        [&free, &picked].map(|p| p.found.iter().filter(|f| masked(&[f.x_px, f.y_px])).count());
    assert!(before > 5 && after == 0, "{before} {after}");
    let clean: Vec<[f64; 2]> = truth.into_iter().filter(|t| !masked(t)).collect();
    assert!(recall_and_precision(&clean, &picked, 10.0).0 >= 0.95);
}

#[test]
fn sizes_are_told_apart_and_local_limits_leave_out_what_is_beyond() {
    let (image, _) = simulated(1000, 40, 11);
    let (params, lengths) = params(100.0, Some(220.0));
    let picked = pick(&image, PIXEL_A, &lengths, &params, None).unwrap();
    let mut diameters: Vec<f64> = picked.found.iter().map(|found| found.diameter_a).collect();
    diameters.sort_by(f64::total_cmp);
    let middle = diameters[diameters.len() / 2];
    // a ball's shadow is denser in its middle: it looks like a disc somewhat smaller
    assert!((110.0..160.0).contains(&middle), "{middle}");
    let median_sd = {
        let mut all: Vec<f64> = picked.found.iter().map(|found| found.around.local_sd).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    let limited = Params { max_local_sd: Some(median_sd), ..params };
    let fewer = pick(&image, PIXEL_A, &lengths, &limited, None).unwrap();
    assert!(fewer.found.iter().all(|found| found.around.local_sd <= median_sd));
    assert!(fewer.left_out >= picked.found.len() / 3, "{} of {}", fewer.left_out, picked.found.len());
}

#[test]
fn a_real_ice_crystal_and_dirt_are_left_alone() {
    let Some(data) = test_data() else { return };
    // its header does not know the pixel size; any will do, with the diameter in proportion
    let read = |name: &str| {
        let path = data.join("micrographs").join(name);
        micrograph::read_pixels(&path, &source_of(&path, 4.0)).unwrap()
    };
    let mut pixels = read("Ucsf_stack_1142_DW.mrc");
    let dirt = read("Ucsf_stack_1142_DW_carbonmask.mrc");
    micrograph::repair_hot_pixels(&mut pixels);
    let (params, lengths) = params(120.0, Some(180.0));
    let on_dirt = |picked: &Picked| {
        let dirty = |p: &&run::Found| dirt[[p.y_px.round() as usize, p.x_px.round() as usize]] > 0.5;
        (picked.found.iter().filter(dirty).count(), picked.found.len())
    };
    let (dirty, all) = on_dirt(&pick(&pixels, 4.0, &lengths, &params, None).unwrap());
    println!("{dirty} of {all} picks on what a person would leave out");
    assert!(all > 30 && 10 * dirty <= all, "{dirty} of {all}");
    let mask = GivenMask::of(&dirt, 0.5);
    let (dirty, all) = on_dirt(&pick(&pixels, 4.0, &lengths, &params, Some(&mask)).unwrap());
    assert!(all > 30 && dirty == 0, "{dirty} of {all} with its mask");
}

fn source_of(path: &Path, pixel_size_a: f64) -> MicrographSource {
    let file = vitreous_formats::open_image(path).unwrap();
    MicrographSource {
        path: path.to_string_lossy().into_owned(),
        width: file.header().width as u32,
        height: file.header().height as u32,
        pixel_size_a,
        unweighted_path: String::new(),
        motion_star_path: String::new(),
    }
}

/// A project with three micrographs of 20, 30 and 25 particles; the second is not what the table says.
fn project(dir: &Path) -> Vec<Vec<[f64; 2]>> {
    let mut exposures = Vec::new();
    let mut truths = Vec::new();
    for (i, particles) in [20, 30, 25].into_iter().enumerate() {
        let (image, truth) = simulated(600, particles, i as u64);
        truths.push(truth);
        let path = dir.join(format!("m{i}.mrc"));
        let mut writer = MrcWriter::create(&path, MrcSpec::images(600, 600, PIXEL_A)).unwrap();
        writer.append(image.as_slice().unwrap()).unwrap();
        writer.finish().unwrap();
        let mut source = MicrographSource { path: format!("m{i}.mrc"), ..source_of(&path, PIXEL_A) };
        if i == 1 {
            source.width = 500;
        }
        exposures.push(Exposure {
            name: format!("m{i}"),
            optics_group: 1,
            movie: None,
            micrograph: Some(source),
            motion: None,
            ctf: None,
        });
    }
    let optics = OpticsGroup {
        number: 1,
        name: "1".into(),
        voltage: Kilovolt(300.0),
        cs: Millimetre(2.7),
        amplitude_contrast: 0.1,
        movie_pixel_size_a: PIXEL_A,
        aberrations: Default::default(),
    };
    let set = ExposureSet { optics: vec![optics], exposures };
    table::exposures::write(&dir.join("in.h5"), Kind::Micrographs, &set).unwrap();
    truths
}

fn run_stage(
    dir: &Path,
    job: &str,
    comm: &dyn Comm,
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<Report, StageError> {
    let job_dir = dir.join(job);
    std::fs::create_dir_all(&job_dir).unwrap();
    let mut ctx = Ctx::new(&job_dir, dir, &AnyDevice::Cpu, comm, &|_| {}, stop);
    ctx.params = serde_json::json!({"diameter": DIAMETER_A});
    let input = Input {
        job: "J1".into(),
        output: Output::new("micrographs", Kind::Micrographs, "in.h5", 3),
        path: dir.join("in.h5"),
        parts: Default::default(),
    };
    ctx.inputs.insert("micrographs".into(), vec![input]);
    let report = PickBlobs.run(&ctx)?;
    if ctx.is_root() {
        let slots: Vec<String> = ctx.declared_outputs().into_iter().map(|output| output.slot).collect();
        assert_eq!(slots, ["picks", "micrographs"]);
    }
    Ok(report)
}

#[test]
fn the_stage_writes_picks_and_hands_micrographs_on() {
    let dir = tempfile::tempdir().unwrap();
    let truths = project(dir.path());
    let report = run_stage(dir.path(), "J2", &Solo, &|| false).unwrap();
    assert_eq!(report.skipped.len(), 1);
    assert!(report.skipped[0].reason.contains("the table says one of 500 × 600 px"), "{:?}", report.skipped);
    let picks = table::picks::read(&dir.path().join("J2/picks.h5")).unwrap();
    assert_eq!(report.get("picks"), Some(picks.picks.len() as f64));
    assert_eq!(picks.diameter_a, DIAMETER_A);
    assert_eq!(picks.surroundings.len(), picks.picks.len());
    assert!(picks.surroundings.iter().all(|around| (0.5..2.0).contains(&around.local_sd)));
    for (name, truth) in [("m0", &truths[0]), ("m2", &truths[2])] {
        let found = picks.picks.iter().filter(|pick| pick.exposure == name);
        let found = found.map(|p| [p.x_px, p.y_px]);
        let found: Vec<[f64; 2]> = found.collect();
        let near = |t: &&[f64; 2]| found.iter().any(|p| (t[0] - p[0]).hypot(t[1] - p[1]) < 10.0);
        let recall = truth.iter().filter(near).count() as f64 / truth.len() as f64;
        assert!(recall > 0.9, "{name}: {recall}");
    }
    assert!(picks.picks.iter().all(|pick| pick.exposure != "m1"));
    let handed_on = table::exposures::read(&dir.path().join("J2/micrographs.h5")).unwrap();
    assert_eq!(handed_on, table::exposures::read(&dir.path().join("in.h5")).unwrap());
    assert_eq!(report.data["exposures"].as_array().unwrap().len(), 2);
    let id = |figure: &Figure| match figure {
        Figure::Plot { id, .. } | Figure::Image { id, .. } => id.clone(),
        other => panic!("{other:?}"),
    };
    let ids: Vec<String> = report.figures.iter().map(id).collect();
    assert_eq!(ids, ["picks_0", "picks_1", "scores", "power", "counts"]);
}

#[test]
fn ranks_and_interruptions_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    project(dir.path());
    let alone = run_stage(dir.path(), "J2", &Solo, &|| false).unwrap();
    let reports = Threads::run(4, |comm| run_stage(dir.path(), "J3", comm, &|| false).unwrap());
    assert_eq!(reports[0], alone);
    let checks = std::sync::atomic::AtomicUsize::new(0);
    let soon = || checks.fetch_add(1, std::sync::atomic::Ordering::Relaxed) >= 1;
    assert!(matches!(run_stage(dir.path(), "J4", &Solo, &soon), Err(StageError::Stopped)));
    assert_eq!(run_stage(dir.path(), "J4", &Solo, &|| false).unwrap(), alone);
    let table = |job: &str| std::fs::read(dir.path().join(job).join("picks.h5")).unwrap();
    assert_eq!(table("J2"), table("J3"));
    assert_eq!(table("J2"), table("J4"));
}

#[test]
fn the_page_has_the_parameters_as_they_are() {
    let page = include_str!("README.md");
    assert!(page.contains(&vitreous_jobs::page::parameter_table(&vitreous_jobs::pick_blobs::JOB)));
}
