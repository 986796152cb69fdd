//! Node-local copies of files that jobs read again and again: particle stacks, movies.
//!
//! A refinement reads every particle's image a dozen times. From a disk of the node that takes a fraction of the time it
//! takes through a busy file server, and spares the file server. The cache is a folder of a node's scratch disk, shared by the
//! ranks and the jobs of a user; nothing depends on it: what cannot be copied is read where it lies.
//!
//! ```text
//! SCRATCH/vitreous-cache-UID-HOST/      mode 0700; a node's own, even if the scratch disk is shared by mistake
//!   lock                                held while files are looked up, given away or removed; never while one is copied
//!   files/KEY/stack.mrcs record.json    a copy, whole: KEY has digests of the original's path and of path, size and time, and the size
//!   copying/LEASE-KEY-N/                a copy being made; of a process that is dead it is rubbish
//!   removing/                           on its way out
//!   leases/LEASE.N                      what one process uses and is about to copy; locked as long as it lives
//! ```
//!
//! # Rules
//! - **A copy appears whole**: it is written beside, checked against size and time of the original before and after, synced, and
//!   renamed with its record. A killed process leaves rubbish in `copying/`, never a file that somebody would use.
//! - **Nothing in use is removed**: a process writes the keys it uses into its lease, under the lock, before it uses them; who
//!   removes reads the leases of all live processes under the same lock. A process lives as long as its lease file is locked: the
//!   kernel unlocks it when the process ends in whatever way, so no lease outlives its owner and no clock is asked. Locks are those
//!   of `flock(2)`, and the folder belongs to one host: where a file system has none, there is no cache.
//! - **One copies, others wait**: a process writes what it is going to copy into its lease; others that want the same
//!   wait for it as long as it makes progress, and copy what it leaves.
//! - **Room**: copies together never exceed the quota, and the disk keeps its reserve. The copies that were used least recently go
//!   first; a set that does not fit beside what others use is copied in part.
//! - **Copies are verified** by a checksum when the node has started anew since they were made, as a power failure may lose what a
//!   disk had promised; and by `vitreous cache check`.

mod copy;
mod error;
mod fetch;
mod folder;
mod inventory;
mod lease;
mod original;
mod plan;
mod room;

pub use error::CacheError;
pub use fetch::{Direct, Fetched, Tally, Watch};
pub use folder::CacheFolder;
pub use inventory::{Checked, Cleaned, Inventory, ShownFile, ShownLease};
pub use lease::{Holder, Lease};
pub use original::Original;
pub use room::Limits;

/// Bytes as people read them: `3.2 GiB`.
pub fn size_text(bytes: u64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    if mib < 1024.0 { format!("{mib:.1} MiB") } else { format!("{:.1} GiB", mib / 1024.0) }
}
