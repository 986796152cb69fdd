//! A project that RELION itself makes (import, motion correction, extraction) is imported. Skipped where it is not installed.

#![allow(clippy::disallowed_methods, clippy::print_stdout, clippy::unwrap_used)] // runs the other program

use ndarray::Array2;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use std::path::Path;
use std::process;
use vitreous_compute::comm::Solo;
use vitreous_compute::device::Cpu;
use vitreous_formats::mrc::{MrcSpec, MrcWriter};
use vitreous_formats::table;
use vitreous_stages::{Ctx, find};

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
    let mut ctx = Ctx::new(&job, folder.path(), &Cpu, &Solo, &|_| {}, &|| false);
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
