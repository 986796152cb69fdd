//! Simulated movies whose particles move as no quadratic field does: tracks and images against the truth, ranks, resuming,
//! movies and inputs that cannot be used.

use super::motion::{Tracks, deviation};
use super::track_file;
use crate::{Ctx, Input, StageError};
use ndarray::Array3;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use vitreous_compute::comm::{Comm, Solo, Threads};
use vitreous_compute::fourier::HalfVolume;
use vitreous_compute::fsc::fsc;
use vitreous_formats::mrc;
use vitreous_formats::star::convert::read_motion;
use vitreous_formats::table::{self, ColumnDef, TableReader};
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::half_set::HalfSet;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::particle::ParticleSet;
use vitreous_model::report::Report;

const BOX: usize = 48;
const PIXEL_A: f64 = 2.5;
const FRAMES: usize = 12;
const MOVIES: usize = 2;

#[allow(clippy::disallowed_methods)] // a test makes its own input
fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

/// A compact model: a bent rod of clumps of iron, which scatters enough that few electrons show it.
fn write_model(path: &Path) {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(11);
    let mut atoms = Vec::new();
    for i in 0..12 {
        let t = f64::from(i) / 11.0 - 0.5;
        let clump = [60.0 * t, 30.0 * (4.0 * t).sin(), 25.0 * (5.0 * t + 1.0).cos()];
        for _ in 0..180 {
            atoms.push(clump.map(|c| ((c + rng.random_range(-7.0..7.0)) * 10.0).round() as i64));
        }
    }
    let mut text =
        format!("vitreous-atoms 1\nid ROD\ntitle rod\ncitation none\nstep_a 0.1\natoms {}\n", atoms.len());
    let mut before = [0i64; 3];
    for p in atoms {
        text += &format!("Fe {} {} {} 0\n", p[0] - before[0], p[1] - before[1], p[2] - before[2]);
        before = p;
    }
    write(path, &text);
}

fn input(kind: Kind, path: PathBuf, parts: &[(&str, PathBuf)]) -> Input {
    let mut output = Output::new("input", kind, "input", 1);
    output.pixel_size_a = Some(PIXEL_A);
    let parts: BTreeMap<String, PathBuf> =
        parts.iter().map(|(role, path)| (role.to_string(), path.clone())).collect();
    Input { job: "J0".into(), output, path, parts }
}

/// Runs a stage in `project/job`; its report, and what was skipped.
fn run(
    (stage, project, job): (&str, &Path, &str),
    params: Value,
    inputs: &[(&str, Input)],
    comm: &dyn Comm,
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<(Report, Vec<String>), StageError> {
    let job_dir = project.join(job);
    std::fs::create_dir_all(&job_dir).unwrap();
    let mut ctx = Ctx::new(&job_dir, project, &AnyDevice::Cpu, comm, &|_| {}, stop);
    ctx.params = params;
    for (slot, input) in inputs {
        ctx.inputs.insert((*slot).into(), vec![input.clone()]);
    }
    let report = crate::find(stage).unwrap().run(&ctx)?;
    Ok((report, ctx.skipped().into_iter().map(|s| format!("{}: {}", s.item, s.reason)).collect()))
}

fn never() -> bool {
    false
}

/// Movies, their correction, and particles with true poses: `J1`, `J2` and `particles.h5`.
fn project() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    write_model(&path.join("model.atoms"));
    let params = json!({
        "model": "model.atoms", "pixel_size": PIXEL_A, "voltage": 300.0, "cs": 2.7, "amplitude_contrast": 0.1,
        "movies": MOVIES, "particles_per_movie": 14, "width": 448, "height": 400, "frames": FRAMES, "box_size": BOX,
        "drift": 12.0, "local_motion": 4.0, "fine_motion": 3.0, "dose_per_frame": 3.0, "min_defocus": 6000.0,
        "max_defocus": 9000.0, "seed": 3,
    });
    run(("simulate", path, "J1"), params, &[], &Solo, &never).unwrap();
    let movies = ("movies", input(Kind::Movies, path.join("J1/movies.h5"), &[]));
    let params = json!({"patches_x": 3, "patches_y": 3});
    run(("correct-motion", path, "J2"), params, &[movies], &Solo, &never).unwrap();
    let mut set = table::particles::read(&path.join("J1/truth.h5")).unwrap();
    for (i, particle) in set.particles.iter_mut().enumerate() {
        particle.half = Some(HalfSet::BOTH[i % 2]);
    }
    write_set(path, &set);
    folder
}

