//! Several processes on one cache, some of them killed: nothing in use is removed, nothing half copied is used.
//!
//! The processes are this test program, called again for its test `one_process`.

#![expect(
    clippy::disallowed_methods,
    reason = "tests of processes start them, and tell them what to do in their environment"
)]

use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use vitreous_cache::{CacheFolder, Holder, Lease, Limits, Watch};

const IN_SILENCE: Watch<'_> = Watch { stop: &|| false, progress: &|_, _| {} };
const FILES: usize = 12;
const QUOTA: u64 = 4 << 20;
const FOLDER: &str = "VITREOUS_CACHE_TEST_FOLDER";
const SEED: &str = "VITREOUS_CACHE_TEST_SEED";

fn limits(quota: u64) -> Limits {
    Limits { quota_bytes: Some(quota), reserve_bytes: 0, keep: true }
}

fn originals(folder: &Path) -> Vec<PathBuf> {
    (0..FILES).map(|i| folder.join(format!("{i:02}.mrcs"))).collect()
}

/// Bytes that tell whether they are whole and of one version of one file: number, version, and a sequence that follows from them.
fn content(file: usize, version: u64) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(1000 * version + file as u64);
    let length = rng.random_range(200_000..1_500_000);
    let mut bytes = vec![file as u8];
    bytes.extend(version.to_le_bytes());
    bytes.extend((0..length / 8).flat_map(|_| rng.random::<u64>().to_le_bytes()));
    bytes
}

fn is_right(bytes: &[u8], file: usize) -> bool {
    let version = bytes.get(1..9).map(|b| u64::from_le_bytes(b.try_into().expect("eight bytes")));
    version.is_some_and(|version| bytes == content(file, version))
}

/// Writes a file so that nobody sees half of it.
fn write(path: &Path, bytes: &[u8]) {
    let temporary = path.with_extension("new");
    std::fs::write(&temporary, bytes).and_then(|()| std::fs::rename(&temporary, path)).expect("should write");
}

/// A process of the test below: takes leases, reads what it holds again and again, until it is killed.
#[test]
fn one_process() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return println!("skipped: only the other tests of this file start it");
    };
    let folder = PathBuf::from(folder);
    let seed = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok()).expect("a seed");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let cache = CacheFolder::open(&folder).expect("should open");
    let mut violations = std::fs::File::options()
        .create(true)
        .append(true)
        .open(folder.join("violations"))
        .expect("should open");
    loop {
        let lease = Lease::new(cache.clone(), limits(QUOTA), Holder::default()).expect("should lease");
        let mut paths = originals(&folder);
        paths.shuffle(&mut rng);
        paths.truncate(rng.random_range(1..6));
        lease.fetch(&paths, IN_SILENCE).expect("should fetch");
        for _ in 0..rng.random_range(1..6) {
            let Some(path) = paths.choose(&mut rng) else { break };
            let Some(copy) = lease.copy_of(path) else { continue };
            let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok()).expect("a number");
            let is_right = std::fs::read(&copy).map(|bytes| is_right(&bytes, number));
            if !matches!(is_right, Ok(true)) {
                writeln!(violations, "{}: {is_right:?}", copy.display()).expect("should write");
            }
            if rng.random_bool(0.2) {
                lease.release(path);
            }
            std::thread::sleep(Duration::from_millis(rng.random_range(0..8)));
        }
    }
}

/// A process, killed when dropped.
struct Running(Child);

impl Running {
    fn start(folder: &Path, seed: u64) -> Self {
        let program = std::env::current_exe().expect("a program");
        let child = Command::new(program)
            .args(["--exact", "one_process"])
            .env(FOLDER, folder)
            .env(SEED, seed.to_string())
            .stdout(Stdio::null())
            .spawn();
        Self(child.expect("should start"))
    }
}

