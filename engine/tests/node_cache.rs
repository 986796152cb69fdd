//! Jobs beside a node-local cache: one copy for all, the same results whatever becomes of it.
#![allow(clippy::disallowed_methods, reason = "tests spoil what they test")]

mod harness;

use harness::{Scratch, assert_same_results, engine, events, finish, mpirun, run};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use vitreous_cache::CacheFolder;
use vitreous_model::event::EventKind;
use vitreous_project::{JobDir, NodeCacheUse};

const INPUTS: [(&str, &str); 2] = [("particles", "J1.particles"), ("volume", "J1.volume")];
const ROOMY: &str = r#"{"quota_gib": 1, "reserve_gib": 0}"#;

fn params() -> Value {
    json!({"initial_lowpass": 25.0, "diameter": 100.0, "max_iterations": 3})
}

/// A project with particles, one refinement of them without any cache, and a scratch disk.
struct Scene {
    scratch: Scratch,
    /// Of the refinement without a cache, in a project of its own.
    _twin: Scratch,
    direct: JobDir,
    disk: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let scratch = Scratch::new();
        harness::small_particles(&scratch, 120);
        let twin = scratch.twin();
        let direct = twin.done("refine-homogeneous", &INPUTS, params());
        Self { scratch, _twin: twin, direct, disk: tempfile::tempdir().expect("temporary folder") }
    }

    fn job(&self) -> JobDir {
        self.scratch.job("refine-homogeneous", &INPUTS, params())
    }

    /// The engine on a job as a lane's script would start it.
    fn engine(&self, job: &JobDir, settings: &str) -> Command {
        with_cache(engine(job, &[]), self.disk.path(), settings)
    }

    fn cache(&self) -> PathBuf {
        CacheFolder::path_under(self.disk.path())
    }

    /// Runs the second job of the project with a cache, to its end; the results are those without.
    fn run(&self, settings: &str) -> (JobDir, NodeCacheUse) {
        let job = self.job();
        finish(self.engine(&job, settings).spawn().expect("should start")).succeeded(&job);
        assert_same_results(&self.direct, &job);
        let used = used(&job);
        (job, used)
    }
}

fn with_cache(mut command: Command, scratch: &Path, settings: &str) -> Command {
    command.env("VITREOUS_SCRATCH", scratch).env("VITREOUS_CACHE", settings);
    command
}

/// What all ranks of a job had of the cache.
fn used(job: &JobDir) -> NodeCacheUse {
    let attempt = job.latest_attempt().expect("should list").expect("should have an attempt");
    let mut sum = NodeCacheUse::default();
    attempt.node_caches().iter().for_each(|one| sum.add(one));
    assert!(!sum.host.is_empty(), "no rank has told");
    sum
}

fn says(job: &JobDir, part: &str) -> bool {
    let says = |event: &EventKind| matches!(event, EventKind::Message { text } if text.contains(part));
    events(job).iter().any(says)
}

/// Copies that are there.
fn copies(cache: &Path) -> usize {
    std::fs::read_dir(cache.join("files")).map_or(0, Iterator::count)
}

#[test]
fn a_second_job_reads_the_copies_of_the_first_and_finds_the_same() {
    let scene = Scene::new();
    let (first, used_first) = scene.run(ROOMY);
    assert!(
        used_first.copied_files > 0 && used_first.found_files + used_first.direct_files == 0,
        "{used_first:?}"
    );
    assert_eq!(copies(&scene.cache()), used_first.copied_files);
    assert!(says(&first, "copies on "));
    // the images really come from there: a copy of other content, with the record of the old, makes another map
    let second = scene.job();
    finish(scene.engine(&second, ROOMY).spawn().expect("should start")).succeeded(&second);
    assert_eq!((used(&second).found_files, used(&second).copied_files), (used_first.copied_files, 0));
    assert_eq!(harness::report(&second)["numbers"], harness::report(&scene.direct)["numbers"]);
    for entry in std::fs::read_dir(scene.cache().join("files")).expect("should list").flatten() {
        for file in std::fs::read_dir(entry.path()).expect("should list").flatten() {
            if file.path().extension().is_some_and(|extension| extension == "mrcs") {
                let mut bytes = std::fs::read(file.path()).expect("should read");
                bytes[1024..].rotate_right(4 * 40 * 40);
                std::fs::write(file.path(), bytes).expect("should write");
            }
        }
    }
    let third = scene.job();
    finish(scene.engine(&third, ROOMY).spawn().expect("should start")).succeeded(&third);
    assert_ne!(harness::report(&third)["numbers"], harness::report(&scene.direct)["numbers"]);
}

