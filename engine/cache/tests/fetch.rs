//! What leases promise each other, within one process: each lease has locks of its own.
#![expect(clippy::disallowed_methods, reason = "tests make the files that are copied")]

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use vitreous_cache::{CacheFolder, Fetched, Holder, Lease, Limits, Watch};

const MIB: u64 = 1 << 20;
const IN_SILENCE: Watch<'_> = Watch { stop: &|| false, progress: &|_, _| {} };

/// Originals and a scratch disk.
struct Scene {
    folder: tempfile::TempDir,
    cache: CacheFolder,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let cache = CacheFolder::open(folder.path()).expect("should open");
        Self { folder, cache }
    }

    /// A file of so many MiB, of one value.
    fn file(&self, name: &str, mib: usize, value: u8) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, vec![value; mib << 20]).expect("should write");
        path
    }

    fn files(&self, count: usize) -> Vec<PathBuf> {
        (0..count).map(|i| self.file(&format!("{i}.mrcs"), 1, i as u8)).collect()
    }

    fn lease(&self, quota_mib: Option<u64>) -> Lease {
        let quota_bytes = quota_mib.map(|mib| mib * MIB);
        self.lease_within(Limits { quota_bytes, reserve_bytes: 0, keep: true })
    }

    fn lease_within(&self, limits: Limits) -> Lease {
        Lease::new(self.cache.clone(), limits, Holder::default()).expect("should lease")
    }

    /// Originals whose copies are there.
    fn kept(&self) -> Vec<String> {
        let inventory = self.cache.inventory().expect("should list");
        let name = |path: &Path| path.file_name().expect("a name").to_string_lossy().into_owned();
        let mut names: Vec<String> = inventory.files.iter().map(|file| name(&file.original)).collect();
        names.sort();
        names
    }

    /// The folder of a file's copy.
    fn copy_folder(&self, lease: &Lease, path: &Path) -> PathBuf {
        lease.copy_of(path).expect("should be held").parent().expect("a folder").to_path_buf()
    }
}

fn fetch(lease: &Lease, paths: &[PathBuf]) -> Fetched {
    lease.fetch(paths, IN_SILENCE).expect("should fetch")
}

fn counts(fetched: &Fetched) -> (usize, usize, usize) {
    (fetched.found.files, fetched.copied.files, fetched.direct.len())
}

#[test]
fn a_second_job_finds_the_copies_of_the_first() {
    let scene = Scene::new();
    let paths = scene.files(3);
    let (one, two) = (scene.lease(None), scene.lease(None));
    let first = fetch(&one, &paths[..2]);
    assert_eq!((counts(&first), first.copied.bytes), ((0, 2, 0), 2 * MIB));
    assert_eq!(counts(&fetch(&two, &paths)), (2, 1, 0));
    assert_eq!(one.copy_of(&paths[0]), two.copy_of(&paths[0]));
    assert_eq!(one.copy_of(&paths[2]), None, "it never asked for it");
    for (value, path) in paths.iter().enumerate() {
        let copy = two.copy_of(path).expect("should be held");
        assert_eq!(copy.extension(), path.extension());
        assert_eq!(std::fs::read(copy).expect("should read"), vec![value as u8; 1 << 20]);
    }
    assert_eq!(counts(&fetch(&two, &paths)), (0, 0, 0), "nothing is asked for twice");
}

#[test]
fn ranks_that_start_together_copy_each_file_once() {
    let scene = Scene::new();
    let paths = scene.files(24);
    let start = std::sync::Barrier::new(3);
    let fetched: Vec<Fetched> = std::thread::scope(|scope| {
        let rank = || {
            let lease = scene.lease(None);
            start.wait();
            let fetched = fetch(&lease, &paths);
            assert!(paths.iter().all(|path| lease.copy_of(path).is_some_and(|copy| copy.is_file())));
            fetched
        };
        let ranks: Vec<_> = (0..3).map(|_| scope.spawn(rank)).collect();
        ranks.into_iter().map(|rank| rank.join().expect("should not panic")).collect()
    });
    let sum = |of: fn(&Fetched) -> usize| fetched.iter().map(of).sum::<usize>();
    assert_eq!((sum(|f| f.copied.files), sum(|f| f.found.files), sum(|f| f.direct.len())), (24, 48, 0));
}

#[test]
fn the_least_recently_used_goes_and_nothing_in_use() {
    let scene = Scene::new();
    let paths = scene.files(6);
    let one = scene.lease(Some(3));
    for path in &paths[..3] {
        fetch(&one, std::slice::from_ref(path));
        std::thread::sleep(Duration::from_millis(15));
    }
    // used again, it is the newest; then only it and the last are in use
    let two = scene.lease(Some(3));
    assert_eq!(counts(&fetch(&two, &paths[..1])), (1, 0, 0));
    one.release(&paths[1]);
    std::thread::sleep(Duration::from_millis(15));
    let asked = fetch(&two, &paths[3..]);
    assert_eq!((counts(&asked), asked.evicted.files), ((0, 1, 2), 1));
    assert_eq!(scene.kept(), ["0.mrcs", "2.mrcs", "3.mrcs"]);
    assert!(asked.direct[0].reason.contains("quota of 3.0 MiB"), "{asked:?}");
    drop(one);
    // 2 was used before 0 was used again, and 0 and 3 are held
    assert_eq!(fetch(&two, &paths[4..5]).evicted.bytes, MIB);
    assert_eq!(scene.kept(), ["0.mrcs", "3.mrcs", "4.mrcs"]);
}

