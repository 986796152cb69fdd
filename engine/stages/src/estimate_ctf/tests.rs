//! Known truth, real micrographs, and the stage as a whole.

use super::curve::judge;
use super::fit::fit;
use super::rings::Cells;
use super::run::estimate_pixels;
use super::search::Search;
use super::spectrum::{TilePower, TileSpectra};
use super::surface::{Surface, fit_surface};
use super::*;
use crate::test_data;
use crate::{Input, micrograph};
use ndarray::Array2;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Gamma, StandardNormal};
use std::path::Path;
use vitreous_compute::comm::{Comm, Solo, Threads};
use vitreous_compute::device::Cpu;
use vitreous_compute::fourier::HalfImage;
use vitreous_compute::spectrum_cells::{SECTORS, SpectrumCells};
use vitreous_formats::mrc::{MrcSpec, MrcWriter};
use vitreous_formats::table;
use vitreous_jobs::estimate_ctf::EstimateCtf as Params;
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::conventions::signed_frequency;
use vitreous_model::ctf::{CtfParams, DefocusSurface};
use vitreous_model::exposure::{Exposure, ExposureSet, MicrographSource, OpticsGroup};
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::units::{Degrees, Kilovolt, Millimetre};

fn optics() -> OpticsGroup {
    OpticsGroup {
        number: 1,
        name: "1".into(),
        voltage: Kilovolt(300.0),
        cs: Millimetre(2.7),
        amplitude_contrast: 0.07,
        movie_pixel_size_a: 1.0,
        aberrations: Default::default(),
    }
}

fn ctf(defocus_u_a: f64, defocus_v_a: f64, angle_deg: f64, phase_deg: f64) -> CtfParams {
    CtfParams {
        defocus_u_a,
        defocus_v_a,
        astigmatism_angle: Degrees(angle_deg),
        phase_shift: Degrees(phase_deg),
        voltage: Kilovolt(300.0),
        cs: Millimetre(2.7),
        amplitude_contrast: 0.07,
        even: Default::default(),
    }
}

/// Smallest difference of two angles modulo 180°.
fn angle_between(a: f64, b: f64) -> f64 {
    (a - b + 90.0).rem_euclid(180.0) - 90.0
}

/// The mean spectrum of `tiles` independent tiles: steep background, CTF² under an envelope times `signal`, noise as a mean
/// of exponentials.
fn synthetic_cells(truth: &CtfParams, tiles: f64, signal: f64, seed: u64) -> Cells {
    let grid = SpectrumCells::new(512, 1.4);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let power: Vec<f64> = (0..grid.len())
        .map(|cell| {
            let (k, n) = (grid.k2[cell].sqrt(), f64::max(tiles * grid.pixels[cell], 1.0));
            let contrast = signal * (-60.0 * k * k).exp() * truth.value(k, grid.azimuth[cell]).powi(2);
            let noise = Gamma::new(n, 1.0 / n).unwrap().sample(&mut rng);
            (3.0 * (-20.0 * k).exp() + 1.0) * (1.0 + contrast) * noise
        })
        .collect();
    Cells::of_power(&grid, &power, tiles)
}

fn search(phase_shift: bool) -> Search {
    Search {
        min_resolution_a: 30.0,
        max_resolution_a: 4.0,
        min_defocus_a: 3000.0,
        max_defocus_a: 50_000.0,
        expected_astigmatism_a: 500.0,
        phase_shift,
    }
}

