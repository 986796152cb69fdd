//! What becomes of each file that a job wants copied: decided under the lock, done without it.

use crate::copy;
use crate::folder::{self, Guard};
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
    pub doubtful: Vec<(Wanted, Entry)>,
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
    let mut plan = Plan::default();
    let mut missing = Vec::new();
    for wanted in wanted {
        match usable(lease, &guard, &wanted.key)? {
            Some(entry) if is_of_this_start(&entry) => plan.found.push(wanted),
            Some(entry) => plan.doubtful.push((wanted, entry)),
            None if may_copy => missing.push(wanted),
            None => plan.direct.push((wanted, "there is no copy".into())),
        }
    }
    let held = plan.found.iter().chain(plan.doubtful.iter().map(|(wanted, _)| wanted));
    hold(lease, &guard, held)?;
    if missing.is_empty() {
        return Ok(plan);
    }
    folder.sweep(&guard);
    // what was found is in use now
    let leased = lease::live(folder, &guard)?;
    let copying = being_copied(&leased, &lease.id());
    let (awaited, missing): (Vec<Wanted>, Vec<Wanted>) =
        missing.into_iter().partition(|wanted| copying.contains_key(&wanted.key));
    let with_owner = |wanted: Wanted| {
        let owner = copying[&wanted.key].clone();
        (wanted, owner)
    };
    plan.awaited = awaited.into_iter().map(with_owner).collect();
    let originals: Vec<Original> = missing.iter().map(|wanted| wanted.original.clone()).collect();
    let admitted = room::admit(folder, &guard, lease.limits(), &originals, &leased)?;
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

/// Takes copies into the lease.
fn hold<'w>(lease: &Lease, guard: &Guard, found: impl Iterator<Item = &'w Wanted>) -> Result<(), CacheError> {
    let keys: Vec<(String, Use)> = found.map(|wanted| (wanted.key.clone(), Use::Held)).collect();
    lease.claim(guard, &keys)?;
    keys.iter().for_each(|(key, _)| inventory::touch(lease.folder(), key));
    Ok(())
}

/// Whether a copy was made, or verified, since the node has started.
pub(crate) fn is_of_this_start(entry: &Entry) -> bool {
    entry.record.as_ref().is_some_and(|record| record.boot_id == process::boot_id())
}

/// A copy that can be used; one that cannot is removed.
fn usable(lease: &Lease, guard: &Guard, key: &str) -> Result<Option<Entry>, CacheError> {
    let Some(entry) = inventory::entry(lease.folder(), key)? else { return Ok(None) };
    if entry.is_whole() {
        return Ok(Some(entry));
    }
    lease.folder().discard(guard, key);
    Ok(None)
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

/// Whether the copy of one of these files is there by now. Needs no lock, and is no promise.
pub(crate) fn any_is_there(lease: &Lease, awaited: &[(Wanted, String)]) -> bool {
    let files = lease.folder().files();
    awaited.iter().any(|(wanted, _)| files.join(&wanted.key).is_dir())
}

/// Looks after files that others are going to copy.
///
/// # Errors
/// The cache cannot be locked, read or written.
pub(crate) fn look_after(lease: &Lease, awaited: &[(Wanted, String)]) -> Result<Vec<Awaited>, CacheError> {
    let folder = lease.folder();
    let guard = folder.lock()?;
    let leased = lease::live(folder, &guard)?;
    let courses: HashMap<&str, u64> =
        leased.iter().map(|owner| (owner.id.as_str(), course_of(lease, owner))).collect();
    let mut found = Vec::with_capacity(awaited.len());
    for (wanted, id) in awaited {
        let owner = leased.iter().find(|lease| lease.id == *id);
        let is_coming = owner.filter(|owner| matches!(owner.uses.get(&wanted.key), Some(Use::Copying(_))));
        found.push(if usable(lease, &guard, &wanted.key)?.is_some() {
            Awaited::Held
        } else if let Some(owner) = is_coming {
            Awaited::Coming(courses.get(owner.id.as_str()).copied().unwrap_or(0))
        } else {
            Awaited::Left
        });
    }
    let is_held = |(_, found): &(&(Wanted, String), &Awaited)| matches!(found, Awaited::Held);
    hold(lease, &guard, awaited.iter().zip(&found).filter(is_held).map(|((wanted, _), _)| wanted))?;
    Ok(found)
}

/// A number that changes while a process copies: the length of its lease, and the times of the files it writes.
fn course_of(lease: &Lease, owner: &Leased) -> u64 {
    use std::os::unix::fs::MetadataExt;
    if owner.planned_bytes() == 0 {
        return 0;
    }
    let own = |path: &PathBuf| folder::name_of(path).starts_with(&format!("{}-", owner.id));
    let copies = folder::entries_seen(&lease.folder().copying()).into_iter().filter(own);
    let files = copies.flat_map(|copy| folder::entries_seen(&copy)).filter_map(|file| file.metadata().ok());
    let times = files.map(|found| {
        (found.mtime() as u64).wrapping_mul(1_000_000_007).wrapping_add(found.mtime_nsec() as u64)
    });
    times.fold(owner.length as u64, u64::wrapping_add)
}

/// Where the copy of a file lies.
pub(crate) fn place(lease: &Lease, wanted: &Wanted) -> PathBuf {
    copy::place(lease.folder(), &wanted.original)
}
