//! Thresholds on known picks, what is proposed, and the stage as a whole.
#![allow(clippy::disallowed_methods)] // a test's own temporary files

use super::InspectPicks;
use crate::{Ctx, Input, Stage, StageError};
use ndarray::Array2;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use vitreous_compute::comm::{Comm, Solo, Threads};
use vitreous_formats::mrc::{MrcSpec, MrcWriter};
use vitreous_formats::table;
use vitreous_jobs::JobType;
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::exposure::{Exposure, ExposureSet, MicrographSource, OpticsGroup};
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::particle::{Pick, PickSet, Surroundings, TemplateMatch};
use vitreous_model::report::{Figure, Report};
use vitreous_model::units::{Kilovolt, Millimetre};

const PIXEL_A: f64 = 4.0;
const SIZE: usize = 300;
const DIAMETER_A: f64 = 80.0;

/// Noise of deviation 1 round 100, twice as rough and darker by `dark` in a square of 60 px round (220, 80).
fn micrograph(seed: u64, dark: f32) -> Array2<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    Array2::from_shape_fn((SIZE, SIZE), |(y, x)| {
        let noise = rng.sample::<f32, _>(StandardNormal);
        let rough = (190..250).contains(&x) && (50..110).contains(&y);
        100.0 + if rough { 2.0 * noise - dark } else { noise }
    })
}

fn write_micrograph(path: &Path, image: &Array2<f32>) {
    let spec = MrcSpec::images(image.ncols(), image.nrows(), PIXEL_A);
    let mut writer = MrcWriter::create(path, spec).unwrap();
    writer.append(image.as_slice().unwrap()).unwrap();
    writer.finish().unwrap();
}

/// A project with the micrographs m0, m1, m2.
fn project(dark: f32) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let exposure = |i: u64| {
        let path = format!("m{i}.mrc");
        write_micrograph(&dir.path().join(&path), &micrograph(i, dark));
        let micrograph = MicrographSource {
            path,
            width: SIZE as u32,
            height: SIZE as u32,
            pixel_size_a: PIXEL_A,
            unweighted_path: String::new(),
            motion_star_path: String::new(),
        };
        Exposure {
            name: format!("m{i}"),
            optics_group: 1,
            movie: None,
            micrograph: Some(micrograph),
            motion: None,
            ctf: None,
        }
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
    let set = ExposureSet { optics: vec![optics], exposures: (0..3).map(exposure).collect() };
    table::exposures::write(&dir.path().join("micrographs.h5"), Kind::Micrographs, &set).unwrap();
    dir
}

fn pick(micrograph: usize, x_px: f64, y_px: f64, score: f64) -> Pick {
    Pick { exposure: format!("m{micrograph}"), x_px, y_px, score }
}

fn give(dir: &Path, picks: Vec<Pick>, surroundings: Vec<Surroundings>) {
    let matched = |i: usize| TemplateMatch { template: i as u32, angle_deg: 0.0 };
    let matches = (0..picks.len()).map(matched).collect();
    let set = PickSet { diameter_a: DIAMETER_A, picks, matches, surroundings };
    table::picks::write(&dir.join("picks.h5"), &set).unwrap();
}

/// On every micrograph one in the rough square, one at the edge, one beyond it, and two close to each other.
fn some_picks() -> Vec<Pick> {
    let of = |m| {
        [(220.0, 80.0, 7.0), (4.0, 150.0, 6.0), (299.4, 299.4, 3.0), (100.0, 200.0, 5.0), (106.0, 200.0, 5.5)]
            .map(|(x, y, score)| pick(m, x, y, score))
    };
    (0..3).flat_map(of).collect()
}