#[test]
fn truth_is_found_over_the_range_of_defocus_and_astigmatism() {
    for (seed, (mean, astigmatism, angle)) in [
        (5_000.0, 300.0, 20.0),
        (8_000.0, 1500.0, -60.0),
        (15_000.0, 500.0, 85.0),
        (20_000.0, 1000.0, 0.0),
        (32_000.0, 1500.0, 40.0),
        (45_000.0, 600.0, -30.0),
    ]
    .into_iter()
    .enumerate()
    {
        let truth = ctf(mean + astigmatism / 2.0, mean - astigmatism / 2.0, angle, 0.0);
        let cells = synthetic_cells(&truth, 60.0, 0.6, seed as u64);
        let found = fit(&cells, &optics(), &search(false)).unwrap().fitted;
        let (u, v) = (found.ctf.defocus_u_a, found.ctf.defocus_v_a);
        let text = format!("{truth:?}\n{found:?}");
        let near = |got: f64, wanted: f64| (got - wanted).abs() < 30.0_f64.max(0.0015 * wanted);
        assert!(near(u, truth.defocus_u_a) && near(v, truth.defocus_v_a), "{text}");
        assert!(angle_between(found.ctf.astigmatism_angle.0, angle).abs() < 4.0, "{text}");
        assert!(found.score > 0.2, "{text}");
    }
}

#[test]
fn a_phase_shift_is_found_with_the_defocus() {
    for (seed, (mean, astigmatism, phase)) in
        [(10_000.0, 400.0, 90.0), (18_000.0, 1000.0, 45.0), (12_000.0, 200.0, 150.0)].into_iter().enumerate()
    {
        let truth = ctf(mean + astigmatism / 2.0, mean - astigmatism / 2.0, 30.0, phase);
        let cells = synthetic_cells(&truth, 60.0, 0.6, 100 + seed as u64);
        let found = fit(&cells, &optics(), &search(true)).unwrap().fitted.ctf;
        let text = format!("{truth:?}\n{found:?}");
        assert!((0.0..180.0).contains(&found.phase_shift.0), "{text}");
        assert!(angle_between(found.phase_shift.0, phase).abs() < 6.0, "{text}");
        let error = 0.5 * (found.defocus_u_a + found.defocus_v_a) - mean;
        assert!(error.abs() < 100.0, "{text}");
        // without the parameter the same spectrum cannot be fitted as well
        let without = fit(&cells, &optics(), &search(false)).unwrap().fitted;
        assert!(without.score < fit(&cells, &optics(), &search(true)).unwrap().fitted.score);
    }
}

#[test]
fn standard_errors_tell_how_far_off_fits_are() {
    // weak rings: the error of one fit is some 40 Å in defocus, and twice that in half the astigmatism
    let truth = ctf(14_100.0, 13_900.0, 30.0, 0.0);
    let (mut defocus, mut astigmatism) = (0.0, 0.0);
    let (seeds, wanted) = (24, [200.0 * 60f64.to_radians().cos(), 200.0 * 60f64.to_radians().sin()]);
    for seed in 0..seeds {
        let cells = synthetic_cells(&truth, 9.0, 0.3, 200 + seed);
        let found = fit(&cells, &optics(), &search(false)).unwrap().fitted;
        let amount = found.ctf.defocus_u_a - found.ctf.defocus_v_a;
        let (sin, cos) = (2.0 * found.ctf.astigmatism_angle.radians()).sin_cos();
        let mean = 0.5 * (found.ctf.defocus_u_a + found.ctf.defocus_v_a);
        assert!((10.0..80.0).contains(&found.defocus_error_a), "{found:?}");
        defocus += ((mean - 14_000.0) / found.defocus_error_a).powi(2);
        astigmatism += 0.5 * ((amount * cos - wanted[0]).powi(2) + (amount * sin - wanted[1]).powi(2))
            / found.astigmatism_error_a.powi(2);
    }
    // means of 24 and 48 squares of normal numbers: 1 ± 0.29 and ± 0.2
    let (defocus, astigmatism) = (defocus / seeds as f64, astigmatism / seeds as f64);
    assert!((0.3..2.0).contains(&defocus), "{defocus}");
    assert!((0.4..1.8).contains(&astigmatism), "{astigmatism}");
}

