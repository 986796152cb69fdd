//! `vitreous cache`, on a cache that jobs have left on this node.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    missing_docs,
    reason = "tests start what they test"
)]

mod scene;

use scene::{AT_ONCE, Scene};
use serde_json::Value;
use std::path::{Path, PathBuf};
use vitreous_cache::{CacheFolder, Holder, Lease, Limits, Watch};

/// A project whose lane has a scratch folder, with copies of `files` there; the lease that holds them.
fn scene_with(files: &[&str]) -> (Scene, Vec<PathBuf>, Lease) {
    // a variable as lanes have them; `$USER` may be unset where tests run
    let scene = Scene::new(AT_ONCE, "scratch: $HOME/disk\ncache: {quota_gib: 1}");
    let disk = scene.above().canonicalize().unwrap().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let cache = CacheFolder::open(&disk).unwrap();
    let limits = Limits { quota_bytes: None, reserve_bytes: 0, keep: true };
    let holder = Holder { job: "J7".into(), project: "/em/T20S".into(), ..Holder::default() };
    let lease = Lease::new(cache, limits, holder).unwrap();
    let paths: Vec<PathBuf> = files.iter().map(|name| disk.join(name)).collect();
    paths.iter().for_each(|path| std::fs::write(path, vec![1; 3 << 19]).unwrap());
    lease.fetch(&paths, Watch { stop: &|| false, progress: &|_, _| {} }).unwrap();
    (scene, paths, lease)
}

fn json(scene: &Scene, args: &[&str]) -> Value {
    serde_json::from_str(&scene.ok(&[args, &["--json"]].concat())).unwrap()
}

#[test]
fn what_is_kept_is_shown_with_who_uses_it() {
    let (scene, paths, lease) = scene_with(&["a.mrcs", "b.mrcs"]);
    lease.release(&paths[0]);
    let text = scene.ok(&["cache"]);
    for part in [
        "(lanes: local)",
        "2 copies, 3.0 MiB",
        "J7 of /em/T20S (rank 0, process ",
        "uses 1 copy",
        "in use",
        "unused for ",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let shown = json(&scene, &["cache", "show"]);
    let cache = &shown["caches"][0]["cache"];
    assert_eq!((cache["bytes"].as_u64(), cache["files"].as_array().map(Vec::len)), (Some(3 << 20), Some(2)));
    assert_eq!(cache["leases"][0]["job"], "J7");
    // the folder may be named, too, with its variables left to the shell of the node
    let named = json(&scene, &["cache", "--scratch", "$HOME/disk"]);
    assert_eq!(named["caches"][0]["cache"]["folder"], cache["folder"]);
    let (code, _, stderr) = scene.vitreous(&["cache", "--scratch", "$NO_SUCH_VARIABLE/x"]);
    assert!(code == 2 && stderr.contains("no absolute path"), "{code}: {stderr}");
}

#[test]
fn a_folder_that_is_no_safe_place_hides_no_other() {
    let (scene, _paths, _lease) = scene_with(&["a.mrcs"]);
    let other = scene.above().canonicalize().unwrap().join("other");
    std::fs::create_dir(&other).unwrap();
    std::os::unix::fs::symlink("/tmp", CacheFolder::path_under(&other)).unwrap();
    let lane = format!("schema: 1\nscheduler: local\nscratch: {}\n", other.display());
    std::fs::write(scene.root().join("lanes/other.yaml"), lane).unwrap();
    let text = scene.ok(&["cache"]);
    assert!(text.contains("1 copy, 1.5 MiB") && text.contains("not looked into: scratch folder"), "{text}");
    let (code, _, stderr) = scene.vitreous(&["cache", "--scratch", other.to_str().unwrap()]);
    assert!(code == 3 && stderr.contains("only you may write"), "{code}: {stderr}");
}

#[test]
fn cleaning_removes_what_nobody_uses_and_says_so_beforehand() {
    let (scene, paths, lease) = scene_with(&["a.mrcs", "b.mrcs"]);
    lease.release(&paths[0]);
    let copy = lease.copy_of(&paths[1]).unwrap();
    assert!(scene.ok(&["cache", "clean", "--dry-run"]).contains("would remove 1 copy, 1.5 MiB; 1 in use"));
    let cleaned = json(&scene, &["cache", "clean", "--unused-for-days", "1"]);
    assert_eq!(cleaned["caches"][0]["cleaned"]["files"], 0, "it was used today");
    assert!(scene.ok(&["cache", "clean"]).contains("removed 1 copy"));
    assert!(copy.is_file());
    drop(lease);
    assert!(scene.ok(&["cache", "clean"]).contains("removed 1 copy, 1.5 MiB; 0 in use"));
    assert!(!copy.exists());
    let (code, _, stderr) = scene.vitreous(&["cache", "clean", "--unused-for-days", "nan"]);
    assert!(code == 2 && stderr.contains("--unused-for-days"), "{code}: {stderr}");
}

#[test]
fn a_copy_that_its_disk_has_spoilt_is_found() {
    let (scene, paths, lease) = scene_with(&["a.mrcs", "b.mrcs"]);
    assert!(scene.ok(&["cache", "check"]).contains("right: 2 copies"));
    let copy = lease.copy_of(&paths[0]).unwrap();
    let mut bytes = std::fs::read(&copy).unwrap();
    bytes[77_777] ^= 4;
    std::fs::write(&copy, bytes).unwrap();
    let (code, stdout, stderr) = scene.vitreous(&["cache", "check"]);
    let line = format!("wrong, removed: the copy of {}", paths[0].display());
    assert!(code == 5 && stdout.contains(&line), "{code}: {stdout}{stderr}");
    assert!(!copy.exists());
}

#[test]
fn where_there_is_none_that_is_said_and_what_jobs_told_of_other_nodes() {
    let scene = Scene::new(
        r#"echo "{\"host\":\"node17\",\"folder\":\"/local/c\",\"found_files\":4,\"found_bytes\":1048576,\"copied_files\":1,\"copied_bytes\":524288,\"evicted_files\":0,\"evicted_bytes\":0,\"direct_files\":0,\"direct_bytes\":0,\"lost_files\":0,\"trouble\":\"\"}" >"$job/attempt-01/node-cache-0.json"
           echo "$VITREOUS_CACHE" >"$here/told"; echo "$VITREOUS_SCRATCH" >>"$here/told""#,
        "scratch: /local/x\ncache: {quota_gib: 1.5, movies: true}",
    );
    assert!(scene.ok(&["cache"]).starts_with("no cache on this node"));
    scene.import(&["--wait"]);
    let text = scene.ok(&["cache"]);
    assert!(text.contains("node17 J1: 4 found (1.0 MiB), 1 made (0.5 MiB)\n"), "{text}");
    assert_eq!(json(&scene, &["cache"])["heard"][0]["host"], "node17");
    let told = std::fs::read_to_string(scene.above().join("told")).unwrap();
    let (settings, scratch) = told.trim().split_once('\n').unwrap();
    let settings: Value = serde_json::from_str(settings).unwrap();
    assert_eq!(
        (settings["quota_gib"].as_f64(), settings["movies"].as_bool(), scratch),
        (Some(1.5), Some(true), "/local/x")
    );
    assert!(Path::new("/local/x").symlink_metadata().is_err(), "nothing was made of it");
}
