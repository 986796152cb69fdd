//! Exchange with other programs themselves: a project that RELION makes is imported, what is exported opens in
//! cryosparc-tools. Skipped where they are not installed.
//!
//! The tests run one after another: a process that starts holds the files of the others open for a moment, and with them
//! HDF5's locks.

#![allow(clippy::disallowed_methods, clippy::print_stdout, clippy::unwrap_used)] // runs the other program

use ndarray::Array2;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use std::path::Path;
use std::process;
use std::sync::{Mutex, MutexGuard, PoisonError};
use vitreous_compute::comm::Solo;
use vitreous_formats::mrc::{MrcSpec, MrcWriter, write_volume};
use vitreous_formats::table;
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::exposure::{Exposure, ExposureSet, MicrographSource, OpticsGroup};
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::particle::{Particle, ParticleSet, Pick};
use vitreous_model::pose::{Pose, Rotation};
use vitreous_model::units::{Kilovolt, Millimetre};
use vitreous_stages::{Ctx, Input, find};

fn one_at_a_time() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a program of RELION in a folder; false, and a word about it, where it is not installed.
fn relion(folder: &Path, program: &str, arguments: &str) -> bool {
    let arguments = arguments.split_ascii_whitespace();
    let output = process::Command::new(program).args(arguments).current_dir(folder).output();
    let Ok(output) = output else {
        println!("skipped: {program} is not installed");
        return false;
    };
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    true
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// A movie whose content moves up by a row a frame, and is noisy.
fn movie(path: &Path, seed: u64) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let still = Array2::from_shape_fn((160, 192), |_| random.random_range(-1.0f32..1.0));
    let mut writer = MrcWriter::create(path, MrcSpec::images(192, 160, 1.4)).unwrap();
    for frame in 0..5 {
        let image = still
            .indexed_iter()
            .map(|((y, x), _)| 10.0 + still[[(y + 160 - frame) % 160, x]] + random.random_range(-0.3..0.3));
        writer.append(&image.collect::<Vec<f32>>()).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn a_project_of_relion_itself_is_imported() {
    let _turn = one_at_a_time();
    let folder = tempfile::tempdir().unwrap();
    let project = folder.path().join("relion");
    for job in ["Movies", "Import/job001", "MotionCorr/job002", "Extract/job004"] {
        std::fs::create_dir_all(project.join(job)).unwrap();
    }
    movie(&project.join("Movies/a.mrcs"), 1);
    movie(&project.join("Movies/b.mrcs"), 2);
    let import = "--do_movies --optics_group_name og --angpix 1.4 --kV 200 --Cs 1.4 --Q0 0.1 --i Movies/*.mrcs \
        --odir Import/job001/ --ofile movies.star --pipeline_control Import/job001/";
    if !relion(&project, "relion_import", import) {
        return;
    }
    let correct = "--i Import/job001/movies.star --o MotionCorr/job002/ --use_own --j 1 --dose_weighting --save_noDW \
        --dose_per_frame 1.2 --preexposure 0.5 --angpix 1.4 --voltage 200 --pipeline_control MotionCorr/job002/";
    relion(&project, "relion_run_motioncorr", correct);
    // as AutoPick and ManualPick write them; ctffind is no part of RELION, so there are no CTFs
    let rows = "    40.000000    50.000000 \n   100.000000    60.000000 \n   150.000000   110.000000 \n";
    for name in ["a", "b"] {
        let head = "\n# version 30001\n\ndata_\n\nloop_ \n_rlnCoordinateX #1 \n_rlnCoordinateY #2 \n";
        write(
            &project.join(format!("ManualPick/job003/Movies/{name}_manualpick.star")),
            &format!("{head}{rows}"),
        );
    }
    let extract = "--i MotionCorr/job002/corrected_micrographs.star --coord_suffix _manualpick.star --coord_dir \
        ManualPick/job003/ --part_star Extract/job004/particles.star --part_dir Extract/job004/ --extract --extract_size 48 \
        --norm --bg_radius 18 --invert_contrast --pipeline_control Extract/job004/";
    relion(&project, "relion_preprocess", extract);
    let job = folder.path().join("J1");
    std::fs::create_dir_all(&job).unwrap();
    let mut ctx = Ctx::new(&job, folder.path(), &AnyDevice::Cpu, &Solo, &|_| {}, &|| false);
    ctx.params = json!({"project": "relion"});
    let report = find("import-relion-project")
        .unwrap()
        .run(&ctx)
        .unwrap_or_else(|error| panic!("{error}; {}", error.hint()));
    let found: Vec<_> =
        ctx.declared_outputs().iter().map(|output| (output.slot.clone(), output.count)).collect();
    let expected = [("movies", 2), ("micrographs", 2), ("picks", 6), ("particles", 6)];
    assert_eq!(found, expected.map(|(slot, count)| (slot.to_string(), count)), "{:?}", report.notes);
    let set = table::exposures::read(&job.join("micrographs.h5")).unwrap();
    let exposure = &set.exposures[0];
    let movie = exposure.movie.as_ref().unwrap();
    assert_eq!((movie.frames, movie.dose_per_frame, movie.pre_exposure), (5, 1.2, 0.5));
    // four steps of a row of 1.4 Å
    let motion = exposure.motion.as_ref().unwrap();
    assert!((motion.total_a - 5.6).abs() < 0.6, "{motion:?}");
    assert!(!exposure.micrograph.as_ref().unwrap().motion_star_path.is_empty());
    assert_eq!(set.optics[0].name, "og");
    // RELION cut its particles where the table says, with rows as they are read here, and inverted them
    let origin = &report.data["imports"]["particles"]["data"]["row_origin"];
    assert!(origin["ways"][0]["correlation"].as_f64().unwrap() > 0.9, "{origin}");
    assert_eq!((&origin["compared"], &origin["same_contrast"]), (&json!(6), &json!(0)));
}

/// A micrograph and five particles on it, and a map with its half maps, as inputs of a job.
fn inputs(folder: &Path) -> Vec<Input> {
    let optics = vec![OpticsGroup {
        number: 1,
        name: "opticsGroup1".into(),
        voltage: Kilovolt(300.0),
        cs: Millimetre(2.7),
        amplitude_contrast: 0.1,
        movie_pixel_size_a: 1.5,
        aberrations: Default::default(),
    }];
    let micrograph = MicrographSource {
        path: "J2/m1.mrc".into(),
        width: 200,
        height: 100,
        pixel_size_a: 1.5,
        unweighted_path: String::new(),
        motion_star_path: String::new(),
    };
    let exposure = Exposure {
        name: "m1".into(),
        optics_group: 1,
        movie: None,
        micrograph: Some(micrograph),
        motion: None,
        ctf: None,
    };
    let particle = |id: u64| Particle {
        pick: Some(Pick { exposure: "m1".into(), x_px: 10.0, y_px: 25.0, score: 1.5 }),
        pose: Some(Pose {
            rotation: Rotation::from_rotation_vector([0.1 * id as f64, -0.5, 0.25]),
            shift_a: [3.0, -1.5],
        }),
        ..Particle::of_image(40 + id, "J5/m1.mrcs", id as u32)
    };
    let set = ParticleSet {
        optics: optics.clone(),
        box_px: 64,
        pixel_size_a: 3.0,
        particles: (0..5).map(particle).collect(),
    };
    table::particles::write(&folder.join("p.h5"), &set).unwrap();
    let exposures = ExposureSet { optics, exposures: vec![exposure] };
    table::exposures::write(&folder.join("m.h5"), Kind::Micrographs, &exposures).unwrap();
    for name in ["map.mrc", "half1.mrc", "half2.mrc"] {
        write_volume(&folder.join(name), &ndarray::Array3::from_elem((8, 8, 8), 1.0), 3.0).unwrap();
    }
    let input = |slot: &str, kind: Kind, file: &str| Input {
        job: "J1".into(),
        output: Output::new(slot, kind, file, 1),
        path: folder.join(file),
        parts: Default::default(),
    };
    let mut map = input("volume", Kind::Volume, "map.mrc");
    map.parts = ["half1", "half2"].map(|role| (role.into(), folder.join(format!("{role}.mrc")))).into();
    vec![input("particles", Kind::Particles, "p.h5"), input("micrographs", Kind::Micrographs, "m.h5"), map]
}

#[test]
fn cryosparc_tools_opens_every_dataset() {
    let _turn = one_at_a_time();
    let folder = tempfile::tempdir().unwrap();
    let job = folder.path().join("J9");
    std::fs::create_dir_all(&job).unwrap();
    let mut ctx = Ctx::new(&job, folder.path(), &AnyDevice::Cpu, &Solo, &|_| {}, &|| false);
    ctx.params = json!({});
    ctx.inputs = inputs(folder.path()).into_iter().map(|i| (i.output.slot.clone(), vec![i])).collect();
    find("export-cryosparc").unwrap().run(&ctx).unwrap();
    const IMPORT: &str = "from cryosparc.dataset import Dataset\n";
    let python =
        |script: &str| process::Command::new("python3").args(["-c", script]).current_dir(&job).output();
    if !python(IMPORT).is_ok_and(|output| output.status.success()) {
        println!("skipped: python3 has no cryosparc-tools");
        return;
    }
    let script = "p = Dataset.load('particles.cs').innerjoin(Dataset.load('passthrough_particles.cs'))\n\
        assert len(p) == 5\n\
        assert sorted(p.prefixes()) == ['alignments3D', 'blob', 'ctf', 'location', 'pick_stats'], p.prefixes()\n\
        assert p['blob/shape'].tolist() == [[64, 64]] * 5 and list(p['blob/sign']) == [1] * 5\n\
        assert p['alignments3D/shift'].tolist() == [[-1, 0.5]] * 5, p['alignments3D/shift']\n\
        assert abs(p['location/center_x_frac'] - 0.05).max() < 1e-7\n\
        assert p['location/micrograph_shape'].tolist() == [[100, 200]] * 5\n\
        e = Dataset.load('micrographs.cs')\n\
        assert sorted(e.prefixes()) == ['micrograph_blob', 'mscope_params'], e.prefixes()\n\
        assert list(e['uid']) == [p['location/micrograph_uid'][0]] and e['mscope_params/accel_kv'][0] == 300\n\
        v = Dataset.load('volume.cs')\n\
        assert sorted(v.prefixes()) == ['map', 'map_half_A', 'map_half_B'] and v['map/shape'].tolist() == [[8, 8, 8]]\n";
    let output = python(&format!("{IMPORT}{script}")).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
