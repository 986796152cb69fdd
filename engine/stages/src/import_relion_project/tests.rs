//! A project laid out as RELION 3.1 writes it, and what becomes of it.

use super::ImportRelionProject;
use crate::{Ctx, Stage, StageError};
use ndarray::{Array2, s};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;
use vitreous_compute::comm::{Comm, Solo, Threads};
use vitreous_formats::mrc::{MrcSpec, MrcWriter};
use vitreous_formats::table;
use vitreous_jobs::import_relion_project::ImportRelionProject as Params;
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::outputs::Output;
use vitreous_model::params::Validate;
use vitreous_model::report::Report;

const SIZE: (usize, usize) = (192, 160);
const BOX: usize = 32;
const PLACES: [[usize; 2]; 3] = [[40, 50], [100, 60], [150, 110]];
const OPTICS: &str = "\n# version 30001\n\ndata_optics\n\nloop_ \n_rlnOpticsGroupName #1 \n_rlnOpticsGroup #2 \n\
    _rlnMicrographOriginalPixelSize #3 \n_rlnVoltage #4 \n_rlnSphericalAberration #5 \n_rlnAmplitudeContrast #6 \n";
const GROUP: &str = "opticsGroup1            1     1.400000   200.000000     1.400000     0.100000";

#[expect(clippy::disallowed_methods, reason = "a test makes its own input")]
fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn mrc(path: &Path, frames: &[Array2<f32>]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let (height, width) = frames[0].dim();
    let mut writer = MrcWriter::create(path, MrcSpec::images(width, height, 1.4)).unwrap();
    for frame in frames {
        writer.append(&frame.iter().copied().collect::<Vec<f32>>()).unwrap();
    }
    writer.finish().unwrap();
}

/// `data_particles` of the two micrographs, with angles if `rot` is given.
fn particles(rot: Option<f64>) -> String {
    let mut text = format!(
        "{OPTICS}_rlnImagePixelSize #7 \n_rlnImageSize #8 \n_rlnImageDimensionality #9 \n{GROUP}     1.400000           {BOX}            \
         2 \n \n\n# version 30001\n\ndata_particles\n\nloop_ \n_rlnCoordinateX #1 \n_rlnCoordinateY #2 \n\
         _rlnAutopickFigureOfMerit #3 \n_rlnImageName #4 \n_rlnMicrographName #5 \n_rlnOpticsGroup #6 \n_rlnDefocusU #7 \n\
         _rlnDefocusV #8 \n_rlnDefocusAngle #9 \n_rlnCtfBfactor #10 \n"
    );
    if rot.is_some() {
        text += "_rlnAngleRot #11 \n_rlnAngleTilt #12 \n_rlnAnglePsi #13 \n";
    }
    for movie in 0..2 {
        for (index, [x, y]) in PLACES.iter().enumerate() {
            let (number, mic) = (index + 1, format!("MotionCorr/job002/Movies/mov{movie}.mrc"));
            let angles = rot.map(|rot| format!(" {rot} 40.000000 10.000000")).unwrap_or_default();
            writeln!(
                text,
                "{x:12.6} {y:12.6}     0.500000 {number:06}@Extract/job005/Movies/mov{movie}.mrcs {mic} 1 12000.000000 \
                 11800.000000    35.000000     0.000000{angles} "
            )
            .unwrap();
        }
    }
    text + " \n"
}

