//! A lock that a dead holder does not keep, safe on network file systems.
//!
//! The lock is a folder; its holders are generations in it. A generation is taken by renaming a folder that already
//! holds the owner's record to `gen-NNNNNN`: rename onto a folder that is not empty fails, so of many takers one
//! wins, and nobody ever sees a generation without its owner. Only the highest generation counts. It is free when its
//! owner has renamed its record to `released.json`, or is dead: on this host by host, boot, pid and start time; on
//! another host when its counter has not moved for [`STALE_S`] seconds of *our* clock. Clocks of two hosts are never
//! compared.
//!
//! A holder of another host that was only slow may thus be overtaken. What is done under the lock is therefore safe
//! without it (intents are created exclusively); the lock saves work and keeps slot limits.

use crate::atomic;
use crate::clock;
use crate::error::ProjectError;
use crate::process::{Liveness, ProcessId, host};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Silence after which a holder on another host is taken for dead, seconds. A pass beats at every launch, which takes
/// milliseconds on a local lane and seconds on a busy scheduler.
pub const STALE_S: f64 = 120.0;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Owner {
    process: ProcessId,
    /// Rises while the holder works.
    beat: u64,
}

/// What this host has seen of a holder elsewhere, and since when by this host's clock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Sighting {
    generation: u64,
    beat: u64,
    boot_id: String,
    since_unix_s: f64,
}

/// Between two signs of life lies at least so much time.
const BEAT_PAUSE: Duration = Duration::from_secs(2);

/// A lock that is held; released when dropped.
#[derive(Debug)]
pub struct Lease {
    generation: PathBuf,
    owner: Owner,
    beaten: Instant,
}

impl Lease {
    /// Takes the lock kept in folder `lock`, waiting for it at most so long.
    ///
    /// # Errors
    /// [`ProjectError::Busy`] with the holder; [`ProjectError::Io`].
    pub fn acquire(lock: &Path, patience: Duration) -> Result<Self, ProjectError> {
        const PAUSE: Duration = Duration::from_millis(20);
        std::fs::create_dir_all(lock).map_err(ProjectError::io("create", lock))?;
        let started = Instant::now();
        loop {
            match try_acquire(lock)? {
                Ok(lease) => return Ok(lease),
                Err(holder) if started.elapsed() >= patience => {
                    return Err(ProjectError::Busy { path: lock.into(), host: holder.host, pid: holder.pid });
                }
                Err(_) => std::thread::sleep(PAUSE),
            }
        }
    }

