//! Room for copies: quota, reserve, and who has to go.

use crate::folder::{CacheFolder, Guard, entries, entries_seen, name_of};
use crate::inventory;
use crate::lease::Leased;
use crate::original::Original;
use crate::{CacheError, size_text};
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
) -> Result<Admitted, CacheError> {
    let keys: Vec<String> = entries(&folder.files())?.iter().map(|path| name_of(path)).collect();
    let in_use: HashSet<&str> =
        leased.iter().flat_map(|lease| lease.uses.keys().map(String::as_str)).collect();
    let free_to_go: Vec<&String> = keys.iter().filter(|key| !in_use.contains(key.as_str())).collect();
    let evictable: u64 = free_to_go.iter().map(|key| Original::bytes_of(key)).sum();
    let kept: u64 = keys.iter().map(|key| Original::bytes_of(key)).sum();
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
    if to_free > 0 {
        for key in in_order_of_going(folder, free_to_go, wanted) {
            if to_free <= 0 {
                break;
            }
            let bytes = Original::bytes_of(key);
            folder.discard(under, key);
            to_free -= i128::from(bytes);
            admitted.evicted.0 += 1;
            admitted.evicted.1 += bytes;
        }
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

/// Copies of what their originals no longer are, then those that were used least recently.
fn in_order_of_going<'k>(
    folder: &CacheFolder,
    mut keys: Vec<&'k String>,
    wanted: &[Original],
) -> Vec<&'k String> {
    let wanted: Vec<String> = wanted.iter().map(Original::key).collect();
    let paths: HashSet<&str> = wanted.iter().map(|key| Original::path_of(key)).collect();
    let is_outdated = |key: &str| paths.contains(Original::path_of(key));
    keys.sort_by_cached_key(|key| (!is_outdated(key), inventory::used(folder, key)));
    keys
}

/// Room beside the copies that are kept, of `kept` bytes, and those that live processes are going to make.
fn room(folder: &CacheFolder, limits: &Limits, kept: u64, leased: &[Leased]) -> Result<Room, CacheError> {
    let planned: u64 = leased.iter().map(Leased::planned_bytes).sum();
    // in this order: what is written in between is counted twice, not left out
    let unwritten = i128::from(planned) - i128::from(written(folder));
    let (free, _) = folder.disk()?;
    let by_disk = i128::from(free) - unwritten.max(0) - i128::from(limits.reserve_bytes);
    let by_quota = limits
        .quota_bytes
        .map_or(i128::MAX / 2, |quota| i128::from(quota) - i128::from(kept) - i128::from(planned));
    Ok(Room { by_quota, by_disk })
}

/// Bytes on the disk of copies that are being made.
fn written(folder: &CacheFolder) -> u64 {
    let files = entries_seen(&folder.copying()).into_iter().flat_map(|copy| entries_seen(&copy));
    files
        .filter(|file| name_of(file) != crate::copy::RECORD)
        .filter_map(|file| file.metadata().ok())
        .map(|found| found.blocks() * 512)
        .sum()
}

fn why_not(folder: &CacheFolder, limits: &Limits, room: Room) -> Result<String, CacheError> {
    if room.by_quota < room.by_disk {
        let quota = size_text(limits.quota_bytes.unwrap_or(0));
        return Ok(format!("the cache's quota of {quota} leaves no room beside copies in use"));
    }
    let (free, reserve) = (size_text(folder.disk()?.0), size_text(limits.reserve_bytes));
    Ok(format!("the scratch disk has {free} free, of which {reserve} are kept free"))
}