#[test]
fn jobs_that_start_together_share_one_copy() {
    let scene = Scene::new();
    let jobs = [scene.job(), scene.job()];
    let running: Vec<_> =
        jobs.iter().map(|job| scene.engine(job, ROOMY).spawn().expect("should start")).collect();
    running.into_iter().zip(&jobs).for_each(|(child, job)| finish(child).succeeded(job));
    let all = jobs.each_ref().map(used);
    let files = copies(&scene.cache());
    assert_eq!(all.iter().map(|used| used.copied_files).sum::<usize>(), files);
    assert!(
        all.iter().all(|used| used.copied_files + used.found_files == files && used.direct_files == 0),
        "{all:?}"
    );
}

#[test]
fn ranks_of_a_node_share_one_copy() {
    let scene = Scene::new();
    let job = scene.job();
    let path = job.path().to_string_lossy().into_owned();
    let Some(command) = mpirun(3, &["run", &path, "--threads", "1", "--ranks", "3"]) else { return };
    let mut command = with_cache(command, scene.disk.path(), ROOMY);
    finish(command.spawn().expect("mpirun should start")).succeeded(&job);
    assert_same_results(&scene.direct, &job);
    let (used, files) = (used(&job), copies(&scene.cache()));
    assert_eq!((used.copied_files, used.found_files, used.direct_files), (files, 2 * files, 0));
}

#[test]
fn a_cache_that_is_removed_again_and_again_changes_nothing() {
    let scene = Scene::new();
    let job = scene.job();
    let mut child = scene.engine(&job, ROOMY).spawn().expect("should start");
    let mut removed = 0;
    while child.try_wait().expect("should be ours").is_none() {
        // removal may meet files that are being made
        let _ = std::fs::remove_dir_all(scene.cache());
        removed += 1;
        std::thread::sleep(Duration::from_millis(2));
    }
    finish(child).succeeded(&job);
    assert!(removed > 5, "the job ended before anything could be removed");
    assert_same_results(&scene.direct, &job);
}

#[test]
fn a_job_killed_while_it_copies_leaves_nothing_that_is_used() {
    let scene = Scene::new();
    let job = scene.job();
    let copying = scene.cache().join("copying");
    let mut caught = 0;
    for attempt in 1..=8 {
        let number = attempt.to_string();
        let mut command = with_cache(engine(&job, &["--attempt", &number]), scene.disk.path(), ROOMY);
        let mut child = command.spawn().expect("should start");
        let started = Instant::now();
        let is_copying = || std::fs::read_dir(&copying).is_ok_and(|mut entries| entries.next().is_some());
        while !is_copying()
            && started.elapsed() < Duration::from_secs(20)
            && child.try_wait().expect("ours").is_none()
        {}
        child.kill().expect("should be ours to kill");
        finish(child);
        caught += usize::from(is_copying());
    }
    println!("{caught} of 8 were killed in the middle of a copy");
    assert!(caught > 0, "no job was killed while it copied");
    let number = "9";
    let mut command = with_cache(engine(&job, &["--attempt", number]), scene.disk.path(), ROOMY);
    finish(command.spawn().expect("should start")).succeeded(&job);
    assert_same_results(&scene.direct, &job);
    assert_eq!(std::fs::read_dir(&copying).expect("should list").count(), 0);
    let checked =
        CacheFolder::existing(scene.disk.path()).expect("should open").expect("should be there").check();
    assert_eq!(checked.expect("should check").wrong, Vec::<PathBuf>::new());
}

