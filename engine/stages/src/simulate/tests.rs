use super::camera::Camera;
use super::exposure::{Exposed, Scene, Setup, apply_ctf};
use super::micelle::Micelle;
use super::motion::{Amount, Motion};
use super::potential::{Conformation, Potential};
use super::random::{Purpose, rotation, stream, uniform};
use super::scattering::{VOLT_A2, excess};
use super::specimen::{AtomClass, MovingPart, Preparation, Specimen};
use super::stacks::{ImageSetup, ImageTruth};
use crate::{Ctx, Stage, StageError};
use ndarray::{ArrayView2, s};
use serde_json::{Value, json};
use std::f64::consts::TAU;
use std::path::Path;
use vitreous_compute::comm::{Comm, Solo, Threads};
use vitreous_compute::fourier::HalfImage;
use vitreous_formats::atomic_model::Element;
use vitreous_formats::open_image;
use vitreous_formats::table;
use vitreous_jobs::simulate::Simulate as Params;
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::aberrations::IDENTITY;
use vitreous_model::conventions::signed_frequency;
use vitreous_model::ctf::CtfParams;
use vitreous_model::params::Validate;
use vitreous_model::pose::{Pose, Rotation};
use vitreous_model::report::Report;
use vitreous_model::units::{Degrees, Kilovolt, Millimetre};

fn carbon_and_oxygen(count: usize, radius_a: f64) -> Specimen {
    let mut rng = stream(7, Purpose::Particle, 0, 0);
    let class = |symbol: &str, b_a2| AtomClass { element: Element::from_symbol(symbol).unwrap(), b_a2 };
    let mut point = || std::array::from_fn(|_| uniform(&mut rng, -radius_a, radius_a));
    Specimen {
        name: "test".into(),
        positions_a: (0..count).map(|_| point()).collect(),
        occupancies: (0..count).map(|i| if i % 5 == 0 { 0.5 } else { 1.0 }).collect(),
        class_of: (0..count).map(|i| (i % 3) as u16).collect(),
        classes: vec![class("C", 20.0), class("O", 20.0), class("Fe", 60.0)],
        moving: None,
        origin_a: [0.0; 3],
        z_axis: [0.0, 0.0, 1.0],
        radius_a: 3f64.sqrt() * radius_a,
        notes: Vec::new(),
    }
}

/// Usual optics at no defocus in particular.
fn optics() -> CtfParams {
    CtfParams {
        defocus_u_a: 0.0,
        defocus_v_a: 0.0,
        astigmatism_angle: Degrees(0.0),
        phase_shift: Degrees(0.0),
        voltage: Kilovolt(300.0),
        cs: Millimetre(2.7),
        amplitude_contrast: 0.1,
        even: Default::default(),
    }
}

/// The transform of the projection at `q`, straight from the formula.
fn oracle(specimen: &Specimen, rotation: Rotation, shift_a: [f64; 2], k: [f64; 2]) -> (f64, f64) {
    sum_over_atoms(specimen, rotation, shift_a, k, |_| 1.0)
}

/// The same with a factor that depends on an atom's z in the image frame, Å.
fn sum_over_atoms(
    specimen: &Specimen,
    rotation: Rotation,
    shift_a: [f64; 2],
    k: [f64; 2],
    factor: impl Fn(f64) -> f64,
) -> (f64, f64) {
    let radius = k[0].hypot(k[1]);
    let mut sum = (0.0, 0.0);
    for (i, p) in specimen.positions_a.iter().enumerate() {
        let seen = rotation.inverse().apply(*p);
        let class = specimen.classes[usize::from(specimen.class_of[i])];
        let f = factor(seen[2])
            * VOLT_A2
            * specimen.occupancies[i]
            * excess(class.element, class.b_a2, radius).unwrap();
        let phase = -TAU * (k[0] * (seen[0] + shift_a[0]) + k[1] * (seen[1] + shift_a[1]));
        sum.0 += f * phase.cos();
        sum.1 += f * phase.sin();
    }
    sum
}