#[test]
fn nothing_is_evicted_for_what_has_no_room_anyway() {
    let scene = Scene::new();
    let (paths, large) = (scene.files(2), scene.file("large.mrcs", 4, 1));
    fetch(&scene.lease(Some(3)), &paths);
    let fetched = fetch(&scene.lease(Some(3)), &[large]);
    assert_eq!((counts(&fetched), fetched.evicted.files), ((0, 0, 1), 0));
    assert_eq!(scene.kept().len(), 2);
}

#[test]
fn a_disk_without_room_beside_its_reserve_takes_nothing() {
    let scene = Scene::new();
    let paths = scene.files(1);
    let (free, _) = scene.cache.disk().expect("should say");
    let lease = scene.lease_within(Limits { quota_bytes: None, reserve_bytes: 2 * free, keep: true });
    let fetched = fetch(&lease, &paths);
    assert!(fetched.direct[0].reason.contains("kept free"), "{fetched:?}");
}

#[test]
fn a_file_written_anew_is_copied_anew_and_its_old_copy_goes_first() {
    let scene = Scene::new();
    let (old, stack) = (scene.file("old.mrcs", 1, 1), scene.file("stack.mrcs", 1, 2));
    fetch(&scene.lease(Some(2)), &[old]);
    fetch(&scene.lease(Some(2)), std::slice::from_ref(&stack));
    scene.file("stack.mrcs", 1, 3);
    // the clock of a file system may be slow
    let later = SystemTime::now() + Duration::from_secs(5);
    std::fs::File::options()
        .append(true)
        .open(&stack)
        .and_then(|file| file.set_modified(later))
        .expect("should set");
    let lease = scene.lease(Some(2));
    let fetched = fetch(&lease, std::slice::from_ref(&stack));
    assert_eq!((counts(&fetched), fetched.evicted.files), ((0, 1, 0), 1));
    assert_eq!(std::fs::read(lease.copy_of(&stack).expect("held")).expect("should read")[0], 3);
    assert_eq!(scene.kept(), ["old.mrcs", "stack.mrcs"]);
}

#[test]
fn a_copy_that_is_cut_short_is_not_used() {
    let scene = Scene::new();
    let paths = scene.files(1);
    let lease = scene.lease(None);
    fetch(&lease, &paths);
    let copy = lease.copy_of(&paths[0]).expect("held");
    std::fs::File::options().write(true).open(&copy).and_then(|file| file.set_len(77)).expect("should cut");
    drop(lease);
    let lease = scene.lease(None);
    assert_eq!(counts(&fetch(&lease, &paths)), (0, 1, 0));
    assert_eq!(std::fs::metadata(lease.copy_of(&paths[0]).expect("held")).expect("there").len(), MIB);
}

/// Rewrites a record as if the node had started anew since, and a byte of the copy, if asked.
fn age(folder: &Path, spoil: bool) {
    let record = folder.join("record.json");
    let text = std::fs::read_to_string(&record).expect("should read");
    let boot = text.lines().find(|line| line.contains("boot_id")).expect("a line").to_string();
    std::fs::write(&record, text.replace(&boot, "  \"boot_id\": \"another\",")).expect("should write");
    if spoil {
        let data = std::fs::read_dir(folder).expect("should list").flatten().map(|entry| entry.path());
        let data = data.into_iter().find(|path| *path != record).expect("data");
        let mut bytes = std::fs::read(&data).expect("should read");
        bytes[1000] ^= 1;
        std::fs::write(&data, bytes).expect("should write");
    }
}

#[test]
fn copies_of_before_a_restart_are_verified() {
    let scene = Scene::new();
    let paths = scene.files(2);
    let lease = scene.lease(None);
    fetch(&lease, &paths);
    age(&scene.copy_folder(&lease, &paths[0]), false);
    age(&scene.copy_folder(&lease, &paths[1]), true);
    drop(lease);
    let passing = scene.lease(None);
    assert_eq!(passing.find(&paths).expect("should look").files, 0, "not worth it for one reading");
    let lease = scene.lease(None);
    assert_eq!(counts(&fetch(&lease, &paths)), (1, 1, 0));
    assert_eq!(
        std::fs::read(lease.copy_of(&paths[1]).expect("held")).expect("should read"),
        vec![1; 1 << 20]
    );
    assert_eq!(passing.find(&paths).expect("should look").files, 2, "now they are known to be right");
}