/// The project, its micrographs of noise and the particles cut from them.
fn project(folder: &Path) {
    let mut random = ChaCha8Rng::seed_from_u64(8);
    let mut noise = || Array2::from_shape_fn((SIZE.1, SIZE.0), |_| random.random_range(-1.0f32..1.0));
    let (mut movies, mut mics, mut fits) = (String::new(), String::new(), String::new());
    for k in 0..2 {
        let micrograph = noise();
        mrc(&folder.join(format!("Movies/mov{k}.mrcs")), &[noise(), noise(), noise()]);
        for name in [format!("mov{k}.mrc"), format!("mov{k}_noDW.mrc")] {
            mrc(&folder.join("MotionCorr/job002/Movies").join(name), std::slice::from_ref(&micrograph));
        }
        let half = BOX / 2;
        let cut =
            PLACES.map(|[x, y]| micrograph.slice(s![y - half..y + half, x - half..x + half]).mapv(|v| -v));
        mrc(&folder.join(format!("Extract/job005/Movies/mov{k}.mrcs")), &cut);
        write(
            folder,
            &format!("MotionCorr/job002/Movies/mov{k}.star"),
            &format!(
                "\n# version 30001\n\ndata_general\n\n_rlnImageSizeX  192\n_rlnImageSizeY  160\n_rlnImageSizeZ  3\n\
                 _rlnMicrographMovieName  Movies/mov{k}.mrcs\n_rlnMicrographGainName  gain.mrc\n_rlnMicrographBinning  1.000000\n\
                 _rlnMicrographOriginalPixelSize  1.400000\n_rlnMicrographDoseRate  1.200000\n_rlnMicrographPreExposure  \
                 0.500000\n_rlnVoltage  200.000000\n_rlnMicrographStartFrame  1\n_rlnMotionModelVersion  0\n \n\n\
                 # version 30001\n\ndata_global_shift\n\nloop_ \n_rlnMicrographFrameNumber #1 \n_rlnMicrographShiftX #2 \n\
                 _rlnMicrographShiftY #3 \n 1 0.000000 0.000000 \n 2 -0.22028 -1.01732 \n 3 -0.00175 -1.88361 \n \n"
            ),
        );
        let job = "MotionCorr/job002/Movies";
        let row = format!(
            "{job}/mov{k}_noDW.mrc {job}/mov{k}.mrc {job}/mov{k}.star            1     1.934323     1.934323     0.000000 "
        );
        writeln!(movies, "Movies/mov{k}.mrcs            1 ").unwrap();
        writeln!(fits, "{row}CtfFind/job003/Movies/mov{k}_PS.ctf:mrc 12000.000000 11800.000000 200.000000 35.000000 0.120000 4.500000 ")
            .unwrap();
        writeln!(mics, "{row}").unwrap();
        let picks = PLACES
            .iter()
            .map(|[x, y]| format!("{x:12.6} {y:12.6}            0   -999.00000     0.500000 \n"));
        write(
            folder,
            &format!("AutoPick/job004/Movies/mov{k}_autopick.star"),
            &format!(
                "\n# version 30001\n\ndata_\n\nloop_ \n_rlnCoordinateX #1 \n_rlnCoordinateY #2 \n_rlnClassNumber #3 \n\
                 _rlnAnglePsi #4 \n_rlnAutopickFigureOfMerit #5 \n{}",
                picks.collect::<String>()
            ),
        );
    }
    mrc(&folder.join("gain.mrc"), &[Array2::from_elem((SIZE.1, SIZE.0), 1.0)]);
    let columns = "_rlnMicrographNameNoDW #1 \n_rlnMicrographName #2 \n_rlnMicrographMetadata #3 \n_rlnOpticsGroup #4 \n\
        _rlnAccumMotionTotal #5 \n_rlnAccumMotionEarly #6 \n_rlnAccumMotionLate #7 \n";
    let more = "_rlnCtfImage #8 \n_rlnDefocusU #9 \n_rlnDefocusV #10 \n_rlnCtfAstigmatism #11 \n_rlnDefocusAngle #12 \n\
        _rlnCtfFigureOfMerit #13 \n_rlnCtfMaxResolution #14 \n";
    let head = format!(
        "{OPTICS}_rlnMicrographPixelSize #7 \n{GROUP}     1.400000 \n \n\n# version 30001\n\ndata_micrographs\n\nloop_ \n"
    );
    let movie_list = format!(
        "{OPTICS}{GROUP} \n \n\n# version 30001\n\ndata_movies\n\nloop_ \n_rlnMicrographMovieName #1 \n_rlnOpticsGroup #2 \n{movies} \n"
    );
    write(folder, "Import/job001/movies.star", &movie_list);
    write(folder, "MotionCorr/job002/corrected_micrographs.star", &format!("{head}{columns}{mics} \n"));
    write(folder, "CtfFind/job003/micrographs_ctf.star", &format!("{head}{columns}{more}{fits} \n"));
    write(folder, "AutoPick/job004/coords_suffix_autopick.star", "CtfFind/job003/micrographs_ctf.star\n");
    write(folder, "Extract/job005/particles.star", &particles(None));
    for job in ["Import/job001", "MotionCorr/job002", "CtfFind/job003", "AutoPick/job004", "Extract/job005"] {
        write(folder, &format!("{job}/RELION_JOB_EXIT_SUCCESS"), "");
    }
    refinements(folder);
}