#[test]
fn projections_equal_the_sum_over_atoms() {
    let specimen = carbon_and_oxygen(60, 20.0);
    let (n, pixel) = (48, 1.5);
    let potential = Potential::new(&specimen, n, pixel);
    assert!(potential.radial_error() < 1e-6, "three classes need no more than four functions");
    let turn = rotation(&mut stream(1, Purpose::Particle, 1, 0));
    let shift_px = [1.3, -2.6];
    let half = potential.projection(turn, shift_px);
    let (mut error, mut power) = (0.0, 0.0);
    for y in 0..n {
        for x in 0..n / 2 {
            let qy = signed_frequency(y, n);
            if 2 * qy.unsigned_abs() >= n {
                assert_eq!(half.data()[[y, x]].norm(), 0.0);
                continue;
            }
            let k = [x as f64, qy as f64].map(|q| q / (n as f64 * pixel));
            let (re, im) = oracle(&specimen, turn, shift_px.map(|t| t * pixel), k);
            let found = half.data()[[y, x]];
            // the oracle is the integral's transform; a sampled image's is that over the pixel's area
            let area = pixel * pixel;
            error += (f64::from(found.re) * area - re).powi(2) + (f64::from(found.im) * area - im).powi(2);
            power += re * re + im * im;
        }
    }
    // accuracy of the width-6 kernel at oversampling 1.5
    assert!((error / power).sqrt() < 2e-4, "{}", (error / power).sqrt());
}

#[test]
fn layers_have_the_defocus_of_their_height() {
    let specimen = carbon_and_oxygen(60, 20.0);
    let (n, pixel_a) = (48, 1.5);
    let potential = Potential::new(&specimen, n, pixel_a);
    let mut setup = ImageSetup {
        box_px: n,
        potential: &potential,
        pixel_a,
        defocus_a: [900.0, 1500.0, 50.0],
        // slow electrons: the phase differs by half a radian between the top and the middle
        optics: CtfParams { voltage: Kilovolt(20.0), cs: Millimetre(0.01), ..optics() },
        aberrations: Default::default(),
        layers: true,
        shift_a: 3.0,
        moving_rad: 0.0,
        hinge_a: None,
        micelle: None,
        seed: 5,
    };
    let truth = setup.truth(0);
    let mut error_of = |layers: bool, sign: f64| {
        setup.layers = layers;
        let half = HalfImage::of_box(setup.signal(0, &truth).view());
        let (mut error, mut power) = (0.0, 0.0);
        for ((y, x), found) in half.data().indexed_iter() {
            let qy = signed_frequency(y, n);
            if 2 * qy.unsigned_abs() >= n || 2 * x >= n {
                continue;
            }
            let k = [x as f64, qy as f64].map(|q| q / (n as f64 * pixel_a));
            let (radius, azimuth) = (k[0].hypot(k[1]), k[1].atan2(k[0]));
            let wanted = sum_over_atoms(&specimen, truth.pose.rotation, truth.pose.shift_a, k, |z| {
                truth.ctf.with_defocus_raised(sign * z).value(radius, azimuth)
            });
            let found = [found.re, found.im].map(|v| f64::from(v) * pixel_a * pixel_a);
            error += (found[0] - wanted.0).powi(2) + (found[1] - wanted.1).powi(2);
            power += wanted.0 * wanted.0 + wanted.1 * wanted.1;
        }
        (error / power).sqrt()
    };
    // forward: what is higher is nearer to the source
    assert!(error_of(true, -1.0) < 0.01, "{}", error_of(true, -1.0));
    assert!(error_of(true, 1.0) > 0.1 && error_of(false, -1.0) > 0.1);
}

#[test]
fn the_map_projects_onto_the_projection() {
    let specimen = carbon_and_oxygen(60, 20.0);
    let (n, pixel) = (48, 1.5);
    let potential = Potential::new(&specimen, n, pixel);
    let sum = potential.volume().sum_axis(ndarray::Axis(0)) * pixel as f32;
    let projection = potential.projection(Rotation::IDENTITY, [0.0; 2]).into_box();
    let error = (&sum - &projection).iter().map(|v| v * v).sum::<f32>();
    let power = projection.iter().map(|v| v * v).sum::<f32>();
    assert!(error / power < 1e-6, "{}", error / power);
}