/// Spectra of 5 × 5 tiles, 358 Å apart, each with the defocus of its middle.
fn synthetic_tiles(truth: &CtfParams, surface: &DefocusSurface, signal: f64, seed: u64) -> TileSpectra {
    let grid = SpectrumCells::shared(512, 1.4);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let tiles = (0..25).map(|i| {
        let centre_a = [358.4 * f64::from(i % 5 - 2), 358.4 * f64::from(i / 5 - 2)];
        let offset_a = surface.offset_a(centre_a[0], centre_a[1]);
        let local = CtfParams {
            defocus_u_a: truth.defocus_u_a + offset_a,
            defocus_v_a: truth.defocus_v_a + offset_a,
            ..*truth
        };
        let power = (0..grid.len()).map(|cell| {
            let (k, n) = (grid.k2[cell].sqrt(), grid.pixels[cell].max(1.0));
            let contrast = signal * (-60.0 * k * k).exp() * local.value(k, grid.azimuth[cell]).powi(2);
            let noise = Gamma::new(n, 1.0 / n).unwrap().sample(&mut rng);
            ((3.0 * (-20.0 * k).exp() + 1.0) * (1.0 + contrast) * noise) as f32
        });
        TilePower { centre_a, power: power.collect() }
    });
    let tiles = tiles.collect();
    TileSpectra { grid, tiles, samples: 1.0 }
}

fn surface_of(spectra: &TileSpectra) -> Option<Surface> {
    let cells = Cells::of(spectra);
    let flat = fit(&cells, &optics(), &search(false)).unwrap();
    fit_surface(spectra, &cells, &flat, &optics())
}

#[test]
fn a_tilted_fit_reaches_as_far_whatever_the_phase_shift() {
    let plane = DefocusSurface { gradient_x: 0.3, gradient_y: -0.2, ..Default::default() };
    // on either side of where phase shifts are folded, 0° and 180°, and far from it
    for (seed, phase) in [1.0, 60.0, 179.0].into_iter().enumerate() {
        let spectra = synthetic_tiles(&ctf(15_150.0, 14_850.0, 20.0, phase), &plane, 1.0, 800 + seed as u64);
        let cells = Cells::of(&spectra);
        let flat = fit(&cells, &optics(), &search(true)).unwrap();
        let found = fit_surface(&spectra, &cells, &flat, &optics()).expect("a tilt should be found");
        let off = (found.ctf.phase_shift.0 - phase + 90.0).rem_euclid(180.0) - 90.0;
        assert!(off.abs() < 5.0, "{phase}°: {:?}", found.ctf);
        let reach_a = judge(&cells, &found.points, &found.ctf, 30.0).fit_resolution_a;
        assert!(reach_a < 4.8, "{phase}°: {reach_a} Å");
    }
}

#[test]
fn a_tilt_is_found_with_its_axis_and_the_defocus_in_the_middle() {
    for (seed, (tilt, axis, signal)) in
        [(20.0, 30.0, 1.0), (20.0, 170.0, 1.0), (45.0, 75.0, 1.0), (8.0, 110.0, 1.0)].into_iter().enumerate()
    {
        let (sin, cos) = f64::to_radians(axis).sin_cos();
        let slope = f64::to_radians(tilt).tan();
        let truth = ctf(15_150.0, 14_850.0, 20.0, 0.0);
        let plane =
            DefocusSurface { gradient_x: -slope * sin, gradient_y: slope * cos, ..Default::default() };
        let spectra = synthetic_tiles(&truth, &plane, signal, 300 + seed as u64);
        let found = surface_of(&spectra).expect("a tilt should be found");
        let text = format!("{tilt}° about {axis}°: {:?} ± {}", found.surface, found.slope_error);
        assert!((found.surface.tilt().0 - tilt).abs() < 1.5, "{text}: {}", found.surface.tilt().0);
        assert!(angle_between(found.surface.tilt_axis().0, axis).abs() < 5.0, "{text}");
        let mean = 0.5 * (found.ctf.defocus_u_a + found.ctf.defocus_v_a);
        assert!((mean - 15_000.0).abs() < 40.0, "{text}: {mean}");
        let slopes = [found.surface.gradient_x + slope * sin, found.surface.gradient_y - slope * cos];
        assert!(slopes.iter().all(|off| off.abs() < 4.0 * found.slope_error), "{text}");
    }
}