impl Running {
    fn lives(&mut self) -> bool {
        self.0.try_wait().expect("should be ours").is_none()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // SIGKILL
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn bytes_in(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |entry: std::fs::DirEntry| match entry.file_name().to_string_lossy().ends_with(".mrcs") {
        true => entry.metadata().map_or(0, |found| found.len()),
        false => bytes_in(&entry.path()),
    };
    entries.map(size).sum()
}

#[test]
fn what_is_in_use_stays_and_what_is_half_copied_is_never_used() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let paths = originals(folder.path());
    paths.iter().enumerate().for_each(|(file, path)| write(path, &content(file, 0)));
    assert!(paths.iter().map(|path| path.metadata().expect("there").len()).sum::<u64>() > QUOTA * 3 / 2);
    let cache = CacheFolder::open(folder.path()).expect("should open");
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut running: Vec<Running> = (0..4).map(|seed| Running::start(folder.path(), seed)).collect();
    let (mut half_copies, mut evicted_or_new) = (0, std::collections::BTreeSet::new());
    let started = Instant::now();
    for version in 1..60 {
        std::thread::sleep(Duration::from_millis(rng.random_range(20..90)));
        // both folders cannot be seen at the same moment: what is too much at every look is too much
        let kept = || bytes_in(&cache.path().join("files")) + bytes_in(&cache.path().join("copying"));
        let least = (0..5).map(|_| kept()).min().expect("five looks");
        assert!(least <= QUOTA, "{least} bytes are kept of at most {QUOTA}");
        let entries = std::fs::read_dir(cache.path().join("files")).expect("should list").flatten();
        evicted_or_new.extend(entries.map(|entry| entry.file_name()));
        assert!(running.iter_mut().all(Running::lives), "a process has ended by itself");
        let victim = rng.random_range(0..running.len());
        drop(running.swap_remove(victim));
        half_copies += std::fs::read_dir(cache.path().join("copying")).expect("should list").count();
        running.push(Running::start(folder.path(), 100 + version));
        let changed = rng.random_range(0..FILES);
        write(&paths[changed], &content(changed, version));
    }
    drop(running);
    let violations = std::fs::read_to_string(folder.path().join("violations")).unwrap_or_default();
    assert_eq!(violations, "");
    let copies = evicted_or_new.len();
    println!(
        "{copies} copies were seen, {half_copies} half made, in {:.1} s",
        started.elapsed().as_secs_f64()
    );
    assert!(copies > 2 * FILES, "too little was copied and removed to show anything: {copies} copies");
    // all that is left of the dead is gone at the first look, and what is there is right
    assert_eq!(cache.inventory().expect("should list").leases.len(), 0);
    assert_eq!(std::fs::read_dir(cache.path().join("copying")).expect("should list").count(), 0);
    assert_eq!(cache.check().expect("should check").wrong, Vec::<PathBuf>::new());
}

#[test]
fn a_copy_whose_maker_was_killed_is_made_again() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let paths = originals(folder.path());
    // large enough to be caught half way
    let bytes = vec![5; 160 << 20];
    paths.iter().for_each(|path| write(path, &bytes[..1000]));
    write(&paths[0], &bytes);
    let cache = CacheFolder::open(folder.path()).expect("should open");
    let copying = cache.path().join("copying");
    let caught = (0..20).any(|seed| {
        let running = Running::start(folder.path(), seed);
        let since = Instant::now();
        while since.elapsed() < Duration::from_secs(2) {
            if bytes_in(&copying) > 0 {
                std::thread::sleep(Duration::from_millis(3));
                drop(running);
                return bytes_in(&copying) > 0;
            }
        }
        false
    });
    assert!(caught, "no process was killed while it copied");
    let lease = Lease::new(cache, limits(1 << 30), Holder::default()).expect("should lease");
    lease.fetch(&paths[..1], IN_SILENCE).expect("should fetch");
    assert_eq!(bytes_in(&copying), 0, "what the dead left is gone");
    assert_eq!(std::fs::read(lease.copy_of(&paths[0]).expect("held")).expect("should read"), bytes);
}
