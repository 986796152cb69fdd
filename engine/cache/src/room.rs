//! Room for copies: quota, reserve, and who has to go.

use crate::CacheError;
use crate::folder::{CacheFolder, Guard, entries, name_of};
use crate::inventory::Entry;
use crate::lease::Leased;
use crate::original::Original;
use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;

/// How much a cache may keep, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all copies of this user on this node together; `None`: what the disk takes.
    pub quota_bytes: Option<u64>,
    /// Bytes of the disk that stay free for others.
    pub reserve_bytes: u64,
    /// Copies stay when the last job that used them has ended, for the next.
    pub keep: bool,
}

impl Default for Limits {
    /// The whole disk but for 10 GiB, for as long as there is room.
    fn default() -> Self {
        Self { quota_bytes: None, reserve_bytes: 10 << 30, keep: true }
    }
}

/// Room for copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Room {
    /// Bytes that the quota leaves; negative: that are too many.
    by_quota: i128,
    /// Bytes that the disk leaves beside its reserve and what others are going to write.
    by_disk: i128,
}

impl Room {
    fn bytes(self) -> i128 {
        self.by_quota.min(self.by_disk)
    }
}

/// What may be copied now.
#[derive(Debug, Default)]
pub(crate) struct Admitted {
    /// Places of the files in the list that was asked for.
    pub chosen: Vec<usize>,
    /// Why the others may not.
    pub why_not: String,
    /// Copies removed to make room, and their bytes.
    pub evicted: (usize, u64),
}

/// Makes room for as many of `wanted` as can be had, in their order, by removing the copies that were used least recently and
/// are not in use. Copies of what their originals no longer are go first.
///
/// # Errors
/// A disk that does not say how full it is.
pub(crate) fn admit(
    folder: &CacheFolder,
    under: &Guard,
    limits: &Limits,
    wanted: &[Original],
    leased: &[Leased],
    entries: &[Entry],
) -> Result<Admitted, CacheError> {
    let in_use: HashSet<&str> =
        leased.iter().flat_map(|lease| lease.uses.keys().map(String::as_str)).collect();
    let paths: HashSet<_> = wanted.iter().map(|original| &original.path).collect();
    let mut free_to_go: Vec<&Entry> =
        entries.iter().filter(|entry| !in_use.contains(entry.key.as_str())).collect();
    let is_outdated =
        |entry: &Entry| entry.record.as_ref().is_none_or(|record| paths.contains(&record.original.path));
    free_to_go.sort_by_key(|entry| (!is_outdated(entry), entry.used));
    let evictable: u64 = free_to_go.iter().map(|entry| entry.bytes).sum();

    let kept: u64 = entries.iter().map(|entry| entry.bytes).sum();
    let room = room(folder, limits, kept, leased)?;
    let mut left = room.bytes() + i128::from(evictable);
    let mut admitted = Admitted::default();
    let mut needed = 0;
    for (place, original) in wanted.iter().enumerate() {
        if i128::from(original.size) <= left {
            left -= i128::from(original.size);
            needed += i128::from(original.size);
            admitted.chosen.push(place);
        }
    }
    let mut to_free = needed - room.bytes();
    for entry in free_to_go {
        if to_free <= 0 {
            break;
        }
        folder.discard(under, &entry.key);
        to_free -= i128::from(entry.bytes);
        admitted.evicted.0 += 1;
        admitted.evicted.1 += entry.bytes;
    }
    // a removed file that some program still has open frees nothing yet
    let room = self::room(folder, limits, kept - admitted.evicted.1, leased)?;
    while needed > room.bytes()
        && let Some(last) = admitted.chosen.pop()
    {
        needed -= i128::from(wanted[last].size);
    }
    if admitted.chosen.len() < wanted.len() {
        admitted.why_not = why_not(folder, limits, room)?;
    }
    Ok(admitted)
}

/// Room beside the copies that are kept, of `kept` bytes, and those that live processes are going to make.
fn room(folder: &CacheFolder, limits: &Limits, kept: u64, leased: &[Leased]) -> Result<Room, CacheError> {
    let planned: u64 = leased.iter().map(Leased::planned_bytes).sum();
    let (free, _) = folder.disk()?;
    let unwritten = i128::from(planned) - i128::from(written(folder));
    let by_disk = i128::from(free) - unwritten.max(0) - i128::from(limits.reserve_bytes);
    let by_quota = limits
        .quota_bytes
        .map_or(i128::MAX / 2, |quota| i128::from(quota) - i128::from(kept) - i128::from(planned));
    Ok(Room { by_quota, by_disk })
}

/// Bytes on the disk of copies that are being made.
fn written(folder: &CacheFolder) -> u64 {
    let files = entries(&folder.copying()).into_iter().flat_map(|copy| entries(&copy));
    files
        .filter(|file| name_of(file) != crate::copy::RECORD)
        .filter_map(|file| file.metadata().ok())
        .map(|found| found.blocks() * 512)
        .sum()
}

fn why_not(folder: &CacheFolder, limits: &Limits, room: Room) -> Result<String, CacheError> {
    if room.by_quota < room.by_disk {
        let quota = gib(limits.quota_bytes.unwrap_or(0));
        return Ok(format!("the cache's quota of {quota} leaves no room beside copies in use"));
    }
    let (free, reserve) = (gib(folder.disk()?.0), gib(limits.reserve_bytes));
    Ok(format!("the scratch disk has {free} free, of which {reserve} are kept free"))
}

/// Bytes as people read them.
pub(crate) fn gib(bytes: u64) -> String {
    match bytes {
        0..0x4000_0000 => format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
        _ => format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)),
    }
}