#[test]
fn a_curved_film_is_found_and_a_flat_one_stays_flat() {
    let truth = ctf(15_150.0, 14_850.0, 20.0, 0.0);
    // 300 Å lower at the edges along x
    let bent = DefocusSurface { curvature_xx_per_a: 300.0 / 716.8f64.powi(2), ..Default::default() };
    let found = surface_of(&synthetic_tiles(&truth, &bent, 0.8, 400)).expect("a curvature should be found");
    for (x, y) in [(0.0, 0.0), (716.0, 0.0), (-716.0, 500.0), (0.0, -600.0)] {
        let mean = 0.5 * (found.ctf.defocus_u_a + found.ctf.defocus_v_a) + found.surface.offset_a(x, y);
        let wanted = 15_000.0 + bent.offset_a(x, y);
        assert!((mean - wanted).abs() < 100.0, "({x}, {y}): {mean} {wanted} {:?}", found.surface);
    }
    for seed in 0..6 {
        let flat = synthetic_tiles(&truth, &DefocusSurface::default(), 0.4, 500 + seed);
        assert!(surface_of(&flat).is_none(), "{seed}");
    }
}

#[test]
fn ice_and_drift_are_told_where_they_are_and_nowhere_else() {
    let truth = ctf(15_150.0, 14_850.0, 20.0, 0.0);
    let mut spectra = synthetic_tiles(&truth, &DefocusSurface::default(), 0.8, 600);
    let clean = flags::ice_ring(&spectra).unwrap();
    assert!(clean.abs() < 0.1, "{clean}");
    let ring = (spectra.grid.edge_a / 3.67).round() as usize;
    for tile in &mut spectra.tiles {
        tile.power[ring * SECTORS..(ring + 2) * SECTORS].iter_mut().for_each(|power| *power *= 1.5);
    }
    let icy = flags::ice_ring(&spectra).unwrap();
    assert!((icy - 0.5).abs() < 0.1, "{icy}");
    let drift_of = |length_a: f64| {
        let spectra = drifted(&truth, length_a);
        flags::drift_a(&fit(&Cells::of(&spectra), &optics(), &search(false)).unwrap())
    };
    assert_eq!(drift_of(0.0), 0.0);
    let drift = drift_of(6.0);
    assert!((4.0..8.0).contains(&drift), "{drift}");
}

/// Spectra of a movement by so many Å along x while the shutter was open.
fn drifted(truth: &CtfParams, length_a: f64) -> TileSpectra {
    let mut spectra = synthetic_tiles(truth, &DefocusSurface::default(), 0.0, 700);
    let grid = spectra.grid.clone();
    for tile in &mut spectra.tiles {
        for (cell, power) in tile.power.iter_mut().enumerate() {
            let (k, azimuth) = (grid.k2[cell].sqrt(), grid.azimuth[cell]);
            let along = std::f64::consts::PI * k * azimuth.cos() * length_a;
            let fading = if along.abs() > 1e-9 { (along.sin() / along).powi(2) } else { 1.0 };
            *power *= (1.0 + (-60.0 * k * k).exp() * fading * truth.value(k, azimuth).powi(2)) as f32;
        }
    }
    spectra
}

#[test]
fn noise_alone_scores_next_to_nothing() {
    let cells = synthetic_cells(&ctf(15_000.0, 15_000.0, 0.0, 0.0), 60.0, 0.0, 8);
    let found = fit(&cells, &optics(), &search(false)).unwrap().fitted;
    assert!(found.score < 0.06, "{found:?}");
}

#[test]
fn too_narrow_a_range_is_refused() {
    let cells = synthetic_cells(&ctf(15_000.0, 15_000.0, 0.0, 0.0), 60.0, 0.6, 7);
    let narrow = Search { max_resolution_a: 28.0, ..search(false) };
    assert!(matches!(fit(&cells, &optics(), &narrow), Err(Unfit::FewRings { .. })));
}