fn write_set(path: &Path, set: &ParticleSet) {
    table::particles::write(&path.join("particles.h5"), set).unwrap();
}

fn inputs(path: &Path) -> Vec<(&'static str, Input)> {
    let truth = path.join("J1/truth.mrc");
    vec![
        ("particles", input(Kind::Particles, path.join("particles.h5"), &[])),
        ("micrographs", input(Kind::Micrographs, path.join("J2/micrographs.h5"), &[])),
        ("volume", input(Kind::Volume, truth.clone(), &[("half1", truth.clone()), ("half2", truth)])),
    ]
}

/// Few particles on little ice: they may move more freely than usual ones.
fn params() -> Value {
    json!({"sigma_velocity": 0.3, "sigma_divergence": 1500.0})
}

fn polish(path: &Path, job: &str) -> Result<(Report, Vec<String>), StageError> {
    run(("polish", path, job), params(), &inputs(path), &Solo, &never)
}

/// True displacements by particle and frame, Å.
fn true_tracks(path: &Path) -> Tracks {
    let file = TableReader::open_kind(&path.join("J1/truth_motion.h5"), &["motion-truth"]).unwrap();
    let group = file.group("particle_motion").unwrap();
    let column = |name: &'static str| group.f64(ColumnDef::new(name, "", "")).unwrap();
    let rows: Vec<[f64; 2]> = column("dx_a").into_iter().zip(column("dy_a")).map(|(x, y)| [x, y]).collect();
    rows.chunks(FRAMES).map(<[_]>::to_vec).collect()
}

/// Files of a job that must not differ.
fn files(job: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for part in ["", "particles", "tracks"] {
        for entry in std::fs::read_dir(job.join(part)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                found.push((
                    path.strip_prefix(job).unwrap().display().to_string(),
                    std::fs::read(&path).unwrap(),
                ));
            }
        }
    }
    found.sort();
    found
}

/// Mean FSC of the halves' mean with the truth from 20 Å to 7 Å, of particles reconstructed.
fn fsc_with_truth(path: &Path, job: &str, table: &str) -> f64 {
    let particles = ("particles", input(Kind::Particles, path.join(table), &[]));
    run(("reconstruct", path, job), json!({}), &[particles], &Solo, &never).unwrap();
    let read = |name: &str| -> Array3<f32> { mrc::read_volume(&path.join(job).join(name)).unwrap().data };
    let both = &read("half1.mrc") + &read("half2.mrc");
    let truth = mrc::read_volume(&path.join("J1/truth.mrc")).unwrap().data;
    let curve = fsc(&HalfVolume::of_box(both.view()), &HalfVolume::of_box(truth.view()));
    let shell = |a: f64| (BOX as f64 * PIXEL_A / a).round() as usize;
    let band = &curve[shell(20.0)..=shell(7.0)];
    band.iter().sum::<f64>() / band.len() as f64
}

