//! Duplicates among known particles, and the stage as a whole.

use super::RemoveDuplicates;
use crate::{Ctx, Input, Stage, StageError};
use serde_json::{Value, json};
use std::path::Path;
use vitreous_compute::comm::{Comm, Solo, Threads};
use vitreous_formats::table;
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::exposure::{Exposure, ExposureSet, MicrographSource};
use vitreous_model::half_set::HalfSet;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::particle::{Particle, ParticleSet, Pick};
use vitreous_model::pose::{Pose, Rotation};
use vitreous_model::report::{Figure, Report};

const PIXEL_A: f64 = 2.0;

/// A particle picked at (x, y) px of `m<micrograph>`, shifted by `shift_x_a`.
fn particle(id: u64, micrograph: u32, x_px: f64, shift_x_a: f64, log_likelihood: f64) -> Particle {
    let rotation = Rotation::from_euler_zyz_deg(10.0 * id as f64, 20.0, 30.0);
    Particle {
        pick: Some(Pick { exposure: format!("m{micrograph}"), x_px, y_px: 50.0, score: 1.0 }),
        pose: Some(Pose { rotation, shift_a: [shift_x_a, 0.0] }),
        half: HalfSet::from_number(1 + (id % 2) as i64),
        log_likelihood,
        ..Particle::of_image(id, "s.mrcs", id as u32)
    }
}

/// Picked 60 Å apart, but the second, and better, one is shifted onto the first; one on another micrograph, one at a
/// distance, one of unknown place.
fn project() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut unknown = particle(14, 1, 0.0, 0.0, -1.0);
    unknown.pick = None;
    let particles = vec![
        particle(10, 0, 100.0, 0.0, -20.0),
        particle(11, 0, 130.0, -55.0, -10.0),
        particle(12, 1, 100.0, 0.0, -30.0),
        particle(13, 0, 160.0, 0.0, -30.0),
        unknown,
    ];
    let set = ParticleSet { optics: vec![], box_px: 64, pixel_size_a: 3.0, particles };
    table::particles::write(&dir.path().join("particles.h5"), &set).unwrap();
    let exposure = |i: u32| Exposure {
        name: format!("m{i}"),
        optics_group: 1,
        movie: None,
        micrograph: Some(MicrographSource {
            path: format!("m{i}.mrc"),
            width: 200,
            height: 100,
            pixel_size_a: PIXEL_A,
            unweighted_path: String::new(),
            motion_star_path: String::new(),
        }),
        motion: None,
        ctf: None,
    };
    let set = ExposureSet { optics: vec![], exposures: vec![exposure(0), exposure(1)] };
    table::exposures::write(&dir.path().join("micrographs.h5"), Kind::Micrographs, &set).unwrap();
    dir
}

fn run_on(
    dir: &Path,
    params: Value,
    slots: &[(&str, Kind)],
    comm: &dyn Comm,
) -> Result<(Report, ParticleSet), StageError> {
    let job_dir = dir.join("J9");
    let mut ctx = Ctx::new(&job_dir, dir, &AnyDevice::Cpu, comm, &|_| {}, &|| false);
    ctx.params = params;
    for (slot, kind) in slots {
        let file = format!("{slot}.h5");
        let output = Output::new(slot, *kind, &file, 3);
        let input = Input { job: "J1".into(), output, path: dir.join(file), parts: Default::default() };
        ctx.inputs.insert((*slot).into(), vec![input]);
    }
    let report = RemoveDuplicates.run(&ctx)?;
    let set = if ctx.is_root() {
        table::particles::read(&job_dir.join("particles.h5"))?
    } else {
        Default::default()
    };
    Ok((report, set))
}

const BOTH: [(&str, Kind); 2] = [("particles", Kind::Particles), ("micrographs", Kind::Micrographs)];

#[test]
fn the_more_likely_of_two_in_one_place_stays_as_it_was() {
    let dir = project();
    let before = table::particles::read(&dir.path().join("particles.h5")).unwrap();
    for (params, slots) in [
        (json!({"min_distance": 20.0}), &BOTH[..]),
        (json!({"min_distance": 20.0, "micrograph_pixel_size": PIXEL_A}), &BOTH[..1]),
    ] {
        let (report, kept) = run_on(dir.path(), params, slots, &Solo).unwrap();
        assert_eq!((report.get("duplicates"), report.get("unplaced")), (Some(1.0), Some(1.0)));
        let expected: Vec<&Particle> = before.particles.iter().filter(|p| p.id != 10).collect();
        // NaN is not equal to itself
        assert_eq!(format!("{:?}", kept.particles.iter().collect::<Vec<_>>()), format!("{expected:?}"));
        assert_eq!((kept.box_px, kept.pixel_size_a), (64, 3.0));
        assert!(
            report
                .figures
                .iter()
                .any(|figure| matches!(figure, Figure::Plot { id, .. } if id == "neighbours"))
        );
    }
    // where they were picked there is none within 20 Å
    let (report, _) = run_on(dir.path(), json!({"min_distance": 4.0}), &BOTH, &Solo).unwrap();
    assert_eq!(report.get("duplicates"), Some(0.0));
}

#[test]
fn three_ranks_do_as_one() {
    let dir = project();
    let params = json!({"min_distance": 20.0});
    let (alone, _) = run_on(dir.path(), params.clone(), &BOTH, &Solo).unwrap();
    let together = Threads::run(3, |comm| run_on(dir.path(), params.clone(), &BOTH, comm).unwrap());
    assert_eq!(together[0].0, alone);
}

#[test]
fn the_pixel_size_must_come_from_one_place() {
    let dir = project();
    let message = |params, slots| run_on(dir.path(), params, slots, &Solo).unwrap_err().to_string();
    assert!(message(json!({"min_distance": 20.0}), &BOTH[..1]).contains("micrograph_pixel_size"));
    let both = json!({"min_distance": 20.0, "micrograph_pixel_size": 1.0});
    assert!(message(both, &BOTH).contains("beside the micrographs"));
    table::exposures::write(&dir.path().join("micrographs.h5"), Kind::Micrographs, &ExposureSet::default())
        .unwrap();
    let error = message(json!({"min_distance": 20.0}), &BOTH);
    assert!(
        error.contains("none of 5 particles lies on a micrograph that was given (the first: m0)"),
        "{error}"
    );
}

#[test]
fn the_page_has_the_parameters_as_they_are() {
    let table = vitreous_jobs::page::parameter_table(&vitreous_jobs::remove_duplicates::JOB);
    assert!(include_str!("README.md").contains(&table), "put this into README.md:\n{table}");
}