/// White noise seen through `|CTF|` under an envelope, on top of a white background, as an image of 12-bit counts.
fn synthetic_micrograph(truth: &CtfParams, n: usize, pixel_size_a: f64, seed: u64) -> Array2<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut white = || Array2::from_shape_simple_fn((n, n), || rng.sample::<f32, _>(StandardNormal));
    let mut half = HalfImage::of(white().view());
    let edge_a = n as f64 * pixel_size_a;
    for ((y, x), value) in half.data_mut().indexed_iter_mut() {
        let qy = signed_frequency(y, n) as f64;
        let k = qy.hypot(x as f64) / edge_a;
        *value *= ((-30.0 * k * k).exp() * truth.value(k, qy.atan2(x as f64))) as f32;
    }
    half.into_pixels() * 60.0 + white() * 50.0 + 1500.0
}

#[test]
fn a_micrograph_of_noise_seen_through_a_ctf_is_fitted() {
    let truth = ctf(17_000.0, 16_200.0, 25.0, 0.0);
    let pixels = synthetic_micrograph(&truth, 1536, 1.1, 3);
    let estimate = estimate_pixels(&Cpu, &pixels, 1.1, &optics(), &Params::default()).unwrap();
    let found = estimate.fitted.ctf;
    assert!((found.defocus_u_a - 17_000.0).abs() < 80.0, "{found:?}");
    assert!((found.defocus_v_a - 16_200.0).abs() < 80.0, "{found:?}");
    assert!(angle_between(found.astigmatism_angle.0, 25.0).abs() < 5.0, "{found:?}");
    let resolution = estimate.curve.fit_resolution_a;
    assert!((3.0..5.0).contains(&resolution), "{resolution}");
}

