use super::checks::{Bound, Check};
use super::course::{self, Course};
use super::exposures::{self, Pair, astigmatism_error_a, rms_error_a};
use super::maps::fsc_with;
use super::particles::{Picked, PoseErrors, matched};
use super::plan::{self, Step, folder};
use super::run::judge;
use crate::machine::{self, Seen};
use crate::simulated_maps::{Blobs, white};
use crate::{Ctx, StageError};
use ndarray::Array3;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use vitreous_compute::comm::{Comm, Solo, Threads};
use vitreous_jobs::selftest::Selftest;
use vitreous_jobs::{JobType, selftest};
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::ctf::CtfParams;
use vitreous_model::event::EventKind;
use vitreous_model::particle::{Particle, Pick};
use vitreous_model::pose::{Pose, Rotation};
use vitreous_model::report::Report;
use vitreous_model::resources::InputSummary;
use vitreous_model::units::{Degrees, Kilovolt, Millimetre};

#[test]
fn impossible_parameters_are_refused() {
    for movies in [0, 5, 10_001] {
        let error = selftest::JOB.check(&json!({"movies": movies})).unwrap_err();
        assert_eq!(error.key, "movies");
    }
    assert!(selftest::JOB.check(&json!({"movies": 6})).is_ok());
}

#[test]
fn time_grows_with_the_movies() {
    let needed = |movies: u32| {
        let params = serde_json::to_value(Selftest { movies, ..Selftest::default() }).unwrap();
        selftest::JOB.resources(&params, &InputSummary::default())
    };
    assert_eq!((needed(8).walltime_s, needed(100).walltime_s), (2040, 4800));
    assert_eq!(needed(8).mem_mib, 2048);
}

#[test]
fn the_page_has_the_parameters() {
    let table = vitreous_jobs::page::parameter_table(&selftest::JOB);
    assert!(include_str!("README.md").contains(table.trim_end()), "put this into README.md:\n{table}");
}

/// Every step's parameters are valid, and its inputs are outputs of the same kind of earlier steps.
#[test]
fn the_steps_fit_each_other() {
    for ab_initio in [true, false] {
        let steps = plan::steps(&Selftest { ab_initio, ..Selftest::default() }, "model.gz");
        assert_eq!(steps.iter().map(|step| step.folder).collect::<BTreeSet<_>>().len(), steps.len());
        for (index, step) in steps.iter().enumerate() {
            let job = vitreous_jobs::find(step.job_type).unwrap();
            job.check(&step.params).unwrap();
            for slot in job.inputs().iter().filter(|slot| slot.required) {
                assert!(
                    step.inputs.iter().any(|source| source.slot == slot.name),
                    "{} {}",
                    step.folder,
                    slot.name
                );
            }
            for source in &step.inputs {
                let wanted = job.inputs().iter().find(|slot| slot.name == source.slot).unwrap();
                let maker = steps[..index].iter().find(|earlier| earlier.folder == source.folder).unwrap();
                let outputs = vitreous_jobs::find(maker.job_type).unwrap().outputs();
                let made = outputs.iter().find(|slot| slot.name == source.output).unwrap();
                assert_eq!(made.kind, wanted.kind, "{}: {}", step.folder, source.slot);
            }
        }
    }
    let model = vitreous_formats::atomic_model::read(Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../examples/quickstart/1MNF.atoms.gz"
    )));
    assert!(model.unwrap().atoms.len() > 50_000);
}

#[test]
fn tracks_are_compared_up_to_a_shift_of_all_frames() {
    let frame = |found: [f64; 2]| vec![Pair { truth: [0.0, 0.0], found }; 3];
    assert_eq!(rms_error_a(&[frame([2.0, 1.0]), frame([2.0, 1.0])]), 0.0);
    // ±1 along x: the root mean square over both axes and frames, per frame
    assert!((rms_error_a(&[frame([0.0, 0.0]), frame([2.0, 0.0])]) - 1.0).abs() < 1e-12);
    assert!(rms_error_a(&[]).is_nan());
}

