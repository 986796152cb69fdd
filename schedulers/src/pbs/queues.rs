//! What `qstat -Q -f` and `pbsnodes -a` print.

use super::states::blocks;
use crate::cluster::bytes;
use crate::lane::parse_walltime;
use crate::scheduler::QueueInfo;
use std::collections::HashMap;

/// What one host has.
#[derive(Default)]
struct Host {
    cores: Option<u32>,
    mem_mib: Option<u64>,
    gpus: Option<u32>,
    /// Queues that it is kept for; empty: all.
    queue: String,
}

/// Queues that jobs run from; `None`: something else stands there.
pub fn of_qstat(listing: &str) -> Option<Vec<QueueInfo>> {
    let (server, rest) = listing.split_once("\nqueues\n")?;
    let (queues, hosts) = rest.split_once("\nhosts\n")?;
    let default = blocks(server, "Server:").into_iter().find_map(|(_, mut of)| of.remove("default_queue"));
    let hosts = hosts_of(hosts);
    let runs =
        |of: &HashMap<&str, String>| of.get("queue_type").is_none_or(|kind| kind.starts_with(['E', 'e']));
    let found = blocks(queues, "Queue:").into_iter().filter(|(_, of)| runs(of));
    Some(found.map(|(name, of)| queue(name, &of, default.as_deref(), &hosts)).collect())
}

fn queue(name: &str, of: &HashMap<&str, String>, default: Option<&str>, hosts: &[Host]) -> QueueInfo {
    let is_true = |key: &str| of.get(key).is_none_or(|value| value.eq_ignore_ascii_case("true"));
    let own: Vec<&Host> = hosts.iter().filter(|host| host.queue == name).collect();
    let usable =
        if own.is_empty() { hosts.iter().filter(|host| host.queue.is_empty()).collect() } else { own };
    let gpus = usable.iter().filter_map(|host| host.gpus).max().filter(|gpus| *gpus > 0);
    QueueInfo {
        name: name.into(),
        is_default: default == Some(name),
        is_open: is_true("enabled") && is_true("started"),
        walltime_s: of.get("resources_max.walltime").and_then(|text| parse_walltime(text)),
        nodes: (!usable.is_empty()).then_some(usable.len() as u32),
        cores: usable.iter().filter_map(|host| host.cores).max(),
        mem_mib: usable.iter().filter_map(|host| host.mem_mib).max(),
        gpus,
        gpu_resource: gpus.map(|_| "ngpus".to_string()),
        parallel_environments: Vec::new(),
    }
}

/// Blocks that begin with a name at the margin; OpenPBS writes `resources_available.ncpus`, Torque `np` and `gpus`.
fn hosts_of(text: &str) -> Vec<Host> {
    let mut hosts: Vec<Host> = Vec::new();
    for line in text.lines() {
        if line.starts_with(|c: char| c.is_ascii_alphanumeric()) && line.trim() != "end" {
            hosts.push(Host::default());
            continue;
        }
        let (Some((name, value)), Some(host)) = (line.trim().split_once(" = "), hosts.last_mut()) else {
            continue;
        };
        match name {
            "resources_available.ncpus" | "np" => host.cores = value.parse().ok(),
            "resources_available.mem" => host.mem_mib = mebibytes(value),
            "resources_available.ngpus" | "gpus" => host.gpus = value.parse().ok(),
            "queue" => host.queue = value.into(),
            "status" => {
                let memory = value.split(',').find_map(|item| item.strip_prefix("physmem="));
                host.mem_mib = host.mem_mib.or(memory.and_then(mebibytes));
            }
            _ => {}
        }
    }
    hosts
}

fn mebibytes(text: &str) -> Option<u64> {
    bytes(text).map(|bytes| (bytes / 1_048_576.0) as u64)
}