fn run_on(
    dir: &Path,
    job: &str,
    params: Value,
    comm: &dyn Comm,
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<(Report, PickSet), StageError> {
    let job_dir = dir.join(job);
    let mut ctx = Ctx::new(&job_dir, dir, &AnyDevice::Cpu, comm, &|_| {}, stop);
    ctx.params = params;
    for (slot, kind, from) in [("picks", Kind::Picks, "J4"), ("micrographs", Kind::Micrographs, "J3")] {
        let file = format!("{slot}.h5");
        let output = Output::new(slot, kind, &file, 3);
        let input = Input { job: from.into(), output, path: dir.join(file), parts: Default::default() };
        ctx.inputs.insert(slot.into(), vec![input]);
    }
    let report = InspectPicks.run(&ctx)?;
    if !ctx.is_root() {
        return Ok((report, PickSet::default()));
    }
    let slots: Vec<String> = ctx.declared_outputs().into_iter().map(|output| output.slot).collect();
    assert_eq!(slots, ["picks", "micrographs"]);
    Ok((report, table::picks::read(&job_dir.join("picks.h5"))?))
}

fn run(dir: &Path, job: &str, params: Value) -> Result<(Report, PickSet), StageError> {
    run_on(dir, job, params, &Solo, &|| false)
}

#[test]
fn local_power_and_mean_are_measured_where_the_picker_did_not() {
    let dir = project(3.0);
    give(dir.path(), some_picks(), vec![]);
    let (report, all) = run(dir.path(), "J5", json!({"max_score": 100.0})).unwrap();
    assert_eq!((report.get("kept"), all.picks.len(), all.surroundings.len()), (Some(15.0), 15, 15));
    for (pick, around) in all.picks.iter().zip(&all.surroundings) {
        let is_rough = pick.x_px == 220.0;
        let expected = if is_rough { 2.0 } else { 1.0 };
        assert!((around.local_sd / expected - 1.0).abs() < 0.25, "{pick:?} {around:?}");
        // dark counts as positive: so are particles
        assert!((around.local_mean > 1.5) == is_rough, "{pick:?} {around:?}");
    }
    for (params, key) in [
        (json!({"max_local_sd": 1.5}), "rejected_max_local_sd"),
        (json!({"max_local_mean": 1.5}), "rejected_max_local_mean"),
    ] {
        let (report, kept) = run(dir.path(), "J6", params).unwrap();
        assert_eq!((report.get(key), report.get("rejected")), (Some(3.0), Some(3.0)));
        assert!(kept.picks.iter().all(|pick| pick.x_px != 220.0));
        let templates: Vec<u32> = kept.matches.iter().map(|m| m.template).collect();
        assert_eq!(templates, [1, 2, 3, 4, 6, 7, 8, 9, 11, 12, 13, 14]);
    }
}

#[test]
fn every_rejected_pick_is_counted_once_with_its_reason() {
    let dir = project(0.0);
    let mut picks = some_picks();
    picks.push(pick(7, 10.0, 10.0, 9.0));
    give(dir.path(), picks, vec![]);
    let params = json!({"min_score": 4.0, "border": 40.0, "min_distance": 40.0, "max_picks": 1});
    let (report, kept) = run(dir.path(), "J5", params).unwrap();
    let counts = ["elsewhere", "border", "min_score", "min_distance", "max_picks", "unreadable"]
        .map(|key| report.get(&format!("rejected_{key}")));
    // the pick in the corner is too weak and at the border: the border comes first
    assert_eq!(counts, [Some(1.0), Some(6.0), Some(0.0), Some(3.0), Some(3.0), None]);
    let kept: Vec<(f64, f64)> = kept.picks.iter().map(|pick| (pick.x_px, pick.score)).collect();
    assert_eq!(kept, [(220.0, 7.0); 3]);
    let marks = report.figures.iter().find_map(|figure| match figure {
        Figure::Image { id, marks, .. } if id == "picks_0" => Some(marks.len()),
        _ => None,
    });
    assert_eq!(marks, Some(1 + 2 * 4), "one circle, and two strokes for each that is rejected");
}

/// 40 weak picks and 60 strong ones, five of these on something rough.
fn two_kinds() -> (Vec<Pick>, Vec<Surroundings>) {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut place = |score: f64| pick(0, 300.0 * rng.random::<f64>(), 300.0 * rng.random::<f64>(), score);
    let picks =
        (0..100).map(|i| place(if i < 40 { 3.5 + 0.02 * f64::from(i) } else { 6.0 + 0.03 * f64::from(i) }));
    let picks: Vec<Pick> = picks.collect();
    let around = |i: usize| Surroundings {
        local_sd: if i >= 95 { 3.0 } else { 1.0 + 0.001 * (i * 37 % 50) as f64 },
        local_mean: 0.1,
    };
    (picks, (0..100).map(around).collect())
}

#[test]
fn without_thresholds_all_are_kept_and_a_command_is_proposed_that_does_what_it_says() {
    let dir = project(0.0);
    let (picks, around) = two_kinds();
    give(dir.path(), picks, around);
    let (report, all) = run(dir.path(), "J5", json!({})).unwrap();
    assert_eq!((all.picks.len(), report.get("rejected")), (100, Some(0.0)));
    let command = report.data["command"].as_str().unwrap();
    assert!(report.notes.iter().any(|note| note.contains(command)), "{:?}", report.notes);
    let words: Vec<&str> = command.split_whitespace().collect();
    assert_eq!(
        words[..7],
        ["vitreous", "run", "inspect-picks", "--picks", "J4.picks", "--micrographs", "J3.micrographs"]
    );
    let job = &vitreous_jobs::inspect_picks::JOB;
    let matches = vitreous_jobs::command::command(job).try_get_matches_from(&words[2..]).unwrap();
    let params = job.check(&vitreous_jobs::command::params(job, &matches).unwrap()).unwrap();
    let (applied, kept) = run(dir.path(), "J6", params).unwrap();
    assert_eq!(applied.get("kept"), report.data["would_keep"].as_f64());
    assert_eq!(
        (applied.get("rejected_min_score"), applied.get("rejected_max_local_sd")),
        (Some(40.0), Some(5.0))
    );
    assert!(kept.picks.iter().all(|pick| pick.score > 5.0));
    let ids: Vec<&str> = report.figures.iter().map(Figure::id).collect();
    assert_eq!(ids, ["picks_0", "scores", "local_sd", "local_mean", "power"]);
}

#[test]
fn what_the_picker_measured_is_used_and_no_micrograph_is_needed() {
    let dir = project(0.0);
    let around: Vec<Surroundings> =
        (0..15).map(|i| Surroundings { local_sd: f64::from(i), local_mean: 0.0 }).collect();
    give(dir.path(), some_picks(), around.clone());
    (0..3).for_each(|i| std::fs::remove_file(dir.path().join(format!("m{i}.mrc"))).unwrap());
    let (report, kept) = run(dir.path(), "J5", json!({"min_local_sd": 10.0})).unwrap();
    assert_eq!((report.get("kept"), &kept.surroundings[..]), (Some(5.0), &around[10..]));
    assert!(report.skipped.is_empty());
    // with another diameter it has to be measured anew
    let error = run(dir.path(), "J6", json!({"diameter": 100.0})).unwrap_err().to_string();
    assert!(error.starts_with("3 of 3 micrographs failed"), "{error}");
}

#[test]
fn picks_of_an_unreadable_micrograph_are_left_out_and_it_is_listed() {
    let dir = project(0.0);
    give(dir.path(), some_picks(), vec![]);
    let path = dir.path().join("m1.mrc");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..5000]).unwrap();
    let (report, kept) = run(dir.path(), "J5", json!({"min_score": 0.0})).unwrap();
    assert_eq!((report.get("rejected_unreadable"), kept.picks.len()), (Some(5.0), 10));
    assert!(report.skipped[0].item == "m1" && report.skipped[0].reason.contains("truncated"), "{report:?}");
    assert!(kept.picks.iter().all(|pick| pick.exposure != "m1"));
}