#[test]
fn astigmatisms_are_vectors_of_the_double_angle() {
    let ctf = |astigmatism_a: f64, angle: f64| CtfParams {
        defocus_u_a: 10_000.0 + astigmatism_a,
        defocus_v_a: 10_000.0,
        astigmatism_angle: Degrees(angle),
        phase_shift: Degrees(0.0),
        voltage: Kilovolt(300.0),
        cs: Millimetre(2.7),
        amplitude_contrast: 0.1,
        even: Default::default(),
    };
    let error = |a, b| astigmatism_error_a(&a, &b);
    assert!(error(ctf(300.0, 90.0), ctf(300.0, -90.0)) < 1e-9);
    assert!((error(ctf(300.0, 0.0), ctf(300.0, 90.0)) - 600.0).abs() < 1e-9);
}

#[test]
fn each_particle_is_found_once_and_by_the_nearest_pick() {
    let truth = [[10.0, 10.0], [50.0, 50.0]];
    let found = [[14.0, 10.0], [11.0, 10.0], [90.0, 90.0]];
    assert_eq!(matched(&truth, &found, 5.0), [None, Some(0), None]);
    let places = |list: &[[f64; 2]]| [("m".to_string(), list.to_vec())].into();
    let picked = Picked { truth: places(&truth), found: places(&found) };
    let checks = picked.checks();
    let found: Vec<Option<f64>> = checks.iter().map(|check| check.found).collect();
    assert_eq!(found, [Some(0.5), Some(1.0 / 3.0), Some(plan::PIXEL_A)]);
    assert_eq!(checks.iter().map(Check::passes).collect::<Vec<_>>(), [false, false, true]);
    assert!(Picked::default().checks().iter().all(|check| !check.passes()), "nothing is no success");
}

fn particle(at: [f64; 2], rotation: Rotation, shift_a: [f64; 2]) -> Particle {
    Particle {
        pick: Some(Pick { exposure: "m".into(), x_px: at[0], y_px: at[1], score: 1.0 }),
        pose: Some(Pose { rotation, shift_a }),
        ..Particle::of_image(0, "", 0)
    }
}

#[test]
fn poses_are_compared_up_to_the_symmetry_and_at_their_places() {
    let truth = Rotation::from_euler_zyz_deg(20.0, 70.0, 130.0);
    let operator = plan::SYMMETRY.rotations()[3];
    let off = Rotation::from_rotation_vector([0.0, 0.0, 3f64.to_radians()]);
    // picked 2 px beside the centre, which the shift makes up for but for 1 Å
    let found = particle([98.0, 50.0], operator * (off * truth), [2.0 * plan::PIXEL_A + 1.0, 0.0]);
    let far = particle([300.0, 300.0], truth, [0.0; 2]);
    let errors = PoseErrors::of(&[particle([100.0, 50.0], truth, [0.0; 2])], &[found, far]);
    assert_eq!(errors.angle_deg.len(), 1, "what lies nowhere near a particle does not count");
    assert!((errors.angle_deg[0] - 3.0).abs() < 1e-6 && (errors.shift_a[0] - 1.0).abs() < 1e-9, "{errors:?}");
    assert_eq!(errors.checks().iter().map(Check::passes).collect::<Vec<_>>(), [false, true, true]);
    assert!(PoseErrors::default().checks().iter().all(|check| !check.passes()));
}

#[test]
fn a_map_agrees_with_itself_and_noise_does_not() {
    let map: Array3<f32> = Blobs::in_cube(40, 30.0, 3.0, 1).on_grid(32, plan::MAP_PIXEL_A);
    assert!(fsc_with(&map, &map)[1..].iter().all(|value| (value - 1.0).abs() < 1e-5));
    assert!(fsc_with(&map, &white(32, 5))[4..].iter().all(|value| value.abs() < 0.6));
}

#[expect(clippy::disallowed_methods, reason = "tests make and spoil their own files")]
fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