#[test]
fn real_micrographs_agree_with_ctffind() {
    let Some(data) = test_data() else { return };
    let golden: serde_json::Value = serde_json::from_str(include_str!("golden/real.json")).unwrap();
    for case in golden["micrographs"].as_array().unwrap() {
        let number = |key: &str| case[key].as_f64().unwrap();
        let path = data.join(case["file"].as_str().unwrap());
        let pixel_size_a = number("pixel_size_A");
        let source = source_of(&path, pixel_size_a);
        let mut pixels = micrograph::read_pixels(&path, &source).unwrap();
        micrograph::repair_hot_pixels(&mut pixels);
        let begin = std::time::Instant::now();
        let estimate = estimate_pixels(&Cpu, &pixels, pixel_size_a, &optics(), &Params::default()).unwrap();
        let found = estimate.summary();
        println!("{} {found:?} in {:.2} s", path.display(), begin.elapsed().as_secs_f64());
        for (got, wanted) in
            [(found.ctf.defocus_u_a, number("defocus_u_A")), (found.ctf.defocus_v_a, number("defocus_v_A"))]
        {
            assert!((got / wanted - 1.0).abs() < 0.02, "{}: {got} {wanted}", path.display());
        }
        let [best, worst] = [0, 1].map(|i| case["fit_resolution_A"][i].as_f64().unwrap());
        assert!((best..worst).contains(&found.fit_resolution_a), "{found:?}");
    }
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

fn write_image(path: &Path, pixels: &Array2<f32>, pixel_size_a: f64) {
    let (height, width) = pixels.dim();
    let mut writer = MrcWriter::create(path, MrcSpec::images(width, height, pixel_size_a)).unwrap();
    writer.append(pixels.as_slice().unwrap()).unwrap();
    writer.finish().unwrap();
}

/// A project with four micrographs, the third cut short, the fourth with a dose-weighted image that shows nothing.
fn project(dir: &Path) {
    let mut exposures = Vec::new();
    for i in 0..4_u32 {
        let mean = 12_000.0 + 4000.0 * f64::from(i);
        let path = dir.join(format!("m{i}.mrc"));
        write_image(&path, &synthetic_micrograph(&ctf(mean, mean, 0.0, 0.0), 640, 1.4, u64::from(i)), 1.4);
        let mut source = MicrographSource { path: format!("m{i}.mrc"), ..source_of(&path, 1.4) };
        if i == 3 {
            let weighted = dir.join("m3_dw.mrc");
            write_image(&weighted, &Array2::from_elem((640, 640), 5.0), 1.4);
            (source.path, source.unweighted_path) = ("m3_dw.mrc".into(), "m3.mrc".into());
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
    std::fs::File::options().write(true).open(dir.join("m2.mrc")).unwrap().set_len(100_000).unwrap();
    let set = ExposureSet { optics: vec![optics()], exposures };
    table::exposures::write(&dir.join("in.h5"), Kind::Micrographs, &set).unwrap();
}

/// Runs the stage in `dir/job` and returns its report (of rank 0).
fn run_stage(
    dir: &Path,
    job: &str,
    comm: &dyn Comm,
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<Report, StageError> {
    let job_dir = dir.join(job);
    std::fs::create_dir_all(&job_dir).unwrap();
    let mut ctx = Ctx::new(&job_dir, dir, &AnyDevice::Cpu, comm, &|_| {}, stop);
    ctx.params = serde_json::json!({"tile": 256, "max_resolution": 5.0});
    let input = Input {
        job: "J1".into(),
        output: Output::new("micrographs", Kind::Micrographs, "in.h5", 4),
        path: dir.join("in.h5"),
        parts: Default::default(),
    };
    ctx.inputs.insert("micrographs".into(), vec![input]);
    EstimateCtf.run(&ctx)
}

#[test]
fn the_stage_skips_what_is_broken_and_reports_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    project(dir.path());
    let report = run_stage(dir.path(), "J2", &Solo, &|| false).unwrap();
    assert_eq!(report.get("exposures"), Some(3.0));
    assert_eq!(report.skipped.len(), 1);
    assert_eq!(report.skipped[0].item, "m2");
    assert!(report.skipped[0].reason.contains("m2.mrc: truncated"), "{:?}", report.skipped);
    let records = report.data["exposures"].as_array().unwrap();
    for (record, (name, mean)) in records.iter().zip([("m0", 12_000.0), ("m1", 16_000.0), ("m3", 24_000.0)]) {
        assert_eq!(record["name"], name);
        assert!((record["defocus_u_A"].as_f64().unwrap() - mean).abs() < 250.0, "{record}");
        assert!((record["defocus_v_A"].as_f64().unwrap() - mean).abs() < 250.0, "{record}");
    }
    assert_eq!(report.figures.len(), 2 * 3 + 3);
    let set = table::exposures::read(&dir.path().join("J2/micrographs.h5")).unwrap();
    let names: Vec<&str> = set.exposures.iter().map(|e| e.name.as_str()).collect();
    assert_eq!(names, ["m0", "m1", "m3"]);
    assert_eq!(
        set.exposures[0].ctf.as_ref().unwrap().ctf.defocus_u_a,
        records[0]["defocus_u_A"].as_f64().unwrap()
    );
}

#[test]
fn ranks_and_interruptions_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    project(dir.path());
    let alone = run_stage(dir.path(), "J2", &Solo, &|| false).unwrap();
    let reports = Threads::run(4, |comm| run_stage(dir.path(), "J3", comm, &|| false).unwrap());
    assert_eq!(reports[0], alone);
    let checks = std::sync::atomic::AtomicUsize::new(0);
    let soon = || checks.fetch_add(1, std::sync::atomic::Ordering::Relaxed) >= 2;
    assert!(matches!(run_stage(dir.path(), "J4", &Solo, &soon), Err(StageError::Stopped)));
    assert!(!dir.path().join("J4/micrographs.h5").exists());
    assert_eq!(run_stage(dir.path(), "J4", &Solo, &|| false).unwrap(), alone);
    let table = |job: &str| std::fs::read(dir.path().join(job).join("micrographs.h5")).unwrap();
    assert_eq!(table("J2"), table("J3"));
    assert_eq!(table("J2"), table("J4"));
}

#[test]
fn the_page_has_the_parameters_as_they_are() {
    let page = include_str!("README.md");
    assert!(page.contains(&vitreous_jobs::page::parameter_table(&vitreous_jobs::estimate_ctf::JOB)));
}
