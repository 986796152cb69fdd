//! What `qconf` and `qhost` print of queues and hosts.

use crate::cluster::bytes;
use crate::lane::parse_walltime;
use crate::scheduler::QueueInfo;

/// Queues with the hosts they have; `None`: something else stands there.
pub fn of_qconf(listing: &str) -> Option<Vec<QueueInfo>> {
    let (queues, rest) = listing.split_once("complexes\n")?;
    let (complexes, hosts) = rest.split_once("\nhosts\n")?;
    let gpu = gpu_resource(complexes);
    let mut found = queues_of(queues);
    for host in hosts.split("<host name='").skip(1) {
        let name = host.split('\'').next().unwrap_or_default();
        if name == "global" {
            continue;
        }
        for queue in &mut found {
            if host.contains(&format!("<queue name='{}'>", queue.name)) {
                add_host(queue, host, gpu.as_ref());
            }
        }
    }
    Some(found)
}

/// `qconf -sq` of each queue: names and values, each queue beginning with `qname`.
fn queues_of(text: &str) -> Vec<QueueInfo> {
    let mut queues: Vec<QueueInfo> = Vec::new();
    // a long value goes on after a backslash
    for line in text.replace("\\\n", " ").lines() {
        let Some((name, value)) = line.trim().split_once(char::is_whitespace) else { continue };
        // values of single hosts follow in brackets
        let value = value.split(",[").next().unwrap_or_default().trim();
        if name == "qname" {
            let queue =
                QueueInfo { name: value.into(), is_open: true, nodes: Some(0), ..QueueInfo::default() };
            queues.push(queue);
            continue;
        }
        let Some(queue) = queues.last_mut() else { continue };
        match name {
            "h_rt" => queue.walltime_s = parse_walltime(value),
            "pe_list" => {
                let names = value.split_whitespace().filter(|name| *name != "NONE");
                queue.parallel_environments = names.map(String::from).collect();
            }
            // an interactive queue takes no jobs of ours
            "qtype" => queue.is_open = value.contains("BATCH"),
            _ => {}
        }
    }
    queues
}

/// The consumable for GPUs, and whether it is counted for each slot.
struct GpuResource {
    name: String,
    is_of_slot: bool,
}

/// Rows of `qconf -sc`: name, shortcut, type, relation, requestable, consumable, default, urgency.
fn gpu_resource(text: &str) -> Option<GpuResource> {
    text.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, _, _, _, _, consumable, ..] = words[..] else { return None };
        let lower = name.to_ascii_lowercase();
        let is_gpu = !name.starts_with('#') && (lower.contains("gpu") || lower.contains("cuda"));
        (is_gpu && consumable != "NO")
            .then(|| GpuResource { name: name.into(), is_of_slot: consumable == "YES" })
    })
}

/// Value of `<hostvalue name='num_proc'>2</hostvalue>` and its like.
fn value<'a>(host: &'a str, name: &str) -> Option<&'a str> {
    let rest = &host[host.find(&format!("name='{name}'"))?..];
    rest.split_once('>')?.1.split('<').next()
}

fn add_host(queue: &mut QueueInfo, host: &str, gpu: Option<&GpuResource>) {
    queue.nodes = Some(queue.nodes.unwrap_or(0).saturating_add(1));
    queue.cores = queue.cores.max(value(host, "num_proc").and_then(|text| text.parse().ok()));
    let memory = value(host, "mem_total").and_then(bytes).map(|bytes| (bytes / 1_048_576.0) as u64);
    queue.mem_mib = queue.mem_mib.max(memory);
    let Some(gpu) = gpu else { return };
    let count = value(host, &gpu.name).and_then(|text| text.parse::<f64>().ok()).map(|count| count as u32);
    if count.is_some_and(|count| count > queue.gpus.unwrap_or(0)) {
        queue.gpus = count;
        queue.gpu_resource =
            Some(if gpu.is_of_slot { format!("{}:slot", gpu.name) } else { gpu.name.clone() });
    }
}