/// A refinement, one that failed after it, and one that the pipeline file knows to have failed.
fn refinements(folder: &Path) {
    write(folder, "Refine3D/job006/run_it009_data.star", &particles(Some(-1.0)));
    write(folder, "Refine3D/job006/run_data.star", &particles(Some(60.0)));
    write(folder, "Refine3D/job007/run_data.star", &particles(Some(70.0)));
    write(folder, "Refine3D/job007/RELION_JOB_EXIT_FAILURE", "");
    write(folder, "Refine3D/job008/run_data.star", &particles(Some(80.0)));
    write(
        folder,
        "default_pipeline.star",
        "\n# version 30001\n\ndata_pipeline_general\n\n_rlnPipeLineJobCounter  9\n \n\n# version 30001\n\n\
         data_pipeline_processes\n\nloop_ \n_rlnPipeLineProcessName #1 \n_rlnPipeLineProcessAlias #2 \n\
         _rlnPipeLineProcessType #3 \n_rlnPipeLineProcessStatus #4 \nRefine3D/job006/       None           10            2 \n\
         Refine3D/job008/       None           10            3 \n \n",
    );
}

fn run_on(folder: &Path, params: Value, comm: &dyn Comm) -> Result<(Report, Vec<Output>), StageError> {
    let job = folder.join("J1");
    std::fs::create_dir_all(&job).unwrap();
    let mut ctx = Ctx::new(&job, folder, &AnyDevice::Cpu, comm, &|_| {}, &|| false);
    ctx.params = params;
    let report = ImportRelionProject.run(&ctx)?;
    Ok((report, ctx.declared_outputs()))
}

#[test]
fn everything_of_a_project_is_imported() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    project(&folder.join("relion"));
    let (report, outputs) = run_on(folder, json!({"project": "relion"}), &Solo).unwrap();
    let found: Vec<_> = outputs.iter().map(|output| (output.slot.as_str(), output.count)).collect();
    assert_eq!(
        found,
        [("movies", 2), ("micrographs", 2), ("picks", 6), ("particles", 6)],
        "{:?}",
        report.notes
    );
    let movies = table::exposures::read(&folder.join("J1/movies.h5")).unwrap();
    let movie = movies.exposures[1].movie.as_ref().unwrap();
    assert_eq!((movie.path.as_str(), movie.frames, movie.width), ("relion/Movies/mov1.mrcs", 3, 192));
    // dose and gain are those of motion correction
    assert_eq!(
        (movie.dose_per_frame, movie.pre_exposure, movie.gain_path.as_str()),
        (1.2, 0.5, "relion/gain.mrc")
    );
    let set = table::exposures::read(&folder.join("J1/micrographs.h5")).unwrap();
    let exposure = &set.exposures[0];
    let micrograph = exposure.micrograph.as_ref().unwrap();
    let path = |name: &str| format!("relion/MotionCorr/job002/Movies/{name}");
    assert_eq!((&micrograph.path, micrograph.width, micrograph.height), (&path("mov0.mrc"), 192, 160));
    assert_eq!(
        (&micrograph.unweighted_path, &micrograph.motion_star_path),
        (&path("mov0_noDW.mrc"), &path("mov0.star"))
    );
    assert_eq!(exposure.movie.as_ref(), movies.exposures[0].movie.as_ref());
    // the list has pixels, as RELION 3.1 writes them
    assert!((exposure.motion.as_ref().unwrap().total_a - 1.4 * 1.934323).abs() < 1e-9);
    assert!(
        report.notes.iter().any(|note| note.contains("accumulated motion is in pixels")),
        "{:?}",
        report.notes
    );
    let fit = exposure.ctf.as_ref().unwrap();
    assert_eq!((fit.ctf.defocus_u_a, fit.fit_resolution_a, fit.ctf.voltage.0), (12000.0, 4.5, 200.0));
    let picks = table::picks::read(&folder.join("J1/picks.h5")).unwrap();
    assert!((picks.diameter_a - 0.75 * 32.0 * 1.4).abs() < 1e-9, "{}", picks.diameter_a);
    assert_eq!((picks.picks[0].exposure.as_str(), picks.picks[0].x_px), ("mov0", 40.0));
    // the newest refinement that did not fail
    let particles = table::particles::read(&folder.join("J1/particles.h5")).unwrap();
    let (rot, ..) = particles.particles[0].pose.unwrap().rotation.to_euler_zyz_deg();
    assert!((rot - 60.0).abs() < 1e-9, "{rot}");
    assert!(
        report.notes.contains(&"Particles: from Refine3D/job006/run_data.star".to_string()),
        "{:?}",
        report.notes
    );
    // particles were cut from these micrographs, and that shows
    let expected = "Particles: places fit the input's micrographs: 6 particle images correlate";
    assert!(report.notes.iter().any(|note| note.starts_with(expected)), "{:?}", report.notes);
    assert_eq!(report.data["not_imported"], json!([]));
}

