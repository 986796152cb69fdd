//! A collection followed from the first movie to the last: real movies, the real engine, passes of `advance` in between.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    reason = "tests start what they test, or say why not"
)]

mod scene;

use scene::{AT_ONCE, Scene, VITREOUS, eventually};
use std::path::{Path, PathBuf};

/// The engine that was built beside the program under test.
fn engine() -> Option<PathBuf> {
    let engine = Path::new(VITREOUS).with_file_name("vitreous-engine");
    if !engine.is_file() {
        println!("skipped: {} is not built", engine.display());
        return None;
    }
    Some(engine)
}

/// Two rods of carbon.
fn write_model(path: &Path) {
    let mut text = String::new();
    for serial in 0..400u32 {
        let (rod, step) = (f64::from(serial % 2), f64::from(serial / 2));
        let along = 0.3 * step - 30.0;
        let turn = 1.7 * step;
        let [x, y, z] =
            [along * (1.0 - rod) + 2.3 * turn.cos(), along * rod + 2.3 * turn.sin(), 20.0 * rod - 10.0];
        text += &format!(
            "ATOM  {:5}  CA  ALA A{:4}    {x:8.3}{y:8.3}{z:8.3}  1.00 20.00           C\n",
            serial + 1,
            serial + 1
        );
    }
    std::fs::write(path, text + "END\n").unwrap();
}

/// A project with the real engine, six small movies of the simulation in J1, and J2 to J7: an import that watches a
/// folder, and the jobs behind it.
fn followed(engine: &Path) -> Scene {
    let scene = Scene::new(AT_ONCE, "");
    let lane = format!("schema: 1\nscheduler: local\nengine: {}\nslots: 8\n", engine.display());
    std::fs::write(scene.root().join("lanes/local.yaml"), lane).unwrap();
    write_model(&scene.root().join("model.pdb"));
    let simulate = "run simulate --model model.pdb --movies 6 --particles-per-movie 6 --width 256 --height 192 --frames 8 \
                    --dose-per-frame 3 --pixel-size 2 --box-size 64 --amplitude-contrast 0.1 --wait";
    scene.ok(&simulate.split_whitespace().collect::<Vec<_>>());
    std::fs::create_dir(scene.above().join("microscope")).unwrap();
    for job in [
        "run import-movies --watch ../microscope --settle-s 0.2 --pixel-size 2 --dose-per-frame 3 --gain J0001-simulate/gain.mrc",
        "run check-gain --movies J2 --after",
        "run correct-motion --movies J3 --patches-x 1 --patches-y 1 --after",
        "run estimate-ctf --micrographs J4 --tile 128 --min-defocus 5000 --max-defocus 30000 --max-resolution 6 --after",
        "run curate-exposures --micrographs J5 --max-motion 1 --after",
        "run pick-blobs --micrographs J5 --diameter 80 --threshold 1 --after",
    ] {
        scene.ok(&job.split_whitespace().collect::<Vec<_>>());
    }
    scene
}

/// Puts movies of the simulation into the folder that is watched.
fn deliver(scene: &Scene, numbers: &[u32]) {
    for number in numbers {
        let name = format!("movie_{number:04}.tif");
        let from = scene.job(1).join("movies").join(&name);
        std::fs::copy(from, scene.above().join("microscope").join(&name)).unwrap();
    }
}

/// Passes until all jobs have taken in so many movies.
fn advance_to(scene: &Scene, movies: u64) -> serde_json::Value {
    let mut seen = serde_json::Value::Null;
    eventually(&format!("{movies} movies through all jobs"), || {
        scene.ok(&["advance"]);
        seen = serde_json::from_str(&scene.ok(&["report", "--collection", "--json"])).unwrap();
        let jobs = seen["jobs"].as_array().unwrap();
        jobs.iter().all(|job| {
            assert_ne!(job["state"], "failed", "{job}");
            job["state"] == "done"
                && job["done"].as_u64().unwrap() + job["left_out"].as_u64().unwrap() == movies
        })
    });
    seen
}

fn number(seen: &serde_json::Value, key: &str) -> f64 {
    let numbers = seen["numbers"].as_array().unwrap();
    numbers.iter().find(|number| number["key"] == key).unwrap()["value"].as_f64().unwrap()
}

#[test]
fn the_page_of_a_collection_grows_with_it() {
    let Some(engine) = engine() else { return };
    let scene = followed(&engine);
    scene.ok(&["advance"]);
    let page = scene.job(2).join("collection.html");
    assert!(page.is_file(), "a pass draws the page, even before the first movie");
    deliver(&scene, &[2, 5]);
    let seen = advance_to(&scene, 2);
    assert_eq!(seen["job"], "J2", "the import that watches, not the newest job");
    assert_eq!((number(&seen, "movies"), number(&seen, "backlog")), (2.0, 0.0));
    let jobs: Vec<&str> =
        seen["jobs"].as_array().unwrap().iter().map(|job| job["type"].as_str().unwrap()).collect();
    assert_eq!(
        jobs,
        ["import-movies", "check-gain", "correct-motion", "estimate-ctf", "curate-exposures", "pick-blobs"]
    );
    deliver(&scene, &[1, 3, 6]);
    let seen = advance_to(&scene, 5);
    assert_eq!((number(&seen, "movies"), number(&seen, "preprocessed")), (5.0, 5.0));
    assert_eq!(seen["rejected"].as_array().unwrap().len(), 5, "all move by more than 1 Å");
    assert!(number(&seen, "jobs_bytes") > 0.0);
    let numbers = seen["numbers"].as_array().unwrap();
    let defocus = numbers.iter().find(|number| number["key"] == "defocus_median_um").unwrap();
    assert!(defocus["value"].is_null(), "medians are those of what is kept: {defocus}");
    let drawn = || {
        let said: serde_json::Value = serde_json::from_str(&scene.ok(&["advance", "--json"])).unwrap();
        said["pages"].as_array().unwrap().len()
    };
    // the page of the pass, not of the report; the pass that follows the last job's end may still come before ours
    eventually("a pass draws the page that is gone", || {
        std::fs::remove_file(&page).unwrap();
        drawn() == 1
    });
    let html = std::fs::read_to_string(&page).unwrap();
    for number in [1, 2, 3, 5, 6] {
        assert!(html.contains(&format!("movie_{number:04}")), "movie {number}");
    }
    assert!(!html.contains("movie_0004"));
    assert!(html.contains("Exposures: 5") && html.contains("Rejected: 5 of 5"));
    assert!(html.contains("its motion is … Å, the most is … Å"), "reasons are counted together");
    // five micrographs with their picks and their spectra
    assert_eq!(html.matches("data:image/png;base64").count(), 10);
    assert_eq!(drawn(), 0, "nothing has changed");
    assert!(scene.ok(&["report", "J2"]).contains("collection.html"));
    // nothing follows a page that cannot be written
    std::fs::remove_file(&page).unwrap();
    std::fs::create_dir_all(page.join("in-the-way")).unwrap();
    let (code, _, stderr) = scene.vitreous(&["advance"]);
    assert!(code == 0 && stderr.contains("the page of its collection"), "{code} {stderr}");
}