#[test]
fn specimen_points_follow_their_displacements() {
    let amount = Amount {
        drift_px: 12.0,
        local_px: 4.0,
        fine_px: 1.5,
        frames: 10,
        dose_per_frame: 1.0,
        size: [400, 300],
    };
    let mut rng = stream(1, Purpose::Exposure, 0, 0);
    let plain = Motion::random(&mut rng, amount);
    let largest = largest_local(&plain);
    assert!(largest > 0.1 && largest <= 4.0, "{largest}");
    let last = plain.drift(9);
    assert!((4.0..14.0).contains(&last[0].hypot(last[1])), "{last:?}");
    let mut fine = plain.clone();
    fine.add_fine(&mut rng, amount);
    largest_local(&fine);
    // what was added is of the size that was asked for, over many places
    let mut squares = 0.0;
    for i in 0..400 {
        let at = [(i % 20) as f64 * 20.0, (i / 20) as f64 * 15.0];
        let [a, b] = [&plain, &fine].map(|motion| motion.backward(9, at));
        squares += ((a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2)) / 400.0;
    }
    assert!((0.7..2.5).contains(&squares.sqrt()), "{}", squares.sqrt());
}

/// Holds rows, points and displacements of a motion against each other; the largest local motion of the last frame.
fn largest_local(motion: &Motion) -> f64 {
    assert_eq!(motion.displacement(0, [123.0, 45.0]), [0.0, 0.0]);
    let phases = motion.row_phases(400);
    let mut row = vec![[0.0; 2]; 400];
    let mut largest: f64 = 0.0;
    for frame in 0..10 {
        motion.row(frame, 77, &phases, &mut row);
        for x in [0, 200, 399] {
            let at = [x as f64, 77.0];
            let expected = motion.backward(frame, at);
            assert!((row[x][0] - expected[0]).abs() < 1e-9 && (row[x][1] - expected[1]).abs() < 1e-9);
            let u = motion.displacement(frame, at);
            let b = motion.backward(frame, [at[0] + u[0], at[1] + u[1]]);
            assert!((u[0] - b[0]).abs() < 1e-9 && (u[1] - b[1]).abs() < 1e-9);
            let local = [expected[0] - motion.drift(frame)[0], expected[1] - motion.drift(frame)[1]];
            largest = largest.max(local[0].hypot(local[1]));
        }
    }
    largest
}

/// A compact model of `count` carbons: a thick helix, 60 Å across, without symmetry.
fn write_model(folder: &Path) {
    let mut text =
        String::from("vitreous-atoms 1\nid TEST\ntitle helix\ncitation none\nstep_a 0.1\natoms 900\n");
    let mut before = [0i64; 3];
    for i in 0..900 {
        let t = i as f64 / 900.0;
        let (sin, cos) = (TAU * 5.0 * t).sin_cos();
        let radius = 150.0 + 150.0 * t;
        let p = [radius * cos, radius * sin, 500.0 * t].map(|v| v.round() as i64);
        text += &format!("C {} {} {} 0\n", p[0] - before[0], p[1] - before[1], p[2] - before[2]);
        before = p;
    }
    write(&folder.join("model.atoms"), text.as_bytes());
}

#[allow(clippy::disallowed_methods)] // a test makes its own input
fn write(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
}