#[test]
fn check_finds_and_removes_what_a_disk_has_spoilt() {
    let scene = Scene::new();
    let paths = scene.files(2);
    let lease = scene.lease(None);
    fetch(&lease, &paths);
    age(&scene.copy_folder(&lease, &paths[1]), true);
    let checked = scene.cache.check().expect("should check");
    assert_eq!((checked.right, checked.wrong), (1, vec![paths[1].clone()]));
    assert_eq!(scene.kept(), ["0.mrcs"]);
}

#[test]
fn clean_leaves_what_is_in_use() {
    let scene = Scene::new();
    let paths = scene.files(3);
    fetch(&scene.lease(None), &paths);
    let lease = scene.lease(None);
    assert_eq!(lease.find(&paths[..1]).expect("should look").files, 1);
    let aged = scene.cache.clean(Some(Duration::from_secs(3600))).expect("should clean");
    assert_eq!((aged.files, aged.in_use), (0, 1), "all were used within the hour");
    let cleaned = scene.cache.clean(None).expect("should clean");
    assert_eq!((cleaned.files, cleaned.bytes, cleaned.in_use), (2, 2 * MIB, 1));
    let left = scene.cache.inventory().expect("should list");
    assert_eq!((left.files.len(), left.files[0].in_use, left.leases.len()), (1, true, 1));
}

#[test]
fn a_lane_that_keeps_nothing_removes_what_it_used_and_nobody_else_does() {
    let scene = Scene::new();
    let paths = scene.files(4);
    // kept by another lane for its next job
    fetch(&scene.lease(None), &paths[3..]);
    let other = scene.lease(None);
    fetch(&other, &paths[..1]);
    let passing = scene.lease_within(Limits { quota_bytes: None, reserve_bytes: 0, keep: false });
    fetch(&passing, &paths[..3]);
    passing.release(&paths[2]);
    drop(passing);
    assert_eq!(scene.kept(), ["0.mrcs", "3.mrcs"]);
}

#[test]
fn a_cache_removed_under_a_job_is_made_anew() {
    let scene = Scene::new();
    let paths = scene.files(2);
    let lease = scene.lease(None);
    fetch(&lease, &paths[..1]);
    std::fs::remove_dir_all(scene.cache.path()).expect("should remove");
    lease.reject(&paths[0]);
    assert_eq!(lease.copy_of(&paths[0]), None);
    assert_eq!(counts(&fetch(&lease, &paths)), (0, 2, 0));
    assert_eq!(scene.cache.clean(None).expect("should clean").in_use, 2, "its lease is back");
}

#[test]
fn a_rejected_copy_is_nobodys_any_more() {
    let scene = Scene::new();
    let paths = scene.files(1);
    let lease = scene.lease(None);
    fetch(&lease, &paths);
    lease.reject(&paths[0]);
    assert!(scene.kept().is_empty());
    assert_eq!(counts(&fetch(&scene.lease(None), &paths)), (0, 1, 0));
}

#[test]
fn files_that_are_not_there_and_a_request_to_stop_are_told() {
    let scene = Scene::new();
    let (paths, absent) = (scene.files(1), scene.folder.path().join("absent.mrcs"));
    let lease = scene.lease(None);
    let fetched = fetch(&lease, &[absent.clone(), paths[0].clone()]);
    assert_eq!((counts(&fetched), &fetched.direct[0].path), ((0, 1, 1), &absent));
    let stopping = Watch { stop: &|| true, progress: &|_, _| {} };
    let fetched = scene.lease(None).fetch(&[scene.file("9.mrcs", 1, 9)], stopping).expect("should return");
    assert_eq!(counts(&fetched), (0, 0, 1));
    assert!(!scene.kept().contains(&"9.mrcs".into()));
}

#[test]
fn progress_ends_at_the_whole() {
    let scene = Scene::new();
    let paths = scene.files(5);
    let told = std::cell::RefCell::new(Vec::new());
    let watch = Watch { stop: &|| false, progress: &|done, total| told.borrow_mut().push((done, total)) };
    scene.lease(None).fetch(&paths, watch).expect("should fetch");
    let told = told.into_inner();
    assert_eq!(told.last(), Some(&(5 * MIB, 5 * MIB)));
    assert!(told.is_sorted_by_key(|(done, _)| *done));
}

#[test]
fn a_copy_made_anew_is_not_rejected_for_the_old_one() {
    let scene = Scene::new();
    let paths = scene.files(1);
    let (one, two) = (scene.lease(None), scene.lease(None));
    fetch(&one, &paths);
    // somebody found the first copy wrong, and another job made it again
    std::fs::remove_dir_all(scene.copy_folder(&one, &paths[0])).expect("should remove");
    assert_eq!(counts(&fetch(&two, &paths)), (0, 1, 0));
    one.reject(&paths[0]);
    assert!(one.copy_of(&paths[0]).is_none() && two.copy_of(&paths[0]).is_some_and(|copy| copy.is_file()));
    two.reject(&paths[0]);
    assert!(scene.kept().is_empty());
}