#[test]
fn inputs_that_do_not_belong_together_are_refused_and_none_at_all_is_none() {
    let dir = project(0.0);
    give(dir.path(), vec![pick(8, 1.0, 1.0, 1.0)], vec![]);
    let error = run(dir.path(), "J5", json!({})).unwrap_err().to_string();
    assert!(error.contains("no pick lies on any of the 3 micrographs (first pick: m8"), "{error}");
    give(dir.path(), vec![], vec![]);
    let (report, kept) = run(dir.path(), "J5", json!({})).unwrap();
    assert_eq!((kept.picks.len(), report.get("picks")), (0, Some(0.0)));
}

#[test]
fn ranks_and_interruptions_change_nothing_and_other_thresholds_measure_nothing_anew() {
    let dir = project(2.0);
    give(dir.path(), some_picks(), vec![]);
    let params = json!({"max_local_sd": 1.5, "min_distance": 40.0});
    let (alone, _) = run(dir.path(), "J5", params.clone()).unwrap();
    let together =
        Threads::run(3, |comm| run_on(dir.path(), "J6", params.clone(), comm, &|| false).unwrap().0);
    assert_eq!(together[0], alone);
    let looks = AtomicUsize::new(0);
    let soon = || looks.fetch_add(1, Ordering::Relaxed) >= 1;
    let stopped = run_on(dir.path(), "J7", params.clone(), &Solo, &soon);
    assert!(matches!(stopped, Err(StageError::Stopped)));
    assert_eq!(run(dir.path(), "J7", params).unwrap().0, alone);
    let table = |job: &str| std::fs::read(dir.path().join(job).join("picks.h5")).unwrap();
    assert!(table("J5") == table("J6") && table("J5") == table("J7"));
    let records = dir.path().join("J7/records");
    let length = || -> u64 {
        std::fs::read_dir(&records).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
    };
    let before = length();
    let (report, _) = run(dir.path(), "J7", json!({"min_score": 5.2})).unwrap();
    assert_eq!((report.get("kept"), length()), (Some(9.0), before));
}

#[test]
fn the_page_has_the_parameters_as_they_are() {
    let table = vitreous_jobs::page::parameter_table(&vitreous_jobs::inspect_picks::JOB);
    assert!(include_str!("README.md").contains(&table), "put this into README.md:\n{table}");
}