    /// Shows other hosts, every few seconds, that the holder lives. To be called between steps of long work.
    pub fn beat_if_due(&mut self) {
        if self.beaten.elapsed() < BEAT_PAUSE {
            return;
        }
        self.beaten = Instant::now();
        self.owner.beat += 1;
        if let Err(error) = atomic::write_json(&self.generation.join("owner.json"), &self.owner) {
            log::debug!("lock {}: {error}", self.generation.display());
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let owner = self.generation.join("owner.json");
        if let Err(error) = std::fs::rename(&owner, self.generation.join("released.json")) {
            log::debug!("lock {} not released: {error}", self.generation.display());
        }
    }
}

/// One try: the lease, or who holds it.
fn try_acquire(lock: &Path) -> Result<Result<Lease, ProcessId>, ProjectError> {
    let highest = generations(lock)?.last().copied().unwrap_or(0);
    if let Some(holder) = holder(lock, highest)? {
        return Ok(Err(holder));
    }
    let me = ProcessId::current();
    let mine = highest + 1;
    let prepared = lock.join(format!(".new-{}-{}-{:?}", me.host, me.pid, std::thread::current().id()));
    let owner = Owner { process: me.clone(), beat: 0 };
    std::fs::create_dir_all(&prepared).map_err(ProjectError::io("create", &prepared))?;
    atomic::write_json(&prepared.join("owner.json"), &owner)?;
    let generation = lock.join(generation_name(mine));
    if std::fs::rename(&prepared, &generation).is_err() {
        remove(&prepared);
        return Ok(Err(me));
    }
    let lease = Lease { generation, owner, beaten: Instant::now() };
    // our listing may have been old: whoever holds a higher generation was here first
    if generations(lock)?.last() != Some(&mine) {
        return Ok(Err(me));
    }
    for older in generations(lock)?.into_iter().filter(|g| *g < mine) {
        remove(&lock.join(generation_name(older)));
    }
    Ok(Ok(lease))
}

fn generation_name(generation: u64) -> String {
    format!("gen-{generation:09}")
}

fn generations(lock: &Path) -> Result<Vec<u64>, ProjectError> {
    let entries = std::fs::read_dir(lock).map_err(ProjectError::io("list", lock))?;
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut found: Vec<u64> = names.filter_map(|name| name.strip_prefix("gen-")?.parse().ok()).collect();
    found.sort_unstable();
    Ok(found)
}

/// The live holder of a generation.
fn holder(lock: &Path, generation: u64) -> Result<Option<ProcessId>, ProjectError> {
    let folder = lock.join(generation_name(generation));
    let Some(owner) = atomic::read_json::<Owner>(&folder.join("owner.json"))? else { return Ok(None) };
    Ok(match owner.process.liveness() {
        Liveness::Dead => None,
        Liveness::Alive => Some(owner.process),
        Liveness::Unknown if is_silent(lock, generation, owner.beat) => None,
        Liveness::Unknown => Some(owner.process),
    })
}

/// Whether a holder elsewhere has shown no sign of life for [`STALE_S`] since this host first saw it so.
fn is_silent(lock: &Path, generation: u64, beat: u64) -> bool {
    let path = lock.join(format!("seen-by-{}.json", host()));
    let boot_id = crate::process::boot_id();
    let seen: Option<Sighting> = atomic::read_json(&path).ok().flatten();
    let now = clock::unix_s();
    match seen {
        Some(seen) if seen.generation == generation && seen.beat == beat && seen.boot_id == boot_id => {
            now - seen.since_unix_s > STALE_S
        }
        _ => {
            let sighting = Sighting { generation, beat, boot_id: boot_id.into(), since_unix_s: now };
            if let Err(error) = atomic::write_json(&path, &sighting) {
                log::debug!("{error}");
            }
            false
        }
    }
}

fn remove(folder: &Path) {
    if let Err(error) = std::fs::remove_dir_all(folder) {
        log::debug!("{} stays: {error}", folder.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_WAIT: Duration = Duration::ZERO;

    fn plant(lock: &Path, generation: u64, process: ProcessId) {
        let folder = lock.join(generation_name(generation));
        std::fs::create_dir_all(&folder).unwrap();
        atomic::write_json(&folder.join("owner.json"), &Owner { process, beat: 0 }).unwrap();
    }

    #[test]
    fn one_holds_it_and_the_next_gets_it_after_release() {
        let folder = tempfile::tempdir().unwrap();
        let lock = folder.path().join("advance");
        let lease = Lease::acquire(&lock, NO_WAIT).unwrap();
        let refused = Lease::acquire(&lock, NO_WAIT).unwrap_err();
        assert!(
            matches!(&refused, ProjectError::Busy { pid, .. } if *pid == std::process::id()),
            "{refused}"
        );
        drop(lease);
        drop(Lease::acquire(&lock, NO_WAIT).unwrap());
        assert_eq!(generations(&lock).unwrap(), [2], "older generations are swept");
    }

    #[test]
    fn never_two_at_once() {
        use std::sync::atomic::{AtomicU32, Ordering};
        let folder = tempfile::tempdir().unwrap();
        let lock = folder.path().join("advance");
        let inside = AtomicU32::new(0);
        let entered = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10 {
                        let Ok(_lease) = Lease::acquire(&lock, Duration::from_secs(20)) else { continue };
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        entered.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(entered.into_inner(), 40);
    }

    #[test]
    fn a_dead_holder_is_overtaken_and_a_silent_one_elsewhere_after_a_while() {
        let folder = tempfile::tempdir().unwrap();
        let lock = folder.path().join("advance");
        let me = ProcessId::current();
        plant(&lock, 7, ProcessId { start_ticks: me.start_ticks + 1, ..me.clone() });
        drop(Lease::acquire(&lock, NO_WAIT).unwrap());
        plant(&lock, 9, ProcessId { host: "elsewhere".into(), ..me });
        assert!(Lease::acquire(&lock, NO_WAIT).is_err(), "nothing is known of it yet");
        let path = lock.join(format!("seen-by-{}.json", host()));
        let mut seen: Sighting = atomic::read_json(&path).unwrap().unwrap();
        seen.since_unix_s -= STALE_S + 1.0;
        atomic::write_json(&path, &seen).unwrap();
        drop(Lease::acquire(&lock, NO_WAIT).unwrap());
    }
}
