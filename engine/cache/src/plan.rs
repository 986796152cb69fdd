//! What becomes of each file that a job wants copied: decided under the lock, done without it.

use crate::copy::{self, Record};
use crate::folder::Guard;
use crate::inventory::{self, Entry};
use crate::lease::{self, Lease, Leased, Use};
use crate::original::Original;
use crate::{CacheError, room};
use std::collections::HashMap;
use std::path::PathBuf;
use vitreous_project::process;

/// A file that is wanted.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// As it was asked for: several names may lead to one file.
    pub paths: Vec<PathBuf>,
    /// The file.
    pub original: Original,
    /// Of its copy.
    pub key: String,
}

/// What becomes of the files.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// There is a copy, and this lease holds it.
    pub found: Vec<Wanted>,
    /// There is a copy of before the node's last start: this lease holds it, and it is to be verified.
    pub doubtful: Vec<(Wanted, Record)>,
    /// This process is to copy it.
    pub to_copy: Vec<Wanted>,
    /// Another process is going to copy it: its lease.
    pub awaited: Vec<(Wanted, String)>,
    /// To be read where it lies, and why.
    pub direct: Vec<(Wanted, String)>,
    /// Copies removed to make room, and their bytes.
    pub evicted: (usize, u64),
}

/// Decides, and writes it into the lease; without `may_copy` what is not there is read directly.
///
/// # Errors
/// The cache cannot be locked, read or written.
pub(crate) fn make(lease: &Lease, wanted: Vec<Wanted>, may_copy: bool) -> Result<Plan, CacheError> {
    let folder = lease.folder();
    let guard = folder.lock()?;
    folder.sweep(&guard);
    let leased = lease::live(folder, &guard);
    let copying = being_copied(&leased, &lease.id());
    let mut plan = Plan::default();
    let mut missing = Vec::new();
    for wanted in wanted {
        match usable(lease, &guard, &wanted.key) {
            Some(entry) => {
                lease.claim(&guard, &[(wanted.key.clone(), Use::Held)])?;
                inventory::touch(folder, &wanted.key);
                match entry.record.filter(|record| record.boot_id != process::boot_id()) {
                    Some(record) => plan.doubtful.push((wanted, record)),
                    None => plan.found.push(wanted),
                }
            }
            None if !may_copy => plan.direct.push((wanted, "there is no copy".into())),
            None => match copying.get(&wanted.key) {
                Some(id) => plan.awaited.push((wanted, id.clone())),
                None => missing.push(wanted),
            },
        }
    }
    if missing.is_empty() {
        return Ok(plan);
    }
    // again: what was found is in use now
    let leased = lease::live(folder, &guard);
    let entries = inventory::all(folder, &guard);
    let originals: Vec<Original> = missing.iter().map(|wanted| wanted.original.clone()).collect();
    let admitted = room::admit(folder, &guard, lease.limits(), &originals, &leased, &entries)?;
    plan.evicted = admitted.evicted;
    let mut chosen = admitted.chosen.iter().copied().peekable();
    for (place, wanted) in missing.into_iter().enumerate() {
        if chosen.next_if_eq(&place).is_some() {
            plan.to_copy.push(wanted);
        } else {
            plan.direct.push((wanted, admitted.why_not.clone()));
        }
    }
    let planned = |wanted: &Wanted| (wanted.key.clone(), Use::Copying(wanted.original.size));
    lease.claim(&guard, &plan.to_copy.iter().map(planned).collect::<Vec<_>>())?;
    Ok(plan)
}

/// A copy that can be used; one that cannot is removed.
fn usable(lease: &Lease, guard: &Guard, key: &str) -> Option<Entry> {
    let entry = inventory::entry(lease.folder(), key)?;
    if entry.is_whole() {
        return Some(entry);
    }
    lease.folder().discard(guard, key);
    None
}

/// By key: the lease of another process that is going to copy it.
fn being_copied(leased: &[Leased], own: &str) -> HashMap<String, String> {
    let others = leased.iter().filter(|lease| lease.id != own);
    let planned = others.flat_map(|lease| lease.uses.iter().map(move |(key, now)| (key, now, &lease.id)));
    let planned = planned.filter(|(_, now, _)| matches!(now, Use::Copying(_)));
    planned.map(|(key, _, id)| (key.clone(), id.clone())).collect()
}

/// What became of a file that another process was going to copy.
pub(crate) enum Awaited {
    /// It is copied, and this lease holds it.
    Held,
    /// It is still to come. A number that changes as long as the other process gets on.
    Coming(u64),
    /// The other process is dead or did not do it.
    Left,
}

/// Looks after files that others are going to copy.
///
/// # Errors
/// The cache cannot be locked, read or written.
pub(crate) fn look_after(lease: &Lease, awaited: &[(Wanted, String)]) -> Result<Vec<Awaited>, CacheError> {
    let folder = lease.folder();
    let guard = folder.lock()?;
    let leased = lease::live(folder, &guard);
    let mut found = Vec::with_capacity(awaited.len());
    for (wanted, id) in awaited {
        let owner = leased.iter().find(|lease| lease.id == *id);
        let is_coming = owner.filter(|owner| matches!(owner.uses.get(&wanted.key), Some(Use::Copying(_))));
        found.push(if usable(lease, &guard, &wanted.key).is_some() {
            lease.claim(&guard, &[(wanted.key.clone(), Use::Held)])?;
            inventory::touch(folder, &wanted.key);
            Awaited::Held
        } else if let Some(owner) = is_coming {
            Awaited::Coming(course_of(lease, owner))
        } else {
            Awaited::Left
        });
    }
    Ok(found)
}

/// A number that changes while a process copies: the length of its lease, and the times of the files it writes.
fn course_of(lease: &Lease, owner: &Leased) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let own = |path: &PathBuf| crate::folder::name_of(path).starts_with(&format!("{}-", owner.id));
    let copies = crate::folder::entries(&lease.folder().copying()).into_iter().filter(own);
    let times = copies.flat_map(|copy| crate::folder::entries(&copy)).filter_map(|file| file.metadata().ok());
    let times = times.map(|found| {
        (found.mtime() as u64).wrapping_mul(1_000_000_007).wrapping_add(found.mtime_nsec() as u64)
    });
    times.fold(owner.length as u64, u64::wrapping_add)
}

/// Where the copy of a file lies.
pub(crate) fn place(lease: &Lease, wanted: &Wanted) -> PathBuf {
    copy::place(lease.folder(), &wanted.original)
}