#[test]
fn three_ranks_make_the_same_tables() {
    let folder = tempfile::tempdir().unwrap();
    project(&folder.path().join("relion"));
    let alone = run_on(folder.path(), json!({"project": "relion"}), &Solo).unwrap();
    let read = || table::particles::read(&folder.path().join("J1/particles.h5")).unwrap();
    let before = read();
    let together = Threads::run(3, |comm| run_on(folder.path(), json!({"project": "relion"}), comm).unwrap());
    assert_eq!(together[0].1, alone.1);
    assert_eq!(format!("{:?}", read()), format!("{before:?}"));
}

#[test]
fn what_is_named_is_taken_and_what_is_gone_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    project(&folder.join("relion"));
    std::fs::remove_dir_all(folder.join("relion/Movies")).unwrap();
    let params = json!({"project": "relion", "particles": "Extract/job005/particles.star", "diameter": 20.0});
    let (report, outputs) = run_on(folder, params, &Solo).unwrap();
    let slots: Vec<_> = outputs.iter().map(|output| output.slot.as_str()).collect();
    assert_eq!(slots, ["micrographs", "picks", "particles"]);
    assert_eq!(table::picks::read(&folder.join("J1/picks.h5")).unwrap().diameter_a, 20.0);
    assert!(table::particles::read(&folder.join("J1/particles.h5")).unwrap().particles[0].pose.is_none());
    let gone = report.data["not_imported"][0].as_str().unwrap();
    assert!(gone.starts_with("movies of ") && gone.contains("mov0.mrcs"), "{gone}");
    // what was named must be there
    let params = json!({"project": "relion", "movies": "Import/job001/movies.star"});
    let error = run_on(folder, params, &Solo).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("2 of 2 movies failed"), "{error}");
    let error = run_on(folder, json!({"project": "relion/Extract"}), &Solo).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("it has no jobs of RELION"), "{error}");
}

#[test]
fn relion_4_lists_picks_and_iterations_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    project(&folder.join("relion"));
    let relion = folder.join("relion");
    let files = [0, 1].map(|k| {
        format!("MotionCorr/job002/Movies/mov{k}.mrc AutoPick/job009/Movies/mov{k}_autopick.star \n")
    });
    let list = "\n# version 30001\n\ndata_coordinate_files\n\nloop_ \n_rlnMicrographName #1 \n_rlnMicrographCoordinates #2 \n";
    write(&relion, "AutoPick/job009/autopick.star", &format!("{list}{}", files.concat()));
    for k in [0, 1] {
        let name = format!("AutoPick/job009/Movies/mov{k}_autopick.star");
        write(&relion, &name, "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n30 40\n");
    }
    write(&relion, "Class3D/job010/run_it009_data.star", &particles(Some(9.0)));
    write(&relion, "Class3D/job010/run_ct9_it010_data.star", &particles(Some(10.0)));
    let (_, outputs) = run_on(folder, json!({"project": "relion"}), &Solo).unwrap();
    assert_eq!(outputs.iter().find(|output| output.slot == "picks").unwrap().count, 2);
    let particles = table::particles::read(&folder.join("J1/particles.h5")).unwrap();
    let (rot, ..) = particles.particles[0].pose.unwrap().rotation.to_euler_zyz_deg();
    assert!((rot - 10.0).abs() < 1e-9, "{rot}");
}

#[test]
fn every_bad_parameter_is_named() {
    assert_eq!(Params::default().validate().unwrap_err().key, "project");
    let with = |params: Params| params.validate().unwrap_err().key;
    assert_eq!(with(Params { diameter: Some(0.0), ..Params::example() }), "diameter");
    assert_eq!(with(Params { max_bad_fraction: 2.0, ..Params::example() }), "max_bad_fraction");
}

#[test]
fn the_page_has_the_parameters() {
    let table = vitreous_jobs::page::parameter_table(vitreous_jobs::find("import-relion-project").unwrap());
    assert!(include_str!("README.md").contains(&table), "put this into README.md:\n{table}");
}
