//! An import that watches a folder.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    missing_docs,
    reason = "tests start what they test"
)]

mod scene;

use scene::{AT_ONCE, Scene, eventually};

#[test]
fn new_movies_are_taken_in_when_they_are_complete_and_until_somebody_says_stop() {
    let scene = Scene::new(AT_ONCE, "");
    let raw = scene.above().join("microscope");
    let (code, _, stderr) = scene.vitreous(&["run", "import-movies", "--watch", "../microscope"]);
    assert!(code == 3 && stderr.contains("`watch`: no folder"), "{stderr}");
    std::fs::create_dir(&raw).unwrap();
    scene.ok(&["run", "import-movies", "--watch", "../microscope", "--settle-s", "1", "--wait"]);
    assert_eq!(scene.runs().len(), 1, "a folder that is still empty is no error");
    assert!(scene.ok(&["why", "J1"]).contains("no movie has come yet, 0 to take in"));

    std::fs::write(raw.join("a.tif"), "a").unwrap();
    scene.ok(&["advance"]);
    assert_eq!(scene.runs().len(), 1, "it may still be being written");
    let mut said = String::new();
    eventually("a second attempt", || {
        said = scene.ok(&["advance"]);
        scene.runs().len() == 2
    });
    scene.wait_for(1, "done");
    scene.ok(&["advance"]);
    assert_eq!(scene.runs(), ["J0001-import-movies 1", "J0001-import-movies 2"], "it is taken in once");

    let (code, _, stderr) = scene.vitreous(&["cancel", "J1"]);
    assert_eq!((code, stderr.as_str()), (0, "J1 watches no longer\n"));
    std::fs::write(raw.join("b.tif"), "b").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1200));
    scene.ok(&["advance"]);
    assert_eq!(scene.runs().len(), 2);
    assert_eq!(scene.state(1), "done");
}