fn run(
    folder: &Path,
    params: &Value,
    comm: &dyn Comm,
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<Report, StageError> {
    let mut ctx = Ctx::new(folder, folder, &AnyDevice::Cpu, comm, &|_| {}, stop);
    ctx.params = params.clone();
    super::Simulate.run(&ctx)
}

fn movie_params(more: Value) -> Value {
    let mut params = json!({
        "model": "model.atoms", "pixel_size": 2.0, "voltage": 300.0, "cs": 2.7, "amplitude_contrast": 0.1,
        "movies": 3, "particles_per_movie": 4, "width": 256, "height": 192, "frames": 4, "box_size": 48,
        "drift": 8.0, "local_motion": 3.0, "dose_per_frame": 2.0, "seed": 5,
    });
    for (key, value) in more.as_object().unwrap() {
        params[key] = value.clone();
    }
    params
}

/// Every file of a job but its logs, in order of names.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for part in ["", "movies", "stacks"] {
        let Ok(entries) = std::fs::read_dir(folder.join(part)) else { continue };
        for path in entries.map(|e| e.unwrap().path()).filter(|p| p.is_file()) {
            let name = format!("{part}/{}", path.file_name().unwrap().to_string_lossy());
            found.push((name, std::fs::read(path).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn three_ranks_and_a_resumed_job_write_the_same_files_as_one_rank() {
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    folders.iter().for_each(|folder| write_model(folder.path()));
    let params = movie_params(json!({}));
    let report = run(folders[0].path(), &params, &Solo, &|| false).unwrap();
    assert_eq!(report.get("particles"), Some(12.0));
    Threads::run(3, |comm| run(folders[1].path(), &params, comm, &|| false).unwrap());
    let path = folders[2].path();
    let first_done = || path.join("movies/movie_0001.tif").exists();
    assert!(matches!(run(path, &params, &Solo, &first_done), Err(StageError::Stopped)));
    assert!(!path.join("movies/movie_0002.tif").exists());
    run(path, &params, &Solo, &|| false).unwrap();
    let one = files(folders[0].path());
    assert_eq!(one.len(), 3 + 7, "{:?}", one.iter().map(|(name, _)| name).collect::<Vec<_>>());
    assert!(one == files(folders[1].path()), "three ranks");
    assert!(one == files(path), "resumed");
}

/// Correlation coefficient of two images.
fn correlation(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>) -> f64 {
    let mean = |v: ArrayView2<'_, f32>| v.iter().map(|v| f64::from(*v)).sum::<f64>() / v.len() as f64;
    let (ma, mb) = (mean(a), mean(b));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        let (x, y) = (f64::from(*x) - ma, f64::from(*y) - mb);
        ab += x * y;
        aa += x * x;
        bb += y * y;
    }
    ab / (aa * bb).sqrt()
}

#[test]
fn particles_lie_dark_where_the_truth_says() {
    let folder = tempfile::tempdir().unwrap();
    write_model(folder.path());
    let how = Preparation {
        assembly: "",
        symmetry: Default::default(),
        b_a2: 40.0,
        use_deposited_b: false,
        moving: None,
    };
    let specimen = super::specimen::load(&folder.path().join("model.atoms"), how).unwrap();
    // one particle in a wide patch, so that neither neighbours' fringes nor its own leave the window
    let (n, pixel_a) = (96, 2.0);
    let potential = Potential::new(&specimen, n, pixel_a);
    let camera = Camera::random(1, 256, 192, 0.0, 0);
    // so many electrons that their noise does not matter, and no damage
    let amount = Amount {
        drift_px: 9.0,
        local_px: 4.0,
        fine_px: 0.0,
        frames: 3,
        dose_per_frame: 1e6,
        size: [256, 192],
    };
    let optics = optics();
    let setup = Setup {
        potential: &potential,
        patch_px: n,
        diameter_px: 40.0,
        margin_px: 50.0,
        particles: 1,
        pixel_a,
        ice_rms: 0.0,
        amount,
        defocus_a: [8000.0, 9000.0, 500.0],
        optics,
        damage_factor: 1e9,
        camera: &camera,
        seed: 5,
    };
    // a ramp of intensity would end in steps at the window's edges
    let scene = Scene { gradient: [0.0; 2], ..Scene::random(&setup, 0) };
    assert_eq!(scene.positions_px.len(), 1);
    let exposed = Exposed::new(&setup, &scene, 0);
    let band = |mut half: HalfImage| {
        half.weigh(|r| if (3.0..24.0).contains(&r) { 1.0 } else { 0.0 });
        half.into_box()
    };
    for index in [0, 2] {
        let frame = exposed.frame(index);
        for (p, rotation) in scene.positions_px.iter().zip(&scene.rotations) {
            let u = scene.motion.displacement(index, *p);
            assert_eq!(index == 0, u == [0.0, 0.0]);
            let at = [p[0] + u[0], p[1] + u[1]];
            let [x, y] = at.map(f64::round);
            let mut half = potential.projection(*rotation, [at[0] - x, at[1] - y]);
            apply_ctf(&mut half, &scene.ctf, pixel_a);
            let expected = band(half);
            let (x, y) = (x as usize - n / 2, y as usize - n / 2);
            let seen = band(HalfImage::of_box(frame.slice(s![y..y + n, x..x + n])));
            let found = correlation(seen.view(), expected.view());
            // white in the model of the CTF, dark on the camera
            assert!(found < -0.97, "frame {index}: {found}");
        }
    }
}

#[test]
fn movies_and_their_truth_are_in_the_tables() {
    let folder = tempfile::tempdir().unwrap();
    write_model(folder.path());
    let params = movie_params(json!({"width": 64, "height": 64, "box_size": 66}));
    // a frame of 128 Å cannot hold a box of 132 Å
    let error = run(folder.path(), &params, &Solo, &|| false).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("parameter `width`: gives frames of 128 Å"), "{error}");
    let params = movie_params(json!({"movies": 1, "format": "mrc"}));
    run(folder.path(), &params, &Solo, &|| false).unwrap();
    let set = table::exposures::read(&folder.path().join("movies.h5")).unwrap();
    let movie = set.exposures[0].movie.as_ref().unwrap();
    assert_eq!((movie.path.as_str(), movie.gain_path.as_str()), ("movies/movie_0001.mrc", "gain.mrc"));
    assert!(set.exposures[0].ctf.is_none());
    let source = open_image(&folder.path().join(&movie.path)).unwrap();
    assert_eq!((source.header().width, source.header().height, source.header().frames), (256, 192, 4));
    let truth = table::exposures::read(&folder.path().join("truth_exposures.h5")).unwrap();
    let ctf = truth.exposures[0].ctf.as_ref().unwrap().ctf;
    assert!((8000.0..22000.0).contains(&ctf.defocus_u_a));
    let particles = table::particles::read(&folder.path().join("truth.h5")).unwrap();
    assert_eq!(particles.particles.len(), 4);
    assert!(particles.particles.iter().all(|p| p.ctf == Some(ctf)));
    let motion =
        table::TableReader::open_kind(&folder.path().join("truth_motion.h5"), &["motion-truth"]).unwrap();
    assert_eq!(motion.group("motion").unwrap().rows(), 4 * 25);
    assert_eq!(motion.group("particle_motion").unwrap().rows(), 4 * 4);
    let map = vitreous_formats::mrc::read_volume(&folder.path().join("truth.mrc")).unwrap();
    assert_eq!(map.data.dim(), (48, 48, 48));
}

#[test]
fn particle_images_have_the_signal_to_noise_ratio() {
    let folder = tempfile::tempdir().unwrap();
    write_model(folder.path());
    let mut params = movie_params(json!({"product": "particles", "particles": 40, "snr": 0.5}));
    run(folder.path(), &params, &Solo, &|| false).unwrap();
    let set = table::particles::read(&folder.path().join("particles.h5")).unwrap();
    let truth = table::particles::read(&folder.path().join("truth.h5")).unwrap();
    assert_eq!((set.particles.len(), set.box_px, set.pixel_size_a), (40, 48, 2.0));
    assert!(set.particles.iter().all(|p| p.pose.is_none() && p.ctf.is_some()));
    assert!(truth.particles.iter().all(|p| p.pose.unwrap().shift_a.iter().all(|t| t.abs() <= 5.0)));
    assert!(truth.particles[3].pose != truth.particles[4].pose);
    let images = open_image(&folder.path().join(&set.particles[0].stack_path)).unwrap();
    let mut pixels = vec![0.0; 48 * 48];
    let mut variance = 0.0;
    for i in 0..40 {
        images.read_frame_at(i, &mut pixels).unwrap();
        variance += pixels.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / pixels.len() as f64 / 40.0;
    }
    // noise of variance 1 and half as much signal; images differ in defocus and direction
    assert!((1.35..1.65).contains(&variance), "{variance}");
    // other seeds give other images
    params["seed"] = json!(6);
    let other = tempfile::tempdir().unwrap();
    write_model(other.path());
    run(other.path(), &params, &Solo, &|| false).unwrap();
    let again = table::particles::read(&other.path().join("truth.h5")).unwrap();
    assert!(again.particles[0].pose != truth.particles[0].pose);
}

#[test]
fn a_model_is_turned_to_its_axes() {
    let folder = tempfile::tempdir().unwrap();
    // four copies of a bent rod under D2, about tilted axes
    let tilt = Rotation::from_euler_zyz_deg(30.0, 40.0, 10.0);
    let group: vitreous_model::symmetry::PointGroup = "D2".parse().unwrap();
    let mut lines = Vec::new();
    for operator in group.rotations() {
        for i in 0..120 {
            let t = f64::from(i) / 8.0;
            let p = tilt.apply(operator.apply([8.0 + t, 5.0 + 0.08 * t * t, 4.0 + 1.3 * t]));
            lines.push(p.map(|v| (v * 100.0).round() as i64 + 5000));
        }
    }
    let mut text = format!("vitreous-atoms 1\nid D2\ntitle\ncitation\nstep_a 0.01\natoms {}\n", lines.len());
    let mut before = [0; 3];
    for line in lines {
        text += &format!("C {} {} {} 0\n", line[0] - before[0], line[1] - before[1], line[2] - before[2]);
        before = line;
    }
    let path = folder.path().join("d2.atoms");
    write(&path, text.as_bytes());
    let how = Preparation { assembly: "", symmetry: group, b_a2: 20.0, use_deposited_b: false, moving: None };
    let specimen = super::specimen::load(&path, how).unwrap();
    // every atom has a partner under each operator
    for operator in group.rotations() {
        let worst = specimen.positions_a.iter().map(|p| {
            let image = operator.apply(*p);
            let distance = |q: &[f64; 3]| (0..3).map(|i| (q[i] - image[i]).powi(2)).sum::<f64>().sqrt();
            specimen.positions_a.iter().map(distance).fold(f64::INFINITY, f64::min)
        });
        let worst = worst.fold(0.0, f64::max);
        // a hundredth of a degree to a tenth of a degree at 30 Å, and a few hundredths of a voxel
        assert!(worst < 0.3, "{worst}");
    }
    let wrong = Preparation { assembly: "9", ..how };
    let error = super::specimen::load(&path, wrong).unwrap_err();
    assert!(
        error.to_string().contains("there is no assembly `9`") && error.hint().contains("none"),
        "{error}"
    );
}

#[test]
fn every_bad_parameter_is_named() {
    for (key, value) in [
        ("model", json!(null)),
        ("dose_per_frame", json!(-1.0)),
        ("snr", json!(0.0)),
        ("truth_pixel_size", json!(0.0)),
        ("bfactor", json!(-1.0)),
        ("max_astigmatism", json!(-1.0)),
        ("drift", json!(-1.0)),
        ("local_motion", json!(-1.0)),
        ("fine_motion", json!(-1.0)),
        ("shift", json!(-1.0)),
        ("ice", json!(-1.0)),
        ("gain_spread", json!(-0.1)),
        ("min_defocus", json!(-5.0)),
        ("max_defocus", json!(10.0)),
        ("movies", json!(0)),
        ("particles_per_movie", json!(0)),
        ("particles", json!(0)),
        ("frames", json!(0)),
        ("width", json!(10)),
        ("height", json!(100_000)),
        ("box_size", json!(97)),
        ("voltage", json!(1.0)),
    ] {
        let mut params = serde_json::to_value(Params::example()).unwrap();
        params[key] = value;
        let params: Params = serde_json::from_value(params).unwrap();
        assert_eq!(params.validate().unwrap_err().key, key);
    }
    let folder = tempfile::tempdir().unwrap();
    write_model(folder.path());
    let fail = |more: Value| {
        let error = run(folder.path(), &movie_params(more), &Solo, &|| false).map(|_| ()).unwrap_err();
        format!("{error}; {}", error.hint())
    };
    assert!(fail(json!({"model": "none.pdb"})).contains("none.pdb: cannot be read: No such file"));
    assert!(fail(json!({"pixel_size": null})).contains("parameter `pixel_size`: is required"));
    assert!(
        fail(json!({"voltage": 250.0})).contains("parameter `voltage`: no critical dose is known for 250 kV")
    );
    let small = fail(json!({"box_size": 24}));
    assert!(
        small.contains("parameter `box_size`: is 48 Å, but TEST is") && small.contains("set it to"),
        "{small}"
    );
}

#[test]
fn the_page_has_the_parameters() {
    let table = vitreous_jobs::page::parameter_table(vitreous_jobs::find("simulate").unwrap());
    assert!(include_str!("README.md").contains(&table), "put this into README.md:\n{table}");
}

/// The particle that moves is the same projection as the moving part alone in its own pose.
#[test]
fn a_moving_part_has_the_pose_that_is_said() {
    let whole = carbon_and_oxygen(60, 18.0);
    let (first, hinge_a) = (40, whole.positions_a[45]);
    let moving = Specimen { moving: Some(MovingPart { first, hinge_a }), ..whole.clone() };
    let atoms = |range: std::ops::Range<usize>| Specimen {
        positions_a: whole.positions_a[range.clone()].to_vec(),
        occupancies: whole.occupancies[range.clone()].to_vec(),
        class_of: whole.class_of[range].to_vec(),
        ..whole.clone()
    };
    let (fixed, part) = (atoms(0..first), atoms(first..60));
    let truth = ImageTruth {
        ctf: optics(),
        pose: Pose { rotation: Rotation::new(0.3, 0.5, -0.6, 0.2), shift_a: [2.0, -3.0] },
        turn: Rotation::from_rotation_vector([0.2, -0.1, 0.3]),
    };
    let of_part = truth.moving_pose(hinge_a);
    let image = |specimen: &Specimen, turn: Rotation, pose: Pose| {
        let conformation = Conformation { turn, ..Conformation::default() };
        let shift_px = pose.shift_a.map(|a| a / 1.5);
        Potential::new(specimen, 48, 1.5)
            .projection_of(&conformation, pose.rotation, shift_px, IDENTITY)
            .into_box()
    };
    let together = image(&moving, truth.turn, truth.pose);
    let sum = image(&fixed, Rotation::IDENTITY, truth.pose) + image(&part, Rotation::IDENTITY, of_part);
    let largest = sum.iter().fold(0f32, |a, b| a.max(b.abs()));
    assert!((&together - &sum).iter().all(|d| d.abs() < 1e-3 * largest));
    let still = image(&moving, Rotation::IDENTITY, truth.pose);
    assert!((&together - &still).iter().any(|d| d.abs() > 0.2 * largest), "it does move");
}

#[test]
fn detergent_lies_about_the_membrane_part_and_differs_between_particles() {
    let mut specimen = carbon_and_oxygen(400, 30.0);
    specimen.origin_a = [0.0, 0.0, 10.0];
    assert!(Micelle::new(&specimen, 0).is_none());
    let micelle = Micelle::new(&specimen, 800).unwrap();
    let [first, second] =
        [0, 1].map(|index| micelle.carbons(&mut stream(1, Purpose::Conformation, index, 1)));
    assert_eq!(first.len(), 800 * 35);
    assert_ne!(first, second);
    let height = first.iter().map(|p| p[2] - 10.0).sum::<f64>() / first.len() as f64;
    // half an ellipse's heights have a standard deviation of some 9 Å, and there are 800
    assert!(height.abs() < 1.3, "{height}");
    // beyond the outline, which is 30 to 42 Å from the middle, but for a molecule's own size
    let within = first.iter().filter(|p| p[0].hypot(p[1]) < 25.0).count();
    assert!(within < first.len() / 50, "{within}");
    assert!(first.iter().all(|p| p.iter().map(|v| v * v).sum::<f64>().sqrt() < micelle.reach_a() + 12.0));
    specimen.origin_a = [0.0, 0.0, 200.0];
    assert!(Micelle::new(&specimen, 80).is_none(), "no atom at the membrane's height");
}