/// A project folder with a molecule of some carbon atoms, and the first two steps in small.
struct Small {
    dir: tempfile::TempDir,
    steps: Vec<Step>,
}

const MOVIES: u32 = 3;

impl Small {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let line = |i: i32| {
            let at = [0, 1, 2].map(|axis| f64::from((i * [37, 53, 71][axis]) % 60) - 30.0);
            format!(
                "ATOM  {i:>5}  CA  ALA A{:>4}    {:8.3}{:8.3}{:8.3}  1.00 20.00           C\n",
                i % 1000,
                at[0],
                at[1],
                at[2]
            )
        };
        let atoms: String = (1..800).map(line).collect();
        write(&dir.path().join("model.pdb"), &atoms);
        let mut steps = plan::steps(&Selftest { movies: MOVIES, ..Selftest::default() }, "model.pdb");
        steps.truncate(2);
        let small = json!({
            "symmetry": "C1", "width": 160, "height": 160, "frames": 4, "particles_per_movie": 1, "box_size": 32,
            "drift": 4.0, "local_motion": 1.0,
        });
        let params = steps[0].params.as_object_mut().unwrap();
        params.extend(small.as_object().unwrap().clone());
        steps[1].params = json!({"patches_x": 1, "patches_y": 1});
        Self { dir, steps }
    }

    /// Runs the steps in J1 and judges them; it is asked to stop after `patience` looks.
    fn run(
        &self,
        comm: &dyn Comm,
        patience: usize,
    ) -> Result<(Course, Result<Report, StageError>), StageError> {
        let looks = AtomicUsize::new(0);
        let stop = || looks.fetch_add(1, Ordering::SeqCst) >= patience;
        let job_dir = self.dir.path().join("J1");
        let mut ctx = Ctx::new(&job_dir, self.dir.path(), &AnyDevice::Cpu, comm, &|_: EventKind| {}, &stop);
        ctx.job = "J1".into();
        ctx.host = "node1".into();
        let course = course::run(&ctx, &self.steps)?;
        let params = Selftest { movies: MOVIES, ..Selftest::default() };
        let machines = machine::all(&ctx)?;
        let judged = judge(&ctx, &params, &self.steps, &course, &machines);
        Ok((course, judged))
    }

    /// Runs the steps, whatever the verdict.
    fn finish(&self) -> Course {
        self.run(&Solo, usize::MAX).unwrap().0
    }

    fn bytes(&self, file: &str) -> Vec<u8> {
        std::fs::read(self.dir.path().join("J1").join(file)).unwrap()
    }
}

fn results(course: &Course) -> Vec<(String, Value)> {
    let result = |(folder, done): (&String, &course::Finished)| {
        (
            folder.clone(),
            json!({"outputs": done.outputs, "numbers": done.report.numbers, "data": done.report.data}),
        )
    };
    course.finished.iter().map(result).collect()
}

#[test]
fn ranks_change_nothing_and_all_get_the_same() {
    let one = Small::new();
    let alone = one.finish();
    let several = Small::new();
    let all = Threads::run(3, |comm| several.run(comm, usize::MAX).unwrap().0);
    assert!(alone.broken.is_none(), "{:?}", alone.broken);
    assert_eq!(alone.finished.len(), 2);
    for course in &all {
        assert_eq!(results(course), results(&alone));
    }
    let micrograph = "motion/micrographs/movie_0002.mrc";
    assert_eq!(one.bytes(micrograph)[1024..], several.bytes(micrograph)[1024..]);
}

