#![allow(clippy::disallowed_methods, reason = "tests plant files")]

use super::*;
use crate::shell::Local;
use serde_json::{Value, json};
use std::path::Path;
use vitreous_project::{Microscope, NewJob, ProjectFile};

/// A project in which nothing has run: what its jobs have written is planted.
struct Scene {
    folder: tempfile::TempDir,
    project: Project,
}

impl Scene {
    /// J1 import-movies, J2 correct-motion, J3 estimate-ctf, J4 curate-exposures, J5 pick-blobs, and J6, which has nothing
    /// to do with them.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = ProjectFile::new("T20S", Microscope::default());
        let project = Project::init(&folder.path().join("P"), file).unwrap();
        std::fs::create_dir(folder.path().join("raw")).unwrap();
        let scene = Self { folder, project };
        scene.job("import-movies", &[], json!({"watch": "../raw", "settle_s": 0.0}));
        scene.job("correct-motion", &[("movies", "J1.movies")], json!({}));
        scene.job("estimate-ctf", &[("micrographs", "J2.micrographs")], json!({}));
        scene.job("curate-exposures", &[("micrographs", "J3.micrographs")], json!({}));
        scene.job("pick-blobs", &[("micrographs", "J4.micrographs")], json!({"diameter": 100.0}));
        scene.job("import-movies", &[], json!({"movies": "../raw/*.tif"}));
        scene
    }

    fn job(&self, job_type: &str, inputs: &[(&str, &str)], params: Value) -> JobDir {
        let inputs = inputs.iter().map(|(slot, from)| ((*slot).to_string(), vec![from.parse().unwrap()]));
        let new = NewJob {
            job_type: job_type.into(),
            title: String::new(),
            inputs: inputs.collect(),
            params: params.as_object().cloned().unwrap(),
            lane: "local".into(),
            resources: Default::default(),
            vars: Default::default(),
            retry: Default::default(),
            fingerprint: String::new(),
        };
        self.project.create_job(new, None).unwrap()
    }

    fn dir(&self, number: u32) -> JobDir {
        self.project.job(JobNumber(number)).unwrap()
    }

    fn plant(&self, number: u32, name: &str, text: &str) {
        let path = self.dir(number).file(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// A report of an attempt, as it stands in `folder` of the job.
    fn report(&self, number: u32, folder: &str, attempt: u32, rows: Value, skipped: Value) {
        let job = self.dir(number);
        let report = json!({"schema": 1, "title": "", "numbers": [], "exposures": rows, "skipped": skipped});
        self.plant(number, &format!("{folder}report.json"), &report.to_string());
        self.plant(number, &format!("{folder}report.html"), "<html>");
        let effective = json!({
            "schema": 1, "job": format!("J{number}"), "type": job.spec().job_type, "uuid": job.spec().uuid,
            "attempt": attempt, "params": {}, "inputs": {}, "versions": {}, "host": "", "device": "", "ranks": 1,
            "threads": 1, "command_line": [], "started_unix_s": 0.0,
        });
        self.plant(number, &format!("{folder}effective.json"), &effective.to_string());
        std::fs::create_dir_all(job.attempt(attempt).path()).unwrap();
    }

    fn record(&self, number: u32, log: &str, item: &str, outcome: Value) {
        let path = self.dir(number).file("records").join(log);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut text = std::fs::read_to_string(&path).unwrap_or_default();
        text += &format!("\n{}\n", json!({"item": item, "fingerprint": "f", "outcome": outcome}));
        std::fs::write(path, text).unwrap();
    }

    fn board(&self) -> Board {
        Board::look(&self.project, &Local).unwrap()
    }

    fn gathered(&self) -> Collection {
        draw(&self.project, &self.board(), JobNumber(1)).unwrap().0
    }
}

/// Two movies through everything, in a first attempt of every job.
fn two_movies() -> Scene {
    let scene = Scene::new();
    let movie =
        |name: &str, at: f64| json!({"name": name, "path": name, "recorded_unix_s": at, "bytes": 1000});
    let lost = json!([{"item": "raw/bad.tif", "reason": "raw/bad.tif: it is cut off"}]);
    scene.report(1, "", 1, json!([movie("b", 200.0), movie("a", 100.0)]), lost);
    let motion =
        |name: &str| json!({"name": name, "motion_total_A": 12.0, "motion_early_A": 5.0, "field_A": null});
    scene.report(2, "", 1, json!([motion("a"), motion("b")]), json!([]));
    let ctf = |name: &str, u: f64| json!({"name": name, "defocus_u_A": u, "defocus_v_A": u - 200.0, "fit_resolution_A": 4.0});
    scene.report(3, "", 1, json!([ctf("a", 10_100.0), ctf("b", 30_100.0)]), json!([]));
    let judged = json!([{"name": "a", "passed": true}, {"name": "b", "passed": false}]);
    scene.report(
        4,
        "",
        1,
        judged,
        json!([{"item": "b", "reason": "its defocus is 30000 Å, the most is 25000 Å"}]),
    );
    scene.report(5, "", 1, json!([{"name": "a", "picks": 77, "masked_fraction": 0.1}]), json!([]));
    scene
}

#[test]
fn what_jobs_say_is_joined_by_exposure_in_the_order_of_recording() {
    let collection = two_movies().gathered();
    let names: Vec<&str> = collection.exposures.iter().map(|e| e.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    let [a, b] = &collection.exposures[..] else { panic!("two") };
    assert_eq!((a.motion_total_a, a.motion_early_a), (Some(12.0), Some(5.0)));
    assert_eq!((a.defocus_a, a.astigmatism_a, a.picks), (Some(10_000.0), Some(200.0), Some(77)));
    assert_eq!((a.movie_bytes, a.rejected.is_none(), b.picks), (1000, true, None));
    let rejected = b.rejected.as_ref().unwrap();
    assert_eq!(rejected.by, "J4 curate-exposures");
    assert_eq!(collection.left_out.len(), 1);
    let types: Vec<(&str, u64, u64)> =
        collection.jobs.iter().map(|job| (job.job_type.as_str(), job.done, job.left_out)).collect();
    let wanted = [("import-movies", 2, 1), ("correct-motion", 2, 0), ("estimate-ctf", 2, 0)];
    assert_eq!(types, [&wanted[..], &[("curate-exposures", 1, 1), ("pick-blobs", 1, 0)]].concat());
    assert_eq!(collection.jobs[2].page, "../J0003-estimate-ctf/report.html");
}

#[test]
fn a_running_attempt_shows_what_it_has_done_beside_the_report_of_the_last() {
    let scene = two_movies();
    // the second attempt of estimate-ctf has been launched: the report of the first is set aside
    for file in ["report.json", "report.html", "effective.json"] {
        std::fs::rename(scene.dir(3).file(file), scene.dir(3).attempt(1).file(file)).unwrap();
    }
    std::fs::create_dir(scene.dir(3).attempt(2).path()).unwrap();
    let fit = |u: f64| {
        let ctf = json!({
            "voltage": 300.0, "cs": 2.7, "amplitude_contrast": 0.1, "defocus_u_a": u, "defocus_v_a": u,
            "astigmatism_angle": 0.0, "phase_shift": 0.0
        });
        json!({"done": {"ctf": ctf, "fit_resolution_a": 3.5, "score": 0.5}})
    };
    scene.record(3, "micrographs-a01-r1-0000.jsonl", "a", fit(99_999.0));
    scene.record(3, "micrographs-a02-r1-0000.jsonl", "c", fit(12_000.0));
    scene.record(3, "micrographs-a02-s1-r1-0000.jsonl", "d", json!({"skipped": "it is flat"}));
    scene.plant(3, "records/micrographs-a02-s2-r1-0000.jsonl", "\n{\"item\": \"torn\", \"outc");
    let collection = scene.gathered();
    let find = |name: &str| collection.exposures.iter().find(|e| e.name == name).unwrap();
    assert_eq!(find("a").defocus_a, Some(10_000.0), "the records of the first attempt are in its report");
    assert_eq!((find("c").defocus_a, find("c").fit_resolution_a), (Some(12_000.0), Some(3.5)));
    assert_eq!(find("d").rejected.as_ref().unwrap().reason, "it is flat");
    assert_eq!((collection.jobs[2].done, collection.jobs[2].left_out), (3, 1));
    assert_eq!(collection.jobs[2].page, "../J0003-estimate-ctf/attempt-01/report.html");
}

#[test]
fn movies_that_are_not_taken_in_yet_are_to_be_done() {
    let scene = two_movies();
    let now_ns = crate::queue::now_ns(&scene.project);
    std::fs::write(scene.folder.path().join("raw/c.tif"), "c").unwrap();
    std::fs::write(scene.folder.path().join("raw/c.tif.mdoc"), "c").unwrap();
    std::fs::write(scene.dir(1).attempt(1).file("intent.json"), "{}").unwrap();
    assert!(now_ns > 0);
    let collection = scene.gathered();
    assert!(collection.is_watched);
    // it came before the intent was planted
    assert_eq!((collection.waiting, collection.still_written), (0, 0));
    std::thread::sleep(std::time::Duration::from_millis(20));
    std::fs::write(scene.folder.path().join("raw/d.tif"), "d").unwrap();
    let collection = scene.gathered();
    assert_eq!(collection.waiting + collection.still_written, 1);
    assert_eq!(collection.report().get("backlog"), Some(1.0));
    assert!(growth_ends(&scene), "a watch that is ended is told");
}

fn growth_ends(scene: &Scene) -> bool {
    crate::growth::stop(&scene.project, &scene.dir(1)).unwrap();
    let collection = scene.gathered();
    !collection.is_watched && collection.waiting == 0
}

#[test]
fn pages_are_drawn_when_something_has_changed() {
    let scene = two_movies();
    let drawn = refresh(&scene.project, &scene.board());
    assert_eq!(drawn.len(), 1, "J6 watches nothing");
    let page = drawn[0].1.as_ref().unwrap();
    assert_eq!(page, &scene.dir(1).file(PAGE));
    assert!(std::fs::read_to_string(page).unwrap().contains("Exposures: 2"));
    // at the turn of ten minutes it is drawn anew without a reason
    let again = |scene: &Scene| (0..2).any(|_| refresh(&scene.project, &scene.board()).is_empty());
    assert!(again(&scene), "nothing has changed");
    let rows = json!([{"name": "a", "picks": 1}, {"name": "b", "picks": 2}]);
    std::thread::sleep(std::time::Duration::from_millis(20));
    scene.report(5, "", 1, rows, json!([]));
    assert_eq!(refresh(&scene.project, &scene.board()).len(), 1);
    std::fs::remove_file(page).unwrap();
    assert_eq!(refresh(&scene.project, &scene.board()).len(), 1, "a page that is gone comes back");
    for name in
        std::fs::read_dir(scene.project.cache_file("x").parent().unwrap()).into_iter().flatten().flatten()
    {
        std::fs::remove_file(name.path()).unwrap();
    }
    assert_eq!(refresh(&scene.project, &scene.board()).len(), 1, "the cache may be deleted");
}

#[test]
fn only_imports_of_movies_begin_collections_and_bad_folders_are_told() {
    let scene = two_movies();
    let board = scene.board();
    assert_eq!(newest(&board), Some(JobNumber(1)));
    assert_eq!(draw(&scene.project, &board, JobNumber(6)).unwrap().0.exposures.len(), 0);
    let failure = draw(&scene.project, &board, JobNumber(2)).unwrap_err();
    assert!(failure.text().contains("J2 is a job of type correct-motion"), "{}", failure.text());
    // a folder of the page's name: the page cannot be written, and the pass goes on
    std::fs::create_dir_all(scene.dir(1).file(PAGE).join("x")).unwrap();
    let drawn = refresh(&scene.project, &board);
    assert!(drawn[0].1.is_err());
}

#[test]
fn the_newest_micrographs_are_shown_with_their_spectra() {
    use vitreous_model::report::{Figure, Raster};
    let scene = two_movies();
    let picture = |title: &str| Figure::Image {
        id: "p".into(),
        title: title.into(),
        raster: Raster { width: 1, height: 1, pixels: vec![7], file: String::new() },
        marks: Vec::new(),
        pixel_size_a: None,
    };
    let plant = |number: u32, name: &str| {
        let folder = scene.dir(number).file("pictures");
        std::fs::create_dir_all(&folder).unwrap();
        let title = format!("{name} of J{number}");
        vitreous_report::picture::write(&folder.join(format!("{name}.png")), &picture(&title)).unwrap();
    };
    plant(2, "a");
    plant(2, "b");
    plant(3, "a");
    plant(5, "a");
    std::fs::write(scene.dir(3).file("pictures/b.png"), "no picture").unwrap();
    let collection = scene.gathered();
    let titles = |at: usize| -> Vec<String> {
        let title = |figure: &Figure| match figure {
            Figure::Image { title, .. } => title.clone(),
            _ => String::new(),
        };
        collection.newest[at].pictures.iter().map(title).collect()
    };
    assert_eq!(titles(0), ["b of J2"], "the newest first; no picks, no spectrum");
    assert_eq!(titles(1), ["a of J5", "a of J3"]);
}

#[test]
fn the_course_of_a_job_is_read_once_and_goes_on() {
    let scene = two_movies();
    let events = |attempt: u32, lines: &[(f64, u64)]| {
        let mut text =
            String::from("{\"seq\":0,\"unix_s\":0.0,\"event\":\"phase\",\"name\":\"movies\",\"total\":9}\n");
        for (seq, (at, done)) in lines.iter().enumerate() {
            let line = json!({"seq": seq + 1, "unix_s": at, "event": "progress", "done": done, "total": 9});
            text += &format!("{line}\n");
        }
        scene.plant(2, &format!("attempt-{attempt:02}/events.jsonl"), &text);
    };
    events(1, &[(10.0, 1), (20.0, 2)]);
    events(2, &[(30.0, 3)]);
    let job = scene.dir(2);
    let mut course = course::Course::default();
    assert_eq!(course.follow(&job).unwrap(), [(10.0, 1), (20.0, 1), (30.0, 1)]);
    events(2, &[(30.0, 3), (35.0, 5)]);
    std::fs::remove_file(job.attempt(1).events_path()).unwrap();
    assert_eq!(course.follow(&job).unwrap(), [(10.0, 1), (20.0, 1), (30.0, 1), (35.0, 2)], "from the cache");
    let lines: Vec<(f64, u64)> = scene.gathered().jobs[1].finished.clone();
    assert_eq!(lines, [(30.0, 1), (35.0, 2)], "the cache of the page was made after the file was gone");
    assert!(Path::new(&Kept::file(&scene.project, JobNumber(1))).is_file());
}