#[test]
fn what_has_no_room_is_read_where_it_lies_and_that_is_said() {
    let scene = Scene::new();
    let (job, used) = scene.run(r#"{"quota_gib": 1e-6, "reserve_gib": 0}"#);
    assert!(used.direct_files > 0 && used.trouble.contains("quota"), "{used:?}");
    assert!(says(&job, "read where they lie: the cache's quota"));
}

#[test]
fn a_scratch_disk_that_is_missing_or_full_is_done_without() {
    let scene = Scene::new();
    let job = scene.job();
    let mut command = with_cache(engine(&job, &[]), Path::new("/no/such/disk"), ROOMY);
    finish(command.spawn().expect("should start")).succeeded(&job);
    assert_same_results(&scene.direct, &job);
    assert!(says(&job, "there is no cache") && used(&job).trouble.contains("/no/such/disk"));

    let Some(disk) = SmallDisk::mount(scene.disk.path()) else { return };
    for (fill_bytes, why) in [(0, "kept free"), (10 << 20, "No space left")] {
        disk.fill(fill_bytes);
        let job = scene.job();
        let mut command =
            with_cache(engine(&job, &[]), &disk.folder, r#"{"quota_gib": 1, "reserve_gib": 0}"#);
        finish(command.spawn().expect("should start")).succeeded(&job);
        assert_eq!(harness::report(&job)["numbers"], harness::report(&scene.direct)["numbers"]);
        let used = used(&job);
        assert!(used.copied_files == 0 && used.trouble.contains(why), "{used:?}");
    }
}

/// A file system of 256 KiB in memory.
struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    #[allow(clippy::print_stdout, reason = "tests mount what they fill, or say why not")]
    fn mount(above: &Path) -> Option<Self> {
        let folder = above.join("small");
        std::fs::create_dir(&folder).expect("should make a folder");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "none"]).arg(&folder).status();
        if !mounted.is_ok_and(|status| status.success()) {
            println!("skipped: no permission to mount a small disk");
            return None;
        }
        Some(Self { folder })
    }

    /// Writes until so many bytes are written or the disk is full.
    fn fill(&self, bytes: usize) {
        use std::io::Write;
        let mut file = std::fs::File::create(self.folder.join("filling")).expect("should create");
        let _ = file.write_all(&vec![1; bytes]);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.folder).status();
    }
}

#[test]
fn a_bare_run_makes_no_cache() {
    let scene = Scene::new();
    let job = scene.job();
    run(&job, &[]).succeeded(&job);
    assert!(job.latest_attempt().expect("should list").expect("there").node_caches().is_empty());
    let mut command =
        with_cache(engine(&job, &["--attempt", "2"]), scene.disk.path(), r#"{"enabled": false}"#);
    finish(command.spawn().expect("should start")).succeeded(&job);
    assert!(!scene.cache().exists(), "the lane has turned it off");
}

#[test]
fn movies_are_copied_where_the_lane_wants_it_and_given_back() {
    let scratch = Scratch::new();
    harness::small_movies(&scratch);
    let disk = tempfile::tempdir().expect("temporary folder");
    let twin = scratch.twin();
    let inputs = [("movies", "J1.movies")];
    let motion = json!({"patches_x": 1, "patches_y": 1});
    let direct = twin.done("correct-motion", &inputs, motion.clone());
    let job = scratch.job("correct-motion", &inputs, motion);
    // room for two of the five at a time: those that are done make room for the others
    let movie = std::fs::metadata(first_movie(&scratch)).expect("should be there").len();
    let quota_gib = 2.5 * movie as f64 / f64::from(1 << 30);
    let settings = json!({"quota_gib": quota_gib, "reserve_gib": 0, "movies": true}).to_string();
    let mut command = with_cache(engine(&job, &["--threads", "1"]), disk.path(), &settings);
    finish(command.spawn().expect("should start")).succeeded(&job);
    assert_same_results(&direct, &job);
    let used = used(&job);
    assert_eq!(used.copied_files + used.direct_files, 5);
    assert!(used.evicted_files > 0, "{used:?}");
    assert!(says(&job, "copies on "));
    assert!(copies(&CacheFolder::path_under(disk.path())) <= 2);
}

/// A movie of the first job.
fn first_movie(scratch: &Scratch) -> PathBuf {
    let job = scratch.project.root().join("J0001-simulate/movies");
    let movies = std::fs::read_dir(job).expect("should list").flatten().map(|entry| entry.path());
    movies.into_iter().find(|path| path.is_file()).expect("should have a movie")
}