#[test]
fn a_stopped_self_test_goes_on_and_repeats_nothing() {
    let whole = Small::new();
    let expected = whole.finish();
    let small = Small::new();
    let mut stops = 0;
    // a look at each step and each item: it comes a little further every time
    let found = loop {
        match small.run(&Solo, 2 + 2 * stops) {
            Ok((course, _)) => break course,
            Err(StageError::Stopped) => stops += 1,
            Err(other) => panic!("{other}"),
        }
        assert!(stops < 20);
    };
    assert!(stops > 1, "it should have stopped on its way");
    assert_eq!(results(&found), results(&expected));
    let record = small.bytes("simulated/finished.json");
    std::fs::remove_dir_all(small.dir.path().join("J1/simulated/movies")).unwrap();
    let again = small.finish();
    assert_eq!(results(&again), results(&expected), "nothing was read again");
    assert_eq!(small.bytes("simulated/finished.json"), record);
}

#[test]
fn a_step_of_other_parameters_is_done_again() {
    let mut small = Small::new();
    small.steps.truncate(1);
    small.finish();
    small.steps[0].params["seed"] = json!(7);
    let before = small.bytes("simulated/finished.json");
    small.finish();
    assert_ne!(small.bytes("simulated/finished.json"), before);
}

/// Checks that must fail: the step is said to be done, and its result is not what it should be.
#[test]
fn a_wrong_result_fails_the_job_on_all_ranks_with_a_report() {
    let small = Small::new();
    small.finish();
    let file = small.dir.path().join("J1/motion/finished.json");
    let mut record: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    for exposure in record["report"]["exposures"].as_array_mut().unwrap() {
        for (frame, shift) in exposure["global_shift_A"].as_array_mut().unwrap().iter_mut().enumerate() {
            *shift = json!([20.0 * frame as f64, 0.0]);
        }
        exposure["field_A"] = Value::Null;
    }
    write(&file, &record.to_string());
    let ends = Threads::run(2, |comm| small.run(comm, usize::MAX).unwrap().1);
    for (rank, end) in ends.into_iter().enumerate() {
        let Err(StageError::Unmet { what, hint, report }) = end else { panic!("rank {rank} did not fail") };
        assert!(
            what.contains("correct-motion: error of tracks") && what.contains("expected at most 1 Å"),
            "{what}"
        );
        assert!(hint.contains("send report.html"), "{hint}");
        if rank == 0 {
            assert!(
                report.title.contains("FAILED") && report.get("checks_failed") >= Some(2.0),
                "{report:?}"
            );
            let verdicts =
                report.tables[0].rows.iter().map(|row| format!("{:?}", row[5])).collect::<String>();
            assert!(verdicts.contains("FAILED") && verdicts.contains("ok"), "{verdicts}");
            assert!(
                !serde_json::to_string(&report).unwrap().contains(&small.dir.path().display().to_string())
            );
        }
    }
}

#[test]
fn a_step_that_breaks_is_named_and_reported_without_paths() {
    let mut small = Small::new();
    let all = small.steps.clone();
    small.steps.truncate(1);
    small.finish();
    std::fs::remove_dir_all(small.dir.path().join("J1/simulated/movies")).unwrap();
    small.steps = all;
    let (course, judged) = small.run(&Solo, usize::MAX).unwrap();
    assert_eq!(course.broken.unwrap().job_type, "correct-motion");
    let Err(StageError::Unmet { what, report, .. }) = judged else { panic!("should have failed") };
    assert!(what.contains("correct-motion failed"), "{what}");
    let shown = serde_json::to_string(&report).unwrap();
    assert!(shown.contains("did not finish") && shown.contains("movies made"), "{shown}");
    assert!(!shown.contains(&small.dir.path().display().to_string()), "{shown}");
}

#[test]
fn machines_are_told_by_rank() {
    let seen = Seen {
        host: "node1".into(),
        processor: "A".into(),
        kernel: "6".into(),
        device: "CPU".into(),
        threads: 4,
        memory_mib: None,
    };
    let table = machine::table(&[seen.clone(), seen]);
    assert_eq!((table.rows.len(), table.rows[1].len()), (2, table.columns.len()));
    assert!(exposures::simulation(&Course::default(), 8).is_empty());
    assert!(!Bound::AtLeast(0.0).holds(f64::NAN));
    assert_eq!(folder::REFINED, "refined");
}