#[test]
fn tracks_and_images_are_nearer_to_the_truth() {
    let folder = project();
    let path = folder.path();
    let (report, skipped) = polish(path, "J3").unwrap();
    assert!(skipped.is_empty(), "{skipped:?}");
    let set = table::particles::read(&path.join("J3/particles.h5")).unwrap();
    let given = table::particles::read(&path.join("particles.h5")).unwrap();
    assert_eq!(report.get("particles"), Some(set.particles.len() as f64));
    assert_eq!(report.get("followed"), Some(MOVIES as f64));
    assert_eq!(
        (set.particles.len(), set.box_px, set.pixel_size_a),
        (given.particles.len(), BOX as u32, PIXEL_A)
    );
    for (new, old) in set.particles.iter().zip(&given.particles) {
        assert_eq!((new.id, new.half, new.ctf), (old.id, old.half, old.ctf));
        assert_eq!(new.pose.unwrap().rotation, old.pose.unwrap().rotation);
        assert_eq!(new.pose.unwrap().shift_a, [0.0; 2]);
    }
    // the tracks
    let truth = true_tracks(path);
    let exposures = table::exposures::read(&path.join("J2/micrographs.h5")).unwrap().exposures;
    let (mut ours, mut known) = (Tracks::new(), Tracks::new());
    for exposure in &exposures {
        let of_movie: Vec<_> = given
            .particles
            .iter()
            .map(|p| p.pick.as_ref().unwrap())
            .filter(|p| p.exposure == exposure.name)
            .collect();
        ours.extend(
            track_file::read(&path.join("J3").join(track_file::name(&exposure.name)), of_movie.len(), FRAMES)
                .unwrap(),
        );
        let motion =
            read_motion(&path.join(&exposure.micrograph.as_ref().unwrap().motion_star_path)).unwrap();
        let of_pick = |x: f64, y: f64| (0..FRAMES).map(|f| motion.displacement_a(f, [x, y])).collect();
        known.extend(of_movie.iter().map(|pick| of_pick(pick.x_px, pick.y_px)));
    }
    // where the known motion, wrong as it is, would show the particles in its sum
    let mut squares = 0.0;
    for (i, (new, old)) in set.particles.iter().zip(&given.particles).enumerate() {
        let (a, b) = (new.place_px(PIXEL_A).unwrap(), old.place_px(PIXEL_A).unwrap());
        for axis in 0..2 {
            let apart: f64 = truth[i].iter().zip(&known[i]).map(|(t, k)| t[axis] - k[axis]).sum();
            squares += ((a[axis] - b[axis]) * PIXEL_A - apart / FRAMES as f64).powi(2);
        }
    }
    let places = (squares / set.particles.len() as f64).sqrt();
    println!("rms error of places: {places:.3} Å");
    assert!(places < 1.0, "{places}");
    let (before, after) = (deviation(&known, &truth), deviation(&ours, &truth));
    println!("rms error of tracks: {before:.3} Å before, {after:.3} Å after");
    assert!(before > 0.5 && after < 0.7 * before, "{before} {after}");
    // the images
    let extract = json!({"box_size": BOX});
    let sources = inputs(path).into_iter().filter(|(slot, _)| *slot != "volume").collect::<Vec<_>>();
    run(("extract-particles", path, "J4"), extract, &sources, &Solo, &never).unwrap();
    let plain = fsc_with_truth(path, "J5", "J4/particles.h5");
    let polished = fsc_with_truth(path, "J6", "J3/particles.h5");
    println!("FSC with the truth, 20 to 7 Å: {plain:.3} plain, {polished:.3} polished");
    assert!(polished > plain + 0.01, "{plain} {polished}");
    assert!(report.get("resolution_expected_A").is_some() && report.figures.len() >= 4);
}

