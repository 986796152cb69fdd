//! `cache show`: what is kept on this node, and what was heard of others.

use super::elsewhere::{self, Heard};
use super::{failed, folders};
use crate::context::Context;
use crate::failure::Outcome;
use crate::tell;
use serde_json::json;
use vitreous_cache::{Inventory, ShownLease, size_text as size};
use vitreous_model::exit;
use vitreous_project::Project;

/// Copies that are listed one by one; the rest is counted.
const LISTED: usize = 20;

pub fn run(
    context: &mut Context<'_>,
    project: Option<&Project>,
    caches: &[folders::Found],
    unfit: &[String],
) -> Outcome<i32> {
    let mut shown = Vec::new();
    for found in caches {
        shown.push((found, found.cache.inventory().map_err(failed)?));
    }
    let heard = project.map(elsewhere::heard).unwrap_or_default();
    let here: Vec<_> =
        shown.iter().map(|(found, inventory)| json!({"lanes": found.lanes, "cache": inventory})).collect();
    context.screen.result(&json!({"caches": here, "unfit": unfit, "heard": heard}), || {
        let mut text: String =
            shown.iter().map(|(found, inventory)| cache(&found.lanes, inventory)).collect();
        if shown.is_empty() {
            text += &folders::none_text();
        }
        text += &unfit.iter().map(|why| format!("not looked into: {why}\n")).collect::<String>();
        if !heard.is_empty() {
            text += "\nWhat jobs of this project had of nodes' caches, the last of each node:\n";
            text += &heard.iter().map(node).collect::<String>();
        }
        text
    })?;
    Ok(exit::OK)
}

fn cache(lanes: &[String], inventory: &Inventory) -> String {
    let lanes = if lanes.is_empty() { String::new() } else { format!(" (lanes: {})", lanes.join(", ")) };
    let mut text = format!(
        "{}{lanes}\n  {}, {}; the disk has {} of {} free\n",
        inventory.folder.display(),
        copies(inventory.files.len()),
        size(inventory.bytes),
        size(inventory.free_bytes),
        size(inventory.disk_bytes)
    );
    text += &inventory.leases.iter().map(lease).collect::<String>();
    for file in inventory.files.iter().take(LISTED) {
        let used = if file.in_use {
            "in use".into()
        } else {
            format!("unused for {}", tell::duration(file.unused_s))
        };
        text += &format!("  {:>10}  {used:<18}  {}\n", size(file.bytes), file.original.display());
    }
    if let Some(more) = inventory.files.len().checked_sub(LISTED).filter(|more| *more > 0) {
        text += &format!("  and {more} more (--json lists all)\n");
    }
    text
}

fn lease(lease: &ShownLease) -> String {
    let holder = &lease.holder;
    let mut text = format!(
        "  {} of {} (rank {}, process {}) uses {}",
        holder.job,
        holder.project.display(),
        holder.rank,
        holder.pid,
        copies(lease.files)
    );
    if lease.to_copy > 0 {
        text += &format!(", and copies {} more ({})", lease.to_copy, size(lease.to_copy_bytes));
    }
    text + "\n"
}

fn node(heard: &Heard) -> String {
    let used = &heard.used;
    let mut text = format!(
        "  {} {}: {} found ({}), {} made ({})",
        used.host,
        heard.job,
        used.found_files,
        size(used.found_bytes),
        used.copied_files,
        size(used.copied_bytes)
    );
    if used.direct_files > 0 {
        text += &format!(", {} read where they lie ({})", used.direct_files, size(used.direct_bytes));
    }
    if used.lost_files > 0 {
        text += &format!(", {} lost under the job", used.lost_files);
    }
    if !used.trouble.is_empty() {
        text += &format!(": {}", used.trouble);
    }
    text + "\n"
}

/// So many copies.
pub fn copies(count: usize) -> String {
    if count == 1 { "1 copy".into() } else { format!("{count} copies") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_numbers_are_read_at_a_glance() {
        assert_eq!((size(1 << 19), size(3 << 30)), ("0.5 MiB".into(), "3.0 GiB".into()));
        assert_eq!((copies(1), copies(0)), ("1 copy".into(), "0 copies".into()));
    }
}