#[test]
fn ranks_threads_and_a_stop_change_no_byte() {
    let folder = project();
    let path = folder.path();
    polish(path, "J3").unwrap();
    let one = files(&path.join("J3"));
    assert_eq!(one.len(), 1 + 2 * MOVIES);
    Threads::run(2, |comm| run(("polish", path, "J4"), params(), &inputs(path), comm, &never).unwrap());
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    pool.install(|| polish(path, "J5").unwrap());
    // stopped after the first movie, then after the first stack
    let asked = AtomicUsize::new(0);
    for calls in [1, 2] {
        asked.store(0, Ordering::Relaxed);
        let stop = || asked.fetch_add(1, Ordering::Relaxed) >= calls;
        let stopped = run(("polish", path, "J6"), params(), &inputs(path), &Solo, &stop);
        assert!(matches!(stopped, Err(StageError::Stopped)), "{calls}");
    }
    polish(path, "J6").unwrap();
    // the table names its stacks
    let table = |job: &str| {
        let mut set = table::particles::read(&path.join(job).join("particles.h5")).unwrap();
        set.particles.iter_mut().for_each(|p| p.stack_path = p.stack_path.replace(job, "J3"));
        format!("{set:?}")
    };
    for job in ["J4", "J5", "J6"] {
        let other = files(&path.join(job));
        assert_eq!(other.len(), one.len());
        for (a, b) in one.iter().zip(&other) {
            assert!(a.0 == b.0 && (a.1 == b.1 || a.0 == "particles.h5"), "{job}: {}", a.0);
        }
        assert!(table("J3") == table(job), "{job}");
    }
}

#[test]
fn what_cannot_be_used_is_named() {
    let folder = project();
    let path = folder.path();
    let table = path.join("J2/micrographs.h5");
    let good = table::exposures::read(&table).unwrap();
    let given = table::particles::read(&path.join("particles.h5")).unwrap();
    // a movie that is cut off: left out, with its particles
    let movie = path.join(&good.exposures[0].movie.as_ref().unwrap().path);
    let bytes = std::fs::read(&movie).unwrap();
    write_bytes(&movie, &bytes[..bytes.len() / 2]);
    let (report, skipped) = polish(path, "J3").unwrap();
    assert!(skipped.len() == 1 && skipped[0].contains("movie_0001"), "{skipped:?}");
    let left = given.particles.iter().filter(|p| p.pick.as_ref().unwrap().exposure == "movie_0002").count();
    assert_eq!(report.get("particles"), Some(left as f64));
    write_bytes(&movie, &bytes);
    let fail = |params: Value| {
        let error =
            run(("polish", path, "J4"), params, &inputs(path), &Solo, &never).map(|_| ()).unwrap_err();
        format!("{error}; {}", error.hint())
    };
    let coarse = fail(json!({"max_resolution": 90.0}));
    assert!(coarse.contains("parameter `max_resolution`: leaves 1.3 shells"), "{coarse}");
    let large = fail(json!({"output_box": 256}));
    assert!(large.contains("the map's box of 120.00 Å is 48.00 pixels of the movie"), "{large}");
    let wide = fail(json!({"background_diameter": 130.0}));
    assert!(
        wide.contains("parameter `background_diameter`: must be smaller than the box (120.0 Å)"),
        "{wide}"
    );
    let mut unknown = good.clone();
    unknown.exposures.iter_mut().for_each(|e| e.micrograph.as_mut().unwrap().motion_star_path.clear());
    table::exposures::write(&table, Kind::Micrographs, &unknown).unwrap();
    let unknown = fail(json!({}));
    assert!(unknown.contains("its motion is not known"), "{unknown}");
    let mut short = good.clone();
    short.exposures.iter_mut().for_each(|e| e.movie.as_mut().unwrap().frames = 7);
    table::exposures::write(&table, Kind::Micrographs, &short).unwrap();
    let short = fail(json!({}));
    assert!(short.contains("tells of 12 frames of 448 × 400 px from frame 1 on, the movie has 7"), "{short}");
    table::exposures::write(&table, Kind::Micrographs, &good).unwrap();
    let mut halved = given.clone();
    halved.particles.iter_mut().for_each(|p| p.half = None);
    write_set(path, &halved);
    let halved = fail(json!({}));
    assert!(
        halved.contains("particles can be polished: ") && halved.contains("have no pose or half-set"),
        "{halved}"
    );
}

#[allow(clippy::disallowed_methods)] // a test spoils its own input
fn write_bytes(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn the_page_has_the_parameters() {
    let table = vitreous_jobs::page::parameter_table(vitreous_jobs::find("polish").unwrap());
    assert!(include_str!("README.md").contains(&table), "put this into README.md:\n{table}");
}
